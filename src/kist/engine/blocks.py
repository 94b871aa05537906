"""Scattered blocks of one page, decoded together.

What `kist.engine.pages` does for runs of values this does for whole blocks, with little work for
each: a plane through a chunk of an array takes a few values of many blocks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kist._kernels.scratch import scratch
from kist.codecs.pipeline import decode
from kist.codecs.stage import StoredBlocks
from kist.engine.pages import (
    READ_RUN,
    check_size,
    gap_of,
    load_head,
    plain_width,
    read_runs,
    undecoded,
    verify_sectors,
)
from kist.engine.view import View
from kist.errors import CodecError
from kist.format.values import Pointer

__all__ = ["read_blocks"]

_FEW = 6
"""Fewer blocks take less time one by one."""

_BYTES = np.dtype(np.uint8)

Array = npt.NDArray[np.generic]


def read_blocks(
    view: View,
    pointer: Pointer,
    numbers: list[int],
    runs: list[tuple[int, int]],
    dtype: np.dtype[np.generic],
    n_values: int,
    block_values: int,
) -> Array:
    """Return the values of some blocks of a page, one behind the other.

    Parameters
    ----------
    numbers : list of int
        Of the blocks, ascending, at least one.
    runs : list of (start, stop)
        The same as runs of values.
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
    if len(numbers) < _FEW:
        return read_runs(view, pointer, runs, dtype, n_values)
    head, stages = load_head(view, pointer)
    check_size(pointer, head, n_values)
    if (
        dtype.kind == "T"  # blocks of long strings hold fewer values
        or head.block_values != block_values
        or plain_width(head, stages, dtype)
    ):
        return read_runs(view, pointer, runs, dtype, n_values)
    # Without NumPy, whose calls take longer than these loops.
    per = head.sector_blocks
    edges = (0, *head.ends)
    spans = _spans(edges, per, sorted({number // per for number in numbers}), gap_of(view))
    total = sum(b - a for _, a, b in spans)
    if total > READ_RUN:
        return read_runs(view, pointer, runs, dtype, n_values)
    at = StoredBlocks.room_for(len(numbers))
    buffer = scratch("stored", at + total, _BYTES)
    data = buffer.data
    view.reader.read_spans(pointer, head.size, [(a, b) for _, a, b in spans], data[at:])
    starts: list[int] = []
    stops: list[int] = []
    done = 0
    for sectors, a, b in spans:
        shift = at - a
        verify_sectors(pointer, head, data, -shift, sectors)
        end = bisect_left(numbers, (sectors[-1] + 1) * per, done)
        for number in numbers[done:end]:
            starts.append(edges[number] + shift)
            stops.append(edges[number + 1] + shift)
        done, at = end, at + b - a
    blocks = StoredBlocks(buffer, starts, stops)
    last = min((numbers[-1] + 1) * block_values, n_values) - numbers[-1] * block_values
    out = scratch("runs", (len(numbers) - 1) * block_values + last, dtype)
    try:
        which = numbers[0] if len(runs) == 1 else numbers
        decode(stages, dtype, n_values, block_values, which, blocks, out)
    except CodecError as error:
        raise undecoded(pointer, error) from error
    return out


def _spans(
    edges: Sequence[int], per: int, sectors: list[int], gap: int
) -> list[tuple[list[int], int, int]]:
    """Return (sectors, first byte, end) of what is read with one call each.

    Parameters
    ----------
    edges : sequence of int
        Where blocks begin, and the end of the last.
    per : int
        Blocks of a sector.
    gap : int
        Bytes that are read for nothing to save a call.
    """
    spans: list[tuple[list[int], int, int]] = []
    for sector in sectors:
        a, b = edges[sector * per], edges[min(sector * per + per, len(edges) - 1)]
        if spans and a - spans[-1][2] <= gap:
            members, begin, _ = spans[-1]
            members.append(sector)
            spans[-1] = members, begin, b
        else:
            spans.append(([sector], a, b))
    return spans
