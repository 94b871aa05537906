"""`kist stats` of columns with nulls and of lists: what is not there does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

import kist
from kist.cli import main


def stats(*arguments: str) -> dict[str, Any]:
    done = click.testing.CliRunner().invoke(main.cli, ["stats", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return {entry["column"]: entry for entry in json.loads(done.stdout)}


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Make a table whose nulls stand over zeros."""
    path = str(tmp_path / "a.kist")
    dtype = {
        "n": kist.nullable("i8"), "b": kist.nullable("?"), "x": "f8",
        "l": kist.nullable(kist.ragged("i4")), "y": kist.ragged(bytes), "v": [("p", "i4")],
    }  # fmt: skip
    with kist.open(path, "w") as store:
        table = store.create_table("t", dtype=dtype)
        rows = [([5, None, 9], [None, True, True], [1.0, np.nan, 3.0])]
        for n, b, x in rows:
            table.append({
                "n": np.ma.array([v or 0 for v in n], mask=[v is None for v in n]),
                "b": np.ma.array([bool(v) for v in b], mask=[v is None for v in b]),
                "x": x, "l": [[1], None, []], "y": [b"a", b"", b"c\0"],
                "v": np.array([(1,), (2,), (3,)], [("p", "i4")]),
            })  # fmt: skip
    return path


def test_nulls_are_missing_and_not_zero(path: str) -> None:
    found = stats(f"{path}:t")
    assert list(found) == ["n", "b", "x", "l", "y", "v.p"]
    n, b, x = found["n"], found["b"], found["x"]
    assert (n["count"], n["missing"], n["min"], n["max"], n["mean"]) == (3, 1, 5, 9, 7.0)
    assert n["dtype"] == "int64"
    assert (b["count"], b["missing"], b["min"], b["max"], b["mean"]) == (3, 1, True, True, 1.0)
    assert (x["count"], x["missing"], x["min"], x["max"]) == (3, 1, 1.0, 3.0)
    assert (found["v.p"]["min"], found["v.p"]["max"]) == (1, 3)


def test_lists_and_bytes_of_any_length_are_counted(path: str) -> None:
    found = stats(f"{path}:t", "--columns", "l,y")
    assert [(e["count"], e["missing"], e["min"]) for e in found.values()] == [
        (3, 1, None), (3, 0, None),
    ]  # fmt: skip


def test_a_condition_leaves_nulls_out(path: str) -> None:
    found = stats(f"{path}:t", "--columns", "n,b", "--where", "n > 5")
    assert (found["n"]["count"], found["n"]["missing"], found["n"]["min"]) == (1, 0, 9)


def test_a_group_has_a_line_for_each_array_and_column_in_it(path: str) -> None:
    with kist.open(path, "r+") as store:
        store["deep/inside/x"] = np.array([1.0, 2.0, np.nan])
        store.create_keystore("deep/notes").update(a=1, b=2)
        store.create_link("deep/same", "t")
    done = click.testing.CliRunner().invoke(main.cli, ["stats", path, "--json"])
    assert done.exit_code == 0, done.output
    found = {(one["node"], one["column"]): one for one in json.loads(done.stdout)}
    assert set(found) == {
        ("deep/inside/x", None), ("deep/notes", None),
        *(("t", column) for column in ("n", "b", "x", "l", "y", "v.p")),
    }  # fmt: skip
    one = found["deep/inside/x", None]
    assert (one["count"], one["missing"], one["max"]) == (3, 1, 2.0)
    assert found["deep/notes", None]["count"] == 2
    assert {**found["t", "x"], "node": None} == {**stats(f"{path}:t")["x"], "node": None}
    lines = click.testing.CliRunner().invoke(main.cli, ["stats", f"{path}:deep", "--csv"]).stdout
    assert [line.split(",")[0] for line in lines.splitlines()] == ["node", "inside/x", "notes"]


def test_columns_are_asked_of_tables_alone(path: str) -> None:
    done = click.testing.CliRunner().invoke(main.cli, ["stats", path, "-c", "x"])
    assert done.exit_code != 0 and "--columns and --where are for tables" in done.output
