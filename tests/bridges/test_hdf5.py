"""HDF5 into a store and back: dtypes, shapes, links, attributes, and what changes on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.bridges.hdf5.bridge import LOSSES
from kist.errors import (
    ConversionError,
    CorruptDataError,
    NodeExistsError,
    StorageError,
    StoreExistsError,
)

h5py = pytest.importorskip("h5py")

TEXT: Any = np.dtypes.StringDType(na_object=None)

DTYPES = [
    "?", "i1", "u2", ">i4", "i8", "u8", "f2", "f4", ">f8", "g", "c8", "c16", "G", "S5", "V3",
    "M8[us]", "M8[D]", "m8[s]", "i4,f8", [("a", "i2"), ("n", [("x", "f4", (2,)), ("t", "M8[s]")])],
]  # fmt: skip
SHAPES = [(), (0,), (7,), (3, 4), (2, 0, 3), (2, 3, 2)]


def sample(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    """Return an array with something in every field."""
    found = np.dtype(dtype)
    out = np.zeros(shape, found)
    if found.names is not None:
        for at, name in enumerate(found.names):
            out[name] = sample(found[name].base, out[name].shape, seed + at)
        return out
    n = out.size
    numbers = (np.arange(n) + seed) % 2 if found.kind == "b" else np.arange(n) + seed
    if found.kind in "Mm":
        return numbers.astype(found).reshape(shape)
    if found.kind in "SU":
        return np.array([f"s{k}" for k in numbers], found).reshape(shape)
    if found.kind == "V":
        return np.array([bytes([k % 256, 1, 2]) for k in numbers], found).reshape(shape)
    return numbers.astype(found).reshape(shape)


def same(a: Any, b: Any) -> None:
    assert np.asarray(a).dtype == np.asarray(b).dtype
    np.testing.assert_array_equal(a, b)


def codes(report: Any) -> set[str]:
    return {note.code for note in report.notes}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_of_every_dtype_go_out_and_come_back_equal(tmp_path: Path, shape: Any) -> None:
    arrays = {f"a{k}": sample(dtype, shape, k) for k, dtype in enumerate(DTYPES)}
    with kist.open(tmp_path / "a.kist", "w") as store:
        for name, values in arrays.items():
            store.create_array(name, values, attrs={"same": values, "n": 5, "s": "é"})
    out = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    back = kist.convert(tmp_path / "a.h5", tmp_path / "b.kist")
    assert out.ok and back.ok, (out, back)
    with kist.open(tmp_path / "b.kist") as store:
        for name, values in arrays.items():
            same(store[name][...], values)
            np.testing.assert_array_equal(store[name].attrs["same"], values)
            assert store[name].attrs["s"] == "é"


@pytest.mark.parametrize("flavour", ["h5py", "pytables"])
def test_tables_go_out_and_come_back_equal(tmp_path: Path, flavour: str) -> None:
    pytest.importorskip("tables")
    rows = sample([("a", "i4"), ("b", "f8", (2,)), ("c", "S4"), ("d", "?"), ("n", "i2,c16")], (99,))
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["g/t"] = rows
        store["g/t"].title = "a title"
        store["g/t"]["a"].attrs["unit"] = "m"
    assert kist.convert(tmp_path / "a.kist", tmp_path / "a.h5", flavour=flavour).ok
    assert kist.convert(tmp_path / "a.h5", tmp_path / "b.kist").ok
    with kist.open(tmp_path / "b.kist") as store:
        assert store["g/t"].kind == "table"
        same(store["g/t"][:], rows)
        assert store["g/t"].title == "a title"
        assert store["g/t"]["a"].attrs["unit"] == "m"


def test_what_is_written_for_pytables_is_read_by_pytables(tmp_path: Path) -> None:
    tables = pytest.importorskip("tables")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", {"i": [1, 2], "s": np.array(["é", "longer"], TEXT)})
        store["x"] = np.arange(12.0).reshape(3, 4)
        store["when"] = np.array(["2020-01-01", "NaT"], "M8[D]")
        store["x"].attrs.update({"unit": "K", "list": [1, "a"], "n": 3})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5", flavour="pytables")
    assert codes(report) == {"pytables.text", "pytables.dtype", "hdf5.value"}
    with tables.open_file(tmp_path / "a.h5") as file:
        assert file.root.t[:].tolist() == [(1, "é".encode()), (2, b"longer")]
        assert file.root.x[1].tolist() == [4.0, 5.0, 6.0, 7.0]
        assert file.root.x.attrs.unit == "K" and file.root.x.attrs.n == 3
        assert file.root.when.dtype == "i8"


def test_text_of_every_kind_comes_back(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["u"] = np.array(["a", "éé"])
        store["v"] = np.array(["x", "", "long" * 50], TEXT)
        store.create_table("t", {"s": np.array(["q", "é"], TEXT), "u": np.array(["ab", "c"])})
        store.attrs["texts"] = np.array(["a", "é"], TEXT)
    out = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    assert codes(out) == {"hdf5.unicode"}
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["u"].asstr()[1] == "éé"
        assert file["v"].asstr()[2] == "long" * 50
    assert kist.convert(tmp_path / "a.h5", tmp_path / "b.kist").ok
    with kist.open(tmp_path / "b.kist") as store:
        same(store["u"][:], np.array(["a", "éé"]))
        assert store["v"][:].tolist() == ["x", "", "long" * 50]
        assert store["t"]["s"][:].tolist() == ["q", "é"]
        assert store["t"]["u"].dtype == "U2"
        assert store.attrs["texts"].tolist() == ["a", "é"]


def test_plain_values_and_key_stores_go_out_as_what_hdf5_has(tmp_path: Path) -> None:
    values = {"none": None, "list": [1, (2, "x")], "big": 2**70, "bytes": b"a\0", "set": {1}}
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.attrs.update(values)
        runs = store.create_keystore("runs")
        runs.update({"17": (np.arange(3), "volts"), 4: {"x": np.zeros(2)}, "a/b": 1.5})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    assert codes(report) == {"hdf5.value", "hdf5.keystore"}
    kist.convert(tmp_path / "a.h5", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert {name: store.attrs[name] for name in values} == values
        assert store["runs/17/0"][:].tolist() == [0, 1, 2]
        assert store["runs/4/x"][:].tolist() == [0.0, 0.0]
        assert store["runs/a%2Fb"][()] == 1.5


def everything(path: Path) -> None:
    """Write a file with all that needs a word in the report."""
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(3)
        f["enum"] = np.array([0, 1], h5py.enum_dtype({"A": 0, "B": 1}, "i2"))
        f["empty"] = h5py.Empty("f4")
        ragged = f.create_dataset("ragged", (3,), h5py.vlen_dtype("i4"))
        ragged[0], ragged[2] = [1, 2], [3]
        f.create_dataset("ref", (2,), h5py.ref_dtype)[0] = f["x"].ref
        f.create_dataset("region", (1,), h5py.regionref_dtype)[0] = f["x"].regionref[0:1]
        kind = np.dtype([("i", "i4"), ("s", h5py.string_dtype()), ("v", h5py.vlen_dtype("i4"))])
        f.create_dataset("rows", (2,), kind)["i"] = [1, 2]
        inner = f.create_dataset("nested", (2, 2), np.dtype([("s", h5py.string_dtype())]))
        inner[0, 0] = ("hello",)
        f.create_dataset("cells", (2, 2), np.dtype([("i", "i4"), ("v", h5py.vlen_dtype("i4"))]))
        f.create_dataset("latin", (1,), h5py.string_dtype())[0] = b"\xff!"
        f["type"] = np.dtype("f8")
        f["soft"], f["outside"] = h5py.SoftLink("/x"), h5py.ExternalLink("no.h5", "/y")
        f["group/loop"], f["group/again"] = f["/"], f["x"]
        f.attrs["nothing"] = h5py.Empty("i4")
        f.attrs["to"] = f["x"].ref
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource(f["x"])
        f.create_virtual_dataset("virtual", layout)
        f.create_dataset("filled", (1000, 1000), "f4", chunks=(100, 100), fillvalue=2.5)
        f.create_dataset("sub", (2,), np.dtype(("i4", (3,))))[:] = [[1, 2, 3], [4, 5, 6]]


def test_what_hdf5_alone_has_is_reported_and_comes_back(tmp_path: Path) -> None:
    everything(tmp_path / "a.h5")
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert codes(report) == {
        "hdf5.enum", "hdf5.empty", "hdf5.ragged", "hdf5.reference", "hdf5.region",
        "hdf5.ragged_field", "hdf5.nested_text", "hdf5.not_text", "hdf5.named_type",
        "hdf5.external", "hdf5.hardlink", "hdf5.empty_attribute", "hdf5.virtual",
    }  # fmt: skip
    with kist.open(tmp_path / "a.kist") as store:
        assert store.open_link("soft").target == "/x" and store["soft"].name == "/x"
        assert store["enum"][:].tolist() == [0, 1]
        assert store["ragged/values"][:].tolist() == [1, 2, 3]
        assert store["ragged/offsets"][:].tolist() == [0, 2, 2, 3]
        assert store["ref"][0] in ("/x", "/group/again") and store["ref"][1] == ""
        assert "region" not in store and store["cells"].dtype.names == ("i",)
        assert store["rows"]["v"][:].to_list() == [[], []]
        assert store["rows"]["i"][:].tolist() == [1, 2]
        assert store["nested"][0, 0]["s"] == b"hello"
        assert store["latin"][:].tolist() == ["\\xff!"]
        assert store["virtual"][:].tolist() == [0, 1, 2]
        assert store["filled"][5, 5] == 2.5 and store["filled"].nbytes_stored < 10_000
        assert store["sub"][:].tolist() == [[1, 2, 3], [4, 5, 6]]
        assert store.attrs["to"] in ("/x", "/group/again") and store.attrs["nothing"] is None
    kist.convert(tmp_path / "a.kist", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as f:
        assert h5py.check_enum_dtype(f["enum"].dtype) == {"A": 0, "B": 1}
        assert f["empty"].shape is None
        assert [row.tolist() for row in f["ragged"]] == [[1, 2], [], [3]]
        assert f.get("soft", getlink=True).path == "/x"
        assert f.get("outside", getlink=True).filename == "no.h5"
        assert f["group/loop"] == f["/"] and f["group/again"] == f["x"]
        assert f["filled"].chunks == (100, 100) and f["filled"].fillvalue == 2.5


def test_chunks_filters_and_dimension_scales_come_back(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        x = f.create_dataset(
            "x", data=np.arange(1000.0).reshape(10, 100), chunks=(5, 30), maxshape=(None, 100),
            compression="gzip", compression_opts=7, shuffle=True, fletcher32=True,
        )  # fmt: skip
        f["time"] = np.arange(10)
        f["time"].make_scale("t")
        x.dims[0].attach_scale(f["time"])
        x.dims[1].label = "channel"
    assert kist.convert(tmp_path / "a.h5", tmp_path / "a.kist").ok
    assert kist.convert(tmp_path / "a.kist", tmp_path / "b.h5").ok
    with h5py.File(tmp_path / "b.h5") as f:
        x = f["x"]
        assert (x.chunks, x.maxshape) == ((5, 30), (None, 100))
        assert (x.compression, x.compression_opts, x.shuffle, x.fletcher32) == ("gzip", 7, True, 1)
        assert x.dims[0][0] == f["time"] and x.dims[1].label == "channel"
        assert f["time"].is_scale
        same(x[:], np.arange(1000.0).reshape(10, 100))


@pytest.mark.parametrize("name", ["Blosc", "Zstd", "LZ4", "Bitshuffle"])
def test_filters_of_hdf5plugin_are_read(tmp_path: Path, name: str) -> None:
    pytest.importorskip("hdf5plugin")
    values = np.arange(100_000).reshape(100, 1000)
    # Not here: where netCDF4 was imported, its own Blosc stands in for that of hdf5plugin; it reads
    # and does not write, and a variable of the environment leads children to it.
    clean = {key: value for key, value in os.environ.items() if key != "HDF5_PLUGIN_PATH"}
    code = f"""
import h5py, hdf5plugin, numpy
with h5py.File({str(tmp_path / "a.h5")!r}, "w") as f:
    f.create_dataset("x", data=numpy.arange(100_000).reshape(100, 1000), chunks=(10, 1000),
                     **hdf5plugin.{name}())
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=clean)
    assert kist.convert(tmp_path / "a.h5", tmp_path / "a.kist").ok
    with kist.open(tmp_path / "a.kist") as store:
        same(store["x"][:], values)
    assert kist.convert(tmp_path / "a.kist", tmp_path / "b.h5").ok
    with h5py.File(tmp_path / "b.h5") as f:
        same(f["x"][:], values)


def test_files_of_pytables_come_over_with_its_own_meanings(tmp_path: Path) -> None:
    tables = pytest.importorskip("tables")

    class Rows(tables.IsDescription):  # type: ignore[misc, name-defined]
        a = tables.Int32Col(dflt=3, pos=0)
        b = tables.BoolCol(pos=1)
        t = tables.Time64Col(pos=2)
        e = tables.EnumCol({"x": 0, "y": 1}, "x", "int16", pos=3)

    with tables.open_file(tmp_path / "a.h5", "w", title="Lab") as f:
        t = f.create_table("/", "t", Rows, "rows")
        t.append([(1, True, 1.5, 1), (2, False, 2.25, 0)])
        t.attrs.pickled = [1, 2]
        t.attrs.FIELD_1_UNIT = "kg"
        t.cols.a.create_index()
        f.create_vlarray("/", "v", tables.Int32Atom()).append([1, 2])
        f.create_vlarray("/", "objects", tables.ObjectAtom()).append([1, 2])
        f.create_vlarray("/", "text", tables.VLUnicodeAtom()).append("é")
        f.create_earray("/", "times", tables.Time64Atom(), (0,)).append(np.array([1.5, 2.25]))
        f.create_carray("/", "flags", obj=np.eye(3, dtype="?"))
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert codes(report) == {"hdf5.ragged", "pytables.pickle"}
    with kist.open(tmp_path / "a.kist") as store:
        rows = store["t"]
        assert [index.columns for index in rows.indexes] == [("a",)]
        assert store.title == "Lab" and rows.title == "rows"
        assert [rows[name].dtype for name in "abt"] == ["i4", "?", "f8"]
        assert rows[:].tolist() == [(1, True, 1.5, "y"), (2, False, 2.25, "x")]
        assert rows["b"].attrs["UNIT"] == "kg"
        assert rows["e"].numbers == {"x": 0, "y": 1}
        assert isinstance(rows.attrs["pickled"], bytes)
        rows_with_default = {"b": True, "t": 0.5, "e": "y"}
        assert store["flags"][:].tolist() == np.eye(3, dtype="?").tolist()
        assert store["text"][:].tolist() == ["é"]
        assert store["times"][:].tolist() == [1.5, 2.25]
        assert store["v/values"][:].tolist() == [1, 2]
    with kist.open(tmp_path / "a.kist", "r+") as store:
        store["t"].append(rows_with_default)
        assert store["t"][-1]["a"] == 3
        store["t"].create_index("a", "t")
    report = kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / "b.h5", flavour="pytables")
    assert [n.places for n in report.notes if n.code == "pytables.index"] == [["/t, index a,t"]]
    with tables.open_file(tmp_path / "b.h5") as f:
        assert f.root.t.cols.a.is_indexed and not f.root.t.cols.t.is_indexed


def test_strict_refuses_any_loss_and_changes_nothing(tmp_path: Path) -> None:
    everything(tmp_path / "a.h5")
    with pytest.raises(ConversionError, match="strict refuses"):
        kist.convert(tmp_path / "a.h5", tmp_path / "a.kist", strict=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_source_with_an_error_late_in_it_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["a"] = np.arange(100_000)
        f["z" * 300] = 1  # no name in a store
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["kept"] = [1, 2]
        before = store.commit_id
    with pytest.raises(kist.NodeNameError):
        kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        assert list(store) == ["kept"] and store.commit_id == before


@pytest.mark.parametrize("share", [0.0005, 0.3, 0.6, 0.95])
def test_truncated_files_raise_and_leave_nothing(tmp_path: Path, share: float) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for k in range(20):
            f.create_dataset(f"x{k}", data=np.random.default_rng(k).random(5000), chunks=(500,))
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises((CorruptDataError, ConversionError)):
        kist.convert(tmp_path / "a.h5", tmp_path / "a.kist", format="hdf5")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_corrupt_chunks_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("g/x", data=np.random.default_rng(0).random(5000), fletcher32=True)
        at = f["g/x"].id.get_chunk_info(0).byte_offset
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[at + 100] ^= 1
    (tmp_path / "a.h5").write_bytes(data)
    with pytest.raises(CorruptDataError, match="/g/x"):
        kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")


def test_a_virtual_dataset_whose_source_is_missing_is_no_data(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource("gone.h5", "x", (3,))
        f.create_virtual_dataset("v", layout, fillvalue=-1)
        f["x"] = np.arange(3)
    with pytest.raises(ConversionError, match=r"gone\.h5"):
        kist.convert(tmp_path / "a.h5", tmp_path / "a.kist", strict=True)
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert codes(report) == {"hdf5.virtual_gone"} and "gone.h5" in str(report)
    with kist.open(tmp_path / "a.kist") as store:
        assert list(store) == ["x"]


def test_filters_that_are_not_here_become_gzip_beside_no_other() -> None:
    from kist.bridges.hdf5.write import _filters

    gone = 32_015  # Zstandard, which HDF5 alone has not

    class Filters:
        FILTER_SHUFFLE, FILTER_FLETCHER32, FILTER_DEFLATE, FILTER_LZF = 2, 3, 1, 32_000
        filter_avail = staticmethod(lambda code: code != gone)

    class Library:
        h5z = Filters

    plain = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    assert _filters(Library, [[gone, [3]]]) == plain
    assert _filters(Library, [[32_004, [3]]]) == {"compression": 32_004, "compression_opts": (3,)}
    assert _filters(Library, [[32_000, []]]) == {"compression": "lzf"}
    assert _filters(Library, [[gone, [3]], [1, [7]]]) == {
        "compression": "gzip",
        "compression_opts": 7,
    }


LOSSY = {
    "ZFP": "hdf5plugin.Zfp(accuracy=1.0)",
    "SZ3": "hdf5plugin.SZ3(absolute=1.0)",
    "scale and offset": "dict(scaleoffset=0)",
}


@pytest.mark.parametrize("name", LOSSY)
def test_a_filter_that_took_digits_takes_no_more(tmp_path: Path, name: str) -> None:
    pytest.importorskip("hdf5plugin")
    clean = {key: value for key, value in os.environ.items() if key != "HDF5_PLUGIN_PATH"}
    code = f"""
import h5py, hdf5plugin, numpy, kist
a, b, store = {[str(tmp_path / name) for name in ("a.h5", "b.h5", "s.kist")]!r}
values = numpy.random.default_rng(0).normal(size=(100, 100)).astype("f4") * 10
with h5py.File(a, "w") as f:
    f.create_dataset("x", data=values, chunks=(100, 100), **{LOSSY[name]})
kist.convert(a, store)
with kist.open(store, "r+") as s:
    s["x"][:] = values
kist.convert(store, b)
with h5py.File(b) as f:
    assert numpy.array_equal(f["x"][:], values)
    assert f["x"].id.get_storage_size() < values.nbytes and f["x"].chunks == (100, 100)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=clean)


def test_a_target_that_stands_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = [1, 2]
    kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    with pytest.raises(StoreExistsError):
        kist.convert(tmp_path / "a.kist", tmp_path / "a.h5")
    with pytest.raises(NodeExistsError):
        kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert kist.convert(tmp_path / "a.kist", tmp_path / "a.h5", overwrite=True).n_arrays == 1
    assert kist.convert(tmp_path / "a.h5", tmp_path / "a.kist", overwrite=True).n_arrays == 1


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, limited: Any) -> None:
    pytest.importorskip("tables")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = np.random.default_rng(0).random(200_000)
    here = repr(str(tmp_path) + "/")
    limited(
        StorageError,
        f"kist.convert({here} + 'a.kist', {here} + 'a.h5')",
        f"kist.convert({here} + 'a.kist', {here} + 'a.h5', flavour='pytables')",
    )
    assert [p.name for p in tmp_path.iterdir()] == ["a.kist"]


def test_memory_stays_bounded(tmp_path: Path, peak: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        x = f.create_dataset("x", (400, 256, 1024), "f4", chunks=(1, 256, 1024))
        for k in range(400):
            x[k] = k
    base = peak(f"kist.open({str(tmp_path / 'n.kist')!r}, 'w').close()\nimport h5py")
    grown = peak(f"kist.convert({str(tmp_path / 'a.h5')!r}, {str(tmp_path / 'a.kist')!r})")
    assert grown - base < 200e6 < 400 * 256 * 1024 * 4


def test_real_files_go_in_and_out(tmp_path: Path, shared_data: Path) -> None:
    strain = shared_data / "H-H1_LOSC_4_V2-1126259446-32.hdf5"
    if not strain.exists():
        pytest.skip("no strain data")
    kist.convert(strain, tmp_path / "a.kist")
    kist.convert(tmp_path / "a.kist", tmp_path / "b.h5")
    with h5py.File(strain) as before, h5py.File(tmp_path / "b.h5") as after:
        names: list[str] = []
        before.visit(names.append)
        for name in names:
            if isinstance(before[name], h5py.Dataset):
                np.testing.assert_array_equal(before[name][()], after[name][()])
            assert set(before[name].attrs) <= set(after[name].attrs)


def test_every_loss_is_one_or_the_other() -> None:
    assert {loss.verdict for loss in LOSSES.values()} == {"changed", "not kept"}
