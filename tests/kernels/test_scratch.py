"""Scratch arrays are a thread's own, reused by name, and bounded."""

from __future__ import annotations

import threading

import numpy as np

from kist._kernels.scratch import KEPT_BYTES, scratch


def test_a_slot_gives_the_same_memory_again_and_other_slots_give_other() -> None:
    first = scratch("a", 1000, np.dtype("f8"))
    other = scratch("b", 1000, np.dtype("f8"))
    again = scratch("a", 500, np.dtype("i4"))
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)
    assert (again.dtype, again.size) == (np.dtype("i4"), 500)


def test_a_slot_grows_when_more_is_asked_for() -> None:
    assert scratch("grow", 10, np.dtype("u1")).size == 10
    assert scratch("grow", 300_000, np.dtype("u1")).size == 300_000


def test_large_arrays_are_not_kept() -> None:
    n = KEPT_BYTES + 1
    large = scratch("large", n, np.dtype("u1"))
    assert not np.shares_memory(large, scratch("large", n, np.dtype("u1")))


def test_threads_do_not_share_a_slot() -> None:
    mine = scratch("shared", 100, np.dtype("u1"))
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(scratch("shared", 100, np.dtype("u1"))))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, found[0])
