"""Integer helpers: exact inverses, modulo the width."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kist._kernels.bits import (
    block_differences,
    undo_block_differences,
    unzigzag,
    width_for,
    zigzag,
)

WIDTHS = st.sampled_from([1, 2, 4, 8])


@st.composite
def signed_arrays(draw: st.DrawFn, min_size: int = 0) -> np.ndarray:
    """Signed integers of any width, extremes included."""
    dtype = np.dtype(f"<i{draw(WIDTHS)}")
    return draw(hnp.arrays(dtype, draw(st.integers(min_size, 70))))


@given(signed_arrays())
def test_zigzag_is_undone_and_puts_small_magnitudes_first(values):
    coded = zigzag(values)
    assert coded.dtype == np.dtype(f"<u{values.itemsize}")
    for value, code in zip(values.tolist(), coded.tolist(), strict=True):
        assert code == (2 * value if value >= 0 else -2 * value - 1)
    back = np.empty_like(values)
    unzigzag(coded, back)
    assert np.array_equal(back, values)
    unzigzag(coded, coded.view(values.dtype))  # in place
    assert np.array_equal(coded.view(values.dtype), values)


@given(signed_arrays(min_size=1), st.integers(1, 80))
def test_differences_restart_at_each_block_and_are_undone(values, block):
    starts, differences = block_differences(values, block)
    assert np.array_equal(starts, values[::block])
    wide = values.astype(object)
    for at in range(values.size):
        if at % block:
            want = (wide[at] - wide[at - 1]) % (1 << 8 * values.itemsize)
            assert int(differences[at]) % (1 << 8 * values.itemsize) == want
    undo_block_differences(differences, starts, block)
    assert np.array_equal(differences, values)


@given(signed_arrays(min_size=1), st.integers(1, 9), st.data())
def test_any_blocks_alone_are_undone(values, block, data):
    starts, differences = block_differences(values, block)
    first = data.draw(st.integers(0, starts.size - 1))
    count = data.draw(st.integers(1, starts.size - first))
    part = slice(first * block, (first + count) * block)
    some = differences[part].copy()
    undo_block_differences(some, starts[first : first + count], block)
    assert np.array_equal(some, values[part])


def test_width_for_is_the_narrowest():
    for width in (1, 2, 4, 8):
        assert width_for((1 << 8 * width) - 1) == width
        if width < 8:
            assert width_for(1 << 8 * width) == 2 * width
    with pytest.raises(ValueError):
        width_for(1 << 64)
