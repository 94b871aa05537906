"""Rows put in front of others: what stands behind them is written anew."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from kist._kernels import records
from kist._kernels.cells import empty_values
from kist.model.frames.incoming import Target, adopt
from kist.model.tables.changes.change import delete_rows
from kist.model.tables.changes.write import append_blocks
from kist.model.tables.indexes.unique import check_new_rows
from kist.model.tables.input.values import blocks_of, refuse_in_clear
from kist.model.tables.stored.batch import Rows, empty_batch
from kist.model.tables.stored.fields import all_fields, assignable, read_spans
from kist.model.tables.stored.read import plan, read_leaves
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.tables.table import Table

__all__ = ["insert_rows"]


def insert_rows(txn: Transaction, table: Table, state: TableState, at: int, data: Any) -> int:
    """Put rows in front of the row at a position, and return their number."""
    what = f"insert into {table._path!r}"
    refuse_in_clear(data, state.schema, what)
    rows = adopt(data, what, partial(Target.of, txn, table._id, state.schema))
    given = blocks_of(rows, state.schema, table._path, what)
    behind = range(at, state.n_rows)
    blocks = chain(given, _again(state, behind))
    n = append_blocks(txn, state, blocks, checked=False) - len(behind)
    delete_rows(txn, table._id, table._path, behind)
    # Only now is each of the rows behind there once.
    check_new_rows(table._state(txn), state.tail.next_row, what)
    return n


def _again(state: TableState, rows: range) -> Iterator[Rows]:
    """Read rows, a row group at a time, as appends take them."""
    fields = assignable(state.schema, all_fields(state.schema))
    size = state.facts.group_rows
    for start in range(rows.start, rows.stop, size):
        part = range(start, min(start + size, rows.stop))
        spans = plan(state, part)
        if not fields.loose:
            yield read_spans(state, fields, spans, len(part))
            continue
        leaves = fields.stored
        columns = [empty_values(len(part) * leaf.n_values, leaf.dtype) for leaf in leaves]
        read_leaves(state, spans, leaves, columns)
        batch = empty_batch(fields.dtype, fields.loose, len(part))
        for leaf, column in zip(leaves, columns, strict=True):
            if leaf.is_loose:
                batch.loose[leaf.path[0]] = column
            else:
                field = records.field_view(batch.fixed, leaf.path)
                field[...] = column.reshape(-1, *leaf.shape)
        yield batch
