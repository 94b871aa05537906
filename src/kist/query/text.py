"""Text columns compared and searched, a word of eight bytes at a time where that is possible.

`S` and `V` hold bytes, `U` UTF-32, both with NULs at the end that do not count; NumPy compares
them character by character, a tenth as fast as the same bytes seen as integers. `StringDType` is
left to NumPy, but for its nulls: a null matches nothing, as in NumPy when it is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kist._kernels.strings import is_text_missing
from kist.query.like import match
from kist.query.nodes import Array

__all__ = ["comparable", "equal_constant", "search"]

#: Fewer rows than one in so many that agree in their first bytes are looked at one by one.
_FEW = 4


def comparable(values: Array) -> Array:
    """Return text in a form that NumPy compares: `V` as bytes, nulls as NaN, native `U`."""
    kind = values.dtype.kind
    if kind == "V":
        return values.view(f"S{values.dtype.itemsize}")
    if kind == "T" and is_text_missing(values.dtype):
        return values.astype(np.dtypes.StringDType())
    if kind == "T" and hasattr(values.dtype, "na_object"):
        return values.astype(np.dtypes.StringDType(na_object=np.nan))
    if kind == "U" and not values.dtype.isnative:
        # NumPy makes StringDType of big-endian text without swapping its bytes.
        return values.astype(values.dtype.newbyteorder("="))
    return values


def equal_constant(values: Array, text: Any) -> Array:
    """Return where fixed-width text is equal to a constant that is not longer.

    Parameters
    ----------
    values : ndarray of kind S or U, shape (n,)
        In any byte order.
    text : bytes or str
        Of the same kind, without NULs at the end.
    """
    width = values.dtype.itemsize
    wanted = np.array([text], dtype=values.dtype).tobytes()
    size = next(n for n in (8, 4, 2, 1) if n <= width)
    kind = f"u{size}"
    if size == width:
        words = values.view(kind)
    else:
        first = {"names": ["x"], "formats": [kind], "offsets": [0], "itemsize": width}
        words = values.view(f"V{width}").view(np.dtype(first))["x"]  # type: ignore[call-overload]
    found: Array = words == np.frombuffer(wanted, dtype=kind, count=1)[0]
    if size == width:
        return found
    rows = np.flatnonzero(found)
    if len(rows) * _FEW > len(values):
        return np.equal(values, text)  # type: ignore[no-any-return]
    found[rows] = values[rows] == text
    return found


def search(func: str, values: Array, text: Any) -> Array:
    """Return where text starts with, ends with or contains a constant, or fits a pattern.

    Parameters
    ----------
    func : {"startswith", "endswith", "contains", "like"}
        What to look for.
    values : ndarray of kind S, V, U or T, shape (n,)
        In any byte order.
    text : bytes, str or Pattern
        Of the same kind; not empty and not longer than fixed-width values.
    """
    kind = values.dtype.kind
    if kind == "T":
        return _search_strings(func, values, text)
    if kind == "V":
        values = values.view(f"S{values.dtype.itemsize}")
    if func == "startswith":
        # The first characters alone, without a copy, are a narrower column.
        width = values.dtype.itemsize
        head = np.dtype(f"{values.dtype.str[:2]}{len(text)}")
        layout = {"names": ["x"], "formats": [head], "offsets": [0], "itemsize": width}
        heads = values.view(f"V{width}").view(np.dtype(layout))["x"]  # type: ignore[call-overload]
        return equal_constant(heads, text)
    return _search(func, values, text)


def _search(func: str, values: Array, text: Any) -> Array:
    found: Array
    if func == "like":
        found = match(values, text)
    elif func == "contains":
        found = np.strings.find(values, text) >= 0
    elif func == "startswith":
        found = np.strings.startswith(values, text)
    else:
        found = np.strings.endswith(values, text)
    return found


def _search_strings(func: str, values: Array, text: Any) -> Array:
    wanted = text if func == "like" else np.array(text, dtype=np.dtypes.StringDType())
    values = comparable(values)
    if not hasattr(values.dtype, "na_object"):
        return _search(func, values, wanted)
    missing = np.isnan(values)
    plain = np.where(missing, "", values).astype(np.dtypes.StringDType())
    return _search(func, plain, wanted) & ~missing
