"""Numbers of many digits in text, and databases that were cut: none is taken for another."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

BIG = 2**64 - 1
TEXT = np.dtypes.StringDType(na_object=None)


def read(path: Path, text: str, **options: Any) -> Any:
    path.write_text(text)
    target = path.with_suffix(".kist")
    kist.convert(path, f"{target}:t", **options)
    with kist.open(target) as store:
        return store["t"]["a"][:]


@pytest.mark.parametrize(
    ("rows", "dtype", "found"),
    [
        ([f"{BIG}", "5"], "u8", [BIG, 5]),
        ([f"{BIG}", "-5"], TEXT, [f"{BIG}", "-5"]),
        (["9" * 23, "5"], TEXT, ["9" * 23, "5"]),
        (["1.5", "9007199254740993"], TEXT, ["1.5", "9007199254740993"]),
        (["1.5", "9007199254740992"], "f8", [1.5, 2.0**53]),
        (["1e20", "-5.5"], "f8", [1e20, -5.5]),
        (["inf", "nan"], "f8", None),
    ],
)
def test_no_integer_of_a_csv_file_loses_digits(
    tmp_path: Path, rows: list[str], dtype: Any, found: list[Any] | None
) -> None:
    pytest.importorskip("pyarrow")
    values = read(tmp_path / "a.csv", "\n".join(["a,b", *(f"{row},1" for row in rows), ""]))
    assert values.dtype == dtype
    assert found is None or values.tolist() == found


def test_a_dtype_that_was_chosen_is_taken(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    values = read(tmp_path / "a.csv", f"a,b\n{BIG},1\n5,2\n", dtypes={"a": "f8"})
    assert values.tolist() == [float(BIG), 5.0]


def test_digits_that_come_late_count_too(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = ["9007199254740993"] * 5000 + ["1.5"]
    values = read(tmp_path / "a.csv", "\n".join(["a", *rows, ""]), block_size=4096)
    assert values.dtype == TEXT and set(values.tolist()) == {"9007199254740993", "1.5"}


def test_json_lines_hold_integers_of_64_bits_without_a_sign(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert read(tmp_path / "a.jsonl", f'{{"a":{BIG}}}\n{{"a":1}}\n').tolist() == [BIG, 1]
    (tmp_path / "a.kist").unlink()
    values = read(tmp_path / "a.jsonl", f'{{"a":{BIG}}}\n{{"a":-1}}\n')
    assert values.tolist() == [str(BIG), "-1"]


def test_a_database_that_was_cut_is_no_smaller_database(tmp_path: Path) -> None:
    whole, cut = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    with sqlite3.connect(whole) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
    database.close()
    data = whole.read_bytes()
    for size in (1, 15, 16, 100, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:size])
        with pytest.raises(kist.CorruptDataError):
            kist.convert(cut, tmp_path / "c.kist")
        assert cut.read_bytes() == data[:size] and not (tmp_path / "c.kist").exists()


def test_a_database_without_tables_is_one(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store.create_group("g")
    kist.convert(tmp_path / "a.kist", tmp_path / "a.sqlite")
    assert (tmp_path / "a.sqlite").stat().st_size > 0
    assert kist.convert(tmp_path / "a.sqlite", tmp_path / "b.kist").n_tables == 0
