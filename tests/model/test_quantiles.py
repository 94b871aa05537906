"""Quantiles of a column, against NumPy, in one pass and in two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.model.tables.query import quantiles as ranks

DTYPES = ("f8", ">f8", "f4", "i2", "u1", ">i4", "i8", "u8", "?", "M8[s]", ">m8[ns]")


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
    if values.dtype.kind in "mM":
        assert found.dtype == values.dtype.newbyteorder("=")
        assert found.tolist() == np.quantile(values, q).tolist()
        return
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


DAYS = np.array(["2020-01-05", "2020-01-01", "2020-02-05", "2020-01-04"], "M8[D]")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("dtype", ["M8[D]", "m8[s]"])
def test_times_in_two_passes_and_what_is_missing(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "_RUN", 100)
    monkeypatch.setattr(ranks, "_STEP", 4)
    rng = np.random.default_rng(6)
    values = rng.integers(-(2**40), 2**40, 3_000).astype(dtype)
    values[:9], values[9:18] = np.iinfo("i8").max, np.iinfo("i8").min + 1  # the ends of all times
    rng.shuffle(values)
    with_nat = np.where(rng.random(3_000) < 0.1, np.array("NaT", dtype), values)
    null = rng.random(3_000) < 0.5
    with kist.open(":memory:") as store:
        columns = {"x": values, "y": with_nat, "z": np.ma.MaskedArray(values, null)}
        kinds = [("x", dtype), ("y", dtype), ("z", kist.nullable(dtype))]
        table = store.create_table("t", columns, dtype=kinds)
        q = [0.01, 0.3, 0.5, 0.77]
        assert table["x"].quantile(q).tolist() == np.quantile(values, q).tolist()
        assert (table["x"].quantile([0, 1]) == [values.min(), values.max()]).all()
        assert np.isnat(table["y"].median())
        assert table["y"].median(skipna=True) == np.quantile(with_nat[~np.isnat(with_nat)], 0.5)
        assert table["z"].median() == np.quantile(values[~null], 0.5)


def test_of_no_times_the_median_is_nat() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"x": DAYS, "k": np.arange(4) % 2})
        found = table.where("k > 5")["x"].median()
        assert np.isnat(found) and found.dtype == DAYS.dtype
        table.append({"x": np.array(["NaT"], "M8[D]"), "k": [1]})
        by_k = table.group_by("k").agg(m=("x", "median"))["m"]
        assert by_k[0] == np.quantile(DAYS[::2], 0.5) and np.isnat(by_k[1])
        with pytest.raises(kist.DTypeError, match="no quantiles: it holds complex128"):
            store.create_table("c", {"x": np.ones(3, "c16")})["x"].median()


def test_times_further_apart_than_any_timedelta() -> None:
    far = np.array([-(2**62) - 5, 2**62 + 1]).view("M8[s]")
    with kist.open(":memory:") as store:
        found = store.create_table("t", {"x": far})["x"].quantile([0.0, 0.5, 1.0])
    assert abs(int(found.view("i8")[1])) < 2**11  # NumPy has the year -292277022657
    assert found[[0, 2]].tolist() == far.tolist()


@pytest.mark.parametrize("dtype", ["M8[s]", ">M8[D]", "m8[ns]", ">m8[ms]"])
def test_times_between_edges_are_those_of_numpy(dtype: str) -> None:
    rng = np.random.default_rng(9)
    values = rng.integers(-500, 100_000, 5_000).astype("i8").astype(dtype)
    edges = np.sort(values)[[0, 70, 2_000, 4_000]]
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"x": values})
        counts, found = table["x"].histogram(edges)
        wanted = np.histogram(values, edges)
        assert counts.tolist() == wanted[0].tolist() and found.tolist() == wanted[1].tolist()
        # A number of bins, which NumPy refuses, are those of integers.
        counts, found = table["x"].histogram(5)
        numbers = values.astype("i8")
        whole = np.histogram_bin_edges(numbers, 5).astype("i8")
        assert found.view("i8").tolist() == pytest.approx(whole.tolist(), abs=1)
        assert found.dtype == values.dtype.newbyteorder("=") and counts.sum() == len(values)
        assert counts.tolist() == np.histogram(values, found)[0].tolist()
        empty = table.where("x > x")["x"].histogram(3)
        assert empty[0].tolist() == [0, 0, 0] and len(empty[1]) == 4


def test_bins_of_days() -> None:
    with kist.open(":memory:") as store:
        days = store.create_table("t", {"x": DAYS})["x"]
        assert days.histogram(["2020-01-01", "2020-01-05", "2020-03-01"])[0].tolist() == [2, 2]
        counts, edges = days.histogram(2, ("2020-01-01", "2020-03-01"))
        assert counts.tolist() == [3, 1]
        assert (
            edges.tolist() == np.array(["2020-01-01", "2020-01-31", "2020-03-01"], "M8[D]").tolist()
        )
        same = store.create_table("one", {"x": DAYS[:1]})["x"].histogram(1)
        assert same[0].tolist() == [1] and (same[1] - DAYS[0]).tolist() == [
            np.timedelta64(0, "D"),
            np.timedelta64(1, "D"),
        ]
        nat = store.create_table("nat", {"x": np.array(["NaT", "2020-01-01"], "M8[D]")})["x"]
        assert nat.histogram(["2020-01-01", "2020-01-05"])[0].tolist() == [1]
        for column, arguments, said in (
            (nat, (3,), "NaT is among the values"),
            (days, (0,), "0 bins"),
            (days, ([1, 2, 3],), "unit"),
            (days, (2, ("2021", "2020")), "ends before it begins"),
            (days, (["2020-01-05", "2020-01-01"],), "monotonically"),
            (days, (2.5,), "integer"),
        ):
            with pytest.raises(kist.QueryError, match=said):
                column.histogram(*arguments)
