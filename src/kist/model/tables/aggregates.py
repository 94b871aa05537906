"""Sums, means and extremes of columns, block by block, with NumPy's result dtypes.

Floats of up to 64 bits are added up as float64, block by block, so a long column of float32 is
summed more exactly than by NumPy, and given back in NumPy's dtype for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kist._kernels.strings import missing_of
from kist.errors import DTypeError

__all__ = ["largest", "mean", "smallest", "total"]

Array = np.ndarray[Any, Any]
Source = tuple[np.dtype[Any], str, Iterable[Array]]
"""Dtype of the values, what they are called, and the values in arrays."""


def _sum_dtype(dtype: np.dtype[Any], label: str, what: str) -> np.dtype[Any]:
    """Return the dtype of NumPy's sum."""
    if dtype.names is None and dtype.kind in "biufcm":
        result: np.dtype[Any] = np.zeros(0, dtype).sum().dtype
        return result
    raise DTypeError(f"{label} has no {what}: it holds {dtype}")


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype to add up in, where it is not the one that NumPy takes by itself."""
    if dtype.kind == "f" and dtype.itemsize < 8:
        return np.dtype("f8")
    return np.dtype("c16") if dtype.kind == "c" and dtype.itemsize < 16 else None


def total(source: Source) -> Any:
    """Return the sum of all values; 0 of the right dtype when there is none."""
    dtype, label, blocks = source
    result = _sum_dtype(dtype, label, "sum")
    return _cast(_added(dtype, blocks)[0], result)


def _added(dtype: np.dtype[Any], blocks: Iterable[Array]) -> tuple[Any, int]:
    wide = _wide(dtype)
    parts, n = [], 0
    for block in blocks:
        parts.append(block.sum(dtype=wide))
        n += block.size
    if not parts:
        return np.zeros(0, dtype).sum(dtype=wide), 0
    return np.array(parts).sum(), n


def _cast(value: Any, dtype: np.dtype[Any]) -> Any:
    with np.errstate(over="ignore"):  # a sum of float16 overflows to inf, as in NumPy
        return np.asarray(value).astype(dtype)[()]


def mean(source: Source) -> Any:
    """Return the mean of all values; nan, or NaT for times, when there is none."""
    dtype, label, blocks = source
    _sum_dtype(dtype, label, "mean")
    if dtype.kind in "biu":
        blocks = (block.astype(np.float64) for block in blocks)
        dtype = np.dtype("f8")
    added, n = _added(dtype, blocks)
    result = dtype.newbyteorder("=")
    if n == 0:
        return np.array("NaT" if dtype.kind == "m" else np.nan).astype(result)[()]
    return _cast(added / n, result)


def smallest(source: Source) -> Any:
    """Return the smallest value; NaN and NaT win, as in NumPy. Missing strings are left out."""
    return _extreme(source, np.minimum, np.argmin, "minimum")


def largest(source: Source) -> Any:
    """Return the largest value; NaN and NaT win, as in NumPy. Missing strings are left out."""
    return _extreme(source, np.maximum, np.argmax, "maximum")


def _extreme(source: Source, ufunc: np.ufunc, position: Callable[[Array], Any], what: str) -> Any:
    dtype, label, blocks = source
    if dtype.names is not None or dtype.kind not in "biufcmMSUT":
        raise DTypeError(f"{label} has no {what}: it holds {dtype}")
    # Not every NumPy has minimum and maximum of text; all have the place of the smallest.
    by_place = dtype.kind in "SU"
    parts = []
    for block in blocks:
        flat = block.ravel()
        absent = missing_of(flat) if dtype.kind == "T" else None
        if absent is not None and absent.any():
            flat = flat[~absent]
        if flat.size:
            parts.append(flat[position(flat)] if by_place else ufunc.reduce(flat))
    if not parts:
        raise ValueError(f"{label}: no row, so no {what}")
    found = np.array(parts, dtype if dtype.kind == "T" else None)
    value = found[position(found)] if by_place else ufunc.reduce(found)
    if dtype.kind == "T":
        return value
    return np.asarray(value).astype(dtype.newbyteorder("="))[()]
