"""Keys of an index: values as words that sort like them, and words as what is searched.

A value becomes one to `VALUE_WORDS` words, uint64; docs/format.md, "Indexes", says which. Several
columns stand one behind the other. A key *is exact* when rows have the same key just when their
values are equal; long text, of which only the beginning is kept, is not: there an index says which
rows may be meant, and the values decide.

As a number (`Key`), a key of k words is an integer below ``2 ** (64 * k)``, so the key before it
and the one behind it are one away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.bits import limits_of
from kist._kernels.ordering import sortable
from kist._kernels.strings import missing_of

__all__ = [
    "LAST_WORD",
    "VALUE_WORDS",
    "as_numbers",
    "can_be_key",
    "is_exact",
    "joined",
    "key_number",
    "missing_word",
    "n_words",
    "number_of",
    "search_key",
    "text_number",
    "words_of",
]

Array = NDArray[Any]
Words = NDArray[np.uint64]
Key = int

VALUE_WORDS: Final = 4
"""Most words of a value: the first 32 bytes of `S`, or 8 characters."""

_TEXT_CHARACTERS: Final = 2 * VALUE_WORDS
LAST_WORD: Final = 2**64 - 1
"""What the words of a missing value are."""


def can_be_key(dtype: np.dtype[Any]) -> bool:
    """Tell whether values of a dtype have an order that an index can keep."""
    return dtype.kind in "biumMT" or (dtype.kind in "fSU" and dtype.itemsize > 0)


def n_words(dtype: np.dtype[Any]) -> int:
    """Return the words of a value."""
    if dtype.kind in "SU":
        return min(VALUE_WORDS, -(-dtype.itemsize // 8))
    return VALUE_WORDS if dtype.kind == "T" else 1


def is_exact(dtype: np.dtype[Any]) -> bool:
    """Tell whether values with the same words are equal."""
    if dtype.kind in "SU":
        return dtype.itemsize <= 8 * VALUE_WORDS
    return dtype.kind != "T" and dtype.itemsize <= 8


def missing_word(dtype: np.dtype[Any]) -> bool:
    """Tell whether words that are all ones stand for NaN, NaT or a missing string."""
    return dtype.kind in "fmM" or (dtype.kind == "T" and hasattr(dtype, "na_object"))


def words_of(values: Array) -> list[Words]:
    """Return the words of some values, the most significant first."""
    if values.dtype.kind == "T":
        return _of_strings(values)
    if values.dtype.kind == "f" and values.itemsize > 8:
        with np.errstate(over="ignore"):
            values = values.astype(np.float64)
    return sortable(values)[:VALUE_WORDS]


def _of_strings(values: Array) -> list[Words]:
    missing = missing_of(values)
    if missing is not None and missing.any():
        values = values.copy()
        values[missing] = ""
    else:
        missing = None
    # Not -1 for the characters: there may be no values.
    points = values.astype(f"U{_TEXT_CHARACTERS}").view(np.uint32)
    points = points.reshape(len(values), _TEXT_CHARACTERS)
    # NumPy compares these up to the first NUL.
    points *= np.logical_and.accumulate(points != 0, axis=1)
    words = sortable(points.view(f"U{_TEXT_CHARACTERS}").reshape(-1))
    if missing is not None:
        for word in words:
            word[missing] = np.uint64(LAST_WORD)
    return words


def joined(words: Sequence[Words]) -> Array:
    """Return keys as one array that NumPy sorts and searches: uint64, or bytes of several words."""
    if len(words) == 1:
        return words[0]
    out = np.empty((len(words[0]), len(words)), ">u8")
    for at, word in enumerate(words):
        out[:, at] = word
    return out.view(f"S{8 * len(words)}").reshape(-1)


def as_numbers(*several: Array, n: int) -> list[Words] | None:
    """Return arrays of keys of `n` words, from `joined`, as one word a key that sorts like them.

    The words can be compared within one call only. None where what differs is too long for one.
    """
    if n == 1:
        return list(several)
    matrices = [np.ascontiguousarray(x).view(">u8").reshape(len(x), n) for x in several]
    found = [np.zeros(len(keys), np.uint64) for keys in several]
    room = 64
    for at in range(n):
        words = [matrix[:, at].astype(np.uint64) for matrix in matrices]
        low = min(int(word.min()) for word in words if len(word))
        high = max(int(word.max()) for word in words if len(word))
        bits = (high - low).bit_length()
        if bits > room:
            return None
        if bits:
            found = [
                (mine << np.uint64(bits % 64)) | (word - np.uint64(low))
                for mine, word in zip(found, words, strict=True)
            ]
            room -= bits
    return found


def search_key(number: Key, n: int) -> Any:
    """Return a key of `n` words, given as a number, in the form of `joined`."""
    if n == 1:
        return np.uint64(number)
    return np.array(number.to_bytes(8 * n, "big"), f"S{8 * n}")


def key_number(key: Any, n: int) -> Key:
    """Return a key of `n` words, as `joined` has it, as a number."""
    if n == 1:
        return int(key)
    return int.from_bytes(bytes(key).ljust(8 * n, b"\0"), "big")


def number_of(dtype: np.dtype[Any], value: Any) -> tuple[Key, bool] | None:
    """Return the key of a constant, and whether no other value of the dtype's order has it.

    None where the constant has no place in that order.
    """
    kind = dtype.kind
    if kind in "SUT":
        return text_number(dtype, value, 0)
    if kind in "mM":
        if np.asarray(value).dtype != dtype.newbyteorder("=") or np.isnat(value):
            return None
        return int(words_of(np.array([value]))[0][0]), True
    if kind == "f":
        if value != value:
            return None
        with np.errstate(over="ignore"):
            near = np.float64(value)
        return int(words_of(np.array([near]))[0][0]), dtype.itemsize <= 8 and bool(near == value)
    if not isinstance(value, (int, np.integer, np.bool)):
        return None  # compared as floats, which are rounded
    number = int(value)
    low, high = (0, 255) if kind == "b" else limits_of(dtype)
    if not low <= number <= high:
        return None
    return number + (1 << 63 if kind == "i" else 0), True  # as `sortable` has it


def text_number(dtype: np.dtype[Any], text: Any, fill: int) -> tuple[Key, bool] | None:
    """Return the key of a text, filled up with one byte or character, and whether it is whole.

    Parameters
    ----------
    fill : int
        0 for the first key of what begins with the text, 1 for the last.
    """
    n = n_words(dtype)
    if isinstance(text, (np.ndarray, np.generic)):
        text = text.item()
    if dtype.kind == "S":
        if not isinstance(text, bytes):
            return None
        whole = len(text) <= 8 * n
        last = b"\xff" if fill else b"\0"
        return int.from_bytes(text[: 8 * n].ljust(8 * n, last), "big"), whole
    if not isinstance(text, str):
        return None
    points = [ord(character) for character in text]
    whole = len(points) <= 2 * n and dtype.kind == "U"
    if dtype.kind == "T" and 0 in points:
        points = points[: points.index(0)]
    points = points[: 2 * n]
    points += [0xFFFF_FFFF if fill else 0] * (2 * n - len(points))
    number = 0
    for point in points:
        number = number << 32 | point
    return number, whole
