"""Strings as words of eight bytes, from UTF-8 that lies one string behind the other.

To sort strings, or to tell which are equal, nobody needs strings: the bytes of each are gathered
as unsigned words, a NumPy call for every eight bytes of the longest. That takes a tenth of what
NumPy takes to make a `StringDType` array, and to take it apart again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.numbering import Numbering
from kist._kernels.strings import is_compact

__all__ = [
    "TextMembers",
    "TextNumbering",
    "equal_words",
    "extreme_row",
    "sorting_word",
    "sorting_words",
]

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

_WORD: Final = 8
_LIMITS: Final = (64, 512)
"""Strings below each of these many bytes are looked at together, unless all are about as long."""
_LEAST: Final = 1024
_SPARSE: Final = 64
"""Slots for each member of a table that says which strings may be members."""
_MOST_BITS: Final = 20
_AT_ONCE: Final = 8192
"""Strings that are looked at together: what is made of them stays in the cache."""
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


def extreme_row(starts: Ints, lengths: Ints, text: Bytes, *, largest: bool) -> int:
    """Return the first of the largest or smallest strings, at least one.

    Parameters as for `sorting_words`. Eight bytes of those that are left are compared at a time.
    """
    padded = np.concatenate((text, np.zeros(_WORD, np.uint8)))
    every = np.ndarray((len(text) + 1,), np.uint64, padded, strides=(1,))
    rows: Any = None
    offset = 0
    while True:
        own = lengths if rows is None else lengths[rows]
        word = sorting_word(starts if rows is None else starts[rows], own, every, offset)
        left = np.flatnonzero(word == (word.max() if largest else word.min()))
        rows = left if rows is None else rows[left]
        own = own[left]
        offset += _WORD
        longest = int(own.max())
        if len(rows) == 1 or longest <= offset:
            # What differs now are NULs at the end.
            return int(rows[own == (longest if largest else own.min())][0])


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
    words = [found.at(0, *_masks())]
    rows: Any = np.arange(len(lengths))
    for offset in range(_WORD, found.longest + 1, _WORD):
        if not found.is_same:
            rows = rows[lengths[rows] >= offset]
        if 4 * len(rows) < 3 * len(lengths):
            words.append(found.of_rows(rows, offset))
        else:
            words.append(found.at(offset, *_masks()))
    if missing is not None:
        words[0][missing] = 0
    return words


class _Words:
    """The words of strings: eight bytes of each at a time.

    Attributes
    ----------
    longest : int
        Bytes of the longest string.
    is_same : bool
        Whether all have so many.
    """

    def __init__(self, starts: Ints, lengths: Ints, text: Bytes) -> None:
        self._starts, self._lengths = starts, lengths
        self.longest = int(lengths.max(initial=0))
        self._padded = np.concatenate((text, np.zeros(self.longest + _WORD, np.uint8)))
        # The eight bytes from each byte of the text on, as far as a string may reach.
        self._every = self._strided(0, len(text) + self.longest + 1, 1)
        n = len(starts)
        # Names with numbers, or codes: then nothing is looked up for each string.
        self.is_same = n > 0 and int(lengths.min()) == self.longest
        self._in_line = (
            self.is_same
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
        if self.is_same:
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

    def of_rows(self, rows: Ints, offset: int) -> Words:
        """Return the bytes from an offset on of strings that reach so far, and zeros for others."""
        some = self._every[self._starts[rows] + offset]
        left = self._lengths[rows] - (offset - 1)
        last = np.flatnonzero(left <= _WORD)
        kept, added = _masks()
        some[last] = (some[last] & kept[left[last]]) | added[left[last]]
        word = np.zeros(len(self._starts), np.uint64)
        word[rows] = some
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

    Strings of up to seven bytes are numbered by their word. Of longer ones the words are mixed into
    one key, and held against those of the string that had the key first: what differs, which
    hardly ever happens, and what is very long, is a key of a dict, which asks Python about each.
    """

    __slots__ = (
        *("_before_growth", "_keys", "_long", "_long_bytes", "_multipliers", "_n_stored"),
        *("_places", "_sizes", "_stored", "_words"),
    )

    def __init__(self, before_growth: Callable[[int], None] | None = None) -> None:
        self._before_growth = before_growth
        self._words = Numbering(before_growth)
        self._keys = Numbering(before_growth)
        # Of the first string with each key: where its words begin among those stored, its bytes.
        self._places = np.zeros(_LEAST, np.int64)
        self._sizes = np.zeros(_LEAST, np.int64)
        self._stored = np.zeros(_LEAST, np.uint64)
        self._n_stored = 0
        self._multipliers: list[np.uint64] = []
        self._long: dict[bytes, int] = {}
        self._long_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        tables = self._words.nbytes + self._keys.nbytes + self._long_bytes
        return tables + self._places.nbytes + self._sizes.nbytes + self._stored.nbytes

    def number(
        self, starts: Ints, lengths: Ints, missing: NDArray[np.bool_] | None, text: Bytes
    ) -> Words:
        """Return the number of each string; parameters as for `equal_words`. May be of any size."""
        n = len(lengths)
        if n < 2 * _AT_ONCE:
            return self._number_some(starts, lengths, missing, text)
        found = np.empty(n, np.uint64)
        in_order = bool((starts[1:] >= starts[:-1]).all())
        for low in range(0, n, _AT_ONCE):
            high = min(low + _AT_ONCE, n)
            own, sizes = starts[low:high], lengths[low:high]
            some = text
            if in_order:
                # Those without a length may stand anywhere, also behind the end.
                first, last = int(own[0]), int((own + sizes).max())
                some, own = text[first:last], own - first
            gone = None if missing is None else missing[low:high]
            found[low:high] = self._number_some(own, sizes, gone, some)
        return found

    def _number_some(
        self, starts: Ints, lengths: Ints, missing: NDArray[np.bool_] | None, text: Bytes
    ) -> Words:
        longest = int(lengths.max(initial=0))
        if longest < _LIMITS[0] or (
            longest < _LIMITS[-1] and is_compact(len(lengths), longest, int(lengths.sum()))
        ):
            words = equal_words(starts, lengths, missing, text)
            return self._number(words, starts, lengths, text)
        # Words of all are as many as those of the longest: what is longer goes by itself.
        below = [limit for limit in _LIMITS if limit <= longest]
        is_long = lengths >= below[-1]
        found = np.empty(len(lengths), np.uint64)
        short = ~is_long
        found[short] = self._number_some(
            starts[short], lengths[short], None if missing is None else missing[short], text
        )
        if longest < _LIMITS[-1]:
            words = equal_words(starts[is_long], lengths[is_long], None, text)
            found[is_long] = self._number(words, starts[is_long], lengths[is_long], text)
        else:
            found[is_long] = self._number_by_dict(starts[is_long], lengths[is_long], text)
        return found

    def _number(self, words: list[Words], starts: Ints, lengths: Ints, text: Bytes) -> Words:
        if len(words) == 1:
            return self._words.number(words[0]).view(np.uint64) << np.uint64(1)
        several = lengths >= _WORD
        if several.all():
            return self._number_several(words, starts, lengths, text)
        found = np.empty(len(lengths), np.uint64)
        found[~several] = self._number(
            [words[0][~several]], starts[~several], lengths[~several], text
        )
        words = [word[several] for word in words]
        found[several] = self._number_several(words, starts[several], lengths[several], text)
        return found

    def _number_several(
        self, words: list[Words], starts: Ints, lengths: Ints, text: Bytes
    ) -> Words:
        """Return the numbers of strings that all have two words or more; these are odd."""
        before = self._keys.count
        if not self._multipliers:
            self._multipliers = _drawn()
        numbers = self._keys.number(_mixed(words, self._multipliers))
        if self._keys.count > before:
            self._store(words, lengths, numbers, before)
        places, sizes = self._places.take(numbers), self._sizes.take(numbers)
        same = sizes == lengths
        for at, word in enumerate(words):
            rows = slice(None) if at < 2 else _reaching(lengths, at)
            # Of other strings than those meant anything may be compared: they differ already.
            stored = self._stored.take(places[rows] + at, mode="clip")
            same[rows] &= stored == word[rows]
        found = (numbers.view(np.uint64) << np.uint64(1)) | np.uint64(1)
        if not same.all():
            others = ~same
            found[others] = self._number_by_dict(starts[others], lengths[others], text)
        return found

    def _store(self, words: list[Words], lengths: Ints, numbers: Ints, before: int) -> None:
        """Keep the words of a string for each key that is new."""
        count = self._keys.count
        rows = np.empty(count - before, np.int64)
        new = np.flatnonzero(numbers >= before)
        rows[numbers[new] - before] = new
        sizes = lengths[rows]
        n_words = sizes // _WORD + 1
        ends = self._n_stored + n_words.cumsum()
        needed = int(ends[-1])
        self._places, self._sizes, self._stored = (
            self._room(self._places, count),
            self._room(self._sizes, count),
            self._room(self._stored, needed),
        )
        self._sizes[before:count] = sizes
        places = self._places[before:count]
        places[:] = ends - n_words
        for at in range(int(n_words.max())):
            some = np.flatnonzero(n_words > at)
            self._stored[places[some] + at] = words[at][rows[some]]
        self._n_stored = needed

    def _room(self, array: Array, needed: int) -> Array:
        """Return an array with room for so many values."""
        if needed <= len(array):
            return array
        n = 1 << (needed - 1).bit_length()
        if self._before_growth is not None:
            self._before_growth((n - len(array)) * array.itemsize)
        larger = np.zeros(n, array.dtype)
        larger[: len(array)] = array
        return larger

    def _number_by_dict(self, starts: Ints, lengths: Ints, text: Bytes) -> Words:
        known = self._long
        data = text.data
        numbers = []
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            key = bytes(data[start : start + length])
            if key not in known:
                known[key] = len(known)
                self._long_bytes += _OBJECT + length
            numbers.append(known[key])
        # From the other end than the numbers of others.
        return ~np.array(numbers, np.uint64)


class TextMembers:
    """Some strings, and which of others are among them.

    Parameters
    ----------
    starts, lengths, text
        The strings, as for `sorting_words`; at least one, none twice.

    Attributes
    ----------
    has_nuls : bool
        Whether there is a NUL in `text`.
    """

    __slots__ = ("_keys", "_longest", "_maybe", "_multipliers", "_shift", "_words", "has_nuls")

    def __init__(self, starts: Ints, lengths: Ints, text: Bytes) -> None:
        words = equal_words(starts, lengths, None, text)
        self.has_nuls = not text.all()
        self._longest = int(lengths.max())
        while True:
            self._multipliers = _drawn(len(words))
            keys = _mixed(words, self._multipliers)
            order = np.argsort(keys)
            self._keys = keys[order]
            if (self._keys[1:] != self._keys[:-1]).all():
                break  # it hardly ever is not so
        self._words = [word[order] for word in words]
        bits = min((_SPARSE * len(keys) - 1).bit_length(), _MOST_BITS)
        self._shift = np.uint64(64 - bits)
        self._maybe = np.zeros(1 << bits, np.bool_)
        self._maybe[(self._keys >> self._shift).view(np.int64)] = True

    def holds(self, starts: Ints, lengths: Ints, text: Bytes) -> NDArray[np.bool_]:
        """Return which strings are members; parameters as for `sorting_words`."""
        n = len(lengths)
        found = np.zeros(n, np.bool_)
        for low in range(0, n, _AT_ONCE):
            high = min(low + _AT_ONCE, n)
            own, sizes = starts[low:high], lengths[low:high]
            if int(sizes.max()) > self._longest:
                rows = np.flatnonzero(sizes <= self._longest)
                if len(rows):
                    found[low:high][rows] = self._holds(own[rows], sizes[rows], text)
            else:
                found[low:high] = self._holds(own, sizes, text)
        return found

    def _holds(self, starts: Ints, lengths: Ints, text: Bytes) -> NDArray[np.bool_]:
        first, last = int(starts.min()), int((starts + lengths).max())
        words = equal_words(starts - first, lengths, None, text[first:last])
        keys = _mixed(words, self._multipliers)
        rows = np.flatnonzero(self._maybe.take((keys >> self._shift).view(np.int64)))
        places = self._keys.searchsorted(keys[rows])
        same = self._keys.take(places, mode="clip") == keys[rows]
        rows, places = rows[same], places[same]
        same = np.ones(len(rows), np.bool_)
        for word, known in zip(words, self._words, strict=False):
            same &= word[rows] == known[places]
        for known in self._words[len(words) :]:
            same &= known[places] == 0
        found = np.zeros(len(keys), np.bool_)
        found[rows[same]] = True
        return found


def _drawn(n_words: int = 0) -> list[np.uint64]:
    """Return multipliers for words, and one for all: odd numbers, drawn anew.

    A file cannot be made so that its strings share keys.
    """
    n_words = max(n_words, _LIMITS[-1] // _WORD)
    return list(np.frombuffer(os.urandom(_WORD * (n_words + 1)), np.uint64) | np.uint64(1))


def _mixed(words: list[Words], multipliers: list[np.uint64]) -> Words:
    """Return keys that are equal where all words are; not 0, which marks empty slots."""
    last, *own = multipliers
    found = np.zeros(len(words[0]), np.uint64)
    for word, multiplier in zip(words, own, strict=False):
        mixed = word * multiplier
        mixed ^= mixed >> np.uint64(32)
        mixed *= last
        found += mixed  # nothing for words behind the end, which are 0
    found |= np.uint64(1)
    return found


def _reaching(lengths: Ints, at: int) -> Any:
    """Return which strings have a word of a number."""
    rows = np.flatnonzero(lengths >= at * _WORD)
    return slice(None) if len(rows) == len(lengths) else rows
