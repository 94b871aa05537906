"""Nullable columns go through every format, and come back as far as it can hold them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.bridges.nulls import free_name, is_nullable, paired, restored

NEEDS = {"h5": "h5py", "nc": "netCDF4", "zarr": "zarr", "parquet": "pyarrow"}
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("h5", {}), ("h5", {"flavour": "pytables"}), ("nc", {}), ("zarr", {}),
    ("zarr", {"zarr_format": 2}), ("npy", {}), ("npz", {}), ("parquet", {}), ("sqlite", {}),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "options"), WAYS)
@pytest.mark.parametrize("with_text", [False, True])
def test_nulls_come_back(
    tmp_path: Path, suffix: str, options: dict[str, Any], with_text: bool
) -> None:
    pytest.importorskip(NEEDS.get(suffix, "numpy"))
    pytest.importorskip("tables" if options.get("flavour") else "numpy")
    text: Any = np.dtypes.StringDType(na_object=None)
    columns: dict[str, Any] = {
        "x": np.ma.array([10, 77, 0, -3], mask=[0, 1, 0, 0]),
        "f": np.ma.array([1.5, 77, 0, -3], "f4", mask=[0, 1, 1, 0]),
        "plain": np.arange(4),
        "x_valid": np.arange(4),
    }
    if suffix != "sqlite":
        columns["b"] = np.ma.array([True, True, False, True], mask=[1, 1, 0, 0])
    if with_text:
        columns["s"] = np.array(["a", "b", "", "é"], text)
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", columns)
    target = tmp_path / f"t.{suffix}"
    report = kist.convert(f"{tmp_path / 'a.kist'}:t", target, **options)
    assert "not kept" not in {note.verdict for note in report.notes}
    kist.convert(target, tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        found = store["t"]
        assert list(found.columns) == list(columns)
        for name, wanted in columns.items():
            if suffix == "sqlite" and name == "f":  # NaN, as the report says
                assert np.isnan(found[name][:]).tolist() == [False, True, True, False]
            elif name != "s":
                assert found[name][:].tolist() == wanted.tolist(), name
                assert is_nullable(found[name].dtype) == isinstance(wanted, np.ma.MaskedArray)


def test_a_null_in_a_database_makes_integers_nullable_and_keeps_large_ones(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("CREATE TABLE t (a INTEGER, b INTEGER)")
        database.executemany("INSERT INTO t VALUES (?, ?)", [(2**62 + 1, 1), (None, 2)])
    database.close()
    assert kist.convert(tmp_path / "a.db", tmp_path / "a.kist").ok
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["a"][:].tolist() == [2**62 + 1, None]
        assert store["t"]["b"].dtype == "i8"


def test_nulls_that_come_late_make_a_column_nullable_where_it_stands(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    lines = [f"{k},{'' if k == 4990 else k}" for k in range(5000)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    report = kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", block_size=5000)
    assert report.ok and (report.n_tables, report.n_rows) == (1, 5000)
    with kist.open(tmp_path / "a.kist") as store:
        t = store["t"]
        assert not is_nullable(t["a"].dtype)
        assert t["b"][4988:4992].tolist() == [4988, 4989, None, 4991] and t["b"][7] == 7


def test_pairs_hold_nothing_where_there_is_no_value() -> None:
    found = paired(np.ma.array([5, 6], mask=[0, 1]))
    assert found.tolist() == [(5, True), (0, False)] and is_nullable(found.dtype)
    assert paired(np.arange(2)).tolist() == [0, 1]
    assert free_name("x", ["x", "x_valid", "x_valid_"]) == "x_valid__"


def test_fields_that_are_no_pairs_stay_whatever_a_file_says() -> None:
    rows = np.dtype([("a", "i4"), ("p", [("value", "i4"), ("valid", "?")]), ("q", "i4,?")])
    found = restored(rows, ["a", "p", "q", "none"])
    assert [is_nullable(found[name]) for name in rows.names or ()] == [False, True, False]
