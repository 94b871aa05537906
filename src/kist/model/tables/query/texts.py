"""Columns of text as keys: what is sorted and grouped by them are bytes, and no strings are made.

A page of strings comes as UTF-8 with the places where strings begin, or as numbers of the items
of its dictionary, and these again as UTF-8. `TextKey` are such strings in some rows of a group;
`sorting_words_of` gives words that sort like a column in all rows that are meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from kist._kernels.cells import empty_values
from kist._kernels.strings import is_compact, is_text_missing
from kist._kernels.textwords import TextNumbering, equal_words, extreme_row, sorting_words
from kist.codecs.strings import StringBlock, block_of, fill
from kist.engine.parallel import run
from kist.format.schema import Leaf
from kist.model.tables.stored.encoded import page_bytes
from kist.model.tables.stored.read import Span, read_leaves
from kist.model.tables.stored.state import TableState

__all__ = ["TextKey", "sorting_words_of", "text_key"]

Array = np.ndarray[Any, Any]

MANY: Final = 4
"""Where less than one row in `MANY` of a page is wanted, strings are made of those only."""
_SHORT: Final = 32
"""Bytes of strings that are sorted by their bytes: four words, a pass each."""
_NOTHING: Final = np.zeros(0, np.int64)
_AT_ONCE: Final = 16
"""Pages that are read before it is asked whether all strings are short."""


@dataclass(frozen=True, slots=True)
class TextKey:
    """Strings of a key in some rows, as bytes.

    Attributes
    ----------
    dtype : StringDType
        Of the column.
    block : StringBlock
        The strings.
    """

    dtype: np.dtype[Any]
    block: StringBlock

    @classmethod
    def of(cls, values: Array) -> TextKey:
        """Return it for an array of strings."""
        return cls(values.dtype, block_of(values))

    def __len__(self) -> int:
        return len(self.block.starts)

    def __getitem__(self, rows: Any) -> TextKey:
        """Return those of some rows."""
        return TextKey(self.dtype, _rows_of(self.block, rows))

    @property
    def longest(self) -> int:
        """Bytes of the longest string."""
        return int(self.block.lengths.max(initial=0))

    def words(self) -> list[Array] | None:
        """Return words that are equal where strings are; None where they would be very long."""
        starts, lengths, missing, text = self.block
        if not is_compact(len(lengths), self.longest, int(lengths.sum())):
            return None
        return equal_words(starts, lengths, missing, text)

    def numbers(self, table: TextNumbering) -> Array:
        """Return the number of each string in a table."""
        return table.number(*self.block)

    def extreme(self, *, largest: bool) -> int:
        """Return the first of the largest or smallest strings, -1 where all are missing."""
        starts, lengths, missing, text = self.block
        rows = None if missing is None else np.flatnonzero(~missing)
        if rows is not None:
            starts, lengths = starts[rows], lengths[rows]
        if not len(lengths):
            return -1
        place = extreme_row(starts, lengths, text, largest=largest)
        return place if rows is None else int(rows[place])

    def array(self) -> Array:
        """Return the strings."""
        out = np.empty(len(self), self.dtype)
        fill(self.block, out)
        return out


def _rows_of(block: StringBlock, rows: Any) -> StringBlock:
    starts, lengths, missing, text = block
    return StringBlock(
        starts[rows], lengths[rows], None if missing is None else missing[rows], text
    )


def text_key(state: TableState, leaf: Leaf, span: Span) -> TextKey | None:
    """Return the strings of some rows of a group, without making them.

    None where the page has a dictionary or none is of use, and where few of its rows are wanted.
    """
    group, ordinals = span.group, span.ordinals
    if not leaf.is_string or MANY * len(ordinals) < group.n_rows:
        return None
    found = page_bytes(state, leaf, group)
    if found is None or found.numbers is not None:
        return None
    key = TextKey(leaf.dtype, found.strings)
    return key if len(ordinals) == group.n_rows else key[_where(ordinals)]


def _where(ordinals: range | Array) -> slice | Array:
    return slice(ordinals.start, ordinals.stop) if isinstance(ordinals, range) else ordinals


class _Part(NamedTuple):
    """What a column of text is in the rows of one span.

    Attributes
    ----------
    words : list of ndarray of uint64
        That sort like its strings; empty where these come from a dictionary.
    lengths : ndarray of int64
        Of its strings.
    has_nuls : bool
        Whether one of them may hold a NUL.
    missing : ndarray of bool, or None
        Which are missing.
    items : StringBlock or None
        The items of a dictionary.
    numbers : ndarray of int, or None
        Which item each row has.
    """

    words: list[Array]
    lengths: Array
    has_nuls: bool = False
    missing: Array | None = None
    items: StringBlock | None = None
    numbers: Array | None = None


def sorting_words_of(
    state: TableState, leaf: Leaf, spans: Sequence[Span], *, descending: bool
) -> list[Array] | None:
    """Return words that sort like a column of text in some rows; what is missing comes last.

    None where some strings are long, and where a missing one is a string like any other.
    """
    if not leaf.is_string or is_text_missing(leaf.dtype) or not spans:
        return None
    parts: list[_Part] = []
    for at in range(0, len(spans), _AT_ONCE):
        for part in run([partial(_part, state, leaf, span) for span in spans[at : at + _AT_ONCE]]):
            if part is None:
                return None
            parts.append(part)
    n = sum(span.n for span in spans)
    items = [part.items for part in parts if part.items is not None]
    if len(items) == len(parts) and 4 * sum(len(one.starts) for one in items) <= n:
        return [_ranked(parts, descending)]
    known: dict[int, _Part | None] = {}
    for at, part in enumerate(parts):
        if part.items is not None and part.numbers is not None:
            if id(part.items) not in known:  # pages may share their dictionary
                known[id(part.items)] = _worded(part.items)
            one = known[id(part.items)]
            if one is None:
                return None
            parts[at] = _taken(one, part.numbers)
    return _joined(parts, [span.n for span in spans], descending)


def _part(state: TableState, leaf: Leaf, span: Span) -> _Part | None:
    found = page_bytes(state, leaf, span.group) if MANY * span.n >= span.group.n_rows else None
    if found is None:
        values = empty_values(span.n, leaf.dtype)
        read_leaves(state, [span._replace(at=0)], [leaf], [values])
        return _worded(block_of(values))
    strings, numbers = found
    whole = span.n == span.group.n_rows
    if numbers is not None:
        rows = numbers if whole else numbers[_where(span.ordinals)]
        return _Part([], _NOTHING, items=strings, numbers=rows)
    return _worded(strings if whole else _rows_of(strings, _where(span.ordinals)))


def _worded(strings: StringBlock) -> _Part | None:
    """Return words of strings, None where one is long."""
    starts, lengths, missing, text = strings
    if int(lengths.max(initial=0)) > _SHORT:
        return None
    has_nuls = len(text) > 0 and not text.min()
    words = sorting_words(starts, lengths, text)
    return _Part(words, lengths, has_nuls, missing)


def _taken(items: _Part, numbers: Array) -> _Part:
    """Return what the items of a dictionary are for each row."""
    words, lengths, has_nuls, missing, _, _ = items
    return _Part(
        [word.take(numbers) for word in words],
        lengths.take(numbers),
        has_nuls,
        None if missing is None else missing.take(numbers),
    )


def _joined(parts: Sequence[_Part], sizes: Sequence[int], descending: bool) -> list[Array]:
    """Return the words of all parts, one part behind the other."""
    n = sum(sizes)
    words = [np.zeros(n, np.uint64) for _ in range(max(len(part.words) for part in parts))]
    if any(part.has_nuls for part in parts):
        # Strings with equal words are those that end in NULs: the shorter one is first.
        words.append(np.concatenate([part.lengths for part in parts]).view(np.uint64))
    at = 0
    for part, size in zip(parts, sizes, strict=True):
        for word, mine in zip(words, part.words, strict=False):
            word[at : at + size] = mine
        at += size
    if descending:
        words = [np.invert(word, out=word) for word in words]
    if not words or any(part.missing is not None for part in parts):
        # Every word is one of some string: what is missing needs a word of its own.
        missing = [
            np.zeros(size, bool) if part.missing is None else part.missing
            for part, size in zip(parts, sizes, strict=True)
        ]
        words.insert(0, np.concatenate(missing).astype(np.uint64))
    return words


def _ranked(parts: Sequence[_Part], descending: bool) -> Array:
    """Return a word that sorts like the strings of parts that all have dictionaries."""
    listed: dict[int, list[bytes]] = {}
    for part in parts:
        if id(part.items) not in listed and part.items is not None:
            starts, lengths, _, text = part.items
            data = text.tobytes()
            pairs = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
            listed[id(part.items)] = [data[a:b] for a, b in pairs]
    every = sorted({item for items in listed.values() for item in items}, reverse=descending)
    ranks = {item: rank for rank, item in enumerate(every)}
    found = []
    for part in parts:
        items, numbers = part.items, part.numbers
        assert items is not None and numbers is not None
        by_item = np.array([ranks[item] for item in listed[id(items)]], np.uint64)
        if items.missing is not None:
            by_item[items.missing] = len(every)
        found.append(by_item.take(numbers))
    return np.concatenate(found)
