"""The values of `isin`, fitted to the dtype of the column that is looked at; texts among others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kist._kernels.sets import ascending, members
from kist._kernels.textwords import TextNumbering
from kist.codecs.strings import block_of
from kist.query.coerce import fit_comparison
from kist.query.literals import array_value
from kist.query.nodes import Array

__all__ = ["among_texts", "fit_members"]


def fit_members(dtype: np.dtype[Any], values: Any) -> list[Array]:
    """Return the values that can be equal to values of a dtype, sorted and unique.

    Parameters
    ----------
    dtype : numpy.dtype
        Dtype of what is looked at.
    values : array, list, set or tuple of constants
        The values; each means what it means behind `==`.

    Returns
    -------
    list of ndarray
        One array for each dtype that is needed to compare exactly; usually one, none when no
        value can ever be equal.
    """
    if isinstance(values, (set, frozenset, range)) or not isinstance(values, np.ndarray):
        values = list(values)
    found = array_value(values)
    if isinstance(found, np.ndarray) and (whole := _fit_array(dtype, found)) is not None:
        groups = [whole]
    else:
        groups = _fit_each(dtype, found)
    return [group for group in map(_unique, groups) if len(group)]


def _unique(values: Array) -> Array:
    if values.dtype.kind in "fcmM":
        values = values[values == values]
    return ascending(values) if values.dtype.kind in "iuf" else np.unique(values)


def _fit_array(dtype: np.dtype[Any], values: Array) -> Array | None:
    """Return what of an array fits a dtype of the same kind, without a step a value."""
    kind = values.dtype.kind
    native = dtype.newbyteorder("=")
    if kind in "iu" and dtype.kind in "iu":
        info = np.iinfo(dtype)
        low, high = (np.asarray(limit).item() for limit in (info.min, info.max))
        there: Array = values[(values >= low) & (values <= high)]
        return there.astype(native)
    if kind == "f" and dtype.kind == "f":
        with np.errstate(over="ignore"):
            narrow = values.astype(native)
        return narrow if np.array_equal(narrow, values, equal_nan=True) else None
    if kind in "mMSU" and values.dtype == native:
        return values
    return None


def _fit_each(dtype: np.dtype[Any], values: Iterable[Any]) -> list[Array]:
    if isinstance(values, np.ndarray) and values.dtype.kind not in "mMf":
        values = values.tolist()
    groups: dict[str, list[Any]] = {}
    for value in values:
        fit = fit_comparison("==", dtype, value)
        if not isinstance(fit, bool):
            fitted = fit[1]
            key = np.asarray(fitted).dtype.str if dtype.kind in "biufcmM" else dtype.kind
            groups.setdefault(key, []).append(fitted)
    if dtype.kind == "T":
        return [np.array(list(map(str, g)), dtype=np.dtypes.StringDType()) for g in groups.values()]
    return [np.array(group) for group in groups.values()]


def among_texts(values: Array, known: Array) -> Array:
    """Return which strings are among the known ones.

    Parameters
    ----------
    values, known : ndarray of StringDType, 1-d

    Notes
    -----
    Equal strings get equal numbers. Not `searchsorted`, which up to NumPy 2.4 finds no string of
    16 bytes or more in another array: it looks for the bytes of one in the memory of the other.
    """
    table = TextNumbering()
    wanted = ascending(table.number(*block_of(known)))
    return members(table.number(*block_of(values)), wanted)
