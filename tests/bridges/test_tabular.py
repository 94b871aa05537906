"""Parquet, Arrow, CSV, JSON lines and SQLite: what comes in, what goes out, what changes."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import ConversionError, CorruptDataError, DTypeError, StorageError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TEXT: Any = np.dtypes.StringDType(na_object=None)


def codes(report: Any) -> dict[str, int]:
    return {note.code: note.count for note in report.notes}


def rich() -> Any:
    """Return an Arrow table with all that a table of kist cannot hold as it is."""
    return pa.table(
        {
            "plain": [1, 2, 3],
            "ints": pa.array([1, None, 3]),
            "large": pa.array([2**62 + 1, None, 1]),
            "floats": [1.5, None, 2.0],
            "flags": [True, None, False],
            "text": ["a", None, "c"],
            "kinds": pa.array(["x", "y", "x"]).dictionary_encode(),
            "money": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2.25")]),
            "clock": pa.array([datetime.time(1, 2), None, datetime.time(3)]),
            "zone": pa.array([1, 2, None], pa.timestamp("us", "Europe/Berlin")),
            "list": [[1, 2], None, []],
            "struct": [{"a": 1, "b": "x"}, None, {"a": 2, "b": "y"}],
            "nothing": pa.nulls(3),
            "pair": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32(), 2)),
            "day": [datetime.date(2020, 1, 1), None, datetime.date(2021, 1, 1)],
        }
    )


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_arrow_types_come_in_by_name_and_go_out_as_they_were(tmp_path: Path, suffix: str) -> None:
    table = rich()
    pq.write_table(table, tmp_path / "t.parquet")
    report = kist.convert(tmp_path / "t.parquet", tmp_path / "a.kist")
    assert codes(report) == {
        "arrow.nan": 1,
        "arrow.decimal": 1, "arrow.time": 1, "arrow.nested": 1, "arrow.untyped": 1,
    }  # fmt: skip
    with kist.open(tmp_path / "a.kist") as store:
        t = store["t"]
        assert t["plain"].dtype == "i8" and t["ints"][:].tolist() == [1, None, 3]
        assert t["large"][:].tolist() == [2**62 + 1, None, 1]
        assert t["flags"][:].tolist() == [True, None, False]
        assert t["list"][:].to_list() == [[1, 2], None, []]
        assert t["kinds"].categories.tolist() == ["x", "y"]
        assert np.isnat(t["zone"][2]) and t.to_arrow().schema.field("zone").type.tz
    out = tmp_path / f"back.{suffix}"
    assert kist.convert(f"{tmp_path / 'a.kist'}:t", out).ok
    back = pq.read_table(out) if suffix == "parquet" else pa.ipc.open_file(out).read_all()
    for name in table.column_names:
        assert (
            back.schema.field(name).type
            == pq.read_table(tmp_path / "t.parquet").schema.field(name).type
        ), name
        assert back[name].to_pylist() == table[name].to_pylist(), name


def test_tables_of_the_store_go_to_parquet_and_back_with_attributes(tmp_path: Path) -> None:
    rows = np.zeros(70_000, [("a", "i4"), ("b", "f8", (2,)), ("t", "M8[us]"), ("n", "i2,f4")])
    rows["a"] = np.arange(len(rows))
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = rows
        store["t"].attrs.update({"unit": "K", "list": [1, (2,)]})
        store["t"]["a"].attrs["long"] = "name"
    kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / "t.parquet")
    assert kist.convert(tmp_path / "t.parquet", tmp_path / "b.kist").ok
    with kist.open(tmp_path / "b.kist") as store:
        np.testing.assert_array_equal(store["t"][:], rows)
        assert dict(store["t"].attrs) == {"unit": "K", "list": [1, (2,)]}
        assert store["t"]["a"].attrs["long"] == "name"


def test_complex_numbers_are_left_out_by_name(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = np.zeros(3, "i4,c16")
    report = kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / "t.parquet")
    assert codes(report) == {"arrow.dtype": 1}
    assert pq.read_table(tmp_path / "t.parquet").column_names == ["f0"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv.gz", "sqlite"])
def test_cut_files_raise_and_leave_nothing(tmp_path: Path, suffix: str) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = np.random.default_rng(0).random(20_000).view([("x", "f8")])
    file = tmp_path / f"t.{suffix}"
    kist.convert(f"{tmp_path / 'a.kist'}:t", file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises((CorruptDataError, ConversionError)):
        kist.convert(file, tmp_path / "b.kist")
    assert not (tmp_path / "b.kist").exists()


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, limited: Any) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = np.random.default_rng(0).random(60_000).view([("x", "f8")])
    here = repr(str(tmp_path) + "/")
    limited(
        StorageError,
        *(
            f"kist.convert({here} + 'a.kist:t', {here} + 't.{suffix}')"
            for suffix in ["parquet", "arrow", "csv", "jsonl", "sqlite"]
        ),
    )
    assert [p.name for p in tmp_path.iterdir()] == ["a.kist"]


# CSV


def write_csv(path: Path, n: int = 1000, late: dict[int, str] | None = None) -> None:
    lines = [f"{k},{k / 2},text {k % 7},{(late or {}).get(k, k)}" for k in range(n)]
    path.write_text("\n".join(["a,b,c,d", *lines]) + "\n")


def test_types_of_csv_columns_are_found_and_missing_values_kept(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", late={5: ""})
    assert codes(kist.convert(tmp_path / "t.csv", tmp_path / "a.kist")) == {}
    with kist.open(tmp_path / "a.kist") as store:
        t = store["t"]
        assert [t[name].dtype.kind for name in t.columns] == ["i", "f", "T", "V"]
        assert t["d"][4:7].tolist() == [4, None, 6] and t["c"][6] == "text 6"


def test_a_value_that_fits_no_number_widens_a_column_after_the_fact(tmp_path: Path) -> None:
    # Behind the first block, whose values decide.
    write_csv(tmp_path / "t.csv", 5000, late={3000: "1.5", 4990: "oops"})
    report = kist.convert(tmp_path / "t.csv", tmp_path / "a.kist", block_size=10_000)
    assert report.n_rows == 5000
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["d"][-12:-8].tolist() == ["4988", "4989", "oops", "4991"]
        assert len(store["t"]) == 5000 and store["t"]["a"].dtype == "i8"


def test_chosen_dtypes_are_those_of_the_table(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.tsv")
    text = (tmp_path / "t.tsv").read_text().replace(",", "\t")
    (tmp_path / "t.tsv").write_text(text)
    kist.convert(tmp_path / "t.tsv", tmp_path / "a.kist", dtypes={"a": "i2", "c": "U8", "d": "S4"})
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"].dtype == [("a", "i2"), ("b", "f8"), ("c", "U8"), ("d", "S4")]
    with pytest.raises(DTypeError):
        kist.convert(tmp_path / "t.tsv", tmp_path / "b.kist", dtypes={"c": "U2"})
    with pytest.raises(KeyError):
        kist.convert(tmp_path / "t.tsv", tmp_path / "b.kist", dtypes={"none": "U2"})
    with pytest.raises(TypeError, match="no option nonsense"):
        kist.convert(tmp_path / "t.tsv", tmp_path / "b.kist", nonsense=1)
    assert not (tmp_path / "b.kist").exists()


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "jsonl.gz", "jsonl.zst"])
def test_text_formats_go_out_and_come_back(tmp_path: Path, suffix: str) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table(
            "t",
            {
                "i": np.arange(1000), "f": np.arange(1000) / 3, "b": np.arange(1000) % 2 == 0,
                "s": np.array([None if k % 5 == 0 else f"é, \"{k}\"\n" for k in range(1000)], TEXT),
            },
        )  # fmt: skip
        before = store["t"].to_arrow()
    kist.convert(f"{tmp_path / 'a.kist'}:t", tmp_path / f"u.{suffix}")
    kist.convert(tmp_path / f"u.{suffix}", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert store["u"].to_arrow().equals(before)


def test_json_lines_of_every_kind_come_in(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "n": {"x": [1]}}, {"a": 2.5, "m": "x"}, {"m": 3}]
    with gzip.open(tmp_path / "t.ndjson.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)) + "\n\n")
    kist.convert(tmp_path / "t.ndjson.gz", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        t = store["t"]
        assert t["a"][:2].tolist() == [1.0, 2.5] and np.isnan(t["a"][2])
        assert t["n"][:].tolist() == ['{"x": [1]}', None, None]
        assert t["m"][:].tolist() == [None, '"x"', "3"]


@pytest.mark.parametrize("text", ['{"a": 1}\n{"a": \n', "[1, 2]\n", "5\n", '{"a": 1}, {"a": 2}\n'])
def test_what_is_no_json_object_a_line_raises(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(CorruptDataError, match="line"):
        kist.convert(tmp_path / "t.jsonl", tmp_path / "a.kist")


# SQLite


def test_databases_come_in_and_go_out_with_keys_and_nulls(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.sqlite") as database:
        database.executescript(
            "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, boss INTEGER "
            "REFERENCES people (id), score REAL, photo BLOB, big INTEGER, mixed);"
            "CREATE INDEX by_name ON people (name);"
            "CREATE VIEW rich AS SELECT id, score * 2 AS twice FROM people;"
            "CREATE TABLE empty (a INTEGER, b);"
        )
        database.executemany(
            "INSERT INTO people VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(1, "é", None, 1.5, b"ab", 2**62 + 1, 1), (2, "b", 1, None, b"abc", None, "x")],
        )
    database.close()
    report = kist.convert(tmp_path / "a.sqlite", tmp_path / "a.kist")
    assert codes(report) == {
        "sqlite.view": 1, "sqlite.schema": 1, "sqlite.nan": 2,
        "sqlite.mixed": 1, "sqlite.untyped": 1,
    }  # fmt: skip
    with kist.open(tmp_path / "a.kist") as store:
        people = store["people"]
        assert people["id"].dtype == "i8" and people["boss"][:].tolist() == [None, 1]
        assert people["big"][:].tolist() == [2**62 + 1, None]
        assert people["photo"][:].to_list() == [b"ab", b"abc"]
        assert store["rich"]["twice"][0] == 3.0 and len(store["empty"]) == 0
    kist.convert(tmp_path / "a.kist", tmp_path / "b.sqlite")
    back = sqlite3.connect(tmp_path / "b.sqlite")
    assert back.execute("SELECT id, name, boss, score, photo FROM people").fetchall() == [
        (1, "é", None, 1.5, b"ab"),
        (2, "b", 1, None, b"abc"),
    ]
    assert back.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'by_name'").fetchone()[0]
    assert back.execute("PRAGMA foreign_key_list(people)").fetchall()
    back.close()


def test_a_hostile_statement_in_an_attribute_is_not_run(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        for k, sql in enumerate(
            ["DROP TABLE t0", "CREATE TABLE t1 (a); DROP TABLE t0", "CREATE TABLE other (a)"]
        ):
            store[f"t{k}"] = np.zeros(2, [("a", "i4")])
            store[f"t{k}"].attrs["SQLITE"] = {"sql": sql, "indexes": ["DROP TABLE t0"]}
    assert kist.convert(tmp_path / "a.kist", tmp_path / "b.sqlite").n_tables == 3
    back = sqlite3.connect(tmp_path / "b.sqlite")
    names = back.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall()
    assert [name for (name,) in names] == ["kist_attributes", "t0", "t1", "t2"] or [
        name for (name,) in names
    ] == ["t0", "t1", "t2"]
    back.close()


def test_all_else_of_a_store_has_a_place_in_a_database(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["g/x"] = np.arange(6.0).reshape(2, 3)
        store["t"] = np.array([(1, "2020-01-01")], [("a", "i4"), ("d", "M8[D]")])
        store["t"].attrs["unit"] = "K"
        store.create_keystore("k")["a"] = (1, "x")
    report = kist.convert(tmp_path / "a.kist", tmp_path / "a.sqlite")
    assert codes(report) == {"sqlite.array": 1, "sqlite.dtype": 1, "sqlite.keystore": 1}
    kist.convert(tmp_path / "a.sqlite", tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        assert store["g/x"]["value"][:].tolist() == list(range(6))
        assert store["t"]["d"][:].tolist() == ["2020-01-01"]
        assert store["t"].attrs["unit"] == "K"


def test_real_files_come_in(tmp_path: Path, shared_data: Path) -> None:
    for name in ["birdstrikes.csv", "flights-200k.arrow", "chinook.sqlite"]:
        if (shared_data / name).exists():
            report = kist.convert(shared_data / name, f"{tmp_path / 'a.kist'}:{name[:4]}")
            assert report.n_rows > 5000


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv", "jsonl", "sqlite"])
def test_nulls_of_nullable_columns_are_nulls_elsewhere(tmp_path: Path, suffix: str) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_table("t", {"id": [1, 2, 3], "x": [10, None, 0]})
    target = tmp_path / f"t.{suffix}"
    assert kist.convert(f"{tmp_path / 'a.kist'}:t", target).ok
    kist.convert(target, tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as store:
        (name,) = list(store)
        assert store[name]["x"][:].tolist() == [10, None, 0]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.csv", "t.jsonl"])
def test_damage_in_the_store_is_told_as_damage(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.kist"
    rows = np.zeros(50_000, [("x", "f8")])
    rows["x"] = np.random.default_rng(0).random(50_000)
    with kist.open(path, "w") as store:
        store["t"] = rows
    data = bytearray(path.read_bytes())
    for place in range(300_000, len(data) - 4096, 20_000):  # among the values
        data[place] ^= 255
    path.write_bytes(data)
    with pytest.raises(CorruptDataError, match="'/t' column 'x'"):
        kist.convert(f"{path}:t", tmp_path / name)
    assert [found.name for found in tmp_path.iterdir()] == ["a.kist"]


def test_an_interrupt_within_a_stream_is_one() -> None:
    from kist.bridges.columns_out import _read

    def stopped() -> Any:
        yield pa.record_batch({"x": [1]})
        raise KeyboardInterrupt

    class Source:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            schema = pa.schema([("x", pa.int64())])
            return pa.RecordBatchReader.from_batches(schema, stopped()).__arrow_c_stream__()

    with pytest.raises(KeyboardInterrupt):
        list(_read(pa, pa.RecordBatchReader.from_stream(Source())))
