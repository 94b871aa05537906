"""Verbs that change a store: what they do, what they say, and that they do all of it or nothing."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main

ROWS = np.array([(1, 2.5), (3, 4.0)], [("a", "i4"), ("b", "f8")])


@pytest.fixture
def file(path: Path) -> str:
    with kist.open(path, "w") as store:
        store["raw/t"] = ROWS
        store["raw/t"].attrs["unit"] = "mm"
        store["raw/x"] = np.arange(6)
        store.attrs["camera"] = "B"
        store.tag("before")
        store["raw/t"].append(ROWS)
    return str(path)


def run(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def test_copy_goes_into_the_same_file_and_into_others(file: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.kist")
    assert "table /raw/t (4 rows) copied to table /old (4 rows)" in run(
        "copy", f"{file}:raw/t", ":old"
    )
    run("copy", f"{file}:raw/t", other)
    run("copy", f"{file}:raw", f"{other}:deep/raw")
    run("copy", file, f"{other}:all", "--at", "before")
    with kist.open(other) as store:
        assert np.array_equal(store["t"][:], np.tile(ROWS, 2))
        assert store["deep/raw/t"].attrs["unit"] == "mm"
        assert len(store["all/raw/t"]) == 2
    run("copy", file, str(tmp_path / "whole.kist"))
    assert run("diff", f"{file}:raw", f"{tmp_path / 'whole.kist'}:raw") == ""
    with kist.open(tmp_path / "whole.kist") as store:
        assert store.attrs["camera"] == "B"


def test_copy_replaces_only_when_asked_and_nothing_of_itself(file: str) -> None:
    before = Path(file).read_bytes()
    run("copy", f"{file}:raw/t", ":raw/x", code=2)
    run("copy", f"{file}:raw/t", ":raw/t", "--overwrite", code=2)
    run("copy", f"{file}:raw/t", ":raw", "--overwrite", code=2)
    run("copy", f"{file}:none", ":y", code=2)
    assert "a place in" in run("copy", f"{file}:raw/t", "forgotten-colon", code=2)
    assert not Path("forgotten-colon").exists()
    with kist.open(file) as store:
        assert list(store) == ["raw"] and len(store["raw/t"]) == 4
    assert Path(file).read_bytes()[: 1 << 12] == before[: 1 << 12]
    run("copy", f"{file}:raw/t", ":raw/x", "--overwrite")
    with kist.open(file) as store:
        assert store["raw/x"].kind == "table"


def test_mv_gives_another_name_and_refuses_another_file(file: str, tmp_path: Path) -> None:
    assert run("mv", f"{file}:raw/t", ":new/t") == "table /raw/t (4 rows) moved to /new/t\n"
    run("mv", f"{file}:raw/x", f"{file}:x")
    with kist.open(file) as store:
        assert sorted(store) == ["new", "raw", "x"]
    assert "kist copy" in run("mv", f"{file}:x", f"{tmp_path / 'b.kist'}:x", code=2)
    run("mv", f"{file}:x", ":new/t", code=2)
    run("mv", file, ":y", code=2)
    assert not (tmp_path / "b.kist").exists()


def test_rm_removes_all_or_nothing_and_says_what(file: str) -> None:
    run("rm", f"{file}:raw/t", code=2)  # nobody to ask
    run("rm", "--yes", f"{file}:raw/t", f"{file}:none", code=2)
    assert "delete the file" in run("rm", "--yes", file, code=2)
    with kist.open(file) as store:
        assert sorted(store["raw"]) == ["t", "x"]
    output = run("rm", "--yes", f"{file}:raw/t", f"{file}:raw", f"{file}:/raw/t")
    assert output.splitlines() == ["table /raw/t (4 rows) removed", "group /raw (2 nodes) removed"]
    with kist.open(file) as store:
        assert list(store) == []
        assert store.history()[0].message == "kist rm"
    assert run("ls", file, "--at", "before") == "raw\n"


@pytest.mark.parametrize(("answer", "gone"), [("y", True), ("n", False)])
def test_rm_asks_on_a_terminal(file: str, answer: str, gone: bool) -> None:
    command = [sys.executable, "-c", "from kist.cli.main import main; main()"]
    master, slave = pty.openpty()
    try:
        os.write(master, f"{answer}\n".encode())
        done = subprocess.run(
            [*command, "rm", f"{file}:raw/t"], stdin=slave, stderr=slave, stdout=subprocess.PIPE
        )
    finally:
        os.close(slave)
        os.close(master)
    assert done.returncode == (0 if gone else 1)
    with kist.open(file) as store:
        assert ("t" in store["raw"]) is not gone


def test_compact_says_what_it_gave_back(file: str) -> None:
    with kist.open(file, "r+") as store:
        store["big"] = np.random.default_rng(0).integers(0, 255, 1 << 21, "u1")
        del store["big"]
    before = os.path.getsize(file)
    output = run("compact", file)
    after = os.path.getsize(file)
    assert after < before - (1 << 20)
    assert output == f"{file}: {before - after:,} bytes given back, {after:,} left\n"
    run("compact", f"{file}.none", code=3)
