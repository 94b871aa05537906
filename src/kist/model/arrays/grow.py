"""Arrays that grow and shrink: appending along an axis, and giving an array another shape.

What is appended along axis 0 to a chunk that is partly filled becomes a segment of its own.
Segments are merged in tiers, so that each value is written some six times when an array grows
by single rows, and a chunk has at most about 45 of them, most of which are short.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.errors import ShapeError
from kist.format import keys
from kist.format.values import pack_record
from kist.model.arrays.segment import empty_array
from kist.model.arrays.state import ArrayState, Segment, put_bounds
from kist.model.arrays.write import Job, old_values, slab_rows, slabs, write, write_jobs
from kist.model.indexing import Box

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["append", "resize"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

TIERS: Final = (1, 16, 256, *(1 << bits for bits in range(10, 64, 2)))
"""Rows of the shortest segment of each tier.

Few appends merge long segments, and every page is a read and a call of its decoder for whoever
reads them all: with sixteen of each tier, reading took twice as long as here."""


def append(txn: Transaction, state: ArrayState, values: Array, axis: int) -> ArrayState:
    """Add values behind the last along an axis.

    Parameters
    ----------
    values : ndarray
        Of the array's dtype, and of its shape along all other axes.
    """
    at = state.shape[axis]
    shape = (*state.shape[:axis], at + values.shape[axis], *state.shape[axis + 1 :])
    field = state.field if state.schema.sealed else None
    put_bounds(txn, state.node, shape, field)
    grown = state.grown(txn, shape)
    if not values.size or not state.dtype.itemsize:
        pass
    elif axis == 0:
        write_jobs(txn, grown, _append_jobs(grown, at, values))
    else:
        start = tuple(at if k == axis else 0 for k in range(len(shape)))
        write(txn, grown, Box(start, values.shape, (1,) * len(shape)), values)
    if field is not None:
        field.vouch(txn)
    return grown


def _append_jobs(state: ArrayState, at: int, values: Array) -> Iterator[Job]:
    rows = state.schema.chunks[0]
    n = values.shape[0]
    size = slab_rows(state)
    others = [range(count) for count in state.grid[1:]]
    for number in range(at // rows, (at + n - 1) // rows + 1):
        low = number * rows
        first, stop = max(at - low, 0), min(at + n - low, rows)
        mine = values[low + first - at : low + stop - at]
        for rest in product(*others):
            index = (number, *rest)
            part = mine[
                (
                    slice(None),
                    *(
                        slice(k * c, k * c + c)
                        for k, c in zip(rest, state.schema.chunks[1:], strict=True)
                    ),
                )
            ]
            for a, b in slabs(rows, size):
                x, y = max(a, first), min(b, stop)
                if x < y:
                    yield _append_job(state, index, part[x - first : y - first], (a, b), x)


def _append_job(
    state: ArrayState, index: Shape, values: Array, slab: tuple[int, int], at: int
) -> Job:
    stop = at + len(values)
    old: list[Segment] = []
    if at > slab[0]:
        old = _merged(state.segments_before(index, slab[0], at), at, stop, slab[1])
    start = old[0].start if old else at
    shape = (stop - start, *values.shape[1:])
    if not old:
        return Job(index, at, shape, partial(np.asarray, values), ())
    drop = [segment.start for segment in old]
    return Job(index, start, shape, partial(_joined, state, index, start, at, old, values), drop)


def _joined(
    state: ArrayState,
    index: Shape,
    start: int,
    at: int,
    old: Sequence[Segment],
    values: Array,
) -> Array:
    rows = at - start
    out = empty_array((rows + len(values), *values.shape[1:]), state.dtype)
    # Not np.concatenate: it brings fields into the byte order of the machine.
    out[:rows] = old_values(state, index, start, (rows, *values.shape[1:]), old)
    out[rows:] = values
    return out


def _tier(rows: int) -> int:
    return bisect_right(TIERS, rows) - 1


def _merged(segments: Iterator[Segment], at: int, stop: int, end: int) -> list[Segment]:
    """Return the segments that become one with the rows ``at .. stop`` that are added.

    Parameters
    ----------
    segments : iterator of Segment
        From the last one backwards; no more are looked at than needed.
    end : int
        Where the slab is full: then all of it becomes one.

    Notes
    -----
    Segments of a lower tier than what is added join it; those of one tier are merged when
    together they make one of the next. So tiers never rise from one segment to the next, and
    every merge brings each of its rows into a higher tier.
    """
    if stop == end:
        return list(segments)[::-1]
    merged: list[Segment] = []
    equal: list[Segment] = []
    start = at
    for segment in segments:
        tier = _tier(stop - start)
        own = _tier(segment.rows)
        if own > tier:
            break
        equal.append(segment)
        if (own < tier and len(equal) == 1) or stop - segment.start >= TIERS[tier + 1]:
            merged += equal
            equal = []
            start = segment.start
    return merged[::-1]


def resize(txn: Transaction, state: ArrayState, shape: Shape) -> ArrayState:
    """Give an array another shape.

    What grows shows the fill value; what is cut off is gone, also when the array grows again.
    """
    field = state.field if state.schema.sealed else None
    shrinks = [axis for axis, (n, m) in enumerate(zip(state.shape, shape, strict=True)) if m < n]
    if shrinks:
        # All records are looked at unless only axis 0 is cut: its chunks are the last ones.
        first = shape[0] // state.schema.chunks[0] if shrinks == [0] else 0
        _cut(txn, state, shape, first)
    if shape != state.shape:
        put_bounds(txn, state.node, shape, field)
        if field is not None:
            field.vouch(txn)
    return state.grown(txn, shape)


def _cut(txn: Transaction, state: ArrayState, shape: Shape, first: int) -> None:
    chunks = state.schema.chunks
    beyond: int | None = None
    if first or shape[0] == 0:
        # From the first chunk that is outside as a whole, in one step.
        beyond = -(-shape[0] // chunks[0])
    changes: list[tuple[bytes, Segment | None]] = []
    for index, segment in state.all_segments(first):
        if beyond is not None and index[0] >= beyond:
            break
        key = keys.segment(state.node, index, segment.start)
        record = segment.record
        left = [n - k * c for n, k, c in zip(shape, index, chunks, strict=True)]
        left[0] -= segment.start
        valid = tuple(min(v, n) for v, n in zip(record.valid, left, strict=True))
        if min(valid) <= 0:
            changes.append((key, None))
        elif valid != record.valid:
            changes.append((key, segment._replace(record=record._replace(valid=valid))))
    outside = None
    if beyond is not None:
        outside = keys.chunk(state.node, (beyond,)), keys.segments(state.node)[1]
    if state.schema.sealed:
        from kist.model.arrays.sealed import cut_segments

        cut_segments(txn, state, changes, outside)
        return
    for key, kept in changes:
        if kept is None:
            txn.delete(key)
        else:
            pointers = () if kept.pointer is None else (kept.pointer,)
            txn.put(key, pack_record(kept.record.pack(), pointers))
    if outside is not None:
        txn.delete_range(*outside)


def check_append(state: ArrayState, shape: Shape, axis: int) -> None:
    """Refuse values that do not fit behind an array along an axis.

    Raises
    ------
    ShapeError
        Saying which shapes would.
    """
    wanted = tuple("n" if k == axis else str(n) for k, n in enumerate(state.shape))
    if len(shape) != len(state.shape) or any(
        a != b for k, (a, b) in enumerate(zip(shape, state.shape, strict=True)) if k != axis
    ):
        raise ShapeError(
            f"append: {state.path!r} takes values of shape ({', '.join(wanted)}"
            f"{',' if len(wanted) == 1 else ''}), not {shape}"
        )
