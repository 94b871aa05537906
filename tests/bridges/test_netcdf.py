"""NetCDF 3 and 4 into a store and back: dimensions, attributes, dtypes, groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import ConversionError, CorruptDataError, StorageError

netCDF4: Any = pytest.importorskip("netCDF4")

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "eraint_uvz.nc"
TEXT: Any = np.dtypes.StringDType(na_object=None)
SHAPES: list[tuple[int, ...]] = [(), (0,), (3,), (2, 4)]
DTYPES = ["?", "i1", "i8", "u8", "f2", "f8", "c8", "S5", "S1", "U4", "M8[us]", "m8[D]", "M8[3s]",
          [("a", "i4"), ("b", "S3"), ("n", [("x", "f8")])]]  # fmt: skip


def sample(dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    n = int(np.prod(shape, dtype=int))
    found = np.dtype(dtype)
    if found.names is not None:
        out = np.zeros(shape, found)
        out["a"], out["b"] = np.arange(n).reshape(shape), b"ab"
        return out
    if found.kind in "SU":
        return np.array([f"{k}" for k in range(n)], found).reshape(shape)
    return np.arange(n).astype(found).reshape(shape)


def test_arrays_go_out_and_come_back(tmp_path: Path) -> None:
    attrs = {"units": "m", "f": 1.5, "i": 7, "l": [1, 2], "one": np.array([3]), "s": np.float32(2),
             "texts": ["a", "b"], "odd": {"x": None}}  # fmt: skip
    arrays = {
        f"a{k}_{len(s)}": sample(d, s) for k, d in enumerate(DTYPES) for s in SHAPES if s != (0,)
    }
    arrays |= {f"empty{k}": sample(d, (0,)) for k, d in enumerate(DTYPES)}
    with kist.open(tmp_path / "a.kist", "w") as store:
        for name, values in arrays.items():
            store.create_array(name, values, attrs=attrs)
        store["g/text"] = np.array([["é", "b"]], TEXT)
        store.create_array("g/named", np.ones((2, 3)), attrs={"_DIMS": ["t", "x"]}, fill_value=5)
        store["g"].attrs["_DIMS"] = {"t": None, "x": 3, "alone": 9}
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.nc")
    assert {n.code for n in report.notes} == {"netcdf.restored", "netcdf.value"}
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file["g"].dimensions["t"].isunlimited() and len(file["g"].dimensions["alone"]) == 9
        assert file["g/named"].dimensions == ("t", "x")
        assert file.variables["a1_1"].f == 1.5
    assert kist.convert(tmp_path / "a.nc", tmp_path / "b.kist").ok
    with kist.open(tmp_path / "b.kist") as back:
        for name, values in arrays.items():
            found = back[name]
            assert (name, found.dtype, found.shape) == (name, values.dtype, values.shape)
            np.testing.assert_array_equal(found[...], values)
            assert repr({k: found.attrs[k] for k in attrs}) == repr(attrs)
            assert set(found.attrs) <= {*attrs, "NETCDF"}
        assert back["g/text"][...].tolist() == [["é", "b"]]
        assert back["g/named"].fill_value == 5 and back["g/named"].attrs["_DIMS"] == ["t", "x"]
        assert back["g"].attrs["_DIMS"] == {"t": None, "x": 3, "alone": 9}


@pytest.mark.parametrize("model", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA", "NETCDF4_CLASSIC"])
def test_older_data_models_go_in_and_out(tmp_path: Path, model: str) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w", format=model) as file:
        file.createDimension("time", None)
        file.createDimension("name", 4)
        file.title = "t"
        packed = file.createVariable("packed", "i2", ("time", "name"), fill_value=-9)
        packed.setncatts({"scale_factor": 0.5, "add_offset": np.float32(3), "valid_range": [1, 9]})
        packed.set_auto_maskandscale(False)
        packed[0:3] = np.arange(12).reshape(3, 4)
        file.createVariable("letters", "S1", ("name",))[:] = np.array(list("abcd"), "S1")
        file.createVariable("alone", "f4")[...] = 2.5
    assert kist.convert(tmp_path / "a.nc", tmp_path / "a.kist", strict=True).n_arrays == 3
    with kist.open(tmp_path / "a.kist") as store:
        packed = store["packed"]
        assert packed.dtype == "i2" and packed[:, 1].tolist() == [1, 5, 9]
        assert packed.attrs["scale_factor"] == 0.5 and packed.attrs["_DIMS"] == ["time", "name"]
        assert packed.fill_value == packed.attrs["_FillValue"] == -9
        assert store.attrs["_DIMS"] == {"time": None, "name": 4} and store["alone"][()] == 2.5
    kist.convert(tmp_path / "a.kist", tmp_path / "b.nc", data_model=model, strict=True)
    with netCDF4.Dataset(tmp_path / "a.nc") as a, netCDF4.Dataset(tmp_path / "b.nc") as b:
        assert b.data_model == model and b.title == "t" and b.dimensions["time"].isunlimited()
        for name, variable in a.variables.items():
            assert b[name].dimensions == variable.dimensions and b[name].dtype == variable.dtype
            assert repr(sorted(b[name].__dict__.items())) == repr(sorted(variable.__dict__.items()))
            np.testing.assert_array_equal(b[name][...], variable[...])


def test_types_of_the_user_come_over(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("x", 3)
        enum = file.createEnumType("u1", "state", {"idle": 0, "busy": 1})
        file.createVariable("e", enum, ("x",), fill_value=0)[:] = [0, 1, 1]
        pair = file.createCompoundType(np.dtype("i4,f8"), "pair")
        file.createVariable("c", pair, ("x",))[:] = np.array([(1, 2), (3, 4), (5, 6)], "i4,f8")
        ragged = file.createVariable("r", file.createVLType("i4", "rows"), ("x",))
        for at in range(3):
            ragged[at] = np.arange(at + 1, dtype="i4")
        file.createGroup("g/h").createVariable("up", "f4", ("x",), zlib=True, chunksizes=(2,))[
            :
        ] = 1
    report = kist.convert(tmp_path / "a.nc", tmp_path / "a.kist")
    assert {n.code for n in report.notes} == {"netcdf.enum", "netcdf.ragged"}
    with kist.open(tmp_path / "a.kist") as store:
        assert store["r/offsets"][:].tolist() == [0, 1, 3, 6]
        assert store["r/values"][:].tolist() == [0, 0, 1, 0, 1, 2]
        assert store["c"]["f1"].tolist() == [2, 4, 6] if store["c"].kind == "table" else True
    kist.convert(tmp_path / "a.kist", tmp_path / "b.nc")
    with netCDF4.Dataset(tmp_path / "b.nc") as back:
        assert back["e"].datatype.enum_dict == {"idle": 0, "busy": 1}
        assert back["c"][:].tolist() == [(1, 2), (3, 4), (5, 6)]
        assert back["g/h/up"].dimensions == ("x",) and not back["g/h"].dimensions
        assert back["g/h/up"].chunking() == [2]


def test_tables_become_groups_and_tables_again(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        rows = {"i": np.arange(3), "s": np.array(["a", None, "c"], TEXT), "v": np.zeros((3, 2)),
                "t": np.arange(3).astype("M8[D]"), "b": np.array([b"x", b"yy", b""])}  # fmt: skip
        store.create_table("t", rows, attrs={"k": 1})
        store["t"]["i"].attrs["unit"] = "s"
        store.create_keystore("keys").update({"a": np.arange(3), 5: {"x": 1}})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.nc")
    assert {n.code for n in report.notes} >= {"netcdf.columns", "netcdf.missing", "netcdf.keystore"}
    kist.convert(tmp_path / "a.nc", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as back:
        table = back["t"]
        assert list(table.columns) == list(rows) and table["i"].attrs["unit"] == "s"
        assert table["s"][:].tolist() == ["a", "", "c"] and table.attrs["k"] == 1
        assert table["t"].dtype == "M8[D]" and table["b"][:].tolist() == [b"x", b"yy", b""]


def test_what_a_data_model_lacks_is_refused(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.arange(3, dtype="u2")
        store["g/y"] = np.arange(3, dtype="i2")
        store["raw"] = np.zeros(2, "V3")
    for node in ("x", "g"):
        with pytest.raises(ConversionError, match="NETCDF4 has"):
            kist.convert(f"{tmp_path / 'a.kist'}:{node}" if node == "x" else tmp_path / "a.kist",
                         tmp_path / "a.nc", data_model="NETCDF3_CLASSIC")  # fmt: skip
    with pytest.raises(ValueError, match="data_model"):
        kist.convert(tmp_path / "a.kist", tmp_path / "a.nc", data_model="NETCDF5")
    (note,) = kist.convert(tmp_path / "a.kist", tmp_path / "b.nc").notes
    assert note.code == "netcdf.dtype" and not (tmp_path / "a.nc").exists()
    with kist.open(tmp_path / "c.kist", "w") as store:
        store.create_array("x", np.zeros(3), attrs={"_DIMS": ["x"]})
        store.create_array("y", np.zeros(4), attrs={"_DIMS": ["x"]})
    with pytest.raises(ConversionError, match="dimension 'x' has 4 places"):
        kist.convert(tmp_path / "c.kist", tmp_path / "c.nc")


@pytest.mark.parametrize("model", ["NETCDF4", "NETCDF3_CLASSIC"])
@pytest.mark.parametrize("share", [0.02, 0.6])
def test_cut_files_raise(tmp_path: Path, model: str, share: float) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w", format=model) as file:
        file.createDimension("x", 10_000)
        file.createVariable("x", "f8", ("x",))[:] = np.random.default_rng(0).random(10_000)
    whole = (tmp_path / "a.nc").read_bytes()
    (tmp_path / "a.nc").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CorruptDataError):
        kist.convert(tmp_path / "a.nc", tmp_path / "a.kist")
    assert not (tmp_path / "a.kist").exists()


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, limited: Any) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.random.default_rng(0).random(100_000)
    here = repr(str(tmp_path) + "/")
    limited(
        StorageError,
        f"kist.convert({here} + 'a.kist', {here} + 'y.nc')",
        f"kist.convert({here} + 'a.kist', {here} + 'y.nc', data_model='NETCDF3_CLASSIC')",
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.kist"]


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not here")
def test_a_real_file_goes_in_and_out(tmp_path: Path) -> None:
    kist.convert(REAL, tmp_path / "a.kist", strict=True)
    kist.convert(tmp_path / "a.kist", tmp_path / "b.nc", data_model="NETCDF3_64BIT_OFFSET")
    kist.convert(tmp_path / "b.nc", tmp_path / "c.kist")
    with kist.open(tmp_path / "a.kist") as a, kist.open(tmp_path / "c.kist") as c:
        assert list(a) == list(c) and repr(dict(a.attrs)) == repr(dict(c.attrs))
        for name, array in a.items():
            np.testing.assert_array_equal(c[name][...], array[...])
            assert repr(dict(c[name].attrs)) == repr(dict(array.attrs))
