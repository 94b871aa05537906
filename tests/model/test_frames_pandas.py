"""DataFrames in and out of tables: what went in comes back equal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

pd = pytest.importorskip("pandas")


@pytest.fixture
def store() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store


NUMBERS = {
    code: np.array([0, 1, 1, 0, 1], code)
    for code in (
        "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16",
        "M8[s]", "M8[ms]", "M8[us]", "M8[ns]", "m8[s]", "m8[ms]", "m8[us]", "m8[ns]", ">i4", ">f8",
    )
}  # fmt: skip


def test_numbers_and_times_come_back_equal(path: Path) -> None:
    frame = pd.DataFrame(NUMBERS)
    frame.loc[2, "M8[us]"] = pd.NaT
    twice = pd.DataFrame({name: np.tile(frame[name].to_numpy(), 2) for name in frame})
    with kist.open(path, "a") as store:
        store["t"] = frame
        assert store["t"].append(frame) == 5
    with kist.open(path) as store:
        pd.testing.assert_frame_equal(store["t"].to_pandas(), twice)


INDEXES = {
    "default": lambda: pd.RangeIndex(5),
    "range with steps": lambda: pd.RangeIndex(10, 20, 2, name="n"),
    "integers": lambda: pd.Index([5, 3, 9, 1, 1]),
    "named floats": lambda: pd.Index([5.0, 3.5, np.nan, 1, 1], name="x"),
    "dates": lambda: pd.date_range("2020-03-01", periods=5, freq="D", name="when"),
    "hours in a zone": lambda: pd.date_range("2020-03-29", periods=5, freq="h", tz="Europe/Berlin"),
    "fixed offset": lambda: pd.date_range("2020-03-29", periods=5, tz="+05:30"),
    "durations": lambda: pd.timedelta_range("1h", periods=5, freq="h"),
    "two levels": lambda: pd.MultiIndex.from_product([[1, 2, 3], [0.5, 1.5]], names=["a", None])[
        :5
    ],
    "level called as a column": lambda: pd.Index([5, 3, 9, 1, 1], name="v"),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_the_index_comes_back(store: Any, kind: str) -> None:
    frame = pd.DataFrame({"v": np.arange(5.0), "w": np.arange(5)}, index=INDEXES[kind]())
    store["t"] = frame
    pd.testing.assert_frame_equal(store["t"].to_pandas(), frame)
    pd.testing.assert_frame_equal(store["t"].to_pandas(["w"]), frame[["w"]])
    pd.testing.assert_series_equal(store["t"]["v"].to_pandas(), frame["v"])
    hits = store["t"].where("(w == 1) | (w == 4)")
    pd.testing.assert_frame_equal(
        hits.to_pandas(), frame[frame["w"].isin([1, 4])], check_freq=False
    )
    store["t"].append(frame)
    twice = pd.concat([frame, frame], ignore_index=kind == "default")
    if kind == "range with steps":
        twice.index = pd.RangeIndex(10, 30, 2, name="n")
    pd.testing.assert_frame_equal(store["t"].to_pandas(), twice)
