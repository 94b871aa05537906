"""What a selection would read, and what lets it leave out the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kist.model.tables.indexes.find import Hits
from kist.model.tables.indexes.whole import index_for_order
from kist.model.tables.query.find import RowPlan, plan_rows
from kist.model.tables.query.operands import Key
from kist.model.tables.stored.computed import sources_of
from kist.model.tables.stored.state import TableState
from kist.model.text import format_bytes
from kist.query import Bound

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """How the rows of a condition are found; ``print`` shows it.

    Attributes
    ----------
    condition : str
        What was asked.
    n_rows : int
        Rows of the table.
    n_groups : int
        Row groups of the table.
    n_pruned : int
        Groups that statistics of pages rule out.
    n_sure : int
        Groups that statistics take whole: no value of theirs is looked at.
    n_scanned : int
        Groups whose values are looked at.
    index : str or None
        Name of the index that answers for the others.
    n_indexed : int
        Rows that it names.
    is_exact : bool
        Whether it answers the whole condition: no value of these rows is looked at.
    n_pages : int
        Pages that are read to find the rows, of columns and of the index; of many only blocks.
    n_bytes : int
        Stored bytes of these pages, of the index those of the blocks: no more than that is read.
    sorted_by : str or None
        Name of the index whose order the rows are read in, instead of being sorted.
    """

    condition: str
    n_rows: int
    n_groups: int
    n_pruned: int
    n_sure: int
    n_scanned: int
    index: str | None
    n_indexed: int
    is_exact: bool
    n_pages: int
    n_bytes: int
    sorted_by: str | None = None

    def __str__(self) -> str:
        lines = [self.condition or "all rows"]
        if self.index is not None:
            looked = "nothing else is read" if self.is_exact else "their values are looked at"
            lines.append(f"index {self.index!r}: {self.n_indexed:,} rows, {looked}")
        n_left = self.n_pruned + self.n_sure
        lines.append(
            f"groups: {self.n_scanned:,} of {self.n_groups:,} scanned, {n_left:,} settled by "
            f"statistics ({self.n_pruned:,} without a match)"
        )
        lines.append(
            f"reads: at most {self.n_pages:,} pages, {self.n_bytes:,} bytes "
            f"({format_bytes(self.n_bytes)})"
        )
        if self.sorted_by is not None:
            lines.append(f"sorted by index {self.sorted_by!r}: no key is read")
        return "\n".join(lines)

    __repr__ = __str__


def explain(
    state: TableState, bounds: Sequence[Bound], condition: str, keys: Sequence[Key] = ()
) -> Explanation:
    """Return how the rows of some conditions are found.

    Parameters
    ----------
    bounds : sequence of Bound
        Conditions that hold together.
    condition : str
        How they read.
    keys : sequence of Key
        What the rows are sorted by.
    """
    plan = plan_rows(state, bounds)
    hits = plan.hits
    n_groups = state.layout.n_groups
    covered = np.zeros(n_groups, bool) if hits is None else hits.covered
    scanned = plan.may & ~covered
    sure = np.logical_and.reduce(plan.sure, axis=0) if plan.sure else np.ones(n_groups, bool)
    n_pages, n_bytes = _of_columns(state, plan, scanned)
    exact = False
    if hits is not None:
        exact = len(hits.sure) == len(plan.parts)
        more = _of_columns(state, plan, plan.may & covered)
        own = _of_index(state, hits)
        n_pages, n_bytes = n_pages + more[0] + own[0], n_bytes + more[1] + own[1]
    return Explanation(
        condition,
        state.n_rows,
        n_groups,
        int(np.count_nonzero(~plan.may & ~covered)),
        int(np.count_nonzero(scanned & sure)),
        int(np.count_nonzero(scanned & ~sure)),
        None if hits is None else hits.used.record.name,
        0 if hits is None else hits.n,
        exact,
        n_pages,
        n_bytes,
        index_for_order(state, keys) if keys and not bounds else None,
    )


def _of_columns(state: TableState, plan: RowPlan, groups: Any) -> tuple[int, int]:
    """Return pages and bytes of what the condition reads in some groups."""
    n_pages = n_bytes = 0
    hits = plan.hits
    for place in np.flatnonzero(groups).tolist():
        group = state.layout.group(place)
        known = hits.sure if hits is not None and hits.covered[place] else ()
        needed = {
            name
            for at, part in enumerate(plan.parts)
            if at not in known and not plan.sure[at][place]
            for name in part.columns
        }
        for leaf in sources_of(state.facts, [plan.names[name] for name in needed]):
            page = state.find_page(leaf, group) if group.is_pages else None
            if page is not None:
                n_pages += 1
                n_bytes += page[0].length
    return n_pages, n_bytes


def _of_index(state: TableState, hits: Hits) -> tuple[int, int]:
    """Return pages and bytes of an index that were read."""
    n_pages = n_bytes = 0
    for run, ranks in hits.ranks:
        if not run.n:
            continue
        size = run.block(state.view)
        blocks = {rank // size for span in ranks for rank in (span[0], span[1] - 1)}
        rows = sum((stop - 1) // size - start // size + 1 for start, stop in ranks)
        n_blocks = -(-run.n // size)
        fences, offsets, *words = run.pointers
        n_pages += 1 + bool(rows) + len(words)
        n_bytes += fences.length + offsets.length * min(rows, n_blocks) // n_blocks
        n_bytes += sum(word.length for word in words) * max(1, len(blocks)) // n_blocks
    return n_pages, n_bytes
