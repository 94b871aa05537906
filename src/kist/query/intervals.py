"""Between which values the numbers of a page lie, of columns and of what is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kist.indexes.statistics import Bounds
from kist.query.nodes import Array, Choose, Column, Constant, Convert, Node, Part, Ufunc
from kist.query.times import limits_of, part_of

__all__ = ["AllBounds", "Interval", "interval_of"]

AllBounds = Mapping[str, Bounds]


@dataclass(slots=True)
class Interval:
    """Per page, lo <= x <= hi for every x that is not NaN, NaT or null.

    `nan` is where there may be NaN or NaT, `null` where there may be nulls, `known` where the
    ends hold, and `empty` where there is nothing to hold them for.
    """

    lo: Any
    hi: Any
    nan: Array
    null: Array
    known: Array
    empty: Array


def interval_of(node: Node, bounds: AllBounds, n: int) -> Interval | None:
    """Return the interval of a node for each of `n` pages, None where nothing is known."""
    if isinstance(node, Column):
        found = bounds.get(node.name)
        if found is None or node.dtype.kind == "c":
            return None
        nan, null = found.n_nan > 0, found.n_null > 0
        return Interval(found.lo, found.hi, nan, null, found.known, found.empty)
    if isinstance(node, Constant):
        value = node.value
        if isinstance(value, (bool, int, float, np.number)) and value == value:
            no = np.zeros(n, dtype=bool)
            return Interval(value, value, no, no, ~no, no)
    if isinstance(node, Part):
        return _part(node, interval_of(node.x, bounds, n))
    if isinstance(node, Convert):
        return _converted(node, interval_of(node.x, bounds, n))
    if isinstance(node, Choose) and node.dtype.kind in "iuf":
        return _either(interval_of(node.x, bounds, n), interval_of(node.y, bounds, n))
    if isinstance(node, Ufunc) and node.func in _ENDS and node.dtype.kind in "iuf":
        args = [interval_of(arg, bounds, n) for arg in node.args]
        known = [arg for arg in args if arg is not None]
        if len(known) == len(args) and all(arg.dtype.kind in "biuf" for arg in node.args):
            return _computed(node, known)
    return None


def _part(node: Part, x: Interval | None) -> Interval | None:
    if x is None:
        return None
    limits = limits_of(node.part)
    if limits is None:
        unit = node.x.dtype.newbyteorder("=")
        lo, hi = (part_of(node.part, np.asarray(end).astype(unit)) for end in (x.lo, x.hi))
    else:
        lo, hi = (np.full(len(x.known), end) for end in limits)
    # NaT has no parts.
    return Interval(lo, hi, np.zeros_like(x.nan), x.nan | x.null, x.known, x.empty)


def _converted(node: Convert, x: Interval | None) -> Interval | None:
    if x is None or node.dtype.kind not in "iuf" or node.x.dtype.kind not in "biuf":
        return None
    lo, hi = np.asarray(x.lo), np.asarray(x.hi)
    known = x.known
    if node.dtype.kind in "iu":
        info = np.iinfo(node.dtype)
        known = known & (lo > float(info.min)) & (hi < float(info.max))
        lo, hi = (np.where(known, end, 0) for end in (lo, hi))
    with np.errstate(all="ignore"):
        lo, hi = lo.astype(node.dtype), hi.astype(node.dtype)
    return Interval(lo, hi, x.nan, x.null, known | x.empty, x.empty)


def _either(x: Interval | None, y: Interval | None) -> Interval | None:
    if x is None or y is None:
        return None
    lo, hi = (
        np.where(x.empty, b, np.where(y.empty, a, func(a, b)))
        for func, a, b in ((np.minimum, x.lo, y.lo), (np.maximum, x.hi, y.hi))
    )
    return Interval(lo, hi, x.nan | y.nan, x.null | y.null, x.known & y.known, x.empty & y.empty)


def _computed(node: Ufunc, args: list[Interval]) -> Interval:
    known = np.logical_and.reduce([arg.known for arg in args])
    integers = node.dtype.kind in "iu"
    sides = [(arg.lo, arg.hi) for arg in args]
    if integers:
        # As Python integers: where the result leaves the dtype, NumPy wraps around.
        sides = [(_python(lo), _python(hi)) for lo, hi in sides]
    else:
        if node.typed:
            sides = [(_as_dtype(lo, node.dtype), _as_dtype(hi, node.dtype)) for lo, hi in sides]
        for end in (end for side in sides for end in side):
            known &= np.isfinite(end)  # inf - inf and 0 * inf are NaN in the middle of a page
    with np.errstate(all="ignore"):
        lo, hi, sure = _ENDS[node.func](*sides)
        lo, hi = (np.broadcast_to(end, known.shape) for end in (lo, hi))
        known &= sure
        if integers:
            info = np.iinfo(node.dtype)
            fits = np.asarray((lo >= info.min) & (hi <= info.max), dtype=bool)
            known &= fits
            lo, hi = (np.where(fits, end, 0).astype(node.dtype) for end in (lo, hi))
        else:
            known &= ~(np.isnan(lo) | np.isnan(hi))
    nan, null, empty = (
        np.logical_or.reduce([getattr(arg, name) for arg in args])
        for name in ("nan", "null", "empty")
    )
    return Interval(lo, hi, nan, null, known | empty, empty)


def _python(end: Any) -> Any:
    return np.asarray(end).astype(object)


def _as_dtype(end: Any, dtype: np.dtype[Any]) -> Any:
    return end.astype(dtype) if isinstance(end, (np.ndarray, np.generic)) else end


Ends = tuple[Any, Any]


def _rising(func: Callable[..., Any]) -> Callable[..., tuple[Any, Any, Any]]:
    return lambda x: (func(x[0]), func(x[1]), True)


def _nearly_rising(func: Callable[..., Any]) -> Callable[..., tuple[Any, Any, Any]]:
    """Functions that are rounded a little this way or that."""

    def ends(x: Ends) -> tuple[Any, Any, Any]:
        lo, hi = np.asarray(func(x[0])), np.asarray(func(x[1]))
        info = np.finfo(lo.dtype)
        lo, hi = (
            np.where(np.isfinite(end), end + sign * (np.abs(end) * 16 * info.eps + info.tiny), end)
            for end, sign in ((lo, -1), (hi, 1))
        )
        return lo, hi, True

    return ends


def _whole(func: Callable[..., Any]) -> Callable[..., tuple[Any, Any, Any]]:
    """floor and ceil, which leave integers as they are."""

    def ends(x: Ends) -> tuple[Any, Any, Any]:
        lo, hi = x
        if np.asarray(lo).dtype == object:
            return lo, hi, True
        return func(lo), func(hi), True

    return ends


def _add(x: Ends, y: Ends) -> tuple[Any, Any, Any]:
    return np.add(x[0], y[0]), np.add(x[1], y[1]), True


def _subtract(x: Ends, y: Ends) -> tuple[Any, Any, Any]:
    return np.subtract(x[0], y[1]), np.subtract(x[1], y[0]), True


def _corners(func: Callable[..., Any], x: Ends, y: Ends) -> tuple[Any, Any]:
    corners = [func(a, b) for a in x for b in y]
    lo, hi = corners[0], corners[0]
    for corner in corners[1:]:
        lo, hi = np.minimum(lo, corner), np.maximum(hi, corner)
    return lo, hi


def _multiply(x: Ends, y: Ends) -> tuple[Any, Any, Any]:
    return *_corners(np.multiply, x, y), True


def _divide(x: Ends, y: Ends) -> tuple[Any, Any, Any]:
    return *_corners(np.true_divide, x, y), np.greater(y[0], 0) | np.less(y[1], 0)


def _negative(x: Ends) -> tuple[Any, Any, Any]:
    return -x[1], -x[0], True


def _absolute(x: Ends) -> tuple[Any, Any, Any]:
    lo, hi = abs(x[0]), abs(x[1])
    crosses = np.less_equal(x[0], 0) & np.greater_equal(x[1], 0)
    return np.where(crosses, 0, np.minimum(lo, hi)), np.maximum(lo, hi), True


def _floor_divide(x: Ends, y: Ends) -> tuple[Any, Any, Any]:
    """By a positive constant, of integers."""
    if not _is_constant(y) or _first(y) < 1 or np.asarray(x[0]).dtype != object:
        return x[0], x[1], False
    return x[0] // y[0], x[1] // y[0], True


def _remainder(x: Ends, y: Ends) -> tuple[Any, Any, Any]:
    if not _is_constant(y) or _first(y) < 1 or np.asarray(x[0]).dtype != object:
        return x[0], x[1], False
    one_turn = x[0] // y[0] == x[1] // y[0]
    return np.where(one_turn, x[0] % y[0], 0), np.where(one_turn, x[1] % y[0], y[0] - 1), True


def _power(x: Ends, y: Ends) -> tuple[Any, Any, Any]:
    """Of integers, to a constant power."""
    if not _is_constant(y) or not 0 <= _first(y) < 64 or np.asarray(x[0]).dtype != object:
        return x[0], x[1], False
    exponent = int(_first(y))
    if exponent % 2 == 0:
        x = _absolute(x)[:2]
    return x[0] ** exponent, x[1] ** exponent, True


def _bits_of_both(x: Ends, y: Ends) -> tuple[Any, Any, Any]:
    for side in (x, y):
        if _is_constant(side) and _first(side) >= 0:
            return 0, side[1], True
    return x[0], x[1], False


def _is_constant(x: Ends) -> bool:
    return np.ndim(x[0]) == 0


def _first(x: Ends) -> Any:
    return np.asarray(x[0]).item()


def _extreme(func: np.ufunc) -> Callable[..., tuple[Any, Any, Any]]:
    return lambda x, y: (func(x[0], y[0]), func(x[1], y[1]), True)


_ENDS: dict[Any, Callable[..., tuple[Any, Any, Any]]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.true_divide: _divide,
    np.negative: _negative,
    np.absolute: _absolute,
    np.floor_divide: _floor_divide,
    np.remainder: _remainder,
    np.power: _power,
    np.bitwise_and: _bits_of_both,
    np.maximum: _extreme(np.maximum),
    np.minimum: _extreme(np.minimum),
    np.sqrt: _rising(np.sqrt),
    np.floor: _whole(np.floor),
    np.ceil: _whole(np.ceil),
    np.trunc: _whole(np.trunc),
    np.positive: _rising(np.positive),
    **{
        func: _nearly_rising(func)
        for func in (
            *(np.exp, np.expm1, np.log, np.log2, np.log10, np.log1p),
            *(np.arctan, np.sinh, np.tanh, np.arcsinh),
        )
    },
}
