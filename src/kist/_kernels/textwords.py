"""Strings as words of eight bytes, from UTF-8 that lies one string behind the other.

To sort strings, or to tell which are equal, nobody needs strings: the bytes of each are gathered
as unsigned words, a NumPy call for every eight bytes of the longest. That takes a tenth of what
NumPy takes to make a `StringDType` array, and to take it apart again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.numbering import Numbering

__all__ = ["TextNumbering", "equal_words", "sorting_word", "sorting_words"]

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
    words = _Words(starts, lengths, text)
    return [_turned(words.at(offset, _masks()[0])) for offset in range(0, words.longest, _WORD)]


def sorting_word(starts: Ints, lengths: Ints, every: Words, offset: int) -> Words:
    """Return one of the words of `sorting_words`: of the eight bytes from an offset on.

    Parameters
    ----------
    every : ndarray of uint64
        The eight bytes from each byte of the text on; of those beyond it, the last is taken.
    """
    if offset:
        starts = np.minimum(starts + offset, len(every) - 1)
    word = every[starts]
    word &= _masks()[0].take(lengths - (offset - 1), mode="clip")
    return _turned(word)


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
    found = _Words(starts, lengths, text)
    words = [found.at(offset, *_masks()) for offset in range(0, found.longest + 1, _WORD)]
    if missing is not None:
        words[0][missing] = 0
    return words


class _Words:
    """The words of strings: eight bytes of each at a time.

    Attributes
    ----------
    longest : int
        Bytes of the longest string.
    """

    def __init__(self, starts: Ints, lengths: Ints, text: Bytes) -> None:
        self._starts, self._lengths = starts, lengths
        self.longest = int(lengths.max(initial=0))
        self._padded = np.concatenate((text, np.zeros(self.longest + _WORD, np.uint8)))
        # The eight bytes from each byte of the text on, as far as a string may reach.
        self._every = self._strided(0, len(text) + self.longest + 1, 1)
        n = len(starts)
        # Names with numbers, or codes: then nothing is looked up for each string.
        self._same = n > 0 and int(lengths.min()) == self.longest
        self._in_line = (
            self._same
            and int(starts[-1]) - int(starts[0]) == (n - 1) * self.longest
            and bool((starts[1:] - starts[:-1] == self.longest).all())
        )

    def _strided(self, at: int, n: int, step: int) -> Words:
        return np.ndarray((n,), np.uint64, self._padded, offset=at, strides=(step,))

    def at(self, offset: int, kept: Words, added: Words | None = None) -> Words:
        """Return the bytes from an offset on, with masks by one more than the bytes left."""
        starts = self._starts
        if self._in_line:
            word = self._strided(int(starts[0]) + offset, len(starts), self.longest).copy()
        else:
            word = self._every[starts + offset if offset else starts]
        left: Any = self._lengths - (offset - 1)
        if self._same:
            left = min(self.longest - offset + 1, _WORD + 1)
            if left <= _WORD:
                word &= kept[left]
        else:
            word &= kept.take(left, mode="clip")
        if added is not None and np.ndim(left):
            word |= added.take(left, mode="clip")
        elif added is not None and left <= _WORD:
            word |= added[left]
        return word


def _turned(word: Words) -> Words:
    """Return bytes as numbers of which the first byte counts most."""
    return word.view(">u8").astype(np.uint64)


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

    def __init__(self, before_growth: Callable[[int], None] | None = None) -> None:
        self._words = Numbering(before_growth)
        # What a number and a word behind it lead to. Numbers of first words are even, others odd.
        self._paths = Numbering(before_growth)
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
