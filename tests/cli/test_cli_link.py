"""`kist link`, and what other verbs do with links."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import kist
from kist.cli.main import cli


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["runs/17"] = [1, 2]
    return tmp_path / "a.kist"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_links_are_made_listed_moved_copied_and_removed(path: Path) -> None:
    assert run("link", f"{path}:newest", "runs/17") == "link /newest -> runs/17 made\n"
    run("link", f"{path}:cal", "/x", "--file", "other.kist", "--at", "12")
    assert run("cat", f"{path}:newest").split() == ["1", "2"]
    assert run("ls", "-l", path).splitlines()[0].split() == [
        "link", "->", "other.kist:/x", "at", "12", "(dangling)", "cal",
    ]  # fmt: skip
    assert "newest  link -> runs/17" in run("tree", path)
    assert '"leads_to": "runs/17"' in run("ls", "--json", path)
    assert run("mv", f"{path}:newest", ":latest") == "link /newest -> runs/17 moved to /latest\n"
    run("copy", f"{path}:latest", ":runs/again")
    run("link", f"{path}:latest", "runs/18", "--overwrite")
    assert run("rm", "--yes", f"{path}:latest") == "link /latest -> runs/18 removed\n"
    with kist.open(path) as store:
        assert list(store) == ["cal", "runs"] and store.open_link("cal").version == 12
        assert store.open_link("runs/again").target == "runs/17"


def test_what_is_wrong_is_said_and_changes_nothing(path: Path) -> None:
    for arguments in (
        (path, "x"),
        (f"{path}:runs", "x"),
        (f"{path}:l", "a//b"),
        (f"{path}:l", "l"),
    ):
        result = CliRunner().invoke(cli, ["link", *map(str, arguments)])
        assert result.exit_code == 2 and "kist:" in result.output
    with kist.open(path) as store:
        assert list(store) == ["runs"]


def test_diff_names_links_that_lead_elsewhere(path: Path, tmp_path: Path) -> None:
    with kist.open(path, "r+") as store:
        store.create_link("l", "runs/17")
        store.backup(tmp_path / "b.kist")
        store.create_link("l", "runs/18", overwrite=True)
    result = CliRunner().invoke(cli, ["diff", str(path), str(tmp_path / "b.kist")])
    assert result.exit_code == 1 and "runs/18 != runs/17" in result.output


def test_unions_linked_files_and_arrays_are_made_and_shown(path: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        with kist.open(tmp_path / f"p{number}.kist", "w") as store:
            store["t"] = np.array([(number, 0.5)], [("a", "i4"), ("b", "f8")])
            store["x"] = np.full((2, 3), number)
            store.tag("june")
    np.save(tmp_path / "n.npy", np.arange(3.0))
    (tmp_path / "raw.bin").write_bytes(b"head" + np.arange(6, dtype="<i2").tobytes())
    with kist.open(path, "r+") as store:
        store["runs/18"] = [3, 4]
    assert run("link", f"{path}:u", "runs/*", "--union") == "link /u -> union of runs/* made\n"
    run("link", f"{path}:t", "t", "--files", "p1.kist", "--files", "p2.kist")
    run("link", f"{path}:x", "x", "--files", "p*.kist", "--at", "june")
    run("link", f"{path}:n", "n.npy", "--array")
    raw = ("--array", "--dtype", "<i2", "--shape", "3,2", "--offset", 4, "--order", "F")
    run("link", f"{path}:raw", "raw.bin", *raw, "--no-sums")
    assert run("link", f"{path}:t", "--renew") == "link /t -> t of 2 files renewed\n"
    assert run("cat", f"{path}:u").split() == ["1", "2", "3", "4"]
    assert run("cat", f"{path}:t").split() == ["a", "b", "1", "0.5", "2", "0.5"]
    assert run("where", f"{path}:t", "a == 2").split()[2:] == ["2", "0.5"]
    assert run("slice", f"{path}:x", "1:3").split() == ["1"] * 3 + ["2"] * 3
    assert run("cat", f"{path}:n").split() == ["0.0", "1.0", "2.0"]
    assert run("cat", f"{path}:raw").split() == ["0", "3", "1", "4", "2", "5"]
    assert "n_files    2" in run("info", f"{path}:t") and "x  link -> x of 2 files" in run(
        "tree", path
    )
    assert "3, 2" in run("info", f"{path}:raw") and "n_parts" in run("info", f"{path}:u")
    assert run("schema", f"{path}:t").splitlines()[1].split()[:3] == ["/t", "a", "int32"]
    assert "int64" in run("stats", f"{path}:x") and "float64" in run("schema", f"{path}:n")


@pytest.mark.parametrize(
    "options",
    [
        ("a", "--union", "--array"), ("a", "--at", "june"), ("a", "--dtype", "i4"), (),
        ("a", "b"), ("a", "--renew"), ("a", "b", "--files", "*.kist"),
        ("a", "--array", "--dtype", "i4", "--shape", "x"),
    ],
)  # fmt: skip
def test_options_of_a_link_that_do_not_fit_are_refused(
    path: Path, options: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(cli, ["link", f"{path}:l", *options])
    assert result.exit_code == 2 and "Error" in result.output
    with kist.open(path) as store:
        assert list(store) == ["runs"]
