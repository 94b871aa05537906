"""Writing the values of leaves that a table did not have, row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist._kernels.cells import empty_values
from kist.errors import TooLargeError
from kist.format.altering import pruned
from kist.format.schema import Leaf, Schema
from kist.model.tables.changes.change import drop_patches
from kist.model.tables.changes.pages import Recipes, write_pages
from kist.model.tables.changes.write import put_piece, put_schema, put_tail
from kist.model.tables.indexes.keep import forget_leaves
from kist.model.tables.stored.layout import Group, Layout, remember
from kist.model.tables.stored.read import Span, as_ordinals, group_spans, read_leaves
from kist.model.tables.stored.records import new_stamp
from kist.model.tables.stored.schema import facts_of
from kist.model.tables.stored.state import TableState, state_of

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["put_altered", "put_leaves"]

Array = np.ndarray[Any, Any]
Make = Callable[[Span, int], "Sequence[Array] | None"]

MAX_PAGE_BYTES: Final = 256 << 20
"""Most bytes of a page in memory. Row groups keep their rows, fitted to other columns."""


def put_altered(txn: Transaction, state: TableState, schema: Schema) -> None:
    """Put the next schema of a table of which nothing else changes."""
    if schema.gone:
        schema = _pruned(schema, state.layout.groups)
    put_schema(txn, state.node, schema)


def put_leaves(
    txn: Transaction, state: TableState, schema: Schema, leaves: Sequence[Leaf], make: Make
) -> None:
    """Write values of some leaves for all rows, and put the schema that has them.

    Parameters
    ----------
    state : TableState
        The table before.
    schema : Schema
        The next one.
    leaves : sequence of Leaf
        Of the next one: new ones, or old ones that get other values. Pieces are written again
        with all leaves.
    make : callable
        (span of live rows of one group, position of the first) -> one flat array per leaf; None
        where the group needs nothing. Called once for each group, in order.
    """
    groups = state.layout.groups
    _check_sizes(groups, leaves)
    recipes = Recipes(txn, state.node, schema, state.tail.stamp)
    stored = [leaf for leaf in leaves if leaf.is_stored]
    after = []
    at = 0
    for group in groups:
        span = group_spans(state, group)
        columns = make(span, at)
        at += group.n_live
        if columns is None:
            after.append(group)
            continue
        if span.n < group.n_rows:
            columns = _spread(span, leaves, columns)
        if group.is_pages:
            pairs = [pair for pair in zip(leaves, columns, strict=True) if pair[0].is_stored]
            write_pages(
                txn, state.node, group.first, stored, [column for _, column in pairs], recipes
            )
            after.append(group)
        else:
            after.append(_put_piece(txn, state, schema, group, leaves, columns))
    put_schema(txn, state.node, _pruned(schema, after))
    # A stamp of its own: pages that were looked up under the old one are others now.
    tail = state.tail._replace(stamp=new_stamp())
    indexed = put_tail(txn, state.node, schema, tail, state.tail)
    remember(state.node, Layout(tail, after))
    if indexed:
        forget_leaves(txn, state_of(txn, state.node, state.path), leaves)


def _pruned(schema: Schema, groups: Sequence[Group]) -> Schema:
    """Return the schema without leaves that no piece and no patch can hold any more."""
    versions = [g.record.version for g in groups if g.patches or not g.is_pages]
    oldest = min(versions, default=schema.version)
    return pruned(schema, lambda entry: entry.until > oldest)


def _check_sizes(groups: Sequence[Group], leaves: Sequence[Leaf]) -> None:
    most = max((group.n_rows for group in groups), default=0)
    for leaf in leaves:
        if most * leaf.nbytes > MAX_PAGE_BYTES:
            raise TooLargeError(
                f"column {leaf.path[0]!r} takes {leaf.nbytes:,} bytes a row, and the row groups "
                f"of this table have up to {most:,} rows: make a new table with the column"
            )


def _spread(span: Span, leaves: Sequence[Leaf], columns: Sequence[Array]) -> list[Array]:
    """Return columns of all rows of a group; a deleted row repeats the live one before it."""
    alive = np.zeros(span.group.n_rows, bool)
    alive[as_ordinals(span.ordinals)] = True
    places = np.maximum(np.cumsum(alive) - 1, 0)
    return [
        column.reshape(span.n, leaf.n_values)[places].reshape(-1)
        for leaf, column in zip(leaves, columns, strict=True)
    ]


def _put_piece(
    txn: Transaction,
    state: TableState,
    schema: Schema,
    group: Group,
    leaves: Sequence[Leaf],
    columns: Sequence[Array],
) -> Group:
    n = group.n_rows
    values = {leaf.id: column for leaf, column in zip(leaves, columns, strict=True)}
    others = [state.facts.by_id[leaf.id] for leaf in schema.packed if leaf.id not in values]
    arrays = [empty_values(n * leaf.n_values, leaf.dtype) for leaf in others]
    read_leaves(state, [Span(group, range(n), 0)], others, arrays)
    values |= {leaf.id: array for leaf, array in zip(others, arrays, strict=True)}
    rows = facts_of(schema).rows.of_columns([values[leaf.id] for leaf in schema.packed], n)
    drop_patches(txn, state.node, group)
    tier = group.record.tier
    return put_piece(txn, state.node, group.first, schema, rows, tier, group.n_live)
