"""Quantiles of a column, against NumPy, in one pass and in two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.model.tables.query import quantiles as ranks

DTYPES = ("f8", ">f8", "f4", "i2", "u1", ">i4", "i8", "u8", "?")


@pytest.fixture
def little_memory() -> Any:
    before = kist.options.max_memory
    kist.options.max_memory = 2_000
    yield
    kist.options.max_memory = before


def values_of(seed: int, dtype: str, n: int, most: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, most, n)
    if seed % 3 == 0:
        numbers.sort()
    return (numbers > most // 2) if dtype == "?" else numbers.astype(dtype)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(DTYPES),
    n=st.integers(1, 6_000),
    most=st.sampled_from([2, 7, 200]),
    q=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    run=st.sampled_from([50, 300]),
    step=st.sampled_from([2, 16]),
)
def test_quantiles_read_in_two_passes_are_those_of_numpy(
    seed: int, dtype: str, n: int, most: int, q: list[float], run: int, step: int
) -> None:
    values = values_of(seed, dtype, n, most)
    with pytest.MonkeyPatch.context() as patch, kist.open(":memory:") as store:
        patch.setattr(ranks, "_RUN", run)
        patch.setattr(ranks, "_STEP", step)
        table = store.create_table("t", {"x": values})
        before = kist.options.max_memory
        kist.options.max_memory = 2_000
        try:
            found = table["x"].quantile(q)
        finally:
            kist.options.max_memory = before
    wanted = np.quantile(values.astype("f8"), q)
    np.testing.assert_allclose(np.asarray(found, "f8"), wanted, rtol=1e-6)


@pytest.mark.usefixtures("little_memory")
def test_nan_nulls_and_infinities_in_two_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_RUN", 100)
    monkeypatch.setattr(ranks, "_STEP", 4)
    rng = np.random.default_rng(5)
    values = rng.normal(size=3_000)
    values[:100], values[100:200] = np.inf, -np.inf
    rng.shuffle(values)
    with_nan = np.where(rng.random(3_000) < 0.1, np.nan, values)
    null = rng.random(3_000) < 0.5
    with kist.open(":memory:") as store:
        columns = {"x": values, "y": with_nan, "z": np.ma.MaskedArray(values, null)}
        dtype = [("x", "f8"), ("y", "f8"), ("z", kist.nullable("f8"))]
        table = store.create_table("t", columns, dtype=dtype)
        assert table["x"].quantile(0.3) == np.quantile(values, 0.3)
        assert table["x"].quantile([0, 1]).tolist() == [-np.inf, np.inf]
        assert np.isnan(table["y"].median())
        assert table["y"].median(skipna=True) == np.nanmedian(with_nan)
        assert table["z"].median() == np.median(values[~null])
        some = table.where("x > 0.5").sort_by("y")["x"]
        assert some.median() == np.median(values[values > 0.5])


def test_a_nan_among_values_that_fit_into_memory_is_the_answer() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"x": np.array([3.0, np.nan, 1.0])})
        assert np.isnan(table["x"].quantile([0.0, 1.0])).all()
        assert table["x"].quantile(0.5, skipna=True) == 2.0
        assert np.isnan(table.where("x > 9")["x"].median())
