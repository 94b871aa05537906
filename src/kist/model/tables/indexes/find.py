"""Finding rows by an index: which rows a condition may mean, before any value is read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError, DamageWarning
from kist.indexes.runs import Run, ranks_of
from kist.model.tables.indexes.index import Index, covered_groups, indexes_of
from kist.model.tables.stored.layout import Layout
from kist.model.tables.stored.state import TableState
from kist.query import Bound
from kist.query.ranges import MOST_RANGES, KeyRanges, both

__all__ = ["Hits", "find_hits"]

Array = np.ndarray[Any, Any]

WORTH: Final = 8
"""Rows named by an index are taken one by one; above one in so many of those that would be read
without it, it is quicker to read these."""


class Hits(NamedTuple):
    """What an index says about a condition.

    Attributes
    ----------
    used : Index
        Which index.
    covered : ndarray of bool, shape (n_groups,)
        Groups that it answers for; the others are scanned.
    is_all : bool
        Whether these are all groups.
    by_group : mapping of int to ndarray of int64
        Place of a covered group -> ordinals of rows that may match, ascending; deleted ones too.
    sure : frozenset of int
        Which parts of the condition need not be evaluated for these rows.
    n : int
        Number of rows.
    ranks : list of (Run, list of (int, int))
        Entries of each run that were read.
    """

    used: Index
    covered: Array
    is_all: bool
    by_group: Mapping[int, Array]
    sure: frozenset[int]
    n: int
    ranks: list[tuple[Run, list[tuple[int, int]]]]


class _Plan(NamedTuple):
    """Ranges of the keys of an index, and the parts of the condition that they stand for."""

    used: Index
    ranges: Sequence[tuple[int, int]]
    sure: frozenset[int]


def find_hits(state: TableState, parts: Sequence[Bound]) -> Hits | None:
    """Return what the best index says about the parts of a condition, which all must hold.

    None where no index helps. One that is damaged does not: a warning says so.
    """
    indexes = indexes_of(state) if parts else ()
    if not any(index.runs for index in indexes):
        return None
    try:
        return _best_hits(state, indexes, parts)
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
        warnings.warn(
            f"{state.path!r}: an index is damaged, rows are scanned instead; drop it and create "
            f"it again ({error})",
            DamageWarning,
            stacklevel=2,
        )
        return None


def _best_hits(state: TableState, indexes: Sequence[Index], parts: Sequence[Bound]) -> Hits | None:
    best: tuple[_Plan, list[list[tuple[int, int]]]] | None = None
    least = state.n_rows // WORTH
    ranges = _ranges(parts)
    for index in indexes:
        plan = _plan(index, ranges) if index.runs else None
        if plan is None:
            continue
        ranks = ranks_of(state.view, index.runs, plan.ranges)
        n = sum(stop - start for some in ranks for start, stop in some)
        if n <= least:
            best, least = (plan, ranks), n
    if best is None:
        return None
    return _hits(state, *best, least)


def _ranges(parts: Sequence[Bound]) -> dict[str, list[tuple[int, KeyRanges]]]:
    """Return per column which parts of the condition are ranges of its keys."""
    found: dict[str, list[tuple[int, KeyRanges]]] = {}
    for place, part in enumerate(parts):
        ranges = part.key_ranges
        if ranges is not None:
            found.setdefault(part.columns[0], []).append((place, ranges))
    return found


def _plan(index: Index, ranges: Mapping[str, list[tuple[int, KeyRanges]]]) -> _Plan | None:
    """Return the ranges of an index: equality in its first columns, anything in the next."""
    if index.parts[0].bound_name not in ranges:
        return None
    sure: set[int] = set()
    prefixes: list[tuple[int, int]] = [(0, 0)]
    n_words = index.record.n_words
    left = n_words
    for one in index.parts:
        given = ranges.get(one.bound_name)
        if given is None:
            break
        found = given[0][1]
        for _, more in given[1:]:
            found = both(found, more)
        if len(prefixes) * len(found.ranges) > MOST_RANGES:
            break
        # Each part is exact or not by itself; together they are if all of them are.
        sure |= {place for place, part in given if part.exact}
        words, first = 64 * one.n_words, one.first_value
        left -= one.n_words
        own = [(0, first - 1)] if found.nulls and first else []
        own += [(first + low, first + high) for low, high in found.ranges]
        prefixes = [
            (head << words | low, head << words | high)
            for (head, _), (low, high) in product(prefixes, own)
        ]
        if not (found.are_points and one.is_exact):
            break
    if left == n_words:
        return None
    rest = 64 * left
    full = [(low << rest, (high << rest) | ((1 << rest) - 1)) for low, high in prefixes]
    return _Plan(index, full, frozenset(sure))


def _hits(state: TableState, plan: _Plan, ranks: list[list[tuple[int, int]]], n: int) -> Hits:
    layout = state.layout
    parts = [
        run.rows(state.view, start, stop)
        for run, some in zip(plan.used.runs, ranks, strict=True)
        for start, stop in some
    ]
    covered, is_all = state.once(f"covered {plan.used.number}", lambda: _covered(plan.used, layout))
    read = list(zip(plan.used.runs, ranks, strict=True))
    if n == 1:
        by_group = _of_one(layout, covered, int(parts[0][0]))
        return Hits(plan.used, covered, is_all, by_group, plan.sure, n, read)
    rows = np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    place = layout.firsts.searchsorted(rows, "right") - 1
    # Row ids between two groups are of rows that were deleted.
    there = (place >= 0) & (rows < layout.ends[place])
    there &= covered[place]
    rows, place = rows[there], place[there]
    # Not np.diff with ends put to it, which takes longer than all the rest of a look-up of one row.
    edges = [0, *(np.flatnonzero(place[1:] != place[:-1]) + 1).tolist(), len(place)]
    by_group = {
        int(place[low]): rows[low:high] - layout.firsts[place[low]]
        for low, high in pairwise(edges)
        if low < high
    }
    return Hits(plan.used, covered, is_all, by_group, plan.sure, n, read)


def _covered(index: Index, layout: Layout) -> tuple[Array, bool]:
    """Return which groups an index answers for, and whether it does for all."""
    covered = covered_groups(index, layout)
    covered.flags.writeable = False
    return covered, bool(covered.all())


def _of_one(layout: Layout, covered: Array, row: int) -> dict[int, Array]:
    """Return where a single row that an index names is, nothing where it was deleted."""
    place = int(layout.firsts.searchsorted(row, "right")) - 1
    # Row ids between two groups are of rows that were deleted.
    if place < 0 or row >= layout.ends[place] or not covered[place]:
        return {}
    return {place: np.array([row - int(layout.firsts[place])])}
