"""Chunks that a transaction has changed in part, and writes later.

A loop that fills an array row by row changes the same chunks again and again: each time they would
be decoded, encoded and written anew, to new space. So within a transaction of the caller they stay
in memory until something else needs them, or they are too many, or the transaction ends.

What has been put off is never lost by a step that fails: it stays here, also when it was written
within that step, until the step has succeeded (docs/design/0021-writes-put-off.md).
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.engine.interrupts import hold_interrupts
from kist.engine.parallel import run
from kist.format.dtypes import is_string_dtype
from kist.model.arrays.read import axis_part, box_chunks, place
from kist.model.arrays.segment import empty_array
from kist.model.arrays.state import ArrayState, array_state
from kist.model.arrays.write import SLAB_BYTES, Job, old_values, write_jobs
from kist.model.indexing import Box, Points
from kist.model.later import LATER

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["MOST_BYTES", "Later", "put_off"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

MOST_BYTES: Final = 64 << 20
"""Raw bytes of chunks that are kept, beside those of one write."""


class _Kept:
    """Chunks of one array; `is_written` by the step that runs, or since the last one."""

    __slots__ = ("chunks", "is_written", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.chunks: dict[Shape, Array] = {}
        self.is_written = False

    @property
    def nbytes(self) -> int:
        return sum([chunk.nbytes for chunk in self.chunks.values()])


class Later:
    """The chunks that a transaction keeps: see `kist.model.later.PutOff`."""

    __slots__ = ("_kept", "_txn")

    def __init__(self, txn: Transaction) -> None:
        self._txn = txn
        self._kept: dict[int, _Kept] = {}

    @property
    def is_full(self) -> bool:
        return sum([kept.nbytes for kept in self._kept.values()]) > MOST_BYTES

    def settle(self, node: int | None = None) -> None:
        for number in list(self._kept) if node is None else [node]:
            kept = self._kept.get(number)
            if kept is None or kept.is_written:
                continue
            state = array_state(self._txn, number, kept.path, settled=True)
            jobs = [
                Job(index, 0, chunk.shape, partial(_same, chunk), _starts(state, index))
                for index, chunk in kept.chunks.items()
            ]
            write_jobs(self._txn, state, jobs)
            kept.is_written = True

    def step_done(self) -> None:
        self._kept = {n: kept for n, kept in self._kept.items() if not kept.is_written}

    def step_undone(self) -> None:
        for kept in self._kept.values():
            kept.is_written = False

    def forget(self) -> None:
        self._kept = {}

    def take(self, state: ArrayState, box: Box, values: Array) -> bool:
        """Give elements new values here; return False where they are to be written at once.

        All of them or, after an error, none. Elements to be written at once are in none of the
        chunks that wait.
        """
        lengths = state.schema.chunks
        nbytes = math.prod(lengths) * state.dtype.itemsize
        low, high = box_chunks(box, lengths)
        n_chunks = math.prod([b - a + 1 for a, b in zip(low, high, strict=True)])
        if nbytes > SLAB_BYTES or n_chunks * nbytes > MOST_BYTES:
            self.settle(state.node)
            return False
        mine = self._kept.get(state.node)
        if mine is None or mine.is_written:
            mine = _Kept(state.path)
        kept = mine.chunks
        found: dict[Shape, Array] = {}
        changes: list[tuple[Shape, Any, Array]] = []
        reads: list[Shape] = []
        for index in product(*(range(a, b + 1) for a, b in zip(low, high, strict=True))):
            region = state.region(index)
            parts = [
                axis_part(k, c, *along) for k, c, *along in zip(index, lengths, *box, strict=True)
            ]
            counts = tuple(n for _, n, _ in parts)
            if not all(counts):
                continue  # a step leads over it
            where = tuple(
                slice(a, a + d * n, d) for (a, n, _), d in zip(parts, box.step, strict=True)
            )
            changes.append((index, where, values[place(slice(at, at + n) for _, n, at in parts)]))
            if index in kept:
                found[index] = kept[index]
            elif counts == region:
                found[index] = empty_array(region, state.dtype)
            else:
                reads.append(index)
        if not reads and not any(index in kept for index, *_ in changes):
            return False  # whole chunks: there is nothing to wait for
        found |= zip(reads, run([partial(_whole, state, index) for index in reads]), strict=True)
        with hold_interrupts():
            self._kept[state.node] = mine
            for index, where, new in changes:
                kept.setdefault(index, found[index])[where] = new
        return True


def put_off(txn: Transaction, state: ArrayState, where: Box | Points, values: Array) -> bool:
    """Change chunks in memory, if that is how these elements are best written.

    Parameters
    ----------
    where, values
        As `write` takes them, which is to be called where this returns False.
    """
    later: Later | None = txn.by_node.get(LATER)
    if (
        isinstance(where, Points)
        or not state.schema.chunks
        or state.schema.sealed
        or not state.dtype.itemsize
        or is_string_dtype(state.dtype)
    ):
        if later is not None:
            later.settle(state.node)
        return False
    if later is None:
        later = txn.by_node[LATER] = Later(txn)
    return later.take(state, where, values)


def _whole(state: ArrayState, index: Shape) -> Array:
    return old_values(state, index, 0, state.region(index), state.segments(index))


def _starts(state: ArrayState, index: Shape) -> list[int]:
    return [segment.start for segment in state.segments(index)]


def _same(values: Array) -> Array:
    return values
