"""Which blocks of a segment hold a selection, and how its elements are copied out of them.

A plane through an array selects the same part of most chunks that it meets: plans are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kist._kernels.scratch import KEPT_BYTES, scratch
from kist.model.arrays.grid import BlockGrid

__all__ = ["BlockPlan", "copy_tall", "copy_values", "plan_blocks"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Ints = tuple[int, ...]

_MANY_PIECES: Final = 6
"""More are cut out of all blocks put together."""
_KEPT: Final = 256
_KEPT_BLOCKS: Final = 1024
"""Plans for more blocks are not kept: they take more memory, and less of the time."""


_AxisPiece = tuple[slice, slice, slice, int, int]
"""Blocks, the part of each, its place in the output, how many blocks, elements of each."""


class _Piece(NamedTuple):
    """A box of blocks of which the same part is copied."""

    source: tuple[slice, ...]  # of the blocks, and within each of them
    target: tuple[slice, ...]
    split: tuple[int, ...]  # shape of the target, with one axis more for each: blocks, elements


class BlockPlan(NamedTuple):
    """What to decode, and where it goes.

    Attributes
    ----------
    numbers : ndarray of int64
        Of the blocks in the page, ascending.
    shape : tuple of int
        Of the decoded values: blocks along each axis, then the shape of a block.
    along : list of list
        For steps of 1, along each axis: whole blocks together, those that the selection cuts apart.
    pieces : list
        The boxes that these make, if there are few.
    inside : tuple of slice
        For steps of 1: the selection in the blocks put together.
    picks : tuple or None
        For other steps: index of the elements in the blocks put together.
    """

    numbers: npt.NDArray[np.int64]
    shape: Shape
    along: list[list[_AxisPiece]]
    pieces: list[_Piece]
    inside: tuple[slice, ...]
    picks: tuple[Any, ...] | None

    def place(self, raw: Array, out: Array) -> None:
        """Copy the elements from the decoded values into `out`."""
        blocks = raw.reshape(self.shape)
        ndim = len(self.shape) // 2
        order = [part for axis in range(ndim) for part in (axis, ndim + axis)]
        if self.picks is not None:
            lengths = [n * b for n, b in zip(self.shape[:ndim], self.shape[ndim:], strict=True)]
            out[...] = blocks.transpose(order).reshape(lengths)[self.picks]
            return
        if not self.pieces and blocks.nbytes <= KEPT_BYTES and not blocks.dtype.hasobject:
            # One copy of all blocks and one of the box take less time than many small ones.
            counts, block = self.shape[:ndim], self.shape[ndim:]
            pairs = list(zip(counts, block, strict=True))
            whole = scratch("blocks", blocks.size, blocks.dtype)
            copy_values(blocks.transpose(order), whole.reshape([n for pair in pairs for n in pair]))
            copy_values(whole.reshape([n * b for n, b in pairs])[self.inside], out)
            return
        for source, target, split in self.pieces or _pieces(self.along):
            copy_values(blocks[source].transpose(order), out[target].reshape(split))


def copy_values(source: Array, target: Array) -> None:
    """Copy values of one dtype; rows that are contiguous in both as one item each."""
    n, size = source.shape[-1], source.itemsize
    if n > 1 and source.strides[-1] == target.strides[-1] == size and not source.dtype.hasobject:
        # NumPy takes twice as long for 16 numbers in its inner loop as for their 64 bytes.
        wide = _opaque(n * size)
        source, target = source.view(wide), target.view(wide)
    target[...] = source


def block_counts(grid: BlockGrid, start: Ints, count: Ints, step: Ints) -> Shape:
    """Return how many blocks along each axis hold elements.

    All from the first to the last; where steps are longer than blocks, one for each element.
    """
    return tuple(
        n if n == 1 or d > b else (a + (n - 1) * d) // b - a // b + 1
        for a, n, d, b in zip(start, count, step, grid.block, strict=True)
    )


def halve(grid: BlockGrid, start: Ints, count: Ints, step: Ints, counts: Shape) -> tuple[int, int]:
    """Return along which axis, and after how many elements, a selection is cut in two.

    At the end of a block, so that none is decoded twice.
    """
    axis = next(k for k, n in enumerate(counts) if n > 1)
    a, d, b = start[axis], step[axis], grid.block[axis]
    if d > b:
        return axis, (count[axis] + 1) // 2
    edge = (a // b + counts[axis] // 2) * b
    return axis, -((a - edge) // d)


def plan_blocks(grid: BlockGrid, start: Ints, count: Ints, step: Ints, counts: Shape) -> BlockPlan:
    """Return the plan for elements at equal distances along each axis."""
    make = _plan if math.prod(counts) <= _KEPT_BLOCKS else _plan.__wrapped__
    return make(grid, start, count, step, counts)


@lru_cache(maxsize=_KEPT)
def _plan(grid: BlockGrid, start: Ints, count: Ints, step: Ints, counts: Shape) -> BlockPlan:
    block = grid.block
    numbers = np.zeros(1, np.int64)
    for axis, (n, stride) in enumerate(zip(counts, grid.block_strides, strict=True)):
        first, d, b = start[axis], step[axis], block[axis]
        if d > b and count[axis] > 1:
            places = (first + d * np.arange(n)) // b * stride
        else:
            places = np.arange(first // b, first // b + n) * stride
        numbers = (numbers[:, None] + places).reshape(-1)
    offset = tuple([a % b for a, b in zip(start, block, strict=True)])
    inside = tuple([slice(a, a + n) for a, n in zip(offset, count, strict=True)])
    along: list[list[_AxisPiece]] = []
    pieces: list[_Piece] = []
    picks: tuple[Any, ...] | None = None
    if all(d == 1 or n == 1 for d, n in zip(step, count, strict=True)):
        along = [_axis_pieces(a, n, b) for a, n, b in zip(offset, count, block, strict=True)]
        if math.prod(map(len, along)) <= _MANY_PIECES:
            pieces = list(_pieces(along))
    elif any(d > b and n > 1 for d, b, n in zip(step, block, count, strict=True)):
        picks = np.ix_(
            *(
                np.arange(n) * b + (a + d * np.arange(n)) % b
                if d > b and n > 1
                else a % b + d * np.arange(n)
                for a, n, d, b in zip(start, count, step, block, strict=True)
            )
        )
    else:
        picks = tuple(
            slice(a, a + (n - 1) * d + 1, d) for a, n, d in zip(offset, count, step, strict=True)
        )
    return BlockPlan(numbers, (*counts, *block), along, pieces, inside, picks)


def copy_tall(
    raw: Array, counts: Sequence[int], block: Shape, offset: Sequence[int], out: Array
) -> None:
    """Copy a box out of blocks that are neighbours in memory along the first axis.

    Blocks on top of each other are then one tall block, and no piece ends where one of them does.

    Parameters
    ----------
    raw : ndarray, 1-d
        The blocks, those along the first axis innermost.
    counts, block : sequence of int
        Blocks along each axis, and the shape of one.
    offset : sequence of int
        The first element within the first block.
    """
    ndim = len(counts)
    blocks = raw.reshape(*counts[1:], counts[0] * block[0], *block[1:])
    order = [ndim - 1, *[part for axis in range(ndim - 1) for part in (axis, ndim + axis)]]
    cells = blocks.transpose(order)[offset[0] : offset[0] + len(out)]
    *others, last = list(map(_axis_pieces, offset[1:], out.shape[1:], block[1:]))
    every = slice(None)
    pieces = []
    for parts in product(*others):
        inner = (every, *[cut for part in parts for cut in part[:2]])
        pieces.append((inner, (every, *[part[2] for part in parts])))
    for column, inside, place, _, n in last:
        # What is the same for all pieces with this part of the last axis is done once.
        source, target = cells[..., column, inside], out[..., place]
        if n > 1 and not out.dtype.hasobject and out.strides[-1] == out.itemsize:
            wide = _opaque(n * out.itemsize)
            source, target = source.view(wide), target.view(wide)
        for inner, outer in pieces:
            piece = source[inner]
            target[outer].reshape(piece.shape)[...] = piece


@lru_cache(maxsize=_KEPT)
def _opaque(size: int) -> np.dtype[Any]:
    return np.dtype(f"V{size}")


def _pieces(along: list[list[_AxisPiece]]) -> Iterator[_Piece]:
    for parts in product(*along):
        source = (*(p[0] for p in parts), *(p[1] for p in parts))
        split = tuple(size for p in parts for size in (p[3], p[4]))
        yield _Piece(source, tuple(p[2] for p in parts), split)


@lru_cache(maxsize=_KEPT)
def _axis_pieces(offset: int, n: int, b: int) -> list[_AxisPiece]:
    """Cut `n` elements along one axis, the first at `offset` of its block, where blocks end."""
    out = []
    done = 0
    at = offset
    while done < n:
        first, inside = divmod(at, b)
        whole = (n - done) // b if inside == 0 else 0
        if whole:
            length, m = b, whole
        else:
            length, m = min(b - inside, n - done), 1
        place = slice(done, done + m * length)
        out.append((slice(first, first + m), slice(inside, inside + length), place, m, length))
        done += m * length
        at += m * length
    return out
