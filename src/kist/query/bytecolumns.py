"""Conditions on strings of one length that stand by columns: their first bytes, their second ones.

A byte of all strings is one short array, so each step compares one byte of those strings that are
left. From the end, for names and numbers often begin alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from kist.query.nodes import Array

__all__ = ["ColumnSearch"]


_FEW: Final = 64
"""So many strings are put together and compared whole."""


class ColumnSearch:
    """Looks for texts in the strings of a block.

    Parameters
    ----------
    text : ndarray of uint8, shape (length, n)
        The bytes of all strings, at each place in them.
    """

    def __init__(self, text: Array) -> None:
        self._text = text
        self._length, self._n = text.shape

    def rows(self, func: str, text: bytes) -> Array:
        """Return which strings are `text`, begin or end with it, or sort before it."""
        n = len(text)
        if func in ("<", "<="):
            return self._below(text, or_equal=func == "<=")
        if n > self._length or (func == "==" and n != self._length):
            return np.zeros(0, np.int64)
        at = self._length - n if func == "endswith" else 0
        return self._are(list(zip(range(at, at + n), text, strict=True))[::-1])

    def members(self, texts: Sequence[bytes]) -> Array:
        """Return which strings are one of some texts, two bytes at a time."""
        own = [text for text in texts if len(text) == self._length]
        if not own:
            return np.zeros(0, np.int64)
        left: Array | None = None
        for stop in range(self._length, 0, -2):
            at = max(stop - 2, 0)
            several = self._text[at:stop] if left is None else self._text[at:stop, left]
            numbers = several[0] if len(several) == 1 else several[0] | _high(several[1])
            wanted = {int.from_bytes(text[at:stop], "little") for text in own}
            mask = np.zeros(len(numbers), bool)
            for number in wanted:
                mask |= numbers == number
            left = np.flatnonzero(mask) if left is None else left[mask]
            if len(left) <= _FEW:
                break
        if left is None or not len(left):
            return np.zeros(0, np.int64)
        whole = np.ascontiguousarray(self._text[:, left].T).view(f"S{self._length}")[:, 0]
        return left[np.isin(whole, np.array(own))]

    def _are(self, wanted: Iterable[tuple[int, int]]) -> Array:
        """Return which strings have some bytes at some places."""
        left: Array | None = None
        for at, byte in wanted:
            column = self._text[at]
            if left is None:
                left = np.flatnonzero(column == byte)
            else:
                left = left[column[left] == byte]
            if not len(left):
                break
        return np.arange(self._n) if left is None else left

    def _below(self, text: bytes, *, or_equal: bool) -> Array:
        """Return which strings sort before a text, or are equal to it."""
        below = np.zeros(self._n, bool)
        same = np.ones(self._n, bool)
        for column, byte in zip(self._text, text, strict=False):
            below |= same & (column < byte)
            same &= column == byte
        # What is left begins with the text, or the text with it.
        if len(text) > self._length or (or_equal and len(text) == self._length):
            below |= same
        return np.flatnonzero(below)


def _high(column: Array) -> Array:
    """Return bytes as the higher halves of numbers."""
    found = column.astype(np.uint16)
    found <<= 8
    return found
