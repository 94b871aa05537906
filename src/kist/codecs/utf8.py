"""Strings as Arrow has them: UTF-8 one behind the other, and where each begins.

Blocks of strings in pages are the same (`kist.codecs.strings`). So what comes from Arrow passes
through writing as it is: an array of `StringDType` takes more time to make, and to take apart
again, than parsing and compressing the text together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.strings import is_compact
from kist.codecs.strings import Content, StringBlock, check_text, fill, rows_from
from kist.errors import CodecError

__all__ = ["STRINGS", "Numbered", "Utf8"]

Array = NDArray[Any]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

STRINGS: Final[np.dtype[Any]] = np.dtypes.StringDType(na_object=None)
"""Text of any length, in which None is missing."""

_BLOCK: Final = 8192
"""Values made at once: their bytes, padded to one width, stay in the cache."""

_WORD: Final = 8
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
"""2**64 / golden ratio: sums of its multiples seldom agree."""


class Utf8:
    """Strings that stand for an array of `StringDType`, and become one when asked.

    Attributes
    ----------
    starts, lengths : ndarray of int64, shape (n,)
        Where each stands in `text`, one behind the other; missing ones have no bytes.
    missing : ndarray of bool, or None
        Which are missing; None when none is.
    text : ndarray of uint8
        Perhaps more than these strings.
    """

    __slots__ = ("_number", "_numbered", "lengths", "missing", "starts", "text")

    dtype = STRINGS
    ndim = 1
    itemsize = STRINGS.itemsize

    def __init__(
        self,
        starts: Ints,
        lengths: Ints,
        missing: Bools | None,
        text: NDArray[np.uint8],
        number: Callable[[], Numbered] | None = None,
    ) -> None:
        self.starts, self.lengths, self.missing, self.text = starts, lengths, missing, text
        self._number = number
        self._numbered: Numbered | None = None

    @classmethod
    def of(
        cls,
        ends: Array,
        missing: Bools | None,
        text: NDArray[np.uint8],
        *,
        check: Callable[[Array, Array], None] | None = None,
        number: Callable[[], Numbered] | None = None,
    ) -> Utf8:
        """Return strings between ends, all looked at.

        Parameters
        ----------
        ends : ndarray of int, shape (n + 1,)
            Where each begins, and where the last one ends.
        check : callable, optional
            Is given bytes, some of which are no ASCII, and where in them strings begin; raises
            unless each string is UTF-8.
        number : callable, optional
            Finds the distinct ones when these are asked for.

        Raises
        ------
        CodecError
            They are no UTF-8 each, or stand outside of `text`, or a missing one has bytes.
        """
        bounds = ends.astype(np.int64)
        starts = bounds[:-1]
        lengths = bounds[1:] - starts
        first, last = int(bounds[0]), int(bounds[-1])
        if first < 0 or last > len(text) or (len(lengths) and int(lengths.min()) < 0):
            raise CodecError(f"strings from byte {first} to {last} of {len(text)}")
        if missing is not None and lengths[missing].any():
            raise CodecError("a missing string that has a length")
        own = text[first:last]
        if len(own) and int(own.max()) >= 0x80:
            if check is None:
                check_text(own, own.tobytes(), starts - first, lengths)
            else:
                check(own, starts - first)
        return cls(starts, lengths, missing, text, number)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def shape(self) -> tuple[int]:
        """As of an array."""
        return (len(self.lengths),)

    @property
    def nbytes(self) -> int:
        """Bytes in memory of these strings."""
        return self.starts.nbytes + self.lengths.nbytes + int(self.lengths.sum())

    def __getitem__(self, index: Any) -> Any:
        """Return neighbours as they are, others as an array of `StringDType`, one as `str`."""
        if not isinstance(index, slice) or index.step not in (None, 1):
            return self.array()[index]
        if index.indices(len(self))[:2] == (0, len(self)):
            return self  # with what is known of all of them
        missing = None if self.missing is None else self.missing[index]
        return Utf8(self.starts[index], self.lengths[index], missing, self.text)

    def numbered(self) -> Numbered | None:
        """Return the distinct ones and their numbers; None where nobody finds them quickly."""
        if self._numbered is None and self._number is not None:
            self._numbered = self._number()
        return self._numbered

    @property
    def distinct(self) -> Utf8 | None:
        """The distinct ones but for a missing one, when `numbered` was asked for them."""
        return None if self._numbered is None else self._numbered.items

    def present(self) -> Utf8:
        """Return those that are not missing."""
        if self.missing is None:
            return self
        there = ~self.missing
        return Utf8(self.starts[there], self.lengths[there], None, self.text)

    @property
    def joined(self) -> NDArray[np.uint8]:
        """All of them one behind the other, without a copy."""
        if not len(self.starts):
            return self.text[:0]
        return self.text[int(self.starts[0]) : int(self.starts[-1] + self.lengths[-1])]

    def content(self, start: int, stop: int) -> Content:
        """Return what a block keeps of some of them."""
        part = self[start:stop]
        missing = part.missing if part.missing is not None and part.missing.any() else None
        return Content(part.lengths, missing, part.joined)

    def matrix(self) -> NDArray[np.uint8] | None:
        """Return them in rows padded with zeros, None where that would be much longer than they."""
        n, width = len(self), int(self.lengths.max(initial=0))
        if not width or not is_compact(n, width, int(self.lengths.sum())):
            return None
        return rows_from(self.text, self.starts, self.lengths, width)

    def words(self, rows: Any, offset: int) -> NDArray[np.uint64]:
        """Return eight bytes of some of them as numbers that sort so, zeros behind the end.

        Parameters
        ----------
        rows : slice or ndarray of int
            Which of them.
        offset : int
            The first byte of each that is taken.
        """
        left = np.maximum(self.lengths[rows] - offset, 0)
        np.minimum(left, _WORD, out=left)
        starts = self.starts[rows] + offset
        text = self.text
        if len(text) < _WORD:
            text = np.append(text, np.zeros(_WORD, np.uint8))
        # As numbers at any byte: NumPy gathers them in a fifth of the time of eight bytes each.
        last = len(text) - _WORD
        every = np.ndarray((last + 1,), np.uint64, text, strides=(1,))
        words: NDArray[np.uint64] = every[np.minimum(starts, last)]
        words &= _kept().take(left)
        words = words.view(">u8").astype(np.uint64)
        near = np.flatnonzero(starts > last)
        if len(near):
            # Nothing is read behind the text: these are what is left of its last eight bytes.
            tail = np.uint64(int.from_bytes(text[last:].tobytes(), "big"))
            shifts = 8 * np.minimum(starts[near] - last, _WORD).astype(np.uint64)
            kept = _kept().view(">u8").astype(np.uint64)[left[near]]
            words[near] = (tail << shifts) & kept
        return words

    def heads(self) -> NDArray[np.uint8]:
        """Return the first byte of each, 0 of empty ones."""
        if not len(self.text):
            return np.zeros(len(self), np.uint8)
        heads = self.text.take(self.starts, mode="clip")
        heads *= self.lengths > 0
        return heads

    def looks_repetitive(self, n: int) -> bool | None:
        """Tell whether half of about so many, evenly spread, are like others of them.

        None where that takes a look at all of their bytes.
        """
        rows = np.arange(0, len(self), max(1, len(self) // n))
        # One number of the length and the first 16 bytes: of strings that are equal it is equal.
        keys = self.lengths[rows].astype(np.uint64)
        if self.missing is not None:
            keys += self.missing[rows] * np.uint64(1 << 63)
        for offset in (0, _WORD):
            keys *= _MULTIPLIER
            keys += self.words(rows, offset)
        if 2 * len(np.unique(keys)) > len(rows):
            return False
        return True if int(self.lengths[rows].max(initial=0)) <= 2 * _WORD else None

    def sample(self, n: int) -> list[Any]:
        """Return about so many of them, evenly spread, as bytes; None for missing ones."""
        every = slice(None, None, max(1, len(self) // n))
        starts, lengths = self.starts[every], self.lengths[every]
        pairs = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
        text = self.text.data
        found: list[Any] = [bytes(text[a:b]) for a, b in pairs]
        if self.missing is not None:
            for at in np.flatnonzero(self.missing[every]).tolist():
                found[at] = None
        return found

    def array(self) -> Array:
        """Return them as an array of `StringDType`."""
        out = np.empty(len(self), STRINGS)
        for start in range(0, len(out), _BLOCK):
            part = self[start : start + _BLOCK]
            text = part.joined
            starts = part.starts - part.starts[:1]
            fill(StringBlock(starts, part.lengths, part.missing, text), out[start : start + _BLOCK])
        return out

    def tolist(self) -> list[Any]:
        """Return them as `str`, None for missing ones."""
        return list(self.array().tolist())

    @staticmethod
    def join(parts: Sequence[Utf8]) -> Utf8:
        """Return the strings of several one behind the other."""
        texts = [part.joined for part in parts]
        lengths = np.concatenate([part.lengths for part in parts])
        missing = None
        if any(part.missing is not None for part in parts):
            missing = np.concatenate(
                [np.zeros(len(p), np.bool_) if p.missing is None else p.missing for p in parts]
            )
        return Utf8(lengths.cumsum() - lengths, lengths, missing, np.concatenate(texts))


class Numbered(NamedTuple):
    """Strings as numbers of their distinct ones.

    Attributes
    ----------
    items : Utf8
        The distinct ones, all of which occur; no missing one.
    numbers : ndarray of int, shape (n,)
        Which of them each is; ``len(items)`` for missing ones.
    """

    items: Utf8
    numbers: Array


@lru_cache(maxsize=1)
def _kept() -> NDArray[np.uint64]:
    """Return masks of a word by length: the bytes that are text."""
    lengths = np.arange(_WORD + 1)[:, None]
    return np.where(np.arange(_WORD) < lengths, 0xFF, 0).astype(np.uint8).view(np.uint64)[:, 0]
