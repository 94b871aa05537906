"""Expressions built by operators, and their text."""

from __future__ import annotations

import copy
import datetime as dt
import operator
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import QueryError
from kist.query import Expr, Operators, as_expr, between, column, expr, isin, where

names = st.sampled_from(
    [
        "a",
        "b.c",
        "with space",
        "µ",
        "ﬁeld",
        "and",
        "True",
        "x'y",
        "1st",
        "a..b",
        "über",
        "\n",
        "abs",
    ]
)
plain = st.one_of(
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
)
numpy_values = st.one_of(
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.floats().map(np.float64),
    st.floats().map(lambda x: np.longdouble(x) / 3),
    st.integers(-128, 127).map(np.int8),
    st.integers(0, 2**64 - 1).map(np.uint64),
    st.complex_numbers(width=64).map(np.complex64),
    st.tuples(
        st.integers(-(2**63), 2**63 - 1), st.sampled_from(["Y", "M", "D", "h", "25s", "ns", "as"])
    ).map(lambda pair: np.array(pair[0]).view(f"M8[{pair[1]}]")[()]),
    st.tuples(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["Y", "W", "7m", "us"])).map(
        lambda pair: np.array(pair[0]).view(f"m8[{pair[1]}]")[()]
    ),
    st.builds(np.datetime64, st.just("NaT")),
    st.builds(np.timedelta64, st.one_of(st.just("NaT"), st.integers(-5, 5))),
)
constants = st.one_of(plain, numpy_values)
arrays = st.one_of(
    st.lists(constants, max_size=3),
    st.lists(st.integers(-5, 5), max_size=4).map(lambda x: np.array(x, dtype=">i2")),
    st.lists(st.floats(width=32), max_size=4).map(lambda x: np.array(x, dtype="f4")),
    st.lists(st.text("ab", max_size=3), max_size=4).map(lambda x: np.array(x, dtype="U3")),
    st.lists(st.integers(0, 9), max_size=3).map(lambda x: np.array(x).astype("M8[ms]")),
    st.lists(st.text(max_size=3), max_size=3).map(
        lambda x: np.array(x, dtype=np.dtypes.StringDType())
    ),
)

BINARY: list[Any] = [
    *(lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b),
    *(lambda a, b: a // b, lambda a, b: a % b, lambda a, b: a**b, lambda a, b: a & b),
    *(lambda a, b: a | b, lambda a, b: a < b, lambda a, b: a <= b, lambda a, b: a > b),
    *(lambda a, b: a >= b, lambda a, b: a == b, lambda a, b: a != b),
    *(np.logical_and, np.logical_or, np.arctan2),
]
UNARY: list[Any] = [
    *(lambda a: -a, lambda a: +a, lambda a: ~a, abs, np.sqrt, np.isnan, np.logical_not),
    *(lambda a: a.startswith("x"), lambda a: a.contains(b"y"), lambda a: a.endswith("")),
    lambda a: a.between(-1, 2.5),
]


def _grow(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    either = st.one_of(inner, constants)
    return st.one_of(
        st.builds(lambda f, a, b: f(a, b), st.sampled_from(BINARY), inner, either),
        # Not text on the left: Python formats it when it meets %.
        st.builds(lambda f, a, b: f(b, a), st.sampled_from(BINARY), inner, numpy_values),
        st.builds(lambda f, a, b: f(b, a), st.sampled_from(BINARY), inner, st.integers()),
        st.builds(lambda f, a: f(a), st.sampled_from(UNARY), inner),
        st.builds(where, inner, either, either),
        st.builds(isin, inner, arrays),
    )


expressions = st.recursive(
    st.one_of(names.map(column), constants.map(as_expr)), _grow, max_leaves=8
)


@given(expressions)
def test_the_text_of_an_expression_reads_back_as_the_same_expression(tree: Expr) -> None:
    text = repr(tree)
    again = expr(text)
    assert again.same_as(tree)
    assert repr(again) == text


@given(expressions)
def test_expressions_survive_pickling_and_copying(tree: Expr) -> None:
    assert pickle.loads(pickle.dumps(tree)).same_as(tree)
    assert copy.deepcopy(tree).same_as(tree)


@pytest.mark.parametrize(
    ("built", "text"),
    [
        ((column("a") > 1) & (column("b") < 2), "(a > 1) & (b < 2)"),
        (~(column("a") == "x"), "~(a == 'x')"),
        (3 - column("a") - 1, "3 - a - 1"),
        (3 - (column("a") - 1), "3 - (a - 1)"),
        (-(column("a") ** 2), "-a ** 2"),
        ((-column("a")) ** 2, "(-a) ** 2"),
        (column("a") + -5, "a + -5"),
        ((column("a") & 4) == 4, "(a & 4) == 4"),
        (operator.lt(5, column("a")), "a > 5"),
        (np.float32(0.1) < column("a"), "float32(0.1) < a"),
        (column("n.x").between(1, 2), "n.x >= 1 and n.x <= 2"),
        (column("my column") == 1, "col('my column') == 1"),
        (np.sqrt(column("a")), "sqrt(a)"),
        (column("a").isin([1, "x"]), "isin(a, [1, 'x'])"),
        (column("a").isin(np.array([1, 2], "i2")), "isin(a, array([1, 2], '<i2'))"),
        (column("t") > dt.date(2020, 1, 31), "t > datetime64('2020-01-31', 'D')"),
        (column("a") > float("inf"), "a > float('inf')"),
        (where(column("a") > 0, 1, column("b")), "where(a > 0, 1, b)"),
    ],
)
def test_operators_build_what_the_text_says(built: Expr, text: str) -> None:
    assert repr(built) == text
    assert expr(text).same_as(built)


def test_an_expression_is_neither_true_nor_false_and_says_what_to_write() -> None:
    a, b = column("a"), column("b")
    for use in (
        lambda: bool(a > 1),
        lambda: (a > 1) and (b < 2),
        lambda: not (a > 1),
        lambda: 1 < a < 5,
        lambda: a in [1, 2],
    ):
        with pytest.raises(QueryError, match=r"& \| ~"):
            use()
    with pytest.raises(QueryError):
        1 in a  # noqa: B015
    with pytest.raises(TypeError):
        list(a)


def test_expressions_cannot_be_changed() -> None:
    tree = column("a") > 1
    for change in (lambda: setattr(tree, "op", "<"), lambda: delattr(tree, "args")):
        with pytest.raises(AttributeError, match="immutable"):
            change()
    assert len({tree, tree}) == 1


@pytest.mark.parametrize(
    "value", [None, [1, 2], np.array([1, 2]), Decimal(1), object(), {1}, np.zeros((), "i4,i4")]
)
def test_what_no_column_holds_is_no_constant(value: Any) -> None:
    with pytest.raises(QueryError):
        column("a") == value  # noqa: B015
    with pytest.raises(QueryError):
        column("a") + value


def test_only_functions_of_expressions_take_expressions() -> None:
    for use in (
        lambda: np.cbrt(column("a")),
        lambda: np.add.reduce(column("a")),
        lambda: np.array([1, 2]) > column("a"),
        lambda: np.sqrt(column("a"), dtype="f4"),
        lambda: column(3),  # type: ignore[arg-type]
        lambda: column("a").isin("abc"),
        lambda: column("a").isin(5),
        lambda: isin(column("a"), np.zeros((2, 2))),
    ):
        with pytest.raises(QueryError):
            use()


def test_scalars_of_every_origin_are_the_same_constant() -> None:
    class Size(int):
        pass

    a = column("a")
    for value in (5, Size(5), np.array(5).item()):
        assert (a > value).same_as(a > 5)
    assert (a > np.array(5, "i4")).same_as(a > np.int32(5))
    assert not (a > np.int32(5)).same_as(a > 5)
    assert not (a > 0.0).same_as(a > -0.0)
    assert (a == np.str_("x")).same_as(a == "x")
    assert (a == np.True_).same_as(a == True)  # noqa: E712
    zone = dt.timezone(dt.timedelta(hours=2))
    at = dt.datetime(2020, 1, 1, 2, tzinfo=zone)
    assert (a > at).same_as(a > np.datetime64("2020-01-01", "us"))


def test_handles_stand_for_their_expression() -> None:
    class Handle(Operators):
        def __kist_expr__(self) -> Expr:
            return column("price", source="trades")

    handle = Handle()
    tree = (handle > 1) & (handle > 3) | ~between(handle, 1, 2) | handle.isin([7])
    assert tree.same_as(
        expr("(price > 1) & (price > 3) | ~(price >= 1 and price <= 2) | isin(price, [7])")
    )
    assert {getattr(node, "source", None) for node in tree.walk()} == {"trades", None}
    assert hash(handle) == object.__hash__(handle)
    with pytest.raises(TypeError, match="Operators"):
        _ = Operators() > 1


def test_long_chains_are_flat_and_deep_nesting_raises() -> None:
    tree = column("a") == 0
    for i in range(1, 1000):
        tree = tree | (column("a") == i)
    assert tree.depth == 3
    assert expr(repr(tree)).same_as(tree)
    with pytest.raises(QueryError, match="nested"):
        for _ in range(200):
            tree = -tree
