"""Very many nodes: progress is told, and nothing is done for each of them that looks at all."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.bridges.netcdf import write as netcdf_write
from kist.model.arrays import state

N = 300


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with kist.open(tmp_path / "a.kist", "w") as store, store.transaction():
        for k in range(N):
            store.create_array(f"g{k % 3}/d{k}", np.arange(5) + k)
        store["large"] = np.random.default_rng(0).random(400_000)
    return tmp_path / "a.kist"


@pytest.mark.parametrize("node", ["", ":g1", ":large"])
def test_a_copy_into_another_store_tells_progress(source: Path, tmp_path: Path, node: str) -> None:
    told: list[tuple[int, int]] = []
    kist.convert(f"{source}{node}", tmp_path / "b.kist", progress=lambda *at: told.append(at))
    done = [at for at, _ in told]
    assert done == sorted(done) and all(at <= total for at, total in told)
    assert len(set(done)) >= (N // 3 if node != ":large" else 3)
    if node:  # of one node all that it has is known
        assert len({total for _, total in told}) == 1 and told[-1][0] == told[-1][1]
    with kist.open(source) as before, kist.open(tmp_path / "b.kist") as after:
        place = node.lstrip(":") or "large"
        if place == "g1":
            assert all(np.array_equal(after["g1"][k][:], before["g1"][k][:]) for k in before["g1"])
        else:
            assert np.array_equal(after[place][:], before[place][:])


def test_what_goes_out_is_told_with_all_there_is(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    kist.convert(f"{source}:large", tmp_path / "x.npy", progress=lambda *at: told.append(at))
    assert {total for _, total in told} == {3_200_000} and told[-1][0] == 3_200_000


def test_variables_of_netcdf_are_defined_before_their_values_are_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netcdf = pytest.importorskip("netCDF4")
    order: list[str] = []
    writer: Any = netcdf_write._Writer
    for name in ("variable", "put_array"):
        before = getattr(writer, name)

        def noted(self: Any, *args: Any, name: str = name, before: Any = before) -> Any:
            order.append(name)
            return before(self, *args)

        monkeypatch.setattr(writer, name, noted)
    kist.convert(source, tmp_path / "x.nc")
    # NetCDF looks at all variables with the first values behind a definition.
    assert sum(a != b for a, b in pairwise(order)) == 1
    with netcdf.Dataset(tmp_path / "x.nc") as file:
        assert file["g2/d5"][:].tolist() == [5, 6, 7, 8, 9]


def test_lengths_without_a_limit_are_known_in_groups_below(tmp_path: Path) -> None:
    pytest.importorskip("netCDF4")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.attrs["_DIMS"] = {"time": None}
        store["a"] = np.arange(7)
        store["a"].attrs["_DIMS"] = ["time"]
        store["below/b"] = np.arange(7) * 2
        store["below/b"].attrs["_DIMS"] = ["time"]
    kist.convert(tmp_path / "a.kist", tmp_path / "x.nc")
    kist.convert(tmp_path / "x.nc", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert store["a"][:].tolist() == list(range(7))
        assert store["below/b"][:].tolist() == list(range(0, 14, 2))
        assert store["below/b"].attrs["_DIMS"] == ["time"]
        assert "_DIMS" not in store["below"].attrs


def test_a_snapshot_keeps_the_shapes_of_so_many_arrays(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_KEPT_NODES", 50)
    with kist.open(source) as store:
        for group in ("g0", "g1", "g2"):
            assert all(array.shape == (5,) for array in store[group].values())
            assert 0 < len(store._view().by_node) <= 50 + 10


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(b"\xff\xfe", data=1)
    with pytest.raises(kist.ConversionError, match="no text in UTF-8"):
        kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_a_column_without_a_name_is_refused(tmp_path: Path) -> None:
    import sqlite3

    database = sqlite3.connect(tmp_path / "a.sqlite")
    database.execute('CREATE TABLE t (a INT, "" INT)')
    database.commit()
    database.close()
    with pytest.raises(kist.ConversionError, match="a column has no name"):
        kist.convert(tmp_path / "a.sqlite", tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_text_alone_goes_into_stores_of_blosc2(tmp_path: Path) -> None:
    pytest.importorskip("blosc2")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["one"] = np.array("täxt", np.dtypes.StringDType())
    kist.convert(tmp_path / "a.kist", tmp_path / "x.b2z")
    kist.convert(tmp_path / "x.b2z", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert store["one"].shape == () and str(store["one"][()]) == "täxt"


def test_no_attribute_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 looks through what is open for each attribute that it opens."""
    h5py = pytest.importorskip("h5py")
    tables = pytest.importorskip("tables")
    from kist.bridges.hdf5 import read

    with tables.open_file(str(tmp_path / "a.h5"), "w") as file:
        for k in range(20):
            file.create_array("/", f"d{k}", np.arange(k, k + 3))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["scale"] = np.arange(3)
        file["scale"].make_scale("s")
        file["image"] = np.arange(3)
        file["image"].attrs["CLASS"] = "IMAGE"
    n_open = []
    before = read.read_dataset

    def counted(source: Any, *more: Any) -> None:
        before(source, *more)
        n_open.append(h5py.h5f.get_obj_count(source.file.id, h5py.h5f.OBJ_ATTR))

    monkeypatch.setattr(read, "read_dataset", counted)
    kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert n_open == [0] * 22
    with kist.open(tmp_path / "a.kist") as store:
        assert store["scale"].attrs["HDF5"]["scale"] == "s"
        assert store["image"][:].tolist() == [0, 1, 2]


@pytest.mark.parametrize("file", ["a.npz", "a.h5"])
def test_small_arrays_are_made_and_read_in_one_call_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    if file == "a.h5":
        pytest.importorskip("h5py")
    made = {
        f"g/{name}": values
        for name, values in {
            "f": np.arange(6.0).reshape(2, 3), "t": np.array(["2026-01-01", "NaT"], "M8[s]"),
            "b": np.array([True, False]), "u": np.array(["ä", "b"]), "s": np.array(3.5),
            "swapped": np.arange(3, dtype=">i4"), "empty": np.zeros((0, 3)), "fill": np.zeros(4),
        }.items()
    }  # fmt: skip
    with kist.open(tmp_path / "a.kist", "w") as store:
        for name, values in made.items():
            store.create_array(name, values)
    kist.convert(tmp_path / "a.kist", tmp_path / file)

    def not_used(*_: Any) -> Any:
        raise AssertionError("for what comes in parts")

    monkeypatch.setattr("kist.Array.__setitem__", not_used)
    monkeypatch.setattr("kist.bridges.npy.tempfile.TemporaryFile", not_used)
    kist.convert(tmp_path / file, tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        for name, values in made.items():
            found = store[name]
            assert found.dtype == values.dtype or file == "a.h5"
            assert found.shape == values.shape and np.array_equal(
                found[...], values, equal_nan=values.dtype.kind in "fM"
            )
