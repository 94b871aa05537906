"""Where the rows of a table stand: the groups in order, and which position is in which group.

A `Layout` is one picture of the groups of a table and never changes. A change makes the next one
from it: an append shares the lists of its predecessor, so that it costs the same in a table of
any length; other changes copy them (15,000 groups for a billion rows). Pictures are kept under
the stamp of the table's tail, so a picture is found again wherever that stamp stands: in the
transaction that made it, in later snapshots, after a savepoint was rolled back to.

No pointer to an extent is kept here: compaction moves extents without telling.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.values import unpack_record
from kist.model.tables.stored.records import TAIL_ROW, GroupRecord, Tail

if TYPE_CHECKING:
    from kist.engine import View

__all__ = [
    "RECENT",
    "Group",
    "Layout",
    "Patch",
    "Recent",
    "layout_of",
    "read_layout",
    "read_tail",
    "remember",
]

Array = np.ndarray[Any, Any]
T = TypeVar("T")

_KEPT_LAYOUTS: Final = 256
_RECENT_BYTES: Final = 48 << 20  # decoded pieces and sets of deleted rows, all tables together


class Patch:
    """One ``U`` record: its sequence and tier, and its parts when they stand in the record.

    `digest` is the SHA-256 of its extent in a table with sealed fields, else nothing.
    """

    __slots__ = ("digest", "inline", "n_rows", "seq", "tier")

    def __init__(
        self, seq: int, tier: int, n_rows: int, inline: bytes | None, digest: bytes = b""
    ) -> None:
        self.digest = digest
        self.seq = seq
        self.tier = tier
        self.n_rows = n_rows
        self.inline = inline


class Body:
    """The rows of a piece as they are stored: what stays when rows of it are deleted or patched."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class Group:
    """One row group or piece.

    Attributes
    ----------
    first : int
        Row id of ordinal 0.
    record : GroupRecord
        What its ``G`` record says; the data of a piece are in `body`.
    body : Body or None
        Of a piece: its rows.
    patches : tuple of Patch
        In order; later ones win.
    """

    __slots__ = ("body", "first", "n_live", "n_rows", "patches", "record")

    def __init__(
        self,
        first: int,
        record: GroupRecord,
        body: Body | None,
        patches: tuple[Patch, ...] = (),
    ) -> None:
        self.first = first
        self.record = record
        self.body = body
        self.patches = patches
        self.n_rows = record.n_rows
        self.n_live = record.n_live

    @classmethod
    def of(cls, first: int, record: GroupRecord, patches: tuple[Patch, ...] = ()) -> Group:
        """Group from its record."""
        return cls(first, record, Body(record.data) if record.kind else None, patches)

    @property
    def is_pages(self) -> bool:
        """Whether it is stored as one page per leaf."""
        return self.body is None

    def with_live(self, n_live: int) -> Group:
        """Return the group with another count of live rows."""
        return Group(self.first, self.record._replace(n_live=n_live), self.body, self.patches)

    def with_patches(self, patches: tuple[Patch, ...]) -> Group:
        """Return the group with other patches."""
        return Group(self.first, self.record, self.body, patches)


class _Shared:
    """Groups and prefix sums that layouts of one line of appends have in common."""

    __slots__ = ("groups", "starts")

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        n = len(groups)
        self.starts = np.zeros(n + n // 2 + 17, np.int64)
        if n:
            lengths = np.fromiter((g.n_live for g in groups), np.int64, n)
            np.cumsum(lengths, out=self.starts[1 : n + 1])


class Layout:
    """The groups of a table at one stamp."""

    __slots__ = ("_edges", "_shared", "n_groups", "tail")

    def __init__(self, tail: Tail, groups: list[Group], *, _shared: _Shared | None = None) -> None:
        self._edges: Array | None = None
        self.tail = tail
        self.n_groups = len(groups)
        self._shared = _Shared(groups) if _shared is None else _shared

    @property
    def n_live(self) -> int:
        """Rows of the table."""
        return self.tail.n_live

    @property
    def starts(self) -> Array:
        """Position of the first row of each group, and the number of rows behind it."""
        return self._shared.starts[: self.n_groups + 1]

    @property
    def firsts(self) -> Array:
        """First row id of each group."""
        found: Array = self._row_ids()[0]
        return found

    @property
    def ends(self) -> Array:
        """Row id behind the last one of each group."""
        found: Array = self._row_ids()[1]
        return found

    def _row_ids(self) -> Array:
        if self._edges is None:
            pairs = [(group.first, group.first + group.n_rows) for group in self.groups]
            if pairs and pairs[-1][1] >= 1 << 63:
                raise CorruptDataError(f"a row group at row id {pairs[-1][0]}")
            self._edges = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
        return self._edges

    @property
    def groups(self) -> list[Group]:
        """All groups, in order of their rows."""
        return self._shared.groups[: self.n_groups]

    def group(self, index: int) -> Group:
        """Return one group."""
        return self._shared.groups[index]

    def locate(self, position: int) -> tuple[int, int]:
        """Return (index of the group, rank among its live rows) of one position."""
        index = int(self.starts.searchsorted(position, "right")) - 1
        return index, position - int(self._shared.starts[index])

    def appended(self, tail: Tail, group: Group) -> Layout:
        """Return the layout with one more group at the end."""
        shared, n = self._shared, self.n_groups
        if len(shared.groups) != n:
            # Somebody else went on from here, and was rolled back: leave their line alone.
            shared = _Shared(shared.groups[:n])
        if n + 2 > len(shared.starts):
            # Older layouts keep slices of the old array, which stays as it is.
            shared.starts = np.concatenate((shared.starts, np.zeros(n + 17, np.int64)))
        shared.starts[n + 1] = shared.starts[n] + group.n_live
        shared.groups.append(group)
        new = Layout.__new__(Layout)
        new._edges, new.tail, new.n_groups, new._shared = None, tail, n + 1, shared
        return new

    def replaced(self, tail: Tail, start: int, stop: int, groups: list[Group]) -> Layout:
        """Return the layout with the groups start .. stop replaced by others."""
        old = self._shared.groups
        return Layout(tail, [*old[:start], *groups, *old[stop : self.n_groups]])


_MARK_BYTES: Final = 400  # of what says that something was asked about


class Recent:
    """Things decoded of late, up to a number of bytes; the oldest go first."""

    def __init__(self, n_bytes: int) -> None:
        self._limit = n_bytes
        self._used = 0
        self._lock = threading.Lock()
        self._items: OrderedDict[Hashable, tuple[object, Any, int]] = OrderedDict()

    def get(self, owner: object, what: Hashable, make: Callable[[], tuple[T, int]]) -> T:
        """Return `what` of an object, made by `make` as (value, bytes) unless it is kept."""
        key = (id(owner), what)  # the entry keeps the owner alive, so the id stays its own
        with self._lock:
            found = self._items.get(key)
            if found is not None:
                self._items.move_to_end(key)
                value: T = found[1]
                return value
        value, size = make()
        self.put(owner, what, value, size)
        return value

    def seen(self, owner: object, what: Hashable) -> bool:
        """Tell whether `what` of an object is kept, or was asked about here of late."""
        mark = (id(owner), ("seen", what))
        with self._lock:
            if (id(owner), what) in self._items or mark in self._items:
                return True
            self._keep(mark, owner, None, _MARK_BYTES)
            return False

    def put(self, owner: object, what: Hashable, value: object, size: int) -> None:
        """Keep something of an object that takes `size` bytes."""
        key = (id(owner), what)
        with self._lock:
            if key not in self._items and size <= self._limit:
                self._keep(key, owner, value, size)

    def _keep(self, key: Hashable, owner: object, value: object, size: int) -> None:
        self._items[key] = (owner, value, size)
        self._used += size
        while self._used > self._limit:
            self._used -= self._items.popitem(last=False)[1][2]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._items.clear()
            self._used = 0

    def after_fork_in_child(self) -> None:
        """Start anew: a thread that does not exist here may hold the lock, half done."""
        self._lock = threading.Lock()
        self._items = OrderedDict()
        self._used = 0


RECENT: Final = Recent(_RECENT_BYTES)

_layouts: OrderedDict[tuple[int, bytes], Layout] = OrderedDict()
_layouts_lock = threading.Lock()


def read_tail(view: View, node: int) -> Tail:
    """Return the tail record of a table."""
    value = view.get(keys.group(node, TAIL_ROW))
    if value is None:
        raise CorruptDataError("a table without its tail record; 'kist check' lists all damage")
    return Tail.unpack(unpack_record(value)[1])


def remember(node: int, layout: Layout) -> None:
    """Keep a layout for whoever meets its stamp."""
    key = (node, layout.tail.stamp)
    with _layouts_lock:
        _layouts[key] = layout
        _layouts.move_to_end(key)
        while len(_layouts) > _KEPT_LAYOUTS:
            _layouts.popitem(last=False)


def forget() -> None:
    """Forget all layouts, pieces and sets of deleted rows: what is read next comes from files."""
    RECENT.clear()
    with _layouts_lock:
        _layouts.clear()


def known(node: int, tail: Tail) -> Layout | None:
    """Return the layout of a tail if it is kept."""
    with _layouts_lock:
        layout = _layouts.get((node, tail.stamp))
    # The stamp says it all, unless the file was made on purpose.
    return layout if layout is not None and layout.tail == tail else None


def layout_of(view: View, node: int, tail: Tail) -> Layout:
    """Return the layout of a table whose tail is `tail`, reading its records if it is not kept."""
    layout = known(node, tail)
    if layout is None:
        layout = read_layout(view, node, tail)
        remember(node, layout)
    return layout


def read_layout(view: View, node: int, tail: Tail) -> Layout:
    """Return the layout of a table from its records, whatever is kept."""
    patches: dict[int, list[Patch]] = {}
    for key, value in view.scan(*keys.patches(node)):
        row, seq = keys.patch_of(key)
        patches.setdefault(row, []).append(unpack_patch_record(seq, value))
    groups = []
    end = 0
    for key, value in view.scan(*keys.groups(node)):
        first = keys.row_of(key)
        if first == TAIL_ROW:
            continue
        record = GroupRecord.unpack(unpack_record(value)[1])
        if first < end:
            raise CorruptDataError(f"row groups overlap at row id {first}")
        end = first + record.n_rows
        groups.append(Group.of(first, record, tuple(patches.get(first, ()))))
    layout = Layout(tail, groups)
    if end > tail.next_row or int(layout.starts[-1]) != tail.n_live:
        raise CorruptDataError(
            f"the row groups hold {int(layout.starts[-1])} rows up to row id {end}, the tail says "
            f"{tail.n_live} up to {tail.next_row}; 'kist check' lists all damage"
        )
    return layout


def unpack_patch_record(seq: int, value: bytes) -> Patch:
    """Return the patch of a ``U`` record's value."""
    pointers, payload = unpack_record(value)
    if len(payload) < 5:
        raise CorruptDataError(f"a patch record of {len(payload)} bytes is cut off")
    tier, n_rows = payload[0], int.from_bytes(payload[1:5], "little")
    if pointers:
        return Patch(seq, tier, n_rows, None, payload[5:])
    return Patch(seq, tier, n_rows, payload[5:])


def pack_patch_head(tier: int, n_rows: int) -> bytes:
    """Return what stands before the parts of a patch, in the record also when they do not."""
    return bytes((tier,)) + n_rows.to_bytes(4, "little")


def _after_fork_in_child() -> None:
    global _layouts, _layouts_lock
    RECENT.after_fork_in_child()
    _layouts, _layouts_lock = OrderedDict(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
