"""The geometry of arrays: chunks of a regular grid, blocks within a chunk. No storage.

Shapes are chosen here: 1 to 8 MiB a chunk and 32 KiB a block, both near a cube, so that planes
along any axis decode the same number of bytes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, Final

from kist.errors import ShapeError, TooLargeError
from kist.format.array import MAX_AXIS, MAX_CHUNK_BYTES, MAX_NDIM

__all__ = [
    "BlockGrid",
    "as_chunks",
    "as_shape",
    "as_size",
    "block_grid",
    "choose_blocks",
    "choose_chunks",
]

Shape = tuple[int, ...]

CHUNK_BYTES: Final = 1 << 20
"""Raw bytes of an automatic chunk: one page, which costs about 100 us beside its bytes."""
LARGE_CHUNK_BYTES: Final = 4 << 20
LARGE_BYTES: Final = 64 << 20
"""Arrays from this size on get the larger chunks, or some of half and twice their size, so that all
axes are equal. Measured with a cube of 512 f4: planes are read in 0.7 to 0.8 of the time of chunks
of 1 MiB, cubes of 32 in 0.85; one changed value costs twice as much. Twice as many chunks in a
plane along one axis as along another make it 1.3 times as slow."""
ROW_BYTES: Final = 32 << 20
"""Most bytes of all chunks side by side, where an array begins without any and is to grow along
axis 0. An append writes to each of them, and once they are full all of them again. Measured with
frames of 2048 x 2048 u2, appended one by one: 25 ms each and 144 ms at most with 4 in a chunk, 243
ms and 4 s with 64, as a cube has; one frame is read in 20 ms in place of 216, one value of all
in 5 in place of 1."""
BLOCK_BYTES: Final = 32 << 10
"""Raw bytes of a block, or 8 to 64 KiB, so that all axes can be equal."""
RUN_BYTES: Final = 64 << 10
"""The same for values in C order. Ten million equal steps take 1/99 of their bytes in blocks of
32 KiB, 1/179 in these, for every block has a header; a sine loses 10 %, one value takes 0.04 ms
more."""
MAX_BLOCKS: Final = 1 << 14
"""Most blocks of a chunk: the head of its page takes 16 bytes for each."""


def as_size(size: Any, what: str) -> int:
    """Return a length as an int.

    Raises
    ------
    ShapeError
        It is none.
    """
    try:
        found = operator.index(size)
    except TypeError:
        raise ShapeError(f"{what}: {size!r} is no length") from None
    if found < 0:
        raise ShapeError(f"{what}: a length of {found}")
    return found


def as_shape(shape: Any) -> Shape:
    """Return a shape as given by a user: an int, or a sequence of ints.

    Raises
    ------
    ShapeError
        It has more than 64 axes, or one of an impossible length.
    """
    sizes = [shape] if hasattr(shape, "__index__") else list(shape)
    if len(sizes) > MAX_NDIM:
        raise ShapeError(f"a shape of {len(sizes)} axes; arrays have at most {MAX_NDIM}")
    out = tuple(as_size(size, f"axis {axis}") for axis, size in enumerate(sizes))
    if any(size > MAX_AXIS for size in out):
        raise ShapeError(f"an axis of {max(out)} is longer than the {MAX_AXIS} that files can hold")
    return out


def as_chunks(chunks: Any, shape: Shape, item_bytes: int) -> Shape:
    """Return the chunk shape that a user asked for.

    Raises
    ------
    ShapeError
        It has another number of axes than `shape`, or an axis below 1.
    TooLargeError
        A chunk would have more than 1 GiB.
    """
    if isinstance(chunks, str):
        raise ShapeError(f"chunks={chunks!r}: give 'auto', a length, or one length for each axis")
    sizes = [chunks] * len(shape) if hasattr(chunks, "__index__") else list(chunks)
    if len(sizes) != len(shape):
        raise ShapeError(f"chunks {tuple(sizes)} for an array of {len(shape)} axes")
    out = tuple(as_size(size, f"chunks, axis {axis}") for axis, size in enumerate(sizes))
    if 0 in out:
        raise ShapeError(f"chunks {out}: each length is at least 1")
    if math.prod(out) * item_bytes > MAX_CHUNK_BYTES:
        raise TooLargeError(
            f"chunks of shape {out} take {math.prod(out) * item_bytes:,} bytes each; a chunk has "
            f"at most {MAX_CHUNK_BYTES >> 30} GiB, 'auto' makes them 1 to 8 MiB"
        )
    return out


@lru_cache(maxsize=256)  # many arrays are like the one before
def choose_chunks(shape: Shape, item_bytes: int) -> Shape:
    """Return the shape of automatic chunks.

    Parameters
    ----------
    shape : tuple of int
        Of the array. An axis of length 0 counts as long; so does axis 0 where all others are
        short, because arrays grow along it. Chunks of an array that has no frame yet hold few large
        ones.
    item_bytes : int
        Bytes of a value.
    """
    limits = [size or MAX_AXIS for size in shape]
    if len(shape) > 1 and not shape[0] and all(shape[1:]):
        rows = max(1, ROW_BYTES // (math.prod(shape[1:]) * item_bytes))
        limits[0] = 1 << (rows.bit_length() - 1)
    large = math.prod(shape) * item_bytes >= LARGE_BYTES
    n_bytes = LARGE_CHUNK_BYTES if large else CHUNK_BYTES
    out = _near_cube(limits, n_bytes // item_bytes)
    sides = {size for size, limit in zip(out, limits, strict=True) if size < limit}
    if large and len(sides) > 1:
        for side in (max(sides), min(sides)):
            equal = [min(side, n) for n in limits]
            if n_bytes // 4 <= math.prod(equal) * item_bytes <= 2 * n_bytes:
                return tuple(equal)
    rows = n_bytes // (math.prod(out[1:]) * item_bytes)
    if shape and rows >= 2 * out[0]:
        out[0] = 1 << (rows.bit_length() - 1)
    return tuple(out)


@lru_cache(maxsize=256)
def choose_blocks(chunks: Shape, item_bytes: int) -> Shape:
    """Return the shape of the blocks of such chunks."""
    if len(chunks) < 2 or math.prod(chunks) * item_bytes <= BLOCK_BYTES:
        target = BLOCK_BYTES // item_bytes
    else:
        # All axes equal, unless that leads too far from 32 KiB.
        side = 1
        longest = max(chunks)
        while (
            side < longest
            and math.prod(min(2 * side, c) for c in chunks) * item_bytes <= 2 * BLOCK_BYTES
        ):
            side *= 2
        equal = [min(side, c) for c in chunks]
        if math.prod(equal) * item_bytes >= BLOCK_BYTES // 4:
            return _fewer(equal, chunks)
        target = BLOCK_BYTES // item_bytes
    return _fewer(_near_cube(chunks, target), chunks)


@lru_cache(maxsize=256)
def choose_runs(chunks: Shape, item_bytes: int) -> Shape:
    """Return the block shape for chunks in C order: ``(1, ..., 1, k, all, ..., all)``."""
    target = max(RUN_BYTES, math.prod(chunks) * item_bytes // 4096) // item_bytes
    out = [1] * len(chunks)
    for axis in reversed(range(len(chunks))):
        out[axis] = max(1, min(chunks[axis], target))
        target //= out[axis]
        if out[axis] < chunks[axis]:
            break
    return tuple(out)


def _near_cube(limits: Sequence[int], n: int) -> list[int]:
    """Double the shortest axis, of equal ones the last, while there are at most `n` values."""
    out = [1] * len(limits)
    total = 1
    while True:
        free = [(out[k], -k) for k in range(len(out)) if out[k] < limits[k]]
        if not free:
            return out
        axis = -min(free)[1]
        longer = min(2 * out[axis], limits[axis])
        if total // out[axis] * longer > n:
            return out
        total = total // out[axis] * longer
        out[axis] = longer


def _fewer(blocks: list[int], chunks: Shape) -> Shape:
    """Make blocks of huge chunks larger, so that there are not too many."""
    while math.prod(-(-c // b) for c, b in zip(chunks, blocks, strict=True)) > MAX_BLOCKS:
        _, axis = max((c / b, k) for k, (c, b) in enumerate(zip(chunks, blocks, strict=True)))
        blocks[axis] = min(2 * blocks[axis], chunks[axis])
    return tuple(blocks)


class BlockGrid:
    """How the values of one segment stand in its page.

    Attributes
    ----------
    shape : tuple of int
        Of the segment.
    block : tuple of int
        Shape of a block: cut to the segment's, and shorter where as many blocks of equal length
        do.
    counts : tuple of int
        Blocks along each axis.
    is_runs : bool
        Whether the page holds the values in C order: the block is ``(1, ..., 1, k, all, ...,
        all)``. Nothing is padded then, and the last block is shorter.
    block_values, n_values : int
        Values of a block, and of the page.
    """

    def __init__(self, shape: Shape, blocks: Shape) -> None:
        self.shape = shape
        block = tuple(map(min, blocks, shape))
        self.counts = tuple(-(-n // b) for n, b in zip(shape, block, strict=True))
        cut = next((k for k, b in enumerate(block) if b > 1), 0)
        self.is_runs = block[cut + 1 :] == shape[cut + 1 :]
        if not self.is_runs:
            # 36 values are three blocks of 12, and not of 16 with 12 values of padding.
            block = tuple(-(-n // m) for n, m in zip(shape, self.counts, strict=True))
        self.block = block
        self.block_values = math.prod(block)
        n_blocks = math.prod(self.counts)
        self.n_values = math.prod(shape) if self.is_runs else n_blocks * self.block_values

    @cached_property
    def strides(self) -> Shape:
        """Values from one element to the next along each axis, in C order of `shape`."""
        return c_strides(self.shape)

    @cached_property
    def block_strides(self) -> Shape:
        """Blocks from one to the next along each axis."""
        return c_strides(self.counts)


def c_strides(shape: Shape) -> Shape:
    """Return the distance of neighbours along each axis, in elements of a C-ordered array."""
    out = []
    step = 1
    for size in reversed(shape):
        out.append(step)
        step *= size
    return tuple(reversed(out))


# Nearly all chunks of an array have one shape.
block_grid = lru_cache(maxsize=256)(BlockGrid)
