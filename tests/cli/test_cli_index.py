"""``kist index``: making, listing and dropping indexes from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main


@pytest.fixture
def file(path: Path) -> str:
    rows = np.array([(n, n % 5) for n in range(500)], [("a", "i4"), ("b", "i4")])
    with kist.open(path, "w") as store:
        store["in/t"] = rows
        store["array"] = np.arange(3)
    return str(path)


def run(*arguments: str, code: int = 0) -> str:
    done = click.testing.CliRunner().invoke(main.cli, ["index", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_an_index_is_made_listed_and_dropped(file: str) -> None:
    place = f"{file}:in/t"
    assert run(place) == "no indexes\n"
    assert "a: a (unique, 500 rows in 1 run" in run(place, "a", "--unique")
    assert "both: b, a (500 rows" in run(place, "b", "a", "--name", "both")
    listed = run(place).splitlines()
    assert [line.split(":")[0] for line in listed] == ["a", "both"]
    found = json.loads(run(place, "--json"))
    assert [(one["name"], one["columns"], one["unique"]) for one in found] == [
        ("a", ["a"], True),
        ("both", ["b", "a"], False),
    ]
    assert "dropped" in run(place, "both", "--drop")
    with kist.open(file) as store:
        assert [index.name for index in store["in/t"].indexes] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["in/t", "c"], "column"),
        (["in/t", "b", "--unique"], "rows 0, 5"),
        (["in/t", "--unique"], "name the columns"),
        (["in/t", "a", "--drop"], "no index 'a'"),
        (["in/t", "a", "--drop", "--unique"], "--drop"),
        (["array", "a"], "only tables have indexes"),
        (["array"], "only tables have indexes"),
    ],
)
def test_bad_calls_say_what_is_wrong(file: str, arguments: list[str], says: str) -> None:
    assert says in run(f"{file}:{arguments[0]}", *arguments[1:], code=2)
