"""Floats that are decimals become integers, and every bit comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels.matrix_decimals import RAW, find_exponents, from_decimals, to_decimals

CODES = st.sampled_from(["<f8", "<f4"])
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7e308]


@given(CODES, st.integers(0, 10**6), st.integers(1, 60), st.floats(0, 0.3), st.sampled_from("CF"))
def test_bits_come_back_with_the_exceptions_put_in(code, seed, n_rows, share, order):
    rng = np.random.default_rng(seed)
    digits = rng.integers(0, 18, 6)
    with np.errstate(over="ignore"):
        values = np.array([np.round(rng.normal(0, 9, n_rows), d) for d in digits]).astype(code)
        holes = rng.random(values.shape) < share
        values[holes] = rng.choice(SPECIAL, np.count_nonzero(holes))
    values = np.asarray(values, order=order)
    bits = values.view(f"<u{values.itemsize}")
    integers, exponents, places, stored = to_decimals(values, find_exponents(values))
    back = from_decimals(integers, exponents, values.itemsize)
    found = back.view(bits.dtype)
    columns, rows = np.divmod(places, n_rows)
    assert len(places) <= values.size // 8
    found[columns, rows] = stored
    assert found.tobytes() == bits.tobytes()
    assert not (integers[np.isnan(values) & (exponents != RAW)[:, None]] == -(2**63)).any()


@pytest.mark.parametrize(("code", "most"), [("<f8", 12), ("<f4", 5)])
def test_the_smallest_exponent_is_found(code, most):
    rng = np.random.default_rng(1)
    for digits in range(most + 1):
        column = np.round(
            rng.integers(1, 9, 500) + rng.integers(0, 10**digits, 500) / 10**digits, digits
        )
        assert find_exponents(column.astype(code)[None]).tolist() == [digits]


def test_noise_and_missing_columns_keep_their_bits():
    rng = np.random.default_rng(1)
    values = np.array([rng.normal(size=50), np.full(50, np.nan), np.full(50, -0.0)])
    assert find_exponents(values).tolist() == [RAW] * 3
    assert find_exponents(values[:, :0]).tolist() == [RAW] * 3


def test_a_late_digit_is_seen():
    column = np.ones(800)
    column[400:] = 0.125 + np.arange(400)
    column[::100] = 1.5
    assert find_exponents(column[None]).tolist() == [3]
