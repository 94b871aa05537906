"""Conditions on pages that are left as narrow integers (`kist.codecs.narrow`).

A comparison with a constant becomes one of the integers with another constant, and what is joined
of such comparisons (`and`, `or`, `not`, `isin`) stays joined; of a dictionary any condition is
computed once for each item. The outcome is that of the values, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from kist._kernels.bits import limits_of
from kist.query.bound import Bound
from kist.query.nodes import (
    Array,
    Callback,
    Column,
    CompareConstant,
    Logic,
    Member,
    Node,
    Not,
    OfCodes,
    walk,
)

if TYPE_CHECKING:
    from kist.codecs.narrow import Narrow
    from kist.codecs.stringpages import Texts

__all__ = ["Known", "holds", "may_be_narrow"]

_FEW_ITEMS = 4
"""So many items are compared one by one, which beats looking up each number."""
_FEW_MEMBERS = 16
"""So many constants are compared one by one, which beats a search for each value."""


def may_be_narrow(part: Bound) -> bool:
    """Tell whether `holds` can do anything with a condition."""
    return not any(isinstance(node, Callback) for node in walk(part.node))


Known = dict[tuple[tuple[int, int], Any], "tuple[int, int] | None"]
"""Limits of numbers, by the constant of a condition and the encodings of a page."""


def holds(
    part: Bound, page: Narrow | Texts, valid: Array | None = None, known: Known | None = None
) -> Array | None:
    """Return where a condition on one column holds, without its values.

    Parameters
    ----------
    part : Bound
        A condition that reads no other column.
    page : Narrow
        The column.
    valid : ndarray of bool, optional
        Where the column has a value; everywhere by default.
    known : dict, optional
        Kept from page to page of one query, for what is the same in many of them; its conditions
        must stay alive, because their identity is what they are known by.

    Returns
    -------
    ndarray of bool or None
        A new array; None where the values are needed.
    """
    node = part.node
    found: Array | None
    if page.items is not None:
        found = _by_items(part, page.items, page.numbers)
    elif isinstance(node, OfCodes):
        found = _of_codes(part, page) if page.numbers.dtype.itemsize == 1 else None
    else:
        found = _of_node(node, page, {} if known is None else known)
    if found is None or valid is None:
        return found
    return np.logical_or(found, ~valid) if part.null_truth else np.logical_and(found, valid)


def _of_codes(part: Bound, page: Narrow) -> Array:
    """Return where a condition of codes holds, which is known of any code, stored or not."""
    every = np.arange(256).astype(page.numbers.dtype)  # by the byte of a number
    true = part.evaluate({part.columns[0]: page.values(every)}, len(every))
    return _looked_up(true, page.numbers.view(np.uint8))


def _by_items(part: Bound, items: Array, numbers: Array) -> Array:
    return _looked_up(part.evaluate({part.columns[0]: items}, len(items)), numbers)


def _looked_up(true: Array, numbers: Array) -> Array:
    """Return what a table says of each number."""
    wanted = np.flatnonzero(true)
    if len(wanted) > _FEW_ITEMS:
        return true.take(numbers)
    found = np.zeros(len(numbers), bool)
    for number in wanted.tolist():
        found |= numbers == number
    return found


def _of_node(node: Node, page: Narrow, known: Known) -> Array | None:
    """Return where comparisons with constants hold, and what is joined of such.

    No page of narrow integers has NaN or NaT, so what is not true is false.
    """
    if isinstance(node, CompareConstant) and isinstance(node.x, Column):
        return _compared(node.op, node.value, (id(node), 0), page, known)
    if isinstance(node, Not):
        found = _of_node(node.x, page, known)
        return None if found is None else np.logical_not(found, out=found)
    if isinstance(node, Logic):
        masks = (_of_node(one, page, known) for one in node.args)
        return _joined(np.logical_and if node.op == "and" else np.logical_or, masks)
    if isinstance(node, Member) and isinstance(node.x, Column) and len(node.values) <= _FEW_MEMBERS:
        masks = (
            _compared("==", value, (id(node), at), page, known)
            for at, value in enumerate(node.values)
        )
        return _joined(np.logical_or, masks)
    return None


def _joined(func: np.ufunc, masks: Iterable[Array | None]) -> Array | None:
    """Return masks joined, None where one of them is not known or there are none."""
    found: Array | None = None
    for mask in masks:
        if mask is None:
            return None
        found = mask if found is None else func(found, mask, out=found)
    return found


def _compared(
    op: str, value: Any, key: tuple[int, int], page: Narrow, known: Known
) -> Array | None:
    """Return where values compare with a constant; `key` is that of the constant in `known`."""
    limits_key = key, page.encodings
    if limits_key not in known:
        known[limits_key] = page.limits(value)
    limits = known[limits_key]
    if limits is None:
        return None
    at_least, above = limits
    numbers = page.numbers
    if op in ("<", "<="):
        return _below(numbers, at_least if op == "<" else above)
    if op in (">", ">="):
        found = _below(numbers, above if op == ">" else at_least)
        return np.logical_not(found, out=found)
    if above - at_least == 1:
        low, high = limits_of(numbers.dtype)
        inside = low <= at_least <= high
        found = numbers == at_least if inside else np.zeros(len(numbers), bool)
    else:
        found = _below(numbers, above)
        found &= np.logical_not(_below(numbers, at_least))
    return np.logical_not(found, out=found) if op == "!=" else found


def _below(numbers: Array, limit: int) -> Array:
    """Return which integers are below a limit that may lie outside their type."""
    low, high = limits_of(numbers.dtype)
    if not low < limit <= high:
        return np.full(len(numbers), limit > low)
    return numbers < limit
