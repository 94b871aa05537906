"""Conditions on strings as they are stored: UTF-8, one behind the other.

To make a million strings of NumPy takes ten times as long as to unpack their bytes. Equality,
order, and what strings begin with, end with or contain, are the same of bytes as of characters:
no character of UTF-8 stands within another, and bytes sort as characters do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist._kernels.textwords import sorting_word
from kist.query.bound import Bound
from kist.query.bytecolumns import ColumnSearch
from kist.query.nodes import Array, Column, CompareConstant, Member, Node, TextTest

if TYPE_CHECKING:
    from kist.codecs.strings import StringBlock, StringColumns

__all__ = ["asks_bytes", "holds_of_bytes"]

_WORD: Final = 8
_MOST_MEMBERS: Final = 8
"""So many strings are looked for one by one; more are looked for together."""
_ORDERS: Final = {"<": ("<", False), ">=": ("<", True), "<=": ("<=", False), ">": ("<=", True)}
"""Order as one of two questions, and whether what is asked for is the contrary."""
_NONE: Final = np.zeros(0, np.int64)
_SAMPLE: Final = 4096
"""Bytes of a block that tell which byte of a text is the rarest."""


def asks_bytes(part: Bound) -> bool:
    """Tell whether `holds_of_bytes` can answer a condition on one column of strings."""
    return _tests(part.node) is not None


def holds_of_bytes(
    part: Bound, blocks: Sequence[StringBlock | StringColumns], dtype: np.dtype[Any]
) -> Array | None:
    """Return where a condition holds among the strings of some blocks.

    Parameters
    ----------
    part : Bound
        One that `asks_bytes`.
    blocks : sequence of StringBlock or StringColumns
        Strings, one block behind the other.
    dtype : StringDType
        Of the column.

    Returns
    -------
    ndarray of bool, or None
        A new array; None where a string holds NULs, of which NumPy leaves out those at the end.
    """
    tests, negated = _tests(part.node) or ([], False)
    # Searching bytes for one of them beats NumPy by far.
    if any(b"\0" in block.text.tobytes() for block in blocks):
        return None
    found = [np.zeros(0, bool)]
    of_missing: bool | None = None
    for block in blocks:
        if isinstance(part.node, Member) and not tests:
            mask, missing = _among(block, part.node)
        else:
            mask, missing = _tested(block, tests)
        if negated:
            np.logical_not(mask, out=mask)
        if missing is not None:
            if of_missing is None:
                of_missing = _of_missing(part, dtype)
            mask[missing] = of_missing
        found.append(mask)
    return np.concatenate(found)


def _tested(
    block: StringBlock | StringColumns, tests: Sequence[tuple[str, bytes]]
) -> tuple[Array, Array | None]:
    """Return which strings of a block pass any of some tests, and which are missing."""
    from kist.codecs.strings import StringColumns

    search: _Search | ColumnSearch
    missing = None
    if not isinstance(block, StringColumns):
        search, n, missing = _Search(block), len(block.lengths), block.missing
    elif any(func == "contains" for func, _ in tests):
        search, n = _Search(block.block()), block.text.shape[1]
    else:
        search, n = ColumnSearch(block.text), block.text.shape[1]
    mask = np.zeros(n, bool)
    several = len(tests) > 2 and all(func == "==" for func, _ in tests)
    if several and isinstance(search, ColumnSearch):
        mask[search.members([text for _, text in tests])] = True
    else:
        for func, text in tests:
            mask[search.rows(func, text)] = True
    return mask, missing


def _among(block: StringBlock | StringColumns, node: Member) -> tuple[Array, Array | None]:
    """Return which strings of a block are among many, and which are missing."""
    from kist.codecs.strings import StringColumns
    from kist.query.members import among_block

    plain = block.block() if isinstance(block, StringColumns) else block
    return among_block(plain, node), plain.missing


def _tests(node: Node) -> tuple[list[tuple[str, bytes]], bool] | None:
    """Return what is looked for, any of it, and whether the others are wanted; None if neither.

    Nothing is returned of many members, which are looked for together.
    """
    if isinstance(node, CompareConstant) and node.op in ("==", "!="):
        texts, func, negated = [np.asarray(node.value).item()], "==", node.op == "!="
    elif isinstance(node, CompareConstant):
        texts = [np.asarray(node.value).item()]
        func, negated = _ORDERS[node.op]
    elif isinstance(node, TextTest) and node.func in ("startswith", "endswith", "contains"):
        texts, func, negated = [node.text], node.func, False
    elif isinstance(node, Member) and len(node.values) > _MOST_MEMBERS:
        if not isinstance(node.x, Column) or node.x.dtype.kind != "T":
            return None
        from kist.query.members import texts_of

        return None if texts_of(node).has_nuls else ([], False)
    elif isinstance(node, Member):
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


class _Candidates(NamedTuple):
    """Strings that may be what is looked for.

    Attributes
    ----------
    rows : ndarray of int64, or None
        Which of a block; None for all.
    places : ndarray of int64
        Where in the text it would stand.
    last : ndarray of uint64, or None
        The last eight bytes, or fewer, of each of these places; None where there are none.
    """

    rows: Array | None
    places: Array
    last: Array | None


class _Search:
    """Looks for texts in the strings of a block.

    Each step compares up to eight bytes of those strings that are left.
    """

    def __init__(self, block: StringBlock) -> None:
        self.starts, self.lengths, _, self.text = block
        self._padded = np.concatenate((self.text, np.zeros(_WORD, np.uint8)))
        # The eight bytes from each byte of the text on.
        self._words = np.ndarray((len(self.text) + 1,), "<u8", self._padded, strides=(1,))
        self._known: dict[tuple[str, int], _Candidates] = {}
        longest = int(self.lengths.max(initial=0))
        # Strings of one length, which need no list of where they are.
        self._width = longest if longest and self.lengths.min() == longest else 0

    def rows(self, func: str, text: bytes) -> Array:
        """Return which strings are `text`, begin or end with it, contain it or sort before it."""
        n = len(text)
        if func == "contains":
            return self._containing(text)
        if func in ("<", "<="):
            return self._below(text, or_equal=func == "<=")
        key = func, n
        if key not in self._known:  # members of one length share them
            self._known[key] = self._candidates(func, n)
        rows, places, last = self._known[key]
        if last is None or not len(places):
            return rows if rows is not None else np.arange(len(places))
        # From the end: names and addresses often begin alike.
        done = (n - 1) // _WORD * _WORD
        left = np.flatnonzero(last == _word(text[done:]))
        found = left if rows is None else rows[left]
        return found[self._are(places[left], text[:done])] if done else found

    def _candidates(self, func: str, n: int) -> _Candidates:
        """Return the strings that are long enough, and where in them a text of `n` bytes stands."""
        rows: Array | None = None
        if self._width:
            if n > self._width or (func == "==" and n != self._width):
                return _Candidates(_NONE, _NONE, None)
            lengths, places = self.lengths, self.starts
        else:
            rows = np.flatnonzero(self.lengths == n if func == "==" else self.lengths >= n)
            lengths, places = self.lengths[rows], self.starts[rows]
        if func == "endswith":
            places = places + (lengths - n)
        if not n or not len(places):
            return _Candidates(rows, places, None)
        done = (n - 1) // _WORD * _WORD
        if self._width:
            words = self._strided(int(places[0]) + done, len(places), "<u8")
        else:
            words = self._words[places + done if done else places]
        if n - done < _WORD:
            words = words & np.uint64((1 << 8 * (n - done)) - 1)
        return _Candidates(rows, places, words)

    def _are(self, places: Array, text: bytes) -> Array:
        """Return the numbers of those places where a text stands."""
        left = np.arange(len(places))
        for done in reversed(range(0, len(text), _WORD)):
            piece = text[done : done + _WORD]
            words = self._words[places[left] + done]
            if len(piece) < _WORD:
                words &= np.uint64((1 << 8 * len(piece)) - 1)
            left = left[words == _word(piece)]
        return left

    def _below(self, text: bytes, *, or_equal: bool) -> Array:
        """Return which strings sort before a text, or are equal to it."""
        below = np.zeros(len(self.lengths), bool)
        left: Array | slice = slice(None)
        for done in range(0, len(text), _WORD):
            words = self._sorting(left, done)
            wanted = np.uint64(int.from_bytes(text[done : done + _WORD].ljust(_WORD, b"\0"), "big"))
            below[left] = words < wanted
            same = np.flatnonzero(words == wanted)
            left = same if isinstance(left, slice) else left[same]
            if not len(left):
                break
        # What is left begins with the text, or is it. Without NULs only the same bytes are equal.
        if or_equal:
            below[left] = self.lengths[left] <= len(text)
        return np.flatnonzero(below)

    def _sorting(self, rows: Array | slice, offset: int) -> Array:
        """Return eight bytes of some strings as numbers that sort so, zeros behind the end."""
        width = self._width
        if not width or not isinstance(rows, slice):
            return sorting_word(self.starts[rows], self.lengths[rows], self._words, offset)
        size = len(self.starts)
        if offset >= width:
            return np.zeros(size, np.uint64)
        words = self._strided(int(self.starts[0]) + offset, size, ">u8").astype(np.uint64)
        if width - offset < _WORD:
            words &= ~np.uint64((1 << 8 * (_WORD - width + offset)) - 1)
        return words

    def _strided(self, at: int, size: int, dtype: str) -> Array:
        """Return eight bytes from a place on, and from all that are a string further each."""
        # Strings of one length stand one behind the other, each so many bytes from the one before.
        return np.ndarray((size,), dtype, self._padded, offset=at, strides=(self._width,))

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


def _word(piece: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(piece, "little"))
