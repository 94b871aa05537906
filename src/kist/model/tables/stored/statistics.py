"""Statistics of groups as conditions need them: those of the page, widened by its patches.

`recoded` makes those of codes of one list of categories into those of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.indexes.statistics import Bounds, Statistics, compute

if TYPE_CHECKING:
    from kist.format.schema import Leaf
    from kist.model.tables.stored.state import TableState

__all__ = ["bounds_of_groups", "of_nullable", "recoded", "widened", "with_zero"]

Array = np.ndarray[Any, Any]


def bounds_of_groups(state: TableState, leaf: Leaf, *, with_nulls: bool) -> Bounds:
    """Return the statistics of a leaf, one entry per group of the layout."""
    valid = state.facts.valid_of.get(leaf.id)
    pages = {} if leaf.is_virtual else state.list_pages(leaf)
    constant = _statistics_of_constant(state, leaf)
    packed: list[bytes | None] = []
    for group in state.layout.groups:
        page = pages.get((leaf.id, group.first)) if group.is_pages else None
        known_of = page[1].statistics if page is not None else b""
        if constant and page is None and state.constant(leaf, group) is not None:
            n_rows = group.n_rows
            known_of = replace(
                constant, n_nan=constant.n_nan * n_rows, n_null=constant.n_null * n_rows
            ).pack()
        # Most patches are of other leaves.
        patches = state.patches(group, leaf) if known_of and group.patches else []
        # A patch may say that a value is there which was none when it was stored.
        stale = known_of and group.patches and valid and state.patches(group, valid)
        if known_of and valid is not None and (with_nulls or stale):
            known_of = with_zero(known_of, leaf.dtype) or b""
        if patches and known_of:
            changes = [values[:, 0] for _, values in patches]
            packed.append(widened(known_of, changes, leaf.dtype))
        else:
            packed.append(known_of or None)
    return Bounds.from_packed(packed, leaf.dtype)


def _statistics_of_constant(state: TableState, leaf: Leaf) -> Statistics | None:
    """Return the statistics of one initial value."""
    values = state.facts.initial(leaf, 0) if leaf.n_values == 1 else None
    return None if values is None else compute(np.array(values))


def recoded(bounds: Bounds, codes: Array) -> Bounds:
    """Return statistics of codes as they are in another list; nothing of codes beyond theirs.

    Parameters
    ----------
    codes : ndarray of int
        The new code of each code.
    """
    lo, hi = bounds.lo.copy(), bounds.hi.copy()
    known = bounds.known & (bounds.empty | (hi < len(codes)))
    for low, high in {*zip(lo[known].tolist(), hi[known].tolist(), strict=True)}:
        same = known & (bounds.lo == low) & (bounds.hi == high)
        new = codes[low : high + 1]
        lo[same], hi[same] = new.min(), new.max()
    # The code that a bound has now may be that of a value which is not there.
    exact = bounds.lo_exact & known & (bounds.lo == bounds.hi)
    return replace(bounds, lo=lo, hi=hi, known=known, lo_exact=exact, hi_exact=exact)


def widened(packed: bytes, changes: Iterable[Array], dtype: np.dtype[Any]) -> bytes | None:
    """Return statistics that hold for a page and for the values that patches put into it.

    Parameters
    ----------
    packed : bytes
        Statistics of the page.
    changes : iterable of ndarray
        New values of some of its rows.

    Returns
    -------
    bytes or None
        None when nothing is known any more.
    """
    found = Statistics.unpack(packed, dtype)
    for values in changes:
        new = compute(np.ascontiguousarray(values))
        if new is None or not _is_known(new) or not _is_known(found):
            return None
        found = _union(found, new)
    return found.pack()


def of_nullable(values: Array, valid: Array) -> Statistics | None:
    """Return the statistics of a page of a nullable column.

    Nulls have zeros under them, which are left out. What else stands under one counts, so that
    only zero must be added to make the bounds hold for every value that is stored; and then
    neither bound is known to be a value that is there.
    """
    nulls = ~valid
    zeros = values[nulls] == np.zeros((), values.dtype)
    if zeros.all():
        return compute(values, nulls=nulls)
    nulls[nulls] = zeros
    found = compute(values, nulls=nulls)
    return found and replace(found, lo_exact=False, hi_exact=False, constant=False)


def with_zero(packed: bytes, dtype: np.dtype[Any]) -> bytes | None:
    """Return statistics that hold for what is stored under nulls too, None where none do."""
    found = Statistics.unpack(packed, dtype)
    if not found.n_null:
        return packed
    wider = widened(packed, [np.zeros(1, dtype)], dtype)
    if wider is None:
        return None
    return replace(Statistics.unpack(wider, dtype), n_null=0).pack()


def _is_known(one: Statistics) -> bool:
    return one.empty or one.lo is not None


def _union(one: Statistics, other: Statistics) -> Statistics:
    """Return what holds for the values of both; a value that was replaced may still count."""
    n_nan, n_null = one.n_nan + other.n_nan, one.n_null + other.n_null
    if one.empty or other.empty:
        kept = other if one.empty else one
        return Statistics(
            one.dtype, kept.lo, kept.hi, n_nan, n_null, empty=one.empty and other.empty
        )
    lo, hi = min(one.lo, other.lo), max(one.hi, other.hi)
    return Statistics(one.dtype, lo, hi, n_nan, n_null)
