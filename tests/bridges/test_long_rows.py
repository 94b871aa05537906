"""Rows of many bytes: what is read at once is bounded by bytes, whatever the rows are."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.bridges import columns_in, sqlite, text
from kist.bridges.parts import BLOCK_ROWS

pa = pytest.importorskip("pyarrow")


@pytest.mark.parametrize("sizes", [[1], [70_000, 70_000, 70_000], [300_000], [5, 200_000, 7]])
def test_batches_are_joined_and_cut_to_whole_row_groups(sizes: list[int]) -> None:
    ends = np.cumsum(sizes)
    batches = [
        pa.record_batch({"x": np.arange(end - n, end)}) for n, end in zip(sizes, ends, strict=True)
    ]
    found = list(columns_in.whole_groups(pa, batches))
    lengths = [batch.num_rows for batch in found]
    assert all(n == 2 * BLOCK_ROWS for n in lengths[:-1]) and 0 < lengths[-1] <= 2 * BLOCK_ROWS
    together = np.concatenate([batch.column(0).to_numpy() for batch in found])
    assert np.array_equal(together, np.arange(ends[-1]))


def test_batches_of_long_rows_have_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_in, "_GROUPS_BYTES", 10_000)
    rows = ["x" * 1000] * 100
    found = list(columns_in.whole_groups(pa, [pa.record_batch({"t": rows})]))
    assert max(batch.nbytes for batch in found) <= 12_000
    assert [t for batch in found for t in batch.column(0).to_pylist()] == rows


def test_batches_with_dictionaries_of_their_own_are_not_joined() -> None:
    batches = [pa.record_batch({"t": pa.array([t]).dictionary_encode()}) for t in ("a", "b")]
    assert [len(b) for b in columns_in.whole_groups(pa, batches)] == [1, 1]


def test_long_lines_of_json_are_taken_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "_BLOCK", 10_000)
    rows = [{"k": k, "t": "x" * (1000 + k)} for k in range(50)]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    blocks = [len(block) for block in text._objects(pa, str(file))]
    assert max(blocks) <= 10 and sum(blocks) == 50
    kist.convert(file, tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        assert store["a"]["t"][:].tolist() == [row["t"] for row in rows]


def test_long_rows_of_sqlite_are_taken_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PART_BYTES", 10_000)
    texts = ["x" * 4000 if k % 9 == 0 else None if k % 5 == 0 else "é" * k for k in range(100)]
    made: list[Any] = []
    real = sqlite._batches
    monkeypatch.setattr(sqlite, "_batches", lambda *a: (made.append(len(b)) or b for b in real(*a)))
    database = sqlite3.connect(tmp_path / "a.sqlite")
    database.execute("CREATE TABLE t (k INTEGER, t TEXT)")
    database.executemany("INSERT INTO t VALUES (?, ?)", enumerate(texts))
    database.commit()
    database.close()
    kist.convert(tmp_path / "a.sqlite", tmp_path / "a.kist")
    assert max(made) < 40 and sum(made) == 100
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["t"][:].tolist() == texts


def test_long_text_of_hdf5_is_cut_into_parts_by_its_length(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    texts = [chr(97 + k % 26) * 20_000 for k in range(200)]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("t", data=texts, dtype=h5py.string_dtype())
        file.create_dataset("short", data=["a", "b"], dtype=h5py.string_dtype())
    kist.convert(tmp_path / "a.h5", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"].chunks[0] <= 60
        assert store["t"][:].tolist() == texts and store["short"][:].tolist() == ["a", "b"]
