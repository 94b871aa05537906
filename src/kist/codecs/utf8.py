"""Strings as Arrow has them: UTF-8 one behind the other, and where each begins.

Blocks of strings in pages are the same (`kist.codecs.strings`). So what comes from Arrow passes
through writing as it is: an array of `StringDType` takes more time to make, and to take apart
again, than parsing and compressing the text together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.strings import is_compact
from kist.codecs.strings import Content, StringBlock, check_text, fill, rows_from, windows
from kist.errors import CodecError

__all__ = ["STRINGS", "Utf8"]

Array = NDArray[Any]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

STRINGS: Final[np.dtype[Any]] = np.dtypes.StringDType(na_object=None)
"""Text of any length, in which None is missing."""

_BLOCK: Final = 8192
"""Values made at once: their bytes, padded to one width, stay in the cache."""

_WORD: Final = 8


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

    __slots__ = ("lengths", "missing", "starts", "text")

    dtype = STRINGS
    ndim = 1
    itemsize = STRINGS.itemsize

    def __init__(
        self, starts: Ints, lengths: Ints, missing: Bools | None, text: NDArray[np.uint8]
    ) -> None:
        self.starts, self.lengths, self.missing, self.text = starts, lengths, missing, text

    @classmethod
    def of(cls, ends: Array, missing: Bools | None, text: NDArray[np.uint8]) -> Utf8:
        """Return strings between ends, all looked at.

        Parameters
        ----------
        ends : ndarray of int, shape (n + 1,)
            Where each begins, and where the last one ends.

        Raises
        ------
        CodecError
            They are no UTF-8 each, or stand outside of `text`, or a missing one has bytes.
        """
        lengths = np.diff(ends).astype(np.int64, copy=False)
        first, last = int(ends[0]), int(ends[-1])
        if first < 0 or last > len(text) or (len(lengths) and int(lengths.min()) < 0):
            raise CodecError(f"strings from byte {first} to {last} of {len(text)}")
        if missing is not None and lengths[missing].any():
            raise CodecError("a missing string that has a length")
        starts = ends[:-1].astype(np.int64)
        own = text[first:last]
        if len(own) and int(own.max()) >= 0x80:
            check_text(own, own.tobytes(), starts - first, lengths)
        return cls(starts, lengths, missing, text)

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
        missing = None if self.missing is None else self.missing[index]
        return Utf8(self.starts[index], self.lengths[index], missing, self.text)

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
        return Content(part.lengths, missing, part.joined.tobytes())

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
        left = np.clip(self.lengths[rows] - offset, 0, _WORD)
        starts = np.minimum(self.starts[rows] + offset, len(self.text))
        words = windows(self.text, starts, _WORD).view(np.uint64)[:, 0]
        words &= _kept().take(left)
        return words.view(">u8").astype(np.uint64)

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


@lru_cache(maxsize=1)
def _kept() -> NDArray[np.uint64]:
    """Return masks of a word by length: the bytes that are text."""
    lengths = np.arange(_WORD + 1)[:, None]
    return np.where(np.arange(_WORD) < lengths, 0xFF, 0).astype(np.uint8).view(np.uint64)[:, 0]
