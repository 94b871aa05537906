"""One index between the brackets of an n-d array: what it is, and which positions it names.

The parts from which `kist.model.indexing` builds a selection, and the errors of both.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from kist.errors import SelectionError

__all__ = [
    "MAX_NDIM",
    "along",
    "broadcast",
    "coordinates",
    "n_axes",
    "nonzero",
    "plain",
    "position",
    "run",
    "too_deep",
    "too_many",
    "two_ellipses",
]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

# NumPy arrays have no more axes.
MAX_NDIM = 64
# A box is read through the gaps between its steps; beyond this distance points are cheaper.
MAX_BOX_STEP = 8


def plain(item: Any, longest: int) -> Any:
    """Return an index as int, slice, None, Ellipsis, or an array of ints or bools.

    `longest` is the length of the longest axis.
    """
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if isinstance(item, range):
        item = _of_range(item, longest)
    if isinstance(item, np.ndarray):
        array = np.asarray(item)  # of the plain class
    else:
        number = _number(item)
        if number is not None:
            return number
        try:
            array = np.asarray(item)
            if array.size == 0:
                array = array.astype(np.int64)  # [] has no type of its own
        except (TypeError, ValueError) as error:
            raise SelectionError(f"{_short(item)} is no index; {_ALLOWED}") from error
    if array.dtype.kind in "iu":
        return array if array.ndim else int(array)
    if array.dtype == bool:
        return array
    what = f"an array of {array.dtype}" if isinstance(item, np.ndarray) else _short(item)
    raise SelectionError(f"{what} is no index; {_ALLOWED}")


def _of_range(item: range, longest: int) -> Array:
    """Return the numbers of a range: NumPy would take them one by one, however many."""
    n = abs(item[-1] - item[0]) // abs(item.step) + 1 if item else 0  # len() has its own limits
    if n > 2 * longest:  # counted from either end
        raise SelectionError(f"{item} names {n:,} positions, and no axis has more than {longest:,}")
    return np.arange(item.start, item.stop, item.step) if n else np.empty(0, np.int64)


_ALLOWED = (
    "an array is indexed by integers, slices, '...', None, and arrays or lists of integers or "
    "of booleans"
)


def _number(item: Any) -> int | None:
    """Return an index that acts as an int, as one; None for bools, which are masks of rank 0."""
    if isinstance(item, bool | np.bool) or not hasattr(item, "__index__"):
        return None
    try:
        return operator.index(item)
    except TypeError:
        return None  # arrays of other libraries act as an int only if they hold one


def n_axes(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1


def along(item: slice, size: int, axis: int) -> tuple[int, int, int]:
    """Return start, count and step of a slice, plain where there are less than two elements."""
    try:
        start, stop, step = item.indices(size)
    except (TypeError, ValueError) as error:
        raise SelectionError(f"axis {axis}: {item!r} is no slice: {error}") from None
    if step == 1:
        return (start, stop - start, 1) if stop > start else (0, 0, 1)
    count = len(range(start, stop, step))
    if count < 2:
        return (start if count else 0, count, 1)
    return start, count, step


def position(index: int, size: int, axis: int) -> int:
    position = index + size if index < 0 else index
    if 0 <= position < size:
        return position
    raise _outside(index, size, axis)


def coordinates(array: Array, size: int, axis: int) -> Array:
    """Return indices along one axis as int64, none of them negative."""
    if not array.size:
        return array.astype(np.int64)
    lowest, highest = int(array.min()), int(array.max())
    if lowest < -size or highest >= size:
        raise _outside(lowest if lowest < -size else highest, size, axis)
    coords = array.astype(np.int64, copy=False)
    return np.where(coords < 0, coords + size, coords) if lowest < 0 else coords


def nonzero(mask: Array, shape: Shape, axis: int) -> tuple[Array, ...]:
    """Return the coordinates of a mask that begins at an axis; none if it is 0-d."""
    for k, n in enumerate(mask.shape, axis):
        if n != shape[k]:
            raise SelectionError(
                f"the mask of shape {mask.shape} does not fit: it has {n} elements along axis {k} "
                f"of the array, which has {shape[k]}"
            )
    return mask.nonzero() if mask.ndim else ()


def broadcast(shapes: list[Shape]) -> Shape:
    if len(shapes) == 1:
        return shapes[0]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        text = " ".join(map(str, shapes))
        raise SelectionError(
            f"the index arrays cannot be broadcast together, their shapes are {text}; "
            "np.ix_ makes a grid of them"
        ) from None


def run(array: Array) -> tuple[int, int] | None:
    """Return lowest value and step of values at equal small distances, None for others."""
    values = array.reshape(-1)
    first, last, n = int(values[0]), int(values[-1]), values.size
    if n == 1:
        return first, 1
    step = int(values[1]) - first
    # The first test needs no look at the values, and most arrays fail it.
    if not 0 < abs(step) <= MAX_BOX_STEP or last - first != step * (n - 1):
        return None
    if not bool((values[1:] - values[:-1] == step).all()):
        return None
    return min(first, last), step


def _outside(index: int, size: int, axis: int) -> SelectionError:
    if not size:
        return SelectionError(f"index {index} is out of bounds: axis {axis} has size 0")
    return SelectionError(
        f"index {index} is out of bounds: axis {axis} has size {size}, indices go from {-size} "
        f"to {size - 1}"
    )


def too_many(used: int, shape: Shape) -> SelectionError:
    axes = "1 axis" if len(shape) == 1 else f"{len(shape)} axes"
    return SelectionError(f"too many indices: {used} for an array of {axes}, of shape {shape}")


def two_ellipses() -> SelectionError:
    return SelectionError("an index can have only one '...'")


def too_deep(ndim: int) -> SelectionError:
    return SelectionError(f"the result would have {ndim} axes; NumPy allows {MAX_NDIM}")


def _short(item: object) -> str:
    text = repr(item)
    return text if len(text) < 60 else text[:57] + "..."
