"""Quantiles and numbers of distinct values by group: what needs all values.

The values of a column are collected with the numbers of their groups, and dealt out to shares that
fit into memory: for quantiles by their groups, so that a share has all values of its groups; for
numbers of distinct values by group and value, so that equal ones are in one share. Shares are
looked at one by one. Values of one group that are more than fit are not sorted, but read twice
(`quantiles`).
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from kist import options
from kist._kernels.lookup import counts_of
from kist._kernels.numbering import key_words
from kist._kernels.ordering import sortable, stable_order
from kist._kernels.sets import ascending
from kist._kernels.strings import short_keys
from kist._kernels.textwords import TextNumbering
from kist.model.tables.query.accumulators import Accumulator, Partial
from kist.model.tables.query.aggregates import Values
from kist.model.tables.query.find import Found
from kist.model.tables.query.grouping import Numbered, keyed, local_groups
from kist.model.tables.query.quantiles import (
    check_quantiles,
    interpolated,
    missing_of,
    quantiles_of,
    result_of,
)
from kist.model.tables.query.rowset import Ordered, read_spans_of
from kist.model.tables.query.shares import BITS, Rows, Share, Shares
from kist.model.tables.query.texts import TextKey
from kist.model.tables.stored.read import Span

__all__ = ["Again", "Collected", "Quantile", "count_distinct", "distinct_by_group"]

Array = np.ndarray[Any, Any]
T = TypeVar("T")

_CODE: Final = np.dtype("u4")
"""Of the numbers of groups; tables of groups have no room for more."""
_WORK: Final = 40
"""Bytes a row that sorting takes beside the values, about."""
_LONG: Final = 64
"""Values of a group, on average, from which on each group is sorted by itself."""
_SHORT: Final = np.dtype("S16")
"""As many words as short texts have."""
_SAMPLE: Final = 8192
"""Rows that tell whether many of a page are equal."""


class Collected(Accumulator):
    """All values, with the numbers of their groups.

    Attributes
    ----------
    part : int
        How many collect values at the same time.
    """

    def __init__(self, dtype: np.dtype[Any], label: str) -> None:
        super().__init__(dtype)
        self.part = 1
        self._why = f"values of {label} by group"
        self.arrays = [np.zeros(0, np.int64)]  # values of each group

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        return codes, counts, values

    def put(self, part: Partial, codes: Array, at: Array, counts: Array) -> None:
        """Add some values.

        Parameters
        ----------
        part : tuple
            What `local` returned.
        codes : ndarray
            Groups of the values.
        at, counts : ndarray
            Groups, and how many of the values are theirs.
        """
        self.arrays[0][at] += counts
        self._collect([codes.astype(_CODE), *part[2:]])

    @abstractmethod
    def _collect(self, rows: Rows) -> None:
        """Keep some values: the numbers of their groups, and what `local` made of them."""

    def merge(self, part: Partial, at: Array) -> None:
        raise TypeError("collected values are added by put()")


# Quantiles


class Quantile(Collected):
    """Value below which a part of the values lies, linear between two of them."""

    def __init__(self, dtype: np.dtype[Any], label: str, q: float) -> None:
        super().__init__(dtype, label)
        self.result = result_of(self.dtype, label)
        self.q = q
        self._q = check_quantiles(q).tolist()
        self._shares = Shares([_CODE, self.dtype], _codes_of, self._why)
        self._found: Array | None = None

    def again(self, q: float) -> Again:
        """Return what finds another quantile of the same values."""
        self._q += check_quantiles(q).tolist()
        return Again(self, len(self._q) - 1)

    def _collect(self, rows: Rows) -> None:
        self._shares.part = self.part
        self._shares.put(rows)

    def finish(self, at: Array) -> Array:
        return self.found(0, at)

    def found(self, number: int, at: Array) -> Array:
        """Return one of the quantiles for the groups `at`."""
        if self._found is None:
            with self._shares:
                self._found = self._all()
        found: Array = self._found[number][at]
        return found

    def _all(self) -> Array:
        """Return all quantiles of all groups."""
        found = np.full((len(self._q), len(self.arrays[0])), missing_of(self.result))
        for share in self._shares.shares(self._fits):
            if share.n > self._most and self._is_one(share):
                group = int(next(share.batches())[0][0])
                one = quantiles_of(_Batches(share, self.dtype), np.array(self._q))
                found[:, group] = missing_of(self.result) if one is None else one
                continue
            codes, values = share.rows()
            groups = _sorted_groups(codes, values, share.depth)
            for out, q in zip(found, self._q, strict=True):
                out[groups.codes] = groups.quantile(q, self.result)
        return found

    @property
    def _most(self) -> int:
        """Values of a share that are sorted in memory."""
        return options.max_memory // 2 // (4 * self.dtype.itemsize + _WORK)

    def _fits(self, share: Share) -> bool:
        return share.n <= self._most or self._is_one(share)

    def _is_one(self, share: Share) -> bool:
        """Tell whether all values of a share are of one group."""
        counts = self.arrays[0][share.lowest :: 1 << BITS * share.depth]
        return int(np.count_nonzero(counts)) == 1


class Again(Accumulator):
    """Another quantile of values that are collected already."""

    def __init__(self, of: Quantile, number: int) -> None:
        super().__init__(of.dtype)
        self.result = of.result
        self._of, self._number = of, number

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        return ()

    def merge(self, part: Partial, at: Array) -> None:
        pass

    def finish(self, at: Array) -> Array:
        return self._of.found(self._number, at)


def _codes_of(rows: Rows) -> Array:
    return rows[0].astype(np.uint64)


@dataclass(frozen=True)
class _Batches:
    """Values of a share, as those of a column are read."""

    share: Share
    dtype: np.dtype[Any]

    def map(self, work: Callable[[Array], T]) -> Iterator[T]:
        for _, values in self.share.batches():
            yield work(values)


class _Groups(NamedTuple):
    """Groups, ascending, and their values: sorted in each group, one group behind the other."""

    codes: Array
    counts: Array
    values: Array

    def quantile(self, q: float, dtype: np.dtype[Any]) -> Array:
        """Return a quantile of each group; NaN where there is any NaN, and NaT where NaT."""
        ends = np.cumsum(self.counts)
        starts = ends - self.counts
        place = q * (self.counts - 1)
        low = np.floor(place).astype(np.int64)
        first = self.values[starts + low].astype(dtype)
        second = self.values[starts + np.minimum(low + 1, self.counts - 1)].astype(dtype)
        found = interpolated(first, second, place - low)
        last = self.values[ends - 1]
        found[last != last] = missing_of(found.dtype)  # it sorts last
        return found.astype(dtype)


def _sorted_groups(codes: Array, values: Array, depth: int) -> _Groups:
    """Sort values by group, and in each group."""
    n = len(codes)
    # The lowest bits are the same in all.
    local = codes.astype(np.uint64) >> np.uint64(BITS * depth)
    local -= local.min()
    highest = int(local.max())
    if not highest:
        return _Groups(codes[:1], np.array([n]), np.sort(values))
    if highest < 1 << 16 and (highest + 1) * _LONG <= n:
        # Of two bytes each NumPy sorts by counting: 5 ns a row, and 10 for the values of a group.
        order = local.astype(np.uint16).argsort(kind="stable")
        values = values[order]
        counts = np.bincount(local.view(np.int64))
        counts = counts[counts > 0]
        ends = np.cumsum(counts)
        for low, high in pairwise([0, *ends.tolist()]):
            values[low:high].sort()
        return _Groups(codes[order[ends - 1]], counts, values)
    order = stable_order([local, *sortable(values)])
    codes = codes[order]
    ends = np.append(np.flatnonzero(codes[1:] != codes[:-1]) + 1, n)
    return _Groups(codes[ends - 1], np.diff(ends, prepend=0), values[order])


# Distinct values


def distinct_by_group(dtype: np.dtype[Any], label: str) -> _Distinct:
    """Return what counts the distinct values of each group, nulls and NaN left out before."""
    return _DistinctTexts(dtype, label) if dtype.kind == "T" else _Distinct(dtype, label)


def count_distinct(values: Values) -> int:
    """Return the number of distinct values."""
    found = distinct_by_group(values.dtype, values.label)
    found.grow(1)
    zero = np.zeros(1, np.int64)
    if not isinstance(found, _DistinctTexts):
        for words in values.map(found.of_block):
            n = len(words[0])
            found.put((words[0], zero, *words), np.zeros(n, np.int64), zero, np.array([n]))
    else:
        for block in _distinct_texts(values):
            counts = np.array([len(block)])
            part = found.local(block, np.zeros(len(block), np.int64), counts)
            found.put(part, part[0], zero, counts)
    return int(found.finish(zero)[0])


def _distinct_texts(values: Values) -> Iterator[Array]:
    """Yield texts, most of those that are there several times only once."""
    rows = values.rows.unordered()
    if values.valid is not None or not isinstance(rows, Ordered):
        yield from values.map(np.ravel)
        return

    def one(hit: Found) -> Array:
        """Return the texts of a page: of its dictionary, or told apart by their bytes."""
        state, leaf, n = rows.state, values.leaf, len(hit.ordinals)
        key = keyed(state, leaf, hit)
        if isinstance(key, Numbered):
            there = counts_of(key.numbers, len(key.items)).nonzero()[0]
            return values.kept(key.items[there])
        if key is not None:
            return values.kept(key[local_groups([key], n).first].array())
        return values.kept(
            read_spans_of(state, [leaf], [Span(hit.group, hit.ordinals, 0)], n)[0][0]
        )

    for some in rows.map_found(one, [values.leaf]):
        if len(some):
            yield some


class _Distinct(Collected):
    """Number of distinct values of a length that is fixed.

    Values are kept as words that are equal where values are.
    """

    def __init__(self, dtype: np.dtype[Any], label: str) -> None:
        super().__init__(dtype, label)
        n_words = len(key_words(np.zeros(0, self.dtype)))
        # Drawn anew: a file cannot be made so that all its values are dealt to one share.
        drawn = np.frombuffer(os.urandom(8 * (n_words + 1)), np.uint64) | np.uint64(1)
        self._multipliers = [np.uint64(one) for one in drawn.tolist()]
        dtypes: list[np.dtype[Any]] = [_CODE, *[np.dtype(np.uint64)] * n_words]
        self._shares = Shares(dtypes, self._mixed, self._why, thin=_distinct)

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        return codes, counts, *key_words(values)

    def of_block(self, block: Array) -> list[Array]:
        """Return the words of a block of values, each value once."""
        words = key_words(block.ravel().astype(self.dtype, copy=False))
        return _distinct([np.zeros(len(words[0]), _CODE), *words])[1:]

    def _collect(self, rows: Rows) -> None:
        self._shares.part = 2 * self.part  # to find the distinct ones takes several times as much
        self._shares.put(rows)

    def _mixed(self, rows: Rows) -> Array:
        """Return numbers that are equal where rows are."""
        found: Array = rows[0].astype(np.uint64)
        for column, multiplier in zip(rows[1:], self._multipliers, strict=False):
            found = (found ^ column) * multiplier
            found ^= found >> np.uint64(32)
        found *= self._multipliers[-1]
        found ^= found >> np.uint64(29)
        return found

    def finish(self, at: Array) -> Array:
        n = len(self.arrays[0])
        found = np.zeros(n, np.int64)
        row = _CODE.itemsize + 8 * (len(self._multipliers) - 1)
        most = options.max_memory // 2 // (3 * row + _WORK)
        with self._shares:
            for share in self._shares.shares(lambda share: share.n <= most):
                found += np.bincount(_distinct(share.rows())[0], minlength=n)
        return found[at]


def _distinct(rows: Rows) -> Rows:
    """Return the rows that differ from each other, sorted."""
    codes, *words = rows
    if len(words) == 1 and (codes == codes[:1]).all():
        word = np.sort(words[0])
        word = word[np.append(True, word[1:] != word[:-1])[: len(word)]]
        return [codes[: len(word)], word]
    order = stable_order([codes.astype(np.uint64), *words])
    rows = [column[order] for column in rows]
    new = np.zeros(len(codes), bool)
    new[:1] = True
    for column in rows:
        new[1:] |= column[1:] != column[:-1]
    return [column[new] for column in rows]


class _DistinctTexts(_Distinct):
    """Number of distinct texts.

    Short ones are two words each. Long ones are two words of a hash, 120 bits of BLAKE2b with a key
    that is drawn anew: of a billion different texts two have the same in one of 10**18 cases.
    """

    def __init__(self, dtype: np.dtype[Any], label: str) -> None:
        super().__init__(_SHORT, label)
        self._key = os.urandom(32)

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        is_short, words = short_keys(values)
        if not is_short.all():
            is_long = np.flatnonzero(~is_short)
            both = zip(words, self._hashed(TextKey.of(values[is_long])), strict=True)
            words = [np.zeros(len(values), np.uint64) for _ in range(2)]
            for word, (short, long) in zip(words, both, strict=True):
                word[is_short], word[is_long] = short, long
        if _is_repetitive([codes, *words]):
            first = local_groups([codes, *words], len(codes)).first
            codes, words = codes[first], [word[first] for word in words]
        return codes, counts, *words

    def _hashed(self, texts: TextKey) -> list[Array]:
        """Return two words of each text, which short ones do not have."""
        from hashlib import blake2b  # most texts are short

        groups = local_groups([texts.numbers(TextNumbering())], len(texts))
        starts, lengths, _, text = texts[groups.first].block
        ends = (starts + lengths).tolist()
        data = text.data
        digests = b"".join(
            blake2b(data[start:stop], digest_size=16, key=self._key).digest()
            for start, stop in zip(starts.tolist(), ends, strict=True)
        )
        words = np.zeros((len(groups.counts), 2), np.uint64)
        words[groups.present] = np.frombuffer(digests, np.uint64).reshape(-1, 2)
        words[:, 1] |= np.uint64(0xFF << 56)  # where short ones have their lengths
        return [words[:, 0][groups.codes], words[:, 1][groups.codes]]


def _is_repetitive(words: Sequence[Array]) -> bool:
    """Tell whether many of the first rows are equal to others."""
    mixed = np.zeros(min(len(words[0]), _SAMPLE), np.uint64)
    for word in words:
        mixed ^= word[:_SAMPLE].view(np.uint64)
        mixed *= np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio
    return 4 * len(ascending(mixed)) < 3 * len(mixed)
