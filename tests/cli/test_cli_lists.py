"""Verbs that print rows give lists, bytes and lists of text back, as JSON, CSV and text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main

TEXTS = kist.ragged(np.dtypes.StringDType(na_object=None))


def said(*arguments: str) -> str:
    done = click.testing.CliRunner().invoke(main.cli, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "a.kist")
    dtype = {"f": kist.nullable(kist.ragged("f4")), "b": kist.ragged(bytes), "t": TEXTS}
    rows: list[Any] = [
        ([1.5, float("nan")], b"ab", ["a", None, 'two\n"lines"']),
        (None, b"", []),
        (np.arange(40), b"c", ["x, y"]),
    ]
    with kist.open(path, "x") as store:
        store.create_table("t", dtype=dtype).append(rows)
    return path


def test_json_has_all_that_is_in_cells(path: str) -> None:
    for found in (
        said("where", f"{path}:t", "len(t) < 9", "--json"),
        said("cat", path, "t", "--json"),
    ):
        assert [list(row.values()) for row in json.loads(found)] == [
            [[1.5, None], "ab", ["a", None, 'two\n"lines"']],
            [None, "", []],
            [list(range(40)), "c", ["x, y"]],
        ]


def test_csv_has_cells_as_json(path: str) -> None:
    head, *rows = csv.reader(io.StringIO(said("cat", path, "t", "--csv")))
    assert head == ["f", "b", "t"] and rows[1] == ["", "", "[]"]
    assert json.loads(rows[0][2]) == ["a", None, 'two\n"lines"']
    assert rows[0][1] == "ab" and json.loads(rows[2][0]) == list(range(40))


def test_text_has_a_row_on_a_line(path: str) -> None:
    lines = said("cat", path, "t").splitlines()
    assert len(lines) == 4
    assert lines[1].split("\t")[2] == r'["a", null, "two\n\"lines\""]'
    assert lines[2].split("\t") == ["None", "b''", "[]"]
    assert "39.0]" in lines[3] and "nullable text" in said("stats", path, "t")
