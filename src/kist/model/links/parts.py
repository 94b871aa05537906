"""What a linked table knows of its parts without opening them, and what it learns when it does.

Of each part: file, store, commit and stamp, the sizes of its row groups, and per column bounds of
all its values. A part is opened when its rows are touched, and then held against its stamp, which
every change of a table draws anew: so a part shows the rows that were linked, or an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError, KistError, LinkError, SelectionError, TooLargeError
from kist.format.link import LinkForm, LinkRecord
from kist.format.node import NodeKind
from kist.format.schema import Leaf, Schema
from kist.indexes.statistics import Bounds, Statistics, bound_dtype, compute
from kist.model.parts.unequal import fit_of, table_difference, unequal
from kist.model.tables.query.find import bounds_of
from kist.model.tables.stored.read import group_spans, read_leaves
from kist.model.tables.stored.schema import facts_of
from kist.model.tables.stored.state import TableState, state_of
from kist.model.unions.backend import MAX_FILES
from kist.model.unions.state import Member

if TYPE_CHECKING:
    from kist.model.session import Held
    from kist.model.store import Store
    from kist.model.tables.table import Table
    from kist.query import Bound

__all__ = ["Parts", "gather"]

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]

_MOST_COUNTED: Final = (1 << 32) - 1


# Making the record


def gather(
    store: Store, files: Iterable[tuple[str, str]], path: str, progress: Progress | None = None
) -> dict[str, Any]:
    """Return what a link says of the tables at one path of some files.

    Parameters
    ----------
    store : Store
        Of the link.
    files : iterable of (str, str)
        Name relative to the folder of the store, and real path.
    path : str
        Of the table in each.

    Raises
    ------
    DTypeError
        The columns of one are not those of the first; shows the difference.
    SelectionError
        There is none, or one is no table.
    """
    from kist.model.store import open
    from kist.model.tables.table import Table

    found: list[_Part] = []
    schema: Schema | None = None
    wanted = list(files)
    if not wanted:
        raise SelectionError("a linked table is of at least one file")
    if len(wanted) > MAX_FILES:
        raise TooLargeError(f"{len(wanted):,} files; a linked table is of at most {MAX_FILES:,}")
    for name, real in wanted:
        with open(real) as other:
            table = other[path]
            if not isinstance(table, Table) or table._store is not other:
                raise SelectionError(f"{path!r} of {name!r} is no table: {table!r}")
            state = table._state()
            schema = schema or state.schema
            if any(column.is_categorical for column in schema.columns):
                raise SelectionError(
                    f"{path!r} of {name!r} has categorical columns, and each table has codes of "
                    "its own: kist.merge makes one table"
                )
            if lines := table_difference(schema, state.schema):
                hint = "cast_column() gives columns other dtypes, add_column() adds some"
                raise unequal(f"table {path!r} of {name!r}", lines, wanted[0][0], hint)
            found.append(_Part.of(name, other, table, state, schema))
        if progress is not None:
            progress(len(found), len(wanted))
    assert schema is not None
    groups = [part.groups for part in found]
    return {
        "path": path,
        "schema": schema.pack(),
        "files": [part.file for part in found],
        "stores": [part.store for part in found],
        "commits": np.array([part.commit for part in found], "<u8"),
        "stamps": [part.stamp for part in found],
        "stored": np.array([part.stored for part in found], "<u8"),
        "groups": np.array([len(sizes) for sizes in groups], "<u4"),
        "rows": np.concatenate([sizes[:, 0] for sizes in groups]).astype("<u4"),
        "live": np.concatenate([sizes[:, 1] for sizes in groups]).astype("<u4"),
        "added": sorted(set().union(*(part.added for part in found))),
        "statistics": _by_leaf(schema, found),
    }


class _Part(NamedTuple):
    """One table, as it is linked."""

    file: str
    store: bytes
    commit: int
    stamp: bytes
    stored: int
    groups: Array
    added: set[int]
    statistics: dict[int, bytes]

    @classmethod
    def of(cls, name: str, store: Store, table: Table, state: TableState, schema: Schema) -> _Part:
        fit = fit_of(state.schema, schema)
        sizes = [(group.n_rows, group.n_live) for group in state.layout.groups]
        return cls(
            name,
            store.uuid,
            store.commit_id,
            state.tail.stamp,
            table.nbytes_stored,
            np.array(sizes, "<u4").reshape(-1, 2),
            {new for new, old in fit.leaves.items() if old.id in state.added},
            {
                new: packed
                for new, old in fit.leaves.items()
                if (packed := _summed_up(state, old)) is not None
            },
        )


def _by_leaf(schema: Schema, parts: list[_Part]) -> dict[int, bytes]:
    """Return, per leaf of which something is known, the records of all parts one by one."""
    found = {}
    for leaf in (*schema.leaves, *schema.stored):
        if any(leaf.id in part.statistics for part in parts):
            blank = bytes(_record_bytes(leaf))
            found[leaf.id] = b"".join(part.statistics.get(leaf.id, blank) for part in parts)
    return found


def _record_bytes(leaf: Leaf) -> int:
    return len(Statistics(leaf.dtype).pack())


def _summed_up(state: TableState, leaf: Leaf) -> bytes | None:
    """Return statistics of all values of a leaf; None where nothing is known of some of them."""
    if leaf.id in state.facts.sealed:
        return None  # they would stand in the link in clear
    if leaf.is_virtual or leaf.n_values != 1 or bound_dtype(leaf.dtype) is None:
        return None
    bounds = state.bounds(leaf)
    several = [bounds] if bounds.known.any() else []
    records = []
    for group, known in zip(state.layout.groups, bounds.known.tolist(), strict=True):
        if known:
            continue
        if group.is_pages:
            return None  # its values would have to be decoded
        span = group_spans(state, group)
        values = np.empty(len(span.ordinals), leaf.dtype)
        read_leaves(state, [span], [leaf], [values])
        one = compute(values)
        if one is None or not (one.empty or one.lo is not None):
            return None
        records.append(one.pack())
    if records:
        several.append(Bounds.from_packed(records, leaf.dtype))
    every = Bounds.joined(several, leaf.dtype)
    n_nan = min(int(every.n_nan.sum(dtype="u8")), _MOST_COUNTED)
    n_null = min(int(every.n_null.sum(dtype="u8")), _MOST_COUNTED)
    full = every.known & ~every.empty
    if not full.any():
        return Statistics(leaf.dtype, n_nan=n_nan, n_null=n_null, empty=True).pack()
    los, his = every.lo[full], every.hi[full]
    # NumPy has no least of bytes.
    lo, hi = (min(los.tolist()), max(his.tolist())) if los.dtype.kind == "S" else (
        los.min(), his.max()
    )  # fmt: skip
    return Statistics(leaf.dtype, lo, hi, n_nan, n_null).pack()


# Reading it


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
        n = len(self.files)
        self.starts = np.concatenate(([0], np.cumsum(self.n_groups)))
        self.members: list[Member | None] = [None] * n
        self.states: list[TableState | None] = [None] * n
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
                or len(records) != n * _record_bytes(leaves[number])
            ):
                raise self._corrupt("statistics")

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
            size = _record_bytes(leaf)
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
        version: int | None = None
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
                if version is not None:
                    raise self._changed(file) from error
                raise
            state = self._table(other, held)
            if state is not None and state.tail.stamp == stamp:
                break
            held.release()
            if version is not None:
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
