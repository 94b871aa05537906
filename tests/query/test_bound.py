"""Bound expressions: what the tables use."""

from __future__ import annotations

import datetime as dt
import warnings

import numpy as np
import pytest

from kist.errors import QueryError, ShapeError
from kist.indexes.statistics import Bounds, compute
from kist.query import column, expr, parse

COLUMNS = {
    "a": np.dtype("f8"),
    "b": np.dtype("i4"),
    "sym": np.dtype("U8"),
    "mask": np.dtype("?"),
    "t": np.dtype("M8[s]"),
}


def test_columns_come_in_order_of_first_use_and_only_if_needed() -> None:
    bound = parse("(b > 1) & (a > b) & (sym == 'x')", COLUMNS)
    assert bound.columns == ("b", "a", "sym")
    assert parse("(1 > 2) & (b > 0)", COLUMNS).columns == ()


def test_a_constant_condition_holds_for_all_rows_or_none() -> None:
    for condition, wanted in ((True, True), ("1 > 2", False), (expr("limit == 3"), True)):
        bound = parse(condition, COLUMNS, {"limit": 3})
        assert bound.evaluate({}, 4).tolist() == [wanted] * 4
        may, whole = bound.prune({}, 2)
        assert may.tolist() == whole.tolist() == [wanted] * 2


def test_conjuncts_are_split_and_the_cheapest_comes_first() -> None:
    bound = parse("contains(sym, 'x') & (log(a) > 1) & (0 < b < 5)", COLUMNS)
    assert [part.columns for part in bound.conjuncts] == [("sym",), ("a",), ("b",), ("b",)]
    assert bound.order == (2, 3, 1, 0)
    assert parse("mask | (a > 1)", COLUMNS).conjuncts[0].columns == ("mask", "a")


def test_values_that_are_no_condition_need_to_be_asked_for() -> None:
    with pytest.raises(QueryError, match="must be true or false"):
        parse("a + b", COLUMNS)
    bound = parse("b + 1", COLUMNS, condition=False)
    assert bound.dtype == np.dtype("i4")
    assert bound.value({"b": np.array([1, 2], "i4")}, 2).tolist() == [2, 3]
    with pytest.raises(QueryError, match="condition is wanted"):
        bound.evaluate({"b": np.array([1, 2], "i4")}, 2)
    assert parse("7", COLUMNS, condition=False).value({}, 3).tolist() == [7, 7, 7]


def test_parameters_may_be_scalars_of_numpy_and_python_and_times() -> None:
    blocks = {"a": np.array([1.0, 2.0]), "t": np.array(["2020-01-01", "2020-01-03"], "M8[s]")}
    for limit in (1, 1.5, np.float32(1), np.array(1.5), np.int8(1), True):
        assert parse("a > x", COLUMNS, {"x": limit}).evaluate(blocks, 2).tolist() == [False, True]
    when = dt.datetime(2020, 1, 2)
    zone = dt.timezone(dt.timedelta(hours=2))
    for limit in (when, when.date(), np.datetime64(when), when.replace(tzinfo=zone), "2020-01-02"):
        assert parse("t > x", COLUMNS, {"x": limit}).evaluate(blocks, 2).tolist() == [False, True]
    for text in ("2020-01-02T02:00+02:00", "2020-01-02 00:00Z", "2020-01-01T22:30:00-01:30"):
        assert (
            parse(f"t == '{text}'", COLUMNS)
            .evaluate({"t": np.array(["2020-01-02"], "M8[s]")}, 1)
            .all()
        )


def test_division_by_zero_is_silent_and_as_in_numpy() -> None:
    blocks = {"a": np.array([0.0, 1.0]), "b": np.array([0, 1], "i4")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse("1 / a > 5", COLUMNS).evaluate(blocks, 2).tolist() == [True, False]
        assert parse("5 // b == 0", COLUMNS).evaluate(blocks, 2).tolist() == [True, False]


def test_what_fails_on_the_values_is_a_query_error() -> None:
    blocks = {"b": np.array([1, -1], "i4")}
    with pytest.raises(QueryError, match="cannot be computed"):
        parse("b ** b > 1", COLUMNS).evaluate(blocks, 2)


def test_long_blocks_are_computed_in_pieces_with_the_same_result() -> None:
    n = 20_001
    blocks = {"a": np.linspace(-2, 2, n), "b": np.arange(n, dtype="i4")}
    found = parse("a * a + b % 7 > 3", COLUMNS).evaluate(blocks, n)
    assert np.array_equal(found, blocks["a"] * blocks["a"] + blocks["b"] % 7 > 3)
    many = np.arange(0, n, 3)
    assert np.array_equal(
        parse("b in x", COLUMNS, {"x": many}).evaluate(blocks, n), blocks["b"] % 3 == 0
    )
    assert np.array_equal(
        parse("a in x", COLUMNS, {"x": blocks["a"][::2]}).evaluate(blocks, n), blocks["b"] % 2 == 0
    )


def test_rows_that_do_not_fit_raise() -> None:
    with pytest.raises(ShapeError):
        parse("a > 1", COLUMNS).evaluate({"a": np.zeros(3)}, 4)
    with pytest.raises(ShapeError):
        parse("a * 2 > 1", COLUMNS).evaluate({"a": np.zeros(10_000)}, 9_999)
    page = compute(np.zeros(3)).pack()  # type: ignore[union-attr]
    with pytest.raises(ShapeError):
        parse("a > 1", COLUMNS).prune({"a": Bounds.from_packed([page], COLUMNS["a"])}, 2)


def test_a_boolean_column_is_a_condition_and_its_block_is_not_handed_out() -> None:
    mask = np.array([True, False])
    found = parse(column("mask"), COLUMNS).evaluate({"mask": mask}, 2)
    assert found.tolist() == [True, False]
    assert not np.shares_memory(found, mask)
    for text in ("~mask & mask", "mask & (1 > 2)", "mask & ~mask", "mask & mask & ~mask"):
        assert parse(text, COLUMNS).evaluate({"mask": mask}, 2).tolist() == [False, False]
    assert mask.tolist() == [True, False]


def test_text_that_no_column_can_hold_never_equals() -> None:
    blocks = {"raw": np.array([b"ab", b"\xff"], "S2"), "sym": np.array(["ab", "é"], "U2")}
    columns = {name: values.dtype for name, values in blocks.items()}
    for text, params, wanted in (
        ("raw == x", {"x": "\ud800"}, [False, False]),
        ("raw != x", {"x": "\ud800"}, [True, True]),
        ("sym == x", {"x": b"\xff"}, [False, False]),
        ("raw == 'much too long'", {}, [False, False]),
        ("sym == b'\\xc3\\xa9'", {}, [False, True]),
        ("raw in ['ab', x, 'abc']", {"x": "\ud800"}, [True, False]),
        ("startswith(raw, x)", {"x": "\ud800"}, [False, False]),
        ("startswith(sym, 'abc')", {}, [False, False]),
        ("startswith(sym, '')", {}, [True, True]),
        ("raw == b'ab\\x00'", {}, [True, False]),
    ):
        assert parse(text, columns, params).evaluate(blocks, 2).tolist() == wanted, text
    with pytest.raises(QueryError, match="no order"):
        parse("raw < x", columns, {"x": "\ud800"})


def test_integers_too_large_for_floats_raise_and_others_compare() -> None:
    with pytest.raises(QueryError, match="too large"):
        parse(f"a < {10**400}", COLUMNS)
    small = {"h": np.array([6e4, np.inf], "f2")}
    assert parse("h < 70000", {"h": np.dtype("f2")}).evaluate(small, 2).tolist() == [True, False]
    assert parse("h > 70000", {"h": np.dtype("f2")}).evaluate(small, 2).tolist() == [False, True]
