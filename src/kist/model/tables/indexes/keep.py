"""Keeping the indexes of a table current: what each change of the rows does to their runs.

Whoever puts a new tail calls `carry`, which gives the indexes its stamp: a writer that knows
nothing of indexes does not, and so they are not believed after it. Row ids mean the same row for
ever, so deleting and folding change nothing else. Rows whose keys change are marked in the runs,
and are scanned until their run is written again. New rows are scanned until there are enough of
them for a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.index import IndexState
from kist.format.schema import Leaf, Schema
from kist.format.values import pack_record
from kist.indexes.keys import words_of
from kist.indexes.runs import Run, put_run, put_soiled
from kist.model.tables import indexes as parts
from kist.model.tables.indexes.index import Index, read_indexes, read_state
from kist.model.tables.indexes.unique import check_rows
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.read import Span, as_ordinals, as_run, group_spans, read_leaves
from kist.model.tables.stored.records import GROUP_ROWS, Tail
from kist.model.tables.stored.schema import PIECE_ROWS
from kist.model.tables.stored.state import TableState, state_of

if TYPE_CHECKING:
    from kist.engine import Frame, Transaction
    from kist.engine.fieldkeys import FieldKeys

__all__ = [
    "after_append",
    "after_change",
    "carry",
    "drop_runs",
    "forget_leaves",
    "grow",
    "maintain_indexes",
    "put_state",
    "rebuild",
]

Array = np.ndarray[Any, Any]
Changed = Sequence[tuple[Group, "range | Array", Iterable[int]]]

RUN_WORDS: Final = 1 << 22
"""Words of the keys of a run at most: sorting them takes about 150 MB, and half a second."""

FAN_IN: Final = 8
"""Runs of about one size that become one."""

WORN: Final = 64
"""A run is written again when one in so many of its rows may have another key."""


def most_rows(index: Index) -> int:
    """Return the row ids that a run of an index stands for at most."""
    # Where nulls are takes a bit, and is sorted with the first word of the value.
    words = index.record.n_words - sum(part.valid is not None for part in index.parts)
    return max(GROUP_ROWS, RUN_WORDS // words)


def carry(txn: Transaction, node: int, before: Tail, tail: Tail, schema: Schema) -> bool:
    """Give the indexes of a table the stamp of its next tail; return whether it has any.

    Runs that are not true for the tail before are dropped.
    """
    common = read_state(txn, node)
    if common is None:
        return False
    if common.stamp != before.stamp:
        drop_runs(txn, node)
    put_state(txn, node, common._replace(stamp=tail.stamp))
    if schema.sealed:
        parts.sealed.carry_on(txn, node, schema, before.stamp, tail.stamp)
    return True


def _drop_doubtful(txn: Transaction, state: TableState) -> None:
    if state.facts.sealed:
        parts.sealed.drop_doubtful(txn, state)


def vouch(txn: Transaction, state: TableState, index: Index) -> None:
    """Vouch for an index on sealed columns that has changed."""
    if index.field:
        parts.sealed.vouch(txn, state.node, state.schema, state.tail.stamp)


def put_state(txn: Transaction, node: int, common: IndexState) -> None:
    """Put what the indexes of a table have in common."""
    txn.put(keys.index_state(node), pack_record(common.pack()))


def drop_runs(txn: Transaction, node: int) -> None:
    """Delete the runs of all indexes of a table."""
    for key, _ in list(txn.scan(*keys.indexes(node))):
        if len(key) > len(keys.index_state(node)):
            txn.delete(key)


# Changes of rows


def after_append(txn: Transaction, node: int, path: str, n: int, *, checked: bool) -> None:
    """Bring the indexes up to date after `n` rows were appended.

    Raises
    ------
    ConstraintError
        They break a unique index.
    """
    state = state_of(txn, node, path)
    indexes = read_indexes(state)
    if checked:
        rows = np.arange(state.tail.next_row - n, state.tail.next_row)
        check_rows(state, indexes, rows, f"append to {path!r}")
    if n < PIECE_ROWS:
        return  # a checkpoint will come before they are many
    for index in indexes:
        # As many runs as the rows are worth; what was left behind before has to wait.
        for _ in range(1 + n // most_rows(index)):
            if not grow(txn, state, index.number):
                break


def after_change(txn: Transaction, node: int, path: str, changed: Changed) -> None:
    """Mark the rows whose keys have changed.

    Parameters
    ----------
    changed : sequence of (Group, ordinals, leaf ids)
        What was assigned.

    Raises
    ------
    ConstraintError
        It breaks a unique index.
    """
    state = state_of(txn, node, path)
    for index in read_indexes(state):
        own = {leaf.id for leaf in index.leaves}
        rows = rows_of([one for one in changed if own.intersection(one[2])])
        for run in index.runs:
            low, high = rows.searchsorted((run.first, run.stop))
            if low == high:
                continue
            if index.field:
                key = keys.index_run(state.node, index.number, run.first)
                opened = state.sealing.keys(index.field)
                parts.sealed.put_soiled_run(txn, key, run.marked(rows[low:high]), run, opened)
            else:
                put_soiled(txn, state.node, index.number, run, rows[low:high])
        vouch(txn, state, index)
        (again,) = (one for one in read_indexes(state) if one.number == index.number)
        check_rows(state, [again], rows, f"update {path!r}")


def rows_of(changed: Changed) -> Array:
    """Return the row ids of what was assigned, ascending."""
    parts = [as_ordinals(ordinals) + group.first for group, ordinals, _ in changed]
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)


def forget_leaves(txn: Transaction, state: TableState, leaves: Iterable[Leaf]) -> None:
    """Drop the runs of indexes on leaves that have got other values everywhere."""
    changed = {leaf.id for leaf in leaves}
    _drop_doubtful(txn, state)
    for index in read_indexes(state):
        if changed.intersection(leaf.id for leaf in index.leaves):
            txn.delete_range(*keys.index_runs(state.node, index.number))
            vouch(txn, state, index)


# Making runs


def maintain_indexes(txn: Transaction, node: int, path: str) -> None:
    """Do one step of upkeep on the indexes of a table: at most one run of each is written."""
    common = read_state(txn, node)
    if common is None:
        return
    state = state_of(txn, node, path)
    if common.stamp != state.tail.stamp:
        drop_runs(txn, node)
        put_state(txn, node, common._replace(stamp=state.tail.stamp))
    _drop_doubtful(txn, state)
    usable = {index.number for index in read_indexes(state)}
    for key, _ in list(txn.scan(*keys.indexes(node))):
        number = keys.leaf_of(key)
        if number and number not in usable:
            txn.delete(key)  # its columns are gone
    # Who lacks a secret of the table cannot vouch for its indexes on sealed columns.
    can_vouch = not state.facts.sealed or state.sealing.can_write()
    kept = set() if can_vouch else {one.number for one in read_indexes(state) if one.field}
    for number in sorted(usable - kept):
        _drop_empty(txn, state, number)
        if not grow(txn, state, number):
            _renew(txn, state, number)


def grow(txn: Transaction, state: TableState, number: int, *, whole: bool = False) -> bool:
    """Write a run of the rows behind the last one, if there are enough; merge runs of one size.

    Parameters
    ----------
    whole : bool
        Few rows are enough.

    Returns
    -------
    bool
        Whether there may be more to do.
    """
    index = _index(state, number)
    start, end = _next_rows(state, index), state.tail.next_row
    least = 1 if whole else GROUP_ROWS
    if end - start < least:
        return False
    stop = min(end, start + most_rows(index))
    build(txn, state, index, start, stop)
    while (several := _alike(_index(state, number))) is not None:
        for run in several:
            txn.delete(keys.index_run(state.node, number, run.first))
        build(txn, state, index, several[0].first, several[-1].stop)
    return end - stop >= least


def rebuild(txn: Transaction, node: int, path: str) -> None:
    """Write the runs that are missing of all indexes of a table."""
    state = state_of(txn, node, path)
    _drop_doubtful(txn, state)
    for index in read_indexes(state):
        while grow(txn, state, index.number, whole=True):
            pass


def _next_rows(state: TableState, index: Index) -> int:
    """Return where the next run begins: behind the last one, and not among rows that are gone.

    The old end of a stream may be far longer than what is left of it.
    """
    layout = state.layout
    low = int(layout.ends.searchsorted(index.stop, "right"))
    if low == len(layout.firsts):
        return int(state.tail.next_row)
    return max(index.stop, int(layout.firsts[low]))


def _index(state: TableState, number: int) -> Index:
    for index in read_indexes(state):
        if index.number == number:
            return index
    raise CorruptDataError(
        f"{state.path!r}: index number {number} is not among its records; 'kist check' lists all "
        "damage",
        node=state.path,
    )


def _alike(index: Index) -> tuple[Run, ...] | None:
    """Return the last runs, if they are of one size and fit into one."""
    several = index.runs[-FAN_IN:]
    sizes = [run.stop - run.first for run in several]
    tiers = {(size // GROUP_ROWS).bit_length() // FAN_IN.bit_length() for size in sizes}
    if len(several) < FAN_IN or len(tiers) > 1:
        return None
    if several[-1].stop - several[0].first > most_rows(index):  # there may be gaps between them
        return None
    return several


def _drop_empty(txn: Transaction, state: TableState, number: int) -> None:
    """Delete the runs all of whose rows are deleted: the old end of a stream."""
    layout = state.layout
    index = _index(state, number)
    for run in index.runs[:-1]:
        # The last one stays: where it ends the next begins.
        low = int(layout.ends.searchsorted(run.first, "right"))
        if low == int(layout.firsts.searchsorted(run.stop, "left")):
            txn.delete(keys.index_run(state.node, number, run.first))
            vouch(txn, state, index)


def _renew(txn: Transaction, state: TableState, number: int) -> None:
    """Write the run anew of which most has changed, if that is enough."""
    index = _index(state, number)
    worn = max(index.runs, key=lambda run: run.dirty_share, default=None)
    if worn is not None and worn.dirty_share * WORN >= 1:
        build(txn, state, index, worn.first, worn.stop)


def build(txn: Transaction, state: TableState, index: Index, first: int, stop: int) -> None:
    """Write the run of the row ids first .. stop."""
    spans, n = _spans(state, first, stop)
    rows = np.empty(n, np.int64)
    for span in spans:
        rows[span.at : span.at + span.n] = as_ordinals(span.ordinals) + span.group.first
    words = []
    for leaf in index.leaves:
        values = np.empty(n, leaf.dtype)
        if n:
            read_leaves(state, spans, [leaf], [values])
        words += words_of(values)
        del values
    put = None
    if index.field:
        put = partial(_put_sealed, txn, state.sealing.keys(index.field))
    put_run(txn, state.node, index.number, first, stop, words, rows, put)
    vouch(txn, state, index)


def _put_sealed(
    txn: Transaction, opened: FieldKeys, key: bytes, payload: bytes, frames: list[Frame]
) -> None:
    parts.sealed.put_sealed_run(txn, key, payload, frames, opened)


def _spans(state: TableState, first: int, stop: int) -> tuple[list[Span], int]:
    """Return the live rows of some row ids."""
    layout = state.layout
    spans = []
    n = 0
    low = int(layout.ends.searchsorted(first, "right"))
    high = int(layout.firsts.searchsorted(stop, "left"))
    for at in range(low, high):
        group = layout.group(at)
        ordinals = as_ordinals(group_spans(state, group).ordinals)
        inside = ordinals.searchsorted((first - group.first, stop - group.first))
        some = ordinals[inside[0] : inside[1]]
        if len(some):
            spans.append(Span(group, as_run(some), n))
            n += len(some)
    return spans, n
