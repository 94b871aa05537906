"""Conditions on virtual columns: statistics of what they are computed from rule row groups out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist import Table

Array = np.ndarray[Any, Any]

N = 5_000
"""Rows of an append: enough for a row group of its own."""

VIRTUAL = {
    "total": ("a * b", None),
    "half": ("a / 2", "f4"),
    "late": ("a > 9000", None),
    "deep": ("total - half", None),
    "odd": ("log(x)", None),
    "root": ("sqrt(abs(x)) + 1", None),
    "rest": ("c % 7", None),
}


def make_rows(n_groups: int) -> Array:
    rng = np.random.default_rng(7)
    n = n_groups * N
    rows = np.zeros(n, [("a", "i8"), ("b", "i4"), ("c", "u2"), ("x", "f8"), ("y", "f8")])
    rows["a"] = np.sort(rng.integers(0, 20_000, n))
    rows["b"] = rng.integers(1, 4, n)
    rows["c"] = rng.integers(0, 60_000, n)
    rows["x"] = np.cumsum(rng.normal(size=n)) * 50
    rows["x"][rng.random(n) < 0.01] = np.nan
    rows["x"][2 * N : 2 * N + 9] = np.inf, -np.inf, 0, -0.0, np.nan, 1e308, -1e308, 5e-324, 1
    return rows


@pytest.fixture(scope="module")
def case() -> Iterator[tuple[Table, Array]]:
    rows = make_rows(5)
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=rows.dtype)
        for start in range(0, len(rows), N):
            table.append(rows[start : start + N])
        for name, (text, dtype) in VIRTUAL.items():
            table.add_column(name, kist.expr(text), dtype=dtype, virtual=True)
        table.where("c == 17").update({"b": 50})
        rows["b"][rows["c"] == 17] = 50
        yield table, rows


def columns_of(rows: Array) -> dict[str, Array]:
    with np.errstate(all="ignore"):
        found = {name: rows[name] for name in rows.dtype.names or ()}
        found["total"] = rows["a"] * rows["b"]
        found["half"] = (rows["a"] / 2).astype("f4")
        found["late"] = rows["a"] > 9000
        found["deep"] = found["total"] - found["half"]
        found["odd"] = np.log(rows["x"])
        found["root"] = np.sqrt(np.abs(rows["x"])) + 1
        found["rest"] = rows["c"] % 7
    return found


@settings(max_examples=60)
@given(
    name=st.sampled_from(["total", "half", "deep", "odd", "root", "rest"]),
    op=st.sampled_from(["<", "<=", "==", "!=", ">", ">="]),
    row=st.integers(0, 5 * N - 1),
    shift=st.sampled_from([-1000, -1, 0, 0.5, 1000]),
)
def test_no_row_is_lost_by_what_statistics_say_of_a_virtual_column(
    case: tuple[Table, Array], name: str, op: str, row: int, shift: float
) -> None:
    table, rows = case
    values = columns_of(rows)[name]
    value = float(values[row]) + shift
    wanted = {
        "<": values < value,
        "<=": values <= value,
        "==": values == value,
        "!=": values != value,
        ">": values > value,
        ">=": values >= value,
    }[op]
    found = table.where(f"{name} {op} v", v=value)
    assert np.array_equal(found.indices(), np.flatnonzero(wanted))
    assert found.count() == wanted.sum()
    both = table.where(f"~({name} {op} v) | late", v=value)
    assert both.count() == (~wanted | (rows["a"] > 9000)).sum()


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("total < 100", 1),
        ("half > 9900", 1),
        ("late", 1),
        ("~late", 1),
        ("deep < 50", 2),
        ("rest > 6", 0),
        ("(total > 0) & (half > 9900.5)", 2),
    ],
)
def test_groups_where_a_virtual_column_cannot_match_are_not_looked_at(
    case: tuple[Table, Array], text: str, most: int
) -> None:
    table, _ = case
    said = table.where(text).explain()
    assert said.n_groups >= 5
    assert said.n_scanned <= most


def test_of_what_statistics_cannot_say_every_group_is_looked_at(case: tuple[Table, Array]) -> None:
    table, _ = case
    said = table.where("odd > 100").explain()  # of infinities and negative numbers
    assert said.n_scanned > 0
    assert said.n_pages == said.n_scanned


def test_a_virtual_column_of_fields_of_a_nullable_one() -> None:
    values = np.ma.MaskedArray(np.arange(3 * N), np.arange(3 * N) % 5 == 0)
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("n", kist.nullable("i8"))])
        for start in range(0, 3 * N, N):
            table.append({"n": values[start : start + N]})
        table.add_column("there", kist.expr("n.valid"), virtual=True)
        table.add_column("plain", kist.expr("n.value * 2"), virtual=True)
        assert table.where("there").count() == int((~values.mask).sum())
        assert table.where("plain == 0").count() == int(values.mask.sum())
        wanted = int((~values.mask & (values.data * 2 > 2 * N)).sum())
        assert table.where(f"plain > {2 * N}").count() == wanted
