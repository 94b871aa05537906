"""What is whole of a segment of an array of which some sectors are damaged, block by block."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import numpy as np

from kist.engine.pages import check_size, load_head
from kist.errors import FormatError
from kist.model.arrays.grid import block_grid
from kist.model.arrays.segment import empty_array, read_segment
from kist.model.arrays.state import ArrayState, Segment

__all__ = ["Box", "read_whole_blocks"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Box = tuple[tuple[int, int], ...]

MOST_BYTES: Final = 1 << 28
"""Of values that are put together anew: what a page says of itself is not to be trusted."""

_MOST_BOXES: Final = 256
"""Boxes that are told of one segment; of more, the one around them all."""


def read_whole_blocks(state: ArrayState, segment: Segment) -> tuple[Array, list[Box]] | None:
    """Return the values of a segment where its page is damaged in part.

    Returns
    -------
    (ndarray, list of box), or None
        The values that count, with the fill value where they are lost; and the boxes that are
        lost, as (first, one past last) along each axis of the segment: none where the damage is
        in what a smaller shape has cut off. None where nothing can be read.
    """
    view, schema, valid = state.view, state.schema, segment.record.valid
    grid, one = block_grid(segment.record.stored, schema.blocks), (1,) * len(valid)
    large = grid.n_values * schema.dtype.itemsize > MOST_BYTES
    if segment.pointer is None or not valid or large:
        return None
    try:
        check_size(segment.pointer, load_head(view, segment.pointer)[0], grid.n_values)
    except FormatError:
        return None
    values = empty_array(valid, schema.dtype)
    values[...] = schema.fill_value()
    n_whole, lost = 0, list[Box]()
    for numbers in product(*map(range, grid.counts)):
        start = tuple(k * b for k, b in zip(numbers, grid.block, strict=True))
        stop = tuple(min(a + b, n) for a, b, n in zip(start, grid.block, valid, strict=True))
        count = tuple(b - a for a, b in zip(start, stop, strict=True))
        if min(count) <= 0:
            continue  # what does not count
        found = empty_array(count, schema.dtype)
        box = tuple(zip(start, stop, strict=True))
        try:
            read_segment(view, segment, schema, start, count, one, found)
        except FormatError:
            _add(lost, box)
        else:
            values[tuple(slice(a, b) for a, b in box)] = found
            n_whole += 1
    if not n_whole:
        return None
    if len(lost) > _MOST_BOXES:
        axes = zip(*lost, strict=True)
        lost = [tuple((min(a for a, _ in axis), max(b for _, b in axis)) for axis in axes)]
    return values, lost


def _add(lost: list[Box], box: Box) -> None:
    """Add a box, to the last one where that goes on with it along the last axis."""
    if lost and lost[-1][:-1] == box[:-1] and lost[-1][-1][1] == box[-1][0]:
        box = (*box[:-1], (lost.pop()[-1][0], box[-1][1]))
    lost.append(box)
