"""Updating: new values for some columns of the rows that were found, group after group.

Values that are given are cast once, before anything is read. Expressions are computed for the
rows found in some groups at a time, on several threads, from values as they were before: each
group is read before it is changed, and no group is looked at twice. So memory is bounded
by a few row groups however many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kist import options
from kist._kernels import records
from kist._kernels.cells import empty_values
from kist.engine.parallel import run
from kist.errors import DTypeError, KistError, SecretError, SelectionError, ShapeError
from kist.format.ragged import item_text
from kist.format.schema import Leaf
from kist.model.tables.changes.change import Changes, Prepared, in_order
from kist.model.tables.input.values import as_items, as_values
from kist.model.tables.query.find import (
    GROUPS_AT_ONCE,
    Found,
    by_codes,
    check_sources,
    positions_of,
    spans_of,
)
from kist.model.tables.query.rowset import is_small, read_spans_of
from kist.model.tables.stored.computed import check_assignable, sealed_sources
from kist.model.tables.stored.fields import Fields, field_at, parse_path
from kist.model.tables.stored.read import Span, group_spans, read_leaves
from kist.model.tables.stored.state import TableState
from kist.query import Bound, Expr, as_expr, parse

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.tables.table import Table

__all__ = ["all_found", "delete_found", "is_expression", "split_values", "update_found"]

Array = np.ndarray[Any, Any]


def is_expression(value: Any) -> bool:
    """Tell whether a value is computed: what `kist.expr` gives, or a column."""
    return isinstance(value, Expr) or hasattr(value, "__kist_expr__")


def all_found(state: TableState) -> Iterator[list[Found]]:
    """Return all rows of a table as if a condition had found them."""
    step = GROUPS_AT_ONCE * options.n_threads
    for start in range(0, state.layout.n_groups, step):
        places = range(start, min(start + step, state.layout.n_groups))
        groups = [(place, state.layout.group(place)) for place in places]
        yield [Found(place, group, group_spans(state, group).ordinals) for place, group in groups]


def delete_found(txn: Transaction, state: TableState, found: Iterable[Sequence[Found]]) -> int:
    """Delete the rows that were found; return their number."""
    changes = Changes(txn, state)
    for some in found:
        for hit in some:
            changes.delete(hit.group, hit.ordinals)
    return changes.finish()


def split_values(fields: Fields, values: Array) -> list[Array]:
    """Return one array per leaf of values of a column."""
    return records.split(values, fields.leaves) if fields.is_structured else [values]


class _Given:
    """Values that stand there: one for all rows, or one for each."""

    columns: tuple[str, ...] = ()

    def __init__(self, state: TableState, fields: Fields, value: Any) -> None:
        items = cast(Array, as_items(value, state.schema, fields, fields.label))
        items = items.reshape(len(items), *fields.item_shape)
        self.n = len(items)
        self._parts = split_values(fields, items)

    def at(self, hit: Found, at: int, blocks: Mapping[str, Array]) -> list[Array]:
        """Return the values of the rows of a hit, the first of which is number `at` of all."""
        n = len(hit.ordinals)
        if self.n == 1:
            return [np.broadcast_to(part, (n, *part.shape[1:])) for part in self._parts]
        return [part[at : at + n] for part in self._parts]


class _Computed:
    """Values of an expression."""

    n = 1

    def __init__(
        self,
        table: Table,
        state: TableState,
        fields: Fields,
        value: Any,
        params: Mapping[str, Any],
    ) -> None:
        if fields.is_ragged:
            raise DTypeError(
                f"update {fields.label}: expressions give single values, and this holds "
                f"{item_text(fields.dtype)}; give the cells",
                column=fields.stored[0].path[0],
            )
        tree = as_expr(value)
        check_sources(tree, table)
        bound: Bound = parse(tree, state.facts.columns, params, condition=False)
        facts = state.facts
        if not all(leaf.id in facts.sealed for leaf in fields.stored):
            told = sealed_sources(facts, [facts.by_name[name] for name in bound.columns])
            if told:
                raise SecretError(
                    f"update {fields.label}: it would be computed from {told[0]!r}, which is "
                    "sealed, and tell its values in clear; give the values if that is meant"
                )
        self._bound = by_codes(state, bound)
        self._state, self._fields = state, fields
        self.columns = tuple(state.facts.needs(self._bound.columns))

    def at(self, hit: Found, at: int, blocks: Mapping[str, Array]) -> list[Array]:
        """Return the values of the rows of a hit, computed from columns of these rows."""
        fields, schema, n = self._fields, self._state.schema, len(hit.ordinals)
        valid = self._state.facts.valid(self._bound.columns, blocks)
        found = self._bound.value({name: blocks[name] for name in self._bound.columns}, n, valid)
        shape = (n, *fields.item_shape)
        try:
            values = as_values(found, schema, fields, shape, fields.label)
        except DTypeError as error:
            place = error.row
            if place is None:
                raise
        else:
            return split_values(fields, values)
        # Say which row of the table it is, not which of those in hand.
        row = int(positions_of(self._state, hit)[place])
        as_items(found[place : place + 1], schema, fields, fields.label, first_row=row)
        raise RuntimeError(f"row {row} is cast alone, and is not among others")


def update_found(
    txn: Transaction,
    table: Table,
    state: TableState,
    found: Iterable[Sequence[Found]],
    values: Mapping[str, Any],
    params: Mapping[str, Any],
) -> int:
    """Give the rows that were found new values in some columns; return their number.

    Parameters
    ----------
    state : TableState
        The table as `txn` shows it.
    found : iterable of sequences of Found
        Taken one sequence at a time; each group at most once.
    values : mapping of str to value
        Column -> a value, one value a row, or an expression.
    params : mapping
        Values of names in expressions that are not columns.
    """
    if not isinstance(values, Mapping):
        raise SelectionError(
            f"update takes a mapping of columns to values, not {type(values).__name__}"
        )
    sources: list[_Given | _Computed] = []
    leaves: list[Leaf] = []
    for name, value in values.items():
        fields = field_at(state.schema, parse_path(state.schema, name))
        leaves += fields.stored
        if is_expression(value):
            sources.append(_Computed(table, state, fields, value, params))
        else:
            sources.append(_Given(state, fields, value))
    if len({leaf.id for leaf in leaves}) < len(leaves):
        raise SelectionError(f"two of {', '.join(values)} are parts of one column")
    check_assignable(state.facts, leaves)
    if not leaves:
        return 0
    order = in_order(leaves)
    leaves = [leaves[i] for i in order]
    inputs = list(dict.fromkeys(name for source in sources for name in source.columns))

    changes = Changes(txn, state)

    def prepare(hit: Found, at: int, blocks: Mapping[str, Array] | None) -> Prepared | KistError:
        try:
            if blocks is None:
                blocks = _read(state, inputs, hit) if inputs else {}
            parts = [part for source in sources for part in source.at(hit, at, blocks)]
            return changes.prepare(hit.group, hit.ordinals, leaves, [parts[i] for i in order])
        except KistError as error:
            return error  # of several threads the first row counts, not the first to fail

    n = 0
    rows = iter(found)
    for some in rows:
        tasks = []
        known = _read_together(state, inputs, some)
        for hit in some:
            tasks.append(partial(prepare, hit, n, known.get(hit.place)))
            n += len(hit.ordinals)
        if any(source.n != 1 and source.n < n for source in sources):
            n += sum(len(hit.ordinals) for some in rows for hit in some)
            break
        for prepared in run(tasks):
            if isinstance(prepared, KistError):
                raise prepared
            changes.put(prepared)
    _check_lengths(values, sources, n)
    changes.finish()
    return n


def _check_lengths(
    values: Mapping[str, Any], sources: Sequence[_Given | _Computed], n: int
) -> None:
    """Raise when there is neither one value for all rows nor one for each."""
    for name, source in zip(values, sources, strict=True):
        if source.n not in (1, n):
            raise ShapeError(
                f"update column {name!r}: {source.n} values for {n} rows; give one value, or one "
                "for each row; nothing was changed"
            )


def _read(state: TableState, names: Sequence[str], hit: Found) -> dict[str, Array]:
    """Return columns of the rows of a hit, as expressions take them."""
    leaves = [state.facts.by_name[name] for name in names]
    n = len(hit.ordinals)
    columns = [empty_values(n * leaf.n_values, leaf.dtype) for leaf in leaves]
    read_leaves(state, [Span(hit.group, hit.ordinals, 0)], leaves, columns)
    return dict(zip(names, columns, strict=True))


def _read_together(
    state: TableState, names: Sequence[str], some: Sequence[Found]
) -> dict[int, dict[str, Array]]:
    """Return columns of the rows of several hits, by the place of the group, where they are few.

    Reading the pages of one column together takes two thirds of the time; nothing where it fails,
    so that the rows in front of those that cannot be read are looked at first.
    """
    few = [hit for hit in some if is_small(hit)]
    leaves = [state.facts.by_name[name] for name in names]
    if len(few) < 2 or not leaves or any(leaf.n_values != 1 or leaf.is_loose for leaf in leaves):
        return {}
    spans, n = spans_of([few])
    try:
        columns, _ = read_spans_of(state, leaves, spans, n)
    except KistError:  # who reads them one by one says it
        return {}
    return {
        hit.place: {
            name: column[span.at : span.at + span.n]
            for name, column in zip(names, columns, strict=True)
        }
        for hit, span in zip(few, spans, strict=True)
    }
