"""The values of `isin`, fitted to the dtype of the column that is looked at; texts among others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kist._kernels.sets import ascending
from kist._kernels.textwords import TextMembers
from kist.codecs.strings import StringBlock, block_of
from kist.query.coerce import fit_comparison
from kist.query.literals import array_value
from kist.query.nodes import Array, Member

__all__ = ["among_block", "among_texts", "fit_members", "texts_of"]


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


def among_texts(values: Array, node: Member) -> Array:
    """Return which strings are among the values of a node, whose strings are looked for.

    Notes
    -----
    By their bytes. Not `searchsorted`, which up to NumPy 2.4 finds no string of
    16 bytes or more in another array: it looks for the bytes of one in the memory of the other.
    """
    return among_block(block_of(values), node)


def among_block(block: StringBlock, node: Member) -> Array:
    """Return the same of strings as bytes; those that are missing are not among any."""
    found = texts_of(node).holds(block.starts, block.lengths, block.text)
    return found if block.missing is None else found & ~block.missing


def texts_of(node: Member) -> TextMembers:
    """Return the strings of a node, made once to be looked for."""
    if node.known is None:
        known = block_of(node.values)
        node.known = TextMembers(known.starts, known.lengths, known.text)
    return node.known
