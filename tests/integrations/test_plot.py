"""`kist.plot`: no peak is lost, memory is bounded, and the axes say what is shown."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.errors import DTypeError, ShapeError
from kist.integrations.plot import decimate

Array = np.ndarray[Any, Any]


def cut(values: Array, size: int) -> Iterator[Array]:
    return (values[at : at + size] for at in range(0, len(values), size))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3000), st.integers(4, 200), st.integers(1, 700), st.integers(0, 9))
def test_few_points_have_the_extremes_of_every_stretch(
    n: int, points: int, size: int, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    values[:: seed + 2] = np.nan
    places, shown = decimate(cut(values, size), n, points)
    assert len(places) <= max(points, 2 * -(-n // max(1, -(-2 * n // points)))) <= points + 2
    assert np.all(np.diff(places) > 0)
    assert np.array_equal(shown, values[places], equal_nan=True)
    stretch = max(1, -(-2 * n // points)) if n > points else 1
    for at in range(0, n, stretch):
        there = values[at : at + stretch]
        seen = shown[(places >= at) & (places < at + stretch)]
        assert len(seen)
        if not np.isnan(there).all():
            assert (np.nanmin(seen), np.nanmax(seen)) == (np.nanmin(there), np.nanmax(there))


def test_times_and_places_go_with_their_values() -> None:
    values = np.arange(10_000).astype("M8[s]")
    values[5000] = np.datetime64("NaT")
    x = np.arange(10_000) * 2.5
    places, shown = decimate(cut(values, 999), 10_000, 100, cut(x, 1234))
    assert np.array_equal(values[(places / 2.5).astype(int)], shown)
    assert not np.isnat(shown).any() and shown[0] == values[0] and shown[-1] == values[-1]


def test_ten_million_points_are_read_by_blocks() -> None:
    def blocks() -> Iterator[Array]:
        for _ in range(100):
            yield np.random.default_rng(1).normal(size=100_000)

    tracemalloc.start()
    try:
        places, _ = decimate(blocks(), 10_000_000, 4000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(places) <= 4000
    assert peak < 60 << 20


@pytest.fixture
def pyplot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("MPLBACKEND", "agg")
    found = pytest.importorskip("matplotlib.pyplot")
    yield found
    found.close("all")


def test_columns_arrays_and_selections_are_drawn(pyplot: Any) -> None:
    with kist.open(":memory:") as store:
        rows = np.zeros(20_000, [("t", "M8[s]"), ("a", "f4"), ("s", "S2"), ("v", "f8", 2)])
        rows["t"] += np.arange(20_000)
        rows["a"] = np.arange(20_000) % 100
        table = store.create_table("t", rows)
        table["a"].attrs["unit"] = "mm"
        axes = kist.plot(table["a"], x=table["t"], points=400, color="red")
        (line,) = axes.lines
        assert line.get_color() == "red" and len(line.get_xdata()) <= 400
        assert line.get_ydata().max() == 99 and line.get_xdata().dtype.kind == "M"
        assert (axes.get_ylabel(), axes.get_xlabel()) == ("a [mm]", "t")
        assert kist.plot(table.where("a > 90")["a"], ax=axes) is axes
        assert axes.lines[1].get_ydata().min() == 91
        store["x"] = np.arange(3_000_000.0).reshape(3000, 1000)
        image = kist.plot(store["x"]).images[0]
        assert image.get_array().shape == (1000, 1000)
        assert image.get_extent() == [-0.5, 999.5, 2999.5, -0.5]
        assert len(kist.plot(np.arange(5) > 2).lines[0].get_ydata()) == 5
        assert len(kist.plot(np.empty(0)).lines[0].get_ydata()) == 0
        for bad in (table["s"], table, store, [1, 2], np.zeros(3, "c8")):
            with pytest.raises(DTypeError):
                kist.plot(bad)
        with pytest.raises(ShapeError):
            kist.plot(np.zeros((2, 2, 2)))
        with pytest.raises(ShapeError):
            kist.plot(table["a"], x=table["t"][:5])
        with pytest.raises(ValueError, match="shows nothing"):
            kist.plot(table["a"], points=2)


def test_nulls_are_gaps(pyplot: Any) -> None:
    with kist.open(":memory:") as store:
        days = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], "M8[D]")
        table = store.create_table("t", {
            "n": np.ma.array([1, 2, 3], mask=[False, True, False]),
            "b": np.ma.array([True, False, False], mask=[True, False, False]),
            "d": np.ma.array(days, mask=[False, False, True]),
        })  # fmt: skip
        drawn = kist.plot(table["n"]).lines[0].get_ydata()
        assert np.array_equal(drawn, [1, np.nan, 3], equal_nan=True)
        drawn = kist.plot(table["b"]).lines[0].get_ydata()
        assert np.array_equal(drawn, [np.nan, 0, 0], equal_nan=True)
        assert np.isnat(kist.plot(table["d"]).lines[0].get_ydata(orig=True)).tolist() == [
            False, False, True,
        ]  # fmt: skip
        drawn = kist.plot(table.where("~isnull(b)")["n"]).lines[0].get_ydata()
        assert np.array_equal(drawn, [np.nan, 3], equal_nan=True)
        with pytest.raises(DTypeError, match=r"kist.plot\(table\['n'\]\)"):
            kist.plot(table)
