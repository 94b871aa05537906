"""Dtypes of integer arithmetic for one block of rows, by the values that are there.

The dtype of a column allows for more than a block holds: `i4 + 1` may need 33 bits, and hardly ever
does. The extremes of the columns cost a small part of the arithmetic, and with them most of it is
done in NumPy's own dtypes, unchecked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from kist.query.coerce import fit_comparison
from kist.query.integers import Range, dtype_for, extremes, range_of
from kist.query.nodes import (
    Array,
    Choose,
    Column,
    Compare,
    CompareConstant,
    Convert,
    Fixed,
    Logic,
    Node,
    Not,
    Ufunc,
    column_names,
    numpy_dtype,
    walk,
)

__all__ = ["specialized", "wide_columns"]

FEW: Final = 1024
"""For fewer rows it does not pay."""


def wide_columns(node: Node) -> tuple[str, ...]:
    """Return the columns of integers whose extremes may save work."""
    names: dict[str, None] = {}
    for part in walk(node):
        if isinstance(part, Ufunc) and (part.checked or (part.limits and part.dtype != part.numpy)):
            names |= dict.fromkeys(column_names(part))
    dtypes = {part.name: part.dtype for part in walk(node) if isinstance(part, Column)}
    return tuple(name for name in names if dtypes[name].kind in "iu")


def specialized(node: Node, names: tuple[str, ...], columns: Mapping[str, Array], n: int) -> Node:
    """Return the node for some rows, with the dtypes that their values need.

    Parameters
    ----------
    node : Node
        A bound expression.
    names : tuple of str
        What `wide_columns` gives for it.
    columns : mapping of str to ndarray, shape (n,)
        The values.
    """
    if n < FEW or not names:
        return node
    return _specialize(node, {name: extremes(columns[name]) for name in names})


def _specialize(node: Node, ranges: Mapping[str, Range]) -> Node:
    if isinstance(node, Ufunc):
        return _ufunc(node, ranges)
    if isinstance(node, Convert):
        x = _specialize(node.x, ranges)
        return x if x.dtype == node.dtype else replace(node, x=x)
    if isinstance(node, CompareConstant):
        x = _specialize(node.x, ranges)
        if x.dtype == node.x.dtype or x.dtype.kind not in "iu" or node.dtype.kind not in "b":
            return replace(node, x=x)
        value = node.value
        if not isinstance(value, np.integer):
            return replace(node, x=x)
        fit = fit_comparison(node.op, x.dtype, int(value))
        if isinstance(fit, bool):
            return Fixed(node.dtype, x, fit)
        return CompareConstant(node.dtype, fit[0], x, fit[1])
    if isinstance(node, Compare):
        return replace(
            node, left=_specialize(node.left, ranges), right=_specialize(node.right, ranges)
        )
    if isinstance(node, Logic):
        return replace(node, args=tuple(_specialize(arg, ranges) for arg in node.args))
    if isinstance(node, Not):
        return replace(node, x=_specialize(node.x, ranges))
    if isinstance(node, Choose):
        return replace(node, condition=_specialize(node.condition, ranges))
    return node


def _range(node: Node, ranges: Mapping[str, Range]) -> Range | None:
    if isinstance(node, Column) and node.name in ranges:
        return ranges[node.name]
    return range_of(node)


def _ufunc(node: Ufunc, ranges: Mapping[str, Range]) -> Node:
    args = tuple(_specialize(arg, ranges) for arg in node.args)
    if node.limits is None:
        typed = node.typed and any(arg.dtype != numpy_dtype(arg) for arg in args)
        return replace(node, args=args, typed=typed)
    exact = dtype_for(node.func, node.numpy, [_range(arg, ranges) for arg in args])
    if exact is None:
        return node
    dtype, limits, checked = exact
    typed = dtype != node.numpy or any(arg.dtype != numpy_dtype(arg) for arg in args)
    return Ufunc(dtype, node.func, args, node.numpy, limits, checked, typed)
