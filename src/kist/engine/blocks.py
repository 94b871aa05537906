"""Scattered blocks of one page, decoded together.

What `kist.engine.pages` does for runs of values this does for whole blocks, with little work for
each: a plane through a chunk of an array takes a few values of many blocks.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kist._kernels.scratch import scratch
from kist.codecs.pipeline import decode
from kist.codecs.stage import StoredBlocks
from kist.engine.pages import (
    READ_GAP,
    READ_RUN,
    check_size,
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
    ends, per = head.ends, head.sector_blocks
    sectors = sorted({number // per for number in numbers})
    a = ends[sectors[0] * per - 1] if sectors[0] else 0
    b = ends[min(sectors[-1] * per + per, len(ends)) - 1]
    if b - a > READ_RUN or _has_gap(ends, per, sectors):
        return read_runs(view, pointer, runs, dtype, n_values)
    data = view.reader.read_part(pointer, head.size + a, b - a)
    verify_sectors(pointer, head, memoryview(data), a, sectors)
    starts = [(ends[number - 1] if number else 0) - a for number in numbers]
    blocks = StoredBlocks(data, starts, [ends[number] - a for number in numbers])
    last = min((numbers[-1] + 1) * block_values, n_values) - numbers[-1] * block_values
    out = scratch("runs", (len(numbers) - 1) * block_values + last, dtype)
    try:
        which = numbers[0] if len(runs) == 1 else numbers
        decode(stages, dtype, n_values, block_values, which, blocks, out)
    except CodecError as error:
        raise undecoded(pointer, error) from error
    return out


def _has_gap(ends: tuple[int, ...], per: int, sectors: list[int]) -> bool:
    """Tell whether so much lies between sectors that it should not be read."""
    if sectors[-1] - sectors[0] + 1 == len(sectors):
        return False
    return any(ends[d * per - 1] - ends[c * per + per - 1] > READ_GAP for c, d in pairwise(sectors))
