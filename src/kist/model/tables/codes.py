"""The codes of a categorical column, as users see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import DTypeError
from kist.format.categorical import as_categories
from kist.format.columns import ColumnSpec
from kist.model.positions import as_positions
from kist.model.tables.changes.write import put_tail
from kist.model.tables.stored.categories import Categories, put_categories
from kist.model.tables.stored.fields import Fields, read_fields
from kist.model.tables.stored.layout import Layout, remember
from kist.model.tables.stored.layout import known as known_layout
from kist.model.tables.stored.records import new_stamp
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.tables.column import Column

__all__ = ["Codes", "add_categories", "categories_of", "rename_categories"]

Array = np.ndarray[Any, Any]


def spec_of(column: Column, state: TableState) -> ColumnSpec:
    """Return the column of a schema that has categories.

    Raises
    ------
    DTypeError
        It has none.
    """
    spec = state.schema.columns[state.schema.index(column._path[0])]
    if len(column._path) > 1 or not spec.is_categorical:
        raise DTypeError(
            f"{column._label()} has no categories: it holds {column.dtype}; "
            "cast_column(name, kist.categorical(...)) gives it some",
            column=column.name,
        )
    return spec


def categories_of(column: Column) -> Categories:
    """Return the categories of a column; raises as `spec_of`."""
    state = column._state()
    return state.categories(spec_of(column, state))


def add_categories(column: Column, categories: Iterable[Any]) -> None:
    """Add categories behind those that are there; as `Column.add_categories`."""
    what = f"add categories to {column._label()}"
    with column.table._write() as txn:
        state = column._state(txn)
        state.check_writable()
        spec = spec_of(column, state)
        known = state.categories(spec)
        if known.sort.fixed:
            raise DTypeError(f"{what}: an enumeration never grows", column=column.name)
        new = as_categories(categories, known.sort.base, what)
        _put(column, txn, state, spec, np.concatenate([known.values, new]), known, what)


def rename_categories(column: Column, names: Mapping[Any, Any]) -> None:
    """Give categories other names; as `Column.rename_categories`."""
    what = f"rename categories of {column._label()}"
    with column.table._write() as txn:
        state = column._state(txn)
        state.check_writable()
        spec = spec_of(column, state)
        known = state.categories(spec)
        before = known.values.tolist()
        for name in names:
            if name not in before:
                raise DTypeError(f"{what}: there is no category {name!r}", column=column.name)
        after = [names.get(value, value) for value in before]
        _put(column, txn, state, spec, as_categories(after, known.sort.base, what), known, what)


def _put(
    column: Column,
    txn: Transaction,
    state: TableState,
    spec: ColumnSpec,
    values: Array,
    before: Categories,
    what: str,
) -> None:
    as_categories(values.tolist(), before.sort.base, what)  # no two alike
    numbers = before.numbers
    if numbers is not None:
        numbers = dict(zip(values.tolist(), numbers.values(), strict=True))
    put_categories(txn, state.node, spec, Categories(before.sort, values, numbers))
    # What was computed from the values under the old stamp does not hold any more.
    tail = state.tail._replace(stamp=new_stamp())
    put_tail(txn, state.node, state.schema, tail, state.tail)
    layout = known_layout(state.node, state.tail)
    if layout is not None:
        remember(state.node, Layout(tail, layout.groups))


class Codes:
    """The codes of a column: indexed like it, gives new int64 arrays. -1 stands for no value.

    The same category has the same code as long as the column is there.
    """

    __slots__ = ("_column",)

    def __init__(self, column: Column) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, index: Any) -> Any:
        """Return codes by row, as NumPy does."""
        column = self._column
        state = column._state()
        spec = spec_of(column, state)
        (leaf,) = (leaf for leaf in state.schema.stored if leaf.id == spec.first_leaf)
        fields = Fields(leaf.dtype, (), (leaf,), (leaf,), column._label())
        positions = as_positions(index, state.n_rows, column._label())
        found = read_fields(state, fields, positions).astype(np.int64) - 1
        return found[()] if found.ndim == 0 else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("codes cannot become an array without a copy")
        found: Array = self[:]
        return found if dtype is None else found.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"<codes of {self._column._label()}, {len(self):,} rows>"
