"""Strings as words of eight bytes, from UTF-8 that lies one string behind the other.

To sort strings, or to tell which are equal, nobody needs strings: the bytes of each are gathered
as unsigned words, a NumPy call for every eight bytes of the longest. That takes a tenth of what
NumPy takes to make a `StringDType` array, and to take it apart again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.numbering import Numbering

__all__ = ["TextNumbering", "equal_words", "sorting_words"]

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_WORD: Final = 8
_MOST_WORDS: Final = 8
"""Words of a string that are numbered one by one; a longer string is one key of a dict."""
_OBJECT: Final = 150
"""Bytes that a key of a dict takes beside its text."""


def sorting_words(starts: Ints, lengths: Ints, text: Bytes) -> list[Words]:
    """Return words that sort like strings, the first bytes first; zeros stand behind the end.

    Parameters
    ----------
    starts, lengths : ndarray of int64, shape (n,)
        Where each string stands in `text`; those without a length may stand anywhere in it.
    text : ndarray of uint8
        UTF-8, which sorts like its characters.

    Returns
    -------
    list of ndarray of uint64, shape (n,)
        One for every eight bytes of the longest. Where strings hold NULs their lengths must
        decide among those with equal words.
    """
    longest = int(lengths.max(initial=0))
    every = _windows(text, longest)
    kept, _ = _masks()
    words = []
    for offset in range(0, longest, _WORD):
        left = np.clip(lengths - (offset - 1), 0, _WORD + 1)
        word = every[starts + offset if offset else starts]
        word &= kept.take(left)
        words.append(word.view(">u8").astype(np.uint64))
    return words


def equal_words(
    starts: Ints, lengths: Ints, missing: NDArray[np.bool_] | None, text: Bytes
) -> list[Words]:
    """Return words that are equal where strings are, of one call or of several.

    Behind each string a byte 1 is put, and zeros behind that: so a string is told from one that
    goes on with NULs. What is missing has words of zeros.

    Parameters
    ----------
    starts, lengths, text
        As for `sorting_words`.
    missing : ndarray of bool, shape (n,), or None
        Which strings are missing; None for none.

    Returns
    -------
    list of ndarray of uint64, shape (n,)
        As many as the longest string needs. Those of another call, where a longer one is, begin
        with the same, and zeros follow.
    """
    longest = int(lengths.max(initial=0))
    every = _windows(text, longest)
    kept, ends = _masks()
    words = []
    for offset in range(0, longest + 1, _WORD):
        left = np.clip(lengths - (offset - 1), 0, _WORD + 1)
        word = every[starts + offset if offset else starts]
        word &= kept.take(left)
        word |= ends.take(left)
        if missing is not None and not offset:
            word[missing] = 0
        words.append(word)
    return words


def _windows(text: Bytes, longest: int) -> Words:
    """Return the eight bytes from each byte of a text on, as far as a string may reach."""
    padded = np.concatenate((text, np.zeros(longest + _WORD, np.uint8)))
    return np.ndarray((len(text) + longest + 1,), np.uint64, padded, strides=(1,))


@lru_cache(maxsize=1)
def _masks() -> tuple[Words, Words]:
    """Return, by one more than the bytes that are left, those that are text, and the end.

    0 stands for a string that ended in a word before.
    """
    left = np.arange(-1, _WORD + 1)[:, None]
    places = np.arange(_WORD)
    kept = np.where(places < left, 0xFF, 0).astype(np.uint8)
    ends = np.where(places == left, 1, 0).astype(np.uint8)
    return kept.view(np.uint64)[:, 0].copy(), ends.view(np.uint64)[:, 0].copy()


class TextNumbering:
    """Numbers for strings: the same one whenever a string comes, and no other string has it.

    The words of a string lead from number to number. So strings of a few words need no dict,
    which asks Python about each of them.
    """

    __slots__ = ("_long", "_long_bytes", "_paths", "_words")

    def __init__(self) -> None:
        self._words = Numbering()
        # What a number and a word behind it lead to. Numbers of first words are even, others odd.
        self._paths = Numbering()
        self._long: dict[bytes, int] = {}
        self._long_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return self._words.nbytes + self._paths.nbytes + self._long_bytes

    def number(
        self, starts: Ints, lengths: Ints, missing: NDArray[np.bool_] | None, text: Bytes
    ) -> Words:
        """Return the number of each string; parameters as for `equal_words`. May be of any size."""
        most = _WORD * _MOST_WORDS
        if int(lengths.max(initial=0)) < most:
            return self._number(equal_words(starts, lengths, missing, text), lengths)
        is_long = lengths >= most
        found = np.empty(len(lengths), np.uint64)
        short = ~is_long
        found[short] = self.number(
            starts[short], lengths[short], None if missing is None else missing[short], text
        )
        found[is_long] = self._number_long(starts[is_long], lengths[is_long], text)
        return found

    def _number(self, words: Sequence[Words], lengths: Ints) -> Words:
        found = self._words.number(words[0]).view(np.uint64) << np.uint64(1)
        for at, word in enumerate(words[1:], 1):
            rows: Any = np.flatnonzero(lengths >= at * _WORD)
            if len(rows) == len(lengths):
                rows = slice(None)
            paths = (found[rows] + np.uint64(1)) << np.uint64(32)
            paths |= self._words.number(word[rows]).view(np.uint64)
            found[rows] = (self._paths.number(paths).view(np.uint64) << np.uint64(1)) | np.uint64(1)
        return found

    def _number_long(self, starts: Ints, lengths: Ints, text: Bytes) -> Words:
        known = self._long
        data = text.data
        numbers = []
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            key = bytes(data[start : start + length])
            if key not in known:
                known[key] = len(known)
                self._long_bytes += _OBJECT + length
            numbers.append(known[key])
        # From the other end than the numbers of short ones.
        return ~np.array(numbers, np.uint64)
