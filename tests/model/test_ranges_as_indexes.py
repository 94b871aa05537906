"""A range as an index: what NumPy makes of the same numbers, without making them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kist
from kist.model import indexing
from kist.model.positions import as_positions

N = 7
small = st.integers(-2 * N, 2 * N)
ranges = st.builds(range, small, small, small.filter(bool))


@given(ranges)
def test_rows_of_a_range_are_those_of_its_numbers(index: range) -> None:
    try:
        wanted = np.arange(N)[list(index)]
    except IndexError:
        with pytest.raises(kist.SelectionError, match="out of range"):
            as_positions(index, N, "t")
    else:
        found = as_positions(index, N, "t")
        assert list(found.rows) == wanted.tolist()
        assert found.shape == wanted.shape


@given(ranges, st.booleans())
def test_elements_of_a_range_are_those_of_its_numbers(index: range, second: bool) -> None:
    values = np.arange(N * N).reshape(N, N)
    key = (slice(1, 3), index) if second else index
    try:
        wanted = values[(slice(1, 3), list(index)) if second else list(index)]
    except IndexError:
        with pytest.raises(kist.SelectionError):
            indexing.parse(key, values.shape)
    else:
        assert indexing.parse(key, values.shape).shape == wanted.shape
        with kist.open(":memory:") as store:
            store["x"] = values
            np.testing.assert_array_equal(store["x"][key], wanted)
