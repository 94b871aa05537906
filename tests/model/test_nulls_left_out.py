"""Nullable columns whose nulls need not be looked for mean what NumPy means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

Case = tuple[Table, np.ma.MaskedArray[Any, Any], Array]


def make_case(store: kist.Store, *, junk: bool, patched: bool) -> Case:
    """Groups without nulls, with some, with nulls only; `junk` stands under some of them."""
    rng = np.random.default_rng(3)
    values = rng.integers(-40, 40, 4 * N)
    null = rng.random(4 * N) < 0.1
    null[:N], null[3 * N :] = False, True
    if not junk:
        values[null] = 0
    price = np.round(rng.random(4 * N), 2)
    column = np.ma.MaskedArray(values, null)
    dtype = [("n", kist.nullable("i4")), ("price", "f8")]
    table = store.create_table("t", dtype=dtype)
    for start in range(0, 4 * N, N):
        rows = np.zeros(N, table.dtype)
        rows["n"]["value"] = values[start : start + N]
        rows["n"]["valid"] = ~null[start : start + N]
        rows["price"] = price[start : start + N]
        table.append(rows)
    if patched:
        column = column.copy()
        new = np.ma.MaskedArray(np.arange(7, 12), np.array([0, 1, 0, 1, 0], bool))
        table["n"][N : N + 5] = new
        column[N : N + 5] = new
        table.where("price < 0.05").delete()
        kept = price >= 0.05
        column, price = column[kept], price[kept]
    return table, column, price


@pytest.fixture(scope="module", params=[(False, False), (True, False), (False, True)])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    junk, patched = request.param
    with kist.open(":memory:") as store:
        yield make_case(store, junk=junk, patched=patched)


CONDITIONS: dict[str, Callable[[Array, int], Array]] = {
    "n == k": lambda n, k: n == k,
    "n != k": lambda n, k: n != k,
    "n > k": lambda n, k: n > k,
    "n <= k": lambda n, k: n <= k,
    "(n > k) & (n < 30)": lambda n, k: (n > k) & (n < 30),
    "(n < k) & (n != 3)": lambda n, k: (n < k) & (n != 3),
    "~(n == k)": lambda n, k: n != k,
    "isin(n, [k, 5, 6])": lambda n, k: np.isin(n, [k, 5, 6]),
    "(n == k) | (n > 35)": lambda n, k: (n == k) | (n > 35),
}


@settings(max_examples=25)
@given(text=st.sampled_from(sorted(CONDITIONS)), k=st.integers(-45, 45))
def test_conditions_hold_for_the_same_rows(case: Case, text: str, k: int) -> None:
    table, column, price = case
    wanted = CONDITIONS[text](column.data, k) & ~column.mask
    found = table.where(text, k=k)
    assert found.count() == wanted.sum()
    assert np.array_equal(found["price"][:], price[wanted])
    both = table.where(f"({text}) & (price > 0.5)", k=k)
    assert np.array_equal(both["price"][:], price[wanted & (price > 0.5)])
    other = table.where(f"({text}) & isnull(n)", k=k)
    assert other.count() == 0


def test_sums_means_and_counts_leave_nulls_out(case: Case) -> None:
    table, column, price = case
    there = column.data[~column.mask]
    assert table["n"].sum() == there.sum()
    assert table["n"].count() == len(there)
    assert table["n"].mean() == pytest.approx(there.mean())
    some = table.where("price > 0.3")["n"]
    kept = column.data[~column.mask & (price > 0.3)]
    assert some.sum() == kept.sum()
    assert some.count() == len(kept)


def test_groups_of_a_nullable_key_keep_null_and_zero_apart(case: Case) -> None:
    table, column, _ = case
    found = table.group_by("n").agg("count")
    valid = found["n"]["valid"]
    assert int(found["count"][~valid].sum()) == int(column.mask.sum())
    values, counts = np.unique(column.data[~column.mask], return_counts=True)
    assert np.array_equal(found["n"]["value"][valid], values)
    assert np.array_equal(found["count"][valid], counts)
