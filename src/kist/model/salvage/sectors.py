"""What is whole of a page of which some sectors are damaged."""

from __future__ import annotations

from typing import Any

import numpy as np

from kist.engine.pages import check_size, load_head, read_page
from kist.engine.view import View
from kist.errors import FormatError
from kist.format.values import Pointer

__all__ = ["read_whole_sectors"]


def read_whole_sectors(
    view: View, pointer: Pointer, values: np.ndarray[Any, Any]
) -> list[tuple[int, int]] | None:
    """Fill an array with the values of those sectors of a page that are whole.

    Parameters
    ----------
    values : ndarray
        All values of the page, zeros so far; those of damaged sectors stay zeros.

    Returns
    -------
    list of (int, int), or None
        Runs of values that are lost, ascending and apart; None where nothing can be read.
    """
    n = len(values)
    try:
        head, _ = load_head(view, pointer)
        check_size(pointer, head, n)
    except FormatError:
        return None
    step = head.sector_blocks * head.block_values
    lost: list[tuple[int, int]] = []
    for start in range(0, n, step):
        stop = min(start + step, n)
        found = values[start:stop].copy()
        try:
            read_page(view, pointer, found, start, n)
        except FormatError:
            before = lost.pop() if lost and lost[-1][1] == start else (start, stop)
            lost.append((before[0], stop))
        else:
            values[start:stop] = found
    return lost if lost != [(0, n)] else None
