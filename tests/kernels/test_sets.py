"""Distinct values and members, by sorting."""

from __future__ import annotations

import numpy as np
import pytest

from kist._kernels.sets import ascending, members


@pytest.mark.parametrize("spread", [5, 1_000, 2**62])
@pytest.mark.parametrize("n", [0, 1, 2, 1_000])
def test_distinct_values_and_members_are_those_of_numpy(spread: int, n: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.integers(-spread, spread, n)
    known = ascending(values)
    assert np.array_equal(known, np.unique(values))
    asked = np.concatenate([values[::2], rng.integers(-spread, spread, 100)])
    assert np.array_equal(members(asked, known), np.isin(asked, known))


def test_members_at_the_ends_of_a_type() -> None:
    ends = np.array([-(2**63), 0, 2**63 - 1])
    assert members(np.array([2**63 - 1, -(2**63), 1]), ends).tolist() == [True, True, False]
    words = ascending(np.array([2**64 - 1, 3, 3], np.uint64))
    assert words.tolist() == [3, 2**64 - 1]
    assert members(words, words[:1]).tolist() == [True, False]


def test_bytes_have_members_too() -> None:
    known = ascending(np.array([b"b", b"a", b"b"]))
    assert known.tolist() == [b"a", b"b"]
    assert members(np.array([b"b", b"c", b""]), known).tolist() == [True, False, False]
