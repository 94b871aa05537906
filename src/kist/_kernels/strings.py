"""What NumPy keeps of `StringDType` values, seen from outside: their sizes and short strings.

NumPy has no function that tells the bytes of many strings: `str_len` counts characters and leaves
out NULs at the end, and a `str` for each value costs 100 ns. But ``tobytes`` of such an array gives
16 bytes a value, which hold its size, whether it is missing, and strings of up to 15 bytes
themselves (NEP 55, "Memory layout"). That layout is not promised. So it is tried once on strings of
all sorts, and where it is another, sizes are found string by string.

The other way too: these 16 bytes of a short string are all of it, so a million of them are written
as fast as any numbers (`put_words`), where NumPy takes 25 to 130 ns for each.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SHORT",
    "WIDE",
    "inline",
    "is_compact",
    "is_text_missing",
    "matrix_of",
    "missing_of",
    "put_words",
    "short_keys",
    "short_words",
    "sizes",
    "slow_sizes",
    "within",
    "words_of",
    "words_of_columns",
]

Array = NDArray[Any]
Sizes = tuple[NDArray[np.int64], NDArray[np.bool_] | None]

SHORT: Final = 15
"""Bytes of a string that NumPy keeps in place."""

_MISSING, _KIND, _IN_PLACE, _SIZE = 0x80, 0x30, 0x20, 0x0F
_LOOSE: Final = 4
"""A matrix may have this many times the bytes of its strings, and `_NARROW` bytes a row besides.
Copying bytes is that much cheaper than making objects."""
_NARROW: Final = 32
WIDE: Final = 4096
"""Strings of more bytes go one by one. NumPy casts 128 at a time, each in as much memory as the
longest takes, which is 25 GB for texts of 200 MB; and from some hundreds of bytes on not faster."""
_WORD: Final = np.dtype("c16")
"""Any dtype of 16 bytes that NumPy only copies."""
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


def short_keys(values: Array) -> tuple[NDArray[np.bool_], list[NDArray[np.uint64]]]:
    """Return which strings have up to 15 bytes, and two words of each, equal where these are.

    Parameters
    ----------
    values : ndarray of StringDType, shape (n,)
        None of them missing.
    """
    n = len(values)
    if not _is_known() or not n:
        return np.zeros(n, np.bool_), [np.zeros(0, np.uint64)] * 2
    lengths = sizes(values)[0]
    is_short = lengths <= SHORT
    words = np.frombuffer(values.tobytes(), np.uint64).reshape(n, 2)
    if not is_short.all():
        words, lengths = words[is_short], lengths[is_short]
    kept = _kept_bytes().take(lengths, axis=0)
    low, high = words[:, 0] & kept[:, 0], words[:, 1] & kept[:, 1]
    high |= lengths.view(np.uint64) << np.uint64(56)
    return is_short, [low, high]


@lru_cache(maxsize=1)
def _kept_bytes() -> NDArray[np.uint64]:
    """Return two words by length: the bits that are text."""
    lengths = np.arange(SHORT + 1)
    kept = np.where(np.arange(16) < lengths[:, None], 0xFF, 0).astype(np.uint8)
    return kept.view(np.uint64)


def matrix_of(values: Array, lengths: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Return the UTF-8 of strings in rows padded with zeros, None where that does not suit them.

    Parameters
    ----------
    values : ndarray of StringDType, shape (n,)
    lengths : ndarray of int64, shape (n,)
        Their bytes, as `sizes` gives them.
    """
    n, width = len(values), int(lengths.max(initial=0))
    if not width or width > WIDE or not is_compact(n, width, int(lengths.sum())):
        return None
    rows = inline(values) if width <= SHORT else None
    if rows is not None:
        return rows[:, :width] * within(lengths, width)
    # NumPy casts missing values to something, too.
    matrix = values.astype(f"V{width}").view(np.uint8).reshape(n, width)
    return matrix if lengths.all() else matrix * within(lengths, width)


def is_compact(n: int, width: int, total: int) -> bool:
    """Tell whether a matrix of `n` rows of a width is not much longer than its strings."""
    return width * n <= _LOOSE * total + _NARROW * n


def within(lengths: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Return 1 for the bytes of each string in rows of so many bytes, and 0 for the others."""
    # Bytes are compared four times as fast as what is wide enough for any length.
    kind: Any = np.uint8 if width < 256 else np.int32
    kept: NDArray[np.bool_] = np.arange(width, dtype=kind) < lengths.astype(kind)[:, None]
    return kept.view(np.uint8)


def words_of(values: Array) -> NDArray[Any] | None:
    """Return values of up to 15 bytes, or missing, as words of 16 bytes for `put_words`.

    None when one is longer, or NumPy keeps them in another way.
    """
    if not _can_put():
        return None
    words = np.frombuffer(values.tobytes(), _WORD)
    flags = words.view(np.uint8)[SHORT::16]
    here = ((flags & _KIND) == _IN_PLACE) | (flags >= _MISSING)
    # What was never assigned is all zeros, and empty.
    return words if here.all() or not words[~here].view(np.uint64).any() else None


def short_words(rows: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[Any] | None:
    """Return the words of short strings; None when NumPy keeps them in another way.

    Parameters
    ----------
    rows : ndarray of uint8, shape (n, 16)
        Their bytes, and anything behind them; written over.
    lengths : ndarray of int64, shape (n,)
        How many bytes each has, at most 15.
    """
    return _short_words(rows, lengths) if _can_put() else None


def words_of_columns(text: NDArray[np.uint8]) -> NDArray[Any] | None:
    """Return the words of short strings of one length; None when NumPy keeps them in another way.

    Parameters
    ----------
    text : ndarray of uint8, shape (length, n)
        The first bytes of all, then the second ones; at most 15.
    """
    if not _can_put():
        return None
    length, n = text.shape
    words = np.empty(n, _WORD)
    words[...] = _masks()[1][length]
    rows = words.view(np.uint8).reshape(n, SHORT + 1)
    for at, column in enumerate(text):
        rows[:, at] = column
    return words


def _short_words(rows: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[Any]:
    kept, added = _masks()
    words = rows.reshape(-1).view(np.uint64)
    words &= kept.take(lengths).view(np.uint64)
    words |= added.take(lengths).view(np.uint64)
    return words.view(_WORD)


@lru_cache(maxsize=1)
def _masks() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return words by length: the bits that are text, and those that are always set."""
    lengths = np.arange(SHORT + 1)
    kept = np.where(np.arange(16) < lengths[:, None], 0xFF, 0).astype(np.uint8)
    added = np.zeros((SHORT + 1, 16), np.uint8)
    flags = int(np.array(["a"], np.dtypes.StringDType()).tobytes()[SHORT]) & ~_SIZE
    added[:, SHORT] = lengths | flags
    return kept.reshape(-1).view(_WORD), added.reshape(-1).view(_WORD)


def put_words(words: NDArray[Any], out: Array, where: NDArray[Any] | None = None) -> bool:
    """Write strings that came as words into an array of `StringDType`, if it is a new one.

    Parameters
    ----------
    words : ndarray
        From `words_of` or `short_words`.
    out : ndarray of StringDType, shape (n,)
        Where they go.
    where : ndarray of int, shape (n,), optional
        Which word goes where; all in their order by default.

    Returns
    -------
    bool
        False, and nothing is written, when `out` holds other strings than empty ones: NumPy
        would not hear that they are gone.
    """
    if not out.flags.c_contiguous or not out.flags.writeable or not len(out):
        return False
    import ctypes

    address = out.__array_interface__["data"][0]
    memory = np.frombuffer(memoryview((ctypes.c_char * out.nbytes).from_address(address)), _WORD)
    if memory.view(np.uint64).any():
        return False
    if where is None:
        memory[...] = words
    else:
        np.take(words, where, out=memory, mode="clip")
    return True


@lru_cache(maxsize=1)
def _can_put() -> bool:
    """Tell whether strings that are written as words are what they should be."""
    if not _is_known():
        return False
    dtype = np.dtypes.StringDType(na_object=None)
    wanted = np.array(["", "a", "a\0", "\0b", "ä", "x" * 15, None], dtype)
    rows = np.full((6, 16), 0xAA, np.uint8)
    texts = [text.encode() for text in wanted[:6].tolist()]
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = list(text)
    lengths = np.array([len(text) for text in texts], np.int64)
    for words in (np.frombuffer(wanted.tobytes(), _WORD), _short_words(rows, lengths)):
        out = np.empty(len(words), dtype)
        if not put_words(words, out) or out.tolist() != wanted[: len(words)].tolist():
            return False
        out[0], out[1] = "now longer than before", "short"
        if out.tolist()[:2] != ["now longer than before", "short"]:
            return False
    return True


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
