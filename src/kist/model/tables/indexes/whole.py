"""All rows in the order of an index: its runs merged, some at a time.

The keys are cut into parts of neighbouring ones, which begin and end at the same key in every run.
Of a part the entries of all runs, and the rows that no run answers for, are merged; equal keys stay
in the order of their rows. So what is held at a time is bounded, and no value of a row is read but
of rows that are newer than the index.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist import options
from kist._kernels.ordering import stable_order
from kist._kernels.sets import ascending
from kist.errors import CorruptDataError, DamageWarning
from kist.indexes.keys import joined, key_number, search_key, words_of
from kist.indexes.runs import BLOCK
from kist.model.tables.indexes.index import Index, covered_groups
from kist.model.tables.indexes.order import index_in_order
from kist.model.tables.stored.read import Span, as_ordinals, group_spans, read_leaves
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.model.tables.query.operands import Key

__all__ = ["index_for_order", "order_by_index"]

Array = np.ndarray[Any, Any]

_PART: Final = 1 << 19
"""Entries of a part: 4 MiB of keys."""
_ROW_ID: Final = 5
"""Bytes that what is known of deleted rows takes for each row id, and a position of the order."""
_PLACE: Final = 4
_WORK: Final = 40
"""Bytes an entry that merging takes: its key, row, position and place among the merged ones."""


def order_by_index(
    state: TableState, keys: Sequence[Key], start: int, stop: int
) -> tuple[Array, Index] | None:
    """Return the positions of the rows of some ranks in some order, and the index that tells.

    Unsigned integers. None where there is no such index, or it does not pay.
    """
    found = index_in_order(state, keys)
    if found is None:
        return None
    try:
        merge = Merge(state, *found)
        order = merge.order(start, stop) if merge.is_worth_it else None
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
        warnings.warn(
            f"{state.path!r}: an index is damaged, rows are sorted instead; drop it and create "
            f"it again ({error})",
            DamageWarning,
            stacklevel=2,
        )
        return None
    return None if order is None else (order, found[0])


def index_for_order(state: TableState, keys: Sequence[Key]) -> str | None:
    """Return the name of the index that all rows would be sorted by, None for none."""
    found = index_in_order(state, keys)
    if found is None or not Merge(state, *found).is_worth_it:
        return None
    return found[0].record.name


class Merge:
    """All rows of a table in the order of an index.

    Attributes
    ----------
    used : Index
        The index.
    is_worth_it : bool
        Whether it knows most rows, and no part of it is too long for memory.
    """

    def __init__(self, state: TableState, used: Index, descending: bool) -> None:
        self._state, self.used, self._descending = state, used, descending
        layout = state.layout
        self._covered = covered_groups(used, layout)
        sizes = layout.starts[1:] - layout.starts[:-1]
        n_left = int(sizes[~self._covered].sum())
        self.is_worth_it = 2 * n_left <= state.n_rows and n_left * _WORK <= options.max_memory
        span = int(layout.ends[-1] - layout.firsts[0]) if layout.n_groups else 0
        self.is_worth_it &= span * _ROW_ID + state.n_rows * _PLACE <= options.max_memory
        if self.is_worth_it:
            self._deleted = self._dead_rows()
            # Then a row id is a position, but for where the first one is.
            self._is_dense = (
                self._deleted is None
                and bool(self._covered.all())
                and np.array_equal(layout.firsts - layout.firsts[:1], layout.starts[:-1])
            )
            self._keys, self._rows = self._scanned()
            self._cuts = self._cut()
            longest = int(np.diff(self._cuts.sum(axis=1)).max(initial=0))
            self.is_worth_it = longest * _WORK <= options.max_memory

    def order(self, start: int, stop: int) -> Array:
        """Return the positions of the rows of some ranks.

        Raises
        ------
        CorruptDataError
            The index is damaged, or names other rows than there are.
        """
        out = np.empty(stop - start, np.min_scalar_type(max(self._state.n_rows, 1)))
        at = 0
        for part, turned in self._parts():
            places = self._part(part, turned)
            some = places[max(start - at, 0) : max(stop - at, 0)]
            if len(some):
                low = max(at - start, 0)
                out[low : low + len(some)] = some
            at += len(places)
            if at >= stop:
                return out
        raise CorruptDataError(f"it names {at:,} rows, and there are {self._state.n_rows:,}")

    def _parts(self) -> Iterator[tuple[int, bool]]:
        """Yield the parts in their order, and whether each is turned round."""
        n = len(self._cuts) - 1
        # What is missing is last either way, and behind it nulls, which have the first keys.
        start, n_there = int(self._has_nulls), n - (self._missing is not None)
        if self._descending:
            yield from ((part, True) for part in range(n_there - 1, start - 1, -1))
            yield from ((part, False) for part in range(n_there, n))
        else:
            yield from ((part, False) for part in range(start, n))
        yield from ((part, False) for part in range(start))

    @property
    def _has_nulls(self) -> bool:
        """Whether the first part is that of nulls."""
        return self.used.parts[0].valid is not None

    @property
    def _missing(self) -> int | None:
        """The first key of the last part, if that is of what is missing."""
        return self.used.parts[0].missing_value if len(self.used.parts) == 1 else None

    def _scanned(self) -> tuple[Array, Array]:
        """Return keys and row ids of the rows that no run answers for, sorted."""
        state = self._state
        spans, n = [], 0
        for place in np.flatnonzero(~self._covered).tolist():
            span = group_spans(state, state.layout.group(place))
            spans.append(Span(span.group, span.ordinals, n))
            n += span.n
        rows = np.zeros(n, np.int64)
        for span in spans:
            rows[span.at : span.at + span.n] = as_ordinals(span.ordinals) + span.group.first
        words = []
        for leaf in self.used.leaves:
            values = np.empty(n, leaf.dtype)
            if n:
                read_leaves(state, spans, [leaf], [values])
            words += words_of(values)
        order = stable_order(words)
        return joined([word[order] for word in words]), rows[order]

    def _cut(self) -> Array:
        """Return the ranks at which each part begins, in each run and among the scanned rows."""
        view, runs = self._state.view, [run for run in self.used.runs if run.n]
        n_words = self.used.record.n_words
        fences = [run.fences(view) for run in runs]
        every = np.sort(np.concatenate([*fences, self._keys[::BLOCK]]))
        edges = ascending(every[:: max(1, _PART // BLOCK)][1:])
        numbers = [key_number(edge, n_words) for edge in edges]
        first, last = self.used.parts[0].first_value, self._missing
        if self._has_nulls:
            numbers = [first, *(n for n in numbers if n > first)]
        if last is not None:
            numbers = [*(n for n in numbers if n < last), last]
        cuts = np.zeros((len(numbers) + 2, len(runs) + 1), np.int64)
        for column, run in enumerate(runs):
            blocks: dict[int, Array] = {}
            cuts[1:-1, column] = [run.rank(view, number, "left", blocks) for number in numbers]
            cuts[-1, column] = run.n
        found = [search_key(number, n_words) for number in numbers]
        cuts[1:-1, -1] = self._keys.searchsorted(np.array(found, self._keys.dtype))
        cuts[-1, -1] = len(self._keys)
        return cuts

    def _part(self, part: int, turned: bool) -> Array:
        """Return the positions of the rows of one part."""
        view = self._state.view
        keys, places = [], []
        spans = np.stack((self._cuts[part], self._cuts[part + 1]), axis=1)
        nulls = part < self._has_nulls
        several = turned or nulls or np.count_nonzero(spans[:, 1] > spans[:, 0]) > 1
        runs = [run for run in self.used.runs if run.n]
        for run, (low, high) in zip(runs, spans.tolist(), strict=False):
            if low < high:
                found, there = self._positions(run.rows(view, low, high))
                places.append(found)
                if several:
                    own = run.keys(view, low, high)
                    keys.append(own if there is None else own[there])
        low, high = spans[-1].tolist()
        if low < high:
            places.append(self._positions(self._rows[low:high], scanned=True)[0])
            keys.append(self._keys[low:high])
        if not places:
            return np.zeros(0, np.int64)
        if not several:
            return places[0]
        if nulls:
            return np.sort(np.concatenate(places))  # whatever stands under them
        if len(places) == 1:
            return _turned(keys[0], places[0])
        return _merged(np.concatenate(keys), np.concatenate(places), turned)

    def _positions(self, rows: Array, *, scanned: bool = False) -> tuple[Array, Array | None]:
        """Return the positions of the rows that are there and are this way's to name.

        Beside them which of the rows these are, None for all.
        """
        layout = self._state.layout
        if self._is_dense:
            places = rows - layout.firsts[0]
            low, high = int(places.min(initial=0)), int(places.max(initial=0))
            if low < 0 or high >= self._state.n_rows:
                raise CorruptDataError("it names rows that the table never had")
            return places, None
        place = layout.firsts.searchsorted(rows, "right") - 1
        there = (place >= 0) & (rows < layout.ends[place])
        if not scanned:
            there &= self._covered[place]
        places = layout.starts[:-1][place] + (rows - layout.firsts[place])
        if self._deleted is not None:
            # Behind the last row id there is none, and before the first one none is asked for.
            dead, before = self._deleted
            at = np.clip(rows - layout.firsts[0], 0, len(dead) - 1)
            there &= ~dead[at]
            places -= before[at]
        return (places, None) if there.all() else (places[there], there)

    def _dead_rows(self) -> tuple[Array, Array] | None:
        """Return by row id which rows are deleted, and how many of a group before each.

        Both from the first row id of the table on; None where no row is deleted.
        """
        layout = self._state.layout
        if layout.n_live == int((layout.ends - layout.firsts).sum()):
            return None
        first = int(layout.firsts[0])
        dead = np.zeros(int(layout.ends[-1]) - first, bool)
        before = np.zeros(len(dead), np.uint32)
        for group in layout.groups:
            own = self._state.dead(group)
            if own is not None:
                at = slice(group.first - first, group.first - first + group.n_rows)
                dead[at] = own
                np.cumsum(own, out=before[at])
        return dead, before


def _merged(keys: Array, places: Array, turned: bool) -> Array:
    """Return positions by their keys, equal ones ascending; `turned` the largest key first."""
    order = np.argsort(keys, kind="stable")  # merges what is sorted in stretches
    keys, places = keys[order], places[order]
    new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    if bool((~new[1:] & (places[1:] < places[:-1])).any()):
        places = places[np.lexsort((places, np.cumsum(new)))]
    return _turned(keys, places) if turned else places


def _turned(keys: Array, places: Array) -> Array:
    """Return positions by their keys, which ascend, from behind; equal ones as they are."""
    new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    if len(starts) == len(keys):
        return places[::-1]
    sizes = np.diff(starts, append=len(keys))[::-1]
    shift = starts[::-1] - (np.cumsum(sizes) - sizes)
    found: Array = places[np.arange(len(keys)) + np.repeat(shift, sizes)]
    return found
