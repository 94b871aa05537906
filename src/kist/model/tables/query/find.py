"""Finding the rows of a condition: pages by their statistics, then values, conjunct by conjunct.

Statistics decide first, for all groups at once, from the records of the condition's columns
alone: where no row can match nothing is read, where every row must match neither. In the other
groups the cheapest part of the condition is evaluated on whole pages, and each further part only
on the blocks where rows are left. Pieces have no statistics and are small. Where an index names
few rows, these take the place of the pages that it covers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist import options
from kist._kernels.cells import empty_values
from kist.engine.parallel import run
from kist.errors import QueryError
from kist.format.schema import Leaf
from kist.model.tables.indexes.find import Hits, find_hits
from kist.model.tables.query.bounds import bounds_of
from kist.model.tables.query.sieve import Candidates, masks_of, nulls_are_left_out, sieve
from kist.model.tables.stored.encoded import narrow_page, string_blocks
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.read import (
    Span,
    all_true,
    as_ordinals,
    as_run,
    as_slice,
    bring_near,
    group_spans,
    read_leaves,
)
from kist.model.tables.stored.state import TableState
from kist.query import Bound
from kist.query.categories import Coded
from kist.query.narrow import holds, may_be_narrow
from kist.query.utf8 import asks_bytes, holds_of_bytes

if TYPE_CHECKING:
    from kist.codecs.narrow import Narrow
    from kist.codecs.stringpages import Texts
    from kist.codecs.strings import StringBlock, StringColumns

__all__ = [
    "Found",
    "RowPlan",
    "by_codes",
    "check_sources",
    "count_rows",
    "cut",
    "find_rows",
    "narrow",
    "plan_rows",
    "positions_of",
    "spans_of",
]

Array = np.ndarray[Any, Any]

FEW: Final = 8
"""Below one row in `FEW` the next part of a condition reads the blocks of those rows only."""

_CHEAP: Final = 2.0
"""What a part of a condition may cost to be asked of all rows with the one before it."""

GROUPS_AT_ONCE: Final = 8
"""Groups per thread between two looks at whether enough rows were found."""


class Found(NamedTuple):
    """Rows of one group where a condition holds.

    Attributes
    ----------
    place : int
        Of the group in the layout.
    group : Group
        The group.
    ordinals : range or ndarray of int64
        Its rows, ascending; at least one.
    """

    place: int
    group: Group
    ordinals: range | Array


class RowPlan(NamedTuple):
    """Where the rows of a condition are looked for.

    Attributes
    ----------
    parts : list of Bound
        What must hold, the cheapest first.
    names : dict of str to Leaf
        What they read.
    may : ndarray of bool, shape (n_groups,)
        Groups that are looked at.
    sure : list of ndarray of bool, shape (n_groups,)
        For each part, groups where it holds for every row.
    hits : Hits or None
        What an index says.
    """

    parts: list[Bound]
    names: dict[str, Leaf]
    may: Array
    sure: list[Array]
    hits: Hits | None


def plan_rows(state: TableState, bounds: Sequence[Bound]) -> RowPlan:
    """Return where the rows of some conditions are, as far as indexes and statistics tell."""
    n_groups = state.layout.n_groups
    parts = _conjuncts([by_codes(state, bound, truth=True) for bound in bounds])
    names = _leaves(state, parts)
    hits = find_hits(state, parts)
    if hits is not None and hits.is_all:
        may = np.zeros(n_groups, bool)
        may[list(hits.by_group)] = True
        return RowPlan(parts, names, may, [np.zeros(n_groups, bool) for _ in parts], hits)
    may = state.may_match(parts, names)
    if hits is not None:
        may &= ~hits.covered
    if not any(group.is_pages for group in compress(state.layout.groups, may)):
        # Statistics of groups that the index covers would tell no more, and take longer.
        sure = [np.zeros(n_groups, bool) for _ in parts]
    else:
        sure = []
        known = bounds_of(state, names)
        for part in parts:
            can, must = part.prune({name: known[name] for name in part.columns}, n_groups)
            may &= can
            sure.append(must)
    if hits is not None:
        may[list(hits.by_group)] = True
    return RowPlan(parts, names, may, sure, hits)


def by_codes(state: TableState, bound: Bound, *, truth: bool = False) -> Bound:
    """Return an expression that asks the codes of categorical columns, where it can."""
    mine = [column for column in state.facts.categorical if column.name in bound.columns]
    if not mine:
        return bound
    coded = {}
    for column in mine:
        known = state.categories(column)
        codes = state.facts.by_id[column.first_leaf]
        coded[column.name] = Coded(".".join(codes.path), codes.dtype, known.table())
    return bound.by_codes(coded, truth=truth)


def find_rows(
    state: TableState, bounds: Bound | Sequence[Bound], limit: int | None = None
) -> Iterator[list[Found]]:
    """Find the rows of a condition, in the order of the table.

    Parameters
    ----------
    bounds : Bound or sequence of Bound
        The condition, or several that hold together; all rows where there is none.
    limit : int, optional
        Stop once so many rows were found; a few more may come.

    Yields
    ------
    list of Found
        Of some neighbouring groups.
    """
    plan = plan_rows(state, [bounds] if isinstance(bounds, Bound) else bounds)
    candidates = plan.may.nonzero()[0].tolist()
    n_found = 0
    step = _at_once(candidates)
    for start in range(0, len(candidates), step):
        chosen = candidates[start : start + step]
        _bring_near(state, plan, chosen)
        found = _find(state, plan, chosen)
        if found:
            yield found
        if limit is not None:
            n_found += sum(len(hit.ordinals) for hit in found)
            if n_found >= limit:
                return


def count_rows(state: TableState, bounds: Sequence[Bound]) -> int:
    """Return the number of rows of some conditions that hold together; keeps none of them."""
    plan = plan_rows(state, bounds)
    candidates = plan.may.nonzero()[0].tolist()
    _bring_near(state, plan, candidates)
    step = _at_once(candidates)
    starts = range(0, len(candidates), step)
    return sum(_count(state, plan, candidates[start : start + step]) for start in starts)


def _at_once(candidates: Sequence[int]) -> int:
    """Return how many groups are looked at between two looks at whether it is enough."""
    return GROUPS_AT_ONCE * (options.n_threads if len(candidates) > GROUPS_AT_ONCE else 1)


def _find(state: TableState, plan: RowPlan, chosen: Sequence[int]) -> list[Found]:
    """Find the rows of some groups."""
    found: dict[int, Found | None] = {}
    left: list[Candidates] = []
    layout = state.layout
    asked = _asked(plan, chosen)
    if asked:
        for index, mask, rest in masks_of(state, plan.names, asked):
            ordinals = _live(state, layout.group(index), mask).nonzero()[0]
            if len(ordinals):
                left.append(Candidates(index, as_run(ordinals), rest))
            else:
                found[index] = None
        found |= _sieved(state, plan, [*left, *_pieces(state, asked)])
    tasks = {index: _task(state, plan, index) for index in chosen if index not in found}
    found |= zip(tasks, run(list(tasks.values())), strict=True)
    return [hit for index in chosen if (hit := found[index]) is not None]


def _count(state: TableState, plan: RowPlan, chosen: Sequence[int]) -> int:
    """Return how many rows of some groups are meant."""
    n, left = 0, []
    others = dict.fromkeys(chosen)
    layout = state.layout
    asked = _asked(plan, chosen)
    for one in _pieces(state, asked):
        left.append(one)
        del others[one.place]
    too_many: dict[int, int] = {}
    for index, mask, rest in masks_of(state, plan.names, asked, too_many):
        mask = _live(state, layout.group(index), mask)
        del others[index]
        if not rest:
            n += int(np.count_nonzero(mask)) - too_many.get(index, 0)
        elif len(ordinals := np.flatnonzero(mask)):
            left.append(Candidates(index, as_run(ordinals), rest))
    n += sum(len(hit.ordinals) for hit in _sieved(state, plan, left).values() if hit is not None)
    tasks: list[Callable[[], int]] = []
    for index in others:
        parts = [place for place, must in enumerate(plan.sure) if not must[index]]
        if plan.hits is not None and plan.hits.covered[index]:
            tasks.append(partial(_n_found, _task(state, plan, index)))
        elif parts:
            some = [plan.parts[place] for place in parts]
            tasks.append(partial(_count_in, state, plan.names, index, some))
        else:
            n += state.layout.group(index).n_live
    return n + sum(run(tasks))


def _asked(plan: RowPlan, chosen: Sequence[int]) -> dict[int, list[Bound]]:
    """Return what is to be asked of all rows of groups together.

    Nothing of those where an index names rows, nor of a single one.
    """
    asked: dict[int, list[Bound]] = {}
    if len(chosen) == 1:
        return asked
    for index in chosen:
        if plan.hits is None or not plan.hits.covered[index]:
            both = zip(plan.parts, plan.sure, strict=True)
            asked[index] = [part for part, must in both if not must[index]]
    return asked


def _pieces(state: TableState, asked: Mapping[int, list[Bound]]) -> Iterator[Candidates]:
    """Yield the rows of those groups that are pieces: small, so that they are asked together."""
    for index, parts in asked.items():
        group = state.layout.group(index)
        if parts and not group.is_pages:
            yield Candidates(index, group_spans(state, group).ordinals, parts)


def _live(state: TableState, group: Group, mask: Array) -> Array:
    """Return a mask of the rows of a group without those that are deleted."""
    if group.n_live == group.n_rows:
        return mask
    dead = state.dead(group)
    return mask if dead is None else mask & ~dead


def _sieved(
    state: TableState, plan: RowPlan, some: Sequence[Candidates]
) -> dict[int, Found | None]:
    """Return those of some rows of groups where all is true that is to be asked of them."""
    found: dict[int, Found | None] = {one.place: None for one in some}
    tasks = {}
    for place, ordinals, parts in sieve(state, plan.names, some):
        if parts:
            tasks[place] = partial(_search, state, plan.names, place, parts, ordinals)
        else:
            found[place] = Found(place, state.layout.group(place), ordinals)
    return found | dict(zip(tasks, run(list(tasks.values())), strict=True))


def _bring_near(state: TableState, plan: RowPlan, places: Sequence[int]) -> None:
    """Bring near what some groups are looked at by first, where the file is far away."""
    if state.view.reader.backend.remote and plan.parts:
        # Further parts read what the first one leaves.
        first = list(_leaves(state, plan.parts[:1]).values())
        groups = map(state.layout.group, places)
        bring_near(state, [group_spans(state, group) for group in groups], first)


def _task(state: TableState, plan: RowPlan, index: int) -> Callable[[], Found | None]:
    """Return what finds the rows of one group."""
    left = [place for place, must in enumerate(plan.sure) if not must[index]]
    hits = plan.hits
    if hits is not None and hits.covered[index]:
        some = [plan.parts[place] for place in left if place not in hits.sure]
        return partial(_check, state, plan.names, index, some, hits.by_group[index])
    return partial(_search, state, plan.names, index, [plan.parts[place] for place in left])


def _n_found(task: Callable[[], Found | None]) -> int:
    found = task()
    return 0 if found is None else len(found.ordinals)


def _count_in(state: TableState, names: Mapping[str, Leaf], index: int, parts: list[Bound]) -> int:
    """Return the number of rows of one group where all parts hold."""
    group = state.layout.group(index)
    mask = NarrowPages(state, group).together(parts, names)
    if mask is None:
        return _n_found(partial(_search, state, names, index, parts))
    dead = state.dead(group)
    if dead is not None:
        mask &= ~dead
    return int(np.count_nonzero(mask))


def _conjuncts(bounds: Sequence[Bound]) -> list[Bound]:
    """Return what must hold, the cheapest first."""
    parts = [part for bound in bounds for part in bound.conjuncts]
    return sorted(parts, key=lambda part: part.cost) if len(parts) > 1 else parts


def _leaves(state: TableState, parts: Sequence[Bound]) -> dict[str, Leaf]:
    facts = state.facts
    return {name: facts.by_name[name] for part in parts for name in facts.needs(part.columns)}


def narrow(
    state: TableState, found: Iterator[list[Found]], bounds: Sequence[Bound]
) -> Iterator[list[Found]]:
    """Keep those of the rows found where further conditions hold."""
    parts = _conjuncts([by_codes(state, bound, truth=True) for bound in bounds])
    names = _leaves(state, parts)
    for some in found:
        tasks = [partial(_search, state, names, hit.place, parts, hit.ordinals) for hit in some]
        kept = [hit for hit in run(tasks) if hit is not None]
        if kept:
            yield kept


def _check(
    state: TableState,
    names: Mapping[str, Leaf],
    index: int,
    parts: Sequence[Bound],
    ordinals: Array,
) -> Found | None:
    """Return those of some rows of a group that an index names where all parts hold."""
    dead = state.dead(state.layout.group(index))
    if dead is not None:
        ordinals = ordinals[~dead[ordinals]]
    return _search(state, names, index, parts, as_run(ordinals)) if len(ordinals) else None


def _search(
    state: TableState,
    names: Mapping[str, Leaf],
    index: int,
    parts: Sequence[Bound],
    within: range | Array | None = None,
) -> Found | None:
    """Return the rows of one group where all parts hold, None when there is none.

    Parameters
    ----------
    within : range or ndarray, optional
        Live rows among which to look; all by default.
    """
    group = state.layout.group(index)
    ordinals = group_spans(state, group).ordinals if within is None else within
    if not parts:
        return Found(index, group, ordinals)
    every = range(group.n_rows)
    # Deleted rows are evaluated too: reading around them would cost more.
    left: range | Array = every if within is None else within
    narrows = NarrowPages(state, group)
    facts = state.facts
    whole: dict[str, Array] = {}
    many = len(left) * FEW >= group.n_rows
    if many and (mask := narrows.together(parts, names)) is not None:
        left, parts = _among(left, mask), []
    waiting = deque(parts)
    while waiting:
        part = waiting.popleft()
        if not len(left):
            return None
        mask = narrows.mask(part, names) if len(left) * FEW >= group.n_rows else None
        if mask is not None:
            left = _among(left, mask)
            continue
        wanted = facts.needs(part.columns)
        missing = [name for name in wanted if name not in whole]
        if missing and len(left) * FEW < group.n_rows:
            columns = {name: whole[name][as_slice(left)] for name in wanted if name in whole}
            columns |= _read(state, names, missing, group, left)
            valid = facts.valid(part.columns, columns)
            kept = as_ordinals(left)[part.evaluate(columns, len(left), valid)]
        else:
            whole |= _read(state, names, missing, group, every)
            valid = facts.valid(part.columns, whole)
            mask = part.evaluate(whole, group.n_rows, valid)
            while waiting and waiting[0].cost <= _CHEAP:
                # To look for places takes longer than to compare what is here a second time.
                needs = facts.needs(waiting[0].columns)
                if not all(name in whole for name in needs):
                    break
                more = waiting.popleft()
                mask &= more.evaluate(whole, group.n_rows, facts.valid(more.columns, whole))
            kept = np.flatnonzero(mask)
            if left is not every:
                kept = as_ordinals(left)[mask[as_slice(left)]]
        if not len(kept):
            return None
        left = as_run(kept)
    if not len(left):
        return None
    if within is None and len(ordinals) < group.n_rows:
        dead = state.dead(group)
        kept = as_ordinals(left)
        if dead is not None:
            kept = kept[~dead[kept]]
        if not len(kept):
            return None
        left = as_run(kept)
    return Found(index, group, left)


def _among(left: range | Array, mask: Array) -> range | Array:
    """Return those of some rows of a group where a mask of all of them is true."""
    if len(left) == len(mask):
        kept = np.flatnonzero(mask)
    else:
        kept = as_ordinals(left)[mask[as_slice(left)]]
    return as_run(kept) if len(kept) else range(0)


class NarrowPages:
    """Pages of a group as narrow integers, for conditions that need no more of them."""

    def __init__(self, state: TableState, group: Group) -> None:
        self._state, self._group = state, group
        self._pages: dict[int, Narrow | Texts | None] = {}
        self._blocks: dict[int, list[StringBlock | StringColumns] | None] = {}
        self._known: dict[str, Array | None] = {}

    def mask(
        self, part: Bound, names: Mapping[str, Leaf], together: Sequence[Bound] = ()
    ) -> Array | None:
        """Return where a condition holds among all rows, None where that takes the values.

        With others `together` that must hold too, it may be true of nulls for which these are not.
        """
        facts = self._state.facts
        if len(part.columns) != 1 or not may_be_narrow(part):
            return None
        (name,) = part.columns
        page = self._of(names[name])
        if page is None:
            return self._of_bytes(part, names)
        said = facts.nullable.get(name)
        if said is None or nulls_are_left_out(
            self._state, names[name], names[said], self._group, together or [part]
        ):
            return holds(part, page)
        return holds(part, page, self._valid(said, names))

    def _of_bytes(self, part: Bound, names: Mapping[str, Leaf]) -> Array | None:
        """Return where a condition holds of strings without a dictionary, as they are stored."""
        (name,) = part.columns
        leaf = names[name]
        if not leaf.is_string or name in self._state.facts.nullable or not asks_bytes(part):
            return None
        if leaf.id not in self._blocks:
            self._blocks[leaf.id] = string_blocks(self._state, leaf, self._group)
        blocks = self._blocks[leaf.id]
        return None if blocks is None else holds_of_bytes(part, blocks, leaf.dtype)

    def _valid(self, said: str, names: Mapping[str, Leaf]) -> Array | None:
        """Return which values of a nullable column are there, None for all."""
        if said not in self._known:
            state, group = self._state, self._group
            found = None
            if not all_true(state, names[said], group):
                found = _read(state, names, [said], group, range(group.n_rows))[said]
            self._known[said] = None if found is None or found.all() else found
        return self._known[said]

    def together(self, parts: Sequence[Bound], names: Mapping[str, Leaf]) -> Array | None:
        """Return where conditions hold that are all on one column, such as both ends of a range."""
        mask: Array | None = None
        if len({part.columns for part in parts}) == 1:
            for part in parts:
                one = self.mask(part, names, parts)
                if one is None:
                    return None
                mask = one if mask is None else np.logical_and(mask, one, out=mask)
        return mask

    def _of(self, leaf: Leaf) -> Narrow | Texts | None:
        if leaf.id not in self._pages:
            self._pages[leaf.id] = narrow_page(self._state, leaf, self._group)
        return self._pages[leaf.id]


def _read(
    state: TableState,
    names: Mapping[str, Leaf],
    wanted: Sequence[str],
    group: Group,
    ordinals: range | Array,
) -> dict[str, Array]:
    """Return columns of some rows of a group."""
    leaves = [names[name] for name in wanted]
    columns = [empty_values(len(ordinals) * leaf.n_values, leaf.dtype) for leaf in leaves]
    read_leaves(state, [Span(group, ordinals, 0)], leaves, columns)
    return dict(zip(wanted, columns, strict=True))


def positions_of(state: TableState, found: Found) -> Array:
    """Return the positions in the table of rows that were found."""
    start = int(state.layout.starts[found.place])
    live = state.live(found.group)
    ordinals = as_ordinals(found.ordinals)
    return start + (ordinals if live is None else live.searchsorted(ordinals))


def spans_of(found: Iterable[Sequence[Found]]) -> tuple[list[Span], int]:
    """Return the rows that were found one after the other, and their number."""
    spans, n = [], 0
    for some in found:
        for hit in some:
            spans.append(Span(hit.group, hit.ordinals, n))
            n += len(hit.ordinals)
    return spans, n


def cut(spans: Sequence[Span], rows: range | Array) -> list[Span]:
    """Return the spans of some of the rows of `spans`.

    Parameters
    ----------
    spans : sequence of Span
        Rows one after the other, each span where the one before ends.
    rows : range or ndarray
        Which of all these rows, ascending, each once.
    """
    if not len(rows) or not spans:
        return []
    starts = np.array([span.at for span in spans] + [spans[-1].at + spans[-1].n])
    if isinstance(rows, range) and rows.step != 1:
        rows = np.arange(rows.start, rows.stop, rows.step)
    out = []
    if isinstance(rows, range):
        first = int(starts.searchsorted(rows[0], "right")) - 1
        last = int(starts.searchsorted(rows[-1], "right")) - 1
        for index in range(first, last + 1):
            span = spans[index]
            low, high = max(rows.start - span.at, 0), min(rows.stop - span.at, span.n)
            at = span.at + low - rows.start
            out.append(Span(span.group, span.ordinals[low:high], at))
        return out
    edges = rows.searchsorted(starts)
    for span, a, b in zip(spans, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if b > a:
            chosen = as_ordinals(span.ordinals)[rows[a:b] - span.at]
            out.append(Span(span.group, as_run(chosen), a))
    return out


def check_sources(expression: Any, table: Any) -> None:
    """Raise `QueryError` when an expression names a column of another table."""
    for part in expression.walk():
        source = getattr(part, "source", None)
        if source is not None and not source.is_same(table):
            raise QueryError(
                f"{part!r} is a column of {source._path!r}, and the condition is for "
                f"{table._path!r}; take both from one table"
            )
