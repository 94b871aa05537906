"""Working memory that each thread keeps: touching fresh memory costs more than the work in it.

A page has half a megabyte. Allocated anew for every page, it comes from the system and goes back,
and each of its 4 KiB pages is mapped and zeroed again: about 1 GB/s where the copy itself runs
at 5 to 10.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEPT_BYTES", "STAYING_BYTES", "scratch"]

KEPT_BYTES = 4 << 20
"""Larger buffers are not kept."""

STAYING_BYTES = 16 << 20
"""Arrays of up to so many bytes find memory again that others have given back.

glibc takes a large array from the system, and gives what is free at the end of its heap back to it.
From which size on it does either it learns from the arrays that are freed: this size, and twice
this size (mallopt(3), "Dynamic adjustment of the mmap threshold"). A process that has freed one
array of 16 MiB keeps up to 32 MiB of free memory. In one that has not, new pages were a fifth to a
third of a get of two arrays of 400 KB. Other C libraries are not changed by it, nor is glibc where
the environment sets its thresholds (MALLOC_TRIM_THRESHOLD_, as Dask's workers have it).
"""
np.empty(STAYING_BYTES - (1 << 16), np.uint8)  # never touched, and freed at once


class _Slots(threading.local):
    def __init__(self) -> None:
        self.kept: dict[str, NDArray[np.uint8]] = {}


_slots = _Slots()


def scratch(slot: str, n_items: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array with any content, valid until this thread asks for the slot again.

    Parameters
    ----------
    slot : str
        Name of the use. Two uses that are alive at once have two names.
    n_items : int
        Length of the array.
    dtype : dtype
        Of the array; without Python objects.
    """
    size = n_items * dtype.itemsize
    if size > KEPT_BYTES or not dtype.itemsize:
        return np.empty(n_items, dtype)
    kept = _slots.kept.get(slot)
    if kept is None or kept.size < size:
        kept = _slots.kept[slot] = np.empty(max(size, 1 << 16), np.uint8)
    return kept[:size].view(dtype)
