"""The first rows in some order, and extremes, from an index."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist._kernels.sets import ascending, members
from kist.errors import CorruptDataError, DamageWarning
from kist.indexes.keys import key_number, missing_word
from kist.indexes.runs import Run
from kist.model.tables.indexes.index import Index, covered_groups, indexes_of
from kist.model.tables.query.operands import Key
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.schema import Leaf

__all__ = ["first_of_order", "index_in_order"]

Array = np.ndarray[Any, Any]

WORTH: Final = 8
"""Above one row in so many, reading the column is as quick."""


def first_of_order(state: TableState, keys: Sequence[Key], k: int) -> tuple[Array, Array] | None:
    """Return rows among which the first `k` in some order are, as far as an index knows.

    Returns
    -------
    (positions, covered) or None
        Positions of rows, ascending, and for which groups they are all that is needed. None where
        there is no index in that order.
    """
    found = index_in_order(state, keys)
    if found is None:
        return None
    try:
        return _first(state, found[0], k, found[1])
    except CorruptDataError as error:
        warnings.warn(
            f"{state.path!r}: an index is damaged, rows are sorted instead; drop it and "
            f"create it again ({error})",
            DamageWarning,
            stacklevel=2,
        )
        return None


def index_in_order(state: TableState, keys: Sequence[Key]) -> tuple[Index, bool] | None:
    """Return an index that has rows in the order of some keys, and whether from behind."""
    descending = {key.descending for key in keys}
    columns = [None if key.operand.bound else key.operand.column for key in keys]
    if len(descending) > 1 or (True in descending and len(keys) > 1):
        return None
    for index in indexes_of(state):
        if list(index.leaves) == columns and index.is_exact and index.runs:
            return index, True in descending
    return None


def _first(state: TableState, index: Index, k: int, descending: bool) -> tuple[Array, Array] | None:
    layout = state.layout
    covered = covered_groups(index, layout)
    parts = []
    for run in index.runs:
        # Entries of deleted rows, and of groups that have changed, do not count: as many more
        # are taken.
        inside = covered & (layout.firsts >= run.first) & (layout.ends <= run.stop)
        alive = int((layout.starts[1:] - layout.starts[:-1])[inside].sum())
        some = k + run.n - min(run.n, alive)
        spans = _ranks(state.view, index, run, some, descending)
        parts += [run.rows(state.view, *span) for span in spans]
    rows = ascending(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
    if len(rows) * WORTH > state.n_rows:
        return None
    place = layout.firsts.searchsorted(rows, "right") - 1
    there = (place >= 0) & (rows < layout.ends[place])
    there &= covered[place]
    rows, place = rows[there], place[there]
    positions = [np.zeros(0, np.int64)]
    for at in ascending(place).tolist():
        group = layout.group(at)
        ordinals = rows[place == at] - group.first
        live = state.live(group)
        if live is not None:
            ordinals = np.flatnonzero(members(live, ordinals))
        positions.append(ordinals + int(layout.starts[at]))
    return np.concatenate(positions), covered


def _ranks(view: View, index: Index, run: Run, k: int, descending: bool) -> list[tuple[int, int]]:
    """Return the ranks of entries among which the first `k` of a run are."""
    if not descending:
        return [(0, min(k, run.n))] if run.n else []
    if not run.n:
        return []
    leaf: Leaf = index.leaves[0]
    last = 2 ** (64 * run.n_words) - 1
    blocks: dict[int, Array] = {}
    # What is missing stays last in this direction too.
    n = run.rank(view, last, "left", blocks) if missing_word(leaf.dtype) else run.n
    spans = []
    if n:
        number = key_number(run.keys(view, max(0, n - k), max(0, n - k) + 1)[0], run.n_words)
        low, high = (run.rank(view, number, side, blocks) for side in ("left", "right"))
        # Equal rows stand in their order: of the last ones needed the first k are enough.
        spans = [(low, min(low + k, high)), (high, n)]
    spans.append((n, min(n + k - min(n, k), run.n)))
    return [(low, high) for low, high in spans if low < high]
