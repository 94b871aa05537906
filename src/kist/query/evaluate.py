"""Typed nodes computed over blocks of rows, with NumPy.

A block is one array a column. Nothing is computed row by row in Python, columns are not copied
or converted, and the array of a condition is used again by the operator around it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kist.query.nodes import (
    Array,
    Choose,
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
from kist.query.text import comparable, equal_constant, search

__all__ = ["COMPARISONS", "FEW_VALUES", "evaluate"]

Blocks = Mapping[str, Array]

COMPARISONS: dict[str, np.ufunc] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}

#: Up to so many values are compared one after the other, which beats sorting the column.
FEW_VALUES = 24


def evaluate(node: Node, blocks: Blocks) -> Any:
    """Return the values of a node for the rows of a block.

    Parameters
    ----------
    node : Node
        A bound expression.
    blocks : mapping of str to ndarray
        Values of the columns it reads, all of one length.

    Returns
    -------
    ndarray, or a scalar when no column is read
        For a column the array of the block itself, else a new one.
    """
    return _EVALUATE[type(node)](node, blocks)


def _column(node: Column, blocks: Blocks) -> Array:
    return blocks[node.name]


def _constant(node: Constant, blocks: Blocks) -> Any:
    return node.value


def _ufunc(node: Ufunc, blocks: Blocks) -> Any:
    args = [evaluate(arg, blocks) for arg in node.args]
    if node.func is np.isnan and node.args[0].dtype.kind == "T":
        return _is_null(args[0])
    return node.func(*args)


def _is_null(values: Array) -> Array:
    values = comparable(values)
    if not hasattr(values.dtype, "na_object"):
        return np.zeros(values.shape, dtype=bool)
    missing: Array = np.isnan(values)
    return missing


def _compare(node: Compare, blocks: Blocks) -> Array:
    left, right = evaluate(node.left, blocks), evaluate(node.right, blocks)
    if node.left.dtype.kind in "VT" or node.right.dtype.kind in "VT":
        left, right = comparable(left), comparable(right)
        if left.dtype.kind == "T" or right.dtype.kind == "T":
            return _compare_strings(node.op, left, right)
    return COMPARISONS[node.op](left, right)  # type: ignore[no-any-return]


def _compare_constant(node: CompareConstant, blocks: Blocks) -> Array:
    x, op, value = evaluate(node.x, blocks), node.op, node.value
    kind = node.x.dtype.kind
    if kind in "SUV":
        x = comparable(x) if kind == "V" else x
        if op == "==":
            return equal_constant(x, value)
        if op == "!=":
            found = equal_constant(x, value)
            return np.logical_not(found, out=found)
    elif kind == "T":
        return _compare_strings(op, comparable(x), value)
    return COMPARISONS[op](x, value)  # type: ignore[no-any-return]


def _compare_strings(op: str, left: Array, right: Array) -> Array:
    # NumPy says != of two nulls, and of a null and text, in its own way; here a null is never
    # equal, never unequal, neither less nor more.
    found: Array = COMPARISONS[op](left, right)
    if op in ("!=", "<=", ">="):
        for side in (left, right):
            if hasattr(side.dtype, "na_object"):
                found &= ~np.isnan(side)
    return found


def _logic(node: Logic, blocks: Blocks) -> Array:
    func = np.logical_and if node.op == "and" else np.logical_or
    first, *others = node.args
    found = evaluate(first, blocks)
    own = not isinstance(first, Column)
    for other in others:
        found = func(found, evaluate(other, blocks), out=found if own else None)
        own = True
    return found  # type: ignore[no-any-return]


def _not(node: Not, blocks: Blocks) -> Array:
    x = evaluate(node.x, blocks)
    return np.logical_not(x, out=None if isinstance(node.x, Column) else x)  # type: ignore[no-any-return]


def _text_test(node: TextTest, blocks: Blocks) -> Array:
    return search(node.func, evaluate(node.x, blocks), node.text)


def _member(node: Member, blocks: Blocks) -> Array:
    x, values = evaluate(node.x, blocks), node.values
    fixed = node.x.dtype.kind in "SUV"
    if node.x.dtype.kind in "VT":
        x = comparable(x)
    if len(values) <= FEW_VALUES:
        found: Array | None = None
        # Slices, because an element of StringDType is a str, which loses NULs at its end.
        for i in range(len(values)):
            if fixed:
                one = equal_constant(x, values[i])
            else:
                one = np.equal(x, values[i : i + 1])
            found = one if found is None else np.logical_or(found, one, out=found)
        return np.zeros(x.shape, dtype=bool) if found is None else found
    there: Array
    if x.dtype.kind in "iu":
        there = np.isin(x, values)
        return there
    # The values are sorted: one search in them a row, without sorting the column.
    at = np.searchsorted(values, x)
    at[at == len(values)] = 0
    there = np.equal(values[at], x)
    return there


def _choose(node: Choose, blocks: Blocks) -> Array:
    condition, x, y = (evaluate(part, blocks) for part in (node.condition, node.x, node.y))
    chosen: Array = np.where(condition, x, y)
    return chosen


_EVALUATE: dict[type[Node], Callable[[Any, Blocks], Any]] = {
    Column: _column,
    Constant: _constant,
    Ufunc: _ufunc,
    Compare: _compare,
    CompareConstant: _compare_constant,
    Logic: _logic,
    Not: _not,
    TextTest: _text_test,
    Member: _member,
    Choose: _choose,
}
