"""The first rows in some order, and extremes, from an index."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from kist._kernels.sets import ascending, members
from kist.errors import CorruptDataError, DamageWarning
from kist.indexes.keys import key_number
from kist.indexes.runs import Run
from kist.model.tables.indexes.index import Index, covered_groups, indexes_of
from kist.model.tables.indexes.keyparts import KeyPart
from kist.model.tables.query.operands import Key
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.schema import Leaf

__all__ = ["first_of_column", "first_of_order", "index_in_order"]

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
    return None if found is None else _first_or_none(state, *found, k)


def first_of_column(
    state: TableState, leaf: Leaf, valid: Leaf | None, k: int, *, descending: bool
) -> tuple[Array, Array] | None:
    """Return the same for one column, which may be nullable."""
    for index in indexes_of(state):
        if index.runs and index.is_exact and len(index.parts) == 1:
            part = index.parts[0]
            if part.leaf == leaf and part.valid == valid:
                return _first_or_none(state, index, descending, k)
    return None


def _first_or_none(
    state: TableState, index: Index, descending: bool, k: int
) -> tuple[Array, Array] | None:
    try:
        return _first(state, index, k, descending)
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
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
    if len(descending) > 1 or (True in descending and len(keys) > 1):
        return None
    for index in indexes_of(state):
        if not index.runs or not index.is_exact or len(index.parts) != len(keys):
            continue
        # Nulls are last in order; where they are first in the keys of several columns, no order
        # of theirs is it.
        if len(keys) > 1 and any(part.valid is not None for part in index.parts):
            continue
        if all(_is_of(part, key) for part, key in zip(index.parts, keys, strict=True)):
            return index, True in descending
    return None


def _is_of(part: KeyPart, key: Key) -> bool:
    """Tell whether a column of an index is what rows are sorted by."""
    operand = key.operand
    if operand.column != part.leaf:
        return False
    return (operand.bound is None) if part.valid is None else bool(operand.valid)


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
    if not run.n:
        return []
    part = index.parts[0]
    blocks: dict[int, Array] = {}

    def rank(number: int, side: Literal["left", "right"] = "left") -> int:
        return run.rank(view, number, side, blocks)

    # Nulls are last either way, as is what else is missing; in the keys nulls are first.
    start = rank(part.first_value) if part.valid is not None else 0
    nulls = (0, max(0, min(start, k - (run.n - start))))
    spans = [nulls]
    if not descending:
        spans.append((start, min(start + k, run.n)))
    else:
        last = part.missing_value if len(index.parts) == 1 else None
        n = run.n if last is None else rank(last)
        if n > start:
            low = max(start, n - k)
            number = key_number(run.keys(view, low, low + 1)[0], run.n_words)
            low, high = rank(number), rank(number, "right")
            # Equal rows stand in their order: of the last ones needed the first k are enough.
            spans += [(low, min(low + k, high)), (high, n)]
        spans.append((n, min(n + k - min(n - start, k), run.n)))
    return [(low, high) for low, high in spans if low < high]
