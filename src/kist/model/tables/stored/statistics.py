"""Statistics of groups as conditions need them: those of the page, widened by its patches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from kist.indexes.statistics import Statistics, compute

__all__ = ["of_nullable", "widened", "with_zero"]

Array = np.ndarray[Any, Any]


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
