"""What an expression over arrays is computed from: in memory, in a store, or read by slices."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from kist.errors import QueryError
from kist.format.nullable import dtype_text
from kist.model.arrays.array import Array
from kist.model.arrays.input import is_sliceable
from kist.model.arrays.read import read
from kist.model.arrays.state import array_state
from kist.model.indexing import Box
from kist.model.tables.column import Column
from kist.model.tables.stored.fields import read_spans
from kist.model.tables.stored.read import plan
from kist.model.tables.stored.records import GROUP_ROWS
from kist.model.tables.stored.state import state_of

__all__ = ["Operand", "hold_all", "is_operand", "operand_of"]

NumPyArray = np.ndarray[Any, Any]
Where = tuple[slice, ...]
"""One slice an axis, each with both ends and without a step."""


class Operand:
    """Values of one name of an expression.

    Attributes
    ----------
    shape, dtype
        As in NumPy.
    chunks : tuple of int or None
        In which parts they are best read, if that matters.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunks: tuple[int, ...] | None,
        read: Callable[[Where], NumPyArray],
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.chunks = chunks
        self._read = read

    def read(self, where: Where) -> NumPyArray:
        """Return a part; axes of length 1 are broadcast, those in front are not there."""
        own = where[len(where) - len(self.shape) :]
        own = tuple(
            slice(0, 1) if n == 1 else part for part, n in zip(own, self.shape, strict=True)
        )
        return self._read(own)


def is_operand(value: Any) -> bool:
    """Tell whether a value has an element for each of the result, rather than being a constant."""
    if isinstance(value, (Array, Column)):
        return True
    if isinstance(value, (np.ndarray, list, tuple)) or hasattr(value, "iloc"):
        return np.ndim(value) > 0
    return is_sliceable(value) and len(value.shape) > 0


def operand_of(value: Any, name: str, held: ExitStack) -> Operand:
    """Return the operand for a value.

    Parameters
    ----------
    value : Array, Column, array-like, or what can be sliced
        What the user gave.
    name : str
        How messages call it.
    held : ExitStack
        Closed when the values are no longer needed.

    Raises
    ------
    QueryError
        It holds records or objects.
    """
    if isinstance(value, Array):
        found = _stored_array(value, held)
    elif isinstance(value, Column):
        found = _stored_column(value, held)
    elif is_sliceable(value):
        found = Operand(
            tuple(value.shape),
            value.dtype,
            getattr(value, "chunks", None),
            lambda where: np.asarray(value[where]),
        )
    else:
        array = np.asarray(value)
        found = Operand(array.shape, array.dtype, None, lambda where: array[where])
    if found.dtype.names is not None or found.dtype.kind == "O":
        raise QueryError(
            f"operand {name!r} holds {dtype_text(found.dtype)}, which has no arithmetic"
        )
    return found


def _stored_array(array: Array, held: ExitStack) -> Operand:
    view = held.enter_context(array._hold())
    state = array_state(view, array._id, array._path)

    def part(where: Where) -> NumPyArray:
        # Asked for anew: inside a transaction the array may be the one that is written.
        now = array_state(view, array._id, array._path)
        box = Box(
            tuple(s.start for s in where), tuple(s.stop - s.start for s in where), (1,) * len(where)
        )
        return read(now, box)

    return Operand(state.shape, state.dtype, state.schema.chunks, part)


def _stored_column(column: Column, held: ExitStack) -> Operand:
    table = column.table
    view = held.enter_context(table._hold())
    state = state_of(view, table._id, table._path)
    fields = column._fields(state.schema)

    def part(where: Where) -> NumPyArray:
        rows, *inner = where
        now = state_of(view, table._id, table._path)
        values = read_spans(
            now, fields, plan(now, range(rows.start, rows.stop)), rows.stop - rows.start
        )
        return values[(slice(None), *inner)]

    shape = (state.n_rows, *fields.item_shape)
    return Operand(shape, fields.dtype, (GROUP_ROWS, *fields.item_shape), part)


def hold_all(values: dict[str, Any], held: ExitStack) -> dict[str, Operand]:
    """Return the operands for several values, all of one store from one state of it."""
    with ExitStack() as together:
        stores = {
            id(store): store
            for value in values.values()
            if isinstance(value, (Array, Column))
            for store in [(value.table if isinstance(value, Column) else value)._store]
        }
        for store in stores.values():
            together.enter_context(store.read())
        return {name: operand_of(value, name, held) for name, value in values.items()}
