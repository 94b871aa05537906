"""`FILE:PATH`, `kist attrs`, `kist ls` and `kist tree` as JSON, and what a listing costs."""

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
from kist.cli.common import split_place

HOSTILE = "<b>\x1b[31m\n"
ROWS = np.array([(1, 2.5)], "i4,f8")


@pytest.fixture
def file(path: Path) -> str:
    with kist.open(path, "w") as store:
        store["a:b/t"] = ROWS
        store["a:b/t"].title = "one row"
        store["a:b/t"].attrs["image"] = np.arange(6).reshape(2, 3)
        store["a:b/t"].attrs["large"] = np.zeros(1 << 14)
        store["a:b/t"]["f1"].attrs["unit"] = "mm"
        store.attrs[HOSTILE] = HOSTILE
        store.create_group(HOSTILE)
    return str(path)


def run(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_a_place_is_cut_behind_the_longest_name_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "a:b", "C:x.kist"):
        Path(name).touch()
    assert split_place("a") == ("a", "")
    assert split_place("a:") == ("a", "")
    assert split_place("a:b") == ("a:b", "")
    assert split_place("a:b:c:d") == ("a:b", "c:d")
    assert split_place("a:c:b") == ("a", "c:b")
    assert split_place("C:x.kist:raw") == ("C:x.kist", "raw")
    assert split_place("C:\\none.kist:raw/t") == ("C:\\none.kist", "raw/t")
    assert split_place("none:raw") == ("none:raw", "")
    assert split_place("") == ("", "")
    assert split_place(":") == (":", "")
    assert split_place(f"{tmp_path}:x") == (str(tmp_path), "x")


def test_all_verbs_take_file_and_path_in_one_word(file: str) -> None:
    assert run("ls", f"{file}:a:b").split() == ["t"]
    assert run("ls", f"{file}:/a:b").split() == ["t"]
    assert run("ls", f"{file}:").split()[0].startswith("<b>")
    assert run("tree", f"{file}:a:b").startswith("/a:b\n")
    assert (
        run("head", f"{file}:a:b/t")
        == run("head", file, "a:b/t")
        == run("head", f"{file}:a:b", "t")
    )
    assert run("head", f"{file}:a:b", "/a:b/t") == run("head", file, "a:b/t")
    assert run("info", f"{file}:a:b/t") == run("info", file, "a:b/t")
    assert run("cat", f"{file}:a:b/t") == "f0\tf1\n1\t2.5\n"


def test_attrs_prints_all_or_one(file: str) -> None:
    place = f"{file}:a:b/t"
    text = run("attrs", place)
    assert "TITLE\t'one row'" in text and "128.0 KiB, not shown" in text
    assert "Columns with attributes: f1 (1)" in text
    assert run("attrs", place, "TITLE") == "one row\n"
    assert run("attrs", place, "image") == "[[0, 1, 2],\n [3, 4, 5]]\n"
    assert json.loads(run("attrs", place, "image", "--json")) == [[0, 1, 2], [3, 4, 5]]
    found = json.loads(run("attrs", place, "--json"))
    assert list(found) == ["TITLE", "image", "large"] and len(found["large"]) == 1 << 14
    assert run("attrs", place, "--column", "f1", "unit") == "mm\n"
    assert json.loads(run("attrs", place, "--column", "f1", "--json")) == {"unit": "mm"}
    assert json.loads(run("attrs", f"{file}:a:b", "--json")) == {}
    assert run("attrs", f"{file}:a:b") == ""


def test_attributes_cannot_move_the_cursor(file: str) -> None:
    for verb in ("attrs", "info", "ls", "tree"):
        text = run(verb, file)
        assert "<b>\\x1b[31m\\n" in text and "\x1b" not in text
    for arguments in (["attrs", file], ["tree", file], ["ls", file]):
        assert HOSTILE in json.dumps(json.loads(run(*arguments, "--json"))).encode().decode(
            "unicode_escape"
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["attrs", "{file}:a:b/t", "none"], "no attribute 'none'"),
        (["attrs", "{file}:a:b", "-c", "x"], "only tables have columns"),
        (["attrs", "{file}:a:b/t", "-c", "x"], "no column 'x'"),
        (["attrs", "{file}:none"], "there is no '/none'"),
        (["tree", "{file}:a:b/t"], "is a table"),
        (["ls", "{file}:a:b/t"], "is a table"),
    ],
)
def test_what_is_not_there_is_one_line(file: str, arguments: list[str], words: str) -> None:
    output = run(*[a.format(file=file) for a in arguments], code=2)
    assert words in output and output.startswith("kist: ") and output.count("\n") == 1


def test_json_of_a_tree_has_every_node(path: Path) -> None:
    with kist.open(path, "w") as store, store.transaction():
        for at in range(1200):
            store.create_group(f"g{at:04}")
        store["g0000/t"] = ROWS
    found = json.loads(run("tree", "--json", str(path)))
    assert [child["name"] for child in found["children"]] == [f"g{at:04}" for at in range(1200)]
    (table,) = found["children"][0]["children"]
    assert table == {"name": "t", "kind": "table", "title": None, "rows": 1, "columns": 2}
    assert run("tree", str(path)).count("\n") == 1001
    assert run("tree", "--all", str(path)).count("\n") == 1202
    listed = json.loads(run("ls", "-r", "--json", str(path)))
    assert [node["name"] for node in listed[:3]] == ["g0000", "g0000/t", "g0001"]
    assert len(listed) == 1201


def test_a_damaged_node_does_not_hide_the_others(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["a"] = ROWS
        store["b"] = ROWS
        from kist.format import keys

        with store._write() as txn:
            txn.delete(keys.node(store["a"]._id))
    found = json.loads(run("ls", "--json", str(path)))
    assert "no record" in found[0]["error"] and found[1]["rows"] == 1
    assert "cannot be read" in run("ls", "-l", str(path))
    assert "a  (table that cannot be read)" in run("tree", str(path))


def test_listing_names_reads_no_dataset(file: str) -> None:
    code = (
        "import sys; from kist.cli.main import cli\n"
        f"try: cli(['ls', {file!r}])\n"
        "except SystemExit: pass\n"
        "names = ('blosc2', 'pcodec', 'kist.model.tables.table', 'kist.codecs', 'asyncio')\n"
        "assert not [n for n in names if n in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_shows_examples_that_parse() -> None:
    for verb in ("attrs", "cat", "head", "info", "ls", "tree"):
        text = run(verb, "--help")
        assert f"  kist {verb} " in text.split("Examples:")[1]


@pytest.fixture
def runs(path: Path) -> str:
    """A key store with keys of all types."""
    with kist.open(path, "w") as store:
        keys = store.create_keystore("runs")
        keys.update({"17": "text", 17: np.arange(3), -5: 1.5, b"raw": {"a": (1, 2)}, "a,b": None})
        keys.update({"many": np.arange(5000), "\x1b": 3})
    return f"{path}:runs"


def test_cat_of_a_key_store_lists_its_keys(runs: str) -> None:
    keys = ["-5", "17", "b'raw'", "\\x1b", "17", "a,b", "many"]
    assert run("cat", runs).splitlines() == keys
    assert json.loads(run("cat", runs, "--json")) == [-5, 17, "raw", "\x1b", "17", "a,b", "many"]
    assert run("cat", runs, "--csv").splitlines()[5] == '"a,b"'
    assert run("head", runs, "-n", "2") == "-5\n17\n... and 5 more keys\n"
    assert run("ls", "-l", runs.removesuffix(":runs")).split() == [
        "key",
        "store",
        "7",
        "keys",
        "runs",
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [("17", "text"), ("-5", 1.5), ("raw", {"a": [1, 2]}), ("b'raw'", {"a": [1, 2]}), ("a,b", None)],
)
def test_cat_of_a_key_prints_its_value(runs: str, key: str, value: object) -> None:
    assert json.loads(run("cat", runs, "--key", key, "--json")) == value
    assert run("cat", f"{runs}[{key}]", "--json") == run("cat", runs, "--key", key, "--json")


def test_cat_of_a_key_prints_text_as_it_is_and_says_when_there_is_none(runs: str) -> None:
    assert run("cat", runs, "--key", "17") == "text\n"
    assert json.loads(run("cat", runs, "-k", "many", "--json")) == list(range(5000))
    for wrong in ("18", "none", "9" * 5000, ""):
        assert "no key" in run("cat", runs, "--key", wrong, code=2)
    assert "it takes --key" in run("cat", runs, "--rows", "1", code=2)
