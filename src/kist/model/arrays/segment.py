"""The values of one segment: which blocks of its page a selection needs, and from there into place.

The one place that knows how values stand in a segment: block by block, or in C order, in a page
or in the record. Everything here works within one segment; `read` cuts selections into
segments, `write` makes them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.codecs import pipeline
from kist.codecs.registry import PLAIN
from kist.codecs.stage import Stage
from kist.codecs.values import is_stored_order, to_form
from kist.engine.ahead import Wanted
from kist.engine.blocks import read_blocks
from kist.engine.pages import read_runs
from kist.errors import CodecError, CorruptDataError, TooLargeError
from kist.format.array import ArraySchema
from kist.format.dtypes import is_string_dtype
from kist.format.values import Pointer, stored_pointer
from kist.model.arrays.blocks import block_counts, copy_values, halve, plan_blocks
from kist.model.arrays.grid import BlockGrid, block_grid, c_strides
from kist.model.arrays.state import Segment

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["empty_array", "gather", "in_blocks", "inline_values", "pack_inline", "read_segment"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Ints = tuple[int, ...]

STEP_BYTES: Final = 8 << 20
"""Raw bytes of blocks that are decoded at once: more are taken in steps, so that threads together
stay below some tens of MiB whatever the size of a chunk."""

_WIDE: Final = 32
"""Arrays of more axes lose those of length 1: blocks have two axes for each."""

_RAW = (Stage(PLAIN, b""),)


def empty_array(shape: Shape, dtype: np.dtype[Any], *, zeros: bool = False) -> Array:
    """Return an array with any content or zeros, also of a dtype without width.

    Raises
    ------
    TooLargeError
        There is not so much memory.
    """
    try:
        if not dtype.itemsize:
            return np.ndarray(shape, dtype, b"")
        if dtype.kind in "mM" and not zeros:
            return np.ndarray(shape, dtype)  # np.empty forgets the order of times without a unit
        return np.zeros(shape, dtype) if zeros else np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise TooLargeError(
            f"values of {dtype} in shape {shape} do not fit into memory; select fewer, or read "
            "them by blocks()"
        ) from error


def pack_inline(values: Array, limit: int) -> bytes | None:
    """Return values as they stand in a record, or None when that takes more than `limit` bytes."""
    if not is_string_dtype(values.dtype):
        if values.nbytes > limit:
            return None
        return to_form(np.ascontiguousarray(values).reshape(-1)).tobytes()
    if values.size > limit:
        return None
    from kist.codecs import strings

    packed = strings.pack_block(strings.content_of(values.reshape(-1)))
    return packed if len(packed) <= limit else None


def inline_values(segment: Segment, dtype: np.dtype[Any]) -> Array:
    record = segment.record
    data = record.data or b""
    n = math.prod(record.stored)
    if n * dtype.itemsize == len(data) and dtype.kind in "iuf" and is_stored_order(dtype):
        return np.frombuffer(data, dtype).reshape(record.stored)  # as they stand in memory
    try:
        if is_string_dtype(dtype):
            # Each value has a length of its own in the block: more cannot be there.
            if n > 8 * len(data):
                raise CodecError(f"{n} strings in {len(data)} bytes")
            out = np.empty(n, dtype)
            from kist.codecs import strings

            strings.fill(strings.open_block(data, n), out)
        else:
            if n * dtype.itemsize != len(data):
                raise CodecError(f"{len(data)} bytes for shape {record.stored} of {dtype}")
            out = empty_array((n,), dtype)
            pipeline.decode(_RAW, dtype, n, max(n, 1), 0, (data,) if n else (), out)
    except CodecError as error:
        raise CorruptDataError(f"values in the record do not decode: {error}") from error
    return out.reshape(record.stored)


def in_blocks(values: Array, grid: BlockGrid) -> Array:
    """Return the values of a segment in the order of its page, 1-d.

    Returns
    -------
    ndarray, shape (grid.n_values,)
        Contiguous. A view of `values` where they stand in that order already.
    """
    if grid.is_runs:
        return np.ascontiguousarray(values).reshape(-1)
    if values.ndim > _WIDE:
        axes = [k for k, n in enumerate(values.shape) if n > 1]
        shape = tuple(values.shape[k] for k in axes)
        values = values.reshape(shape)
        counts, block = tuple(grid.counts[k] for k in axes), tuple(grid.block[k] for k in axes)
    else:
        counts, block = grid.counts, grid.block
    padded = tuple(n * b for n, b in zip(counts, block, strict=True))
    if padded != values.shape:
        values = _padded(values, padded)
    ndim = values.ndim
    split = [part for pair in zip(counts, block, strict=True) for part in pair]
    order = [*range(0, 2 * ndim, 2), *range(1, 2 * ndim, 2)]
    out = np.empty((*counts, *block), values.dtype)
    back = np.argsort(order)
    copy_values(values.reshape(split), out.transpose(back))
    return out.reshape(-1)


def _padded(values: Array, shape: Shape) -> Array:
    """Repeat the last values along each axis: what compresses best, and is never read."""
    out = np.empty(shape, values.dtype)
    out[tuple(map(slice, values.shape))] = values
    done: list[slice] = [slice(n) for n in values.shape]
    for axis, (n, whole) in enumerate(zip(values.shape, shape, strict=True)):
        if n < whole:
            last, rest = done.copy(), done.copy()
            last[axis], rest[axis] = slice(n - 1, n), slice(n, whole)
            out[tuple(rest)] = out[tuple(last)]
            done[axis] = slice(whole)
    return out


def read_segment(
    view: View,
    segment: Segment,
    schema: ArraySchema,
    start: Ints,
    count: Ints,
    step: Ints,
    out: Array,
) -> None:
    """Fill `out` with the elements of a segment at equal distances along each axis.

    Parameters
    ----------
    start, count, step : tuple of int
        As of a `Box`, counted from the first corner of the segment, all of them valid.
    out : ndarray, shape ``count``
        Any strides.

    Raises
    ------
    CorruptDataError
        A checksum fails, or what is stored is not what the record says.
    """
    if segment.pointer is None:
        values = inline_values(segment, schema.dtype)
        out[...] = values if values.shape == count else values[_slices(start, count, step)]
        return
    pointer = segment.pointer
    if schema.sealed and 2 * math.prod(count) > math.prod(segment.record.stored):
        from kist.engine.sealedrecords import opened_pointer

        pointer = opened_pointer(view, pointer)
    grid = block_grid(segment.record.stored, schema.blocks)
    if len(start) > _WIDE:
        axes = [k for k, n in enumerate(grid.shape) if n > 1]
        out = out[tuple(slice(None) if n > 1 else 0 for n in grid.shape)]
        start, count, step = (tuple(part[k] for k in axes) for part in (start, count, step))
        grid = BlockGrid(tuple(grid.shape[k] for k in axes), tuple(grid.block[k] for k in axes))
    if grid.is_runs:
        _read_order(view, pointer, grid, start, count, step, out)
    else:
        _read_blocks(view, pointer, grid, start, count, step, out)


def wanted_of(
    segment: Segment, schema: ArraySchema, start: Ints, count: Ints, step: Ints
) -> Wanted | None:
    """Return what `read_segment` will need of the page of a segment, None without one.

    A little more where elements lie apart: the run from the first to the last.
    """
    if segment.pointer is None:
        return None
    if schema.sealed:
        return stored_pointer(segment.pointer), None
    grid = block_grid(segment.record.stored, schema.blocks)
    if math.prod(count) == grid.n_values:
        return segment.pointer, None
    if grid.is_runs:
        first = sum(a * s for a, s in zip(start, grid.strides, strict=True))
        span = sum((n - 1) * d * s for n, d, s in zip(count, step, grid.strides, strict=True))
        return segment.pointer, (first, first + span + 1)
    if len(start) > _WIDE:
        return segment.pointer, None
    counts = block_counts(grid, start, count, step)
    numbers = plan_blocks(grid, start, count, step, counts).numbers
    return segment.pointer, numbers * grid.block_values


def _slices(start: Ints, count: Ints, step: Ints) -> tuple[slice, ...]:
    return tuple(
        [slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(start, count, step, strict=True)]
    )


def _halves(
    start: Ints, count: Ints, step: Ints, out: Array, axis: int, at: int
) -> list[tuple[Ints, Ints, Array]]:
    """Cut a selection in two along an axis, after `at` of its elements."""
    parts = []
    for a, b in ((0, at), (at, count[axis])):
        where = (slice(None),) * axis + (slice(a, b),)
        parts.append(
            (
                (*start[:axis], start[axis] + a * step[axis], *start[axis + 1 :]),
                (*count[:axis], b - a, *count[axis + 1 :]),
                out[where],
            )
        )
    return parts


# Values in C order


def _read_order(
    view: View, pointer: Pointer, grid: BlockGrid, start: Ints, count: Ints, step: Ints, out: Array
) -> None:
    """Read the elements from runs of values that hold them, leaving out what lies between."""
    strides = [s * d for s, d in zip(grid.strides, step, strict=True)]
    first = sum([a * s for a, s in zip(start, grid.strides, strict=True)])
    span = 1 + sum([(n - 1) * s for n, s in zip(count, strides, strict=True)])
    if span == math.prod(count) and out.flags.c_contiguous:
        flat = out.reshape(-1)
        read_runs(view, pointer, [(first, first + span)], out.dtype, grid.n_values, flat)
        return
    # Along the outer axes whole blocks lie between one element and the next.
    cut = 0
    while cut < len(count) and (count[cut] == 1 or strides[cut] >= 2 * grid.block_values):
        cut += 1
    n_runs = math.prod(count[:cut])
    length = 1 + sum((n - 1) * s for n, s in zip(count[cut:], strides[cut:], strict=True))
    if n_runs * length * out.itemsize > STEP_BYTES and math.prod(count) > 1:
        axis = next(k for k, n in enumerate(count) if n > 1)
        for a, n, part in _halves(start, count, step, out, axis, (count[axis] + 1) // 2):
            _read_order(view, pointer, grid, a, n, step, part)
        return
    offsets = np.full((1,) * cut, first, np.int64)
    for axis in range(cut):
        shape = [1] * cut
        shape[axis] = -1
        offsets = offsets + (np.arange(count[axis]) * strides[axis]).reshape(shape)
    runs = [(a, a + length) for a in offsets.reshape(-1).tolist()]
    raw = read_runs(view, pointer, runs, out.dtype, grid.n_values)
    outer = c_strides((*count[:cut], length))[:-1]
    out[...] = _strided(raw, count, (*outer, *strides[cut:]))


def _strided(raw: Array, shape: Shape, strides: Ints) -> Array:
    """Return the elements of 1-d `raw` at such distances, in elements, along each axis."""
    if is_string_dtype(raw.dtype):
        places = np.zeros((1,) * len(shape), np.int64)
        for axis, (n, s) in enumerate(zip(shape, strides, strict=True)):
            places = places + (np.arange(n) * s).reshape(
                [-1 if k == axis else 1 for k in range(len(shape))]
            )
        return raw[places]
    size = raw.itemsize
    return np.ndarray(shape, raw.dtype, raw.view(np.uint8), 0, [s * size for s in strides])


# Values block by block


def _read_blocks(
    view: View, pointer: Pointer, grid: BlockGrid, start: Ints, count: Ints, step: Ints, out: Array
) -> None:
    """Decode the blocks that hold the elements, and copy these out of them."""
    counts = block_counts(grid, start, count, step)
    n_blocks = math.prod(counts)
    if n_blocks > 1 and n_blocks * grid.block_values * out.itemsize > STEP_BYTES:
        axis, at = halve(grid, start, count, step, counts)
        for a, n, part in _halves(start, count, step, out, axis, at):
            _read_blocks(view, pointer, grid, a, n, step, part)
        return
    plan = plan_blocks(grid, start, count, step, counts)
    raw = read_blocks(view, pointer, plan.numbers, out.dtype, grid.n_values, grid.block_values)
    plan.place(raw, out)


# Scattered elements


def gather(view: View, segment: Segment, schema: ArraySchema, coords: list[Array]) -> Array:
    """Return elements of a segment by their coordinates.

    Parameters
    ----------
    coords : list of ndarray of int64, shape (n,)
        One array per axis, counted from the first corner of the segment, all of them valid.

    Returns
    -------
    ndarray, shape (n,)
        A block that holds several of them is decoded once.
    """
    if segment.pointer is None:
        found: Array = inline_values(segment, schema.dtype)[tuple(coords)]
        return found
    grid = block_grid(segment.record.stored, schema.blocks)
    size = grid.block_values
    n = len(coords[0])
    if grid.is_runs:
        places = np.zeros(n, np.int64)
        for c, s in zip(coords, grid.strides, strict=True):
            places += c * s
        numbers, inside = np.divmod(places, size)
    else:
        numbers, inside = np.zeros(n, np.int64), np.zeros(n, np.int64)
        inner = c_strides(grid.block)
        for c, b, s, t in zip(coords, grid.block, grid.block_strides, inner, strict=True):
            place, rest = np.divmod(c, b)
            numbers += place * s
            inside += rest * t
    wanted, rank = np.unique(numbers, return_inverse=True)
    out = np.empty(n, schema.dtype)
    most = max(1, STEP_BYTES // (size * schema.dtype.itemsize))
    for at in range(0, len(wanted), most):
        some = wanted[at : at + most]
        raw = read_blocks(view, segment.pointer, some, schema.dtype, grid.n_values, size)
        if len(wanted) <= most:
            out[...] = raw[rank * size + inside]
        else:
            mine = np.flatnonzero((rank >= at) & (rank < at + most))
            out[mine] = raw[(rank[mine] - at) * size + inside[mine]]
    return out
