"""Ragged columns and Arrow: lists and binary in and out, without a look at each row."""

from __future__ import annotations

from typing import Any

import numpy as np

from kist._kernels.cells import Cells, holds_text, item_of
from kist.errors import DTypeError
from kist.extras import need
from kist.format.leaves import Leaf
from kist.format.nullable import nullable
from kist.format.ragged import is_bytes, ragged
from kist.model.frames.arrow_in import column_values, field_dtype, is_text
from kist.model.frames.arrow_scalars import Scalars

__all__ = ["arrow_cells", "arrow_type", "cells_of", "from_arrow", "is_binary", "is_list",
           "list_dtype", "to_arrow"]  # fmt: skip

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]

_BINARY = ("binary", "large_binary", "binary_view")


def is_binary(kind: Any) -> bool:
    """Tell whether an Arrow type is that of bytes of any length."""
    return str(kind) in _BINARY


def is_list(kind: Any) -> bool:
    """Tell whether an Arrow type is that of lists of any length."""
    import pyarrow.types as types

    views = ("is_list_view", "is_large_list_view")  # not in every pyarrow
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or any(getattr(types, view, lambda _: False)(kind) for view in views)
    )


def list_dtype(field: Any, what: str) -> DType:
    """Return the dtype of the column for an Arrow field of lists or binary.

    Raises
    ------
    DTypeError
        There is none for its items.
    """
    if is_binary(field.type):
        return ragged(bytes)
    inner = field.type.value_field.with_name(field.name)
    if str(inner.type).startswith("dictionary<values=") and is_text(inner.type.value_type):
        inner = inner.with_type(inner.type.value_type)  # items have no categories
    return ragged(field_dtype(inner, what, inside=True))


def _lists_seen(views: Any) -> Any:
    """Return views of lists as lists: by a cast of pyarrow 26, empty ones end where none does."""
    import pyarrow as pa
    import pyarrow.compute as compute

    lengths = compute.fill_null(compute.list_value_length(views), 0).cast(pa.int64())
    ends = pa.concat_arrays([pa.array([0], pa.int64()), compute.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(ends, views.flatten(), mask=views.is_null())


def cells_of(array: Any, name: str, what: str, first_row: int = 0) -> Cells:
    """Return an Arrow array of lists or binary as cells, over Arrow's memory where that agrees.

    Returns
    -------
    Cells
        Of a nullable dtype where there is a null in the place of a list.

    Raises
    ------
    DTypeError
        A null inside a list, but for texts, which have nulls of their own.
    """
    import pyarrow as pa

    kind = array.type
    dtype = list_dtype(pa.field(name, kind), what)
    missing = None
    if array.null_count:
        dtype = nullable(dtype)
        missing = array.is_null().to_numpy(zero_copy_only=False)
    if is_binary(kind):
        if str(kind) == "binary_view":
            array = array.cast(pa.large_binary())
        _, at, data = array.buffers()
        width = np.int64 if str(array.type) == "large_binary" else np.int32
        n = len(array)
        offsets = np.zeros(1, width)
        if at is not None and n:
            offsets = np.frombuffer(at, width)[array.offset : array.offset + n + 1]
        items: Array = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        return _cells(offsets, items[int(offsets[0]) : int(offsets[-1])], dtype, missing)
    if "view" in str(kind).split("<")[0]:
        array = _lists_seen(array)
    offsets = array.offsets.to_numpy()
    values = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    if values.null_count and not holds_text(dtype):
        item = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        row = first_row + int((offsets - offsets[0]).searchsorted(item, "right")) - 1
        raise DTypeError(
            f"{what}: row {row}, column {name!r} ({kind}): a null among the items of a list, which "
            "columns cannot hold; nothing was changed",
            row=row,
            column=name,
        )
    return _cells(offsets, column_values(values, name, what), dtype, missing)


def _cells(offsets: Array, items: Array, dtype: DType, missing: Array | None) -> Cells:
    base, shape = item_of(dtype)
    items = items.astype(base, copy=False).reshape(-1, *shape)
    lengths = np.diff(offsets.astype(np.int64))
    if missing is None or not lengths[missing].any():
        return Cells.of(lengths, items, dtype, missing)
    # Bytes that stand under a null belong to nobody.
    _, kept = Cells.of(lengths, items, dtype)[~missing].gather()
    return Cells.of(np.where(missing, 0, lengths), kept, dtype, missing)


def from_arrow(values: Any, name: str, what: str) -> Cells:
    """Return what speaks Arrow, of lists or binary, as cells."""
    pa = need("pyarrow", "arrow", what)
    try:
        if hasattr(values, "__arrow_c_stream__"):
            column = pa.chunked_array(values)
            array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        else:
            array = pa.array(values)
    except (pa.ArrowInvalid, TypeError) as error:
        raise DTypeError(f"{what}: column {name!r} is no Arrow array: {error}") from error
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if not is_list(array.type) and not is_binary(array.type):
        raise DTypeError(f"{what}: column {name!r}: takes lists, found {array.type}", column=name)
    return cells_of(array, name, what)


# Out


def arrow_type(scalars: Scalars, leaf: Leaf) -> Any:
    """Return the Arrow type of a ragged column."""
    pa = scalars.pa
    if is_bytes(leaf.dtype):
        return pa.large_binary()
    base, shape = item_of(leaf.dtype)
    return pa.large_list(_item_type(scalars, np.dtype((base, shape)) if shape else base, leaf))


def _item_type(scalars: Scalars, dtype: DType, leaf: Leaf) -> Any:
    pa = scalars.pa
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        kind = _item_type(scalars, base, leaf)
        for size in reversed(shape):
            kind = pa.list_(kind, size)
        return kind
    if dtype.names is not None:
        return pa.struct([(name, _item_type(scalars, dtype[name], leaf)) for name in dtype.names])
    return scalars.scalar(dtype, leaf)


def arrow_cells(scalars: Scalars, cells: Cells, leaf: Leaf) -> Any:
    """Return cells as an Arrow array."""
    pa = scalars.pa
    lengths, items = cells.gather()
    offsets = np.zeros(len(lengths) + 1, np.int64)
    lengths.cumsum(out=offsets[1:])
    kind = arrow_type(scalars, leaf)
    at, valid = pa.py_buffer(offsets), None
    missing = cells.missing
    if missing is not None and missing.any():
        valid = pa.py_buffer(np.packbits(~missing.ravel(), bitorder="little"))
    if is_bytes(leaf.dtype):
        data = pa.py_buffer(np.ascontiguousarray(items))
        return pa.Array.from_buffers(kind, len(lengths), [valid, at, data])
    child = _item_array(scalars, items, leaf)
    return pa.Array.from_buffers(kind, len(lengths), [valid, at], children=[child])


def _item_array(scalars: Scalars, items: Array, leaf: Leaf) -> Any:
    """Return items as an Arrow array: further dimensions are lists of a fixed size."""
    pa = scalars.pa
    flat = np.ascontiguousarray(items).reshape(-1)
    if flat.dtype.names is None:
        array = scalars.array(flat, scalars.scalar(flat.dtype, leaf), leaf)
    else:
        children = [_item_array(scalars, flat[name], leaf) for name in flat.dtype.names]
        kind = pa.struct(
            [(n, child.type) for n, child in zip(flat.dtype.names, children, strict=True)]
        )
        array = pa.Array.from_buffers(kind, len(flat), [None], children=children)
    count = len(flat)
    for size in reversed(items.shape[1:]):
        count //= size
        array = pa.Array.from_buffers(pa.list_(array.type, size), count, [None], children=[array])
    return array


def to_arrow(cells: Cells, pa: Any) -> Any:
    """Return cells that belong to no table as an Arrow array."""
    leaf = Leaf(0, ("Ragged",), cells.dtype, (), 0, 1, 0)
    return arrow_cells(Scalars(pa, {}), cells, leaf)
