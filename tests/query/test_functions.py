"""Parts of datetimes, patterns, what numexpr and PyTables write, functions of blocks."""

from __future__ import annotations

import pickle
import re
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist.errors import QueryError
from kist.query import column, expr, parse
from kist.query.functions import NUMERIC, PARTS

PARTS_OF_PANDAS = {part: part for part in PARTS} | {
    "dayofyear": "day_of_year",
    "weekday": "day_of_week",
}


@settings(max_examples=30)
@given(
    st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=20),
    st.sampled_from(["D", "h", "m", "s", "ms", "us", "ns", ">s", "25m", "W"]),
)
def test_parts_of_datetimes_are_those_of_pandas(ticks: list[int], unit: str) -> None:
    pandas = pytest.importorskip("pandas")
    order = ">" if unit[0] == ">" else "<"
    unit = unit.lstrip(">")
    far = {
        "D": 10**5,
        "W": 10**4,
        "h": 10**6,
        "m": 10**8,
        "s": 10**10,
        "ms": 10**13,
        "25m": 10**6,
    }.get(unit, 2**62)
    times = np.array([t % (2 * far) - far for t in ticks]).view(f"M8[{unit}]")
    stored = times.astype(f"{order}M8[{unit}]")
    finest = "ns" if unit == "ns" else "us" if unit in ("us", "ms") else "s"
    series = pandas.Series(times.astype(f"M8[{finest}]"))
    for part in PARTS:
        found = parse(f"{part}(t)", {"t": stored.dtype}, condition=False).value(
            {"t": stored}, len(times)
        )
        assert found.tolist() == getattr(series.dt, PARTS_OF_PANDAS[part]).tolist(), part


def test_every_day_of_eight_centuries_is_where_numpy_has_it() -> None:
    days = np.arange(-150_000, 150_000).view("M8[D]")
    months, years = days.astype("M8[M]"), days.astype("M8[Y]")
    wanted = {
        "year": years.view("i8") + 1970,
        "month": months.view("i8") % 12 + 1,
        "quarter": months.view("i8") % 12 // 3 + 1,
        "day": (days - months.astype("M8[D]")).view("i8") + 1,
        "dayofyear": (days - years.astype("M8[D]")).view("i8") + 1,
        "weekday": (days.view("i8") + 3) % 7,
    }
    for part, values in wanted.items():
        found = parse(f"{part}(t)", {"t": days.dtype}, condition=False).value(
            {"t": days}, len(days)
        )
        assert np.array_equal(found, values), part


@pytest.mark.parametrize("unit", ["Y", "M", "ps", "fs", "as"])
def test_parts_of_datetimes_in_units_that_pandas_lacks(unit: str) -> None:
    times = np.array([0, 25, -1], f"M8[{unit}]")
    found = {
        part: parse(f"{part}(t)", {"t": times.dtype}, condition=False)
        .value({"t": times}, 3)
        .tolist()
        for part in PARTS
    }
    before = {"Y": (1995, 1969), "M": (1972, 1969)}.get(unit, (1970, 1969))
    assert found["year"] == [1970, *before]
    assert found["month"] == [1, 2 if unit == "M" else 1, 1 if unit == "Y" else 12]
    if unit in ("ps", "fs", "as"):
        assert found["nanosecond"] == [0, 0, 999] and found["hour"] == [0, 0, 23]


alphabet = "ab%_é\\"
patterns = st.text(alphabet, max_size=8).filter(
    lambda text: len(re.match(r".*?(\\*)$", text, re.DOTALL).group(1)) % 2 == 0  # type: ignore[union-attr]
)


def regex_of(pattern: str) -> str:
    return re.sub(
        r"\\(.)|(%)|(_)|(.)",
        lambda m: ".*" if m[2] else "." if m[3] else re.escape(m[1] or m[4]),
        pattern,
        flags=re.DOTALL,
    )


@given(patterns, st.lists(st.text("ab%é_\\", max_size=9), max_size=12))
def test_like_is_the_pattern_of_sql(pattern: str, texts: list[str]) -> None:
    wanted = [re.fullmatch(regex_of(pattern), text, re.DOTALL) is not None for text in texts]
    n = len(texts)
    for dtype in ("U9", ">U9", np.dtypes.StringDType()):
        values = np.array(texts, dtype)
        found = parse("like(x, p)", {"x": values.dtype}, {"p": pattern}).evaluate({"x": values}, n)
        assert found.tolist() == wanted
    raw = [text.encode() for text in texts]
    found = parse("like(x, p)", {"x": np.dtype("S18")}, {"p": pattern}).evaluate(
        {"x": np.array(raw, "S18")}, n
    )
    by_bytes = re.compile(regex_of(pattern.encode().decode("latin-1")), re.DOTALL)
    assert found.tolist() == [bool(by_bytes.fullmatch(b.decode("latin-1"))) for b in raw]


def test_like_of_long_and_missing_strings() -> None:
    dtype: Any = np.dtypes.StringDType(na_object=None)
    values = np.array(["x" * 500 + "ab", None, "", "ab"] * 600, dtype)
    for pattern, wanted in (("%_b", [True, False, False, True]), ("%x%b", [True] + [False] * 3)):
        found = parse(f"like(x, '{pattern}')", {"x": dtype}).evaluate({"x": values}, len(values))
        assert found.tolist() == wanted * 600
    with pytest.raises(QueryError, match="single backslash") as caught:
        parse("(x == 'a') | like(x, 'a\\\\')", {"x": np.dtype("U3")})
    assert caught.value.span == (21, 26)
    with pytest.raises(QueryError, match="at most"):
        parse("like(x, p)", {"x": np.dtype("U3")}, {"p": "_" * 70})


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("like(s, 'abc')", "s == 'abc'"),
        ("like(s, 'a%')", "startswith(s, 'a')"),
        ("like(s, '%a')", "endswith(s, 'a')"),
        ("like(s, '%%a%')", "contains(s, 'a')"),
        ("like(s, 'abcdef%')", "1 > 2"),
        ("like(s, 'abcdef')", "1 > 2"),
        ("like(s, '')", "s == ''"),
        ("like(s, '%')", "1 < 2"),
        (r"like(s, 'a\\%')", "s == 'a%'"),
    ],
)
def test_simple_patterns_are_simple_tests(text: str, same: str) -> None:
    for dtype in ("S3", "U3", np.dtypes.StringDType()):
        values = np.array(["abc", "a", "", "ba", "xax", "a%"], dtype).astype(dtype)
        blocks = {"s": values}
        columns = {"s": values.dtype}
        found = parse(text, columns).evaluate(blocks, 6)
        assert found.tolist() == parse(same, columns).evaluate(blocks, 6).tolist()


# numexpr and PyTables.

SPELLINGS = [
    "sqrt(x)", "where(x > 1, x, y)", "~(x > 1)", "(x > 1) & (y <= 2.5) | (k == 3)", "-x**2 + 3*y",
    "x / y", "k % 7", "k & 3", "k | 4", "k ^ 5", "k << 2", "k >> 1", "~k", "abs(x)",
    "exp(x) - expm1(y)",
    "log(abs(x)) + log10(abs(y)) + log1p(abs(x))", "sin(x) * cos(y) / tan(x)", "arcsin(x / 9)",
    "arccos(x / 9) + arctan(y)", "arctan2(x, y)", "sinh(x) + cosh(y) + tanh(x)",
    "arcsinh(x) + arccosh(abs(x) + 1) + arctanh(x / 9)", "floor(x) + ceil(y) + trunc(x)",
    "fmod(x, 2.0)", "isnan(x)", "isinf(x)", "isfinite(x)", "hypot(x, y)",
    "maximum(x, y) - minimum(x, y)",
    "copysign(x, y)", "sign(x)", "(x > 0) ^ (y > 0)", "(x > 1) == (y > 1)", "real(z) * imag(z)",
    "conj(z)",
    "abs(z)", "log2(abs(x) + 1)", "round(x)", "signbit(y)", "nextafter(x, y)", "True & (x > 0)",
]  # fmt: skip


@pytest.mark.parametrize("text", SPELLINGS)
def test_what_is_written_for_numexpr_runs_unchanged(text: str) -> None:
    numexpr = pytest.importorskip("numexpr")
    draw = np.random.default_rng(3)
    values = {
        "x": draw.normal(size=50),
        "y": draw.normal(size=50),
        "k": draw.integers(0, 20, 50).astype("i4"),
        "z": draw.normal(size=50) + 1j * draw.normal(size=50),
    }
    bound = parse(text, {name: v.dtype for name, v in values.items()}, condition=False)
    found = bound.value(values, 50)
    try:
        wanted = numexpr.evaluate(text, values)
    except (NotImplementedError, TypeError, ValueError):
        pytest.skip("this numexpr has it not")
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_conditions_of_pytables_run_unchanged() -> None:
    columns = {"name": np.dtype("S16"), "TDCcount": np.dtype("u1"), "energy": np.dtype("f8")}
    blocks = {
        "name": np.array([b"Particle:      5", b"x"], "S16"),
        "TDCcount": np.array([3, 200], "u1"),
        "energy": np.array([1.0, 9.0]),
    }
    for text, params, wanted in (
        ('(name == b"Particle:      5") & (TDCcount > 2)', {}, [True, False]),
        ("(TDCcount - 5) > -3", {}, [True, True]),
        ("(lo < energy) & (energy <= hi)", {"lo": 0, "hi": 3}, [True, False]),
        ("e < limit", {"e": column("energy"), "limit": column("TDCcount") * 2}, [True, True]),
        ("""contains(name, b'Part')""", {}, [True, False]),
    ):
        assert parse(text, columns, params).evaluate(blocks, 2).tolist() == wanted


def test_expressions_as_parameters_are_bound_once_and_point_at_their_place() -> None:
    with pytest.raises(QueryError, match="unknown column 'q'") as caught:
        parse("a + e > 1", {"a": np.dtype("f8")}, {"e": column("q")})
    assert caught.value.span == (4, 5)
    with pytest.raises(QueryError, match="inside a parameter"):
        parse("e > 1", {"a": np.dtype("f8")}, {"e": column("e") + 1})


def test_all_functions_of_numbers_can_be_built_by_numpy() -> None:
    for name, func in NUMERIC.items():
        if isinstance(func, np.ufunc):
            args = [column("a"), column("b")][: func.nin]
            shown = f"{name}({', '.join('ab'[: func.nin])})"
            assert repr(func(*args)) == shown and expr(shown).same_as(func(*args))


def test_operators_and_methods_of_columns_build_the_same_as_the_text() -> None:
    a, t = column("a"), column("t")
    for built, text in (
        (a.isnull() | a.notnull(), "isnull(a) | notnull(a)"),
        (t.like("x%"), "like(t, 'x%')"),
        ((a ^ 3) << 2 >> 1, "(a ^ 3) << 2 >> 1"),
        (1 << (a ^ t), "1 << (a ^ t)"),
        (a ^ (t & 2) | 4, "a ^ t & 2 | 4"),
        (expr("int64(a)") * 2, "int64(a) * 2"),
        (expr("sum(a, axis=(0, 1))"), "sum(a, axis=(0, 1))"),
        (expr("std(a, 1, ddof=1)"), "std(a, axis=1, ddof=1)"),
    ):
        assert built.same_as(expr(text)), text
        assert expr(repr(built)).same_as(built)
        assert pickle.loads(pickle.dumps(built)).same_as(built)


# Functions of blocks.

BLOCK = {"a": np.arange(10.0), "b": np.arange(10, 20), "n.x": np.zeros(10), "m": np.zeros(60)}
TYPES = {"a": "f8", "b": "i8", "n": [("x", "f8")], "n.x": "f8", "m": ("f8", (2, 3))}
DTYPES = {name: np.dtype(dtype) for name, dtype in TYPES.items()}


def test_a_function_is_given_the_columns_that_it_asks_for() -> None:
    seen = []

    def near(block: Any) -> Any:
        seen.append((sorted(block), block.n_rows))
        return np.abs(block["a"] - 3) < block["b"] * 0.1

    bound = parse(near, DTYPES)
    assert bound.columns == ("a", "b") and seen == [(["a", "b", "m", "n.x"], 1)]
    found = bound.evaluate(BLOCK, 10)
    assert found.tolist() == [bool(abs(x - 3) < (10 + x) * 0.1) for x in range(10)]
    assert seen[1:] == [(["a", "b"], 10)]
    may, whole = bound.prune({}, 2)
    assert may.all() and not whole.any()


def test_functions_combine_with_expressions_and_see_the_shape_of_items() -> None:
    both = (column("a") > 2) & expr(lambda block: block["m"].sum(axis=(1, 2)) == 0)
    bound = parse(both, DTYPES)
    assert bound.columns == ("a", "m") and bound.evaluate(BLOCK, 10).sum() == 7
    values = parse(lambda block: block["b"] * 2, DTYPES, condition=False).value(BLOCK, 10)
    assert values.tolist() == (BLOCK["b"] * 2).tolist()


def test_a_function_gets_masked_columns_and_may_leave_values_open() -> None:
    valid = {"a": np.arange(10) % 2 == 0}
    bound = parse(lambda block: block["a"] < 5, DTYPES)
    assert bound.evaluate(BLOCK, 10, valid).tolist() == [x in (0, 2, 4) for x in range(10)]
    inverse = parse(~expr(lambda block: block["a"] < 5), DTYPES)
    assert inverse.evaluate(BLOCK, 10, valid).tolist() == [x in (6, 8) for x in range(10)]


def test_functions_run_one_at_a_time() -> None:
    inside, most = [0], [0]

    def slow(block: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        sum(range(2000))
        inside[0] -= 1
        return block["a"] > 1

    bound = parse(slow, DTYPES)
    threads = [threading.Thread(target=bound.evaluate, args=(BLOCK, 10)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def _deep(block: Any) -> Any:
    return block["b"] > 1 if block.n_rows > 1 else block["a"] > 1


@pytest.mark.parametrize(
    ("func", "message"),
    [
        (lambda block: block["aa"] > 1, "unknown column 'aa'; did you mean 'a'"),
        (lambda block: block["n"]["x"] > 1, r"take block\['n.x'\]"),
        (lambda block: block["a"].nonsense, "raised AttributeError"),
        (lambda block: block["a"].sum() > 1, r"returned shape \(\) for 1 rows"),
        (lambda block: None, "returned shape"),
        (lambda block: block["a"] * 2, "must be true or false"),
        (lambda block: np.array([None]), "returned object"),
        (lambda: 5, "raised TypeError"),
        (lambda a: a > 1, r"is called with the columns of a block, as in lambda rows"),
    ],
)
def test_mistakes_of_functions_are_named_before_anything_is_read(func: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse(func, DTYPES)


def test_mistakes_that_only_the_data_show_are_named_too() -> None:
    with pytest.raises(QueryError, match="was not asked for"):
        parse(_deep, DTYPES).evaluate(BLOCK, 10)
    assert parse(expr(_deep, columns=["a", "b"]), DTYPES).evaluate(BLOCK, 10).all()
    with pytest.raises(QueryError, match="unknown column 'q'"):
        parse(expr(_deep, columns=["q"]), DTYPES)
    with pytest.raises(QueryError, match="returned shape"):
        parse(lambda block: (block["a"] > 1)[:5], DTYPES).evaluate(BLOCK, 10)
    with pytest.raises(QueryError, match="read-only"):
        parse(lambda block: block["a"].sort() or block["a"] > 1, DTYPES).evaluate(BLOCK, 10)
    with pytest.raises(QueryError, match="for functions only"):
        expr("a > 1", columns=["a"])
    tree = expr(_deep)
    assert pickle.loads(pickle.dumps(tree)).same_as(tree) and "_deep" in repr(tree)
