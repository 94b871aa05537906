"""Typed nodes judged by the bounds of pages: what may match, what surely does.

Every condition gives two arrays, one entry a page: whether it can be true for some row, and
whether it can be false for some row. A page may match where it can be true, and matches whole
where it cannot be false. Where nothing is known both are true. What is computed is computed with
the same NumPy functions on the ends of the page, only where rounding keeps their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kist.indexes.text import round_up
from kist.query.evaluate import COMPARISONS
from kist.query.intervals import AllBounds, Interval, interval_of
from kist.query.nodes import (
    Array,
    Column,
    Compare,
    CompareConstant,
    Constant,
    Fixed,
    IsNull,
    Logic,
    Member,
    Node,
    Not,
    OfCodes,
    TextTest,
    Ufunc,
)

__all__ = ["Truth", "judge"]


class Truth(NamedTuple):
    """Per page, whether a condition can be true, false and null for some row."""

    can_true: Array
    can_false: Array
    can_null: Array


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
    return Truth(*(np.ones(n_pages, bool) for _ in range(3))) if found is None else found


def _judge_constant(node: Constant, bounds: AllBounds, n: int) -> Truth:
    return Truth(np.full(n, node.value), np.full(n, not node.value), np.zeros(n, bool))


def _judge_fixed(node: Fixed, bounds: AllBounds, n: int) -> Truth:
    x = interval_of(node.x, bounds, n)
    null = np.ones(n, bool) if x is None else x.null | ~x.known
    some = np.ones(n, bool) if x is None else ~x.empty | x.nan | ~x.known
    return Truth(some & node.value, some & (not node.value), null)


def _judge_null(node: IsNull, bounds: AllBounds, n: int) -> Truth | None:
    x = interval_of(node.x, bounds, n)
    if x is None:
        return None
    return Truth(x.null | ~x.known, ~x.empty | x.nan | ~x.known, np.zeros(n, bool))


def _judge_column(node: Column, bounds: AllBounds, n: int) -> Truth | None:
    x = interval_of(node, bounds, n)
    return None if x is None else _settle(x.hi.copy(), ~x.lo, x)


def _judge_logic(node: Logic, bounds: AllBounds, n: int) -> Truth:
    parts = [judge(arg, bounds, n) for arg in node.args]
    true = [part.can_true for part in parts]
    false = [part.can_false for part in parts]
    null = np.logical_or.reduce([part.can_null for part in parts])
    if node.op == "and":
        return Truth(np.logical_and.reduce(true), np.logical_or.reduce(false), null)
    return Truth(np.logical_or.reduce(true), np.logical_and.reduce(false), null)


def _judge_not(node: Not, bounds: AllBounds, n: int) -> Truth:
    x = judge(node.x, bounds, n)
    return Truth(x.can_false, x.can_true, x.can_null)


def _judge_isnan(node: Ufunc, bounds: AllBounds, n: int) -> Truth | None:
    if node.func is not np.isnan:
        return None
    x = interval_of(node.args[0], bounds, n)
    if x is None:
        return None
    return Truth(x.nan | ~x.known, ~x.empty | ~x.known, x.null | ~x.known)


def _judge_compare_constant(node: CompareConstant, bounds: AllBounds, n: int) -> Truth | None:
    x = interval_of(node.x, bounds, n)
    value = _as_bound(node.x.dtype, node.value)
    if x is None or value is None:
        return None
    if value != value:  # NaN and NaT are unequal to everything
        unequal = node.op == "!="
        return _settle(np.full(n, unequal), np.full(n, not unequal), x, node.op)
    return _compare(node.op, x, value, value, x)


def _judge_compare(node: Compare, bounds: AllBounds, n: int) -> Truth | None:
    x, y = interval_of(node.left, bounds, n), interval_of(node.right, bounds, n)
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
    unknown = ~x.known
    if op == "!=":
        true |= x.nan
    else:
        false |= x.nan
    return Truth(true | unknown, false | unknown, x.null | unknown)


def _judge_member(node: Member, bounds: AllBounds, n: int) -> Truth | None:
    x = interval_of(node.x, bounds, n)
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


def _judge_codes(node: OfCodes, bounds: AllBounds, n: int) -> Truth | None:
    x = interval_of(node.x, bounds, n)
    if x is None:
        return None
    last = len(node.true) - 1
    low = np.clip(np.asarray(x.lo).astype(np.int64), 0, last)
    high = np.clip(np.asarray(x.hi).astype(np.int64), low, last)
    beyond = np.asarray(x.hi).astype(np.int64) > last

    def some(table: Array) -> Array:
        n_before = np.append(0, np.cumsum(table))
        return (n_before[high + 1] > n_before[low]) & ~x.empty | ~x.known

    return Truth(some(node.true), some(node.known & ~node.true), some(~node.known) | beyond)


def _judge_text(node: TextTest, bounds: AllBounds, n: int) -> Truth | None:
    if node.func != "startswith":
        return None
    x = interval_of(node.x, bounds, n)
    text = _as_bound(node.x.dtype, node.text)
    if x is None or not text:
        return None
    behind = round_up(text)  # everything that begins with text sorts between text and this
    true, inside = np.greater_equal(x.hi, text), np.greater_equal(x.lo, text)
    if behind is not None:
        true &= np.less(x.lo, behind)
        inside &= np.less(x.hi, behind)
    return _settle(true, ~inside, x)


_JUDGE: dict[type[Node], Callable[[Any, AllBounds, int], Truth | None]] = {
    Constant: _judge_constant,
    Fixed: _judge_fixed,
    IsNull: _judge_null,
    Column: _judge_column,
    Logic: _judge_logic,
    Not: _judge_not,
    Compare: _judge_compare,
    CompareConstant: _judge_compare_constant,
    Ufunc: _judge_isnan,
    Member: _judge_member,
    OfCodes: _judge_codes,
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
