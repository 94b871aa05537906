"""Few distinct items among many: numbering them without sorting them all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kist._kernels.sets import ascending

Keys = NDArray[np.uint64]

# Odd multipliers; the first is 2**64 / golden ratio, the others are from splitmix64.
_MULTIPLIERS = tuple(
    np.uint64(m)
    for m in (
        0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93,
        0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3, 0x589965CC75374CC3,
    )
)  # fmt: skip
_TABLE_BITS = range(10, 17)
_TABLE_ITEMS = 256
"""Up to so many distinct keys go through a table without collisions; more are searched."""

_PAIRED_ITEMS = 32
"""So few are counted in pairs, which takes two thirds of the time (measured)."""


def keys_of(items: NDArray[Any]) -> Keys:
    """One 64-bit key per item: the bytes of items of up to 8 bytes, else a hash of them.

    Parameters
    ----------
    items : ndarray, 1-d, C-contiguous, itemsize above 0

    Returns
    -------
    ndarray of uint64
        Equal items have equal keys. Different items of more than 8 bytes may share one.
    """
    size = items.itemsize
    if size in (1, 2, 4, 8):
        return items.view(f"<u{size}").astype("<u8", copy=False)
    rows = items.view(np.uint8).reshape(-1, size)
    keys = np.zeros(items.size, "<u8")
    at = 0
    for width in (8, 4, 2, 1):
        while size - at >= width:
            # Columns of a strided view: the rows need not be a multiple of 8 bytes.
            column = np.ndarray(items.size, f"<u{width}", rows, at, (size,))
            if size <= 8:
                keys |= column.astype("<u8") << np.uint64(8 * at)
            else:
                keys ^= column
                keys *= _MULTIPLIERS[0]
                keys ^= keys >> np.uint64(29)
            at += width
    return keys


def distinct(items: NDArray[Any], keys: Keys) -> tuple[NDArray[Any], Keys]:
    """The distinct keys, ascending, and an item for each."""
    order = keys.argsort(kind="stable")
    found = keys[order]
    new = np.ones(len(found), bool)
    np.not_equal(found[1:], found[:-1], out=new[1:])
    return items[order[new]], found[new]


def number(keys: Keys, known: Keys) -> NDArray[Any] | None:
    """Place of each key in `known` (ascending, distinct); anything for unknown keys.

    Returns
    -------
    ndarray of uint8 or uint16, or None
        None when there is no table without collisions.
    """
    width = "<u1" if known.size <= 256 else "<u2"
    if known.size > _TABLE_ITEMS:
        places = np.searchsorted(known, keys)
        np.minimum(places, known.size - 1, out=places)
        return places.astype(width)
    for bits in _TABLE_BITS:
        # Below twice the square root of the table there is hope that nothing collides.
        if 1 << bits < known.size * known.size // 4:
            continue
        shift = np.uint64(64 - bits)
        for multiplier in _MULTIPLIERS:
            slots = (known * multiplier) >> shift
            if ascending(slots).size == known.size:
                table = np.zeros(1 << bits, width)
                table[slots] = np.arange(known.size)
                hashed = keys * multiplier
                hashed >>= shift
                # "wrap" takes without a second pass for bounds; no slot is out of them.
                return table.take(hashed.view(np.intp), mode="wrap")
    return None


def counts_of(numbers: NDArray[Any], size: int) -> NDArray[np.intp]:
    """Return how often each number occurs.

    Parameters
    ----------
    numbers : ndarray of uint8 or uint16, contiguous
        All below `size`.
    """
    half = len(numbers) // 2
    if numbers.itemsize > 1 or size > _PAIRED_ITEMS or half < 1 << 8 * numbers.itemsize:
        return np.bincount(numbers, minlength=size)
    # Two at a time: half as many are counted, and there are few pairs.
    pairs = np.bincount(numbers[: 2 * half].view("<u2"), minlength=256 * size)
    table = pairs.reshape(size, 256)[:, :size]
    counts: NDArray[np.intp] = table.sum(axis=0) + table.sum(axis=1)
    if len(numbers) % 2:
        counts[numbers[-1]] += 1
    return counts
