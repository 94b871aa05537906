"""Integers of any width: widths that suffice, zigzag, differences inside blocks.

All arithmetic wraps around: it is done on unsigned integers, which is exact modulo the width
and never warns.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[Any]

WIDTHS = (1, 2, 4, 8)
_UNSIGNED = {w: np.dtype(f"<u{w}") for w in WIDTHS}
_SIGNED = {w: np.dtype(f"<i{w}") for w in WIDTHS}


def unsigned(width: int) -> np.dtype[Any]:
    """The little-endian unsigned integer of `width` bytes."""
    return _UNSIGNED[width]


def signed(width: int) -> np.dtype[Any]:
    """The little-endian signed integer of `width` bytes."""
    return _SIGNED[width]


@lru_cache(maxsize=64)
def limits_of(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Smallest and largest integer of a type; `np.iinfo` takes longer than a pass over a page."""
    info: Any = np.iinfo(dtype)
    return int(info.min), int(info.max)


def width_for(count: int) -> int:
    """Bytes of the narrowest unsigned integer that holds 0 .. `count`."""
    if count < 1 << 64:
        return 1 if count < 1 << 8 else 2 if count < 1 << 16 else 4 if count < 1 << 32 else 8
    raise ValueError(f"{count} needs more than 8 bytes")


def zigzag(values: IntArray) -> IntArray:
    """Signed integers as unsigned ones, small magnitudes first: 0, -1, 1, -2 -> 0, 1, 2, 3."""
    width = values.itemsize
    sign = values >> (8 * width - 1)
    out = values << 1
    out ^= sign
    return out.view(unsigned(width))


def unzigzag(values: IntArray, out: IntArray) -> None:
    """The inverse of `zigzag`: unsigned `values` into signed `out` of the same width."""
    target = out.view(values.dtype)
    sign = values & values.dtype.type(1)
    np.right_shift(values, 1, out=target)
    # -1 where the last bit was set, all ones: 0 - 1 wraps around.
    np.subtract(values.dtype.type(0), sign, out=sign)
    target ^= sign


def block_differences(values: IntArray, block_values: int) -> tuple[IntArray, IntArray]:
    """Differences of neighbours, blocks apart.

    Parameters
    ----------
    values : ndarray of signed integers, 1-d, not empty

    Returns
    -------
    starts : ndarray
        First value of each block.
    differences : ndarray, same length and dtype as `values`
        ``values[i] - values[i - 1]``, wrapped around. The first place of a block, which has
        no left neighbour, repeats the second, so that it does not widen the range.
    """
    bits = values.view(unsigned(values.itemsize))
    out = np.empty_like(bits)
    np.subtract(bits[1:], bits[:-1], out=out[1:])
    starts = bits[::block_values].copy()
    seconds = out[1::block_values]
    if block_values == 1 or seconds.size == 0:
        out[::block_values] = 0
    else:
        firsts = out[::block_values]
        firsts[: seconds.size] = seconds
        firsts[seconds.size :] = 0
    return starts.view(values.dtype), out.view(values.dtype)


def undo_block_differences(values: IntArray, starts: IntArray, block_values: int) -> None:
    """The inverse of `block_differences`, in place, for consecutive whole blocks."""
    bits = values.view(unsigned(values.itemsize))
    bits[::block_values] = starts.view(bits.dtype)
    whole = bits.size - bits.size % block_values
    if whole:
        grid = bits[:whole].reshape(-1, block_values)
        np.add.accumulate(grid, axis=1, out=grid)
    if whole < bits.size:
        rest = bits[whole:]
        np.add.accumulate(rest, out=rest)


def integer_range(values: IntArray) -> tuple[int, int]:
    """(smallest, largest) of a 1-d array that is not empty, as Python integers."""
    return int(np.minimum.reduce(values)), int(np.maximum.reduce(values))
