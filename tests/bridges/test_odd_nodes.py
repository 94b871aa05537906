"""Nodes that a format has no place for leave the others alone; names that are part of a name."""

from __future__ import annotations

import dbm.dumb
import pickle
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.errors import ConversionError


def test_text_without_dimensions_goes_into_npz(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["one"] = np.array("text", np.dtypes.StringDType())
        store["two"] = np.array(["a", "bcd"], np.dtypes.StringDType())
    kist.convert(tmp_path / "a.kist", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as found:
        assert found["one"][()] == "text" and found["two"].tolist() == ["a", "bcd"]


@pytest.mark.skipif(np.dtype("g").itemsize == 8, reason="long doubles are doubles here")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_numbers_that_zarr_lacks_are_left_out_and_told(tmp_path: Path, zarr_format: int) -> None:
    zarr = pytest.importorskip("zarr")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["long"], store["x"] = np.arange(3).astype("g"), np.arange(3)
        store["clong"] = np.arange(3).astype("G")
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.zarr", zarr_format=zarr_format)
    assert sorted(zarr.open(str(tmp_path / "a.zarr"))) == ["x"]
    assert "not kept" in str(report) and "/long" in str(report) and "/clong" in str(report)


def test_a_shelf_of_several_files_is_known_by_them(tmp_path: Path) -> None:
    with dbm.dumb.open(str(tmp_path / "sh"), "c") as shelf:
        shelf["a"] = pickle.dumps(5)
    with pytest.raises(ConversionError, match="allow_pickle"):
        kist.convert(tmp_path / "sh", tmp_path / "a.kist")
    kist.convert(tmp_path / "sh", tmp_path / "a.kist", allow_pickle=True)
    with kist.open(tmp_path / "a.kist") as store:
        (found,) = store.values()
        assert dict(found.items()) == {"a": 5}


def test_a_format_that_is_only_read_is_told_by_the_name_of_the_target(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(3)
    with pytest.raises(ConversionError, match=r"^\S*[\\/]a\.pkl: kist reads pickle files"):
        kist.convert(tmp_path / "a.kist", tmp_path / "a.pkl")
    assert [p.name for p in tmp_path.iterdir()] == ["a.kist"]
