"""NetCDF there and back: types of the user, lists among them, are what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

netcdf: Any = pytest.importorskip("netCDF4")


def cells(variable: Any) -> list[list[Any]]:
    return [cell.tolist() for cell in variable[...].reshape(-1)]


def write(path: Path) -> None:
    with netcdf.Dataset(path, "w") as file:
        file.createDimension("t", None)
        file.createDimension("x", 3)
        lists = file.createVLType("f8", "lists")
        one = file.createVariable("one", lists, ("x",))
        two = file.createVariable("two", lists, ("x", "x"))
        group = file.createGroup("g")
        more = group.createVariable("more", file.createVLType("i2", "short"), ("t",))
        one.units = "m"
        for k in range(3):
            one[k] = np.arange(k, dtype="f8")
            more[k] = np.arange(3 - k, dtype="i2")
            for j in range(3):
                two[k, j] = np.arange(k * j, dtype="f8")
        colors = file.createEnumType("u1", "color", {"red": 1, "blue": 2})
        file.createVariable("paint", colors, ("x",), fill_value=1)[:] = [1, 2, 1]
        pairs = file.createCompoundType(np.dtype([("a", "i4"), ("b", "f8")]), "pairs")
        file.createVariable("couple", pairs, ("x",))
        file.createEnumType("i1", "nobody", {"a": 0})


def test_lists_and_types_of_the_user_come_back(tmp_path: Path) -> None:
    write(tmp_path / "a.nc")
    there = kist.convert(tmp_path / "a.nc", tmp_path / "s.kist")
    assert {note.code: [place.rpartition(":")[2] for place in note.places]
            for note in there.notes} == {
        "netcdf.enum": ["/paint"], "netcdf.ragged": ["/one", "/two", "/g/more"],
        "netcdf.unused_type": ["/nobody"],
    }  # fmt: skip
    assert kist.convert(tmp_path / "s.kist", tmp_path / "b.nc").ok
    with netcdf.Dataset(tmp_path / "a.nc") as a, netcdf.Dataset(tmp_path / "b.nc") as b:
        for name in ("one", "two", "g/more"):
            assert cells(a[name]) == cells(b[name])
            assert (a[name].dimensions, a[name].dtype) == (b[name].dimensions, b[name].dtype)
            assert a[name].datatype.name == b[name].datatype.name
        assert b["one"].units == "m" and "g/more/values" not in b.groups
        assert b.dimensions["t"].isunlimited()
        assert b["paint"].datatype.enum_dict == {"red": 1, "blue": 2}
        assert b["couple"].datatype.name == "pairs"


def test_lists_that_were_changed_in_the_store_stay_two_arrays(tmp_path: Path) -> None:
    write(tmp_path / "a.nc")
    kist.convert(tmp_path / "a.nc", tmp_path / "s.kist")
    with kist.open(tmp_path / "s.kist", "r+") as store:
        del store["one/offsets"]
        store["two"].attrs["NETCDF"] = {"ragged": [7]}
        store["g/more"].attrs["NETCDF"] = {"ragged": "x"}
    kist.convert(tmp_path / "s.kist", tmp_path / "b.nc")
    with netcdf.Dataset(tmp_path / "b.nc") as b:
        assert {"one", "two"} <= set(b.groups) and "more" in b["g"].groups
