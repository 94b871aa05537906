"""Blocks of index runs: searched one at a time, and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine.batches import read_block
from kist.engine.pages import page_head
from kist.format.layout import FRAME
from kist.indexes.runs import BLOCK
from kist.model.tables.indexes.index import read_indexes

N = 30_000


def _runs(table: Any) -> Any:
    state = table._state()
    return state.view, [run for index in read_indexes(state) for run in index.runs]


def _made(path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(4)
    columns = {
        "spread": rng.permutation(N).astype("i8") * 977,
        "few": rng.integers(0, 3, N, np.int16),
        "one": np.zeros(N, "i4"),
        "real": rng.random(N),
        "word": np.char.add("w", rng.integers(0, 999, N).astype("U4")).astype("S6"),
    }
    with kist.open(path, "w") as store:
        table = store.create_table("t", columns)
        for name in columns:
            table.create_index(name)
    return columns


def test_each_block_has_the_keys_of_its_ranks(tmp_path: Path) -> None:
    _made(tmp_path / "t.kist")
    with kist.open(tmp_path / "t.kist") as store:
        view, runs = _runs(store["t"])
        assert len(runs) == 5
        for run in runs:
            size = run.block(view)
            assert size == BLOCK and run.n == N
            parts = [
                read_block(view, run.pointers[2], np.dtype("u8"), N, at)
                for at in range(-(-N // size))
            ]
            assert [len(part) for part in parts] == [size] * (N // size) + [N % size]
            found = np.concatenate(parts)
            assert (found[1:] >= found[:-1]).all()
            assert np.array_equal(found, run.keys(view, 0, N).view("u8").astype("u8"))


def test_keys_are_found_in_first_and_last_blocks(tmp_path: Path) -> None:
    columns = _made(tmp_path / "t.kist")
    with kist.open(tmp_path / "t.kist") as store:
        table = store["t"]
        ordered = np.sort(columns["spread"])
        for key in (*ordered[:2], ordered[BLOCK - 1], ordered[BLOCK], *ordered[-2:]):
            found = table.where(f"spread == {key}")
            assert "nothing else is read" in str(found.explain())
            assert found.indices().tolist() == np.flatnonzero(columns["spread"] == key).tolist()
            assert table.where(f"spread == {key + 1}").count() == 0


def test_a_damaged_block_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.kist"
    _made(path)
    with kist.open(path) as store:
        view, runs = _runs(store["t"])
        pointer = runs[3].pointers[2]  # of random floats, which take many bytes
        head = page_head(view, pointer)
        at = pointer.offset + FRAME.size + head.size + head.sector_span(len(head.sums) - 1)[0]
    data = bytearray(path.read_bytes())
    data[at + 5] ^= 1
    path.write_bytes(data)
    with kist.open(path) as store:
        view, runs = _runs(store["t"])
        with pytest.raises(kist.errors.CorruptDataError, match="fails its checksum"):
            read_block(view, pointer, np.dtype("u8"), N, (N - 1) // BLOCK)
