"""Parts of bounded size: where they are cut, and reading one while another is written."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, Final, TypeVar

__all__ = [
    "BLOCK_ROWS", "PART_BYTES", "chunks_like", "chunks_of", "item_bytes", "parts_of", "read_ahead",
    "rows_after", "rows_for",
]  # fmt: skip

T = TypeVar("T")
_END: Any = object()
Shape = tuple[int, ...]

PART_BYTES: int = 16 << 20
"""Raw bytes that are read, and written, at once; three such parts are in memory."""

_LARGE: Final = 1 << 20
"""Behind a part of so many bytes there may well be another, and a thread costs little beside it."""

BLOCK_ROWS: Final = 65_536
"""Rows of a row group: tables are filled in multiples of it."""


def item_bytes(dtype: Any) -> int:
    """Return the bytes of an item, of text a guess."""
    return 64 if dtype.char == "T" else max(1, int(dtype.itemsize))


def rows_for(width: int) -> int:
    """Return how many rows of so many bytes make one block: whole row groups where they fit."""
    rows = PART_BYTES // max(1, width)
    return max(1, rows - rows % BLOCK_ROWS if rows > BLOCK_ROWS else rows)


def chunks_like(cut: Shape | None, shape: Shape, width: int) -> Any:
    """Return chunks of about 1 MiB that are whole chunks of the source, so that both align."""
    if not cut or not shape or 0 in shape or not 0 < math.prod(cut) * width <= 4 * PART_BYTES:
        return "auto"
    chunks = [min(c, n) for c, n in zip(cut, shape, strict=True)]
    while math.prod(chunks) * max(1, width) < 1 << 20:
        free = [axis for axis, n in enumerate(shape) if chunks[axis] < n]
        if not free:
            break
        axis = min(free, key=lambda a: chunks[a])
        # Not cut off at the end of the axis: chunks stay multiples of those of the source.
        chunks[axis] *= 2
    return tuple(chunks)


def chunks_of(shape: Shape, width: int) -> Any:
    """Return chunks of about 1 MiB of items of so many bytes."""
    first = next(parts_of(shape, (1,) * len(shape), width, 1 << 20), None)
    return "auto" if not first else tuple(where.stop for where in first)


def parts_of(
    shape: Shape, chunks: Shape, width: int, nbytes: int | None = None
) -> Iterator[tuple[slice, ...]]:
    """Yield slices that cut a shape along chunks into parts of about so many bytes, in C order."""
    nbytes = PART_BYTES if nbytes is None else nbytes
    if 0 in shape:
        return
    lengths = [max(1, min(c, n)) for c, n in zip(chunks, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        room = nbytes // max(1, math.prod(lengths) * width)
        lengths[axis] *= max(1, min(room, -(-shape[axis] // lengths[axis])))
    for corner in product(*(range(0, n, m) for n, m in zip(shape, lengths, strict=True))):
        yield tuple(slice(a, min(a + m, n)) for a, m, n in zip(corner, lengths, shape, strict=True))


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Iterate in another thread, one item ahead of who takes them.

    The thread ends with the iteration, also when that is abandoned; its errors are raised here.
    """
    # The first two here if they are small: what comes in one piece, as most datasets do, costs no
    # thread.
    first = next(items, _END)
    if first is _END:
        return
    small = _nbytes(first) < _LARGE
    second = next(items, _END) if small else _END
    if second is _END and small:
        yield first
        return
    with ThreadPoolExecutor(1, "kist-bridge") as pool:
        ahead = pool.submit(next, items, _END)
        yield first
        del first  # parts are large
        if small:
            yield second
        del second
        while (item := ahead.result()) is not _END:
            ahead = pool.submit(next, items, _END)
            yield item


def _nbytes(item: Any) -> int:
    """Return the bytes of a block, a dict of columns, or a block with its place."""
    parts = item if isinstance(item, tuple) else item.values() if isinstance(item, dict) else [item]
    return sum(getattr(part, "nbytes", 0) for part in parts)


def rows_after(blocks: Iterator[Any], n_rows: int) -> Iterator[Any]:
    """Yield what is left of blocks of rows behind so many rows.

    Blocks are structured arrays, dicts of columns or record batches.
    """
    for block in blocks:
        size = len(next(iter(block.values()))) if isinstance(block, dict) else len(block)
        if n_rows >= size:
            n_rows -= size
        elif isinstance(block, dict):
            yield {name: values[n_rows:] for name, values in block.items()}
            n_rows = 0
        else:
            yield block[n_rows:]
            n_rows = 0
