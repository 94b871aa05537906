"""The command line: what the verbs print, and with which code they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main
from kist.errors import CorruptDataError, StoreLockedError, UnsupportedVersionError

ROWS = np.array([(1, 2.5, b"x"), (3, 4.0, b"yy")], [("a", "i4"), ("b", "f8"), ("c", "S2")])


@pytest.fixture
def file(path: Path) -> str:
    """A store with two versions, a group, a table and attributes."""
    with kist.open(path, "w") as store:
        store["raw/t"] = ROWS
        store["raw/t"].title = "two rows"
        store.attrs["camera"] = "B"
        store.tag("before")
        store.create_group("late")
        store["raw/t"].append(np.repeat(ROWS, 20))
    return str(path)


def run(*arguments: str, code: int = 0) -> str:
    """Run a verb in this process and return what it prints."""
    done = click.testing.CliRunner().invoke(main.cli, arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def test_the_kist_command_is_installed_and_knows_its_version() -> None:
    kist_command = Path(sys.executable).with_name("kist")
    done = subprocess.run([kist_command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"kist {kist.__version__}\n"


def test_the_version_and_the_help_load_no_numpy() -> None:
    code = (
        "import sys, click.testing\n"
        "from kist.cli.main import cli\n"
        "for word in ('--version', '--help'):\n"
        "    assert click.testing.CliRunner().invoke(cli, [word]).exit_code == 0\n"
        "print([name for name in ('numpy', 'blosc2', 'asyncio') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_verb_has_help_and_says_what_the_list_says() -> None:
    listing = run("--help")
    for verb, words in main.VERBS.items():
        assert verb in listing and words in " ".join(listing.split())
        assert run(verb, "--help").startswith("Usage: ")


def test_ls_lists_names(file: str) -> None:
    assert run("ls", file).split() == ["late", "raw"]
    assert run("ls", file, "raw").split() == ["t"]
    assert run("ls", file, "-r").split() == ["late", "raw", "raw/t"]
    assert run("ls", file, "--at", "before").split() == ["raw"]


def test_ls_long_and_json_tell_kinds_and_sizes(file: str) -> None:
    assert run("ls", "-l", file, "raw").split() == [*["table", "42", "x", "3", "t", "two", "rows"]]
    assert json.loads(run("ls", "--json", file, "raw")) == [
        {"name": "t", "kind": "table", "rows": 42, "columns": 3, "title": "two rows"}
    ]


def test_info_prints_the_keys_of_the_property(file: str) -> None:
    with kist.open(file) as store:
        for arguments, expected in (([], store.info), (["raw/t"], store["raw/t"].info)):
            found = json.loads(run("info", "--json", file, *arguments))
            assert list(found) == list(expected) == list(expected.to_dict())
            for name in expected:
                assert f"    {name} " in run("info", file, *arguments)
    assert "camera: 'B'" in run("info", file)


def test_head_shows_rows_and_how_many_are_left(file: str) -> None:
    lines = run("head", file, "raw/t", "-n", "2").splitlines()
    assert lines[0].split() == ["a", "b", "c"]
    assert lines[1].split() == ["0", "1", "2.5", "x"]
    assert lines[2].split() == ["1", "3", "4.0", "yy"]
    assert lines[3] == "... and 40 more rows"
    assert run("head", file, "raw/t", "-c", "c,a", "-n", "1").split()[:2] == ["c", "a"]
    assert len(run("head", file, "raw/t", "--at", "before").splitlines()) == 3
    assert len(run("head", file, "raw/t", "-n", "0").splitlines()) == 2


def test_tree_draws_the_store(file: str) -> None:
    text = run("tree", file)
    assert text.splitlines()[0] == "/"
    assert "└── t" in text and "'two rows'" in text
    assert "t" not in run("tree", file, "-d", "1").split()
    assert run("tree", file, "raw").startswith("/raw")


def test_check_ends_with_0_for_a_clean_store(file: str) -> None:
    assert "no problems" in run("check", file)
    assert json.loads(run("check", "--json", file))["ok"] is True


def test_check_ends_with_1_for_a_damaged_store_and_names_the_node(path: Path) -> None:
    marks = np.random.default_rng(0).integers(0, 2**60, 70_000)
    with kist.open(path, "w") as store:
        store["deep/t"] = np.rec.fromarrays([marks], names="x")
        whole = store.info.total_bytes
    data = bytearray(path.read_bytes())
    at = whole // 2  # within the one column, which is nearly all of the file
    data[at] ^= 1
    path.write_bytes(data)
    text = run("check", str(path), code=1)
    assert "1 problem" in text and "'/deep/t" in text
    found = json.loads(run("check", "--json", str(path), code=1))
    assert found["ok"] is False
    assert found["problems"][0]["node"].startswith("/deep/t")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ls", "nothing.kist"], 3, "nothing.kist"),
        (["ls", "{file}", "nothing"], 2, "there is no '/nothing'"),
        (["ls", "{file}", "raw/t"], 2, "is a table"),
        (["tree", "{file}", "raw/t"], 2, "is a table"),
        (["head", "{file}", "raw"], 2, "is a group"),
        (["head", "{file}", "raw/t", "-c", "zz"], 2, "zz"),
        (["ls", "{file}", "--at", "never"], 2, "never"),
        (["ls", "{foreign}"], 2, "kist"),
        (["check", "{foreign}"], 2, "kist"),
        (["ls", "/"], 2, "folder"),
        (["ls"], 2, "Missing argument"),
        (["fly"], 2, "fly"),
        (["demo", "{file}"], 3, "already"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(
    file: str, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    foreign = tmp_path / "foreign.zip"
    foreign.write_bytes(b"PK\x03\x04" * 9000)
    output = run(*[a.format(file=file, foreign=foreign) for a in arguments], code=code)
    assert words in output
    if not output.startswith("Usage"):
        assert output.startswith("kist: ") and output.count("\n") == 1


def test_exit_codes_follow_the_kind_of_error() -> None:
    assert main.exit_code(CorruptDataError("x")) == 1
    assert main.exit_code(UnsupportedVersionError("x")) == 2
    assert main.exit_code(StoreLockedError("x")) == 3
    assert main.exit_code(PermissionError("x")) == 3


def test_the_demo_names_five_things_that_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [
        line.strip() for line in run("demo").splitlines() if line.startswith(("  kist", "  python"))
    ]
    assert len(commands) == 5
    path = Path(sys.executable).parent
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"PATH={path}:$PATH {command}"], capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip()


@pytest.mark.parametrize("verb", [["diff", "gone.kist", "b.kist"], ["ls", "gone.kist"]])
def test_a_missing_file_is_no_matter_of_modes(verb: list[str], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        found = click.testing.CliRunner().invoke(main.cli, verb)
    assert found.exit_code == 3
    assert "'gone.kist': no such file" in found.output and "mode" not in found.output
