"""Quantiles and numbers of distinct values by group: what needs all values, sorted.

The values of a column are collected with the numbers of their groups, in memory while they are
few and in a temporary file from then on, and sorted once by group and value. Quantiles are then the
values at certain ranks, and distinct values those that differ from the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kist import options
from kist._kernels.ordering import sortable, stable_order
from kist.errors import DTypeError
from kist.model.tables.query.accumulators import Accumulator, Partial
from kist.model.tables.query.aggregates import Values
from kist.model.tables.query.quantiles import check_quantiles, interpolated
from kist.model.tables.query.sort import Sorter
from kist.model.tables.query.spill import Extent, Spill

__all__ = ["Collected", "Distinct", "Quantile", "count_distinct"]

Array = np.ndarray[Any, Any]

_STEP = 262_144
"""Values of a temporary file that are distributed at a time."""


class Collected(Accumulator):
    """All values, with the numbers of their groups."""

    def __init__(self, dtype: np.dtype[Any], label: str) -> None:
        super().__init__(dtype)
        self._why = f"values of {label} by group"
        self._parts: list[list[Array]] = []
        self._held = self._n = 0
        self._spill: Spill | None = None
        self._extents: list[Extent] = []
        self.arrays = [np.zeros(0, np.int64)]  # values of each group

    def local(self, values: Array, codes: Array, counts: Array) -> Partial:
        return values, codes, counts

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
        self._parts.append([codes, part[0]])
        self._n += len(codes)
        self._held += sum(array.nbytes for array in self._parts[-1])
        if 4 * self._held > options.max_memory:
            if self._spill is None:
                self._spill = Spill([np.dtype("i8"), self.dtype], self._why)
            for some in self._parts:
                self._extents.append(self._spill.put(some))
            self._parts, self._held = [], 0

    def merge(self, part: Partial, at: Array) -> None:
        raise TypeError("collected values are added by put()")

    def _batches(self) -> Iterator[list[Array]]:
        if self._spill is not None:
            for extent in self._extents:
                codes, values = self._spill.get(extent)
                # What sorting makes of an extent at once would be several times as long.
                for at in range(0, len(codes), _STEP):
                    yield [codes[at : at + _STEP], values[at : at + _STEP]]
        for codes, values in self._parts:
            yield [codes, values]

    def sorted(self) -> Iterator[tuple[Array, Array]]:
        """Yield groups and values, by group and then by value."""
        if self._spill is None:
            if self._parts:
                codes, values = (
                    np.concatenate(column) for column in zip(*self._parts, strict=True)
                )
                order = stable_order([codes.view(np.uint64), *sortable(values)])
                yield codes[order], values[order]
            return
        for codes, values, _ in Sorter([False, False], self._n, self._why).run(self._batches):
            yield codes, values


class Distinct(Collected):
    """Number of distinct values, nulls and NaN not counted."""

    def finish(self, at: Array) -> Array:
        return _count_distinct(self.sorted(), len(self.arrays[0]))[at]


def _count_distinct(batches: Iterator[tuple[Array, Array]], n: int) -> Array:
    """Return the number of distinct values of each of `n` groups, from sorted values."""
    found = np.zeros(n, np.int64)
    last: tuple[Array, Array] | None = None
    for codes, values in batches:
        # -0.0 and 0.0 are equal, and sort as equal.
        new = np.ones(len(codes), bool)
        new[1:] = (codes[1:] != codes[:-1]) | (values[1:] != values[:-1])
        if last is not None:
            new[:1] = (codes[:1] != last[0]) | (values[:1] != last[1])
        last = codes[-1:], values[-1:]
        found += np.bincount(codes[new], minlength=n)
    return found


class Quantile(Collected):
    """Value below which a part of the values lies, linear between two of them."""

    def __init__(self, dtype: np.dtype[Any], label: str, q: float) -> None:
        super().__init__(dtype, label)
        if dtype.kind not in "biuf":
            raise DTypeError(f"{label} has no quantiles: it holds {dtype}")
        (self._q,) = check_quantiles(q)
        self.result = self.dtype if dtype.kind == "f" else np.dtype("f8")

    def finish(self, at: Array) -> Array:
        counts = self.arrays[0]
        ends = np.cumsum(counts)
        place = self._q * np.maximum(counts - 1, 0)
        low = np.floor(place).astype(np.int64)
        start = ends - counts
        # The last value too: it is NaN where there is any NaN.
        ranks = np.concatenate([start + low, start + np.minimum(low + 1, counts - 1), ends - 1])
        there = np.tile(counts > 0, 3)
        wanted, back = np.unique(ranks[there], return_inverse=True)
        picked = np.full(len(ranks), np.nan, self.result)
        picked[there] = _at_ranks((values for _, values in self.sorted()), wanted, self.result)[
            back
        ]
        first, second, last = picked.reshape(3, -1)
        found = interpolated(first, second, place - low)
        found[np.isnan(last)] = np.nan
        return found.astype(self.result)[at]


def _at_ranks(batches: Iterator[Array], ranks: Array, dtype: np.dtype[Any]) -> Array:
    """Return the values at some ranks, ascending, of values that come in order."""
    out = np.zeros(len(ranks), dtype)
    at = 0
    for values in batches:
        a, b = ranks.searchsorted((at, at + len(values)))
        out[a:b] = values[ranks[a:b] - at]
        at += len(values)
    return out


class _Gathered(Collected):
    """All values of one column."""

    def gather(self, values: Values) -> int:
        """Take all values; return their number."""
        self.grow(1)
        for block in values.map(np.ravel):
            block = block.astype(self.dtype, copy=False)
            codes = np.zeros(len(block), np.int64)
            self.put((block,), codes, codes[:1], np.array([len(block)]))
        return self._n

    def finish(self, at: Array) -> Array:
        found: Array = self.arrays[0][at]
        return found


def count_distinct(values: Values) -> int:
    """Return the number of distinct values."""
    gathered = _Gathered(values.dtype, values.label)
    gathered.gather(values)
    return _count_distinct(gathered.sorted(), 1)[0].item()  # type: ignore[no-any-return]
