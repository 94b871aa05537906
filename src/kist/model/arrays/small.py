"""Small boxes: all blocks of all chunks that they touch with one plan, one decode and one copy.

A cube of 32 out of blocks of 16 meets 27 of them, in one to eight chunks. Chunk by chunk that took
1.4 times as long with one chunk, and three times with four: it is not the bytes that cost here.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from kist.engine.blocks import decode_together, read_together
from kist.errors import CorruptDataError
from kist.format.values import Pointer
from kist.model.arrays.blocks import copy_tall
from kist.model.arrays.grid import BlockGrid, block_grid
from kist.model.arrays.segment import empty_array
from kist.model.arrays.state import ArrayState, Chunks
from kist.model.indexing import Box

__all__ = ["read_small"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

SMALL_BYTES: Final = 256 << 10
"""Larger boxes are read by several threads, chunk by chunk."""

MOST_BLOCK_BYTES: Final = 2 << 20
"""Decoded bytes of all blocks: what stays in the caches from one step to the next."""

MOST_AXES: Final = 4
"""A box is copied out of its blocks in up to three pieces along each axis but the first."""


def read_small(
    state: ArrayState, box: Box, low: Shape, high: Shape, chunks: Chunks, out: Array | None
) -> Array | None:
    """Return the elements of a small box, None where it is to be read chunk by chunk.

    Parameters
    ----------
    low, high : tuple of int
        First and last chunk index that the box touches.
    chunks : dict
        The chunks between them that are stored.
    out : ndarray, optional
        As of `read`.

    Notes
    -----
    What is damaged is left to whoever reads chunk by chunk, to say in which chunk it is.
    """
    dtype = state.dtype
    if (
        math.prod(box.count) * dtype.itemsize >= SMALL_BYTES
        or dtype.kind == "T"
        or len(box.count) > MOST_AXES
        or state.view.reader.backend.remote
        or state.schema.sealed
        or any(d != 1 and n != 1 for d, n in zip(box.step, box.count, strict=True))
    ):
        return None
    found = _common_grid(state, box, low, high, chunks)
    if found is None:
        return None
    grid, pointers = found
    block = grid.block
    # Counted from the first corner of the first chunk: in elements, in blocks, within a block.
    starts = [a - k * c for a, k, c in zip(box.start, low, state.schema.chunks, strict=True)]
    firsts = [a // b for a, b in zip(starts, block, strict=True)]
    offset = [a % b for a, b in zip(starts, block, strict=True)]
    counts = [(a + n - 1) // b + 1 for a, n, b in zip(offset, box.count, block, strict=True)]
    if math.prod(counts) * grid.block_values * dtype.itemsize > MOST_BLOCK_BYTES:
        return None
    try:
        if not decode_together(state.view, pointers[0], dtype):
            return None
        pages, places = _blocks_of(grid, pointers, low, high, firsts, counts)
        raw = read_together(state.view, pages, places, dtype, grid.n_values, grid.block_values)
    except CorruptDataError:
        return None
    if raw is None:
        return None
    if out is None:
        out = empty_array(box.count, dtype)
    copy_tall(raw, counts, block, offset, out)
    return out


def _common_grid(
    state: ArrayState, box: Box, low: Shape, high: Shape, chunks: Chunks
) -> tuple[BlockGrid, list[Pointer]] | None:
    """Return the blocks of all chunks of a box, and the pages of these in C order.

    None unless the blocks of all of them are one grid, without gaps and paddings between them.
    """
    if len(chunks) != math.prod([b - a + 1 for a, b in zip(low, high, strict=True)]):
        return None  # some are absent
    record = next(iter(chunks.values()))[0].record
    pointers = []
    for segments in chunks.values():
        start, own, pointer = segments[0]
        if (
            len(segments) > 1
            or start
            or pointer.__class__ is not Pointer  # none, or sealed
            or own.stored != record.stored
            or own.valid != record.valid
        ):
            return None
        pointers.append(pointer)
    grid = block_grid(record.stored, state.schema.blocks)
    if grid.is_runs:
        return None
    for a, n, j, k, c, b, valid in zip(
        *box[:2], low, high, state.schema.chunks, grid.block, record.valid, strict=True
    ):
        if (valid != c or c % b) if j < k else a + n - j * c > valid:
            return None
    return grid, pointers


def _blocks_of(
    grid: BlockGrid,
    pointers: list[Pointer],
    low: Shape,
    high: Shape,
    firsts: list[int],
    counts: list[int],
) -> tuple[list[tuple[Pointer, list[int]]], list[int]]:
    """Return which blocks of which pages a box of blocks is.

    Returns
    -------
    pages : list of (Pointer, list of int)
        With the numbers of blocks, ascending.
    places : list of int
        Where each of these blocks stands in the box: along the first axis they are neighbours, as
        `copy_tall` wants it.
    """
    n_blocks = math.prod(grid.counts)
    # Blocks are counted through all chunks of the box, which are those of `pointers`.
    along: list[list[int]] = []
    stride = n_blocks
    for axis in reversed(range(len(counts))):
        per, inner, first = grid.counts[axis], grid.block_strides[axis], firsts[axis]
        blocks = range(first, first + counts[axis])
        along.append([b // per * stride + b % per * inner for b in blocks])
        stride *= high[axis] - low[axis] + 1
    numbers = [0]
    for own in (*along[-2::-1], along[-1]):
        numbers = [a + b for a in numbers for b in own]
    places = sorted(range(len(numbers)), key=numbers.__getitem__)
    numbers.sort()
    if len(pointers) == 1:
        return [(pointers[0], numbers)], places
    pages: dict[int, list[int]] = {}
    for number in numbers:
        chunk, block = divmod(number, n_blocks)
        pages.setdefault(chunk, []).append(block)
    return [(pointers[chunk], own) for chunk, own in pages.items()], places
