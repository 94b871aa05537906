"""Dense numbers for 64-bit keys: a hash table whose steps are NumPy calls over many keys.

Grouping, counting distinct values and finding doubles all ask the same: which number has each
row's key? A table with open addressing answers for a whole block at once: one probe for all
keys, a second for those that met another key, and so on. At most half of the slots are used, so
few keys need a second one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Numbering", "TupleNumbering", "key_words"]

Array = NDArray[Any]
Keys = NDArray[np.uint64]
Codes = NDArray[np.int64]

_BITS: Final = 10
_SAMPLE: Final = 1024
_ROUNDS: Final = 3
_MANY: Final = 2048
"""So many unknown keys are looked at through a sample first: often they are few distinct ones."""
_LARGE_BITS: Final = 20
"""A table of so many slots grows to twice its size, not to four times, and its numbers have four
bytes: what it takes then counts for more than the time to fill it anew."""
_INSERTED: Final = 1 << 17
"""Keys that are put into slots at a time: what is known of each while this goes on takes memory."""


class Numbering:
    """Numbers 0, 1, ... for keys, in the order in which they came.

    Key 0 is always there and has number 0: it marks empty slots, which then need no mark of
    their own.

    Parameters
    ----------
    before_growth : callable, optional
        Called with the bytes that the table is about to take more; may raise, and then the table
        is as it was.

    Attributes
    ----------
    count : int
        Keys that have a number.
    """

    __slots__ = ("_before_growth", "_bits", "_codes", "_known", "_multiplier", "_slots", "count")

    def __init__(self, before_growth: Callable[[int], None] | None = None) -> None:
        self._before_growth = before_growth
        # Drawn anew for each table: a file cannot be made so that all its keys collide.
        drawn = int.from_bytes(os.urandom(8), "little") | 1
        self._multiplier = np.uint64(drawn)
        self.count = 1
        self._known = np.zeros(1 << (_BITS - 1), np.uint64)
        self._resize(_BITS)

    @property
    def keys(self) -> Keys:
        """Keys by their numbers."""
        return self._known[: self.count]

    @property
    def nbytes(self) -> int:
        """Bytes that the table takes."""
        return self._slots.nbytes + self._codes.nbytes + self._known.nbytes

    def number(self, keys: Keys) -> Codes:
        """Return the number of each key; keys that are new get the next ones.

        Parameters
        ----------
        keys : ndarray of uint64, shape (n,)
        """
        if self.count == 1 and len(keys) > _MANY:
            self._add(keys[:: len(keys) // _SAMPLE])
        places, unknown = self._probe(keys)
        for _ in range(_ROUNDS):
            if len(unknown) <= _MANY:
                break
            # Often few distinct keys repeat: a sample has most of them, and the sort of all
            # unknown keys is spared. Where the sample finds hardly any twice, it is not.
            sample = keys[unknown[:: len(unknown) // _SAMPLE]]
            before = self.count
            self._add(sample)
            places, unknown = self._probe(keys)
            if 2 * (self.count - before) > len(sample):
                break
        found = self._codes.take(places, mode="wrap").astype(np.int64, copy=False)
        if len(unknown):
            rest = keys[unknown]
            self._add(rest)
            found[unknown] = self._find(rest)
        return found

    def _probe(self, keys: Keys) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the first slot of each key, and which keys are not there."""
        places = self._hash(keys)
        # "wrap" takes without a second pass for bounds; no slot is out of them.
        other = self._slots.take(places, mode="wrap") != keys
        return places, np.flatnonzero(other)

    def _hash(self, keys: Keys) -> NDArray[np.intp]:
        hashed = keys * self._multiplier
        hashed >>= np.uint64(64 - self._bits)
        return hashed.view(np.intp)

    def _find(self, keys: Keys) -> Codes:
        """Return the numbers of keys that are all known."""
        places = self._hash(keys)
        out = np.empty(len(keys), np.int64)
        left = np.arange(len(keys))
        while True:
            same = self._slots[places] == keys[left]
            out[left[same]] = self._codes[places[same]]
            other = ~same
            left, places = left[other], places[other]
            if not len(left):
                return out
            places += 1
            places &= (1 << self._bits) - 1

    def _add(self, keys: Keys) -> None:
        """Take up those keys that are not known."""
        keys = np.sort(keys)
        keys = keys[np.append(True, keys[1:] != keys[:-1])]
        keys = keys[self._is_new(keys)]
        if not len(keys):
            return
        needed = self.count + len(keys)
        bits = self._bits_for(needed)
        if self._before_growth is not None and bits > self._bits:
            more = (1 << bits) * (8 + _code_dtype(bits).itemsize)
            self._before_growth(more - self._slots.nbytes - self._codes.nbytes)
        if needed > len(self._known):
            known = np.zeros(1 << max(needed - 1, 1).bit_length(), np.uint64)
            known[: self.count] = self.keys
            self._known = known
        self._known[self.count : needed] = keys
        first, self.count = self.count, needed
        if bits > self._bits:
            self._resize(bits)
        else:
            self._insert(keys, first)

    def _bits_for(self, needed: int) -> int:
        """Return the size of a table with room for so many keys, half of the slots empty."""
        if 2 * needed <= 1 << self._bits:
            return self._bits
        bits = (4 * needed - 1).bit_length()
        return bits if bits < _LARGE_BITS else (2 * needed - 1).bit_length()

    def _is_new(self, keys: Keys) -> NDArray[np.bool_]:
        places = self._hash(keys)
        new = np.ones(len(keys), bool)
        left = np.arange(len(keys))
        while len(left):
            stored = self._slots[places]
            same = stored == keys[left]
            new[left[same]] = False
            # Key 0 sits in slot 0, where its hash leads; any other 0 is an empty slot.
            on = ~same & ((stored != 0) | (places == 0))
            left, places = left[on], places[on]
            places += 1
            places &= (1 << self._bits) - 1
        return new

    def _resize(self, bits: int) -> None:
        self._bits = bits
        # One after the other: the old ones are gone before the new ones are touched.
        self._slots = np.zeros(1 << bits, np.uint64)
        self._codes = np.zeros(1 << bits, _code_dtype(bits))
        for first in range(1, self.count, _INSERTED):
            self._insert(self._known[first : min(first + _INSERTED, self.count)], first)

    def _insert(self, keys: Keys, first: int) -> None:
        """Put new, distinct keys into free slots; they have the numbers from `first` on."""
        places = self._hash(keys)
        left = np.arange(len(keys))
        while len(left):
            free = (self._slots[places] == 0) & (places != 0)
            # Of several keys for one slot the last one stays; the others see that and go on.
            self._slots[places[free]] = keys[left[free]]
            mine = self._slots[places] == keys[left]
            self._codes[places[mine]] = first + left[mine]
            on = ~mine
            left, places = left[on], places[on]
            places += 1
            places &= (1 << self._bits) - 1


def _code_dtype(bits: int) -> np.dtype[Any]:
    return np.dtype(np.int64 if bits < _LARGE_BITS else np.uint32)


class TupleNumbering:
    """Numbers for tuples of keys, two at a time: the number of a pair is itself part of a key."""

    __slots__ = ("_pairs", "_parts")

    def __init__(self, n_words: int, before_growth: Callable[[int], None] | None = None) -> None:
        self._parts = [Numbering(before_growth) for _ in range(n_words)]
        self._pairs = [Numbering(before_growth) for _ in range(n_words - 1)]

    @property
    def count(self) -> int:
        """One more than the highest number; a few may stand for nothing."""
        return (self._pairs or self._parts)[-1].count

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return sum(table.nbytes for table in (*self._parts, *self._pairs))

    def number(self, words: Sequence[Keys]) -> Codes:
        """Return the number of each tuple.

        Parameters
        ----------
        words : sequence of ndarray of uint64, shape (n,)
            As many as the numbering was made for.
        """
        codes = self._parts[0].number(words[0])
        for part, pair, word in zip(self._parts[1:], self._pairs, words[1:], strict=True):
            both = codes.view(np.uint64) << np.uint64(32)
            both |= part.number(word).view(np.uint64)
            codes = pair.number(both)
        return codes


_QUIET_NAN: Final = np.float64(np.nan).view(np.uint64)


def key_words(values: Array) -> list[Keys]:
    """Return words that are equal where the values are: NaN equals NaN here, and -0.0 equals 0.0.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Numbers, times, bool, `S`, `U` or `V`.
    """
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f" and size <= 8:
        wide = values.astype(np.float64)
        wide += 0.0
        missing = np.isnan(wide)
        words: Keys = wide.view(np.uint64)
        if missing.any():
            words[missing] = _QUIET_NAN
        return [words]
    if kind == "f":
        high = values.astype(np.float64)
        with np.errstate(invalid="ignore"):
            low = (values - high).astype(np.float64)
        return [*key_words(high), *key_words(low)]
    if kind == "c":
        return [*key_words(values.real), *key_words(values.imag)]
    values = np.ascontiguousarray(values)
    if kind in "iumMb" or (size in (1, 2, 4, 8) and kind in "SV"):
        unsigned = values.view(f"u{size}")
        return [unsigned.astype(np.uint64, copy=False)]
    if size == 0:
        return [np.zeros(len(values), np.uint64)]
    n_words = -(-size // 8)
    raw = values.view(np.uint8).reshape(len(values), size)
    padded = np.zeros((len(values), 8 * n_words), np.uint8)
    padded[:, :size] = raw
    words = padded.view(np.uint64)
    return [np.ascontiguousarray(words[:, at]) for at in range(n_words)]
