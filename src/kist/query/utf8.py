"""Conditions on strings as they are stored: UTF-8, one behind the other.

To make a million strings of NumPy takes ten times as long as to unpack their bytes. Equality, and
what strings begin with, end with or contain, are the same of bytes as of characters: no character
of UTF-8 stands within another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.query.bound import Bound
from kist.query.nodes import Array, Column, CompareConstant, Member, Node, TextTest

if TYPE_CHECKING:
    from kist.codecs.strings import StringBlock

__all__ = ["asks_bytes", "holds_of_bytes"]

_WORD: Final = 8
_MOST_MEMBERS: Final = 8
"""So many strings are looked for one by one; a search for more takes longer than making all."""

_SAMPLE: Final = 4096
"""Bytes of a block that tell which byte of a text is the rarest."""


def asks_bytes(part: Bound) -> bool:
    """Tell whether `holds_of_bytes` can answer a condition on one column of strings."""
    return _tests(part.node) is not None


def holds_of_bytes(
    part: Bound, blocks: Sequence[StringBlock], dtype: np.dtype[Any]
) -> Array | None:
    """Return where a condition holds among the strings of some blocks.

    Parameters
    ----------
    part : Bound
        One that `asks_bytes`.
    blocks : sequence of StringBlock
        Strings, one block behind the other.
    dtype : StringDType
        Of the column.

    Returns
    -------
    ndarray of bool, or None
        A new array; None where a string holds NULs, of which NumPy leaves out those at the end.
    """
    tests, negated = _tests(part.node) or ([], False)
    if any(len(block.text) and not block.text.min() for block in blocks):
        return None
    found = [np.zeros(0, bool)]
    of_missing: bool | None = None
    for block in blocks:
        mask = np.zeros(len(block.lengths), bool)
        search = _Search(block)
        for func, text in tests:
            mask[search.rows(func, text)] = True
        if negated:
            np.logical_not(mask, out=mask)
        if block.missing is not None:
            if of_missing is None:
                of_missing = _of_missing(part, dtype)
            mask[block.missing] = of_missing
        found.append(mask)
    return np.concatenate(found)


def _tests(node: Node) -> tuple[list[tuple[str, bytes]], bool] | None:
    """Return what is looked for, any of it, and whether the others are wanted; None if neither."""
    if isinstance(node, CompareConstant) and node.op in ("==", "!="):
        texts, func, negated = [np.asarray(node.value).item()], "==", node.op == "!="
    elif isinstance(node, TextTest) and node.func in ("startswith", "endswith", "contains"):
        texts, func, negated = [node.text], node.func, False
    elif isinstance(node, Member) and len(node.values) <= _MOST_MEMBERS:
        texts, func, negated = node.values.tolist(), "==", False
    else:
        return None
    if not isinstance(node.x, Column):
        return None
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        return None
    return [(func, text.encode()) for text in texts], negated


def _of_missing(part: Bound, dtype: Any) -> bool:
    """Return what a condition is of a missing value."""
    one = np.array([dtype.na_object], dtype)
    return bool(part.evaluate({part.columns[0]: one}, 1)[0])


class _Search:
    """Looks for texts in the strings of a block.

    Each step compares up to eight bytes of those places that are left.
    """

    def __init__(self, block: StringBlock) -> None:
        self.starts, self.lengths, _, self.text = block
        padded = np.concatenate((self.text, np.zeros(_WORD, np.uint8)))
        # The eight bytes from each byte of the text on.
        self._words = np.ndarray((len(self.text) + 1,), "<u8", padded, strides=(1,))

    def rows(self, func: str, text: bytes) -> Array:
        """Return which strings are `text`, begin or end with it, or contain it."""
        n = len(text)
        if func == "contains":
            return self._containing(text)
        rows = np.flatnonzero(self.lengths == n if func == "==" else self.lengths >= n)
        at = self.starts[rows]
        if func == "endswith":
            at += self.lengths[rows] - n
        return rows[self._are(at, text)]

    def _are(self, places: Array, text: bytes) -> Array:
        """Return the numbers of those places where a text stands."""
        left = np.arange(len(places))
        # From the end: names and addresses often begin alike.
        for done in reversed(range(0, len(text), _WORD)):
            piece = text[done : done + _WORD]
            words = self._words[places[left] + done]
            if len(piece) < _WORD:
                words &= np.uint64((1 << 8 * len(piece)) - 1)
            left = left[words == np.uint64(int.from_bytes(piece, "little"))]
        return left

    def _containing(self, text: bytes) -> Array:
        if not text:
            return np.arange(len(self.lengths))
        counts = np.bincount(self.text[:_SAMPLE], minlength=256)
        rarest = min(range(len(text)), key=lambda at: counts[text[at]])
        places = np.flatnonzero(self.text == text[rarest]) - rarest
        places = places[(places >= 0) & (places <= len(self.text) - len(text))]
        places = places[self._are(places, text)]
        rows = self.starts.searchsorted(places, "right") - 1
        # Not what begins in one string and ends in the next.
        return rows[places + len(text) <= self.starts[rows] + self.lengths[rows]]
