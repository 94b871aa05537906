"""Values of columns on their way from one schema to the next."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from kist._kernels import records
from kist._kernels.cells import Cells, empty_values, holds_missing, item_of
from kist.errors import DTypeError
from kist.format.columns import ColumnSpec
from kist.format.nullable import is_nullable, pairs, parts
from kist.format.plain import pack_value, unpack_value
from kist.format.ragged import is_ragged
from kist.format.schema import Leaf
from kist.model.cast_ragged import as_cells
from kist.model.cast_values import cast_values
from kist.model.tables.stored.batch import contiguous
from kist.model.tables.stored.computed import Values
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.read import Span, read_leaves
from kist.model.tables.stored.schema import SchemaFacts
from kist.model.tables.stored.state import TableState

__all__ = ["cast_all", "is_initial", "packed", "split_column", "unpacked", "values_at"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]

_NOTHING = {"f": np.nan, "c": np.nan, "m": np.timedelta64("NaT"), "M": np.datetime64("NaT")}
"""What stands for a null in a column that has none; zeros in those of other kinds."""


def packed(values: Any) -> bytes | None:
    """Return the first of some values as the schema keeps it."""
    return None if values is None else pack_value(values[0])


def unpacked(column: ColumnSpec, packed: bytes) -> Array:
    """Return a value that the schema keeps, as an array of one row."""
    dtype = column.shown
    if is_ragged(dtype):
        return as_cells([unpack_value(packed)], dtype, column=column.name)
    out = np.empty((1, *dtype.shape), dtype.base)
    out[0, ...] = unpack_value(packed)
    return out


def split_column(array: Array, leaves: Sequence[Leaf]) -> list[Array]:
    """Return values of a column as one flat array per leaf."""
    views = [records.field_view(array, leaf.path[1:]) for leaf in leaves]
    return [contiguous(view).reshape(-1) for view in views]


def is_initial(state: TableState, group: Group, leaves: Sequence[Leaf]) -> bool:
    """Tell whether all rows of a group have the initial value of a column."""
    if any(state.constant(leaf, group) is None for leaf in leaves):
        return False
    return not state.patched_leaves(group) & {leaf.id for leaf in leaves}


def values_at(
    state: TableState, facts: SchemaFacts, span: Span, known: dict[int, Array] | None = None
) -> Values:
    """Return the columns of some rows; `facts` are those of the next schema."""

    def read(leaf: Leaf) -> Array:
        out = empty_values(span.n * leaf.n_values, leaf.dtype)
        read_leaves(state, [span._replace(at=0)], [state.facts.by_id[leaf.id]], [out])
        return out

    return Values(facts, span.n, read, known)


def cast_all(values: Array, dtype: DType, name: str, what: str, at: int, unsafe: bool) -> Array:
    """Return values of a column in another dtype: checked one by one, or as NumPy casts."""
    if not unsafe:
        try:
            return cast_values(values, dtype, column=name, first_row=at, what=what)
        except DTypeError as error:
            raise DTypeError(
                f"{error}; unsafe=True casts as NumPy's astype does", row=error.row, column=name
            ) from error
    if values.shape[1:] != dtype.shape:
        raise DTypeError(
            f"{what}: {values.shape[1:]} values a row do not become {dtype.shape}", column=name
        )
    try:
        return _forced(values, dtype.base)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{what}: {error}", column=name) from error


def _forced(values: Array, dtype: DType) -> Array:
    """Cast as NumPy does, fields by their names; nulls become NaN, NaT, zeros or empty cells."""
    if isinstance(values, Cells) and is_ragged(dtype):
        lengths, items = values.gather()
        base, shape = item_of(dtype)
        if items.shape[1:] != shape:
            raise ValueError(f"items of shape {items.shape[1:]} do not become {shape}")
        missing = values.missing if holds_missing(dtype) else None
        return Cells.of(lengths, _forced(items, base), dtype, missing)
    if is_nullable(dtype) or is_nullable(values.dtype):
        some, valid = parts(values) or (values, np.ones(len(values), bool))
        if is_nullable(dtype):
            return pairs(_forced(some, dtype["value"]), valid, dtype)
        found = _forced(some, dtype)
        found[~valid] = _NOTHING.get(dtype.kind, np.zeros((), dtype)[()])
        return found
    if dtype.names is None or values.dtype.names is None:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return values.astype(dtype)
    if set(dtype.names) != set(values.dtype.names):
        raise ValueError(f"fields {values.dtype.names} do not become {dtype.names}")
    out = np.zeros(values.shape, dtype)
    for name in dtype.names:
        out[name] = _forced(values[name], dtype[name].base)
    return out
