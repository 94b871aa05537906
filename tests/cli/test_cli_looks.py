"""Verbs that look: tail, slice, where, schema, stats, history, diff and completion."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main

N = 30_000
ROWS = np.empty(
    N,
    [("t", "M8[s]"), (("position", "x"), "f8"), ("s", "S3"), ("p", [("n", "i2"), ("v", "f4", 2)])],
)
ROWS["t"] = np.datetime64("2026-01-01", "s") + np.arange(N)
ROWS["x"] = np.where(np.arange(N) % 7, np.arange(N) * 0.5 + 1e9, np.nan)
ROWS["s"] = np.array([b"abc", b"x", b"zz"])[np.arange(N) % 3]
ROWS["p"]["n"] = np.arange(N) % 100 - 50
ROWS["p"]["v"] = 1.0


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("looks") / "t.kist"
    with kist.open(path, "w") as store:
        store["g/t"] = ROWS
        store["a"] = np.arange(24.0).reshape(2, 3, 4)
        store["zero"] = np.float32(7)
        keys = store.create_keystore("k")
        keys.update({f"run-{i}": i for i in range(20)})
        store.tag("v1")
        with store.transaction("one row more"):
            store["g/t"].append(ROWS[:1])
    return str(path)


def run(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def found(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_tail_shows_the_last_of_everything(file: str) -> None:
    lines = run("tail", "-n", "2", f"{file}:g/t").splitlines()
    assert lines[0] == f"... {N - 1:,} rows before"
    assert [line.split()[0] for line in lines[2:]] == [str(N - 1), str(N)]
    assert [row["p"]["n"] for row in found("tail", "-n", "3", f"{file}:g/t", "-c", "p")] == [
        48,
        49,
        -50,
    ]
    assert run("tail", "-n", "1", f"{file}:a").splitlines()[1:] == [
        "[0, :, :]", *("\t".join(map(str, row)) for row in np.arange(12.0, 24.0).reshape(3, 4)),
    ]  # fmt: skip
    assert run("tail", "-n", "2", f"{file}:k") == "... 18 keys before\nrun-8\nrun-9\n"
    assert run("tail", f"{file}:zero") == "7.0\n"
    assert len(found("tail", "-n", "99", f"{file}:k")) == 20
    assert "only tables have columns" in run("tail", f"{file}:k", "-c", "x", code=2)
    run("tail", f"{file}:g", code=2)


def test_slice_takes_ranges_of_arrays_and_rows_of_tables(file: str) -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    assert found("slice", f"{file}:a", "1,:,::2") == array[1, :, ::2].tolist()
    rows = list(csv.reader(io.StringIO(run("slice", f"{file}:g/t", "5,2", "-c", "s", "--csv"))))
    assert rows == [["s"], ["zz"], ["zz"]]
    assert len(run("slice", f"{file}:g/t", "--", "-5:").splitlines()) == 6
    assert "--key" in run("slice", f"{file}:k", "1:2", code=2)
    run("slice", f"{file}:a", "9", code=2)
    run("slice", f"{file}:a", "x", code=2)
    run("slice", f"{file}:a", "0", "-c", "x", code=2)


def test_where_prints_what_python_finds(file: str) -> None:
    hits = ROWS[ROWS["p"]["n"] == 49]
    assert run("where", f"{file}:g/t", "p.n == 49", "--count") == f"{len(hits)}\n"
    rows = found("where", f"{file}:g/t", "p.n == 49 and s == 'abc'", "-c", "t", "--rows", ":2")
    wanted = hits[hits["s"] == b"abc"]["t"][:2]
    assert [row["t"] for row in rows] == [str(t) for t in wanted]
    table = run(
        "where", f"{file}:g/t", "x > 1e9 and p.n == 1", "-c", "s,x", "--rows", "0", "--table"
    )
    assert [line.index("1000") - len(line) for line in table.splitlines()[1:]] == [-12]
    assert "\t" not in table
    assert "only tables" in run("where", f"{file}:a", "x > 1", code=2)
    assert "rows: FILE:g/t" in run("where", file, "x > 1", code=2)
    run("where", f"{file}:g/t", "nonsense >", code=2)


def test_schema_lists_every_column_and_array(file: str) -> None:
    records = {(r["path"], r["column"]): r for r in found("schema", file)}
    assert records["/g/t", "x"]["dtype"] == "float64"
    assert records["/g/t", "x"]["title"] == "position"
    assert records["/a", None]["shape"] == [2, 3, 4]
    assert records["/k", None]["shape"] == [20]
    assert len(records) == 7
    assert run("schema", f"{file}:a", "--csv").splitlines()[1].startswith('/a,,float64,"2, 3, 4",')


def test_stats_are_those_of_numpy_and_leave_out_what_is_missing(file: str) -> None:
    stats = {r["column"]: r for r in found("stats", f"{file}:g/t", "--at", "v1")}
    x = ROWS["x"][~np.isnan(ROWS["x"])]
    assert stats["x"]["missing"] == np.isnan(ROWS["x"]).sum() and stats["x"]["count"] == N
    assert (stats["x"]["min"], stats["x"]["max"]) == (x.min(), x.max())
    # A difference of squares would have no digit left: the mean is 1e9.
    np.testing.assert_allclose([stats["x"]["mean"], stats["x"]["std"]], [x.mean(), x.std()], 1e-11)
    assert (stats["s"]["min"], stats["s"]["max"], stats["s"]["mean"]) == ("abc", "zz", None)
    assert stats["p.n"]["std"] == pytest.approx(ROWS["p"]["n"].std(), 1e-12)
    assert stats["p.v"]["count"] == 2 * N and stats["t"]["max"] == str(ROWS["t"].max())
    (some,) = found("stats", f"{file}:g/t", "-c", "x", "--where", "p.n == 49")
    assert some["count"] == N // 100
    (array,) = found("stats", f"{file}:a")
    assert (array["mean"], array["max"]) == (11.5, 23.0)
    assert found("stats", f"{file}:zero")[0]["mean"] == 7.0
    run("stats", f"{file}:k", code=2)
    run("stats", f"{file}:a", "--where", "x > 1", code=2)


def test_stats_of_text_count_what_is_missing(path: Path) -> None:
    text = np.dtypes.StringDType(na_object=None)
    with kist.open(path, "w") as store:
        store.create_table("t", {"s": np.array(["b", None, "aa", "ä"], text)})
    (stats,) = found("stats", f"{path}:t")
    assert (stats["count"], stats["missing"], stats["min"], stats["max"]) == (4, 1, "aa", "ä")
    assert stats["dtype"].startswith("StringDType")


def test_history_lists_commits_newest_first(file: str) -> None:
    commits = found("history", file)
    assert commits[0]["message"] == "one row more"
    assert [c["commit"] for c in commits if c["tags"] == ["v1"]]
    assert len(found("history", file, "-n", "1")) == 1
    assert run("history", file).startswith("commit  time")


def test_diff_of_versions_tells_rows(file: str) -> None:
    assert run("diff", file, file) == ""
    assert run("diff", file, "--at", "v1", code=1) == f"/g/t: rows: {N:,} != {N + 1:,}\n"
    newest = found("history", file)[0]["commit"]
    assert run("diff", f"{file}:g", "--at", str(newest), "--at", str(newest)) == ""
    assert run("diff", file, "--at", "v1", "-q", code=1) == ""
    run("diff", file, code=2)
    run("diff", file, *["--at", "v1"] * 3, code=2)
    run("diff", file, f"{file}.none", code=3)


def test_diff_of_files_tells_each_difference(file: str, tmp_path: Path) -> None:
    other = tmp_path / "other.kist"
    with kist.open(file) as a:
        a.backup(other)
    with kist.open(other, "r+") as store:
        store["a"][1, 2, 3] = np.nan
        del store["zero"]
        store["new"] = 1
        store["k"]["run-3"] = 3.0
        del store["k"]["run-4"]
        store["g"].attrs["unit"] = "mm"
        store["g/t"].where(f"t == '{ROWS['t'][7]}'").update({"s": b"new"})
    done = click.testing.CliRunner().invoke(main.cli, ["diff", file, str(other), "--json"])
    assert done.exit_code == 1
    assert {(d["path"], d["what"]): d["detail"] for d in json.loads(done.output)} == {
        ("/a", "values"): "1 of 24 differ, the first at [1, 2, 3]: 23.0 != nan",
        ("/g", "attribute"): "'unit' only in B",
        ("/g/t", "values"): "'s': 1 rows differ, the first in row 7: b'x' != b'new'",
        ("/k", "key"): "'run-4' only in A",
        ("/new", "only in B"): "array",
        ("/zero", "only in A"): "array",
    } and "'run-3': 3 != 3.0" in done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    script = run("completion", shell)
    assert "_KIST_COMPLETE" in script
    run("completion", "tcsh", code=2)


BEHIND_A_COLON = """
kist() { command "$KIST_PYTHON" -c 'from kist.cli.main import main; main()' "$@"; }
env() { while [[ $1 == *=* ]]; do export "$1"; shift; done; "$@"; }
compopt() { echo compopt "$@"; }
complete_line() { COMP_LINE=$1 COMP_POINT=${#1}; _kist_completion kist; echo "${COMPREPLY[@]}"; }
"""


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("bash"), reason="needs bash")
def test_bash_completes_behind_the_colon_what_it_takes_for_a_word(file: str) -> None:
    def completed(line: str) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc"],
            input=run("completion", "bash") + BEHIND_A_COLON + f"complete_line {line!r}\n",
            env=os.environ | {"KIST_PYTHON": sys.executable},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    assert completed(f"kist head {file}:g/") == ["g/t"]
    assert completed(f"kist convert {file}:g") == ["compopt -o nospace", "g/"]
    assert completed("kist hist") == ["history"]
    assert completed("kist pack da")[0] == "compopt -o default"


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_fish_completes_names_with_commas(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["a, b"] = [1]
    script = run("completion", "fish").replace(
        " kist);", f" {sys.executable} -c 'from kist.cli.main import main; main()');"
    )
    asked = f"complete -C 'kist head {tmp_path}/a.kist:'"
    done = subprocess.run(
        ["fish", "--no-config"], input=f"{script}\n{asked}\n", capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [f"{tmp_path}/a.kist:a, b\tarray"]


def test_verbs_and_paths_in_files_are_completed(file: str) -> None:
    def completed(*words: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", "from kist.cli.main import main; main()"],
            env={"COMP_WORDS": " ".join(["kist", *words]), "COMP_CWORD": words[-1],
                 "_KIST_COMPLETE": "fish_complete", "PATH": ""},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [line.split("\t")[0].partition(",")[2] for line in done.stdout.splitlines() if line]

    assert "history" in completed("hi")
    assert f"{file}:g/t" in completed("head", f"{file}:g/")
    assert completed("head", f"{file}:none/") == []
