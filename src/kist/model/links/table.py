"""Linked tables: one table of many in other files, whose parts are opened when they are touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import ReadOnlyError
from kist.format.values import pack_record
from kist.indexes.statistics import Bounds
from kist.model.links.linked import Linked
from kist.model.links.parts import Parts
from kist.model.tables.stored.joined import JoinedView
from kist.model.tables.stored.layout import Group, Layout
from kist.model.tables.stored.records import Tail, new_stamp
from kist.model.tables.stored.state import Known
from kist.model.text import guarded
from kist.model.unions.backend import FilesBackend, FilesReader
from kist.model.unions.state import Joined, JoinedGroup, JoinedState
from kist.model.unions.table import JoinedTable

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.schema import Leaf
    from kist.model.links.link import Link
    from kist.model.parts.unequal import Fit
    from kist.model.session import Held
    from kist.model.tables.stored.layout import Body, Patch
    from kist.model.tables.stored.records import GroupRecord
    from kist.model.tables.stored.state import TableState
    from kist.model.tables.table import Table
    from kist.query import Bound

__all__ = ["LinkedTable"]

Array = np.ndarray[Any, Any]


class _Distant(JoinedGroup):
    """A row group of a part that may not be open: its sizes are known, the rest is asked for."""

    __slots__ = ("_index", "_parts")

    def __init__(
        self, first: int, n_rows: int, n_live: int, parts: Parts, at: int, place: int
    ) -> None:
        self.first = first
        self.n_rows = n_rows
        self.n_live = n_live
        self.place = place
        self._parts = parts
        self._index = at

    @property
    def own(self) -> Group:  # type: ignore[override]
        """The group as it stands in its table."""
        return self._parts.state(self.place).layout.group(self._index)

    @property
    def record(self) -> GroupRecord:  # type: ignore[override]
        return self.own.record

    @property
    def body(self) -> Body | None:  # type: ignore[override]
        return self.own.body

    @property
    def patches(self) -> tuple[Patch, ...]:  # type: ignore[override]
        return self.own.patches


class _Linked(Joined):
    """What is the same for all who read a linked table; opens nothing."""

    __slots__ = ("parts",)

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        rows, live = parts.rows.tolist(), parts.live.tolist()
        firsts = np.concatenate(([0], np.cumsum(parts.rows, dtype=np.int64))).tolist()
        starts = parts.starts.tolist()
        groups: list[Group] = [
            _Distant(firsts[at], rows[at], live[at], parts, at - starts[place], place)
            for place in range(len(parts))
            for at in range(starts[place], starts[place + 1])
        ]
        tail = Tail(firsts[-1], int(parts.live.sum(dtype=np.int64)), 0, new_stamp())
        self.members = []
        self.lists, self.recodings = parts.lists, []
        self.added = parts.added
        self.known = Known(pack_record(parts.schema.pack()), tail)
        self.layout = Layout(tail, groups)


class _LinkedState(JoinedState):
    """A linked table: a `JoinedState` whose members are opened one by one."""

    __slots__ = ("_parts",)

    def __init__(self, view: JoinedView, path: str, linked: _Linked) -> None:
        super().__init__(view, path, linked)
        self._parts = linked.parts

    def _member(self, place: int) -> TableState:
        return self._parts.state(place)

    def _fit(self, place: int) -> tuple[Fit, int]:
        self._parts.state(place)
        member = self._parts.members[place]
        assert member is not None
        return member.fit, member.tag

    def _recodings(self, place: int) -> Mapping[int, Array]:
        self._parts.state(place)
        return self._parts.recodings[place]

    def last_of(self, leaf: Leaf) -> tuple[TableState, Leaf]:
        """Return the last part that is open, and what leaf it is there; opens one if none is."""
        opened = [place for place, state in enumerate(self._parts.states) if state is not None]
        state, leaves = self.part(opened[-1] if opened else len(self._parts.states) - 1)
        return state, leaves[leaf.id]

    def may_match(self, parts: Sequence[Bound], names: Mapping[str, Leaf]) -> Array:
        """Return which groups may hold rows of some conditions; opens their parts."""
        may = self._parts.may_match(parts, names)
        for place in np.flatnonzero(may).tolist():
            self._parts.state(place)
        return np.repeat(may, self._parts.n_groups)

    def _bounds(self, leaf: Leaf, *, with_nulls: bool) -> Bounds:
        """Return statistics; nothing is known of the groups of parts that are not open."""
        starts = self._parts.starts.tolist()
        several, end = [], 0
        for place, state in enumerate(self._parts.states):
            if state is not None:
                several.append(_unknown(starts[place] - end, leaf))
                several.append(self._bounds_of(place, leaf, with_nulls))
                end = starts[place + 1]
        return Bounds.joined([*several, _unknown(starts[-1] - end, leaf)], leaf.dtype)


def _unknown(n_groups: int, leaf: Leaf) -> Bounds:
    return Bounds.from_packed([None] * n_groups, leaf.dtype)


class _PartsBackend(FilesBackend):
    """Reads the files of the parts that are open."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(())
        self._files = _Backends(parts)  # type: ignore[assignment]
        self.name = f"{len(parts)} files"


class _Backends:
    """The files of parts, by their number."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __getitem__(self, place: int) -> Any:
        return self._parts.state(place).view.reader.backend

    def __iter__(self) -> Any:
        return iter([state.view.reader.backend for state in self._parts.states if state])


class _Readers:
    """The readers of parts, by the number of their file."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __getitem__(self, place: int) -> Any:
        return self._parts.state(place).view.reader


class LinkedTable(Linked, JoinedTable):
    """Tables of many files as one: read, queried and converted like a table, not changed.

    Comes from looking up what ``group.create_union(name, path, files=...)`` has made. It shows the
    rows that the tables had when they were linked. Which parts a condition needs is known without
    opening one; a part is opened when its rows are touched, and stays open as long as the store.

    Examples
    --------
    >>> import kist, numpy as np
    >>> for job in (1, 2):
    ...     with kist.open(f"part-{job}.kist", "w") as store:
    ...         store["hits"] = np.array([(job, 2.5), (job, 3.5)], "i4,f8")
    >>> with kist.open("all.kist", "w") as store:
    ...     link = store.create_union("hits", "hits", files="part-*.kist")
    >>> with kist.open("all.kist") as store:
    ...     hits = store["hits"]
    ...     len(hits), hits.where("f0 == 2")["f1"].sum(), hits.n_open
    (4, np.float64(6.0), 1)
    """

    def __init__(self, link: Link, view: View) -> None:
        self._link = link
        self._store = link._store
        self._path = link._path
        self._linked = self._store._links.linked(link, view, self._load)

    def _load(self, record: Any) -> _Linked:
        return _Linked(Parts(self._store, self._path, record))

    # What columns, selections and groups ask of a table

    def _joined(self, view: View) -> JoinedView:
        linked = self._linked
        reader = FilesReader(_PartsBackend(linked.parts), _Readers(linked.parts))
        joined = JoinedView([view], reader)
        joined.table = _LinkedState(joined, self._path, linked)
        return joined

    def _view(self) -> JoinedView:
        return self._joined(self._link._view())

    def _hold(self) -> Held:
        held = self._link._hold()
        try:
            held.view = self._joined(held.view)
        except BaseException:
            held.release()
            raise
        return held

    def _write(self, message: str = "") -> Any:
        raise ReadOnlyError(
            f"{self._path!r} cannot be changed: change the tables of its files and renew() the link"
        )

    # For users

    @property
    def files(self) -> list[str]:
        """Names of the files, relative to the folder of the store."""
        return list(self._linked.parts.files)

    @property
    def n_open(self) -> int:
        """How many of them are open."""
        return len(self._linked.parts.tables)

    @property
    def parts(self) -> list[Table]:
        """The tables, in order; opens all files."""
        parts = self._linked.parts
        for place in range(len(parts)):
            parts.state(place)
        return [parts.tables[place] for place in range(len(parts))]

    def _more_facts(self) -> dict[str, Any]:
        return {"n_files": len(self._linked.parts), "n_open": self.n_open}

    @property
    def nbytes_stored(self) -> int:
        """Bytes that the rows take in the files."""
        return int(self._linked.parts.stored.sum())

    def __repr__(self) -> str:
        def draw() -> str:
            state, parts = self._state(), self._linked.parts
            n, columns = state.n_rows, self.columns
            shown = ", ".join(columns[:8]) + (", ..." if len(columns) > 8 else "")
            return (
                f"<kist.LinkedTable {self._path!r}, {n:,} rows x {len(columns)} columns in "
                f"{len(parts):,} files, {self.n_open:,} open: {shown}>"
            )

        return guarded(f"kist.LinkedTable {self._path!r}", draw)
