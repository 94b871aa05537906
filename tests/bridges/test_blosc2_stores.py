"""Blosc2's stores of many arrays come in, and a store goes out as one of them."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pyarrow as pa
import pytest

import kist
from kist.errors import ConversionError, KistError


@dataclasses.dataclass
class Row:
    x: int = 0
    y: float = 0.0


@pytest.mark.parametrize("suffix", ["b2z", "b2d"])
def test_all_that_stands_in_a_store_comes_in(tmp_path: Path, suffix: str) -> None:
    table: Any = blosc2.CTable(Row)
    table.append(Row(1, 1.5))
    table.append(Row(2, 3.0))
    source = tmp_path / f"s.{suffix}"
    with blosc2.TreeStore(str(source), mode="w") as store:
        store["/g/a"] = np.arange(10.0)
        store["/g/h/b"] = blosc2.arange(5)
        store["/t"] = table
        store["/rows"] = np.ones(3, "i4,f8")
        store["/frame"] = blosc2.SChunk(data=np.arange(100, dtype="u1").tobytes())
        store.vlmeta["title"] = "x"
        store.get_subtree("/g").vlmeta["u"] = 5
    report = kist.convert(source, tmp_path / "a.kist")
    assert report.ok and (report.n_arrays, report.n_tables) == (3, 2)
    with kist.open(tmp_path / "a.kist") as found:
        assert found["g/a"][:].tolist() == list(range(10)) and found["g"].attrs["u"] == 5
        assert found["g/h/b"][:].tolist() == list(range(5)) and found.attrs["title"] == "x"
        assert found["t"][:].tolist() == [(1, 1.5), (2, 3.0)]
        assert found["rows"][:].tolist() == [(1, 1.0)] * 3
        assert found["frame"][:].tolist() == list(range(100))


def test_a_store_goes_out_and_comes_back(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["g/x"] = np.arange(24.0).reshape(2, 3, 4)
        store["g/x"].attrs["unit"] = "K"
        store["t"] = np.zeros(5, "i4,f8")
        store["empty/none"] = np.zeros((0, 3))
        store["words"] = np.array(["a", "äö"])
        store.attrs["list"] = [1, (2,)]
        store.create_keystore("k").update([("v", np.arange(3)), ("n", 5)])
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.b2z")
    assert {n.code for n in report.notes} == {"blosc2.keystore"}
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.b2z", "a.kist"]
    with blosc2.TreeStore(str(tmp_path / "a.b2z"), mode="r") as found:
        assert found["/g/x"][1, 2].tolist() == [20, 21, 22, 23]
    kist.convert(tmp_path / "a.b2z", tmp_path / "b.kist")
    with kist.open(tmp_path / "a.kist") as a, kist.open(tmp_path / "b.kist") as b:
        for name in ("g/x", "t", "words", "empty/none"):
            np.testing.assert_array_equal(a[name][...], b[name][...])
            assert a[name].dtype == b[name].dtype and dict(a[name].attrs) == dict(b[name].attrs)
        assert b.attrs["list"] == [1, (2,)] and b["k"].attrs["n"] == 5


def test_archives_that_unpack_are_refused_and_cut_ones_raise(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.b2z", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.b2nd", bytes(10_000_000))
    with pytest.raises(ConversionError, match="as Blosc2 stores it"):
        kist.convert(tmp_path / "bomb.b2z", tmp_path / "a.kist")
    with blosc2.TreeStore(str(tmp_path / "s.b2z"), mode="w") as store:
        store["/a"] = np.random.default_rng(0).random(10_000)
    whole = (tmp_path / "s.b2z").read_bytes()
    (tmp_path / "s.b2z").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KistError):
        kist.convert(tmp_path / "s.b2z", tmp_path / "a.kist", format="b2z")
    assert not (tmp_path / "a.kist").exists()


def test_a_table_alone_comes_in_as_a_table(tmp_path: Path) -> None:
    """Not as the arrays and indexes of which Blosc2 makes it."""
    rows = pa.table({"a": [1, 2, 3], "s": ["x", None, "ä" * 300], "n": pa.array([1, None, 2])})
    blosc2.CTable.from_arrow(rows.schema, rows.to_batches()).to_b2z(str(tmp_path / "one.b2z"))
    made = blosc2.CTable.from_arrow(
        rows.schema, rows.to_batches(), urlpath=str(tmp_path / "two.b2d")
    )
    made.vlmeta["unit"] = "K"
    made.close()
    for name in ("one.b2z", "two.b2d"):
        kist.convert(tmp_path / name, tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as found:
        assert sorted(found) == ["one", "two"] and dict(found["two"].attrs) == {"unit": "K"}
        for name in found:
            assert pa.table(found[name]).to_pydict() == rows.to_pydict()


def test_embedded_stores_come_in(tmp_path: Path) -> None:
    with blosc2.EmbedStore(str(tmp_path / "s.b2e"), mode="w") as store:
        store["/x"] = np.arange(5)
        store["/g/y"] = np.array(["q", "ww"])
    assert kist.convert(tmp_path / "s.b2e", tmp_path / "a.kist").n_arrays == 2
    with kist.open(tmp_path / "a.kist") as found:
        assert found["x"][:].tolist() == [0, 1, 2, 3, 4] and found["g/y"][1] == "ww"
    with pytest.raises(ConversionError, match=r"\.b2z"):
        kist.convert(tmp_path / "a.kist", tmp_path / "b.b2e")


def test_text_nulls_categories_and_lists_go_out_and_come_back(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "i": [3, 1, 2],
            "text": ["x", "ä" * 200, None],
            "null": pa.array([1, None, 2]),
            "list": pa.array([[1, 2], [], [3]]),
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
            "time": pa.array([1, 2, 3], pa.timestamp("us")),
        }
    )
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["g/t"] = rows
        store["g/t"].attrs.update({"unit": "K", "list": [1, (2,)]})
        store["g/t"]["i"].attrs["note"] = "n"
        store["g/plain"] = np.ones(2, "i4,f8")
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.b2z")
    assert report.ok and report.n_tables == 2
    kist.convert(tmp_path / "a.b2z", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as found, kist.open(tmp_path / "a.kist") as was:
        assert dict(found["g/t"].attrs) == dict(was["g/t"].attrs)
        assert found["g/t"]["i"].attrs["note"] == "n"
        assert pa.table(found["g/t"]).to_pydict() == pa.table(was["g/t"]).to_pydict()
        assert found["g/plain"][:].tolist() == was["g/plain"][:].tolist()


def test_each_table_of_a_store_is_counted_and_widened_for_itself(tmp_path: Path) -> None:
    with blosc2.TreeStore(str(tmp_path / "s.b2z"), mode="w") as store:
        for name, values in (("a", ["x"]), ("b", [None, 1] * 40_000), ("c", [True])):
            rows = pa.table({"v": pa.array(values)})
            folder = str(tmp_path / f"{name}.b2d")
            hint = {"urlpath": folder, "capacity_hint": len(rows)}
            blosc2.CTable.from_arrow(rows.schema, rows.to_batches(), **hint).close()
            store[f"/{name}"] = blosc2.CTable.open(folder, mode="r")
    report = kist.convert(tmp_path / "s.b2z", tmp_path / "a.kist")
    assert (report.n_tables, report.n_rows) == (3, 80_002)
    with kist.open(tmp_path / "a.kist") as found:
        assert found["a"][0]["v"] == "x" and found["b"]["v"][1] == 1 and found["c"][0]["v"]
