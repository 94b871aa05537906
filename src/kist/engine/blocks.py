"""Scattered blocks of one page, decoded together.

What `kist.engine.pages` does for runs of values this does for whole blocks, with little work for
each: a plane through a chunk of an array takes a few values of many blocks. Python looks at
each sector once, for its sum; all else is NumPy's work on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kist._kernels.scratch import scratch
from kist.codecs.pipeline import decode, decode_alone
from kist.codecs.registry import BLOSC2
from kist.codecs.stage import StoredBlocks
from kist.codecs.values import is_stored_order
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

__all__ = ["decode_together", "read_blocks", "read_together", "runs_of"]

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


def decode_together(view: View, pointer: Pointer, dtype: np.dtype[np.generic]) -> bool:
    """Whether blocks of this page, and of others that are encoded alike, decode by one call.

    Encodings have parameters of their own for each page, and running sums.
    """
    stages = load_head(view, pointer)[1]
    return len(stages) == 1 and stages[0].id == BLOSC2 and is_stored_order(dtype)


def read_together(
    view: View,
    pages: Sequence[tuple[Pointer, Sequence[int]]],
    places: Sequence[int],
    dtype: np.dtype[np.generic],
    n_values: int,
    block_values: int,
) -> Array | None:
    """Return the values of whole blocks of several pages, decoded by one call.

    Parameters
    ----------
    pages : sequence of (Pointer, sequence of int)
        With the numbers of blocks, ascending.
    places : sequence of int
        Where each of these blocks stands in the result.
    n_values, block_values : int
        What each page must hold, a multiple of a block of it.

    Returns
    -------
    ndarray, 1-d, of `dtype`, or None
        Memory of this thread, valid until its next call. None where not all pages are encoded like
        the first one, for which `decode_together` holds, or that takes many bytes.

    Raises
    ------
    CorruptDataError
        A checksum fails, a page holds something else, or does not decode.
    """
    first = load_head(view, pages[0][0])[1]
    heads = []
    for pointer, _ in pages:
        head, stages = load_head(view, pointer)
        check_size(pointer, head, n_values)
        if stages != first or head.block_values != block_values:
            return None
        heads.append(head)
    n = len(places)
    begin = end = StoredBlocks.room_for(n)
    plans: list[_Reading] = []
    for head, (_, numbers) in zip(heads, pages, strict=True):
        plans.append(_planned(head, numbers, _gap_of(view), end))
        end = plans[-1].stop
    if end > READ_RUN:
        return None
    buffer = scratch("stored", end + StoredBlocks.BEHIND, _BYTES)
    for (pointer, _), head, plan in zip(pages, heads, plans, strict=True):
        _read(view, pointer, head, plan, buffer.data)
    starts, stops = np.empty(n, np.int64), np.empty(n, np.int64)
    starts[places] = [start for plan in plans for start in plan.starts]
    stops[places] = [stop for plan in plans for stop in plan.stops]
    blocks = StoredBlocks(buffer, starts, stops, (begin, end))
    out = scratch("runs", n * block_values, dtype)
    try:
        # A codec alone knows nothing of the page around its blocks.
        decode_alone(first, dtype, block_values, blocks, out)
    except CodecError as error:
        raise undecoded(pages[0][0], error) from error
    return out


class _Reading(NamedTuple):
    """What is read of a page, and where it goes in a buffer.

    Attributes
    ----------
    spans : list of (int, int)
        Bytes behind the head: each is read by one call, one behind the other.
    sectors : list of (int, int, int)
        Number, begin and end in the buffer.
    starts, stops : list of int
        Of the blocks, in the buffer.
    begin, stop : int
        Of all of it, in the buffer.
    """

    spans: list[tuple[int, int]]
    sectors: list[tuple[int, int, int]]
    starts: list[int]
    stops: list[int]
    begin: int
    stop: int


def _planned(head: PageHead, numbers: Sequence[int], gap: int, begin: int) -> _Reading:
    """Return how the sectors that hold some blocks are read into a buffer from `begin` on."""
    ends, per, n_blocks = head.ends, head.sector_blocks, len(head.ends)
    spans: list[tuple[int, int]] = []
    sectors: list[tuple[int, int, int]] = []
    starts, stops = [], []
    at, known, read, shift = begin, -1, 0, 0
    for number in numbers:
        sector = number // per
        if sector != known:
            known, first = sector, sector * per
            a, b = ends[first - 1] if first else 0, ends[min(first + per, n_blocks) - 1]
            if spans and a - read <= gap:
                spans[-1] = spans[-1][0], b
                at += b - read
            else:
                spans.append((a, b))
                shift = at - a
                at += b - a
            read = b
            sectors.append((sector, a + shift, b + shift))
        starts.append((ends[number - 1] if number else 0) + shift)
        stops.append(ends[number] + shift)
    return _Reading(spans, sectors, starts, stops, begin, at)


def _read(view: View, pointer: Pointer, head: PageHead, plan: _Reading, buffer: memoryview) -> None:
    """Read sectors into a buffer and verify them."""
    view.reader.read_spans(pointer, head.size, plan.spans, buffer[plan.begin : plan.stop])
    sums = head.sums
    for sector, a, b in plan.sectors:
        if sum64(buffer[a:b]) != sums[sector]:
            raise damaged(pointer, head, sector)


def _stored(view: View, pointer: Pointer, head: PageHead, numbers: Ints) -> StoredBlocks | None:
    """Read the sectors that hold some blocks and verify them; None if that takes many bytes."""
    plan = _planned(head, numbers.tolist(), _gap_of(view), StoredBlocks.room_for(len(numbers)))
    if plan.stop > READ_RUN:
        return None
    buffer = scratch("stored", plan.stop + StoredBlocks.BEHIND, _BYTES)
    _read(view, pointer, head, plan, buffer.data)
    return StoredBlocks(buffer, np.array(plan.starts), np.array(plan.stops))


def _gap_of(view: View) -> int:
    return 0 if view.reader.backend.remote else _GAP
