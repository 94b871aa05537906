"""Elements that a transaction has given new values in part of a chunk, or appended: written later.

A loop that fills an array row by row changes the same chunks again and again: each time they would
be decoded, encoded and written anew, to new space. So within a transaction of the caller the values
stay in memory until something else needs them, or they are too many, or the transaction ends.

What has been put off is never lost by a step that fails: it stays here, also when it was written
within that step, until the step has succeeded (docs/design/0021-writes-put-off.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.engine.interrupts import hold_interrupts
from kist.format.dtypes import is_string_dtype
from kist.model.arrays.grow import append
from kist.model.arrays.read import axis_part, box_chunks, place
from kist.model.arrays.state import ArrayState, Segment, array_state
from kist.model.arrays.write import SLAB_BYTES, Job, old_values, write_jobs
from kist.model.indexing import Box, Points
from kist.model.later import LATER

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["MOST_BYTES", "Later", "growing", "put_off", "put_off_rows", "settle_rows"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

MOST_BYTES: Final = 64 << 20
"""Bytes of values that are kept, those of one write not counted: a quarter of it at most."""

PATCH_BYTES: Final = 512
"""What a patch takes beside its values, about."""


class Patch(NamedTuple):
    """New values of a part of a chunk."""

    where: tuple[slice, ...]
    values: Array


class _Kept:
    """Changes of one array: patches by chunk, or rows that are appended.

    Attributes
    ----------
    before : _Kept or None
        What came before, which is written already, and kept until that is safe; or it was taken
        back, and waits again.
    patches : dict
        Of each chunk in their order.
    rows : list of ndarray
        Rows of an array as `state` shows it. There are no patches then.
    is_written : bool
        By the step that runs, or since the last one.
    """

    __slots__ = ("before", "is_written", "nbytes", "patches", "path", "rows", "state")

    def __init__(self, path: str, before: _Kept | None) -> None:
        self.path = path
        self.before = before
        self.patches: dict[Shape, list[Patch]] = {}
        self.rows: list[Array] = []
        self.state: ArrayState | None = None
        self.nbytes = 0
        self.is_written = False

    def waiting(self) -> list[_Kept]:
        """Return what is to be written, the oldest first."""
        if self.before is None or self.before.is_written:
            return [self]
        return [*self.before.waiting(), self]

    def has(self, index: Shape) -> bool:
        """Whether patches of a chunk wait."""
        return any(index in one.patches for one in self.waiting())

    def write(self, txn: Transaction, node: int) -> None:
        """Write it to the transaction."""
        state = array_state(txn, node, self.path, settled=True)
        for rows in _joined(self.rows):
            state = append(txn, state, rows, 0)
        found = sorted(self.patches.items())
        write_jobs(txn, state, (_job(state, index, patches) for index, patches in found))

    def add(self, changes: list[tuple[Shape, Patch]]) -> None:
        """Add patches: all or, where memory runs out, none."""
        try:
            for index, patch in changes:
                self.patches.setdefault(index, []).append(patch)
        except MemoryError:
            for index, patch in changes:
                mine = self.patches.get(index)
                if mine and mine[-1] is patch:
                    mine.pop()
                if mine is not None and not mine:
                    del self.patches[index]
            raise


class Later:
    """What a transaction keeps of arrays: see `kist.model.later.PutOff`."""

    __slots__ = ("_kept", "_txn")

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn
        self._kept: dict[int, _Kept] = {}

    @property
    def is_full(self) -> bool:
        return (
            sum([one.nbytes for kept in self._kept.values() for one in kept.waiting()]) > MOST_BYTES
        )

    def settle(self, node: int | None = None) -> None:
        for number in list(self._kept) if node is None else [node]:
            kept = self._kept.get(number)
            if kept is None or kept.is_written:
                continue
            for one in kept.waiting():
                one.write(self._txn, number)
            kept.is_written = True

    def step_done(self) -> None:
        self._kept = {n: kept for n, kept in self._kept.items() if not kept.is_written}
        for kept in self._kept.values():
            if kept.before is not None and kept.before.is_written:
                kept.before = None

    def step_undone(self) -> None:
        for kept in self._kept.values():
            one: _Kept | None = kept
            while one is not None:
                one.is_written = False
                one = one.before

    def forget(self) -> None:
        self._kept = {}

    def take(self, state: ArrayState, box: Box, values: Array) -> bool:
        """Keep new values of elements; return False where they are to be written at once.

        All of them or, after an error, none. Elements to be written at once are in none of the
        chunks that wait.
        """
        lengths = state.schema.chunks
        low, high = box_chunks(box, lengths)
        n_chunks = math.prod([b - a + 1 for a, b in zip(low, high, strict=True)])
        nbytes = values.nbytes + PATCH_BYTES * n_chunks
        chunk_nbytes = math.prod(lengths) * state.dtype.itemsize
        if chunk_nbytes > SLAB_BYTES or nbytes > MOST_BYTES // 4:
            self.settle(state.node)
            return False
        kept = self._kept.get(state.node)
        if kept is None or kept.is_written:
            kept = _Kept(state.path, kept)
        mine = np.array(values)  # a loop may fill the same memory again
        changes: list[tuple[Shape, Patch]] = []
        is_part = False
        for index in product(*(range(a, b + 1) for a, b in zip(low, high, strict=True))):
            parts = [
                axis_part(k, c, *along) for k, c, *along in zip(index, lengths, *box, strict=True)
            ]
            if not all(n for _, n, _ in parts):
                continue  # a step leads over it
            where = tuple(
                slice(a, a + d * n, d) for (a, n, _), d in zip(parts, box.step, strict=True)
            )
            patch = Patch(where, mine[place(slice(at, at + n) for _, n, at in parts)])
            is_part |= kept.has(index) or patch.values.shape != state.region(index)
            changes.append((index, patch))
        if not is_part:
            return False  # whole chunks: there is nothing to wait for
        with hold_interrupts():
            kept.add(changes)
            kept.nbytes += nbytes
            self._kept[state.node] = kept
        return True

    def growing(self, node: int) -> ArrayState | None:
        """Return an array as it was before rows that wait for it, None where there are none."""
        kept = self._kept.get(node)
        return None if kept is None or kept.is_written else kept.state

    def take_rows(self, state: ArrayState, values: Array) -> bool:
        """Keep rows that are appended; return False where they are to be written at once.

        Those that wait are to be written before.
        """
        if values.nbytes + PATCH_BYTES > MOST_BYTES // 4:
            return False
        kept = self._kept.get(state.node)
        if kept is None or kept.state is not state:
            kept = _Kept(state.path, kept)
            kept.state = state
        mine = np.array(values)  # a loop may fill the same memory again
        try:
            with hold_interrupts():
                kept.rows.append(mine)
                kept.nbytes += mine.nbytes + PATCH_BYTES
                self._kept[state.node] = kept
        except BaseException:  # Ctrl-C, when that was done: they are not appended
            if kept.rows and kept.rows[-1] is mine:
                kept.rows.pop()
            raise
        return True


def _joined(parts: list[Array]) -> Iterator[Array]:
    """Yield rows that were appended one by one, as many at once as memory allows twice."""
    at = 0
    while at < len(parts):
        stop, nbytes = at + 1, parts[at].nbytes
        while stop < len(parts) and nbytes + parts[stop].nbytes <= MOST_BYTES // 4:
            nbytes += parts[stop].nbytes
            stop += 1
        # Not np.concatenate: it brings fields into the byte order of the machine.
        rows = np.empty((sum(map(len, parts[at:stop])), *parts[at].shape[1:]), parts[at].dtype)
        first = 0
        for part in parts[at:stop]:
            rows[first : first + len(part)] = part
            first += len(part)
        yield rows
        at = stop


def _job(state: ArrayState, index: Shape, patches: list[Patch]) -> Job:
    """Return the job that writes a chunk as it is with the patches."""
    region, old = state.region(index), state.segments(index)
    # What stands before a patch of all of it does not count.
    wholes = [at for at, patch in enumerate(patches) if patch.values.shape == region]
    make = partial(_patched, state, index, old, patches[wholes[-1] :] if wholes else patches)
    return Job(index, 0, region, make, [segment.start for segment in old])


def _patched(
    state: ArrayState, index: Shape, old: Sequence[Segment], patches: list[Patch]
) -> Array:
    region = state.region(index)
    if patches[0].values.shape == region:
        out = patches[0].values.copy()
        patches = patches[1:]
    else:
        out = old_values(state, index, 0, region, old)
    for where, values in patches:
        out[where] = values
    return out


def put_off(txn: Transaction, state: ArrayState, where: Box | Points, values: Array) -> bool:
    """Keep new values in memory, if that is how these elements are best written.

    Parameters
    ----------
    where, values
        As `write` takes them, which is to be called where this returns False.
    """
    later: Later | None = txn.by_node.get(LATER)
    if isinstance(where, Points) or not _can_wait(state):
        if later is not None:
            later.settle(state.node)
        return False
    if later is None:
        later = txn.by_node[LATER] = Later(txn)
    return later.take(state, where, values)


def put_off_rows(txn: Transaction, state: ArrayState, values: Array) -> bool:
    """Keep rows in memory that are appended along axis 0, if that is how they are best written.

    Parameters
    ----------
    state : ArrayState
        What `growing` returned or, where that was None, what the transaction shows now.
    """
    if not _can_wait(state) or not len(values):
        return False
    later: Later | None = txn.by_node.get(LATER)
    if later is None:
        later = txn.by_node[LATER] = Later(txn)
    return later.take_rows(state, values)


def growing(txn: Transaction, node: int) -> ArrayState | None:
    """Return an array as it was before rows that wait for it, None where there are none."""
    later: Later | None = txn.by_node.get(LATER)
    return None if later is None else later.growing(node)


def settle_rows(txn: Transaction, node: int) -> None:
    """Write the rows that wait for an array, so that its shape is what the user sees."""
    later: Later | None = txn.by_node.get(LATER)
    if later is not None and later.growing(node) is not None:
        later.settle(node)


def _can_wait(state: ArrayState) -> bool:
    return bool(
        state.schema.chunks
        and not state.schema.sealed
        and state.dtype.itemsize
        and not is_string_dtype(state.dtype)
    )
