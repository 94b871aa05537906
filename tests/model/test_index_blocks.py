"""Blocks of index runs: searched one at a time, and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine.oneblock import read_block
from kist.engine.pages import page_head
from kist.format.index import RunRecord
from kist.format.layout import FRAME
from kist.indexes.runs import BLOCK, Run, ranks_of
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


def test_a_key_is_looked_up_in_all_runs_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    columns = {
        "few": rng.integers(0, 900, N, np.uint64),  # differences in one byte
        "steps": rng.permutation(N).astype("u8") * np.uint64(1 << 40),  # multiples, in order
        "far": rng.integers(0, 2**64, N, np.uint64),
        "signed": rng.integers(-500, 500, N) << 30,
        "same": np.full(N, 7, np.uint64),
        "part": np.sort(rng.integers(0, 1 << 20, N, np.uint64)),
    }
    with kist.open(tmp_path / "t.kist", "w") as store:
        table = store.create_table("t", columns)
        for name in columns:
            table.create_index(name)
        view, runs = _runs(table)
        every = [run.keys(view, 0, N) for run in runs]
        ends = [keys[[0, 1, BLOCK - 1, BLOCK, BLOCK + 1, -2, -1]] for keys in every]
        some = [rng.choice(keys, 20) for keys in every]
        wanted = np.unique(np.concatenate([*ends, *some]))
        wanted = np.unique(np.concatenate([wanted, wanted + np.uint64(1), [np.uint64(0)]]))
        for several in (runs, runs[:3], runs[:2][::-1], [runs[5]], [runs[0], _empty(), runs[1]]):
            theirs = [run.keys(view, 0, run.n) if run.n else every[0][:0] for run in several]
            for key in wanted:
                found = ranks_of(view, several, [(int(key), int(key))])
                low = [int(keys.searchsorted(key, "left")) for keys in theirs]
                high = [int(keys.searchsorted(key, "right")) for keys in theirs]
                assert found == [[(a, b)] if a < b else [] for a, b in zip(low, high, strict=True)]


def _empty() -> Run:
    return Run(0, RunRecord(10, 0), (), 1)


@pytest.mark.parametrize("columns", [("a",), ("a", "b"), ("b", "a"), ("a", "wide"), ("f", "a")])
@pytest.mark.parametrize("share", [1, 3, 4_000])
def test_keys_of_one_run_are_found_in_another(columns: tuple[str, ...], share: int) -> None:
    rng = np.random.default_rng(len(columns) + share)
    with kist.open(":memory:") as store:
        table = store.create_table(
            "t",
            {
                "a": rng.integers(-900, 900, N),
                "b": rng.integers(0, 40, N, np.uint8),
                "wide": rng.choice(np.array([0, 1, 2**63, 2**64 - 1], np.uint64), N),
                "f": rng.choice([-1.5, 0.0, np.nan, np.inf], N),
            },
        )
        table.create_index(*columns)
        view, (run,) = _runs(table)
        keys = run.keys(view, 0, N)
        wanted = np.concatenate((keys, keys[: N // 2]))
        if wanted.dtype.kind == "u":
            wanted = np.concatenate((wanted, wanted + np.uint64(1), [np.uint64(0), ~np.uint64(0)]))
        else:
            wanted = np.concatenate((wanted, np.roll(wanted.view("u1"), 8).view(wanted.dtype)))
        wanted = np.unique(wanted)[::share]
        assert np.array_equal(run.has(view, wanted), np.isin(wanted, keys))
        assert run.has(view, wanted[:0]).tolist() == []
        empty = wanted[:1] if wanted[0] < keys[0] else wanted[-1:]
        assert run.has(view, empty)[0] == np.isin(empty, keys)[0]


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
