"""Random keys of n-d arrays: every kind of index that NumPy knows, mixed in every way.

Drawn from a NumPy generator and not by hypothesis, whose preference for small and simple values
makes nearly all of such keys empty or basic. Let hypothesis draw the seed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["random_key"]

Shape = tuple[int, ...]
_FAR = [None, -(2**70), 2**63, 0, np.int8(2)]


def random_key(rng: np.random.Generator, shape: Shape, *, mistakes: float = 0.05) -> Any:
    """Return what may stand between the brackets of an array.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where chance comes from.
    shape : tuple of int
        Of the array.
    mistakes : float
        How likely each of some mistakes is: an index outside, a mask of a wrong length, one
        index too many, two ellipses. With 0.0, too, NumPy refuses some keys: index arrays
        that cannot be broadcast together, and ints into axes of size 0.
    """
    ndim = len(shape)
    # Index arrays are made to be broadcast to one shape.
    common = tuple(int(n) for n in rng.integers(1, 5, rng.integers(0, 4)))
    if rng.random() < 0.05:
        common = tuple(n - 1 for n in common)
    kinds = ["int", "slice", "slice", "slice", "none"]
    if rng.random() < 0.7:
        kinds += ["array", "array", "array", "mask", "mask"] + ["bool"] * (rng.random() < 0.2)
    n_axes = ndim if rng.random() < 0.6 else int(rng.integers(0, ndim + 1))
    n_axes += rng.random() < mistakes
    # An ellipsis stands for the axes that are left out, which may be none.
    dots = int(rng.integers(0, n_axes + 1)) if rng.random() < 0.3 else -1
    items: list[Any] = []
    axis = used = 0
    while used < n_axes:
        if used >= dots >= 0:
            items.append(...)
            axis, dots = max(ndim - (n_axes - used), 0), -1
            if rng.random() < mistakes:
                dots = used
        kind = kinds[rng.integers(len(kinds))]
        size = shape[axis] if axis < ndim else 3
        rank = 1
        if kind == "none":
            items.append(None)
            rank = 0
        elif kind == "bool":
            items.append([True, True, True, False, np.True_, np.array(True)][rng.integers(6)])
            rank = 0
        elif kind == "int":
            number = int(rng.integers(-size, max(size, 1)))
            number += (rng.random() < mistakes) * size
            form: Any = [int, int, np.int64, np.uint32, np.array][rng.integers(5)]
            items.append(form(number) if number >= 0 else number)
        elif kind == "slice":
            items.append(_slice(rng, size))
        elif kind == "array":
            items.append(_integers(rng, size, common))
            if rng.random() < mistakes and np.size(items[-1]):
                items[-1] = np.asarray(items[-1]) + size
        else:
            rank = int(rng.integers(1, max(n_axes - used, 1) + 1))
            part = shape[axis : axis + rank]
            part = part if len(part) == rank else (2,) * rank
            if rng.random() < mistakes:
                part = (*part[:-1], part[-1] + 1)
            items.append(_mask(rng, part, common))
        axis, used = axis + rank, used + rank
    if dots >= 0 or (not items and rng.random() < 0.5):
        items.append(...)
    if rng.random() < 0.1:
        items.append(None)
    return items[0] if len(items) == 1 and rng.random() < 0.5 else tuple(items)


def _slice(rng: np.random.Generator, size: int) -> slice:
    chance = rng.random()
    if chance < 0.3:
        return slice(None)
    step = int(rng.integers(1, 4)) * (1 if rng.random() < 0.6 else -1)
    if chance < 0.4:
        return slice(_FAR[rng.integers(5)], _FAR[rng.integers(5)], step * 2**60)
    start, stop = sorted(int(n) for n in rng.integers(-2, size + 3, 2))
    start, stop = (stop, start) if step < 0 else (start, stop)
    left = start if rng.random() < 0.7 else None
    return slice(left, stop if rng.random() < 0.7 else None, step if rng.random() < 0.8 else None)


def _integers(rng: np.random.Generator, size: int, common: Shape) -> Any:
    """Return indices in a shape that can be broadcast to a common one."""
    shape = common[rng.integers(0, len(common) + 1) if rng.random() < 0.3 else 0 :]
    shape = tuple(n if rng.random() < 0.75 else 1 for n in shape)
    if not shape and rng.random() < 0.8:
        shape = (int(rng.integers(1, 7)),)
    n, top = math.prod(shape), max(size, 1)
    if rng.random() < 0.4:  # at equal distances, as far as there is room
        array = int(rng.integers(-size, top)) + int(rng.integers(-3, 4)) * np.arange(n)
        array = array if n and -size <= array.min() and array.max() < top else np.arange(n) % top
    else:
        array = rng.integers(-size, top, n)
    array = array.reshape(shape)
    dtype = ["i8", "i8", "u8", "u4" if size > 255 else "u1", ">i4", "i4" if size > 127 else "i1"][
        rng.integers(6)
    ]
    array = (array % top if dtype[0] == "u" else array).astype(dtype)
    chance = rng.random()
    if chance < 0.25:
        return array.tolist()
    return array if chance < 0.8 else np.asfortranarray(array)


def _mask(rng: np.random.Generator, shape: Shape, common: Shape) -> Any:
    size = math.prod(shape)
    mask = rng.random(size) < rng.random()
    if common and common[-1] <= size and rng.random() < 0.7:
        mask = rng.permutation(np.arange(size) < common[-1])
    if rng.random() < 0.2:
        mask = np.sort(mask)  # a run
    mask = mask.reshape(shape)
    return mask.tolist() if size and rng.random() < 0.3 else mask
