"""Reading around damage: what cannot be read is masked, segment by segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from kist.errors import CorruptDataError
from kist.model.arrays.read import axis_part, box_chunks, group_points, place, read, read_chunk
from kist.model.arrays.segment import empty_array, read_segment
from kist.model.arrays.state import ArrayState, Segment
from kist.model.indexing import Box, Points, Selection

__all__ = ["read_masked"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


def read_masked(
    state: ArrayState, selection: Selection
) -> tuple[np.ma.MaskedArray[Any, Any], list[str]]:
    """Read elements, and mask those whose pages are damaged.

    Returns
    -------
    MaskedArray
        Of the shape of the selection; the fill value under the mask.
    list of str
        What is masked, in words.

    Raises
    ------
    CorruptDataError
        It is not known which chunks there are.
    """
    try:
        whole = np.asarray(selection.read(partial(read, state)))
        return np.ma.MaskedArray(whole, mask=np.ma.make_mask_none(whole.shape, whole.dtype)), []
    except CorruptDataError:
        reading = _Reading(state)
    values = np.asarray(selection.read(reading.fetch))
    hidden = np.asarray(selection.read(lambda where: reading.hidden))
    mask = np.ma.make_mask_none(values.shape, values.dtype)
    mask[hidden] = True if mask.dtype.names is None else np.ones((), mask.dtype)[()]
    return np.ma.MaskedArray(values, mask=mask), reading.told


def _along(box: Box, axis: int) -> tuple[int, int, int]:
    return box.start[axis], box.count[axis], box.step[axis]


class _Reading:
    """One masked read: what is hidden, and why."""

    def __init__(self, state: ArrayState) -> None:
        self.state = state
        self.hidden = np.zeros((), bool)
        self.told: list[str] = []

    def fetch(self, where: Box | Points) -> Array:
        """Return the elements; `hidden` has the same layout."""
        return self._points(where) if isinstance(where, Points) else self._box(where)

    def _points(self, points: Points) -> Array:
        rest = [n for k, n in enumerate(points.box.count) if k not in points.axes]
        layout = (len(points.coords[0]), *rest)
        out = empty_array(layout, self.state.dtype)
        self.hidden = np.zeros(layout, bool)
        if not math.prod(layout):
            return out
        order, edges, _ = group_points(self.state, points)
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            mine = order[a:b]
            own = points._replace(coords=tuple(coords[mine] for coords in points.coords))
            try:
                out[mine] = read(self.state, own)
            except CorruptDataError:
                self._points_by_chunk(own, mine, out)
        return out

    def _points_by_chunk(self, points: Points, mine: Array, out: Array) -> None:
        """Fill the rows `mine` with points that share their chunks along the axes they name."""
        box, lengths = points.box, self.state.schema.chunks
        rest = [k for k in range(len(lengths)) if k not in points.axes]
        spans = []
        for k in rest:
            a, n, d = _along(box, k)
            spans.append(range(a // lengths[k], (a + (n - 1) * d) // lengths[k] + 1))
        for others in product(*spans):
            start, count, slices = list(box.start), list(box.count), []
            for k, number in zip(rest, others, strict=True):
                first, n, at = axis_part(number, lengths[k], *_along(box, k))
                start[k], count[k] = number * lengths[k] + first, n
                slices.append(slice(at, at + n))
            if any(count[k] <= 0 for k in rest):
                continue
            where: Any = (mine, *slices)
            own = points._replace(box=Box(tuple(start), tuple(count), box.step))
            try:
                out[where] = read(self.state, own)
            except CorruptDataError as error:
                out[where] = self.state.schema.fill_value()
                self.hidden[where] = True
                self.told.append(str(error))

    def _box(self, box: Box) -> Array:
        state, lengths = self.state, self.state.schema.chunks
        out = empty_array(box.count, state.dtype)
        out[...] = state.schema.fill_value()
        self.hidden = np.zeros(box.count, bool)
        if 0 in box.count:
            return out
        for index, segments in state.chunks_within(*box_chunks(box, lengths)).items():
            axes = [
                axis_part(k, c, a, n, d) for k, c, a, n, d in zip(index, lengths, *box, strict=True)
            ]
            start, count = tuple(a for a, _, _ in axes), tuple(n for _, n, _ in axes)
            if 0 in count:
                continue
            where = place(slice(at, at + n) for _, n, at in axes)
            try:
                read_chunk(state, index, segments, start, count, box.step, out[where])
            except CorruptDataError as error:
                self.told.append(str(error))
                self._segments(segments, start, count, box.step, out[where], self.hidden[where])
        return out

    def _segments(
        self,
        segments: Sequence[Segment],
        start: Shape,
        count: Shape,
        step: Shape,
        out: Array,
        hidden: Array,
    ) -> None:
        """Fill part of a chunk segment by segment."""
        schema = self.state.schema
        out[...] = schema.fill_value()
        for segment in segments:
            starts, counts, slices = [], [], []
            for axis, (a, n, d) in enumerate(zip(start, count, step, strict=True)):
                low = segment.start if axis == 0 else 0
                high = segment.stop if axis == 0 else segment.record.valid[axis]
                first = max(0, -((a - low) // d))
                last = min(n, -((a - high) // d))
                starts.append(a + first * d - low)
                counts.append(last - first)
                slices.append(slice(first, last))
            if any(n <= 0 for n in counts):
                continue
            where = place(slices)
            try:
                read_segment(
                    self.state.view, segment, schema, tuple(starts), tuple(counts), step, out[where]
                )
            except CorruptDataError:
                out[where] = schema.fill_value()
                hidden[where] = True
