"""Sums, means and extremes of a computed result, of all values or along axes.

Each part gives its own, in threads; they are put together in the order of the parts, so the
result does not depend on the number of threads. Floats are added up as float64, integers exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from kist.errors import QueryError
from kist.model.evaluation.computed import Computed
from kist.model.evaluation.operands import Where
from kist.query.integers import checked

__all__ = ["reduce"]

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...]


def reduce(func: str, values: Computed, axis: Axes | None, ddof: int = 0) -> Array:
    """Return a reduction of a computed result, as an array of the axes that are left.

    Parameters
    ----------
    func : str
        One of `kist.query.functions.REDUCTIONS`.
    axis : tuple of int or None
        Axes that vanish; None: all.
    ddof : int
        For std and var: what is taken from the number of values.

    Raises
    ------
    QueryError
        There is no such axis, or the values have no such reduction.
    ValueError
        The smallest or largest of no values.
    """
    ndim = len(values.shape)
    axes = tuple(range(ndim)) if axis is None else _axes(func, axis, ndim)
    kept = [k for k in range(ndim) if k not in axes]
    shape = tuple(values.shape[k] for k in kept)
    n = math.prod(values.shape[k] for k in axes)
    _check(func, values, n)
    if func in ("std", "var"):
        return _spread(func, values, axes, kept, shape, ddof)
    partial, combine, dtype = _plan(func, values.dtype)
    out: Array | None = None
    seen: Array | None = None

    def one(where: Where) -> tuple[Where, Array]:
        return where, partial(values.compute(where), axes)

    for where, found in values.each(one):
        if out is None:
            out, seen = np.empty(shape, found.dtype), np.zeros(shape, bool)
        assert seen is not None
        place: Any = (*(where[k] for k in kept), ...)
        if seen[place].all():
            out[place] = combine(out[place], found)
        else:  # parts that lie behind each other cover the same places
            out[place] = found
            seen[place] = True
    if out is None:  # no values at all
        # Of the smallest and largest there are none either, see `_check`.
        none = 0 if func in ("min", "max") else _JOIN[func].reduce(np.zeros(0, values.dtype))
        out = np.full(shape, none)
    with np.errstate(all="ignore"):
        if func == "mean":
            out = out / n if n else np.full(shape, np.array("NaT" if dtype.kind == "m" else np.nan))
        return out.astype(dtype, copy=False)


def _axes(func: str, axis: Axes, ndim: int) -> Axes:
    found = []
    for one in axis:
        if not -ndim <= one < ndim:
            raise QueryError(f"{func}(): there is no axis {one}, the values have {ndim}")
        found.append(one % ndim)
    if len(set(found)) < len(found):
        raise QueryError(f"{func}(): an axis is named twice in {axis}")
    return tuple(found)


def _check(func: str, values: Computed, n: int) -> None:
    kind = values.dtype.kind
    allowed = {"any": "biufcmM", "all": "biufcmM", "min": "biufmM", "max": "biufmM"}
    allowed |= {"sum": "biufcm", "mean": "biufcm", "prod": "biufc", "std": "biuf", "var": "biuf"}
    if kind not in allowed[func]:
        raise QueryError(f"{func}() cannot be computed from {values.dtype}")
    if n == 0 and func in ("min", "max"):
        raise ValueError(f"{func}() of no values")


Plan = tuple[Callable[[Array, Axes], Array], Callable[[Array, Array], Array], "np.dtype[Any]"]


def _plan(func: str, dtype: np.dtype[Any]) -> Plan:
    """Return what is done with a part and with two results, and the dtype of the end."""
    result: np.dtype[Any] = getattr(np, func)(np.zeros(1, dtype)).dtype
    if func in ("min", "max", "any", "all"):
        ufunc = _JOIN[func]
        return lambda x, axes: np.asarray(ufunc.reduce(x, axis=axes)), ufunc, result
    ufunc = _JOIN[func]
    if func == "mean":
        wide = np.dtype("f8") if dtype.kind in "biu" else _wide(dtype)
        return lambda x, axes: np.asarray(ufunc.reduce(x, axis=axes, dtype=wide)), ufunc, result
    if dtype.kind in "biu":
        return (
            lambda x, axes: _exact(func, x, axes, result),
            lambda x, y: checked(ufunc, [x, y], result),
            result,
        )
    wide = _wide(dtype)
    return lambda x, axes: np.asarray(ufunc.reduce(x, axis=axes, dtype=wide)), ufunc, result


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which floats are added up."""
    if dtype.kind in "fc":
        return np.result_type(dtype, np.float64)
    return dtype


def _exact(func: str, x: Array, axes: Axes, result: np.dtype[Any]) -> Array:
    """Return a sum or product of integers, which does not wrap around."""
    ufunc = _JOIN[func]
    n = math.prod(x.shape[k] for k in axes)
    most = max(abs(int(x.max())), abs(int(x.min()))) if x.size else 0
    bits = most.bit_length() * n if func == "prod" else most.bit_length() + n.bit_length()
    if bits < 63:
        return np.asarray(ufunc.reduce(x, axis=axes, dtype=result))
    exact = np.asarray(ufunc.reduce(x.astype(object), axis=axes), dtype=object)
    info = np.iinfo(result)
    if ((exact < int(info.min)) | (exact > int(info.max))).any():
        raise QueryError(
            f"{func}() does not fit {result}: integers never wrap around; {func}(float64(x)) "
            "gives a rounded one"
        )
    return exact.astype(result)


_JOIN: Final[dict[str, np.ufunc]] = {
    "sum": np.add,
    "mean": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
    "any": np.logical_or,
    "all": np.logical_and,
}


def _spread(
    func: str, values: Computed, axes: Axes, kept: list[int], shape: tuple[int, ...], ddof: int
) -> Array:
    """Return the variance or its root, from the means of parts and the squares around them.

    Put together as by Chan, Golub and LeVeque (1979): sums of squares would cancel.
    """
    wide = np.dtype("f8") if values.dtype.kind in "biu" else _wide(values.dtype)

    def one(where: Where) -> tuple[Where, int, Array, Array]:
        x = values.compute(where)
        n = math.prod(x.shape[k] for k in axes)
        with np.errstate(all="ignore"):
            mean = np.asarray(x.mean(axis=axes, dtype=wide))
            squares = np.square(x - np.expand_dims(mean, axes)).sum(axis=axes, dtype=wide)
        return where, n, mean, np.asarray(squares)

    count = np.zeros(shape, np.int64)
    means = np.zeros(shape, wide)
    around = np.zeros(shape, wide)
    with np.errstate(all="ignore"):
        for where, n, mean, squares in values.each(one):
            place: Any = (*(where[k] for k in kept), ...)
            before = count[place]
            total = before + n
            step = mean - means[place]
            around[place] += squares + step * step * (before / total) * n
            means[place] += step * (n / total)
            count[place] = total
        found = around / np.maximum(count - ddof, 0)
        found = np.sqrt(found) if func == "std" else found
        result = getattr(np, func)(np.zeros(1, values.dtype)).dtype
        return found.astype(result, copy=False)
