"""Conditions on pages that are left as narrow integers (`kist.codecs.narrow`).

A comparison with a constant becomes one of the integers with another constant; of a dictionary
any condition is computed once for each item. The outcome is that of the values, bit by bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kist._kernels.bits import limits_of
from kist.query.bound import Bound
from kist.query.nodes import Array, Callback, Column, CompareConstant, OfCodes, walk

if TYPE_CHECKING:
    from kist.codecs.narrow import Narrow
    from kist.codecs.stringpages import Texts

__all__ = ["Known", "holds", "may_be_narrow"]

_FEW_ITEMS = 4
"""So many items are compared one by one, which beats looking up each number."""


def may_be_narrow(part: Bound) -> bool:
    """Tell whether `holds` can do anything with a condition."""
    return not any(isinstance(node, Callback) for node in walk(part.node))


Known = dict[tuple[int, Any], "tuple[int, int] | None"]
"""Limits of numbers, by the condition and the encodings of a page."""


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
        Kept from page to page of one query, for what is the same in many of them.

    Returns
    -------
    ndarray of bool or None
        A new array; None where the values are needed.
    """
    node = part.node
    found: Array | None
    if page.items is not None:
        found = _by_items(part, page.items, page.numbers)
    elif isinstance(node, CompareConstant) and isinstance(node.x, Column):
        found = _compared(node, page, {} if known is None else known)
    elif isinstance(node, OfCodes) and page.numbers.dtype.itemsize == 1:
        found = _of_codes(part, page)
    else:
        return None
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


def _compared(node: CompareConstant, page: Narrow, known: Known) -> Array | None:
    key = id(node), page.encodings
    if key not in known:
        known[key] = page.limits(node.value)
    limits = known[key]
    if limits is None:
        return None
    at_least, above = limits
    numbers, op = page.numbers, node.op
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
