"""Loops over rows, and what their rows change: collected, and one step at the end.

`iter_rows` stands behind ``for row in table`` and ``for row in table.where(...)``. Rows that are
updated leave their row ids and new values with the loop. When the loop ends, however it does, the
values are assigned in one step: a commit of its own, or part of the caller's transaction.

Nothing is locked while a loop runs. If others have changed the table meanwhile, the rows are found
again by their ids, which folding keeps, and compared with what the loop has shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist._kernels.cells import empty_values
from kist.engine import Transaction
from kist.errors import ConflictError, TransactionClosedError
from kist.format.schema import Leaf
from kist.model.tables.base import read_only
from kist.model.tables.changes.change import assign_rows
from kist.model.tables.changes.update import split_values
from kist.model.tables.input.values import as_items
from kist.model.tables.row import Row
from kist.model.tables.stored.fields import Fields, block_rows, field_at, parse_path, read_spans
from kist.model.tables.stored.read import Span, as_ordinals, plan, read_leaves
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.model.tables.base import RowSource
    from kist.model.tables.selection import Selection
    from kist.model.tables.table import Table

__all__ = ["iter_rows"]

Array = np.ndarray[Any, Any]

TOGETHER: Final = 4_096
"""So many single values become one array: they take ten times their size before."""


def iter_rows(source: RowSource | Selection) -> Iterator[Row]:
    """Iterate over rows that can be changed; all come from one state of the table."""
    table = source._of()
    with table._hold() as view:
        state = source._state(view)
        loop = RowLoop(table, state, source._fields(state.schema))
        try:
            size = block_rows(state.schema, None)
            for spans, n, places in source._row_blocks(state, size):
                block = read_only(read_spans(state, loop.fields, spans, n))
                shown = Shown(loop, spans)
                for at in places:
                    yield Row(block, at, shown)
        except BaseException:
            # Left by break, return or an exception of the block, all of which look the same here.
            loop.leave()
            raise
        loop.finish()


class RowLoop:
    """One loop over rows.

    Parameters
    ----------
    state : TableState
        What the loop shows; pinned as long as it runs.
    fields : Fields
        Which fields its rows have.
    """

    def __init__(self, table: Table, state: TableState, fields: Fields) -> None:
        self.fields = fields
        self._table = table
        self._state = state
        self._changes: dict[int, _Collected] = {}  # by leaf id
        self._cast_to: dict[tuple[str, ...], Fields] = {}
        self._is_over = False

    def cast(self, path: tuple[str, ...], value: Any) -> tuple[Array, dict[int, Array]]:
        """Return a value of a field of one row as an array, and as one array per leaf.

        Parameters
        ----------
        path : tuple of str
            The field, as the rows of this loop have it.

        Raises
        ------
        DTypeError
            The value would lose something.
        """
        self._table._store._session.check_writable()
        schema = self._state.schema
        fields = self._cast_to.get(path)
        if fields is None:
            fields = field_at(schema, (*parse_path(schema, path[0]), *path[1:]))
            self._cast_to[path] = fields
        if _is_exact(value, fields):
            items = np.array([value], fields.dtype)
            return items, {fields.stored[0].id: items}
        items = as_items(value, schema, fields, f"row[{'.'.join(path)!r}]")
        items = items.reshape(1, *fields.item_shape)
        parts = split_values(fields, items)
        return items, {leaf.id: part for leaf, part in zip(fields.stored, parts, strict=True)}

    def collect(self, row_id: int, values: dict[int, Array]) -> None:
        """Take new values of some leaves of one row."""
        if self._is_over:
            raise TransactionClosedError(
                "the loop that gave this row has ended and its changes are written; "
                "call row.update() inside the loop"
            )
        for leaf, value in values.items():
            if leaf not in self._changes:
                self._changes[leaf] = _Collected()
            self._changes[leaf].add(row_id, value)

    def leave(self) -> None:
        """Finish a loop that did not reach its end."""
        try:
            self.finish()
        except BaseException:
            # Python prints what is raised while a generator is closed, and goes on. A transaction
            # that lacks these changes must not be committed as if nothing had happened.
            writer = self._table._store._session.own_writer()
            if writer is not None and writer.txn is not None:
                writer.txn.rollback()
            raise

    def finish(self) -> None:
        """Write what was collected, in one step.

        Raises
        ------
        ConflictError
            Rows that were updated are gone, or were changed by others. Nothing is written.
        """
        self._is_over = True
        if not self._changes:
            return
        table = self._table
        with table._write() as txn:
            now = table._state(txn)
            together: dict[bytes, tuple[Array, list[Leaf], list[Array]]] = {}
            for number, collected in self._changes.items():
                ids, values = collected.latest()
                leaf = now.facts.by_id.get(number)
                if leaf is None:
                    raise self._conflict("a column of it was dropped")
                _, leaves, columns = together.setdefault(ids.tobytes(), (ids, [], []))
                leaves.append(leaf)
                columns.append(values)
            for ids, leaves, columns in together.values():
                rows = self._rows(now, ids)
                assign_rows(txn, table._id, table._path, rows, leaves, columns)
        self._changes.clear()

    def _rows(self, now: TableState, ids: Array) -> Array:
        """Return where rows stand now, after a look at whether they are what they were."""
        rows = _positions(now, ids)
        if int(rows.min()) < 0:
            raise self._conflict(f"row id {ids[rows.argmin()]} was deleted")
        was = self._state
        if was.tail.stamp == now.tail.stamp or isinstance(was.view, Transaction):
            return rows  # nobody else can have changed it
        before = _read(was, _positions(was, ids), self.fields.stored)
        after = _read(now, rows, self.fields.stored)
        if not all(map(_same, before, after)):
            raise self._conflict("rows that were updated have other values now")
        return rows

    def _conflict(self, why: str) -> ConflictError:
        return ConflictError(
            f"{self._table._path!r} was changed by others while a loop ran over its rows: {why}; "
            "nothing of the loop was written. Run it inside store.transaction() to keep "
            "others out"
        )


class Shown:
    """One block of rows of a loop."""

    __slots__ = ("_ids", "_spans", "loop")

    def __init__(self, loop: RowLoop, spans: Sequence[Span]) -> None:
        self.loop = loop
        self._spans = spans
        self._ids: Array | None = None

    def row_id(self, at: int) -> int:
        """Return the id of one of the rows."""
        if self._ids is None:
            parts = [as_ordinals(ordinals) + group.first for group, ordinals, _ in self._spans]
            self._ids = np.concatenate(parts)
        return int(self._ids[at])


class _Collected:
    """New values of one leaf: ids of rows, and a value for each."""

    __slots__ = ("_done", "_ids", "_values")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._values: list[Array] = []
        self._done: list[tuple[Array, Array]] = []

    def add(self, row_id: int, value: Array) -> None:
        self._ids.append(row_id)
        self._values.append(value)
        if len(self._ids) >= TOGETHER:
            self._join()

    def _join(self) -> None:
        if self._ids:
            self._done.append((np.array(self._ids, np.int64), np.concatenate(self._values)))
            self._ids, self._values = [], []

    def latest(self) -> tuple[Array, Array]:
        """Return ids, ascending, and the value that each was given last."""
        self._join()
        ids = np.concatenate([ids for ids, _ in self._done])
        values = np.concatenate([values for _, values in self._done])
        unique, last = np.unique(ids[::-1], return_index=True)
        return unique, values[::-1][last]


def _is_exact(value: Any, fields: Fields) -> bool:
    """Tell whether a plain number is one of a field as it is: most are, and need no cast."""
    if fields.item_shape:
        return False
    dtype = fields.dtype
    if isinstance(value, np.generic):
        return bool(value.dtype == dtype and dtype.kind in "biufcmM")
    kind: type = type(value)
    if kind is float:
        return dtype.kind == "f" and dtype.itemsize == 8
    if kind is int:
        bits = 8 * dtype.itemsize
        if dtype.kind == "u":
            return bool(0 <= value < 1 << bits)
        return bool(dtype.kind == "i" and -1 << (bits - 1) <= value < 1 << (bits - 1))
    return kind is bool and dtype.kind == "b"


def _positions(state: TableState, ids: Array) -> Array:
    """Return the positions of rows by their ids, ascending; -1 for those that are gone."""
    groups = state.layout.groups
    found = np.full(len(ids), -1, np.int64)
    if not groups:
        return found
    firsts = np.fromiter((group.first for group in groups), np.int64, len(groups))
    places = firsts.searchsorted(ids, "right") - 1
    edges = np.flatnonzero(places[1:] != places[:-1]) + 1
    for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(ids)], strict=True):
        place = int(places[start])
        if place < 0:
            continue
        group = groups[place]
        ordinals = ids[start:stop] - group.first
        live = state.live(group)
        if live is None:
            ranks = np.where(ordinals < group.n_rows, ordinals, -1)
        else:
            ranks = live.searchsorted(ordinals)
            ranks[ranks == len(live)] = 0
            ranks[live[ranks] != ordinals] = -1
        base = int(state.layout.starts[place])
        found[start:stop] = np.where(ranks < 0, -1, ranks + base)
    return found


def _read(state: TableState, rows: Array, leaves: Sequence[Leaf]) -> list[Array]:
    columns = [empty_values(len(rows) * leaf.n_values, leaf.dtype) for leaf in leaves]
    read_leaves(state, plan(state, rows), leaves, columns)
    return columns


def _same(before: Array, after: Array) -> bool:
    """Tell whether values are the same; NaN is."""
    if before.dtype.kind == "T":
        return bool(before.tolist() == after.tolist())
    return bool(before.tobytes() == after.tobytes())
