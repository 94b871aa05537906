"""Typed nodes judged by the bounds of pages: what may match, what surely does.

Every condition gives two arrays, one entry a page: whether it can be true for some row, and
whether it can be false for some row. A page may match where it can be true, and matches whole
where it cannot be false. Where nothing is known both are true. What is computed is computed with
the same NumPy functions on the ends of the page, only where rounding keeps their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from kist.indexes.statistics import Bounds
from kist.indexes.text import round_up
from kist.query.evaluate import COMPARISONS
from kist.query.nodes import (
    Array,
    Column,
    Compare,
    CompareConstant,
    Constant,
    Logic,
    Member,
    Node,
    Not,
    TextTest,
    Ufunc,
)

__all__ = ["Truth", "judge"]

AllBounds = Mapping[str, Bounds]


class Truth(NamedTuple):
    """Per page, whether a condition can be true and can be false for some row."""

    can_true: Array
    can_false: Array


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


def judge(node: Node, bounds: AllBounds, n_pages: int) -> Truth:
    """Return what a condition can be on each page.

    Parameters
    ----------
    node : Node
        A bound condition.
    bounds : mapping of str to Bounds
        Bounds of the columns, each of `n_pages` pages; columns without are unknown.
    n_pages : int
        Number of pages.
    """
    func = _JUDGE.get(type(node))
    found = None if func is None else func(node, bounds, n_pages)
    return Truth(np.ones(n_pages, bool), np.ones(n_pages, bool)) if found is None else found


def _judge_constant(node: Constant, bounds: AllBounds, n: int) -> Truth:
    return Truth(np.full(n, node.value), np.full(n, not node.value))


def _judge_column(node: Column, bounds: AllBounds, n: int) -> Truth | None:
    x = _interval(node, bounds, n)
    return None if x is None else _settle(x.hi.copy(), ~x.lo, x)


def _judge_logic(node: Logic, bounds: AllBounds, n: int) -> Truth:
    parts = [judge(arg, bounds, n) for arg in node.args]
    true = [part.can_true for part in parts]
    false = [part.can_false for part in parts]
    if node.op == "and":
        return Truth(np.logical_and.reduce(true), np.logical_or.reduce(false))
    return Truth(np.logical_or.reduce(true), np.logical_and.reduce(false))


def _judge_not(node: Not, bounds: AllBounds, n: int) -> Truth:
    x = judge(node.x, bounds, n)
    return Truth(x.can_false, x.can_true)


def _judge_isnan(node: Ufunc, bounds: AllBounds, n: int) -> Truth | None:
    if node.func is not np.isnan:
        return None
    x = _interval(node.args[0], bounds, n)
    return None if x is None else Truth(x.nan | x.null | ~x.known, x.null | ~x.empty | ~x.known)


def _judge_compare_constant(node: CompareConstant, bounds: AllBounds, n: int) -> Truth | None:
    x = _interval(node.x, bounds, n)
    value = _as_bound(node.x.dtype, node.value)
    if x is None or value is None:
        return None
    if value != value:  # NaN and NaT are unequal to everything
        unequal = node.op == "!="
        return _settle(np.full(n, unequal), np.full(n, not unequal), x, node.op)
    return _compare(node.op, x, value, value, x)


def _judge_compare(node: Compare, bounds: AllBounds, n: int) -> Truth | None:
    x, y = _interval(node.left, bounds, n), _interval(node.right, bounds, n)
    if x is None or y is None:
        return None
    both = Interval(
        None, None, x.nan | y.nan, x.null | y.null, x.known & y.known, x.empty | y.empty
    )
    return _compare(node.op, x, y.lo, y.hi, both)


def _compare(op: str, x: Interval, lo: Any, hi: Any, both: Interval) -> Truth:
    """Compare x with something between lo and hi."""
    with np.errstate(all="ignore"):
        if op in ("==", "!="):
            can_equal = np.less_equal(x.lo, hi) & np.less_equal(lo, x.hi)
            can_differ = ~(np.greater_equal(x.lo, hi) & np.less_equal(x.hi, lo))
            true, false = (can_equal, can_differ) if op == "==" else (can_differ, can_equal)
        else:
            func = COMPARISONS[op]
            best, worst = ((x.lo, hi), (x.hi, lo)) if op[0] == "<" else ((x.hi, lo), (x.lo, hi))
            true, false = func(*best), ~func(*worst)
    return _settle(true, false, both, op)


def _settle(true: Array, false: Array, x: Interval, op: str = "") -> Truth:
    """Return what holds for the values between the ends, with the missing and the unknown."""
    true &= ~x.empty
    false &= ~x.empty
    # Nulls count as either, whatever a column makes of them.
    either = ~x.known | x.null
    if op == "!=":
        true |= x.nan
    else:
        false |= x.nan
    return Truth(true | either, false | either)


def _judge_member(node: Member, bounds: AllBounds, n: int) -> Truth | None:
    x = _interval(node.x, bounds, n)
    values: Any = node.values
    if node.x.dtype.kind in "UTSV":
        encoded = [_as_bound(node.x.dtype, value) for value in values]
        if None in encoded:
            return None
        values = np.sort(np.array(encoded, dtype=bytes))
    if x is None:
        return None
    first = np.searchsorted(values, x.lo, side="left")
    true = np.searchsorted(values, x.hi, side="right") > first
    return _settle(true, ~(true & (x.lo == x.hi)), x)


def _judge_text(node: TextTest, bounds: AllBounds, n: int) -> Truth | None:
    x = _interval(node.x, bounds, n)
    text = _as_bound(node.x.dtype, node.text)
    if x is None or not text or node.func != "startswith":
        return None
    behind = round_up(text)  # everything that begins with text sorts between text and this
    true, inside = np.greater_equal(x.hi, text), np.greater_equal(x.lo, text)
    if behind is not None:
        true &= np.less(x.lo, behind)
        inside &= np.less(x.hi, behind)
    return _settle(true, ~inside, x)


_JUDGE: dict[type[Node], Callable[[Any, AllBounds, int], Truth | None]] = {
    Constant: _judge_constant,
    Column: _judge_column,
    Logic: _judge_logic,
    Not: _judge_not,
    Compare: _judge_compare,
    CompareConstant: _judge_compare_constant,
    Ufunc: _judge_isnan,
    Member: _judge_member,
    TextTest: _judge_text,
}


def _as_bound(dtype: np.dtype[Any], value: Any) -> Any:
    """Return a constant in the form that bounds have; None where the two have no common order."""
    if dtype.kind == "c":
        return None
    if dtype.kind not in "UTSV":
        return value
    text = value.item() if isinstance(value, (np.ndarray, np.generic)) else value
    raw = bytes(text) if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    # Bounds do not see what stands behind a NUL in StringDType.
    return None if dtype.kind == "T" and b"\0" in raw else np.bytes_(raw)


# Intervals of what is computed.


def _interval(node: Node, bounds: AllBounds, n: int) -> Interval | None:
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
    if isinstance(node, Ufunc) and node.func in _ENDS and node.dtype.kind in "iuf":
        args = [_interval(arg, bounds, n) for arg in node.args]
        known = [arg for arg in args if arg is not None]
        if len(known) == len(args) and all(arg.dtype.kind in "biuf" for arg in node.args):
            return _computed(node, known)
    return None


def _computed(node: Ufunc, args: list[Interval]) -> Interval:
    known = np.logical_and.reduce([arg.known for arg in args])
    integers = node.dtype.kind in "iu"
    sides = [(arg.lo, arg.hi) for arg in args]
    if integers:
        # As Python integers: where the result leaves the dtype, NumPy wraps around.
        sides = [(_python(lo), _python(hi)) for lo, hi in sides]
    else:
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


Ends = tuple[Any, Any]


def _rising(func: Callable[..., Any]) -> Callable[..., tuple[Any, Any, Any]]:
    return lambda x: (func(x[0]), func(x[1]), True)


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


_ENDS: dict[np.ufunc, Callable[..., tuple[Any, Any, Any]]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.true_divide: _divide,
    np.negative: _negative,
    np.absolute: _absolute,
    np.sqrt: _rising(np.sqrt),
    np.floor: _whole(np.floor),
    np.ceil: _whole(np.ceil),
    np.positive: _rising(np.positive),
}
