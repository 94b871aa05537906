"""Which rows a selection means, and in which order: what its steps make of the whole table.

`Ordered` rows stand in the order of the table and are found when they are read. `Picked` rows are
positions in any order. `Sorted` rows are ordered ones to be sorted: how that is done depends on
what is read of them (`sort`). A step makes one of another; those that can wait do: a condition
after a sort is looked at before it, two sorts become one, and a limit after a sort is part
of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from kist import options
from kist._kernels import records
from kist._kernels.cells import empty_values
from kist._kernels.ordering import sortable, stable_order
from kist.engine.parallel import run
from kist.format.schema import Leaf
from kist.model.tables.query.find import (
    Found,
    count_rows,
    find_rows,
    narrow,
    positions_of,
    spans_of,
)
from kist.model.tables.query.operands import Key, all_leaves, ranked
from kist.model.tables.stored.fields import Fields
from kist.model.tables.stored.read import (
    Span,
    as_ordinals,
    as_run,
    bring_near,
    plan,
    read_leaves,
)
from kist.model.tables.stored.state import TableState
from kist.model.tables.stored.weight import LooseBytes
from kist.query import Bound

__all__ = [
    "Ordered",
    "Part",
    "Picked",
    "RowSet",
    "Sorted",
    "is_small",
    "joined",
    "read_at",
    "read_spans_of",
    "resized",
    "span_batches",
]

Array = np.ndarray[Any, Any]
Part = tuple[list[Array], int]
"""One flat array per leaf, and the number of rows."""
T = TypeVar("T")

SMALL_SHARE = 8
"""Where at most one row in so many is meant, the rows of several groups are read together."""

_LEAST_ROWS = 65_536
"""Picked rows that are read at a time, however wide they are."""


class RowSet(ABC):
    """Rows of a table as one view shows it.

    Attributes
    ----------
    state : TableState
        The table.
    """

    state: TableState

    @abstractmethod
    def count(self, *, keep: bool = True) -> int:
        """Return the number of rows; `keep` what is found, because they are wanted next."""

    @abstractmethod
    def positions(self) -> Array:
        """Return the positions of the rows in the table, int64, in their order."""

    @abstractmethod
    def where(self, bound: Bound) -> RowSet:
        """Return the rows where a condition holds."""

    @abstractmethod
    def sort(self, keys: Sequence[Key]) -> RowSet:
        """Return the rows sorted by some keys; equal ones stay in their order."""

    @abstractmethod
    def cut(self, start: int, stop: int | None) -> RowSet:
        """Return the rows from one rank to another, both counted from the first row."""

    @abstractmethod
    def pick(self, ranks: Array) -> RowSet:
        """Return the rows of some ranks, int64, ascending."""

    @abstractmethod
    def parts(self, leaves: Sequence[Leaf]) -> Iterator[Part]:
        """Yield the values of all rows in their order, some at a time."""

    @abstractmethod
    def map(
        self, leaves: Sequence[Leaf], work: Callable[[list[Array], int], T], *, ordered: bool = True
    ) -> Iterator[T]:
        """Yield what a function makes of the values of some rows at a time.

        Parameters
        ----------
        work : callable
            Takes one flat array per leaf and the number of rows; may run on several threads.
        ordered : bool
            Whether the order of the rows matters.
        """

    def unordered(self) -> RowSet:
        """Return the same rows, in whichever order costs least."""
        return self

    def columns(self, leaves: Sequence[Leaf]) -> Part:
        """Return the values of all rows."""
        n = self.count()
        outs = empty(leaves, n)
        at = 0
        for columns, some in self.parts(leaves):
            for leaf, out, column in zip(leaves, outs, columns, strict=True):
                out[at * leaf.n_values : (at + some) * leaf.n_values] = column
            at += some
        return outs, n


def joined(fields: Fields, columns: Sequence[Array], n: int) -> Array:
    """Return columns of some rows as the array that is read: structured unless it is one column."""
    if not fields.is_structured:
        return columns[0].reshape(n, *fields.item_shape)
    out = fields.empty(n)
    for start in range(0, n, records.BLOCK_ROWS):
        stop = min(start + records.BLOCK_ROWS, n)
        some = [
            column[start * leaf.n_values : stop * leaf.n_values]
            for column, leaf in zip(columns, fields.leaves, strict=True)
        ]
        records.join(some, fields.leaves, out[start:stop])
    return out


def resized(parts: Iterator[Part], leaves: Sequence[Leaf], size: int) -> Iterator[Part]:
    """Cut the values of rows into parts of `size` rows, the last one shorter."""
    held: list[Part] = []
    n_held = 0
    for columns, n in parts:
        at = 0
        while n - at >= size - n_held:
            take = size - n_held
            held.append((_slices(leaves, columns, at, at + take), take))
            yield _together(held)
            held, n_held, at = [], 0, at + take
        if at < n:
            held.append((_slices(leaves, columns, at, n), n - at))
            n_held += n - at
    if held:
        yield _together(held)


def _slices(leaves: Sequence[Leaf], columns: Sequence[Array], start: int, stop: int) -> list[Array]:
    return [
        column[start * leaf.n_values : stop * leaf.n_values]
        for leaf, column in zip(leaves, columns, strict=True)
    ]


def _together(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    every = zip(*(columns for columns, _ in parts), strict=True)
    whole = [np.concatenate(column, dtype=column[0].dtype) for column in every]
    return whole, sum(n for _, n in parts)


def span_batches(
    found: Iterator[list[Found]], size: int, weight: LooseBytes | None
) -> Iterator[tuple[list[Span], int]]:
    """Cut what is found into runs of `size` rows, or of fewer where their weight is enough."""
    spans: list[Span] = []
    n = 0
    for some in found:
        for hit in some:
            low = 0
            while low < len(hit.ordinals):
                take = min(len(hit.ordinals) - low, size - n)
                spans.append(Span(hit.group, hit.ordinals[low : low + take], n))
                n, low = n + take, low + take
                heavy = weight is not None and weight.add(hit.group, take)
                if n == size or heavy:
                    yield spans, n
                    spans, n = [], 0
                    if weight is not None:
                        weight.clear()
    if spans:
        yield spans, n


def empty(leaves: Sequence[Leaf], n: int) -> list[Array]:
    """Return a new flat array for each leaf."""
    # Not np.empty, which makes 'S1' of 'S0'.
    return [empty_values(n * leaf.n_values, leaf.dtype) for leaf in leaves]


def read_spans_of(state: TableState, leaves: Sequence[Leaf], spans: Sequence[Span], n: int) -> Part:
    """Return the values of the rows of some spans."""
    outs = empty(leaves, n)
    if n and leaves:
        read_leaves(state, spans, leaves, outs)
    return outs, n


def read_at(state: TableState, leaves: Sequence[Leaf], positions: Array) -> Part:
    """Return the values of rows at some positions, each at most once, in any order."""
    n = len(positions)
    if n < 2 or bool((positions[1:] > positions[:-1]).all()):
        return read_spans_of(state, leaves, plan(state, positions), n)
    order = np.argsort(positions)
    columns, _ = read_spans_of(state, leaves, plan(state, positions[order]), n)
    back = np.empty_like(order)
    back[order] = np.arange(n)
    return taken(leaves, columns, back), n


def taken(leaves: Sequence[Leaf], columns: Sequence[Array], rows: Array) -> list[Array]:
    """Return some rows of flat columns."""

    def of(leaf: Leaf, column: Array) -> Array:
        if leaf.n_values == 1:
            # Twice as fast as indexing, for what is moved as words.
            return column.take(rows) if column.dtype.kind in "biufcmM" else column[rows]
        if not leaf.n_values:
            return column  # of no items: the count of rows cannot be told from it
        return column.reshape(-1, leaf.n_values)[rows].reshape(-1)

    return [of(leaf, column) for leaf, column in zip(leaves, columns, strict=True)]


def order_of(
    keys: Sequence[Key],
    leaves: Sequence[Leaf],
    columns: Sequence[Array],
    n: int,
    known: Mapping[int, Sequence[Array]] | None = None,
) -> Array:
    """Return the order of rows by some keys.

    Parameters
    ----------
    leaves, columns
        What is read of `n` rows.
    known : mapping of int to sequence of ndarray, optional
        Words of some keys, by the place of the key; these are not read.
    """
    known = known or {}
    by_id = {leaf.id: column for leaf, column in zip(leaves, columns, strict=True)}
    words: list[Array] = []
    for place, key in enumerate(keys):
        if place in known:
            words += known[place]
        else:
            words += sortable(key.operand.of(by_id, n), descending=key.descending)
    return stable_order(words)


class Ordered(RowSet):
    """Rows in the order of the table.

    Parameters
    ----------
    bounds : sequence of Bound
        Conditions that hold for all of them.
    found : callable, optional
        Gives the rows, group by group, unless all rows of the table are meant; its argument says
        how many rows are enough.
    """

    def __init__(
        self,
        state: TableState,
        bounds: Sequence[Bound] = (),
        found: Callable[[int | None], Iterator[list[Found]]] | None = None,
    ) -> None:
        self.state = state
        self._bounds = tuple(bounds)
        self._source = found
        self._known: list[list[Found]] | None = None

    def found(self, limit: int | None = None) -> Iterator[list[Found]]:
        """Find the rows; stop when there are `limit`, or a few more."""
        if self._known is not None:
            return iter(self._known)
        if self._source is None:
            return find_rows(self.state, self._bounds, limit)
        return narrow(self.state, self._source(None if self._bounds else limit), self._bounds)

    def all_found(self) -> list[list[Found]]:
        """Return the rows; they are found once."""
        if self._known is None:
            self._known = list(self.found())
        return self._known

    def spans(self, limit: int | None = None) -> tuple[list[Span], int]:
        """Return the rows one after the other, and their number."""
        return spans_of(self.found(limit))

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows of the table."""
        return not self._bounds and self._source is None

    def count(self, *, keep: bool = True) -> int:
        if self.is_whole:
            return self.state.n_rows
        if not keep and self._known is None and self._source is None:
            return count_rows(self.state, self._bounds)
        return sum(len(hit.ordinals) for some in self.all_found() for hit in some)

    def positions(self) -> Array:
        if self.is_whole:
            return np.arange(self.state.n_rows)
        parts = [positions_of(self.state, hit) for some in self.all_found() for hit in some]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def where(self, bound: Bound) -> Ordered:
        return Ordered(self.state, (*self._bounds, bound), self._source)

    def sort(self, keys: Sequence[Key]) -> Sorted:
        return Sorted(self, ranked(self.state, keys))

    def cut(self, start: int, stop: int | None) -> Ordered:
        def found(limit: int | None) -> Iterator[list[Found]]:
            enough = stop if limit is None else start + limit
            if stop is not None and enough is not None:
                enough = min(enough, stop)
            rank = 0
            for some in self.found(enough):
                kept = []
                for hit in some:
                    n = len(hit.ordinals)
                    low = max(start - rank, 0)
                    high = n if stop is None else min(stop - rank, n)
                    if low < high:
                        kept.append(hit._replace(ordinals=_run(hit.ordinals[low:high])))
                    rank += n
                if kept:
                    yield kept
                if stop is not None and rank >= stop:
                    return

        return Ordered(self.state, (), found)

    def pick(self, ranks: Array) -> Ordered:
        def found(limit: int | None) -> Iterator[list[Found]]:
            low = 0
            for some in self.found():
                kept = []
                for hit in some:
                    high = low + len(hit.ordinals)
                    a, b = ranks.searchsorted((low, high))
                    if a < b:
                        chosen = as_ordinals(hit.ordinals)[ranks[a:b] - low]
                        kept.append(hit._replace(ordinals=as_run(chosen)))
                    low = high
                if kept:
                    yield kept

        return Ordered(self.state, (), found)

    def parts(self, leaves: Sequence[Leaf]) -> Iterator[Part]:
        for some in self.found():
            spans, n = spans_of([some])
            yield read_spans_of(self.state, leaves, spans, n)

    def blocks(self, leaves: Sequence[Leaf], size: int) -> Iterator[Part]:
        """Yield the values of all rows, `size` rows at a time, or fewer where strings are long."""
        for spans, n in span_batches(self.found(), size, LooseBytes(self.state, leaves)):
            yield read_spans_of(self.state, leaves, spans, n)

    def columns(self, leaves: Sequence[Leaf]) -> Part:
        spans, n = spans_of(self.all_found())
        return read_spans_of(self.state, leaves, spans, n)

    def map(
        self, leaves: Sequence[Leaf], work: Callable[[list[Array], int], T], *, ordered: bool = True
    ) -> Iterator[T]:
        def one(hit: Found) -> T:
            n = len(hit.ordinals)
            return work(*read_spans_of(self.state, leaves, [Span(hit.group, hit.ordinals, 0)], n))

        for some in self.found():
            self._bring_near(some, leaves)
            for few, hits in groupby(some, is_small):
                if not few or not leaves:
                    yield from run([partial(one, hit) for hit in hits])
                    continue
                # Reading the pages of one column together beats threads, and the work is small.
                spans, n = spans_of([list(hits)])
                columns, _ = read_spans_of(self.state, leaves, spans, n)
                for span in spans:
                    part = _slices(leaves, columns, span.at, span.at + span.n)
                    yield work(part, span.n)

    def map_found(self, one: Callable[[Found], T], leaves: Sequence[Leaf] = ()) -> Iterator[T]:
        """Yield what a function makes of the rows of each group; it may run on several threads.

        The `leaves` that it reads, where it reads any, come near together for several groups.
        """
        for some in self.found():
            self._bring_near(some, leaves)
            yield from run([partial(one, hit) for hit in some])

    def map_tasks(
        self,
        tasks: Callable[[list[Found]], Sequence[Callable[[], T]]],
        at_once: Callable[[], int],
    ) -> Iterator[T]:
        """Yield what tasks return that are made for the rows of some groups at a time.

        They may run on several threads. What `at_once` of them return stands in memory together;
        it is asked before each run.
        """
        for some in self.found():
            every = tasks(some)
            start = 0
            while start < len(every):
                stop = start + at_once()
                yield from run(every[start:stop])
                start = stop

    def _bring_near(self, some: Sequence[Found], leaves: Sequence[Leaf]) -> None:
        if leaves and self.state.view.reader.backend.remote:
            bring_near(self.state, [Span(hit.group, hit.ordinals, 0) for hit in some], leaves)


def is_small(hit: Found) -> bool:
    """Tell whether few rows of a group are meant."""
    return len(hit.ordinals) * SMALL_SHARE <= hit.group.n_rows


def _run(ordinals: range | Array) -> range | Array:
    return ordinals if isinstance(ordinals, range) else as_run(ordinals)


class Picked(RowSet):
    """Rows at some positions, each at most once, in any order."""

    def __init__(self, state: TableState, positions: Array) -> None:
        self.state = state
        self._positions = positions

    def count(self, *, keep: bool = True) -> int:
        return len(self._positions)

    def positions(self) -> Array:
        return self._positions

    def where(self, bound: Bound) -> Picked:
        facts = self.state.facts
        names = facts.needs(bound.columns)
        masks = [np.zeros(0, bool)]
        for arrays, n in self.parts([facts.by_name[name] for name in names]):
            columns = dict(zip(names, arrays, strict=True))
            masks.append(bound.evaluate(columns, n, facts.valid(bound.columns, columns)))
        return Picked(self.state, self._positions[np.concatenate(masks)])

    def sort(self, keys: Sequence[Key]) -> Picked:
        keys = ranked(self.state, keys)
        leaves = all_leaves(key.operand for key in keys)
        columns, n = self.columns(leaves)
        return Picked(self.state, self._positions[order_of(keys, leaves, columns, n)])

    def cut(self, start: int, stop: int | None) -> Picked:
        return Picked(self.state, self._positions[start:stop])

    def pick(self, ranks: Array) -> Picked:
        return Picked(self.state, self._positions[ranks])

    def parts(self, leaves: Sequence[Leaf]) -> Iterator[Part]:
        width = sum(leaf.memory for leaf in leaves) or 1
        # Each step may touch every page, so few large steps.
        step = max(_LEAST_ROWS, options.max_memory // (2 * width))
        for start in range(0, len(self._positions), step):
            yield read_at(self.state, leaves, self._positions[start : start + step])

    def columns(self, leaves: Sequence[Leaf]) -> Part:
        return read_at(self.state, leaves, self._positions)

    def map(
        self, leaves: Sequence[Leaf], work: Callable[[list[Array], int], T], *, ordered: bool = True
    ) -> Iterator[T]:
        if not ordered:
            yield from self.unordered().map(leaves, work)
            return
        for columns, n in self.parts(leaves):
            yield work(columns, n)

    def unordered(self) -> Ordered:
        ascending = np.sort(self._positions)
        return Ordered(self.state).pick(ascending)


class Sorted(RowSet):
    """Rows sorted by some keys, or those of some ranks among them."""

    def __init__(
        self, base: Ordered, keys: Sequence[Key], start: int = 0, stop: int | None = None
    ) -> None:
        self.state = base.state
        self.base = base
        self.keys = tuple(keys)
        self.start, self.stop = start, stop
        self._known: Picked | None = None

    @property
    def _is_whole(self) -> bool:
        return self.start == 0 and self.stop is None

    def count(self, *, keep: bool = True) -> int:
        n = self.base.count(keep=keep)
        return max(0, (n if self.stop is None else min(n, self.stop)) - self.start)

    def positions(self) -> Array:
        return self.picked().positions()

    def picked(self) -> Picked:
        """Return the rows at their positions: 8 bytes a row, whatever the limit of memory."""
        if self._known is None:
            from kist.model.tables.query.sort import sorted_positions

            found = sorted_positions(self.base, self.keys, self.start, self.stop)
            self._known = Picked(self.state, found)
        return self._known

    def where(self, bound: Bound) -> RowSet:
        if self._is_whole:
            return Sorted(self.base.where(bound), self.keys)
        return self.picked().where(bound)

    def unordered(self) -> Ordered:
        return self.base if self._is_whole else self.picked().unordered()

    def sort(self, keys: Sequence[Key]) -> RowSet:
        if self._is_whole:
            return Sorted(self.base, (*ranked(self.state, keys), *self.keys))
        return self.picked().sort(keys)

    def cut(self, start: int, stop: int | None) -> Sorted:
        ends = (self.stop, None if stop is None else self.start + stop)
        known = [end for end in ends if end is not None]
        return Sorted(self.base, self.keys, self.start + start, min(known) if known else None)

    def pick(self, ranks: Array) -> Picked:
        return self.picked().pick(ranks)

    def parts(self, leaves: Sequence[Leaf]) -> Iterator[Part]:
        from kist.model.tables.query.sort import sorted_parts

        if self._known is not None:
            return self._known.parts(leaves)
        return sorted_parts(self.base, self.keys, leaves, self.start, self.stop)

    def map(
        self, leaves: Sequence[Leaf], work: Callable[[list[Array], int], T], *, ordered: bool = True
    ) -> Iterator[T]:
        if not ordered:
            yield from self.unordered().map(leaves, work)
            return
        for columns, n in self.parts(leaves):
            yield work(columns, n)
