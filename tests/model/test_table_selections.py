"""Selections find the rows that NumPy finds, whatever is pieces, pages, patches or deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.model.tables.query import find as table_query
from kist.model.tables.stored import read as table_read
from kist.model.tables.table import Table

Array = np.ndarray[Any, Any]

DTYPE = np.dtype(
    [("a", "i4"), ("b", "f8"), ("s", "S4"), ("n", [("x", "u1"), ("y", "f4")]), ("v", "f4", (2,))]
)


def make(n: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, DTYPE)
    rows["a"] = np.arange(n) // 10
    rows["b"] = rng.integers(0, 100, n) / 4
    rows["b"][rng.random(n) < 0.05] = np.nan
    rows["s"] = rng.choice([b"ab", b"cd", b"efgh"], n)
    rows["n"]["x"] = rng.integers(0, 5, n)
    rows["n"]["y"] = rng.normal(size=n)
    rows["v"] = rng.normal(size=(n, 2))
    return rows


CONDITIONS: dict[str, Callable[[Array], Array]] = {
    "a < 500": lambda r: r["a"] < 500,
    "(a >= 100) & (a < 110) & (b > 10)": lambda r: (r["a"] >= 100) & (r["a"] < 110) & (r["b"] > 10),
    "(b > 20) | (s == 'ab')": lambda r: (r["b"] > 20) | (r["s"] == b"ab"),
    "(n.x == 3) & (n.y > 0)": lambda r: (r["n"]["x"] == 3) & (r["n"]["y"] > 0),
    "isnan(b)": lambda r: np.isnan(r["b"]),
    "~(b >= 0)": lambda r: ~(r["b"] >= 0),
    "a == 123456789": lambda r: np.zeros(len(r), bool),
    "a >= 0": lambda r: np.ones(len(r), bool),
    "(b > 24) & (a > 700) & (s != 'cd')": lambda r: (
        (r["b"] > 24) & (r["a"] > 700) & (r["s"] != b"cd")
    ),
}


@pytest.fixture(scope="module")
def case() -> Iterator[tuple[Table, Array]]:
    """A table of pages, pieces, patches and deleted rows, and the array that it is."""
    rows = make(30_000)
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        table.append(rows[:20_000])
        table.append(rows[20_000:28_000])
        for start in range(28_000, 30_000, 400):
            table.append(rows[start : start + 400])
        changed = make(50, 9)
        table[1000:1050] = changed
        rows[1000:1050] = changed
        table["b"][[3, 28_100, 29_999]] = 99.5
        rows["b"][[3, 28_100, 29_999]] = 99.5
        gone = np.zeros(30_000, bool)
        gone[5_000:5_010] = gone[28_000:28_400] = gone[7::97] = True
        table.delete(gone)
        yield table, rows[~gone]


@pytest.mark.parametrize("text", CONDITIONS)
def test_a_selection_is_what_a_mask_gives(case: tuple[Table, Array], text: str) -> None:
    table, rows = case
    mask = CONDITIONS[text](rows)
    hits = table.where(text)
    expected = rows[mask]
    assert hits.count() == len(hits) == len(expected)
    assert np.array_equal(hits.indices(), np.flatnonzero(mask))
    assert hits.indices().dtype == np.int64
    assert hits[:].tobytes() == expected.tobytes()
    assert hits["b"][:].tobytes() == expected["b"].tobytes()
    assert hits["v"][:].tobytes() == expected["v"].tobytes()
    assert hits["n.y"][:].tobytes() == expected["n"]["y"].tobytes()
    assert hits["n"]["y"][:].tobytes() == expected["n"]["y"].tobytes()
    two = hits[["s", "a"]][:]
    assert two.dtype.names == ("s", "a")
    assert np.array_equal(two["a"], expected["a"])
    assert np.array_equal(table.delete(np.zeros(len(rows), bool)), 0)


@pytest.mark.parametrize("text", CONDITIONS)
def test_hits_are_indexed_like_an_array(case: tuple[Table, Array], text: str) -> None:
    table, rows = case
    expected = rows[CONDITIONS[text](rows)]
    hits = table.where(text)
    n = len(expected)
    for index in (slice(0, 3), slice(None, None, 7), slice(-5, None), slice(n, 0, -3), []):
        assert hits[index].tobytes() == expected[index].tobytes()
    if n > 5:
        picks = [5, 0, n - 1, 5]
        assert hits[picks].tobytes() == expected[picks].tobytes()
        assert hits["a"][5] == expected["a"][5]
        assert hits[-1].tobytes() == expected[-1].tobytes()
    with pytest.raises(kist.SelectionError, match="out of range"):
        hits[n]


@pytest.mark.parametrize("text", CONDITIONS)
def test_aggregates_have_the_dtypes_of_numpy(case: tuple[Table, Array], text: str) -> None:
    table, rows = case
    expected = rows[CONDITIONS[text](rows)]
    for name in ("a", "b", "n.x", "n.y"):
        column = expected[name] if "." not in name else expected["n"][name[2:]]
        hits = table.where(text)[name]
        for what in ("sum", "mean", "min", "max"):
            if not len(column) and what in ("min", "max"):
                with pytest.raises(ValueError, match="no row"):
                    getattr(hits, what)()
                continue
            found = getattr(hits, what)()
            wanted = getattr(column, what)() if len(column) or what == "sum" else np.nan
            assert np.isclose(found, wanted, rtol=1e-4, equal_nan=True)
            if len(column):
                assert found.dtype == np.asarray(wanted).dtype
                assert isinstance(found, np.generic)


def test_blocks_and_rows_are_the_hits_in_order(case: tuple[Table, Array]) -> None:
    table, rows = case
    text = "b > 12"
    expected = rows[rows["b"] > 12]
    blocks = list(table.where(text).blocks(1000))
    assert [len(block) for block in blocks[:-1]] == [1000] * (len(blocks) - 1)
    assert np.concatenate(blocks).tobytes() == expected.tobytes()
    seen = [row["a"] for row in table.where(text)]
    assert np.array_equal(seen, expected["a"])
    assert list(table.where("a == 2999")["a"]) == [2999] * 10


def test_operators_build_the_same_selection(case: tuple[Table, Array]) -> None:
    table, rows = case
    hits = table[(table["b"] > 10) & (table["n.x"] == 2)]
    assert hits[:].tobytes() == rows[(rows["b"] > 10) & (rows["n"]["x"] == 2)].tobytes()


def test_parameters_come_by_name_or_in_a_dict(case: tuple[Table, Array]) -> None:
    table, rows = case
    n = int((rows["b"] > 7).sum())
    assert table.where("b > limit", limit=7).count() == n
    assert table.where("b > limit", {"limit": 7}).count() == n
    assert table.where("b > params", params=7).count() == n


def test_pages_whose_statistics_exclude_a_condition_are_not_read(
    case: tuple[Table, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = case
    read: list[str] = []
    real = table_read.read_leaves

    def reading(state: Any, spans: Any, leaves: Any, outs: Any) -> None:
        read.extend(leaf.path[0] for leaf in leaves for span in spans if span.group.is_pages)
        real(state, spans, leaves, outs)

    monkeypatch.setattr(table_query, "read_leaves", reading)
    assert table.where("(a > 100000) & (b > 3)").count() == 0
    assert read == []
    assert table.where("a >= -5").count() == len(table)
    assert read == []  # every row must match


def test_the_talk_example_reads_the_hits(case: tuple[Table, Array]) -> None:
    with kist.open(":memory:") as store:
        store["tab"] = np.array([(i, i * 10.0) for i in range(20)], "i4,f8")
        tab = store["tab"]
        found = [v[:] for v in tab.where("(f0 > 1) & (f2 < 100)".replace("f2", "f1"))]
        assert found == [(i, i * 10.0) for i in range(2, 10)]


def fresh(n: int = 9_000) -> tuple[Any, Table, Array]:
    store = kist.open(":memory:")
    rows = make(n)
    table: Any = store.create_table("t", dtype=DTYPE)
    table.append(rows[: n - 500])
    table.append(rows[n - 500 :])
    return store, table, rows


@settings(max_examples=20)
@given(text=st.sampled_from(list(CONDITIONS)), seed=st.integers(0, 5))
def test_update_changes_the_hits_and_nothing_else(text: str, seed: int) -> None:
    store, table, rows = fresh()
    with store:
        mask = CONDITIONS[text](rows)
        n = int(mask.sum())
        new = np.random.default_rng(seed).integers(0, 50, n) / 2
        assert table.where(text).update({"b": new, "a": kist.expr("a + 1"), "s": "zz"}) == n
        rows["b"][mask] = new
        rows["a"][mask] += 1
        rows["s"][mask] = b"zz"
        assert table[:].tobytes() == rows.tobytes()


@settings(max_examples=20)
@given(text=st.sampled_from(list(CONDITIONS)))
def test_delete_removes_the_hits_and_nothing_else(text: str) -> None:
    store, table, rows = fresh()
    with store:
        mask = CONDITIONS[text](rows)
        assert table.where(text).delete() == mask.sum()
        assert table[:].tobytes() == rows[~mask].tobytes()
        assert table.where(text).count() == 0


def test_an_update_never_sees_its_own_output() -> None:
    store, table, rows = fresh(5_000)
    with store:
        assert table.where("a < 10").update({"a": kist.expr("a + 5"), "b": kist.expr("a * 1.0")})
        assert np.array_equal(table["b"][:100], rows["a"][:100])
        assert np.array_equal(table["a"][:100], rows["a"][:100] + 5)


def test_a_selection_looks_at_the_newest_state_each_time() -> None:
    store, table, _ = fresh(5_000)
    with store:
        hits = table.where("a < 10")
        assert hits.count() == 100
        table.delete(slice(0, 50))
        assert hits.count() == 50


def test_an_iteration_keeps_the_state_it_began_with() -> None:
    store, table, rows = fresh(5_000)
    with store:
        blocks = table.where("a >= 0").blocks(1000)
        first = next(blocks)
        table.delete(slice(0, 4_000))
        rest = list(blocks)
        assert np.concatenate([first, *rest]).tobytes() == rows.tobytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zzz > 1", "zzz"),
        ("a >", "syntax|expression|end"),
        ("__import__('os')", "__import__|function"),
        ("a.__class__ == 1", "a"),
        ("a", "condition"),
        ("s > 5", "compared|bytes"),
    ],
)
def test_a_bad_condition_is_refused_at_once(
    case: tuple[Table, Array], text: str, message: str
) -> None:
    with pytest.raises(kist.QueryError, match=message):
        case[0].where(text)


def test_a_column_of_another_table_is_refused(case: tuple[Table, Array]) -> None:
    store, other, _ = fresh(10)
    with store, pytest.raises(kist.QueryError, match="one table"):
        case[0][other["a"] > 1]


def test_a_selection_is_neither_true_nor_false(case: tuple[Table, Array]) -> None:
    with pytest.raises(ValueError, match="count"):
        bool(case[0].where("a > 1"))
    with pytest.raises(ValueError, match="neither true nor false"):
        bool(case[0]["a"] > 1)


def test_sum_needs_one_column(case: tuple[Table, Array]) -> None:
    with pytest.raises(kist.SelectionError, match="take one"):
        case[0].where("a > 1").sum()
