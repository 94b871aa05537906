"""Making tables and appending rows: small batches as pieces, large ones as pages.

A batch of few rows becomes one piece: one put, and one extent when it does not fit into
a record. From there on rows become row groups at once. The contract with the store half:

- `create_table` fills a node that the caller has made, within the caller's transaction.
- `append_blocks` adds rows that are already of the table's dtype.
- all of them leave the layout of the table known under the new stamp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist._kernels import records
from kist.engine import Frame
from kist.engine.parallel import run
from kist.format import keys
from kist.format.layout import FRAME_BLOB, FRAME_ROWS, MAX_INLINE
from kist.format.schema import Schema
from kist.format.values import pack_record
from kist.model.tables import changes
from kist.model.tables.changes.pages import Recipes, write_pages
from kist.model.tables.stored.batch import Batch, Rows, joined, owned
from kist.model.tables.stored.categories import Vocabularies
from kist.model.tables.stored.computed import completed
from kist.model.tables.stored.layout import Group, Layout, known, remember
from kist.model.tables.stored.records import (
    GROUP_RECORD_BYTES,
    INLINE,
    OUTSIDE,
    PAGES,
    TAIL_ROW,
    GroupRecord,
    Tail,
    new_stamp,
)
from kist.model.tables.stored.schema import FULL_TIER, TEXT_BYTES, facts_of
from kist.model.tables.stored.state import Known, TableState, keep_piece

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.format.sealed import Lock

__all__ = [
    "append_blocks",
    "put_blob",
    "put_new_table",
    "put_piece",
    "put_schema",
    "put_table_of",
    "put_tail",
    "room_of_piece",
]

Array = np.ndarray[Any, Any]

KEPT_BYTES: Final = 1 << 20
"""Pieces up to this size stay decoded for a while after they were written."""

_TAIL_BYTES: Final = 128
"""Of a record, beside the rows: their key, the tail, and counts."""

MAX_LOOSE: Final = 1_024
"""A transaction that appends more pieces than this folds them itself, for no checkpoint comes
before its end."""


def put_new_table(txn: Transaction, node: int, schema: Schema) -> None:
    """Put schema and tail of a table without rows."""
    put_schema(txn, node, schema)
    tail = Tail(stamp=new_stamp())
    put_tail(txn, node, schema, tail)
    remember(node, Layout(tail, []))


def put_table_of(
    txn: Transaction,
    node: int,
    path: str,
    schema: Schema,
    blocks: Iterable[Rows],
    locks: Mapping[int, Lock] | None = None,
) -> None:
    """Put schema and rows of a new table: `put_new_table` and `append_blocks` in one step."""
    put_locks(txn, node, locks)
    value = put_schema(txn, node, schema)
    before = Tail(stamp=new_stamp())
    remember(node, Layout(before, []))
    state = TableState(txn, node, path, Known(value, before))
    if not append_blocks(txn, state, blocks, is_new=True):
        put_tail(txn, node, schema, before)


def put_locks(txn: Transaction, node: int, locks: Mapping[int, Lock] | None) -> None:
    """Put what opens the sealed fields of a new table."""
    for field, lock in (locks or {}).items():
        put_blob(txn, node, keys.lock(node, field), lock.pack())


def put_schema(txn: Transaction, node: int, schema: Schema) -> bytes:
    """Put the schema record of a table; return what `read_schema` gives for it."""
    packed = schema.pack()
    put_blob(txn, node, keys.schema(node), packed)
    if schema.sealed:
        changes.manifests.put_manifests(txn, node, schema)
    return pack_record(packed)


def put_blob(txn: Transaction, node: int, key: bytes, data: bytes) -> None:
    """Put a record of any length, in an extent where it is a long one."""
    if len(data) > MAX_INLINE:
        (pointer,) = txn.write([Frame(FRAME_BLOB, node, 0, 0, data)])
        txn.put(key, pack_record(b"", (pointer,)))
    else:
        txn.put(key, pack_record(data))


def put_tail(
    txn: Transaction, node: int, schema: Schema, tail: Tail, before: Tail | None = None
) -> bool:
    """Put the tail record of a table, which every change of rows ends with.

    Returns whether the table has indexes.

    Parameters
    ----------
    schema : Schema
        Of the table; what is sealed gets its manifest here.
    before : Tail, optional
        The tail that it replaces, of a table that is there: its indexes go on to the new one.
    """
    # A tail owns no extents.
    txn.put(keys.group(node, TAIL_ROW), pack_record(tail.pack()), old=None)
    if schema.sealed:
        changes.manifests.put_manifests(txn, node, schema)
    if before is None or txn.get(keys.index_state(node)) is None:
        return False
    from kist.model.tables.indexes.keep import carry

    return carry(txn, node, before, tail, schema)


def room_of_piece(room: int) -> int:
    """Return how many bytes of rows are cheap as they are where a commit has so much room."""
    room -= _TAIL_BYTES
    return (MAX_INLINE if room > MAX_INLINE else room) - GROUP_RECORD_BYTES


def put_piece(
    txn: Transaction,
    node: int,
    first: int,
    schema: Schema,
    rows: Rows,
    tier: int,
    n_live: int,
    room: int = 0,
    *,
    is_new: bool = False,
) -> Group:
    """Put rows as a piece that begins at row id `first`; return its group.

    Parameters
    ----------
    rows : structured ndarray or Batch
        Packed leaves: the bytes of ``facts_of(schema).rows.dtype``. At least one row.
    room : int
        Bytes of the record that cost next to nothing.
    is_new : bool
        There is no group at `first` yet.
    """
    facts = facts_of(schema)
    outside = b""
    if facts.sealed:
        data = changes.manifests.sealed_piece(txn, node, schema, rows)
        if GROUP_RECORD_BYTES + len(data) > MAX_INLINE:
            outside = changes.manifests.digest_of(data)
    else:
        data = facts.rows.encode(rows, room)
    n_rows = len(rows)
    key = keys.group(node, first)
    old = None if is_new else txn.get(key)
    if GROUP_RECORD_BYTES + len(data) <= MAX_INLINE:
        record = GroupRecord(INLINE, tier, schema.version, n_rows, n_live, data)
        txn.put(key, pack_record(record.pack()), old=old)
    else:
        record = GroupRecord(OUTSIDE, tier, schema.version, n_rows, n_live, outside)
        (pointer,) = txn.write([Frame(FRAME_ROWS, node, 0, first, data)])
        txn.put(key, pack_record(record.pack(), (pointer,)), old=old)
    group = Group.of(first, record)
    if rows.nbytes <= KEPT_BYTES and not facts.sealed:
        # Folded soon, or read at once: either way it need not be decoded.
        keep_piece(group, facts.rows.dtype, rows)
    return group


def put_pages_group(
    txn: Transaction, node: int, first: int, schema: Schema, n_rows: int, n_live: int, tier: int
) -> Group:
    """Put the record of a group whose pages are written; return the group."""
    record = GroupRecord(PAGES, tier, schema.version, n_rows, n_live)
    txn.put(keys.group(node, first), pack_record(record.pack()))
    return Group.of(first, record)


class _Appending:
    """Appends of one step: groups are put one by one, the tail once at the end."""

    def __init__(self, txn: Transaction, state: TableState, checked: bool, is_new: bool) -> None:
        self.txn = txn
        self.is_new = is_new
        self.node = state.node
        self.path = state.path
        self.checked = checked
        self.schema = state.schema
        self.facts = state.facts
        self.before = state.tail
        self.next_row = self.before.next_row
        self.n_loose = self.before.n_loose
        self.groups: list[Group] = []
        self.vocabularies = Vocabularies(txn, state.node, state.schema, f"append to {state.path!r}")
        self._recipes: Recipes | None = None
        self._columns: Columns | None = None

    def add(self, rows: Rows) -> None:
        """Add structured rows of the dtype in which they are given."""
        step = self.facts.group_rows
        for start in range(0, len(rows), step):
            part = rows if len(rows) <= step else rows[start : start + step]
            if self.schema.given is not self.schema.kept:
                at = self.next_row - self.before.next_row
                part = completed(self.facts, part, self.vocabularies, at)
            if isinstance(part, Batch):
                self._add_batch(part)
                continue
            if self.facts.are_piece(len(part)):
                self._add_piece(part)
            else:
                self._add_pages(part)
            self.next_row += len(part)

    def _add_batch(self, rows: Batch) -> None:
        facts = self.facts
        for start, stop, cut in rows.cuts(facts.group_rows, TEXT_BYTES):
            part = rows[start:stop]
            if facts.are_piece(len(part), int(part.sizes.sum())):
                self._add_piece(part)
            else:
                self._add_pages(part, FULL_TIER if cut else 0)
            self.next_row += len(part)

    def _add_piece(self, rows: Rows) -> None:
        schema = self.schema
        flat: Rows
        if isinstance(rows, Batch):
            flat = self.facts.rows.of_columns(rows.columns(schema.packed), len(rows))
        elif schema.kept.is_flat:
            flat = np.ascontiguousarray(rows)
        else:
            dtype = self.facts.rows.dtype
            flat = records.flatten(rows, schema.packed, dtype, schema.kept.byte_index)
        n = len(rows)
        room = room_of_piece(self.txn.cheap_room())
        group = put_piece(self.txn, self.node, self.next_row, schema, flat, 0, n, room, is_new=True)
        self.groups.append(group)
        self.n_loose += 1

    def _add_pages(self, rows: Rows, tier: int = 0) -> None:
        schema, n = self.schema, len(rows)
        if self._recipes is None:
            self._recipes = Recipes(self.txn, self.node, schema, self.before.stamp)
        leaves = schema.stored
        # Encoded blocks may be views of these columns; they are written before the next group.
        matrices = None
        if isinstance(rows, Batch):
            columns = rows.columns(leaves, utf8=True)
        else:
            if self._columns is None or self._columns.room < n:
                self._columns = Columns(schema.kept, n)
            columns = self._columns.split(rows)
            matrices = self._columns.matrices(n)
        write_pages(
            self.txn,
            self.node,
            self.next_row,
            leaves,
            columns,
            self._recipes,
            matrices=matrices,
            is_new=True,
        )
        group = put_pages_group(self.txn, self.node, self.next_row, schema, n, n, tier)
        self.groups.append(group)

    def finish(self) -> int:
        """Put the tail, and remember the layout; return the number of rows added."""
        n = self.next_row - self.before.next_row
        if n:
            self.vocabularies.put()
            tail = Tail(self.next_row, self.before.n_live + n, self.n_loose, new_stamp())
            before = None if self.is_new else self.before
            indexed = put_tail(self.txn, self.node, self.schema, tail, before)
            if self._recipes is not None:
                self._recipes.keep(tail.stamp)
            layout = known(self.node, self.before)
            if layout is not None:
                for group in self.groups:
                    layout = layout.appended(tail, group)
                remember(self.node, layout)
            if indexed:
                from kist.model.tables.indexes.keep import after_append

                after_append(self.txn, self.node, self.path, n, checked=self.checked)
        return n


class Columns:
    """Working memory for the columns of up to `room` rows."""

    def __init__(self, schema: Schema, room: int) -> None:
        leaves = schema.leaves
        self.room = room
        self._runs = records.neighbours(schema.dtype, leaves)
        self._matrices = [np.empty((n, room), leaves[first].dtype) for first, n, _ in self._runs]
        found: dict[int, Array] = {}
        for (first, _, _), matrix in zip(self._runs, self._matrices, strict=True):
            found |= {first + i: column for i, column in enumerate(matrix)}
        self._others = [i for i in range(len(leaves)) if i not in found]
        for i in self._others:
            found[i] = np.empty(room * leaves[i].n_values, leaves[i].dtype)
        self._columns = [found[i] for i in range(len(leaves))]
        self._leaves = leaves

    def split(self, rows: Array) -> list[Array]:
        """Copy structured rows into one flat array per leaf, on several threads.

        The arrays hold until the next call.
        """
        rows = np.ascontiguousarray(rows)
        others = [self._leaves[i] for i in self._others]

        def part(start: int) -> None:
            stop = min(start + records.BLOCK_ROWS, len(rows))
            records.transpose(
                rows[start:stop], self._runs, [m[:, start:stop] for m in self._matrices]
            )
            outs = [
                self._columns[i][start * leaf.n_values : stop * leaf.n_values]
                for i, leaf in zip(self._others, others, strict=True)
            ]
            records.split(rows[start:stop], others, outs)

        run([partial(part, start) for start in range(0, len(rows), records.BLOCK_ROWS)])
        return [
            column[: len(rows) * leaf.n_values]
            for column, leaf in zip(self._columns, self._leaves, strict=True)
        ]

    def matrices(self, n_rows: int) -> dict[int, Array]:
        """Return columns of one dtype together, by the number of the first leaf."""
        return {
            first: matrix[:, :n_rows]
            for (first, _, _), matrix in zip(self._runs, self._matrices, strict=True)
        }


def append_blocks(
    txn: Transaction,
    state: TableState,
    blocks: Iterable[Rows],
    *,
    checked: bool = True,
    is_new: bool = False,
) -> int:
    """Append blocks of structured rows, of the dtype in which rows are given; return their number.

    Parameters
    ----------
    state : TableState
        The table as `txn` shows it.
    blocks : iterable of structured ndarray, or of Batch
        Taken one at a time. Short ones are joined to row groups, so that
        memory stays at two of them.
    checked : bool
        Hold the rows against unique indexes; else the caller does.
    is_new : bool
        The table has neither a tail nor indexes yet.

    Notes
    -----
    Ten rows cost one encoding and two puts: nothing grows with the table.
    """
    state.check_writable()
    appending = _Appending(txn, state, checked, is_new)
    if not (isinstance(blocks, tuple) and len(blocks) == 1):  # which most appends are
        blocks = by_group(blocks, appending.facts.group_rows)
    for rows in blocks:
        appending.add(rows)
    n = appending.finish()
    if appending.n_loose > MAX_LOOSE:
        from kist.model.tables.changes.fold import fold_table

        fold_table(txn, state.node, state.path)
    return n


def by_group(parts: Iterable[Rows], group_rows: int) -> Iterator[Rows]:
    """Join short blocks into blocks of `group_rows` rows; long ones come as they are.

    Blocks of long strings are not kept waiting for more than `TEXT_BYTES` of them.
    """
    waiting: list[Rows] = []
    n = n_bytes = 0
    for part in parts:
        if not waiting and len(part) >= group_rows:
            whole = len(part) - len(part) % group_rows
            yield part[:whole]
            part = part[whole:]
        while n + len(part) >= group_rows:
            cut = group_rows - n
            yield joined([*waiting, part[:cut]])
            waiting, n, n_bytes, part = [], 0, 0, part[cut:]
        if len(part):
            waiting.append(owned(part))  # a loop may fill the same array again for the next part
            n += len(part)
        if len(part) and isinstance(part, Batch):
            n_bytes += int(part.sizes.sum())
            if n_bytes > TEXT_BYTES:
                yield joined(waiting)
                waiting, n, n_bytes = [], 0, 0
    if waiting:
        yield joined(waiting)
