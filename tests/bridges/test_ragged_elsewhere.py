"""Ragged and categorical columns in formats that have none: refused by name, or told."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import kist
from kist.errors import ConversionError


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.b2nd", "a.zarr", "a.nc"])
def test_formats_without_such_columns_say_so(name: str, tmp_path: Path) -> None:
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    if name.endswith("nc"):
        pytest.importorskip("netCDF4")
    with kist.open(tmp_path / "a.kist", "w") as store:
        table = store.create_table("t", dtype={"id": "i4", "r": kist.ragged("f4")})
        table.append([(1, [0.5]), (2, [])])
    whole = name.endswith((".npy", ".b2nd"))
    source = f"{tmp_path / 'a.kist'}:/t" if whole else tmp_path / "a.kist"
    with pytest.raises(ConversionError, match=r"/t: .*different lengths \(r\); Parquet"):
        kist.convert(source, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.kist"]


@pytest.mark.parametrize("name", ["a.npz", "a.b2z", "a.zarr", "a.nc", "a.sqlite"])
def test_categories_are_values_where_a_format_has_none_and_that_is_told(
    name: str, tmp_path: Path
) -> None:
    for suffix, module in (("zarr", "zarr"), ("nc", "netCDF4")):
        if name.endswith(suffix):
            pytest.importorskip(module)
    with kist.open(tmp_path / "a.kist", "w") as store:
        table = store.create_table("t", dtype={"id": "i4", "n": kist.categorical("i4")})
        table.append([(1, 70), (2, None), (3, 80)])
    report = kist.convert(tmp_path / "a.kist", tmp_path / name)
    assert [n.places for n in report.notes if n.code.endswith(".categories")] == [["/t.n"]]
    with pytest.raises(ConversionError, match="categories of a column"):
        kist.convert(tmp_path / "a.kist", tmp_path / f"strict.{name}", strict=True)
    assert not (tmp_path / f"strict.{name}").exists()
    if name != "a.nc":
        kist.convert(tmp_path / name, tmp_path / "b.kist")
        with kist.open(tmp_path / "b.kist") as store:
            assert store["t"]["n"][:].tolist() == [70, None, 80]


def test_bytes_of_any_length_are_blobs_of_sqlite(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        table = store.create_table("t", dtype={"b": kist.ragged(bytes), "r": kist.ragged("i4")})
        table.append([(b"x\0", [1, 2]), (b"", [])])
    kist.convert(tmp_path / "a.kist", tmp_path / "a.sqlite")
    with contextlib.closing(sqlite3.connect(tmp_path / "a.sqlite")) as database:
        rows = database.execute("SELECT b, r FROM t").fetchall()
    assert [b for b, _ in rows] == [b"x\0", b""] and json.loads(rows[0][1]) == [1, 2]


@pytest.mark.parametrize("flavour", ["h5py", "pytables"])
def test_null_cells_are_empty_in_hdf5_and_told(tmp_path: Path, flavour: str) -> None:
    pytest.importorskip("tables" if flavour == "pytables" else "h5py")
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", {"i": [1, 2, 3], "r": [[1, 2], None, []]})
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.h5", flavour=flavour)
    assert "hdf5.null_cells" in {note.code for note in report.notes}
    kist.convert(tmp_path / "a.h5", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert store["t"]["r"][:].to_list() == [[1, 2], [], []]
        assert store["t"]["r"].dtype == kist.ragged("i8")


def test_null_cells_are_null_in_sqlite(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", {"r": [[1, 2], None, []], "b": [b"x\1", None, b""]})
    kist.convert(tmp_path / "a.kist", tmp_path / "a.sqlite")
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as database:
        assert database.execute("SELECT r, b FROM t").fetchall() == [
            ("[1, 2]", b"x\1"), (None, None), ("[]", b""),
        ]  # fmt: skip
