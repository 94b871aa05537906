"""Matrices of words come back from their planes, whatever is in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels.words import DELTA, FEW_ROWS, WIDTH_MASK, ZIGZAG, expand, squeeze, squeeze_few


def matrix(n_columns: int, n_rows: int, seed: int) -> np.ndarray:
    """Columns of every kind: noise of all widths, steps, constants, ends of the range."""
    rng = np.random.default_rng(seed)
    words = np.zeros((n_columns, n_rows), "<i8")
    for column in words:
        kind = rng.integers(0, 6)
        noise = rng.integers(-(2**63), 2**63 - 1, n_rows, endpoint=True) >> rng.integers(0, 64)
        if kind == 0:
            column[:] = noise
        elif kind == 1:
            column[:] = noise.cumsum() + noise[:1].sum()
        elif kind == 2:
            column[:] = rng.integers(-(2**63), 2**63 - 1)
        elif kind == 3:
            column[:] = rng.choice(np.array([-(2**63), 2**63 - 1, 0, -1]), n_rows)
        elif kind == 4:
            column[:] = abs(noise >> 8)
    return words


@given(st.integers(0, 9), st.sampled_from([0, 1, 2, 5, FEW_ROWS, 300]), st.integers(0, 10**6))
def test_words_come_back_from_many_rows(n_columns, n_rows, seed):
    words = matrix(n_columns, n_rows, seed)
    modes, firsts, planes = squeeze(words)
    assert planes.shape == (int((modes & WIDTH_MASK).sum()), n_rows)
    assert len(firsts) == np.count_nonzero(modes & DELTA)
    assert np.array_equal(expand(modes, firsts, planes), words)


@given(
    st.integers(0, 9),
    st.sampled_from([0, 1, 2, 5, FEW_ROWS]),
    st.integers(0, 10**6),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_words_come_back_from_few_rows(n_columns, n_rows, seed, ends):
    words = matrix(n_columns, n_rows, seed)
    deltas = slice(*sorted(ends))
    modes, firsts, planes = squeeze_few(np.asfortranarray(words.copy()), deltas)
    assert planes.shape == (int((modes & WIDTH_MASK).sum()), n_rows)
    assert np.array_equal(expand(modes, firsts, planes), words)


@given(
    st.integers(1, 9),
    st.sampled_from([1, 5, 100]),
    st.integers(0, 10**6),
    st.lists(st.integers(0, 8)),
)
def test_some_columns_can_be_had_in_any_order(n_columns, n_rows, seed, which):
    words = matrix(n_columns, n_rows, seed)
    places = np.array([index % n_columns for index in which], np.intp)
    assert np.array_equal(expand(*squeeze(words), places), words[places])


@pytest.mark.parametrize(
    ("column", "mode"),
    [
        ([0] * 9, 0),
        ([5] * 9, DELTA),
        (list(range(0, 9_000_000, 1_000_000)), DELTA | 3),
        ([10**12, 10**12 - 1, 10**12 + 1] * 3, DELTA | ZIGZAG | 1),
        ([0, 255, 3, 180, 7, 9, 200, 1, 99], 1),
        ([0, 256, 3, 180, 7, 9, 200, 1, 99], 2),
        ([-1, 127, -128, 5, 9, -77, 100, 3, -9], ZIGZAG | 1),
    ],
)
def test_each_column_gets_the_narrowest_mode(column, mode):
    assert squeeze(np.array([column], np.int64))[0].tolist() == [mode]
