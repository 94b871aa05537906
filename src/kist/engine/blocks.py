"""Scattered blocks of one page, decoded together.

What `kist.engine.pages` does for runs of values this does for whole blocks, with little work for
each: a plane through a chunk of an array takes a few values of many blocks. Python looks at
each sector once, for its sum; all else is NumPy's work on all of them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from kist._kernels.scratch import scratch
from kist.codecs.pipeline import decode
from kist.codecs.stage import StoredBlocks
from kist.engine.pages import (
    READ_RUN,
    check_size,
    damaged,
    load_head,
    plain_width,
    read_runs,
    undecoded,
)
from kist.engine.view import View
from kist.errors import CodecError
from kist.format.checksum import sum64
from kist.format.page import PageHead
from kist.format.values import Pointer

__all__ = ["read_blocks", "runs_of"]

_FEW: Final = 3
"""Fewer blocks take less time one by one."""

_GAP: Final = 24 << 10
"""Bytes that are read for nothing to save a call, which takes 4 us: half of `pages.READ_GAP`, for
nothing else than the call is saved here."""

_BYTES = np.dtype(np.uint8)

Array = npt.NDArray[np.generic]
Ints = npt.NDArray[np.int64]


def read_blocks(
    view: View,
    pointer: Pointer,
    numbers: Ints,
    dtype: np.dtype[np.generic],
    n_values: int,
    block_values: int,
) -> Array:
    """Return the values of some blocks of a page, one behind the other.

    Parameters
    ----------
    numbers : ndarray of int64
        Of the blocks, ascending, at least one.
    n_values, block_values : int
        What the page must hold, and a block of it.

    Returns
    -------
    ndarray, 1-d, of `dtype`
        Memory of this thread, valid until its next call, or read-only bytes as they were stored.

    Raises
    ------
    CorruptDataError
        A checksum fails, the page holds something else, or does not decode.
    """
    head, stages = load_head(view, pointer)
    check_size(pointer, head, n_values)
    if (
        len(numbers) < _FEW
        or dtype.kind == "T"  # blocks of long strings hold fewer values
        or head.block_values != block_values
        or plain_width(head, stages, dtype)
    ):
        return read_runs(view, pointer, runs_of(numbers, block_values, n_values), dtype, n_values)
    blocks = _stored(view, pointer, head, numbers)
    if blocks is None:
        return read_runs(view, pointer, runs_of(numbers, block_values, n_values), dtype, n_values)
    before = (len(numbers) - 1) * block_values  # only the last block of a page is shorter
    last = min(block_values, n_values - int(numbers[-1]) * block_values)
    out = scratch("runs", before + last, dtype)
    try:
        decode(stages, dtype, n_values, block_values, numbers, blocks, out)
    except CodecError as error:
        raise undecoded(pointer, error) from error
    return out


def runs_of(numbers: Ints, block_values: int, n_values: int) -> list[tuple[int, int]]:
    """Return ascending blocks as runs of values."""
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    firsts = numbers[np.concatenate(([0], cuts))] * block_values
    stops = (numbers[np.concatenate((cuts, [len(numbers)])) - 1] + 1) * block_values
    return list(zip(firsts.tolist(), np.minimum(stops, n_values).tolist(), strict=True))


def _stored(view: View, pointer: Pointer, head: PageHead, numbers: Ints) -> StoredBlocks | None:
    """Read the sectors that hold some blocks and verify them; None if that takes many bytes."""
    edges, per = head.edges, head.sector_blocks
    sectors, own = numbers, np.arange(len(numbers))
    if per > 1:
        sectors = numbers // per
        fresh = np.concatenate(([True], sectors[1:] != sectors[:-1]))
        sectors, own = sectors[fresh], np.cumsum(fresh) - 1
    begins = edges[sectors * per]
    ends = edges[np.minimum(sectors * per + per, len(edges) - 1)]
    # Spans of sectors that are read with one call each, one behind the other into a buffer.
    gap = 0 if view.reader.backend.remote else _GAP
    jumps = begins[1:] - ends[:-1] > gap
    starts = begins[np.concatenate(([True], jumps))]
    stops = ends[np.concatenate((jumps, [True]))]
    sizes = stops - starts
    total = int(sizes.sum())
    if total > READ_RUN:
        return None
    room = StoredBlocks.room_for(len(numbers))
    buffer = scratch("stored", room + total, _BYTES)
    data = buffer.data
    spans = list(zip(starts.tolist(), stops.tolist(), strict=True))
    view.reader.read_spans(pointer, head.size, spans, data[room:])
    # By how much each sector has moved.
    moved = (np.cumsum(sizes) - sizes - starts)[np.concatenate(([0], np.cumsum(jumps)))] + room
    places = zip(sectors.tolist(), (begins + moved).tolist(), (ends + moved).tolist(), strict=True)
    sums = head.sums
    for sector, a, b in places:
        if sum64(data[a:b]) != sums[sector]:
            raise damaged(pointer, head, sector)
    shift = moved[own]
    return StoredBlocks(buffer, edges[numbers] + shift, edges[numbers + 1] + shift)
