"""References, named types and links of HDF5: kept, or told by name; no cycle is followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

h5py = pytest.importorskip("h5py")


def places(report: Any, code: str) -> set[str]:
    """Return where something was noted, without the path of the file."""
    found = (place for note in report.notes if note.code == code for place in note.places)
    return {place.rpartition(":/")[2] for place in found}


def test_references_come_in_as_paths_and_go_out_as_references(tmp_path: Path) -> None:
    rows = np.dtype([("i", "i4"), ("to", h5py.ref_dtype)])
    with h5py.File(tmp_path / "a.h5", "w") as f:
        x, g = f.create_dataset("x", data=np.arange(6)), f.create_group("g")
        f.create_dataset("many", (2, 2), h5py.ref_dtype)[0] = [x.ref, g.ref]
        f.create_dataset("one", (), h5py.ref_dtype)[()] = x.ref
        f.create_dataset("rows", data=np.array([(1, x.ref), (2, g.ref)], rows), dtype=rows)
        f.attrs["one"] = g.ref
        x.attrs.create("many", [x.ref, g.ref], dtype=h5py.ref_dtype)
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert {note.code for note in report.notes} == {"hdf5.reference"}
    assert places(report, "hdf5.reference") == {"many", "one", "rows.to", "@one", "x@many"}
    with kist.open(tmp_path / "a.kist") as store:
        assert store["many"][:].tolist() == [["/x", "/g"], ["", ""]]
        assert store["rows"]["to"][:].tolist() == ["/x", "/g"]
        assert store.attrs["one"] == "/g" and store["x"].attrs["many"].tolist() == ["/x", "/g"]
    assert kist.convert(tmp_path / "a.kist", tmp_path / "b.h5").ok
    with h5py.File(tmp_path / "b.h5") as f:
        assert f[f["many"][0, 1]] == f["g"] and not f["many"][1, 1]
        assert f[f["one"][()]] == f["x"] and f[f.attrs["one"]] == f["g"]
        assert [f[to].name for to in f["x"].attrs["many"]] == ["/x", "/g"]
    with kist.open(tmp_path / "a.kist", "r+") as store:
        del store["g"]
    report = kist.convert(tmp_path / "a.kist", tmp_path / "c.h5")
    assert places(report, "hdf5.lost_reference") == {
        "/@one: /g", "/x@many: /g", "/many: /g",
    }  # fmt: skip


def test_what_is_not_kept_of_references_is_told_by_name(tmp_path: Path) -> None:
    mixed = np.dtype([("i", "i4"), ("z", h5py.regionref_dtype), ("v", h5py.vlen_dtype("i4"))])
    with h5py.File(tmp_path / "a.h5", "w") as f:
        x = f.create_dataset("x", data=np.arange(6))
        region = x.regionref[1:3]
        f.create_dataset("regions", (2,), h5py.regionref_dtype)[0] = region
        f.create_dataset("mixed", (2,), mixed)
        f.attrs["region"] = region
        f.attrs.create("regions", [region, region], dtype=h5py.regionref_dtype)
        values = np.zeros(2, mixed)
        values["v"] = [np.array([1], "i4"), np.array([2, 3], "i4")]
        values["z"] = region
        f.attrs.create("mixed", values, dtype=mixed)
        f.create_dataset("ragged", (2,), h5py.vlen_dtype(h5py.ref_dtype))
        gone = f.create_dataset("gone", data=[1])
        f.attrs["dangling"] = gone.ref
        f.create_dataset("dangling", (3,), h5py.ref_dtype)[:2] = [gone.ref, x.ref]
        del f["gone"], gone
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert places(report, "hdf5.region") == {
        "regions", "mixed.z", "@region", "@regions", "@mixed.z",
    }  # fmt: skip
    assert places(report, "hdf5.ragged_field") == {"@mixed.v"}
    assert places(report, "hdf5.dangling") == {"dangling", "@dangling"}
    assert places(report, "hdf5.dtype") == {"ragged"}
    with kist.open(tmp_path / "a.kist") as store:
        assert set(store) == {"x", "mixed", "dangling"}
        assert set(store.attrs) - {"HDF5"} == {"mixed", "dangling"}
        assert store.attrs["mixed"].dtype.names == ("i",)
        assert store["mixed"].columns == ("i", "v")
        assert store["dangling"][:].tolist() == ["", "/x", ""]


def test_named_types_are_told_and_what_has_them_comes_over(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["g/row"] = np.dtype([("a", "i4"), ("b", "f4")])
        f["color"] = h5py.enum_dtype({"R": 0, "G": 1}, "i1")
        f.create_dataset("rows", (2,), f["g/row"])["a"] = [1, 2]
        f["rows"].attrs.create("c", np.array([0, 1], "i1"), dtype=f["color"])
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert places(report, "hdf5.named_type") == {"g/row", "color"}
    with kist.open(tmp_path / "a.kist") as store:
        assert store["rows"]["a"][:].tolist() == [1, 2]
        assert store["rows"].attrs["c"].tolist() == [0, 1]
        assert "color" not in store and list(store["g"]) == []


def test_no_cycle_of_links_is_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["g/x"] = np.arange(3)
        f["g/self"], f["g/up"], f["g/y"] = f["g"], f["/"], f["g/x"]
        f["s1"], f["s2"] = h5py.SoftLink("/s2"), h5py.SoftLink("/s1")
        f["g/soft"] = h5py.SoftLink("/g")
        f["g/ext"] = h5py.ExternalLink("a.h5", "/g")
        f["g/ext_self"] = h5py.ExternalLink("a.h5", "/g/ext_self")
    report = kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    assert report.n_arrays == 1
    assert places(report, "hdf5.hardlink") == {"g/self", "g/up", "g/y"}
    assert places(report, "hdf5.softlink") == {"s2"}  # it would close the circle
    assert places(report, "hdf5.external") == {"g/ext", "g/ext_self"}
    assert kist.convert(tmp_path / "a.kist", tmp_path / "b.h5").ok
    with h5py.File(tmp_path / "b.h5") as f:
        assert f["g/self"] == f["g"] and f["g/up"] == f["/"] and f["g/y"] == f["g/x"]
        assert [f.get(name, getlink=True).path for name in ("s1", "s2")] == ["/s2", "/s1"]
        assert f.get("g/ext_self", getlink=True).path == "/g/ext_self"
