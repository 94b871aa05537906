"""Making arrays: shape, chunks and codec of a new one, and filling it slab by slab."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.codecs.choose import parse_codec
from kist.errors import CodecError, DTypeError, ShapeError, TooLargeError
from kist.format.array import MAX_CHUNK_BYTES, ArraySchema, item_bytes, pack_fill
from kist.format.dtypes import pack_dtype
from kist.model.arrays.grid import (
    CHUNK_BYTES,
    as_chunks,
    as_shape,
    choose_blocks,
    choose_chunks,
    choose_runs,
)
from kist.model.arrays.input import as_array_dtype, as_item, cast_array, is_sliceable
from kist.model.arrays.state import ArrayState, new_array
from kist.model.arrays.write import write, write_one
from kist.model.indexing import Box

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.sealing.secrets import Encryption

__all__ = ["create", "slabs_of"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

SLAB_BYTES: Final = 32 << 20
"""Raw bytes that are taken at once of data that need not be in memory."""


def create(
    txn: Transaction,
    node: int,
    path: str,
    data: Any,
    *,
    shape: Any = None,
    dtype: Any = None,
    chunks: Any = "auto",
    fill_value: Any = 0,
    codec: Any = "auto",
    encrypt: Encryption | None = None,
) -> ArrayState:
    """Put schema, bounds and values of an array whose node was made in this transaction.

    Parameters
    ----------
    data, shape, dtype, chunks, fill_value, codec
        As for `Group.create_array`.
    encrypt : Encryption, optional
        What opens it, if it is to be sealed.
    """
    what = f"create {path!r}"
    values, bounds, found = _described(data, shape, dtype, what, path)
    if not isinstance(codec, str):
        raise CodecError(f"{what}: codec is a str such as 'auto' or 'none', not {codec!r}")
    name = parse_codec(codec)
    pack_dtype(found)  # raises for what cannot be stored
    width = item_bytes(found)
    if width > MAX_CHUNK_BYTES:
        raise TooLargeError(f"{what}: values of {width:,} bytes; a value has at most 1 GiB")
    if chunks is None or chunks is True or (isinstance(chunks, str) and chunks == "auto"):
        cut = choose_chunks(bounds, width)
        if name == "none" and _in_one(values):
            # One chunk in C order can be mapped. Axis 0 may grow in decent steps.
            rows = max(1, CHUNK_BYTES // (width * math.prod(bounds[1:]))) if bounds else 1
            cut = (max(bounds[0], rows), *bounds[1:]) if bounds else ()
    else:
        cut = as_chunks(chunks, bounds, width)
    whole = name == "none" and all(c >= n for c, n in zip(cut, bounds, strict=True))
    # In C order where all is one chunk; rows of such a chunk can be mapped, and read in one go.
    blocks = choose_runs(cut, width) if whole or len(cut) < 2 else choose_blocks(cut, width)
    fill = pack_fill(as_item(fill_value, found, path))
    schema = ArraySchema(found, cut, blocks, fill, name, encrypt is not None)
    field = None
    if encrypt is not None:
        from kist.model.arrays.sealed import SealedArray
        from kist.model.sealing.secrets import new_lock

        field = SealedArray.begin(txn, node, path, new_lock(txn, node, encrypt), fill)
    state = new_array(txn, node, path, schema, bounds, field)
    if values is not None:
        fill_from(txn, state, values, what)
    if field is not None:
        field.vouch(txn)
    return state


def _in_one(values: Any) -> bool:
    """Tell whether data are written as one chunk when they are not compressed."""
    return (
        isinstance(values, np.ndarray)
        and values.flags.c_contiguous
        and not values.dtype.hasobject
        and 0 < values.nbytes <= MAX_CHUNK_BYTES
    )


def _described(
    data: Any, shape: Any, dtype: Any, what: str, path: str
) -> tuple[Any, Shape, np.dtype[Any]]:
    """Return (values or None, shape, dtype) of a new array."""
    if data is None:
        if shape is None:
            raise ShapeError(f"{what}: give data, or a shape and a dtype")
        bounds = as_shape(shape)
        found = as_array_dtype("f8" if dtype is None else dtype, what)
        if found.subdtype is not None:
            # As NumPy does: a sub-array dtype adds its axes.
            base, inner = found.subdtype
            found, bounds = base, as_shape((*bounds, *inner))
        return None, bounds, found
    if is_sliceable(data):
        bounds = as_shape(data.shape)
        found = as_array_dtype(data.dtype if dtype is None else dtype, what)
        values: Any = data
    else:
        values = _values(data, dtype, what, path)
        bounds, found = as_shape(values.shape), values.dtype
    if shape is not None and as_shape(shape) != bounds:
        raise ShapeError(f"{what}: data of shape {bounds} for an array of shape {as_shape(shape)}")
    return values, bounds, found


def _values(data: Any, dtype: Any, what: str, path: str) -> Array:
    """Return data that are in memory as an array."""
    wanted = None if dtype is None else as_array_dtype(dtype, what)
    if wanted is not None and wanted.subdtype is not None:
        raise DTypeError(f"{what}: give data the dtype {wanted.base}; the shape is theirs")
    if wanted is None and not isinstance(data, np.ndarray | np.generic):
        source = _inferred(data, what)
    else:
        source = data
    if wanted is None and isinstance(source, np.ndarray | np.generic):
        if source.dtype.hasobject and source.dtype.kind != "T":
            source = _of_objects(np.asarray(source), what)
        wanted = as_array_dtype(source.dtype, what)
    assert wanted is not None
    return cast_array(source, wanted, path, "create")


def _inferred(data: Any, what: str) -> Any:
    try:
        found = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"{what}: lists of different lengths: {error}") from None
    if found.dtype.kind == "U" and not isinstance(data, str):
        # NumPy makes text of numbers beside text.
        items = np.array(data, dtype=object).reshape(-1).tolist()
        if any(not isinstance(item, str) for item in items):
            raise DTypeError(f"{what}: text beside other values; an array holds one kind of them")
    return found


def _of_objects(values: Array, what: str) -> Array:
    """Return an array of objects as strings where it holds nothing else.

    Raises
    ------
    DTypeError
        Naming the first object that is none.
    """
    if values.dtype.kind != "O":
        as_array_dtype(values.dtype, what)
    missing = False
    for place, item in enumerate(values.reshape(-1).tolist()):
        if item is None or (isinstance(item, float) and item != item):
            missing = True
        elif not isinstance(item, str):
            index = tuple(int(k) for k in np.unravel_index(place, values.shape))
            raise DTypeError(
                f"{what}: dtype object, and value {index} is of type {type(item).__name__}: "
                "convert numbers with x.astype(float); arrays of different shapes have their place "
                "in a key store"
            )
    dtype: Any = np.dtypes.StringDType(na_object=None) if missing else np.dtypes.StringDType()
    out = np.empty(values.shape, dtype)
    out[...] = np.where(values != values, None, values) if missing else values  # type: ignore[call-overload]
    return out


def fill_from(txn: Transaction, state: ArrayState, values: Any, what: str) -> None:
    """Write values into all of an array; what is not in memory slab by slab."""
    if isinstance(values, np.ndarray):
        if not write_one(txn, state, values):
            box = Box((0,) * len(state.shape), state.shape, (1,) * len(state.shape))
            write(txn, state, box, values)
        return
    for where in slabs_of(state.shape, state.schema.chunks, item_bytes(state.dtype)):
        part = np.asarray(values[where])
        count = tuple(s.stop - s.start for s in where)
        if part.shape != count:
            raise ShapeError(f"{what}: the data gave shape {part.shape} for {where}, not {count}")
        start = tuple(s.start for s in where)
        part = cast_array(part, state.dtype, state.path, "create")
        write(txn, state, Box(start, count, (1,) * len(count)), part)


def slabs_of(
    shape: Shape, chunks: Shape, width: int, nbytes: int = SLAB_BYTES
) -> Iterator[tuple[slice, ...]]:
    """Yield slices that cut a shape along its chunks into parts of about `nbytes`."""
    lengths = list(map(min, chunks, shape))
    total = math.prod(lengths) * width
    for axis in reversed(range(len(shape))):
        if not total:
            return
        more = max(1, min(nbytes // total, -(-shape[axis] // lengths[axis])))
        lengths[axis] *= more
        total *= more
    for corner in product(*(range(0, n, m) for n, m in zip(shape, lengths, strict=True))):
        yield tuple(slice(a, min(a + m, n)) for a, m, n in zip(corner, lengths, shape, strict=True))
