"""Arrays as views of the file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.codecs.values import is_stored_order
from kist.engine import Transaction
from kist.engine.mapped import map_page
from kist.errors import CodecError, CorruptDataError, DTypeError, ShapeError, TransactionError
from kist.format.dtypes import is_string_dtype
from kist.model.arrays.grid import BlockGrid
from kist.model.arrays.read import place
from kist.model.arrays.segment import empty_array, inline_values
from kist.model.arrays.state import ArrayState, Segment, located
from kist.storage.base import view_of

if TYPE_CHECKING:
    from kist.model.arrays.array import Array

__all__ = ["map_array"]

_ANEW = "make it anew with create_array(name, array[:], codec='none'), and chunks=shape if given"


def map_array(array: Array) -> np.ndarray[Any, Any]:
    """Return an array as a read-only view of the file; see `Array.mmap`."""
    with array._hold() as view:
        if isinstance(view, Transaction):
            raise TransactionError(
                f"mmap: {array._path!r} is inside a transaction, whose changes may be undone; "
                "commit first"
            )
        state = array._state(view)
        found = _mapped(state)
        found.flags.writeable = False
        return found


def _mapped(state: ArrayState) -> np.ndarray[Any, Any]:
    dtype, shape = state.dtype, state.shape
    name = f"mmap: {state.path!r}"
    if state.schema.sealed:
        raise CodecError(f"{name} is sealed, so its bytes in the file are not its values; read it")
    if is_string_dtype(dtype) or not is_stored_order(dtype):
        raise DTypeError(
            f"{name} has dtype {dtype}, whose bytes in the file are others than in memory; read it"
        )
    if not math.prod(shape) or not dtype.itemsize:
        return empty_array(shape, dtype)
    if state.schema.codec != "none":
        raise CodecError(f"{name} is stored with codec {state.schema.codec!r}; {_ANEW}")
    if any(n > 1 for n in state.grid):
        raise ShapeError(
            f"{name} is stored in {math.prod(state.grid)} chunks of shape {state.schema.chunks}; "
            f"{_ANEW}"
        )
    segments = state.segments((0,) * len(shape))
    if not segments:
        return np.broadcast_to(state.schema.fill_value(), shape).view()
    segment = segments[0]
    if len(segments) > 1 or segment.record.valid != shape or not _in_order(state, segment):
        raise ShapeError(f"{name} was changed since it was made and is stored in parts; {_ANEW}")
    if segment.pointer is None:
        found: np.ndarray[Any, Any] = inline_values(segment, dtype)[place(map(slice, shape))]
        return found
    try:
        buffer, at = map_page(state.view, segment.pointer)
    except CodecError as error:
        raise CodecError(f"{name}: {error}; {_ANEW}") from None
    except CorruptDataError as error:
        raise located(error, state.path, (0,) * len(shape)) from error
    memory = np.frombuffer(view_of(buffer), np.uint8)[at:]
    nbytes = math.prod(shape) * dtype.itemsize
    if len(memory) < nbytes:
        raise CorruptDataError(
            f"{state.path!r}: a page of {len(memory)} bytes for shape {shape}",
            offset=segment.pointer.offset,
            node=state.path,
        )
    # Rows behind the valid ones follow them.
    return memory[:nbytes].view(dtype).reshape(shape)


def _in_order(state: ArrayState, segment: Segment) -> bool:
    """Tell whether the valid values of a segment stand in C order without gaps."""
    record = segment.record
    grid = BlockGrid(record.stored, state.schema.blocks)
    return grid.is_runs and record.stored[1:] == record.valid[1:]
