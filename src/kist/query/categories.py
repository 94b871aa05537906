"""Conditions on categorical columns, asked of the codes.

What a condition says of one such column alone is the same for all rows of a category. So it is
evaluated once, on the list of categories, and becomes a set of codes: rows are then compared
by their codes, whatever was asked of the text. A condition that also looks at other columns keeps
its shape, and its parts become sets of codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from kist.errors import QueryError
from kist.query.evaluate import Block, evaluate, validity
from kist.query.nodes import (
    BOOL,
    Array,
    Callback,
    Column,
    CompareConstant,
    CompareOrdered,
    Logic,
    Node,
    OfCodes,
    column_names,
    rebuilt,
    walk,
)

__all__ = ["Coded", "by_codes", "where_true"]


class Coded(NamedTuple):
    """A categorical column, for expressions that name it.

    Attributes
    ----------
    codes : str
        Name of the column of its codes.
    dtype : dtype
        Of these.
    values : ndarray
        Values by code; any at code 0, which is no value.
    """

    codes: str
    dtype: np.dtype[Any]
    values: Array


def by_codes(node: Node, columns: Mapping[str, Coded]) -> Node:
    """Return a node that reads codes instead of values, where it can.

    Parameters
    ----------
    columns : mapping of str to Coded
        The categorical columns.

    Raises
    ------
    QueryError
        A column is compared with what is none of its ordered categories.
    """
    names = column_names(node)
    if not any(name in columns for name in names):
        return node
    if any(isinstance(part, Callback) for part in walk(node)):
        return node
    if node.dtype == BOOL and len(names) == 1:
        return _of_codes(node, names[0], columns[names[0]])
    return rebuilt(node, partial(by_codes, columns=columns))


def where_true(node: Node) -> Node:
    """Return a condition of codes as comparisons of these, where only its truth is asked for.

    Comparisons with constants are computed on what pages hold. Nulls and false are one here.
    """
    if isinstance(node, Logic):
        return rebuilt(node, where_true)
    if not isinstance(node, OfCodes):
        return node
    places = np.flatnonzero(node.true)
    low, high = (int(places[0]), int(places[-1])) if len(places) else (1, 0)
    if low == high:
        return CompareConstant(BOOL, "==", node.x, low)
    if low > high or high - low != len(places) - 1:
        return node
    ends = (CompareConstant(BOOL, ">=", node.x, low), CompareConstant(BOOL, "<=", node.x, high))
    return Logic(BOOL, "and", ends)


def _of_codes(node: Node, name: str, column: Coded) -> OfCodes:
    n = len(column.values)
    there = np.ones(n, bool)
    there[0] = False
    place = f"{name} (place)"
    known = {name: column.values, place: np.arange(n)}
    block = Block(known, {name: there, place: there}, n, True)
    tree = _by_place(node, place, column)
    with np.errstate(all="ignore"):
        true = np.broadcast_to(evaluate(tree, block), n)
        valid = validity(tree, block)
    valid = np.ones(n, bool) if valid is None else np.broadcast_to(valid, n)
    return OfCodes(BOOL, Column(column.dtype, column.codes), true & valid, valid.copy())


def _by_place(node: Node, place: str, column: Coded) -> Node:
    """Return a node in which ordered categories are compared by their places in the list."""
    if not isinstance(node, CompareOrdered):
        return rebuilt(node, partial(_by_place, place=place, column=column))
    known = column.values[1:].tolist()
    value = node.value.item() if isinstance(node.value, np.generic) else node.value
    if value not in known:
        shown = ", ".join(map(repr, known[:8])) + ", ..." * (len(known) > 8)
        raise QueryError(
            f"{node.op} {value!r} has no place among the ordered categories, which are {shown}"
        )
    return CompareConstant(BOOL, node.op, Column(np.dtype(np.intp), place), known.index(value) + 1)
