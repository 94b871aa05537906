"""What a linked table knows of its parts without opening them, and what it learns when it does.

Of each part: file, store, commit and stamp, the sizes of its row groups, and per column bounds of
all its values. A part is opened when its rows are touched, and then held against its stamp, which
every change of a table draws anew: so a part shows the rows that were linked, or an error.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import CorruptDataError, KistError, LinkError
from kist.format.categorical import sort_of
from kist.format.link import LinkForm, LinkRecord
from kist.format.node import NodeKind
from kist.format.schema import Leaf, Schema
from kist.indexes.statistics import Bounds
from kist.model.links.gather import record_bytes
from kist.model.links.lists import Lists, Recoding
from kist.model.parts.unequal import fit_of, table_difference
from kist.model.tables.query.bounds import bounds_of
from kist.model.tables.stored.schema import facts_of
from kist.model.tables.stored.state import TableState, state_of
from kist.model.unions.backend import MAX_FILES
from kist.model.unions.categories import recoding_of, unpack_list
from kist.model.unions.state import Member

if TYPE_CHECKING:
    from kist.model.session import Held
    from kist.model.store import Store
    from kist.model.tables.stored.categories import Categories
    from kist.model.tables.table import Table
    from kist.query import Bound

__all__ = ["Parts"]

Array = np.ndarray[Any, Any]


class Parts:
    """The parts of a linked table, opened one by one.

    Parameters
    ----------
    store : Store
        Of the link.
    path : str
        Of the link.
    record : LinkRecord
        Of form parts.
    """

    def __init__(self, store: Store, path: str, record: LinkRecord) -> None:
        said = record.said
        self.path = path
        self.table_path: str = said["path"]
        self.files: list[str] = said["files"]
        self.schema = Schema.unpack(said["schema"])
        self.stored: Array = said["stored"]
        self.n_groups: Array = said["groups"].astype(np.int64)
        self.rows: Array = said["rows"]
        self.live: Array = said["live"]
        self.added = frozenset(said["added"])
        self._said = said
        self._store = store
        self._lock = threading.RLock()
        self._check()
        self.lists = Lists(self, self._lists())
        n = len(self.files)
        self.starts = np.concatenate(([0], np.cumsum(self.n_groups)))
        self.members: list[Member | None] = [None] * n
        self.states: list[TableState | None] = [None] * n
        self.recodings: list[Mapping[int, Array]] = [{}] * n
        self.tables: dict[int, Table] = {}
        self._held: list[Held] = []
        self._bounds: dict[int, Bounds] = {}

    def _check(self) -> None:
        """Raise `CorruptDataError` when the lists do not fit each other."""
        said, n = self._said, len(self.files)
        numbers = (("commits", n), ("stored", n), ("groups", n), ("rows", None), ("live", None))
        for name, length in numbers:
            values = said[name]
            if values.ndim != 1 or values.dtype.kind != "u" or length not in (None, len(values)):
                raise self._corrupt(name)
        total = len(self.rows)
        counted = said["groups"]
        if (
            not 0 < n <= MAX_FILES
            or len(self.live) != total
            or int(counted.max()) > total  # before they are added up
            or int(self.n_groups.sum()) != total
        ):
            raise self._corrupt("groups")
        if np.any(self.live > self.rows) or (total and int(self.rows.max()) > 1 << 16):
            raise self._corrupt("rows")
        for name in ("stores", "stamps"):
            if len(said[name]) != n:
                raise self._corrupt(name)
        leaves = {leaf.id: leaf for leaf in (*self.schema.leaves, *self.schema.stored)}
        for number, records in said["statistics"].items():
            if (
                type(records) is not bytes
                or number not in leaves
                or len(records) != n * record_bytes(leaves[number])
            ):
                raise self._corrupt("statistics")

    def _lists(self) -> dict[int, Categories]:
        """Return the categories of all parts that the link says, by the leaf of codes."""
        packed, found = self._said.get("categories", {}), {}
        for column in facts_of(self.schema).categorical:
            if column.field:
                continue  # none is in the link: `Lists`
            if type(packed) is not dict or column.first_leaf not in packed:
                raise self._corrupt("categories")
            where = f"link {self.path!r}: column {column.name!r}"
            sort = sort_of(column.dtype)
            assert sort is not None
            found[column.first_leaf] = unpack_list(packed[column.first_leaf], sort, where)
        return found

    def _recoding(self, state: TableState) -> dict[int, Array]:
        """Return what the codes of a part are in the whole; raises KeyError where one is none."""
        found = {}
        for column in facts_of(self.schema).categorical if self.lists else ():
            if column.field:
                continue  # asked for when they are needed: with the secret
            theirs = state.categories(state.schema.columns[state.schema.index(column.name)])
            codes = recoding_of(theirs, self.lists[column.first_leaf])
            if codes is not None:
                found[column.first_leaf] = codes
        return found

    def _corrupt(self, what: str) -> CorruptDataError:
        return CorruptDataError(f"link {self.path!r}: its {what} do not fit its files")

    def __len__(self) -> int:
        return len(self.files)

    # Statistics of whole parts; what `query.find` asks of a table

    @property
    def facts(self) -> Any:
        """What is derived from the schema."""
        return facts_of(self.schema)

    def bounds(self, leaf: Leaf) -> Bounds:
        """Return the statistics of a leaf, one entry a part."""
        found = self._bounds.get(leaf.id)
        if found is None:
            data = self._said["statistics"].get(leaf.id)
            size = record_bytes(leaf)
            records = (
                [None] * len(self)
                if data is None
                else [data[at : at + size] for at in range(0, len(data), size)]
            )
            found = self._bounds[leaf.id] = Bounds.from_packed(records, leaf.dtype)
        return found

    bounds_of_valid = bounds  # those of all that is stored hold for what is there

    def may_match(self, parts: Iterable[Bound], names: Mapping[str, Leaf]) -> Array:
        """Return which parts may hold rows of some conditions."""
        may = np.ones(len(self), bool)
        known = bounds_of(self, names)
        for part in parts:
            may &= part.prune({name: known[name] for name in part.columns}, len(self))[0]
        return may

    # Opening

    def state(self, place: int) -> TableState:
        """Return a part as it was linked.

        Raises
        ------
        LinkError
            The file is missing, may not be opened, or its table has changed and the old commit is
            not kept.
        """
        found = self.states[place]
        if found is None:
            with self._lock:
                found = self.states[place] or self._opened(place)
        return found

    def _opened(self, place: int) -> TableState:
        file, said = self.files[place], self._said
        stamp, commit = said["stamps"][place], int(said["commits"][place])
        wanted: int | str | None = said.get("version")
        version = wanted
        while True:
            where = {
                "file": file, "path": self.table_path, "version": version,
                "store": said["stores"][place],
            }  # fmt: skip
            try:
                other = self._store._links.open(
                    self._store, LinkRecord(LinkForm.FILE, where), self.path
                )
                held = other._session.hold()
            except LinkError as error:
                if version != wanted:
                    raise self._changed(file) from error
                raise
            state = self._table(other, held)
            if state is not None and state.tail.stamp == stamp:
                break
            held.release()
            if version != wanted:
                raise self._changed(file)
            version = commit  # newer ones show other rows: is the one that was linked still kept?
        own = state.layout.groups
        span = slice(self.starts[place], self.starts[place + 1])
        sizes = [(group.n_rows, group.n_live) for group in own]
        if sizes != list(zip(self.rows[span].tolist(), self.live[span].tolist(), strict=True)):
            held.release()
            raise self._changed(file)
        if state.schema != self.schema and table_difference(self.schema, state.schema):
            held.release()
            raise self._changed(file)
        try:
            self.recodings[place] = Recoding(self.lists, place, self._recoding(state))
        except KeyError:  # what a damaged link says, or an edited one
            held.release()
            raise self._corrupt("categories") from None
        # What asks for the state may run on another thread: the member comes first.
        self.members[place] = Member(
            state.node, state.path, fit_of(state.schema, self.schema), place
        )
        self._held.append(held)
        self.tables[place] = other[self.table_path]
        self.states[place] = state
        return state

    def _table(self, other: Store, held: Held) -> TableState | None:
        try:
            entry, path = other._find(held.view, self.table_path)
        except KistError:
            return None
        if entry.kind != NodeKind.TABLE:
            return None
        return state_of(held.view, entry.node, path)

    def _changed(self, file: str) -> LinkError:
        return LinkError(
            f"link {self.path!r}: table {self.table_path!r} of {file!r} has changed since it was "
            "linked, and what it was is not kept: renew() links what it is now, and a tag in that "
            "file would have kept it"
        )
