"""Folding: small pieces and patches of a table become larger ones, a bounded step at a time.

The engine calls `maintain_tables` inside its checkpoints, in a transaction of its own. What one
call does to a table:

- Neighbouring groups that are not full form a *run*. A run that reaches a full group, or
  that a full group has closed, becomes full groups and at most one smaller one. Otherwise the
  pieces at the end of the run are folded in tiers: those appended since the last call become one
  piece of tier 1, `FAN_IN` of a tier one of the next. So a table has fewer than `FAN_IN` pieces
  of each tier, and a row is written once per tier: four times in a table made ten rows at a time.
- The patches of a group are folded in the same tiers, and applied once they are worth it.
- A full group of which half the rows are deleted is *sparse*: it is written anew, and again when
  half of those are gone that were left then.

Row ids stay: a folded group begins at the row id of its first live row and ends with its last,
and row ids between them whose row is gone are deleted rows, stored as repeats of a neighbour. Runs
of equal values take as much as one of them, so their space comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist._kernels.cells import empty_values
from kist.format.schema import Leaf
from kist.model.directory import has_rows
from kist.model.tables.changes.change import (
    PATCH_SHARE,
    drop_group,
    drop_patches,
    patch_parts,
    put_dead,
    put_patch,
    rewrite_leaves,
)
from kist.model.tables.changes.pages import Recipes, write_pages
from kist.model.tables.changes.sparse import (
    SPARSE_TIER,
    Afresh,
    is_sparse,
    sparse_tier,
    spread,
    tier_of,
)
from kist.model.tables.changes.write import put_pages_group, put_piece, put_tail
from kist.model.tables.indexes.keep import maintain_indexes
from kist.model.tables.stored.batch import Batch
from kist.model.tables.stored.layout import Group, Layout, remember
from kist.model.tables.stored.read import as_ordinals, group_spans, read_leaves
from kist.model.tables.stored.records import PatchPart, new_stamp
from kist.model.tables.stored.schema import FULL_TIER, PIECE_ROWS, TEXT_BYTES, SchemaFacts
from kist.model.tables.stored.state import TableState, state_of

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["fold_table", "maintain_tables", "tier_to_fold"]

Array = np.ndarray[Any, Any]

FAN_IN: Final = 16
"""Pieces of a tier that become one of the next. Ten rows at a time and 30 commits between two
checkpoints give pieces of 300 and 4,800 rows, then a row group."""

MAX_GAP: Final = 4_096
"""A run ends at a gap of more row ids: folding over it would store mostly repeats."""

LOOSE_PATCHES: Final = 4
"""Fewer new patches of a group than this wait for more."""

FOLD_BYTES: Final = 256 << 20
"""One call goes on folding full row groups up to here: as many rows as appends of half a group
bring between two checkpoints. Fewer would leave a table of batches of 10,000 rows unfolded."""

MAX_TIER: Final = FULL_TIER - 1

SPARSE_BYTES: Final = 64 << 20
"""One call goes on writing sparse groups up to here."""

PATCH_GROUPS: Final = 64
"""Most groups whose patches one call folds."""


def maintain_tables(txn: Transaction, node_ids: Iterable[int]) -> None:
    """Fold what has added up in the tables among some nodes.

    The callback of `Engine.maintain`: nodes that are no tables, or are gone, are skipped.

    Notes
    -----
    Per table about as many rows are read and written as were appended since the last call, or
    two row groups if that is more, and `FOLD_BYTES` at most, whatever has added up.
    """
    for node in sorted(node_ids):
        if has_rows(txn, node):
            fold_table(txn, node, f"table {node}")
            maintain_indexes(txn, node, f"table {node}")


def fold_table(txn: Transaction, node: int, path: str) -> bool:
    """Do one step of folding on a table; return whether anything was changed."""
    state = state_of(txn, node, path)
    if state.facts.sealed and not state.sealing.can_write():
        return False  # it is folded when a holder of its secrets writes next
    recipes = Recipes(txn, node, state.schema, state.tail.stamp)
    left = FOLD_BYTES
    while (work := _next_run(state.layout, state.facts)) is not None:
        sources = state.layout.groups[work.start : work.stop]
        groups = _fold_groups(txn, state, sources, work, recipes)
        _finish(txn, state, state.layout.replaced(state.tail, work.start, work.stop, groups))
        state = state_of(txn, node, path)
        left -= sum(group.n_rows for group in groups) * state.facts.row_nbytes
        # More only of what has added up to full groups since the last checkpoint.
        if left <= 0 or not groups or not state.facts.is_full(groups[0].n_rows, 0):
            break
    patched = _fold_patches(txn, state, recipes)
    if patched is not None:
        _finish(txn, state, patched)
        state = state_of(txn, node, path)
    thinned = _fold_sparse(txn, state)
    if thinned is not None:
        _finish(txn, state, thinned)
    return left < FOLD_BYTES or patched is not None or thinned is not None


def _finish(txn: Transaction, state: TableState, layout: Layout) -> None:
    groups = layout.groups
    tail = state.tail._replace(n_loose=sum(map(_is_loose, groups)), stamp=new_stamp())
    put_tail(txn, state.node, state.schema, tail, state.tail)
    remember(state.node, Layout(tail, groups))


class _Work(NamedTuple):
    """Groups start .. stop become others; `tier` is that of a piece made of them."""

    start: int
    stop: int
    tier: int


def _next_run(layout: Layout, facts: SchemaFacts) -> _Work | None:
    """Return what should be folded next: the first run from the end that needs it."""

    def full(group: Group) -> bool:
        return group.is_pages and facts.is_full(group.n_rows, group.record.tier)

    groups = layout.groups
    stop = len(groups)
    loose = layout.tail.n_loose
    end_of_table = True
    while stop and (end_of_table or loose > 0):
        if full(groups[stop - 1]):
            stop -= 1
            end_of_table = False
            continue
        start = stop - 1
        while start and not full(groups[start - 1]) and not _far(groups, start):
            start -= 1
        work = _fold_of_run(groups, start, stop, facts.group_rows, open_=end_of_table)
        if work is not None:
            return work
        loose -= sum(1 for group in groups[start:stop] if _is_loose(group))
        stop, end_of_table = start, False
    return None


def _far(groups: Sequence[Group], index: int) -> bool:
    before = groups[index - 1]
    return groups[index].first - before.first - before.n_rows > MAX_GAP


def _is_loose(group: Group) -> bool:
    return not group.is_pages and group.record.tier == 0


def _fold_of_run(
    groups: Sequence[Group], start: int, stop: int, group_rows: int, *, open_: bool
) -> _Work | None:
    if stop - start < 2:
        return None
    first = groups[start].first
    tiers = [tier_of(group) for group in groups[start:stop]]
    # As many groups as give a full one; the last may reach beyond it.
    for index in range(start, stop):
        if groups[index].first + groups[index].n_rows - first >= group_rows:
            return _Work(start, index + 1, 1)
    if not open_:
        return _Work(start, stop, min(max(tiers) + 1, MAX_TIER))
    # Groups of pages wait until the run is long enough: each has a sixteenth of it at least.
    low = max((i + 1 for i in range(start, stop) if groups[i].is_pages), default=start)
    found = tier_to_fold([tier_of(group) for group in groups[low:stop]], 2)
    return None if found is None else _Work(low + found[0], stop, found[1])


def tier_to_fold(tiers: Sequence[int], least: int) -> tuple[int, int] | None:
    """Return (where to begin, tier of the result) for folding the end of a sequence, or None.

    Parameters
    ----------
    tiers : sequence of int
        Tiers from old to new. New things have tier 0.
    least : int
        Fewer things of tier 0 at the end than this are left alone.
    """
    start = len(tiers)
    while start and tiers[start - 1] == 0:
        start -= 1
    if len(tiers) - start < least:
        return None
    tier = 1
    while True:
        low = start
        while low and tiers[low - 1] <= tier:
            low -= 1
        if start - low + 1 < FAN_IN:  # with the one that is about to be made
            return start, tier
        start, tier = low, tier + 1


def _fold_groups(
    txn: Transaction,
    state: TableState,
    sources: Sequence[Group],
    work: _Work,
    recipes: Recipes,
) -> list[Group]:
    """Replace neighbouring groups by as few as possible; return those."""
    first = sources[0].first
    n_rows = sources[-1].first + sources[-1].n_rows - first
    facts = state.facts
    few = facts.are_piece(n_rows) and not facts.loose
    if few and all(_is_bare(group, facts) for group in sources):
        return [_join_pieces(txn, state, sources, first, n_rows, work)]
    leaves = state.schema.packed
    alive = np.zeros(n_rows, bool)
    spans = []
    n_live = 0
    for group in sources:
        span = group_spans(state, group)
        alive[as_ordinals(span.ordinals) + (group.first - first)] = True
        spans.append(span._replace(at=n_live))
        n_live += group.n_live
    columns = [empty_values(n_live * leaf.n_values, leaf.dtype) for leaf in leaves]
    read_leaves(state, spans, leaves, columns)
    if n_live < n_rows:
        columns = [spread(*pair, alive) for pair in zip(leaves, columns, strict=True)]
        start, stop = int(alive.argmax()), n_rows - int(alive[::-1].argmax())
        columns = [
            column[start * leaf.n_values : stop * leaf.n_values]
            for leaf, column in zip(leaves, columns, strict=True)
        ]
        alive, first, n_rows = alive[start:stop], first + start, stop - start
    for group in sources:
        drop_group(txn, state, group)
    made = []
    for start, stop, cut in _cuts(leaves, columns, n_rows, facts.group_rows):
        part = [
            column[start * leaf.n_values : stop * leaf.n_values]
            for column, leaf in zip(columns, leaves, strict=True)
        ]
        new = _put_group(txn, state, first + start, part, alive[start:stop], work, recipes, cut)
        if new is not None:
            made.append(new)
    return made


def _is_bare(group: Group, facts: SchemaFacts) -> bool:
    """Tell whether a group is a piece that holds the leaves of now, and has no patches."""
    if group.is_pages or group.patches or facts.sealed:
        return False
    return facts.rows_at(group.record.version) is facts.rows


def _cuts(
    leaves: Sequence[Leaf], columns: Sequence[Array], n_rows: int, group_rows: int
) -> Iterable[tuple[int, int, bool]]:
    """Cut rows into row groups; yield (start, stop, whether long strings or cells have decided)."""
    loose = {
        str(leaf.id): column for leaf, column in zip(leaves, columns, strict=True) if leaf.is_loose
    }
    if loose:
        return Batch(np.zeros(n_rows, np.dtype([])), loose).cuts(group_rows, TEXT_BYTES)
    starts = range(0, n_rows, group_rows)
    return [(start, min(start + group_rows, n_rows), False) for start in starts]


def _join_pieces(
    txn: Transaction,
    state: TableState,
    sources: Sequence[Group],
    first: int,
    n_rows: int,
    work: _Work,
) -> Group:
    """Make one piece of pieces whose rows are all in one place: nothing is taken apart."""
    dtype = state.facts.rows.dtype
    raw = np.zeros((n_rows, dtype.itemsize), np.uint8)  # as bytes: rows of 50 fields copy slowly
    dead = np.ones(n_rows, bool)
    for group in sources:
        at = group.first - first
        piece = np.ndarray((group.n_rows, dtype.itemsize), np.uint8, buffer=state.piece(group))
        raw[at : at + group.n_rows] = piece
        gone = state.dead(group)
        dead[at : at + group.n_rows] = False if gone is None else gone
    for group in sources:
        drop_group(txn, state, group)
    n_dead = int(np.count_nonzero(dead))
    if n_dead:
        put_dead(txn, state.node, first, dead)
    rows = np.ndarray((n_rows,), dtype, buffer=raw)
    return put_piece(txn, state.node, first, state.schema, rows, work.tier, n_rows - n_dead)


def _put_group(
    txn: Transaction,
    state: TableState,
    first: int,
    columns: Sequence[Array],
    alive: Array,
    work: _Work,
    recipes: Recipes,
    cut: bool,
) -> Group | None:
    n_rows, n_live = len(alive), int(np.count_nonzero(alive))
    if not n_live:
        return None
    if n_live < n_rows:
        put_dead(txn, state.node, first, ~alive)
    schema, tier = state.schema, work.tier
    if tier == SPARSE_TIER:
        tier = sparse_tier(n_rows, n_live)
    elif cut:
        tier = FULL_TIER
    rows = state.facts.rows.of_columns(columns, n_rows) if n_rows < PIECE_ROWS else None
    n_bytes = int(rows.sizes.sum()) if isinstance(rows, Batch) else 0
    if rows is None or not state.facts.are_piece(n_rows, n_bytes):
        write_pages(txn, state.node, first, schema.packed, columns, recipes)
        return put_pages_group(txn, state.node, first, schema, n_rows, n_live, tier)
    return put_piece(txn, state.node, first, schema, rows, min(tier, MAX_TIER), n_live)


def _fold_sparse(txn: Transaction, state: TableState) -> Layout | None:
    """Write some of the sparse groups anew; return the new layout."""
    groups: list[Group] = []
    left = SPARSE_BYTES
    for place, group in enumerate(state.layout.groups):
        if left <= 0 or not is_sparse(group):
            groups.append(group)
            continue
        left -= group.n_rows * state.facts.row_nbytes
        recipes = Afresh(txn, state.node, state.schema, state.tail.stamp)
        groups += _fold_groups(txn, state, [group], _Work(place, place + 1, SPARSE_TIER), recipes)
    return Layout(state.tail, groups) if left < SPARSE_BYTES else None


def _fold_patches(txn: Transaction, state: TableState, recipes: Recipes) -> Layout | None:
    """Fold the patches of the groups that have enough of them; return the new layout."""
    groups = state.layout.groups
    changed = 0
    for index, group in enumerate(groups):
        if not group.patches or changed >= PATCH_GROUPS:
            continue
        n_rows = sum(patch.n_rows for patch in group.patches)
        if n_rows * PATCH_SHARE >= group.n_rows:
            groups[index] = rewrite_leaves(txn, state, group, recipes)
            changed += PATCH_GROUPS  # as much work as this call should do
            continue
        found = tier_to_fold([patch.tier for patch in group.patches], LOOSE_PATCHES)
        if found is not None:
            groups[index] = _merge_patches(txn, state, group, *found)
            changed += 1
    return Layout(state.tail, groups) if changed else None


def _merge_patches(
    txn: Transaction, state: TableState, group: Group, start: int, tier: int
) -> Group:
    """Make one patch of the last ones of a group, each value as the latest of them has it."""
    old = group.with_patches(group.patches[start:])
    by_rows: dict[bytes, list[tuple[int, Array, Array]]] = {}
    leaves = state.facts.by_id
    for number in sorted(state.patched_leaves(old)):
        if leaves[number].column < 0:
            continue  # the column is gone
        changes = state.patches(old, leaves[number])
        rows = np.concatenate([ordinals for ordinals, _ in changes])
        values = np.concatenate([new for _, new in changes])
        # The first of equals in the reversed order is the latest.
        ordinals, latest = np.unique(rows[::-1], return_index=True)
        values = values[::-1][latest]
        by_rows.setdefault(ordinals.tobytes(), []).append((number, ordinals, values))
    parts: list[PatchPart] = []
    for same in by_rows.values():
        chosen = [leaves[number] for number, _, _ in same]
        parts += patch_parts(state, chosen, same[0][1], [values for _, _, values in same])
    drop_patches(txn, state.node, old)
    kept = group.with_patches(group.patches[:start])
    if not parts:
        return kept
    patch = put_patch(txn, state, kept, tier, parts)
    return kept.with_patches((*kept.patches, patch))
