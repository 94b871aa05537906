"""What an index of an n-d array denotes, with NumPy's rules: pure arithmetic, no storage.

`parse` turns a key into a `Selection`: *where* the values stand, in one of two forms that a
store can read and write chunk by chunk, and how values in that layout become what NumPy would
give (`Selection.finish`) or what it would write (`Selection.spread`).

Two forms suffice. A `Box` is what ints and slices select. `Points` name some axes by
coordinates, the others by a box. An advanced index that varies along axes of the result of its
own, and whose values stand at small equal distances, becomes part of the box: a mask that is a
run, ``np.ix_`` of ranges, an int beside an array.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from kist.errors import ShapeError
from kist.model.index_items import (
    MAX_NDIM,
    along,
    broadcast,
    coordinates,
    n_axes,
    nonzero,
    plain,
    position,
    run,
    too_deep,
    too_many,
    two_ellipses,
)

__all__ = ["Box", "Points", "Selection", "parse"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
# Of int, slice, None and Ellipsis: what NumPy's basic indexing takes.
Index = tuple[Any, ...]

DENSE = 8
"""Points are read as the box that holds them if it has at most so many elements for each: then
nearly all blocks hold one, and a plain copy costs less than bringing each point to its place."""

_ALL = slice(None)
_FLIP = slice(None, None, -1)


class Box(NamedTuple):
    """Elements at equal distances along each axis.

    Attributes
    ----------
    start, count, step : tuple of int, length ``ndim``
        Along axis ``k`` the positions ``start[k] + step[k] * i`` for ``0 <= i < count[k]``,
        ascending (``step >= 1``) and all inside the shape. In memory: ``count`` is the shape.
    """

    start: Shape
    count: Shape  # type: ignore[assignment]  # hides the method that counts equal entries
    step: Shape


class Points(NamedTuple):
    """Some axes by coordinates, the others by a box.

    Attributes
    ----------
    axes : tuple of int
        Axes with coordinates, ascending, at least one.
    coords : tuple of ndarray of int64, shape (n,)
        One array per axis of `axes`: none negative, in any order, repeats allowed. Of points
        that are written twice the last counts.
    box : Box
        Of all axes; its entries for `axes` are (0, 1, 1) and mean nothing. In memory: the
        shape is ``(n, *counts of the other axes)``.
    """

    axes: tuple[int, ...]
    coords: tuple[Array, ...]
    box: Box


class Selection:
    """What a key denotes in an array of a certain shape.

    Attributes
    ----------
    where : Box or Points
        The elements, in the order in which the store reads and writes them.
    shape : tuple of int
        Shape of the result.
    layout : tuple of int
        Shape in memory of what the store reads and writes.
    """

    __slots__ = ("_fold", "_view", "layout", "shape", "where")

    def __init__(
        self,
        where: Box | Points,
        layout: Shape,
        shape: Shape,
        view: Index | None,
        fold: _Fold | None = None,
    ) -> None:
        self.where = where
        self.layout = layout
        self.shape = shape
        # Result = fold(raw)[view]; None leaves things as they are.
        self._view = view
        self._fold = fold

    def __repr__(self) -> str:
        return f"Selection({self.where}, shape={self.shape})"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is selected; then nothing must be written, even where `where` is 0-d."""
        return 0 in self.shape

    def read(self, fetch: Callable[[Box | Points], Array]) -> Any:
        """Return what NumPy would give for the key, from a store.

        Parameters
        ----------
        fetch : callable
            Gives what stands at a box or at points, in their layout. It is called once, for
            `where` or, where points stand closely, for a box that holds them all.

        Returns
        -------
        ndarray, shape ``shape``, or NumPy scalar
            As from `finish`.
        """
        where = self.where
        if not isinstance(where, Points):
            return self.finish(fetch(where))
        low = [int(coords.min()) for coords in where.coords]
        lengths = [int(c.max()) - a + 1 for c, a in zip(where.coords, low, strict=True)]
        if prod(lengths) > DENSE * len(where.coords[0]):
            return self.finish(fetch(where))
        start, count = list(where.box.start), list(where.box.count)
        for axis, a, n in zip(where.axes, low, lengths, strict=True):
            start[axis], count[axis] = a, n
        raw = fetch(Box(tuple(start), tuple(count), where.box.step))
        front = np.moveaxis(raw, where.axes, range(len(low)))
        cut = [c - a if a else c for c, a in zip(where.coords, low, strict=True)]
        return self.finish(front[tuple(cut)])

    def finish(self, raw: Array) -> Any:
        """Return what NumPy would give for the key.

        Parameters
        ----------
        raw : ndarray, shape ``layout``
            What stands at `where`.

        Returns
        -------
        ndarray, shape ``shape``, or NumPy scalar
            A scalar where NumPy gives one. A view of `raw` wherever possible.
        """
        if 0 in self.shape:
            return raw.reshape(-1)[:0].reshape(self.shape)
        if self._fold is not None:
            flip, split, order = self._fold
            raw = raw[flip].reshape(split).transpose(order)
        return raw if self._view is None else raw[self._view]

    def spread(self, values: Any) -> Array:
        """Return values as they must be written to `where` so that NumPy's result comes about.

        Parameters
        ----------
        values : array-like
            Broadcast to `shape`; leading axes of length 1 may be too many.

        Returns
        -------
        ndarray, shape ``layout``
            Often a read-only view of `values`, with strides of 0 where they were broadcast.

        Raises
        ------
        ShapeError
            The values cannot be broadcast to `shape`.
        """
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
        if array.size == 1 or 0 in self.shape:
            self._fit(array)
            # Nothing to write has no value to take: any will do.
            one = array.reshape(()) if array.size == 1 else np.zeros((), array.dtype)
            return np.broadcast_to(one, self.layout)
        array = self._fit(array)
        if self._view is not None:
            # What the view drops is put back as an axis of length 1, and the reverse. Flips
            # undo themselves; the ellipsis keeps a 0-d array an array.
            back = [None if part == 0 else 0 if part is None else part for part in self._view]
            array = array[(*back, ...) if Ellipsis not in back else tuple(back)]
        if self._fold is not None:
            flip, _, order = self._fold
            array = array.transpose(np.argsort(order)).reshape(self.layout)
            array = array[tuple(_ALL if part == 0 else part for part in flip)]
        return array

    def _fit(self, array: Array) -> Array:
        found = array.shape
        extra = array.ndim - len(self.shape)
        if extra > 0 and found[:extra] == (1,) * extra:
            array = array.reshape(found[extra:])
        try:
            return np.broadcast_to(array, self.shape)
        except ValueError:
            raise ShapeError(
                f"values of shape {found} cannot be broadcast to the selection's shape {self.shape}"
            ) from None


class _Fold(NamedTuple):
    """How raw values of advanced indices are brought into the axes of the result."""

    flip: Index  # along which axes to reverse, and which of length 1 to drop (0)
    split: Shape  # the shape with one axis per axis of the result that is longer than 1
    order: tuple[int, ...]  # and their order


def parse(key: Any, shape: Shape) -> Selection:
    """Return what a key denotes in an array.

    Parameters
    ----------
    key : object
        Whatever may stand between the brackets of a NumPy array: ints, slices, ``...``,
        ``None``, arrays and lists of ints or bools of any rank, and tuples of them.
    shape : tuple of int
        Of the array.

    Raises
    ------
    SelectionError
        The key is none, selects beyond the shape, has too many indices, a mask does not fit,
        or index arrays cannot be broadcast together.

    Examples
    --------
    >>> parse((slice(None, None, -2), 1), (5, 3))
    Selection(Box(start=(0, 1), count=(3, 1), step=(2, 1)), shape=(3,))
    """
    items = key if isinstance(key, tuple) else (key,)
    found = _basic(items, shape)
    if found is not None:
        return found
    longest = max(shape, default=0)
    items = tuple([plain(item, longest) for item in items])
    return _basic(items, shape) or _advanced(items, shape)


def _basic(items: Index, shape: Shape) -> Selection | None:
    """Return the selection of ints and slices, or None if there is any other index."""
    ndim = len(shape)
    start: list[int] = []
    count: list[int] = []
    step: list[int] = []
    out: list[int] = []
    view: list[Any] = []
    changed = False  # whether the view does anything
    axis = 0
    ellipsis = False
    for item in items:
        kind = type(item)
        if kind is slice:
            if axis == ndim:
                break
            first, length, stride = along(item, shape[axis], axis)
            if stride < 0:
                first, stride = first + (length - 1) * stride, -stride
                view.append(_FLIP)
                changed = True
            else:
                view.append(_ALL)
            start.append(first)
            count.append(length)
            step.append(stride)
            out.append(length)
            axis += 1
        elif kind is int:
            if axis == ndim:
                break
            start.append(position(item, shape[axis], axis))
            count.append(1)
            step.append(1)
            view.append(0)
            changed = True
            axis += 1
        elif item is None:
            view.append(None)
            out.append(1)
            changed = True
        elif item is Ellipsis:
            if ellipsis:
                raise two_ellipses()
            ellipsis = True
            used = 0
            for other in items:
                if type(other) is slice or type(other) is int:
                    used += 1
                elif other is not None and other is not Ellipsis:
                    return None  # a mask takes as many axes as it has
            if used > ndim:
                break
            stop = axis + ndim - used
            start += (0,) * (stop - axis)
            count += shape[axis:stop]
            out += shape[axis:stop]
            step += (1,) * (stop - axis)
            view += (_ALL,) * (stop - axis)
            axis = stop
        else:
            return None
    else:
        if axis < ndim:
            rest = ndim - axis
            start += (0,) * rest
            count += shape[axis:]
            out += shape[axis:]
            step += (1,) * rest
        if ellipsis and not out:
            view.append(Ellipsis)  # a[0, ...] is a 0-d array, a[0] a scalar
        elif not out:
            changed = True
        if len(out) > MAX_NDIM:
            raise too_deep(len(out))
        box = Box(tuple(start), tuple(count), tuple(step))
        return Selection(box, box.count, tuple(out), tuple(view) if changed else None)
    if any(not (item is None or item is Ellipsis or type(item) in (int, slice)) for item in items):
        return None
    raise too_many(sum(1 for item in items if item is not None and item is not Ellipsis), shape)


def _advanced(items: Index, shape: Shape) -> Selection:
    """Return the selection of indices of which at least one is an array."""
    ndim = len(shape)
    used = sum(n_axes(item) for item in items)
    if used > ndim:
        raise too_many(used, shape)
    if not any(item is Ellipsis for item in items):
        items = (*items, ...)
    start, count, step = [0] * ndim, [1] * ndim, [1] * ndim
    flips: list[Any] = [0] * ndim
    kept: list[int] = []  # axes of the result besides those of the arrays: an axis, or -1 if new
    arrays: dict[int, Array] = {}  # coordinates, by axis
    shapes: list[Shape] = []
    runs = 0  # of neighbouring advanced indices
    place = 0  # of the first run among `kept`
    before = False
    axis = 0
    for number, item in enumerate(items):
        if item is Ellipsis:
            if any(other is Ellipsis for other in items[number + 1 :]):
                raise two_ellipses()
            for _ in range(ndim - used):
                count[axis], flips[axis] = shape[axis], _ALL
                kept.append(axis)
                axis += 1
        elif item is None:
            kept.append(-1)
        elif isinstance(item, slice):
            first, length, stride = along(item, shape[axis], axis)
            flips[axis] = _ALL
            if stride < 0:
                first, stride, flips[axis] = first + (length - 1) * stride, -stride, _FLIP
            start[axis], count[axis], step[axis] = first, length, stride
            kept.append(axis)
            axis += 1
        else:
            if not before:
                runs += 1
                place = len(kept) if runs == 1 else 0  # separated ones go first
            if isinstance(item, int):
                start[axis] = position(item, shape[axis], axis)
                axis += 1
            elif item.dtype == bool:
                found = nonzero(item, shape, axis)
                arrays.update(zip(range(axis, axis + item.ndim), found, strict=True))
                # A 0-d bool is an axis of length 1 or 0.
                shapes.append(found[0].shape if found else (int(item),))
                axis += item.ndim
            else:
                arrays[axis] = coordinates(item, shape[axis], axis)
                shapes.append(item.shape)
                axis += 1
            before = True
            continue
        before = False

    common = broadcast(shapes)
    lengths = [1 if axis < 0 else count[axis] for axis in kept]
    out = (*lengths[:place], *common, *lengths[place:])
    if len(out) > MAX_NDIM:
        raise too_deep(len(out))
    if 0 in out:
        nothing = Box((0,) * ndim, (0,) * ndim, (1,) * ndim)
        return Selection(nothing, nothing.count, out, None)

    # Axes of the result along which each array varies.
    spans = {
        axis: [k for k, n in enumerate(array.shape, len(common) - array.ndim) if n > 1]
        for axis, array in arrays.items()
    }
    points: dict[int, Array] = {}
    for axis, array in arrays.items():
        others = [k for other, dims in spans.items() if other != axis for k in dims]
        even = None if set(others) & set(spans[axis]) else run(array)
        if even is None:
            points[axis] = array
            continue
        start[axis], count[axis], step[axis] = even[0], array.size, abs(even[1])
        if spans[axis]:
            flips[axis] = _FLIP if even[1] < 0 else _ALL
    box = Box(tuple(start), tuple(count), tuple(step))
    where: Box | Points = box
    layout = box.count
    flip: Index = (*flips, ...)
    labels: list[tuple[str, int]] = []  # of the axes of the split shape
    if points:
        axes = tuple(points)
        whole = tuple(points.values())
        if len(whole) > 1:
            whole = np.broadcast_arrays(*whole)
        where = Points(axes, tuple(coords.reshape(-1) for coords in whole), box)
        rest = [axis for axis in range(ndim) if axis not in points]
        layout = (whole[0].size, *(count[axis] for axis in rest))
        flip = (_ALL, *(flips[axis] for axis in rest), ...)
        labels = [("array", k) for k in sorted({k for axis in axes for k in spans[axis]})]
    for axis in range(ndim):
        if axis in points:
            continue
        if axis in kept:
            labels.append(("axis", axis))
        else:
            labels += [("array", k) for k in spans.get(axis, ())]
    split = tuple(common[k] if kind == "array" else count[k] for kind, k in labels)
    wanted: list[tuple[str, int] | None] = [("axis", k) if k >= 0 else None for k in kept]
    wanted[place:place] = [("array", k) if n > 1 else None for k, n in enumerate(common)]
    order = tuple(labels.index(label) for label in wanted if label is not None)
    view = tuple(None if label is None else _ALL for label in wanted)
    return Selection(
        where, layout, out, view if None in wanted else None, _Fold(flip, split, order)
    )
