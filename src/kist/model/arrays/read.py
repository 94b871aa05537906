"""Reading arrays: from a box or points to the chunks that hold them, into place.

Work goes chunk by chunk on several threads, each straight into its part of the output; what
no segment covers becomes the fill value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any, Final

import numpy as np

from kist.engine.ahead import BATCH_BYTES, Wanted, bring_pages
from kist.engine.parallel import run
from kist.errors import CorruptDataError
from kist.model.arrays.segment import empty_array, gather, read_segment, wanted_of
from kist.model.arrays.state import SCAN_COST, ArrayState, Chunks, Segment, located
from kist.model.indexing import Box, Points

__all__ = [
    "AxisPart",
    "axis_part",
    "box_chunks",
    "group_points",
    "place",
    "read",
    "read_chunk",
    "whole_box",
]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
AxisPart = tuple[int, int, int]  # first element within the chunk, elements, place in memory
Task = Callable[[], None]

THREAD_BYTES: Final = 256 << 10
"""Smaller reads are done by the calling thread: waking another takes about 50 us."""

TASK_BYTES: Final = 4 << 20
"""Larger parts of a chunk are cut, so that threads have equal work."""

FEW_MISSING: Final = 64
"""Up to so many absent chunks are filled one by one; of more, all of the output is filled."""

POINT_VALUES: Final = 32
"""Points that each name at most so many values are read value by value; others box by box."""


def place(slices: Iterable[slice]) -> Any:
    """Return slices as an index that keeps a 0-d array an array."""
    return (*slices, ...)


def whole_box(shape: Shape) -> Box:
    """Return the box of all elements."""
    return Box((0,) * len(shape), shape, (1,) * len(shape))


def axis_part(chunk: int, length: int, start: int, count: int, step: int) -> AxisPart:
    """Return which elements along one axis of a box lie in a chunk.

    Parameters
    ----------
    chunk, length : int
        Number of the chunk along the axis, and how long chunks are.
    """
    low = chunk * length
    first = max(0, -((start - low) // step))
    stop = min(count, -((start - low - length) // step))
    return start + first * step - low, max(stop - first, 0), first


def box_chunks(box: Box, chunks: Shape) -> tuple[Shape, Shape]:
    """Return the lowest and the highest chunk index that a box that is not empty touches."""
    low = tuple([a // c for a, c in zip(box.start, chunks, strict=True)])
    high = tuple(
        [
            (a + (n - 1) * d) // c
            for a, n, d, c in zip(box.start, box.count, box.step, chunks, strict=True)
        ]
    )
    return low, high


def read(state: ArrayState, where: Box | Points, out: Array | None = None) -> Array:
    """Return the elements of an array.

    Parameters
    ----------
    where : Box or Points
        Which.
    out : ndarray, optional
        Of the array's dtype and the layout of `where`, any strides.

    Raises
    ------
    CorruptDataError
        Naming the array and the chunk.
    """
    state.check_open()
    if isinstance(where, Points):
        return _read_points(state, where, out)
    return _read_box(state, where, out)


def _read_box(state: ArrayState, box: Box, out: Array | None) -> Array:
    dtype = state.dtype
    if 0 in box.count or not dtype.itemsize:
        return empty_array(box.count, dtype) if out is None else out
    lengths = state.schema.chunks
    low, high = box_chunks(box, lengths)
    chunks = state.chunks_within(low, high)
    if len(lengths) > 1:
        from kist.model.arrays.small import read_small  # what has one axis does not need it

        if (found := read_small(state, box, low, high, chunks, out)) is not None:
            return found
    # What lies in a chunk along an axis is the same for all chunks with that index along it.
    along = [
        {k: axis_part(k, c, a, n, d) for k in {index[axis] for index in chunks}}
        for axis, (c, a, n, d) in enumerate(zip(lengths, *box, strict=True))
    ]
    parts = {}
    for index in chunks:
        axes = [places[k] for places, k in zip(along, index, strict=True)]
        if all(axis[1] for axis in axes):
            parts[index] = axes
    out = _filled(state, box, parts, out)
    remote = state.view.reader.backend.remote
    for batch in _brought_near(state, chunks, parts, box.step) if remote else [list(parts)]:
        tasks: list[Task] = []
        for index in batch:
            axes = parts[index]
            start = tuple([axis[0] for axis in axes])
            count = tuple([axis[1] for axis in axes])
            target = out[place([slice(at, at + n) for _, n, at in axes])]
            for cut in _tasks(start, count, box.step, target):
                tasks.append(partial(read_chunk, state, index, chunks[index], *cut))
        _run(tasks, out.nbytes)
    return out


def _brought_near(
    state: ArrayState, chunks: Chunks, parts: dict[Shape, list[AxisPart]], step: Shape
) -> Iterator[list[Shape]]:
    """Yield the chunks in batches, each when what it takes has come from far away."""
    batch: list[Shape] = []
    wanted: list[Wanted] = []
    room = BATCH_BYTES
    for index, axes in parts.items():
        batch.append(index)
        start, count, _ = zip(*axes, strict=True) if axes else ((), (), ())
        for segment, _, n, own in _within(chunks[index], start, count, step)[0]:
            found = wanted_of(segment, state.schema, own, n, step)
            if found is not None:
                stored = math.prod(segment.record.stored)
                room -= found[0].length * math.prod(n) // max(1, stored)
                wanted.append(found)
        if room < 0:
            _bring_near(state, wanted)
            yield batch
            batch, wanted, room = [], [], BATCH_BYTES
    if batch:
        _bring_near(state, wanted)
        yield batch


def _bring_near(state: ArrayState, wanted: list[Wanted]) -> None:
    try:
        bring_pages(state.view, wanted)
    except CorruptDataError:
        return  # reading will find the same, and say in which chunk


def _run(tasks: list[Task], nbytes: int) -> None:
    if nbytes < THREAD_BYTES:
        for task in tasks:
            task()
    else:
        run(tasks)


def _tasks(
    start: Shape, count: Shape, step: Shape, out: Array
) -> list[tuple[Shape, Shape, Shape, Array]]:
    """Cut a large part of a chunk along its first axis that is longer than 1."""
    if out.nbytes <= TASK_BYTES:
        return [(start, count, step, out)]
    axis = next(k for k, n in enumerate(count) if n > 1)
    size = max(1, TASK_BYTES * count[axis] // out.nbytes)
    if size * step[axis] >= 16:
        # Powers of two: blocks end there, and none is decoded twice.
        size = max(1, (1 << ((size * step[axis]).bit_length() - 1)) // step[axis])
    cuts = []
    for at in range(0, count[axis], size):
        n = min(size, count[axis] - at)
        where = (slice(None),) * axis + (slice(at, at + n),)
        first = start[axis] + at * step[axis]
        cuts.append(
            (
                (*start[:axis], first, *start[axis + 1 :]),
                (*count[:axis], n, *count[axis + 1 :]),
                step,
                out[where],
            )
        )
    return cuts


def _filled(
    state: ArrayState, box: Box, present: dict[Shape, list[AxisPart]], out: Array | None
) -> Array:
    """Return the output, with the fill value where chunks are absent."""
    lengths = state.schema.chunks
    low, high = box_chunks(box, lengths)
    cells = [
        n if d > c else b - a + 1
        for a, b, n, d, c in zip(low, high, box.count, box.step, lengths, strict=True)
    ]
    missing = math.prod(cells) - len(present)
    fill = state.schema.fill_value()
    if out is None:
        if missing and not any(state.schema.fill):
            # Costs nothing until it is written to.
            return empty_array(box.count, state.dtype, zeros=True)
        out = empty_array(box.count, state.dtype)
    if missing > FEW_MISSING:
        out[...] = fill
    elif missing:
        for index in product(
            *(
                range(a, b + 1) if d <= c else sorted({(s + i * d) // c for i in range(n)})
                for a, b, s, n, d, c in zip(low, high, *box, lengths, strict=True)
            )
        ):
            if index not in present:
                axes = [
                    axis_part(k, c, *along)
                    for k, c, *along in zip(index, lengths, *box, strict=True)
                ]
                out[place(slice(at, at + n) for _, n, at in axes)] = fill
    return out


def read_chunk(
    state: ArrayState,
    index: Shape,
    segments: Sequence[Segment],
    start: Shape,
    count: Shape,
    step: Shape,
    out: Array,
) -> None:
    """Fill `out` with elements of one chunk.

    Parameters
    ----------
    index : tuple of int
        Of the chunk, for messages.
    segments : sequence of Segment
        All of them, in order of their rows.
    start, count, step : tuple of int
        As of a `Box`, counted from the first corner of the chunk.
    """
    if len(segments) == 1 and not segments[0].start:
        valid = segments[0].record.valid
        if all(a + (n - 1) * d < m for a, n, d, m in zip(start, count, step, valid, strict=True)):
            try:
                read_segment(state.view, segments[0], state.schema, start, count, step, out)
            except CorruptDataError as error:
                state.view.reader.backend.distrust()
                raise located(error, state.path, index) from error
            return
    plan, covered = _within(segments, start, count, step)
    if covered < math.prod(count):
        out[...] = state.schema.fill_value()
    try:
        for segment, firsts, counts, starts in plan:
            target = out[place([slice(a, a + n) for a, n in zip(firsts, counts, strict=True)])]
            read_segment(state.view, segment, state.schema, starts, counts, step, target)
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
        raise located(error, state.path, index) from error


def _within(
    segments: Sequence[Segment], start: Shape, count: Shape, step: Shape
) -> tuple[list[tuple[Segment, list[int], Shape, Shape]], int]:
    """Return what each segment of a chunk has of a selection.

    Returns
    -------
    plan : list of (Segment, firsts, counts, starts)
        Place in the output, elements, and first corner counted from that of the segment.
    covered : int
        Elements that they have together, those of segments that overlap counted once.
    """
    plan = []
    covered = end = 0
    for segment in segments:
        begin, valid = segment.start, segment.record.valid
        stop = begin + (valid[0] if valid else 1)
        firsts, counts, starts = [], [], []
        for axis, (a, n, d) in enumerate(zip(start, count, step, strict=True)):
            from_, to = (begin, stop) if axis == 0 else (0, valid[axis])
            first = max(0, -((a - from_) // d))
            firsts.append(first)
            counts.append(min(n, -((a - to) // d)) - first)
            starts.append(a + first * d - from_)
        if counts and min(counts) <= 0:
            continue
        if begin >= end:
            covered += math.prod(counts)
        end = max(end, stop)
        plan.append((segment, firsts, tuple(counts), tuple(starts)))
    return plan, covered


# Points


def group_points(state: ArrayState, points: Points) -> tuple[Array, Array, list[tuple[int, ...]]]:
    """Sort points by the chunks that hold them.

    Returns
    -------
    order : ndarray of int64
        Numbers of the points, those of one chunk together, in their order.
    edges : ndarray of int64
        Where each chunk begins in `order`, and the end.
    indices : list of tuple
        Place of each chunk along the axes of `points`.
    """
    chunks = [state.schema.chunks[axis] for axis in points.axes]
    grid = [state.grid[axis] for axis in points.axes]
    places = [c // length for c, length in zip(points.coords, chunks, strict=True)]
    key = places[0]
    span = grid[0]
    for own, size in zip(places[1:], grid[1:], strict=True):
        if span * size >= 1 << 62:
            key = np.unique(key, return_inverse=True)[1]
            span = len(key)
        if span * size >= 1 << 62:
            own = np.unique(own, return_inverse=True)[1]
            size = len(own)
        key = key * size + own
        span *= size
    order = np.argsort(key, kind="stable")
    ranked = key[order]
    edges = np.concatenate(([0], np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, [len(order)]))
    heads = order[edges[:-1]]
    indices = list(zip(*(own[heads].tolist() for own in places), strict=True))
    return order, edges, indices


def _read_points(state: ArrayState, points: Points, out: Array | None) -> Array:
    box, axes = points.box, points.axes
    rest = [k for k in range(len(box.count)) if k not in axes]
    n = len(points.coords[0])
    layout = (n, *(box.count[k] for k in rest))
    if out is None:
        out = empty_array(layout, state.dtype)
    if 0 in layout or not state.dtype.itemsize:
        return out
    order, edges, groups = group_points(state, points)
    lengths = state.schema.chunks
    spans = []
    for k in rest:
        low = box.start[k] // lengths[k]
        high = (box.start[k] + (box.count[k] - 1) * box.step[k]) // lengths[k]
        spans.append((low, high))
    chunks = _chunks_of(state, groups, axes, rest, spans)
    tasks: list[Task] = []
    for corner, (a, b) in zip(groups, pairwise(edges.tolist()), strict=True):
        mine = order[a:b]
        local = [
            coords[mine] - p * lengths[axis]
            for coords, p, axis in zip(points.coords, corner, axes, strict=True)
        ]
        for others in product(*(range(low, high + 1) for low, high in spans)):
            index = _merged(corner, axes, others, rest)
            parts = [
                axis_part(index[k], lengths[k], box.start[k], box.count[k], box.step[k])
                for k in rest
            ]
            if all(part[1] for part in parts):
                target = out[(slice(None), *(slice(at, at + m) for _, m, at in parts))]
                segments = chunks.get(index, [])
                tasks.append(
                    partial(
                        _read_chunk_points,
                        state,
                        index,
                        segments,
                        local,
                        axes,
                        parts,
                        [box.step[k] for k in rest],
                        mine,
                        target,
                    )
                )
    _run(tasks, out.nbytes)
    return out


def _merged(
    place: Sequence[int], axes: Sequence[int], others: Sequence[int], rest: Sequence[int]
) -> Shape:
    index = dict(zip(axes, place, strict=True)) | dict(zip(rest, others, strict=True))
    return tuple(index[k] for k in range(len(index)))


def _chunks_of(
    state: ArrayState,
    groups: list[tuple[int, ...]],
    axes: Sequence[int],
    rest: list[int],
    spans: list[tuple[int, int]],
) -> Chunks:
    lows = [min(place[k] for place in groups) for k in range(len(axes))]
    highs = [max(place[k] for place in groups) for k in range(len(axes))]
    low = _merged(lows, axes, [a for a, _ in spans], rest)
    high = _merged(highs, axes, [b for _, b in spans], rest)
    between = math.prod(b - a + 1 for a, b in zip(low, high, strict=True))
    wanted = len(groups) * math.prod(b - a + 1 for a, b in spans)
    if between <= SCAN_COST * wanted:
        return state.chunks_within(low, high)
    out: Chunks = {}
    for place in groups:
        for others in product(*(range(a, b + 1) for a, b in spans)):
            index = _merged(place, axes, others, rest)
            out[index] = state.segments(index)
    return out


def _read_chunk_points(
    state: ArrayState,
    index: Shape,
    segments: Sequence[Segment],
    coords: list[Array],
    axes: Sequence[int],
    parts: list[AxisPart],
    steps: list[int],
    rows: Array,
    out: Array,
) -> None:
    """Read points of one chunk into the rows of `out` that are theirs.

    Parameters
    ----------
    coords : list of ndarray
        Within the chunk, one array per axis of `axes`.
    parts, steps : list
        Of the other axes.
    """
    if not segments:
        out[rows] = state.schema.fill_value()
        return
    n_values = math.prod(part[1] for part in parts)
    if n_values <= POINT_VALUES:
        every = _spread(coords, axes, parts, steps)
        values = _gather_chunk(state, index, segments, every)
        out[rows] = values.reshape(len(rows), *(part[1] for part in parts))
        return
    # Points of one block are read as the box that holds them.
    blocks = state.schema.blocks
    cells = np.stack([c // blocks[axis] for c, axis in zip(coords, axes, strict=True)])
    _, groups = np.unique(cells, axis=1, return_inverse=True)
    order = np.argsort(groups.reshape(-1), kind="stable")
    edges = np.flatnonzero(np.diff(groups.reshape(-1)[order])) + 1
    rest = [k for k in range(len(index)) if k not in axes]
    for mine in np.split(order, edges):
        own = [c[mine] for c in coords]
        low = [int(c.min()) for c in own]
        count = [int(c.max()) - a + 1 for c, a in zip(own, low, strict=True)]
        where = [
            _merged(first, axes, [part[place] for part in parts], rest)
            for first, place in ((low, 0), (count, 1))
        ]
        step = _merged([1] * len(axes), axes, steps, rest)
        raw = empty_array(where[1], state.dtype)
        read_chunk(state, index, segments, where[0], where[1], step, raw)
        front = np.moveaxis(raw, list(axes), range(len(axes)))
        out[rows[mine]] = front[tuple(c - a for c, a in zip(own, low, strict=True))]


def _spread(
    coords: list[Array], axes: Sequence[int], parts: list[AxisPart], steps: list[int]
) -> list[Array]:
    """Return coordinates along all axes for each value that the points name."""
    n = len(coords[0])
    shape = (n, *(part[1] for part in parts))
    found: dict[int, Array] = {}
    for axis, c in zip(axes, coords, strict=True):
        found[axis] = c.reshape(n, *(1,) * len(parts))
    rest = [k for k in range(len(axes) + len(parts)) if k not in axes]
    for place, (axis, (first, m, _), step) in enumerate(zip(rest, parts, steps, strict=True)):
        along = [1] * len(shape)
        along[place + 1] = m
        found[axis] = (first + step * np.arange(m)).reshape(along)
    return [np.broadcast_to(found[k], shape).reshape(-1) for k in sorted(found)]


def _gather_chunk(
    state: ArrayState, index: Shape, segments: Sequence[Segment], coords: list[Array]
) -> Array:
    n = len(coords[0])
    out = None
    for segment in segments:
        inside = (coords[0] >= segment.start) & (coords[0] < segment.stop)
        for c, limit in zip(coords[1:], segment.record.valid[1:], strict=True):
            inside &= c < limit
        mine = np.flatnonzero(inside)
        if not len(mine):
            continue
        own = [c[mine] for c in coords]
        own[0] = own[0] - segment.start
        try:
            found = gather(state.view, segment, state.schema, own)
        except CorruptDataError as error:
            raise located(error, state.path, index) from error
        if len(mine) == n:
            out = found
            continue
        if out is None:
            out = np.full(n, state.schema.fill_value(), state.dtype)
        out[mine] = found
    return np.full(n, state.schema.fill_value(), state.dtype) if out is None else out
