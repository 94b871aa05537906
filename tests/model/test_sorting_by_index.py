"""Sorting through an index: the same rows in the same order as without it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import kist
from kist import options

DTYPE = [("i", "i4"), ("f", "f8"), ("d", "M8[s]"), ("s", "S12"), ("n", "i8")]


def _rows(rng: np.random.Generator, n: int, start: int = 0) -> np.ndarray[Any, Any]:
    rows = np.zeros(n, DTYPE)
    rows["i"] = rng.integers(-30, 30, n)
    rows["f"] = rng.integers(-9, 9, n) / 4
    rows["f"][rng.random(n) < 0.1] = np.nan
    rows["d"] = rng.integers(0, 500, n).astype("M8[s]")
    rows["d"][rng.random(n) < 0.1] = np.datetime64("NaT")
    rows["s"] = rng.integers(0, 3_000, n).astype("S12")
    rows["n"] = np.arange(start, start + n)
    return rows


def _changed(table: kist.Table, rng: np.random.Generator) -> None:
    table.where("n % 11 == 3").delete()
    table.where("(n > 100) & (n < 160)").update({"i": 7, "f": 0.25, "s": b"new"})
    table.append(_rows(rng, 500, 1_000_000))
    table.where("n % 4 == 1").limit(300).delete()


ORDERS = [["i"], ["f"], ["d"], ["s"], ["i", "f"]]


@pytest.mark.parametrize("by", ORDERS, ids=",".join)
@pytest.mark.parametrize("changed", [False, True])
def test_an_index_never_changes_how_rows_are_sorted(by: list[str], changed: bool) -> None:
    rng = np.random.default_rng(len(by[0]) + changed)
    with kist.open(":memory:") as store:
        store["t"] = _rows(rng, 70_000)
        store["t"].create_index(*by)
        store["t"].append(_rows(rng, 70_000, 70_000))
        table = store["t"]
        if changed:
            _changed(table, rng)
        for descending in (False, True):
            found = table.sort_by(by, descending=descending)
            other = found[5:][["n", "i"]], found.indices(), found["n"][:], found[-3:]["n"]
            assert ("sorted by index" in str(found.explain())) == (not descending or len(by) == 1)
            table.drop_index(*by)
            again = table.sort_by(by, descending=descending)
            assert "sorted by index" not in str(again.explain())
            right = again.indices()
            assert np.array_equal(other[1], right)
            numbers = table["n"][:][right]
            assert np.array_equal(other[2], numbers)
            assert np.array_equal(other[0]["n"], numbers[5:])
            assert np.array_equal(other[3], numbers[-3:])
            assert np.array_equal(found.limit(120_000, 3)["n"][:], numbers[3:120_003])
            table.create_index(*by)


def test_rows_larger_than_memory_come_through_an_index_in_passes() -> None:
    rng = np.random.default_rng(5)
    with kist.open(":memory:") as store:
        store["t"] = _rows(rng, 200_000)
        table = store["t"]
        right = table.sort_by("i")["n"][:]
        table.create_index("i")
        before = options.max_memory
        options.max_memory = 8 << 20
        try:
            blocks = [block["n"] for block in table.sort_by("i")[["n", "s"]].blocks()]
        finally:
            options.max_memory = before
        assert np.array_equal(np.concatenate(blocks), right)


def test_a_condition_before_sorting_is_not_forgotten() -> None:
    rng = np.random.default_rng(6)
    with kist.open(":memory:") as store:
        store["t"] = _rows(rng, 70_000)
        table = store["t"]
        right = table.where("f > 0").sort_by("i")["n"][:]
        table.create_index("i")
        found = table.where("f > 0").sort_by("i")
        assert np.array_equal(found["n"][:], right)
        assert "sorted by index" not in str(found.explain())


def test_an_empty_table_and_one_without_full_groups_sort_through_an_index() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=DTYPE)
        table.create_index("i")
        assert table.sort_by("i")["n"][:].tolist() == []
        rows = _rows(np.random.default_rng(7), 90)
        table.append(rows)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = table.sort_by("i")["n"][:]
        assert np.array_equal(found, rows["n"][np.argsort(rows["i"], kind="stable")])
