"""`kist split` and `kist merge`."""

from __future__ import annotations

from pathlib import Path

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main


@pytest.fixture
def file(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(path.parent)
    with kist.open(path, "w") as store:
        rows = np.zeros(10, [("t", "i8"), ("s", "S1")])
        rows["t"], rows["s"] = np.arange(10), [b"a", b"b"] * 5
        store["g/t"] = rows
        store["t2"] = rows[["t"]]
    return path.name


def run(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_a_table_is_split_and_merged(file: str) -> None:
    names = run("split", f"{file}:g/t", "--rows", "4", "-o", "p-{}.kist").split()
    assert names == ["p-0001.kist", "p-0002.kist", "p-0003.kist"]
    assert "of 3 files" in run("merge", *names, "-o", "whole.kist")
    with kist.open("whole.kist") as store:
        assert store["g/t"]["t"][:].tolist() == list(range(10))
    assert len(run("split", f"{file}:g/t", "--parts", "2").split()) == 2
    assert len(run("split", f"{file}:g/t", "--cut", "2", "--cut", "5", "-o", "c").split()) == 3
    assert run("split", f"{file}:g/t", "--by", "s", "-o", "s-{}.kist").split() == [
        "s-a.kist", "s-b.kist",
    ]  # fmt: skip


def test_datasets_are_named_behind_their_files(file: str) -> None:
    with kist.open("other.kist", "w") as store:
        store["x/t2"] = np.array([(7,)], [("t", "i8")])
        store["t2"] = np.array([(8,)], [("t", "i8")])
    run("merge", f"{file}:t2", "other.kist:x/t2", "other.kist:t2", "-o", "whole.kist")
    with kist.open("whole.kist") as store:
        assert list(store) == ["t2"] and store["t2"]["t"][:].tolist() == [*range(10), 7, 8]
    run("merge", "other.kist:t2", f"{file}:t2", "-o", "named.kist", "--path", "a/b")
    with kist.open("named.kist") as store:
        assert list(store) == ["a"] and store["a/b"]["t"][:2].tolist() == [8, 0]
    run("merge", "other.kist:x", file, "-o", "all.kist")
    with kist.open("all.kist") as store:
        assert sorted(store) == ["g", "t2"] and len(store["t2"]) == 11
    assert "no '/nope'" in run("merge", file, "other.kist:nope", "-o", "w.kist", code=2)
    assert "no such file" in run("merge", file, "gone.kist:t", "-o", "w.kist", code=3)


def test_an_older_version_is_split(file: str) -> None:
    with kist.open(file, "r+") as store:
        store.tag("first")
        store["g/t"].truncate(1)
    run("split", f"{file}:g/t", "--at", "first", "--parts", "1", "-o", "p-{}.kist")
    with kist.open("p-0001.kist") as part:
        assert len(part["g/t"]) == 10


def test_what_is_wrong_is_one_line_and_leaves_no_file(file: str) -> None:
    assert "one of rows" in run("split", f"{file}:g/t", code=2)
    assert "leaves nothing" in run("split", f"{file}:g/t", "--cut", "10", code=2)
    assert "whole number" in run("split", f"{file}:g/t", "--cut", "x", code=2)
    assert "holds 2 nodes" in run("split", file, "--rows", "2", code=2)
    assert "no such file" in run("merge", file, "gone.kist", "-o", "w.kist", code=3)
    run("split", f"{file}:g/t", "--parts", "2", "-o", "p-{}.kist")
    assert "exists already" in run(
        "split", f"{file}:g/t", "--parts", "2", "-o", "p-{}.kist", code=3
    )
    assert "come twice" in run("merge", "p-0001.kist", "p-0001.kist", "-o", "w.kist", code=2)
    assert not list(Path().glob("*.part")) and not Path("w.kist").exists()


def test_tables_that_differ_merge_with_cast(file: str) -> None:
    with kist.open("o.kist", "w") as store:
        store["t2"] = np.zeros(3, [("t", "i2")])
    said = run("merge", file, "o.kist", "-o", "w.kist", "--path", "t2", code=2)
    assert "int64 -> int16" in said and "--cast" in said
    run("merge", file, "o.kist", "-o", "w.kist", "--path", "t2", "--cast")
    with kist.open("w.kist") as store:
        assert len(store["t2"]) == 13 and list(store) == ["t2"]
