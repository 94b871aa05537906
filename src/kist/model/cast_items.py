"""Looking at items that are cast: which are missing, out of range, or would lose digits."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "first_missing",
    "inexact",
    "is_missing",
    "leaves",
    "outside",
]

Array = np.ndarray[Any, Any]


def outside(source: Array, low: int, high: int) -> Array:
    """Return which integers are outside low .. high."""
    if source.dtype.kind == "b":
        return np.zeros(len(source), bool)
    have = np.iinfo(source.dtype)
    bad = np.zeros(len(source), bool)
    if int(have.min) < low:
        bad |= source < max(low, int(have.min))
    if int(have.max) > high:
        bad |= source > high
    return bad


def inexact(source: Array, out: Array) -> Array | None:
    """Which integers a float dtype cannot hold; None when it holds all."""
    real = out.real.dtype
    exact = 1 << (np.finfo(real).nmant + 1)
    have = np.iinfo(source.dtype)
    if int(have.max) <= exact and int(have.min) >= -exact:
        return None
    large = (source > exact) | (source < -exact if source.dtype.kind == "i" else False)
    at = np.flatnonzero(large)
    bad = np.zeros(len(source), bool)
    for i in at.tolist():  # rare: only integers beyond what the mantissa holds
        value = out.real[i]
        bad[i] = not np.isfinite(value) or int(value) != int(source[i])
    return bad


def leaves(values: Any) -> Any:
    """Yield the innermost items of nested sequences."""
    for value in values:
        if isinstance(value, np.ndarray) and not value.ndim:
            yield value[()]
        elif isinstance(value, (list, tuple, np.ndarray)):
            yield from leaves(value)
        else:
            yield value


def first_missing(values: Any) -> int | None:
    """Row of the first None or pandas.NA, if any."""
    for row, value in enumerate(values):
        if value is None or type(value).__name__ == "NAType":
            return row
        if isinstance(value, (list, tuple)) and first_missing(value) is not None:
            return row
    return None


def is_missing(value: Any) -> bool:
    """Whether a value stands for a string that is not there."""
    return (
        value is None
        or type(value).__name__ == "NAType"
        or (isinstance(value, float) and value != value)
    )
