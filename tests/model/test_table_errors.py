"""Bad input: the right error, a message that helps, and nothing changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist


def label(value: object) -> str:
    """Name a parameter, the same in every process: without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


DTYPE = np.dtype([("a", "i4"), ("b", "f8"), ("n", [("x", "u1")]), ("v", "f4", (2,))])


def make(n: int) -> np.ndarray[Any, Any]:
    rows = np.zeros(n, DTYPE)
    rows["a"] = np.arange(n)
    return rows


@pytest.fixture
def table() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store.create_table("t", make(100))


READS: list[tuple[Any, type[Exception], str]] = [
    (100, kist.SelectionError, "row 100 is out of range, there are 100 rows"),
    (-101, kist.SelectionError, "row -101"),
    ([0, 100], kist.SelectionError, "row 100"),
    (np.array([5, -200]), kist.SelectionError, "row -200"),
    (np.array([2**63], "u8"), kist.SelectionError, "out of range"),
    (np.ones(99, bool), kist.SelectionError, "mask of shape"),
    (np.ones((100, 1), bool), kist.SelectionError, "mask of shape"),
    ([True, False], kist.SelectionError, "mask of shape"),
    (True, kist.SelectionError, "True and False"),
    (1.5, kist.SelectionError, "float64|selects no rows"),
    ([1.5], kist.SelectionError, "selects no rows"),
    (np.array([]), kist.SelectionError, "float64"),
    (None, kist.SelectionError, "no index"),
    (b"a", kist.SelectionError, "no index"),
    ((1, 2), kist.SelectionError, "one dimension"),
    ((slice(None), None), kist.SelectionError, "new axis"),
    (slice(None, None, 0), kist.SelectionError, "slice"),
    (slice("a", None), kist.SelectionError, "slice"),
    (object(), kist.SelectionError, "selects no rows|no index"),
    ([[1, 2], [3]], kist.SelectionError, "no index"),
    ("zz", kist.ColumnNotFoundError, "no column 'zz'; the columns are 'a', 'b'"),
    ("n.zz", kist.ColumnNotFoundError, "'n' has the fields 'x'"),
    ("a.x", kist.ColumnNotFoundError, "'a' has no fields"),
    (["a", "zz"], kist.ColumnNotFoundError, "'zz'"),
    (["a", "a"], kist.SelectionError, "twice"),
    (["a", 1], kist.SelectionError, "no rows|no index"),
]


@pytest.mark.parametrize(("index", "error", "message"), READS, ids=label)
def test_a_bad_index_is_refused(
    table: Any, index: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        table[index]
    if not isinstance(index, str | list) or error is kist.SelectionError:
        with pytest.raises((error, kist.SelectionError)):
            table.delete(index)
        with pytest.raises((error, kist.SelectionError)):
            table["b"][index] = 1.0
    assert table[:].tobytes() == make(100).tobytes()


WRITES: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda t: t.__setitem__(0, (1, 2.0, (3,))), kist.DTypeError, "3 values, the table 4"),
    (lambda t: t.__setitem__(0, {"a": 1}), kist.DTypeError, "'b' is missing"),
    (lambda t: t.__setitem__(slice(0, 3), make(2)), kist.ShapeError, "2 values for 3 rows"),
    (lambda t: t.__setitem__([1, 2, 3], make(5)), kist.ShapeError, "5 values for 3 rows"),
    (lambda t: t.__setitem__(0, 5), kist.DTypeError, "holds no rows"),
    (lambda t: t.__setitem__("zz", 5), kist.ColumnNotFoundError, "'zz'"),
    (lambda t: t["a"].__setitem__(0, 2**40), kist.DTypeError, "column 'a'"),
    (lambda t: t["a"].__setitem__(0, 1.5), kist.DTypeError, "column 'a'"),
    (lambda t: t["a"].__setitem__(0, "x"), kist.DTypeError, "column 'a'"),
    (lambda t: t["a"].__setitem__(slice(0, 4), [1, 2, 3]), kist.ShapeError, "3 values for 4"),
    (lambda t: t["a"].__setitem__(slice(0, 2), [1, np.nan]), kist.DTypeError, "row 1"),
    (lambda t: t["v"].__setitem__(0, [1, 2, 3]), kist.ShapeError, "v"),
    (lambda t: t["v"].__setitem__(slice(0, 2), np.zeros((2, 3))), kist.ShapeError, "v"),
    (lambda t: t["a"].__setitem__("zz", 1), kist.ColumnNotFoundError, "zz"),
    (lambda t: t.where("a < 9").update({"zz": 1}), kist.ColumnNotFoundError, "zz"),
    (lambda t: t.where("a < 9").update({"a": [1, 2]}), kist.ShapeError, "2 values for 9"),
    (lambda t: t.where("a < 9").update({"b": 1.0, "a": 2**50}), kist.DTypeError, "'a'"),
    (lambda t: t.where("a < 9").update({"a": kist.expr("b / 0.3 + 0.5")}), kist.DTypeError, "'a'"),
    (lambda t: t.where("a < 9").update({"a": kist.expr("zz")}), kist.QueryError, "zz"),
    (lambda t: t.where("a < 9").update({"n.x": 1, "n": (1,)}), kist.SelectionError, "one column"),
    (lambda t: t.where("a < 9").update([1]), kist.SelectionError, "mapping"),
    (lambda t: t.__delitem__("a"), kist.SelectionError, "no column"),
    (lambda t: t.__setitem__(t["a"] > 1, make(3)), kist.ShapeError, "3 values for"),
    (lambda t: t.append(make(1)[["a", "b"]]), kist.DTypeError, "'n' is missing"),
]


@pytest.mark.parametrize(("change", "error", "message"), WRITES)
@pytest.mark.parametrize("inside", [False, True])
def test_a_bad_change_is_refused_and_changes_nothing(
    table: Any, change: Callable[[Any], Any], error: type[Exception], message: str, inside: bool
) -> None:
    if inside:
        with table.store.transaction():
            with pytest.raises(error, match=message):
                change(table)
            table.append(make(1))
        assert table[:100].tobytes() == make(100).tobytes()
    else:
        commit = table.store.commit_id
        with pytest.raises(error, match=message):
            change(table)
        assert table.store.commit_id == commit
        assert table[:].tobytes() == make(100).tobytes()


OPERATIONS: list[Callable[[Any], Any]] = [
    lambda t: t.append(make(1)),
    lambda t: t.delete(0),
    lambda t: t.__setitem__(0, make(1)[0]),
    lambda t: t["a"].__setitem__(0, 1),
    lambda t: t.where("a == 1").delete(),
    lambda t: t.where("a == 1").update({"a": 2}),
    lambda t: t.appender().__enter__().flush(),
]


@pytest.mark.parametrize("change", OPERATIONS[:6])
def test_a_store_opened_for_reading_takes_no_change(path: Path, change: Any) -> None:
    with kist.open(path, "w") as store:
        store["t"] = make(10)
    before = path.read_bytes()
    with kist.open(path) as store, pytest.raises(kist.ReadOnlyError, match="mode 'r"):
        change(store["t"])
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", OPERATIONS)
def test_a_table_that_was_deleted_is_stale(change: Any) -> None:
    with kist.open(":memory:") as store:
        store["t"] = make(10)
        table = store["t"]
        column, hits = table["a"], table.where("a > 1")
        blocks = table.blocks(3)
        next(blocks)
        del store["t"]
        with pytest.raises(kist.StaleHandleError, match="'/t'"):
            change(table)
        for read in (lambda: table[0], lambda: column[0], lambda: len(table), hits.count):
            with pytest.raises(kist.StaleHandleError):
                read()
        assert "/t" in repr(table)
        assert "a" in repr(column)
        assert sum(map(len, blocks)) == 7  # it holds the state it began with


def test_a_table_of_a_closed_store_says_so() -> None:
    with kist.open(":memory:") as store:
        store["t"] = make(10)
        table = store["t"]
    for use in (lambda: table[0], lambda: table.append(make(1)), lambda: list(table)):
        with pytest.raises(kist.StoreClosedError):
            use()
    assert "closed" in repr(table)


def test_a_replaced_table_makes_old_handles_stale() -> None:
    with kist.open(":memory:") as store:
        store["t"] = make(10)
        old = store["t"]
        store["t"] = make(5)
        with pytest.raises(kist.StaleHandleError):
            len(old)
        assert len(store["t"]) == 5


def test_membership_looks_for_columns_only(table: Any) -> None:
    with pytest.raises(TypeError, match="name of a column"):
        assert 5 in table


def test_the_truth_of_many_rows_is_not_defined(table: Any) -> None:
    with pytest.raises(ValueError, match="len"):
        bool(table)
    with pytest.raises(ValueError, match="len"):
        bool(table["a"])
    table.delete(slice(1, None))
    assert table


def test_aggregates_refuse_what_they_cannot_do(table: Any) -> None:
    with pytest.raises(kist.DTypeError, match="no numbers"):
        table["n"].sum()
    with pytest.raises(TypeError, match="no axis"):
        table["a"].sum(axis=0)
    with pytest.raises(ValueError, match="no row"):
        table.where("a > 1000")["a"].min()


def test_columns_that_are_the_same_text_in_two_unicode_forms_are_refused() -> None:
    with kist.open(":memory:") as store:
        with pytest.raises(kist.DTypeError, match="same text in two Unicode forms") as caught:
            store.create_table("t", {"\u00e9": [1], "e\u0301": [2]})
        assert caught.value.column == "e\u0301"
        assert "t" not in store
        store.create_table("t", {"e\u0301": [1]})
        assert store["t"].colnames == ("e\u0301",)
