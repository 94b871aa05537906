"""How datasets of xarray are cut when they are written: what is computed, and what is rewritten."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

xr: Any = pytest.importorskip("xarray")

import kist.integrations.xarray  # noqa: E402 - brings ds.kist
from kist.integrations import xarray_write  # noqa: E402 - needs xarray


def fields(n: int, first: int = 0) -> Any:
    values = np.random.default_rng(first).random((n, 20, 30))
    return xr.Dataset({"t": (("time", "y", "x"), values)}, {"time": np.arange(first, first + n)})


def test_a_day_that_is_appended_leaves_the_days_before_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.kist"
    fields(4).kist.to_kist(path)
    for day in range(4, 8):
        fields(1, day).kist.to_kist(path, append_dim="time")
    with kist.open(path) as store:
        assert store["t"].info.n_chunks_stored == 1
        assert store["t"].info.n_segments == 5  # 1 when each day wrote its whole chunk anew
        parts = [fields(4), *(fields(1, day) for day in range(4, 8))]
        np.testing.assert_array_equal(store["t"][:], np.concatenate([p["t"].values for p in parts]))


@pytest.mark.parametrize(
    "cut",
    [{"x": 5}, {"y": 7}, {"time": 1}, {"time": 3, "y": 6, "x": 11}, {"time": (2, 0, 5, 5)}],
    ids=str,
)
@pytest.mark.parametrize("append", [False, True])
def test_what_chunks_of_dask_have_in_common_is_computed_once(
    tmp_path: Path, cut: dict[str, Any], append: bool
) -> None:
    dask = pytest.importorskip("dask")
    arrays = pytest.importorskip("dask.array")
    values = fields(12)["t"].values
    calls: Counter[int] = Counter()

    def read(at: int) -> Any:
        calls[at] += 1
        return values[at : at + 4]

    source = arrays.concatenate(
        [arrays.from_delayed(dask.delayed(read)(at), (4, 20, 30), "f8") for at in (0, 4, 8)]
    )
    ds = xr.Dataset({"t": (("time", "y", "x"), source)}).chunk(cut)
    if append:
        fields(2)[["t"]].drop_vars("time").kist.to_kist(tmp_path / "a.kist")
    with dask.config.set(scheduler="synchronous"):
        ds.kist.to_kist(tmp_path / "a.kist", append_dim="time" if append else None)
    assert calls == {0: 1, 4: 1, 8: 1}
    with kist.open(tmp_path / "a.kist") as store:
        np.testing.assert_array_equal(store["t"][-12:], values)
        assert len(store["t"]) == 12 + 2 * append


@pytest.mark.parametrize("most", [1, 10_000])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dim", ["time", "y"])
def test_parts_of_any_size_make_the_same_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, lazy: bool, dim: str
) -> None:
    monkeypatch.setattr(xarray_write, "_DASK_BYTES", most)
    monkeypatch.setattr(xarray_write, "_PART_BYTES", most)
    ds = fields(9)
    given = ds
    if lazy:
        pytest.importorskip("dask.array")
        given = ds.chunk({"time": 4, "y": 7, "x": 30})
    given.kist.to_kist(tmp_path / "a.kist", encoding={"t": {"chunks": (4, 6, 30)}})
    moved = ds.drop_vars("time") if dim == "y" else ds
    if dim == "y":
        given = given.drop_vars("time").assign_coords(time=ds["time"])
    given.kist.to_kist(tmp_path / "a.kist", append_dim=dim)
    with kist.open(tmp_path / "a.kist") as store:
        both = np.concatenate([moved["t"].values] * 2, axis=ds["t"].dims.index(dim))
        np.testing.assert_array_equal(store["t"][:], both)


def test_parts_are_no_larger_than_they_should_be() -> None:
    arrays = pytest.importorskip("dask.array")
    lazy = xr.Variable(("a", "b"), arrays.zeros((10, 100), chunks=((3, 4, 3), (10,) * 10)))
    assert xarray_write._ends(lazy, (1, 1))[0] == [0, 10]

    def ends(variable: Any, most: int) -> list[list[int]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(xarray_write, "_DASK_BYTES", most)
            patch.setattr(xarray_write, "_PART_BYTES", most)
            return xarray_write._ends(variable, (4, 40))

    assert ends(lazy, 8 * 7 * 100) == [[0, 7, 10], [0, 100]]
    assert ends(lazy, 8 * 4 * 30) == [[0, 3, 7, 10], [0, 30, 60, 90, 100]]
    assert ends(lazy, 1) == [[0, 3, 7, 10], list(range(0, 101, 10))]
    assert ends(xr.Variable(("a", "b"), np.zeros((10, 100))), 8 * 4 * 80) == [
        [0, 4, 8, 10],
        [0, 80, 100],
    ]
    assert ends(xr.Variable(("a", "b"), np.zeros((0, 100))), 8) == [[0], [0]]
    assert xarray_write._ends(xr.Variable((), 1.0), ()) == []
