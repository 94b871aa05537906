"""Quantiles and numbers of distinct values by group, against NumPy, held and through a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.model.tables.query import collected, shares
from kist.model.tables.query import quantiles as ranks
from kist.model.tables.query.spill import Spill

Array = np.ndarray[Any, Any]

LITTLE = 60_000
"""Bytes, of which a few hundred values are sorted in memory."""


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shares, "_FEW", 100)
    monkeypatch.setattr(ranks, "_RUN", 500)
    monkeypatch.setattr(ranks, "_STEP", 16)
    kist.options.max_memory = LITTLE
    yield
    kist.options.reset()


def numbers(rng: np.random.Generator, dtype: str, n: int, most: int) -> Array:
    found = rng.integers(0, most, n)
    if dtype == "?":
        return found > most // 2
    if dtype.startswith(("S", "U")):
        return np.char.mod("%08d", found).astype(dtype)
    if dtype == "T":
        return np.char.mod("%08d", found).astype(np.dtypes.StringDType())
    values = found.astype(dtype)
    if values.dtype.kind == "f":
        values[::97] = np.nan
        values[::89] = -0.0
    if values.dtype.kind in "mM":
        values[::97] = "NaT"
    return values


def grouped(keys: Array) -> Iterator[tuple[Any, Array]]:
    for key in np.unique(keys):
        yield key, keys == key


def check(table: Any, keys: Array, values: Array, *, skipna: bool) -> None:
    found = table.group_by("k", skipna=skipna).agg(
        "count",
        a=("x", "quantile", 0.0),
        b=("x", "median"),
        c=("x", "quantile", 0.9),
        n=("x", "nunique"),
    )
    assert found["k"].tolist() == np.unique(keys).tolist()
    for row, (_, mine) in zip(found, grouped(keys), strict=True):
        some = values[mine].astype(values.dtype.newbyteorder("="))
        there = some[some == some]
        assert row["count"] == len(some)
        assert row["n"] == len(np.unique(there))
        some = there if skipna else some
        for name, q in (("a", 0.0), ("b", 0.5), ("c", 0.9)):
            if values.dtype.kind in "mM":
                wanted = np.quantile(some, q) if len(some) else np.array("NaT", some.dtype)
                assert row[name] == wanted or (np.isnat(row[name]) and np.isnat(wanted))
                assert row[name].dtype == some.dtype
                continue
            wanted = np.quantile(some.astype("f8"), q) if len(some) else np.nan
            np.testing.assert_allclose(row[name], wanted, rtol=1e-6)


@pytest.mark.usefixtures("little_memory")
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(["f8", ">f8", "f4", "i2", "i8", "u1", "?", "M8[s]", ">m8[ms]"]),
    n_groups=st.sampled_from([1, 3, 100, 300]),
    one_is_long=st.booleans(),
    most=st.sampled_from([2, 50, 30_000]),
    skipna=st.booleans(),
)
def test_what_is_collected_in_a_file_is_what_numpy_has(
    seed: int, dtype: str, n_groups: int, one_is_long: bool, most: int, skipna: bool
) -> None:
    rng = np.random.default_rng(seed)
    n = 12_000
    keys = rng.integers(0, n_groups, n)
    if one_is_long:
        keys[rng.random(n) < 0.7] = 0
    values = numbers(rng, dtype, n, most)
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"k": keys, "x": values})
        check(table, keys, values, skipna=skipna)
        assert table["x"].nunique() == len(np.unique(values[values == values]))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("dtype", ["S3", "S11", "U4", "M8[ns]", "c8", "c16", "T", "f2"])
def test_distinct_values_of_any_kind(dtype: str) -> None:
    rng = np.random.default_rng(8)
    n = 6_000
    keys = rng.integers(0, 5, n)
    for most in (9, 5_000):
        values = numbers(rng, dtype, n, most)
        with kist.open(":memory:") as store:
            table = store.create_table("t", {"k": keys, "x": values})
            found = table.group_by("k").agg(n=("x", "nunique"))["n"].tolist()
            kept = [values[mine & (values == values)] for _, mine in grouped(keys)]
            assert found == [len(np.unique(some)) for some in kept]
            assert table["x"].nunique() == len(np.unique(values[values == values]))


@pytest.mark.usefixtures("little_memory")
def test_few_distinct_values_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("a file")

    rng = np.random.default_rng(8)
    values = rng.integers(0, 50, 50_000)
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"k": values % 3, "x": values})
        monkeypatch.setattr(Spill, "__init__", refused)
        assert table["x"].nunique() == 50
        assert table.group_by("k").agg(n=("x", "nunique"))["n"].tolist() == [17, 17, 16]


def test_several_quantiles_of_a_column_collect_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 0
    put = shares.Shares.put

    def counted(self: Any, columns: list[Array]) -> None:
        nonlocal rows
        rows += len(columns[0])
        put(self, columns)

    monkeypatch.setattr(shares.Shares, "put", counted)
    values = np.arange(1_000.0)
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"k": np.arange(1_000) % 2, "x": values, "y": -values})
        twice = kist.expr("x * 2")
        found = table.group_by("k").agg(
            low=("x", "quantile", 0.1),
            mid=("x", "median"),
            high=("x", "quantile", 0.9),
            other=("y", "median"),
            one=(twice, "median"),
            two=(twice, "quantile", 1),
        )
    assert rows == 3_000
    for at, row in enumerate(found):
        some = values[at::2]
        assert row["low"] == np.quantile(some, 0.1) and row["high"] == np.quantile(some, 0.9)
        assert row["mid"] == np.median(some) and row["other"] == -np.median(some)
        assert row["one"] == 2 * np.median(some) and row["two"] == 2 * some[-1]


def test_what_waits_in_memory_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    held = 0
    aside = shares.Shares._put_aside

    def looked(self: Any) -> None:
        nonlocal held
        held = max(held, self._held_bytes)
        aside(self)

    monkeypatch.setattr(shares.Shares, "_put_aside", looked)
    n = 200_000
    columns = {f"x{at}": np.arange(float(n)) for at in range(5)}
    with kist.open(":memory:") as store:
        table = store.create_table("t", {"k": np.arange(n) % 7, **columns})
        kist.options.max_memory = 4 << 20
        try:
            found = table.group_by("k").agg(dict.fromkeys(columns, "median"))
        finally:
            kist.options.reset()
    # A fifth of a quarter, and one block of rows more.
    assert 0 < held <= (1 << 20) / 5 + 65_536 * 12
    assert found["x3"][2] == np.median(columns["x3"][2::7])


def test_long_and_short_groups_are_sorted_alike() -> None:
    rng = np.random.default_rng(3)
    for n_groups in (1, 4, 500):
        codes = rng.integers(0, n_groups, 2_000).astype("u4") * 64 + 3
        values = rng.normal(size=2_000)
        found = collected._sorted_groups(codes, values, 1)
        order = np.lexsort((values, codes))
        assert found.values.tolist() == values[order].tolist()
        at, counts = np.unique(codes, return_counts=True)
        assert found.codes.tolist() == at.tolist() and found.counts.tolist() == counts.tolist()
