"""`kist link`, and what other verbs do with links."""

from __future__ import annotations

from pathlib import Path

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
