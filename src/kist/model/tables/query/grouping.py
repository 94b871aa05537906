"""Which rows have equal keys: numbers for groups, first within some rows, then over all.

The keys of some rows are numbered on their own, which threads can do side by side; only the
groups found there are then looked up among all groups so far. NaN, NaT and missing strings are
equal to each other here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from kist import options
from kist._kernels.lookup import counts_of
from kist._kernels.numbering import Numbering, TupleNumbering, key_words
from kist._kernels.strings import matrix_of, sizes
from kist._kernels.textwords import TextNumbering
from kist.codecs.stringpages import Texts
from kist.codecs.values import is_stored_order
from kist.engine.pages import read_numbered
from kist.engine.textpages import read_texts
from kist.errors import CorruptDataError, TooLargeError
from kist.format.schema import Leaf
from kist.model.tables.query.accumulators import grown
from kist.model.tables.query.find import Found
from kist.model.tables.query.texts import TextKey, text_key
from kist.model.tables.stored.encoded import narrow_pages
from kist.model.tables.stored.read import Span
from kist.model.tables.stored.state import TableState, located

__all__ = [
    "Groups",
    "Keys",
    "Local",
    "Numbered",
    "groups_of",
    "keyed",
    "local_groups",
    "numbered",
    "numbered_pages",
]

Array = np.ndarray[Any, Any]

_PREFIX: Final = 8_192
_LONG: Final = 24
"""Bytes of strings from which on they are numbered as a whole, not word by word."""
_MOST_CODES: Final = 1 << 17
"""Numbers of groups among some rows that are counted by a table: 1 MiB of counts."""


class Local(NamedTuple):
    """Groups among some rows.

    Attributes
    ----------
    codes : ndarray of int64, shape (n,)
        Group of each row; numbers may be left out.
    counts : ndarray of int64
        Rows of each group.
    present : ndarray of int64
        The numbers that stand for a group, ascending.
    """

    codes: Array
    counts: Array
    present: Array

    @property
    def first(self) -> Array:
        """First row of each group, int64."""
        return _first_rows(self.codes, self.counts)[self.present]


@dataclass(frozen=True, slots=True)
class Numbered:
    """Values of a key by their places among those that there are.

    Attributes
    ----------
    items : ndarray
        The distinct values.
    numbers : ndarray of unsigned int, shape (n,)
        Which of them each row has.
    null : int
        The one that stands for no value; -1 for none.
    """

    items: Array
    numbers: Array
    null: int = -1

    @property
    def is_null(self) -> Array:
        """Which of the items stands for a null."""
        found: Array = np.arange(len(self.items)) == self.null
        return found

    def filled(self, valid: Array) -> Numbered:
        """Return the same with an item of its own, zero, where there is no value."""
        if valid.all():
            return self
        n = len(self.items)
        numbers = np.where(valid, self.numbers, np.min_scalar_type(n).type(n))
        return Numbered(np.append(self.items, np.zeros(1, self.items.dtype)), numbers, n)

    def __getitem__(self, rows: Array) -> Array:
        """Return the values of some rows."""
        found: Array = self.items[self.numbers[rows]]
        return found


Keys = Array | Numbered | TextKey
"""Values of a key in some rows, made or not."""


def numbered(state: TableState, leaf: Leaf, hit: Found) -> Numbered | None:
    """Return the values of a column in some rows of a page with a dictionary, without making them.

    None where the page has none or the values are others, and where few of its rows are wanted.
    """
    group, ordinals = hit.group, hit.ordinals
    # Equal floats may be several items: 0.0 and -0.0.
    if leaf.dtype.kind not in "biuSUmMT" or leaf.n_values != 1 or not is_stored_order(leaf.dtype):
        return None
    if not group.is_pages or not leaf.dtype.itemsize or 4 * len(ordinals) < group.n_rows:
        return None
    page = state.list_pages(leaf).get((leaf.id, group.first))
    if page is None or state.rewrites(leaf, group):
        return None
    try:
        read = read_texts if leaf.is_loose else read_numbered
        found = read(state.view, page[0], leaf.dtype, group.n_rows)
    except CorruptDataError as error:
        raise located(error, state, ".".join(leaf.path), group.first) from error
    if found is None or len(set(found[0].tolist())) < len(found[0]):
        return None
    items, numbers = found
    if len(ordinals) < group.n_rows:
        where = ordinals
        numbers = numbers[slice(where.start, where.stop) if isinstance(where, range) else where]
    return Numbered(items, numbers)


def keyed(state: TableState, leaf: Leaf, hit: Found) -> Numbered | TextKey | None:
    """Return the values of a column in some rows of a page, without making them.

    As `numbered` does, and strings without a dictionary too.
    """
    found = numbered(state, leaf, hit)
    if found is None and leaf.is_string:
        return text_key(state, leaf, Span(hit.group, hit.ordinals, 0))
    return found


def numbered_pages(state: TableState, leaf: Leaf, hits: Sequence[Found]) -> dict[int, Numbered]:
    """Return the values of a column in rows of groups, without making them, by the group's place.

    Of pages with dictionaries, as `numbered` does for one (not all that it can), and of pages of
    narrow integers, which number their values themselves.
    """
    # Equal floats may be several items: 0.0 and -0.0.
    if leaf.dtype.kind not in "biuSUmMT" or not is_stored_order(leaf.dtype):
        return {}
    if not leaf.dtype.itemsize:
        return {}
    many = [hit for hit in hits if 4 * len(hit.ordinals) >= hit.group.n_rows]
    found: dict[int, Numbered] = {}
    for number, page in narrow_pages(state, leaf, [hit.group for hit in many]):
        place, _, ordinals = many[number]
        items, numbers = page.items, page.numbers
        low = 0
        if items is None:
            assert not isinstance(page, Texts)
            if numbers.itemsize > 2:
                continue
            low, high = int(numbers.min()), int(numbers.max())
            items = page.values(np.arange(low, high + 1).astype(numbers.dtype))
            if not (items[1:] > items[:-1]).all():
                continue
        elif len(set(items.tolist())) < len(items):
            continue
        if isinstance(ordinals, range):
            numbers = numbers[ordinals.start : ordinals.stop]
        else:
            numbers = numbers[ordinals]
        # A new array either way: pages are valid until the next one.
        unsigned = np.dtype(f"u{numbers.itemsize}")
        found[place] = Numbered(
            items, np.subtract(numbers, low, dtype=numbers.dtype).view(unsigned)
        )
    return found


def local_groups(keys: Sequence[Keys], n: int) -> Local:
    """Number the groups among some rows.

    Parameters
    ----------
    keys : sequence of ndarray, Numbered or TextKey, of n rows
        Values of each key.
    """
    codes, size = None, 1
    for values in keys:
        for more, count in _codes(values, n):
            if count == 1:
                continue  # most words of fixed-width text are the same everywhere
            if codes is None:
                codes, size = more, count
            elif size * count <= _MOST_CODES:
                codes, size = codes * count + more, size * count
            else:
                pairs = (codes << 32) | more
                table = Numbering()
                codes = table.number(pairs.view(np.uint64))
                size = table.count
    if codes is None:
        codes = np.zeros(n, np.int64)
    counts = np.bincount(codes, minlength=size)
    present = np.flatnonzero(counts)
    return Local(codes, counts, present)


def groups_of(key: Numbered) -> tuple[Local, Array]:
    """Return the groups among some rows by one key that is numbered, and its value in each."""
    codes = key.numbers.astype(np.int64)
    counts = counts_of(key.numbers, len(key.items))
    present = counts.nonzero()[0]
    return Local(codes, counts, present), key.items[present]


def _codes(values: Keys, n: int) -> Iterator[tuple[Array, int]]:
    """Yield small numbers that are equal together where values are, and their limits."""
    if isinstance(values, Numbered):
        if len(values.items) > 1:
            yield values.numbers.astype(np.int64), len(values.items)
        return
    for word in _words(values):
        yield _coded(word, n)


def _coded(word: Array, n: int) -> tuple[Array, int]:
    """Return small numbers for the values of a word, and one more than the highest."""
    if n == 0:
        return np.zeros(0, np.int64), 1
    low, high = word.min(), word.max()
    if high - low < _MOST_CODES:
        codes = word - low if low else word
        return codes.view(np.int64), int(high - low) + 1
    table = Numbering()
    return table.number(word), table.count


def _first_rows(codes: Array, counts: Array) -> Array:
    """Return the first row of each group; groups without rows have none."""
    n, size = len(codes), len(counts)
    first = np.full(size, n)
    # Few groups have all shown up after a few rows; of many, all rows are looked at.
    for start, stop in ((0, min(n, _PREFIX)), (_PREFIX, n)):
        if start >= stop:
            break
        part = np.full(size, n)
        # Of several rows of a group the last one assigned stays: from behind, the first row.
        part[codes[start:stop][::-1]] = np.arange(stop - 1, start - 1, -1)
        np.minimum(first, part, out=first)
        if not ((first == n) & (counts > 0)).any():
            break
    return first


def _words(values: Array | TextKey) -> list[Array]:
    """Return words that are equal where values are, for these values only."""
    if isinstance(values, TextKey):
        found = values.words() if values.longest < _LONG else None
        return [values.numbers(TextNumbering())] if found is None else found
    if values.dtype.kind != "T":
        return key_words(values)
    lengths, missing = sizes(values)
    matrix = matrix_of(values, lengths) if int(lengths.max(initial=0)) < _LONG else None
    if matrix is None and lengths.any():
        return [TextKey.of(values).numbers(TextNumbering())]
    words: list[Array] = []
    if matrix is not None:
        words += key_words(np.ascontiguousarray(matrix).view(f"V{matrix.shape[1]}")[:, 0])
        if np.count_nonzero(matrix) != int(lengths.sum()):
            words.append(lengths.view(np.uint64))  # strings with NULs
    if missing is not None:
        words.append(missing.astype(np.uint64))
    return words or [np.zeros(len(values), np.uint64)]


class Groups:
    """All groups so far, with their keys.

    Parameters
    ----------
    dtypes : sequence of dtype
        Of the keys.
    what : str
        What they are made for, for messages.
    """

    def __init__(self, dtypes: Sequence[np.dtype[Any]], what: str) -> None:
        self._dtypes = list(dtypes)
        self._what = what
        self._beside = 0
        self._table: TupleNumbering | None = None
        self._texts = [
            TextNumbering(self._before_growth) if dtype.kind == "T" else None for dtype in dtypes
        ]
        self._seen = np.zeros(0, bool)
        self._new: list[tuple[Array, list[Array]]] = []
        self._key_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        tables = [table.nbytes for table in (self._table, *self._texts) if table is not None]
        return self._key_bytes + self._seen.nbytes + sum(tables)

    def number(self, keys: Sequence[Array | TextKey]) -> tuple[Array, Array]:
        """Return the numbers of some groups, and which of them are new.

        Parameters
        ----------
        keys : sequence of ndarray or TextKey, of n rows
            Keys of the groups, which all differ.
        """
        words: list[Array] = []
        room = 0
        for values, texts in zip(keys, self._texts, strict=True):
            if texts is not None:
                key = values if isinstance(values, TextKey) else TextKey.of(values)
                words.append(key.numbers(texts))
                room = 0
                continue
            assert not isinstance(values, TextKey)
            bits = 8 * values.itemsize
            if values.dtype.kind in "biu" and bits < 64 and values.dtype.isnative:
                word = values.view(f"u{values.itemsize}").astype(np.uint64)
                if bits <= room:  # beside what stands in the last word
                    words[-1] = (words[-1] << np.uint64(bits)) | word
                    room -= bits
                else:
                    words.append(word)
                    room = 64 - bits
                continue
            words += key_words(values)
            room = 0
        if self._table is None:
            self._table = TupleNumbering(len(words), self._before_growth)
        codes = self._table.number(words)
        self._seen = grown(self._seen, self._table.count, False)
        new = ~self._seen[codes]
        if new.any():
            these = codes[new]
            self._seen[these] = True
            kept = [_made(values[new]) for values in keys]
            self._new.append((these, kept))
            self._key_bytes += these.nbytes + sum(map(_nbytes, kept))
        return codes, new

    def keys(self) -> tuple[Array, list[Array]]:
        """Return the numbers of all groups, and their keys."""
        if not self._new:
            return np.zeros(0, np.int64), [np.zeros(0, dtype) for dtype in self._dtypes]
        codes = np.concatenate([codes for codes, _ in self._new])
        columns = zip(*(keys for _, keys in self._new), strict=True)
        return codes, [np.concatenate(column, dtype=column[0].dtype) for column in columns]

    def check(self, beside: int) -> None:
        """Raise `TooLargeError` when the groups, and some bytes beside them, are too many."""
        self._beside = beside
        self._before_growth(0)

    def _before_growth(self, more: int) -> None:
        """Raise it before so many bytes more are taken: a table grows to twice its size."""
        nbytes = self.nbytes + self._beside + more
        if nbytes > options.max_memory:
            raise TooLargeError(
                f"{self._what}: {np.count_nonzero(self._seen):,} groups so far"
                f"{', and room for more,' if more else ''} take {nbytes:,} bytes, "
                f"more than kist.options.max_memory = {options.max_memory:,}; group by fewer "
                "distinct values, raise the option, or sort_by() the keys and go through blocks()"
            )


def _made(values: Array | TextKey) -> Array:
    return values.array() if isinstance(values, TextKey) else values


def _nbytes(values: Array) -> int:
    """Return the bytes that values take, with those of strings."""
    if values.dtype.kind != "T":
        return values.nbytes
    lengths = sizes(values)[0]
    # Short ones stand in the array itself.
    return values.nbytes + int(lengths[lengths >= values.itemsize].sum())
