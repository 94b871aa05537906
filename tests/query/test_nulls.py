"""Nulls: a comparison with one is neither true nor false, and nor is its opposite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.indexes.statistics import Bounds, compute
from kist.query import expr, parse
from kist.query.expression import Call, Expr, IsIn, Literal, Name, Op

STRINGS = np.dtypes.StringDType(na_object=None)
COLUMNS = {
    "i": np.dtype("i4"),
    "f": np.dtype("f8"),
    "b": np.dtype("?"),
    "s": np.dtype("S3"),
    "t": np.dtype("M8[D]"),
    "w": STRINGS,
}


def value(tree: Expr, row: dict[str, Any]) -> Any:
    """Evaluate by SQL's rules, row by row, with None for a null: the model of these tests."""
    if isinstance(tree, Literal):
        return tree.value
    if isinstance(tree, Name):
        return row[tree.name]
    args = [value(arg, row) for arg in tree.args]
    if isinstance(tree, Op) and tree.op in ("and", "&"):
        return False if False in args else None if None in args else True
    if isinstance(tree, Op) and tree.op in ("or", "|"):
        return True if True in args else None if None in args else False
    if isinstance(tree, Call) and tree.func in ("isnull", "notnull"):
        return (args[0] is None) == (tree.func == "isnull")
    if isinstance(tree, Call) and tree.func == "where":
        return args[1] if args[0] is True else args[2]
    if None in args:
        return None
    x = args[0]
    if isinstance(tree, IsIn):
        return x in args[1:]
    if isinstance(tree, Call):
        kinds = {"like": lambda: x.startswith(args[1][:-1]), "year": lambda: 1970 + x // 365}
        return kinds[tree.func]()
    y = args[-1]
    table = {
        "not": lambda: not x,
        "~": lambda: not x,
        "^": lambda: x != y,
        "==": lambda: x == y,
        "!=": lambda: x != y,
        "<": lambda: x < y,
        ">": lambda: x > y,
        ">=": lambda: x >= y,
        "+": lambda: x + y,
    }
    return table[tree.op]()


atoms = st.sampled_from(
    [
        *("i < 2", "i + i >= 2", "i == f", "i in [0, 2]", "i > 1000000000000", "f != 1", "f < f"),
        *("b", "w == 'a'", "w != 'a'", "w in ['a', 'b']", "like(w, 'a%')", "w < 'b'", "w >= w"),
        *("isnull(w)", "isnull(i)", "notnull(f + i)", "where(b, i, 2) < 2", "year(t) == 1970"),
        *("isnull(year(t))", "where(i < 1, b, f < 1)", "(i < 2) == b", "(w == 'a') ^ b"),
        *("isnull(i < 2)", "True", "False"),
    ]
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&", "|", "and", "or"]), inner).map(
            lambda parts: f"(({parts[0]}) {parts[1]} ({parts[2]}))"
        ),
        inner.map(lambda text: f"~({text})"),
        inner.map(lambda text: f"(not ({text}))"),
    ),
    max_leaves=5,
)
rows = st.fixed_dictionaries(
    {
        "i": st.sampled_from([0, 1, 2, 3, None]),
        "f": st.sampled_from([0.0, 1.0, 2.0, None]),
        "b": st.sampled_from([False, True, None]),
        "s": st.sampled_from([b"a", b"b", None]),
        "t": st.sampled_from([0, 400, None]),
        "w": st.sampled_from(["a", "ab", "b", None]),
    }
)


def build(table: list[dict[str, Any]]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return columns and masks; under a mask stands what would change the result."""
    columns, valid = {}, {}
    for name, dtype in COLUMNS.items():
        values = [row[name] for row in table]
        if name == "w":
            columns[name] = np.array(values, dtype)
        elif name == "t":
            ticks = [np.iinfo("i8").min if v is None else v for v in values]
            columns[name] = np.array(ticks, "i8").view(dtype)
        else:
            garbage = {"i": 2**31 - 1, "f": 1.0, "b": True, "s": b"a"}[name]
            columns[name] = np.array([garbage if v is None else v for v in values], dtype)
            valid[name] = np.array([v is not None for v in values], bool)
    return columns, valid


@given(st.lists(rows, max_size=8), conditions)
def test_conditions_hold_where_sql_says_they_are_true(
    table: list[dict[str, Any]], text: str
) -> None:
    columns, valid = build(table)
    tree = expr(text)
    for shown in (text, f"~({text})"):
        wanted = [value(expr(shown), row) is True for row in table]
        found = parse(shown, COLUMNS).evaluate(columns, len(table), valid)
        assert found.tolist() == wanted, shown
    assert tree.same_as(expr(text))


@given(st.lists(st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=3), conditions)
def test_pages_with_nulls_are_judged_right(pages: list[Any], text: str) -> None:
    names = ("w", "t")
    built = [build(page) for page in pages]
    bounds = {
        name: Bounds.from_packed(
            [compute(columns[name]).pack() for columns, _ in built],  # type: ignore[union-attr]
            COLUMNS[name],
        )
        for name in names
    }
    bound = parse(text, COLUMNS)
    may, whole = bound.prune(bounds, len(pages))
    for (columns, valid), may_match, all_match in zip(built, may, whole, strict=True):
        found = bound.evaluate(columns, len(columns["w"]), valid)
        assert may_match or not found.any()
        assert not all_match or found.all()


@pytest.mark.parametrize(
    ("text", "may", "whole"),
    [
        ("isnull(w)", [0, 1, 1], [0, 0, 1]),
        ("notnull(w)", [1, 1, 0], [1, 0, 0]),
        ("w >= 'a'", [1, 1, 0], [1, 0, 0]),
        ("~(w >= 'a')", [0, 0, 0], [0, 0, 0]),
        ("w != 'zz'", [1, 1, 0], [1, 0, 0]),
        ("like(w, 'b%c')", [0, 1, 0], [0, 0, 0]),
        ("year(t) == 1971", [0, 1, 0], [0, 0, 0]),
        ("month(t) > 12", [0, 0, 0], [0, 0, 0]),
        ("year(t) < 2000", [1, 1, 0], [1, 1, 0]),
    ],
)
def test_pages_are_left_out_by_their_nulls_too(text: str, may: list[int], whole: list[int]) -> None:
    pages = {
        "w": [np.array(x, STRINGS) for x in (["a", "ab"], ["bc", None], [None, None])],
        "t": [np.array(x, "i8").view("M8[D]") for x in ([0, 9], [300, 400], [-(2**63)] * 2)],
    }
    bounds = {
        name: Bounds.from_packed([compute(page).pack() for page in some], COLUMNS[name])  # type: ignore[union-attr]
        for name, some in pages.items()
    }
    found = parse(text, COLUMNS).prune(bounds, 3)
    assert [part.astype(int).tolist() for part in found] == [may, whole]


def test_values_that_are_null_come_masked() -> None:
    columns, valid = build([dict.fromkeys(COLUMNS), {**dict.fromkeys(COLUMNS), "i": 3, "f": 0.5}])
    found = parse("i + f", COLUMNS, condition=False).value(columns, 2, valid)
    assert found.tolist() == [None, 3.5]
    # What stands under the mask may overflow.
    found = parse("i * 2", COLUMNS, condition=False).value(columns, 2, valid)
    assert isinstance(found, np.ma.MaskedArray) and found.tolist() == [None, 6]
    found = parse("where(isnull(i), -1, i)", COLUMNS, condition=False).value(columns, 2, valid)
    assert not isinstance(found, np.ma.MaskedArray) and found.tolist() == [-1, 3]
    assert parse("w", COLUMNS, condition=False).value(columns, 2).tolist() == [None, None]


def test_text_that_stands_for_missing_is_text() -> None:
    dtype: Any = np.dtypes.StringDType(na_object="n/a")
    values = np.array(["a", "n/a"], dtype)
    for text, wanted in (
        ("w == 'n/a'", [False, True]),
        ("~(w == 'a')", [False, True]),
        ("isnull(w)", [False, False]),
        ("contains(w, '/')", [False, True]),
        ("like(w, '_/_')", [False, True]),
    ):
        assert parse(text, {"w": dtype}).evaluate({"w": values}, 2).tolist() == wanted, text
