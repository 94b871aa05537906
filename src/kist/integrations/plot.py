"""`kist.plot`: a quick look at a column or an array, drawn from few points.

A line of ten million points covers a thousand pixels. Of each of as many buckets the least and the
greatest value are drawn, which looks as all of them would: no peak is lost. Values are read by
blocks, so that what is plotted may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

import kist
from kist.errors import DTypeError, ShapeError

__all__ = ["decimate", "plot"]

Array = np.ndarray[Any, Any]

_BLOCK: Final = 1 << 20
_PIXELS: Final = 1000


def plot(data: Any, *, x: Any = None, ax: Any = None, points: int = 4000, **style: Any) -> Any:
    """Draw a column or array with Matplotlib, which the extra ``plot`` brings.

    One dimension is a line; where there are more than `points` values, the least and the greatest
    of each stretch. Two dimensions are an image, of which every n-th row and column is drawn.

    Parameters
    ----------
    data : Column, Array, Selection of one column, or ndarray
        Numbers, booleans or times. NaN, NaT and nulls leave gaps.
    x : Column, Array, Selection or ndarray, optional
        As long as `data`, ascending: what stands on the horizontal axis instead of numbers.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    points : int
        Most points of a line.
    **style
        For `Axes.plot` or `Axes.imshow`: ``color="red"``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ShapeError
        There are more than two dimensions, or `x` has another length.
    DTypeError
        The values are not numbers.
    ModuleNotFoundError
        Matplotlib is not installed.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["t"] = {"a": np.sin(np.arange(100_000) / 1000)}
    ...     axes = kist.plot(store["t"]["a"], points=500)  # doctest: +SKIP
    """
    ndim = np.ndim(data) if isinstance(data, np.ndarray) else getattr(data, "ndim", 1)
    dtype = getattr(data, "dtype", None)
    if isinstance(data, kist.Table):
        one = repr(data.columns[0])
        raise DTypeError(f"columns of a table can be plotted, as in kist.plot(table[{one}])")
    if dtype is None:
        raise DTypeError(f"a column or an array can be plotted, not {type(data).__name__}")
    if _value_dtype(dtype).kind not in "biufmM":
        raise DTypeError(f"values of {dtype} cannot be plotted; numbers, booleans and times can")
    if ndim not in (1, 2) or (ndim == 2 and x is not None):
        raise ShapeError(f"{ndim} dimensions cannot be plotted: take one or two, as in array[0]")
    if points < 4:
        raise ValueError(f"a line of {points} points shows nothing")
    axes = _axes(ax)
    if ndim == 2:
        _image(data, axes, style)
    else:
        length = _length(data)
        if x is not None and _length(x) != length:
            raise ShapeError(f"{_length(x):,} places for {length:,} values")
        others = None if x is None else _blocks(x)
        places, values = decimate(_blocks(data), length, points, others)
        axes.plot(places, values, **style)
        axes.set_ylabel(_label(data))
        axes.set_xlabel("" if x is None else _label(x))
    return axes


def decimate(
    blocks: Iterable[Array], length: int, points: int, x: Iterable[Array] | None = None
) -> tuple[Array, Array]:
    """Return (places, values) of at most `points` of many values, peaks included.

    Parameters
    ----------
    blocks : iterable of ndarray, 1-d
        All values, in order.
    length : int
        How many there are.
    x : iterable of ndarray, 1-d, optional
        Places of the values; by default their numbers.

    Notes
    -----
    All values if there are no more than `points`; else the least and the greatest of stretches of
    equal length, in the order in which they stand. A stretch of missing values gives one.
    """
    stretch = max(1, -(-length * 2 // points)) if length > points else 1
    step = max(1, _BLOCK // stretch) * stretch
    places: list[Array] = []
    values: list[Array] = []
    others = None if x is None else _regrouped(x, step)
    at = 0
    for block in _regrouped(blocks, step):
        kept = np.arange(len(block)) if stretch == 1 else _ends(block, stretch)
        values.append(block[kept])
        places.append(kept + at if others is None else next(others)[kept])
        at += len(block)
    if not values:
        return np.empty(0, "i8"), np.empty(0)
    return np.concatenate(places), np.concatenate(values)


def _ends(block: Array, stretch: int) -> Array:
    """Return where the least and the greatest value of each stretch stand, ascending."""
    if block.dtype.kind in "mM":
        numbers = block.view("i8").astype("f8")
        missing = np.isnat(block)
    else:
        numbers = block.astype("f8")
        missing = np.isnan(numbers)
    whole = len(block) // stretch * stretch
    found = []
    for start, stop in ((0, whole), (whole, len(block))):
        if start < stop:
            width = stretch if not start else stop - start
            rows = (stop - start) // width
            first = np.arange(rows) * width + start
            for fill, position in ((np.inf, np.argmin), (-np.inf, np.argmax)):
                filled = np.where(missing[start:stop], fill, numbers[start:stop])
                found.append(first + position(filled.reshape(rows, width), axis=1))
    return np.unique(np.concatenate(found))


def _regrouped(blocks: Iterable[Array], step: int) -> Iterator[Array]:
    """Yield the same values in blocks of `step`, the last one shorter."""
    waiting: list[Array] = []
    n = 0
    for block in blocks:
        while len(block):
            part = block[: step - n]
            waiting.append(part)
            n += len(part)
            block = block[len(part) :]
            if n == step:
                yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
                waiting, n = [], 0
    if n:
        yield np.concatenate(waiting)


def _blocks(data: Any) -> Iterator[Array]:
    if isinstance(data, np.ndarray):
        found = (data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK))
    else:
        found = data.blocks()
    return map(_with_gaps, found)


def _value_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the values of a nullable column, of others their own."""
    is_pair = dtype.names == ("value", "valid") and dtype == kist.nullable(dtype["value"])
    return dtype["value"] if is_pair else dtype


def _with_gaps(values: Array) -> Array:
    """Return values, of which nulls are NaN or NaT."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if values.dtype.kind in "mM":
        nat = np.array("NaT", values.dtype)
        return np.where(np.ma.getmaskarray(values), nat, values.data)
    return np.where(np.ma.getmaskarray(values), np.nan, values.data.astype("f8"))


def _length(data: Any) -> int:
    return int(data.count()) if isinstance(data, kist.Selection) else len(data)


def _image(data: Any, axes: Any, style: dict[str, Any]) -> None:
    n, m = data.shape
    down, right = max(1, -(-n // _PIXELS)), max(1, -(-m // _PIXELS))
    pixels = np.asarray(data[::down, ::right])
    if pixels.dtype.kind in "mM":
        pixels = np.where(np.isnat(pixels), np.nan, pixels.view("i8").astype("f8"))
    # What stands on the axes are numbers of the array, however few of them are drawn.
    extent = (-0.5, m - 0.5, n - 0.5, -0.5)
    drawn = axes.imshow(pixels, **{"extent": extent, "aspect": "auto"} | style)
    axes.figure.colorbar(drawn, ax=axes)
    axes.set_title(_label(data))


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "plotting needs Matplotlib: pip install 'kist[plot]'", name=error.name
        ) from error
    return pyplot.subplots()[1]


def _label(data: Any) -> str:
    """Return name and unit of what has them."""
    name = getattr(data, "title", None) or getattr(data, "name", None) or ""
    attrs = getattr(data, "attrs", None) or {}
    unit = next((attrs[key] for key in ("units", "unit") if key in attrs), None)
    return f"{name} [{unit}]" if unit is not None else str(name)
