"""What NumPy keeps of `StringDType` values, seen from outside: their sizes and short strings.

NumPy has no function that tells the bytes of many strings: `str_len` counts characters and leaves
out NULs at the end, and a `str` for each value costs 100 ns. But ``tobytes`` of such an array gives
16 bytes a value, which hold its size, whether it is missing, and strings of up to 15 bytes
themselves (NEP 55, "Memory layout"). That layout is not promised. So it is tried once on strings of
all sorts, and where it is another, sizes are found string by string.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["inline", "is_text_missing", "missing_of", "sizes", "slow_sizes"]

Array = NDArray[Any]
Sizes = tuple[NDArray[np.int64], NDArray[np.bool_] | None]

SHORT: Final = 15
"""Bytes of a string that NumPy keeps in place."""

_MISSING, _KIND, _IN_PLACE, _SIZE = 0x80, 0x30, 0x20, 0x0F
_SIZE_OF_OTHERS: Final = np.uint64(0x00FF_FFFF_FFFF_FFFF)


def is_text_missing(dtype: Any) -> bool:
    """Tell whether the missing value of a dtype is a `str`: then it is a string like any other."""
    return isinstance(getattr(dtype, "na_object", None), str)


def missing_of(values: Array) -> NDArray[np.bool_] | None:
    """Return which values are missing, None where none can be."""
    dtype: Any = values.dtype
    if not hasattr(dtype, "na_object") or is_text_missing(dtype):
        return None
    if not isinstance(dtype.na_object, float):
        # isnan does not see a missing value such as None.
        values = values.astype(np.dtypes.StringDType(na_object=np.nan))
    missing: NDArray[np.bool_] = np.isnan(values)
    return missing


def sizes(values: Array) -> Sizes:
    """Return the bytes of each string in UTF-8, 0 for missing ones, and which are missing.

    Parameters
    ----------
    values : ndarray of StringDType, shape (n,)

    Returns
    -------
    (lengths, missing)
        int64, and bool or None when no value is missing.
    """
    if not _is_known():
        return slow_sizes(values)
    found = _sizes(values)
    return slow_sizes(values) if found is None else found


def _sizes(values: Array) -> Sizes | None:
    raw = np.frombuffer(values.tobytes(), np.uint8).reshape(len(values), 16)
    flags = raw[:, SHORT]
    lengths = (raw.view("<u8")[:, 1] & _SIZE_OF_OTHERS).astype(np.int64)
    np.copyto(lengths, flags & _SIZE, where=(flags & _KIND) == _IN_PLACE)
    missing = flags >= _MISSING
    if not missing.any():
        return lengths, None
    if is_text_missing(values.dtype):
        return None
    lengths[missing] = 0
    return lengths, missing


def slow_sizes(values: Array) -> Sizes:
    """Return the same without a look at NumPy's memory."""
    missing = missing_of(values)
    if missing is not None and not missing.any():
        missing = None
    texts = values if missing is None else values[~missing]
    found = np.fromiter((len(text.encode()) for text in texts.tolist()), np.int64, len(texts))
    if missing is None:
        return found, None
    lengths = np.zeros(len(values), np.int64)
    lengths[~missing] = found
    return lengths, missing


def inline(values: Array) -> NDArray[np.uint8] | None:
    """Return strings of up to 15 bytes as they stand in memory, shape (n, 15).

    What is behind the end of a string may be anything. None when there are longer strings, or
    when NumPy keeps them in another way.
    """
    if not _is_known() or not len(values):
        return None
    raw = np.frombuffer(values.tobytes(), np.uint8).reshape(len(values), 16)
    flags = raw[:, SHORT]
    if is_text_missing(values.dtype) and (flags >= _MISSING).any():
        return None
    elsewhere = (flags & _KIND) != _IN_PLACE
    if elsewhere.any():
        # Empty and missing strings may stand elsewhere, and have no bytes.
        found = _sizes(values)
        if found is None or found[0][elsewhere].any():
            return None
    return raw[:, :SHORT]


@lru_cache(maxsize=1)
def _is_known() -> bool:
    """Tell whether NumPy keeps strings in the way that is read here."""
    texts: list[str | None] = ["", "a", "a\0", "\0", "ä", "x" * 15, "y" * 16, "z" * 255, "w" * 256]
    texts += ["v" * 70_000, None, "last"]
    values = np.array(texts, np.dtypes.StringDType(na_object=None))
    values[6], values[9], values[1], values[4] = "now short", "", None, "now longer than before"
    values[2:4] = np.array([b"cast", b""])
    if values.itemsize != 16 or len(values.tobytes()) != 16 * len(values):
        return False
    found, expected = _sizes(values), slow_sizes(values)
    if found is None or found[1] is None or expected[1] is None:
        return False
    if not (found[0] == expected[0]).all() or not (found[1] == expected[1]).all():
        return False
    raw = np.frombuffer(values.tobytes(), np.uint8).reshape(len(values), 16)
    for row, length, text in zip(raw, expected[0].tolist(), values.tolist(), strict=True):
        in_place = bool(row[SHORT] & _KIND == _IN_PLACE)
        if length and in_place != (length <= SHORT):
            return False
        if in_place and text is not None and row[:length].tobytes() != text.encode():
            return False
    return True
