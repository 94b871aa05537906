"""Writing arrays: which chunks a write touches, what they hold then, and putting them.

A chunk is written as a whole: from the values alone where these cover it, else from what it held
and the values. Chunks of more than `SLAB_BYTES` are written as several segments, slabs along
axis 0 that are written alone, so that no write needs much memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise, product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.codecs.values import is_constant, to_form
from kist.engine import Frame
from kist.engine.parallel import run
from kist.format import keys
from kist.format.array import SegmentRecord
from kist.format.dtypes import is_string_dtype
from kist.format.layout import FRAME_PAGE
from kist.format.values import pack_record
from kist.model.arrays.grid import CHUNK_BYTES, block_grid
from kist.model.arrays.read import (
    AxisPart,
    axis_part,
    box_chunks,
    group_points,
    place,
    read_chunk,
)
from kist.model.arrays.segment import empty_array, in_blocks, pack_inline
from kist.model.arrays.state import ArrayState, Segment
from kist.model.indexing import Box, Points
from kist.model.page_build import Chosen, Page, build

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = [
    "INLINE_BYTES",
    "Job",
    "Made",
    "bytes_anew",
    "slab_rows",
    "slabs",
    "write",
    "write_jobs",
    "write_one",
]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

INLINE_BYTES: Final = 1_024
"""Values of up to so many bytes stand in the record."""

SLAB_BYTES: Final = 32 << 20
"""Raw bytes of the part of a chunk that is written at once."""

BATCH_BYTES: Final = 16 << 20
"""Raw bytes of chunks that are encoded before they are written."""

MOST_SAMPLED: Final = 16_384
"""Values of a block that are looked at to choose a recipe."""

MOST_ALIKE: Final = 1 << 19
"""Arrays of so few bytes take what was chosen for one like them; more are worth choosing for. Of
stores that hold little else, all that are one chunk do."""

_LAST_RECORDS: Final = 64
"""So many of the last records are looked at for the recipe of a page: an array that grows by
single rows ends in segments that have none."""


class Job(NamedTuple):
    """One segment to be written, and what it takes the place of.

    Attributes
    ----------
    index : tuple of int
        Of the chunk.
    start : int
        First row of the segment.
    shape : tuple of int
        Of the segment.
    make : callable
        Gives its values; called in any thread.
    drop : sequence of int
        Rows at which segments begin that go.
    """

    index: Shape  # type: ignore[assignment]  # hides the method of tuples
    start: int
    shape: Shape
    make: Callable[[], Array]
    drop: Sequence[int]


class _Recipes:
    """What the next page is encoded with."""

    def __init__(self, state: ArrayState, *, new: bool = False) -> None:
        self._state = state
        self._last: Chosen | None = None
        self._looked = new  # nothing is there

    @property
    def last(self) -> Chosen | None:
        if not self._looked:
            self._looked = True
            state = self._state
            found = state.view.scan(*keys.segments(state.node), reverse=True)
            for key, value in islice(found, _LAST_RECORDS):
                record = state.segment_of(key, value)[1].record
                if record.data is None:
                    self._last = Chosen.of(record.recipe, record.bits)
                    break
        return self._last

    def use(self, chosen: Chosen) -> None:
        self._last, self._looked = chosen, True


def slab_rows(state: ArrayState) -> int:
    """Return how many rows of a chunk are written at once, at most."""
    chunks = state.schema.chunks
    if not chunks:
        return 1
    row = math.prod(chunks[1:]) * max(state.dtype.itemsize, 1)
    return max(1, min(chunks[0], SLAB_BYTES // row))


def slabs(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (first, behind the last) row of each slab of a chunk."""
    for at in range(0, rows, size):
        yield at, min(at + size, rows)


def write(txn: Transaction, state: ArrayState, where: Box | Points, values: Array) -> None:
    """Give elements new values.

    Parameters
    ----------
    where : Box or Points
        Which, all within the bounds. Of points that are named twice the last counts.
    values : ndarray
        Of the array's dtype and the layout of `where`, any strides.
    """
    state.check_open()
    if not values.size or not state.dtype.itemsize:
        return
    if isinstance(where, Points):
        write_jobs(txn, state, _point_jobs(state, where, values))
    else:
        write_jobs(txn, state, _box_jobs(state, where, values))
    if state.schema.sealed:
        state.field.vouch(txn)


def bytes_anew(state: ArrayState, where: Box | Points) -> int:
    """Return the raw bytes of the chunks that a box touches; of points those of one."""
    lengths = state.schema.chunks
    n_chunks = 1
    if isinstance(where, Box):
        low, high = box_chunks(where, lengths)
        n_chunks = math.prod([b - a + 1 for a, b in zip(low, high, strict=True)])
    shape = [min(c, n) for c, n in zip(lengths, state.shape, strict=True)]
    return n_chunks * math.prod(shape) * state.dtype.itemsize


def write_one(txn: Transaction, state: ArrayState, values: Array) -> bool:
    """Write all of a new array if it is one segment; return whether it is.

    Parameters
    ----------
    values : ndarray
        Of the array's dtype and shape, any strides.
    """
    schema, shape = state.schema, state.shape
    if schema.sealed or not values.nbytes:
        return False
    if any(map(int.__gt__, shape, schema.chunks)) or (shape and shape[0] > slab_rows(state)):
        return False
    job = Job((0,) * len(shape), 0, shape, partial(_same, values), ())
    if values.nbytes > INLINE_BYTES or is_string_dtype(values.dtype):
        _write_batch(txn, state, [job], _Recipes(state, new=True))
        return True
    found = _encode(state, job, None)
    if found.data is not None:
        record = SegmentRecord(shape, shape, data=found.data)
        key = keys.segment(state.node, job.index, 0)
        txn.put(key, pack_record(record.pack()), old=None)
    return True


def _box_jobs(state: ArrayState, box: Box, values: Array) -> Iterator[Job]:
    lengths = state.schema.chunks
    low, high = box_chunks(box, lengths)
    spans = [
        range(a, b + 1) if d <= c else sorted({(s + i * d) // c for i in range(n)})
        for a, b, s, n, d, c in zip(low, high, *box, lengths, strict=True)
    ]
    for index in product(*spans):
        parts = [axis_part(k, c, *along) for k, c, *along in zip(index, lengths, *box, strict=True)]
        mine = values[place(slice(at, at + n) for _, n, at in parts)]
        yield from _chunk_jobs(state, index, parts, box.step, mine)


def _chunk_jobs(
    state: ArrayState, index: Shape, parts: list[AxisPart], step: Shape, values: Array
) -> Iterator[Job]:
    """Yield the segments of one chunk that a box changes."""
    region = state.region(index)
    old = state.segments(index)
    if not region:
        yield Job(index, 0, region, partial(_same, values), [segment.start for segment in old])
        return
    first, n, _ = parts[0]
    for a, b in _touched(
        region[0], slab_rows(state), old, [(first, first + (n - 1) * step[0] + 1)]
    ):
        # Elements of the box in these rows.
        from_ = max(0, -((first - a) // step[0]))
        to = max(from_, min(n, -((first - b) // step[0])))
        shape = (b - a, *region[1:])
        mine = values[from_:to]
        starts = (first + from_ * step[0] - a, *(part[0] for part in parts[1:]))
        drop = [segment.start for segment in old if a <= segment.start < b]
        if mine.shape == shape:
            yield Job(index, a, shape, partial(_same, mine), drop)
        else:
            where = tuple(
                slice(s, s + d * m, d) for s, d, m in zip(starts, step, mine.shape, strict=True)
            )
            change = partial(_set, where, mine)
            yield Job(index, a, shape, partial(_changed, state, index, a, shape, old, change), drop)


def _same(values: Array) -> Array:
    return values


def _set(where: Any, values: Array, target: Array) -> None:
    target[where] = values


def _changed(
    state: ArrayState,
    index: Shape,
    start: int,
    shape: Shape,
    old: Sequence[Segment],
    change: Callable[[Array], None],
) -> Array:
    out = old_values(state, index, start, shape, old)
    change(out)
    return out


def old_values(
    state: ArrayState, index: Shape, start: int, shape: Shape, old: Sequence[Segment]
) -> Array:
    """Return what rows of a chunk hold."""
    out = empty_array(shape, state.dtype)
    first = (start, *(0,) * (len(shape) - 1)) if shape else ()
    read_chunk(state, index, old, first, shape, (1,) * len(shape), out)
    return out


def _touched(
    rows: int, size: int, old: Sequence[Segment], wanted: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the slabs that hold wanted rows, and those whose rows share a segment with one."""
    every = list(slabs(rows, size))
    if len(every) == 1:
        return every
    marked = {k for a, b in wanted for k in range(a // size, (b - 1) // size + 1)}
    crossing = [
        range(s.start // size, (s.stop - 1) // size + 1)
        for s in old
        if s.start // size != (s.stop - 1) // size
    ]
    while True:
        more = {k for span in crossing if not marked.isdisjoint(span) for k in span} - marked
        if not more:
            return [every[k] for k in sorted(marked)]
        marked |= more


def _point_jobs(state: ArrayState, points: Points, values: Array) -> Iterator[Job]:
    box, axes, lengths = points.box, points.axes, state.schema.chunks
    rest = [k for k in range(len(lengths)) if k not in axes]
    order, edges, groups = group_points(state, points)
    spans = [
        range(
            box.start[k] // lengths[k],
            (box.start[k] + (box.count[k] - 1) * box.step[k]) // lengths[k] + 1,
        )
        for k in rest
    ]
    for corner, (a, b) in zip(groups, pairwise(edges.tolist()), strict=True):
        mine = order[a:b]
        local = [
            coords[mine] - p * lengths[axis]
            for coords, p, axis in zip(points.coords, corner, axes, strict=True)
        ]
        for others in product(*spans):
            at = dict(zip(axes, corner, strict=True)) | dict(zip(rest, others, strict=True))
            index = tuple(at[k] for k in range(len(lengths)))
            parts = {
                k: axis_part(index[k], lengths[k], box.start[k], box.count[k], box.step[k])
                for k in rest
            }
            if all(part[1] for part in parts.values()):
                where: Any = (mine, *(slice(p[2], p[2] + p[1]) for p in parts.values()))
                new = values[where]
                yield from _chunk_point_jobs(state, index, axes, local, parts, box.step, new)


def _chunk_point_jobs(
    state: ArrayState,
    index: Shape,
    axes: Sequence[int],
    coords: list[Array],
    parts: dict[int, AxisPart],
    step: Shape,
    values: Array,
) -> Iterator[Job]:
    region = state.region(index)
    old = state.segments(index)
    size = slab_rows(state)
    if 0 in parts:
        first, n, _ = parts[0]
        wanted = [(first, first + (n - 1) * step[0] + 1)]
    else:
        numbers = np.unique(coords[0] // size).tolist()
        wanted = [(k * size, k * size + 1) for k in numbers]
    for a, b in _touched(region[0], size, old, wanted):
        shape = (b - a, *region[1:])
        drop = [segment.start for segment in old if a <= segment.start < b]
        change = partial(_set_points, axes, coords, parts, step, values, a, b)
        yield Job(index, a, shape, partial(_changed, state, index, a, shape, old, change), drop)


def _set_points(
    axes: Sequence[int],
    coords: list[Array],
    parts: dict[int, AxisPart],
    step: Shape,
    values: Array,
    first: int,
    stop: int,
    target: Array,
) -> None:
    """Set the points that lie in rows ``first .. stop`` of the chunk."""
    cut = {k: (a, n) for k, (a, n, _) in parts.items()}
    if 0 in cut:
        a, n = cut[0]
        d = step[0]
        from_, to = max(0, -((a - first) // d)), min(n, -((a - stop) // d))
        if to <= from_:
            return
        values = values[:, from_:to]
        cut[0] = a + from_ * d - first, to - from_
        own = coords
    else:
        mine = np.flatnonzero((coords[0] >= first) & (coords[0] < stop))
        own = [c[mine] for c in coords]
        own[0] = own[0] - first
        values = values[mine]
    rest = sorted(cut)
    inner = target[
        tuple(
            slice(cut[k][0], cut[k][0] + step[k] * cut[k][1], step[k]) if k in cut else slice(None)
            for k in range(target.ndim)
        )
    ]
    # Points first, the other axes behind, as the values stand.
    inner.transpose([*axes, *rest])[tuple(own)] = values


# Encoding and putting


class Made(NamedTuple):
    """A segment in stored form; nothing at all when all of it is the fill value."""

    data: bytes | None
    page: Page | None


def write_jobs(txn: Transaction, state: ArrayState, jobs: Iterable[Job]) -> None:
    """Write segments, in batches: encoded on several threads, written as one run."""
    recipes = _Recipes(state)
    batch: list[Job] = []
    size = 0
    for job in jobs:
        nbytes = math.prod(job.shape) * state.dtype.itemsize
        if batch and size + nbytes > BATCH_BYTES:
            _write_batch(txn, state, batch, recipes)
            batch, size = [], 0
        batch.append(job)
        size += nbytes
    if batch:
        _write_batch(txn, state, batch, recipes)


def _write_batch(txn: Transaction, state: ArrayState, jobs: list[Job], recipes: _Recipes) -> None:
    made: list[Made] = []
    while len(made) < len(jobs):
        if any(_is_large(job, state) for job in jobs[len(made) :]) and recipes.last is None:
            made.append(_encode(state, jobs[len(made)], None))  # others will follow it
        else:
            last = recipes.last if any(_is_large(job, state) for job in jobs) else None
            made += run([partial(_encode, state, job, last) for job in jobs[len(made) :]])
        for found in made:
            if found.page is not None:
                recipes.use(found.page.chosen)
    if state.schema.sealed:
        from kist.model.arrays.sealed import put_segments

        put_segments(txn, state, jobs, made)
        return
    pages = [found.page for found in made if found.page is not None]
    pointers = iter(
        txn.write([Frame(FRAME_PAGE, state.node, 0, 0, page.head, page.parts) for page in pages])
    )
    puts = []
    for job, found in zip(jobs, made, strict=True):
        stays = found.page is not None or found.data is not None
        for start in job.drop:
            if not (stays and start == job.start):
                txn.delete(keys.segment(state.node, job.index, start))
        key = keys.segment(state.node, job.index, job.start)
        if found.page is not None:
            chosen = found.page.chosen
            record = SegmentRecord(job.shape, job.shape, chosen.packed, chosen.bits)
            puts.append((key, pack_record(record.pack(), (next(pointers),))))
        elif found.data is not None:
            record = SegmentRecord(job.shape, job.shape, data=found.data)
            puts.append((key, pack_record(record.pack())))
    txn.put_all(puts)


def _is_large(job: Job, state: ArrayState) -> bool:
    return math.prod(job.shape) * state.dtype.itemsize > INLINE_BYTES


def _encode(state: ArrayState, job: Job, last: Chosen | None) -> Made:
    schema = state.schema
    values = job.make()
    if _is_fill(values, schema.fill_value()):
        return Made(None, None)
    data = pack_inline(values, INLINE_BYTES)
    if data is not None:
        return Made(data, None)
    grid = block_grid(job.shape, schema.blocks)
    flat = in_blocks(values, grid)
    aligned = grid.is_runs and schema.codec == "none"
    # Blocks that are cubes repeat themselves from plane to plane.
    block = None if grid.is_runs else min(grid.block_values, MOST_SAMPLED)
    reader = state.view.reader
    kin, most = (reader.kin, CHUNK_BYTES) if reader.kin else (reader.uuid, MOST_ALIKE)
    page = build(
        flat,
        last,
        schema.codec,
        grid.block_values,
        aligned=aligned,
        block=block,
        store=kin if flat.nbytes <= most else None,
    )
    return Made(None, page)


def _is_fill(values: Array, fill: Array) -> bool:
    """Tell whether all values have the same bytes as the fill value. Cheap when they do not."""
    if is_string_dtype(values.dtype):
        corner = values[(0,) * values.ndim]
        missing = getattr(values.dtype, "na_object", None)
        if isinstance(corner, str) != isinstance(fill.item(), str):
            return False
        if not isinstance(corner, str):
            return all(
                item is missing or not isinstance(item, str) for item in values.reshape(-1).tolist()
            )
        return corner == fill.item() and all(item == corner for item in values.reshape(-1).tolist())
    first = values[(slice(0, 1),) * values.ndim] if values.ndim else values
    if first.tobytes() != fill.tobytes():
        return False
    return is_constant(to_form(values.reshape(-1)))
