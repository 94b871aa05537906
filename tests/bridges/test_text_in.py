"""Text from CSV and Parquet is, cell by cell, what was written, whatever its cells are like."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kist

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq

CELLS = st.sampled_from(
    ["a", "b", "", 'say "no"', "x,y", "two\nlines", "é", "\U0001f600", " pad ", "abcdefghi", "日本"]
) | st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=20)
WORDS = ("NA", "N/A", "NULL", "null", "NaN", "nan", "None")

once = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def stored(source: Path, name: str, **options: object) -> list[object]:
    target = source.with_suffix(".kist")
    target.unlink(missing_ok=True)
    kist.convert(source, target, **options)
    with kist.open(target) as store:
        assert store.check().ok
        found: list[object] = store[source.stem][name][:].tolist()
        return found


@once
@given(st.lists(st.none() | CELLS, min_size=1, max_size=60), st.integers(1, 40))
def test_text_in_parquet_comes_in_as_it_is(
    tmp_path: Path, cells: list[str | None], times: int
) -> None:
    cells = cells * times  # often enough for a dictionary
    for kind in (pa.string(), pa.large_string()):
        table = pa.table({"n": range(len(cells)), "s": pa.array(cells, kind)})
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=97)
        assert stored(tmp_path / "t.parquet", "s") == cells


@once
@given(st.lists(CELLS, min_size=1, max_size=60), st.integers(1, 40))
def test_text_in_csv_comes_in_as_it_is(tmp_path: Path, cells: list[str], times: int) -> None:
    # Empty cells and words for nothing would be missing, and what looks like numbers none of text.
    cells = [f"t:{cell}" for cell in cells] * times
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["n", "s"], *enumerate(cells)])
    assert stored(tmp_path / "t.csv", "s", block_size=4096) == cells


@pytest.mark.parametrize("n", [1, 40_000, 150_000])
def test_pages_of_few_many_and_missing_texts_are_whole(tmp_path: Path, n: int) -> None:
    rng = np.random.default_rng(n)
    few = [None if k == 3 else ["buy", "sell", "", None, "hält"][k] for k in rng.integers(0, 5, n)]
    many = [f"order {k} für {k * 7919 % 10007}" if k % 9 else None for k in range(n)]
    wanted = {"few": few, "many": many, "none": [None] * n, "empty": [""] * n}
    table = pa.table({name: pa.array(cells, pa.string()) for name, cells in wanted.items()})
    pq.write_table(table, tmp_path / "t.parquet")
    kist.convert(tmp_path / "t.parquet", tmp_path / "t.kist")
    with kist.open(tmp_path / "t.kist") as store:
        for name, cells in wanted.items():
            assert store["t"][name][:].tolist() == cells
        assert store["t"].where("few == 'buy'").count() == few.count("buy")
        assert store["t"].where("many == 'order 1 für 7919'").count() == int(n > 1)
        assert store.check().ok


def test_long_cells_nuls_and_words_for_nothing_come_in(tmp_path: Path) -> None:
    long = "ä" * 300_000
    cells = ["a\0b", long, "\0", "x", *WORDS, "", long + "z"] * 3
    (tmp_path / "t.csv").write_bytes(("s,n\n" + "".join(f"{c},1\n" for c in cells)).encode())
    wanted = [None if c in WORDS or not c else c for c in cells]
    assert stored(tmp_path / "t.csv", "s", block_size=1 << 20) == wanted
    pq.write_table(pa.table({"s": cells}), tmp_path / "p.parquet")
    assert stored(tmp_path / "p.parquet", "s") == cells


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_text_columns_without_rows_come_in(tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"t.{kind}"
    if kind == "csv":
        source.write_text("s,n\n")
    else:
        pq.write_table(pa.table({"s": pa.array([], pa.string())}), source)
    assert stored(source, "s") == []


def test_text_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    data = [None, pa.py_buffer(np.array([0, 1, 3], "i4")), pa.py_buffer(b"a\xff\xfe")]
    broken = pa.Array.from_buffers(pa.string(), 2, data)
    with (
        kist.open(tmp_path / "t.kist", "w") as store,
        pytest.raises(kist.DTypeError, match="text that is none"),
    ):
        store["t"] = pa.table({"s": broken})


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.xz", "csv.bz2", "jsonl", "jsonl.gz"])
def test_progress_of_text_is_how_far_its_file_is_read(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("pyarrow")
    rows = np.zeros(120_000, [("a", "i8"), ("b", "f8")])
    rows["a"], rows["b"] = np.arange(len(rows)), np.arange(len(rows)) / 7
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = rows
    source = tmp_path / f"t.{ending}"
    kist.convert(tmp_path / "a.kist", source)
    told: list[tuple[int, int]] = []
    kist.convert(source, tmp_path / "b.kist", progress=lambda *at: told.append(at))
    done = [at for at, _ in told]
    assert {total for _, total in told} == {source.stat().st_size}
    assert done == sorted(done) and done[-1] == source.stat().st_size
