"""``kist bench``: times of reads and appends, without changing the file."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main


@pytest.fixture
def file(path: Path) -> Path:
    """A store with a table, a cube, a single number, a key store and empty datasets."""
    rows = np.zeros(3_000, [("a", "i4"), ("b", "f8"), ("c", "S2")])
    rows["a"], rows["b"] = np.arange(3_000), np.random.default_rng(0).random(3_000)
    with kist.open(path, "w") as store:
        store["market/trades"] = rows
        store["market/empty"] = rows[:0]
        store["raw/cube"] = np.arange(40 * 35 * 33, dtype="f4").reshape(40, 35, 33)
        store["raw/number"] = np.float64(2.5)
        runs = store.create_keystore("runs")
        runs["17"] = (np.arange(100.0), {"y": np.arange(10)})
    return path


def run(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, ["bench", *arguments, "--seconds", "0.2"])
    assert done.exit_code == code, done.output
    return done.output


def test_each_kind_of_dataset_is_timed(file: Path) -> None:
    found = json.loads(run(str(file), "--json"))
    assert found["bytes"] == file.stat().st_size
    assert {d["dataset"] for d in found["datasets"]} == {
        "/market/trades", "/raw/cube", "/raw/number", "/runs"
    }  # fmt: skip
    steps = {(step["dataset"], step["step"]) for step in found["steps"]}
    assert steps >= {
        ("/market/trades", "read in blocks"),
        ("/market/trades", "one column, b"),
        ("/market/trades", "1,000 rows anywhere"),
        ("/market/trades", "append 10 rows, durable"),
        ("/raw/cube", "one index of axis 2"),
        ("/raw/cube", "a box of 32"),
        ("/raw/number", "read"),
        ("/runs", "get"),
    }
    assert all(step["ms"] > 0 and step["calls"] > 0 for step in found["steps"])


def test_the_file_stays_as_it_is_and_nothing_is_left_beside_it(file: Path) -> None:
    before, beside = file.read_bytes(), sorted(file.parent.iterdir())
    text = run(f"{file}:market/trades")
    assert file.read_bytes() == before
    assert sorted(file.parent.iterdir()) == beside
    assert "/market/trades: table, 3,000, 0.0 MB in memory" in text
    assert "append 10 rows, durable" in text
    assert "/raw/cube" not in text


def test_a_folder_where_nothing_can_be_made_is_named_and_the_reads_are_timed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    text = run(f"{file}:market/trades")
    assert "not possible here" in text
    assert "read in blocks" in text


def test_a_store_without_datasets_says_so(path: Path) -> None:
    kist.open(path, "w").close()
    assert "nothing to read" in run(str(path))
