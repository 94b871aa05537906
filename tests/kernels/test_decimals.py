"""Floats as scaled integers and back: short cuts in binary32 give what binary64 gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels.decimals import MAX_EXPONENT, from_scaled_integers, scaled_integers

EDGES = [0, 1, 9, (1 << 21) - 1, 1 << 21, (1 << 21) + 1, (1 << 24) - 1, 1 << 24, (1 << 24) + 1]


def expected(integers: Any, exponent: int, dtype: Any) -> Any:
    """What docs/format.md says."""
    with np.errstate(over="ignore"):
        return (integers.astype("<f8") / 10.0**exponent).astype(dtype)


def same_bits(a: Any, b: Any) -> Any:
    return a.view(f"<u{a.itemsize}") == b.view(f"<u{b.itemsize}")


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("form", ["<i4", "<i8"])
@pytest.mark.parametrize("exponent", range(MAX_EXPONENT + 1))
def test_integers_become_what_the_format_says(dtype: str, form: str, exponent: int) -> None:
    rng = np.random.default_rng(exponent)
    for bits in (8, 16, 21, 24, 25, 31):
        near = rng.integers(-(1 << bits), 1 << bits, 40_000)
        integers = np.concatenate([near, EDGES, np.negative(EDGES)]).astype(form)
        out = np.empty(len(integers), dtype)
        from_scaled_integers(integers, exponent, out)
        assert same_bits(out, expected(integers, exponent, dtype)).all()


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("exponent", [0, 1, 2, 4, 6, 10, 11, 15])
def test_what_is_not_wrong_comes_back(dtype: str, exponent: int) -> None:
    rng = np.random.default_rng(exponent)
    short = np.round(rng.normal(0, 100, 50_000), min(exponent, 6))
    special = [np.nan, np.inf, -np.inf, -0.0, 1e30, -1e-30, 3.4e38]
    values = np.concatenate([short, rng.normal(0, 1e6, 5_000), special]).astype(dtype)
    for form in ("<i4", "<i8"):
        integers, wrong = scaled_integers(values, exponent, np.dtype(form))
        back = expected(integers, exponent, dtype)
        assert np.array_equal(~same_bits(back, values), wrong)


@pytest.mark.parametrize("exponent", range(11))
def test_short_decimals_of_binary32_are_never_exceptions(exponent: int) -> None:
    limit = 1 << 23
    every = np.random.default_rng(exponent).integers(-limit, limit, 200_000).astype("<i4")
    values = expected(every, exponent, "<f4")
    for form in ("<i4", "<i8"):
        integers, wrong = scaled_integers(values, exponent, np.dtype(form))
        assert not wrong.any()
        assert np.array_equal(integers, every)


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.integers(0, MAX_EXPONENT))
def test_any_floats_come_back_or_are_wrong(floats: list[float], exponent: int) -> None:
    for dtype in ("<f4", "<f8"):
        values = np.array(floats, dtype)
        integers, wrong = scaled_integers(values, exponent, np.dtype("<i8"))
        out = np.empty(len(values), dtype)
        from_scaled_integers(integers, exponent, out)
        assert np.array_equal(~same_bits(out, values), wrong)
