"""Rows with long cells are read some bytes at a time, however they were appended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

CELL = 1 << 20
MOST = 34  # of 1 MiB: what is enough for one reading, and one more group


def table_of(store: Any, n: int, at_once: int) -> Any:
    table = store.create_table("t", dtype=[("id", "i8"), ("raw", kist.ragged("u1"))])
    for first in range(0, n, at_once):
        ids = range(first, min(first + at_once, n))
        table.append([(i, np.full(CELL, i, "u1")) for i in ids])
    return table


@pytest.mark.parametrize("at_once", [3, 15])
def test_batches_of_long_cells_are_bounded_by_bytes(at_once: int) -> None:
    pa = pytest.importorskip("pyarrow")
    with kist.open(":memory:") as store:
        table = table_of(store, 60, at_once)
        ids = []
        for batch in pa.RecordBatchReader.from_stream(table):
            assert batch.num_rows <= MOST
            ids += batch["id"].to_pylist()
        assert ids == list(range(60))
        for rows in (table, table.where("id >= 0")):
            blocks = list(rows.blocks())
            assert max(map(len, blocks)) <= MOST
            assert np.concatenate([block["id"] for block in blocks]).tolist() == ids
        assert [row["id"] for row in table] == ids


def test_strings_that_were_added_later_count_too() -> None:
    with kist.open(":memory:") as store:
        store["t"] = np.zeros(40, "i4,f8")
        table = store["t"]
        dtype = np.dtypes.StringDType()
        table.add_column("s", dtype, fill_value="x" * CELL)
        assert sum(map(len, table.blocks())) == 40
        table.append([(1, 2.0, "y" * CELL)] * 5)
        assert max(map(len, table[["f0", "s"]].blocks())) <= 40


def test_short_cells_and_other_columns_come_in_whole_blocks() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("id", "i8"), ("raw", kist.ragged("u1"))])
        for first in range(0, 500, 10):
            table.append([(i, np.zeros(3, "u1")) for i in range(first, first + 10)])
        assert [len(block) for block in table.blocks()] == [500]
        assert [len(block) for block in table.where("id >= 100").blocks()] == [400]
        assert [len(block) for block in table.blocks(123)] == [123, 123, 123, 123, 8]
    with kist.open(":memory:") as store:
        long = table_of(store, 60, 15)
        assert [len(block) for block in long["id"].blocks()] == [60]
        assert [len(block) for block in long.blocks(50)] == [50, 10]


def test_cells_that_cannot_be_opened_do_not_hinder_the_other_columns(tmp_path: Path) -> None:
    key = bytes(range(32))
    dtype = [("id", "i8"), ("raw", kist.ragged("u1"))]
    with kist.open(tmp_path / "t.kist", "w", secrets=key) as store:
        table = store.create_table("t", dtype=dtype, encrypt={"raw": key})
        for first in range(0, 40, 4):
            table.append([(i, np.zeros(CELL, "u1")) for i in range(first, first + 4)])
            table.append([(-1, np.zeros(3, "u1"))] * 4)
        assert max(map(len, table.blocks())) <= 2 * MOST
    with kist.open(tmp_path / "t.kist") as store:
        ids = store["t"][["id"]]
        assert sum(row["id"] for row in ids) == sum(range(40)) - 40
        assert sum(row["id"] for row in ids.where("id >= 0")) == sum(range(40))
        assert [len(block) for block in ids.blocks()] == [80]
