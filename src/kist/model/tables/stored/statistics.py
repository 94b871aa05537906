"""Statistics of groups as conditions need them: those of the page, widened by its patches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kist.indexes.statistics import Statistics, compute

__all__ = ["widened"]

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
