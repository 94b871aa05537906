"""Text: what is read, what is refused, and where the error points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import KistError, QueryError
from kist.query import expr, parse
from kist.query.parser import MAX_TEXT

COLUMNS = {
    name: np.dtype(dtype)
    for dtype, names in (
        *(("f8", ["a", "f0", "price", "µ"]), ("i4", ["b", "n.x", "with space"]), ("i2", ["f2"])),
        *(("u1", ["flags"]), ("?", ["mask"]), ("U8", ["sym"]), ("S4", ["raw"])),
        *(("M8[D]", ["day"]), ("m8[s]", ["span"]), ("f4", ["n.y.z"]), ("c16", ["z"])),
        *(("(2,3)f4", ["grid"]), ("O", ["obj"])),
    )
    for name in names
} | {"rec": np.dtype([("x", "i4")])}


def error_of(text: str, **params: Any) -> QueryError:
    with pytest.raises(QueryError) as caught:
        parse(text, COLUMNS, params)
    return caught.value


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("(f0 > 1) & (f2 < 100)", "(f0 > 1) & (f2 < 100)"),
        ("0 < a < b", "(0 < a) and (a < b)"),
        ("a>1 and b<2 or not mask", "((a > 1) and (b < 2)) or (not mask)"),
        ("b in (1, 2)", "isin(b, [1, 2])"),
        ("b in {1}", "isin(b, [1])"),
        ("b not in [1, x]", "not isin(b, [1, x])"),
        ("b in x", "isin(b, x)"),
        ("between(a, 1, 2)", "a >= 1 and a <= 2"),
        ("flags & 4 == 4", "(flags & 4) == 4"),
        ("  (a\n > # more than\n 1)  ", "a > 1"),
        ("n.x > 1", "col('n.x') > 1"),
        ("n . y .z > 1", "col('n.y.z') > 1"),
        ("a | b & f2", "a | (b & f2)"),
        ("a - b - f0 ** f2 ** 2", "(a - b) - (f0 ** (f2 ** 2))"),
        ("- 5 < a", "-5 < a"),
        ("0x10 + 1_000 < 1e3 * a", "16 + 1000 < 1000.0 * a"),
        ("sym == 'a' 'b'", "sym == 'ab'"),
    ],
)
def test_spellings_of_the_same_expression(text: str, same: str) -> None:
    assert expr(text).same_as(expr(same))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a > 1 & b < 2", "(a > 1) & (b < 2)"),
        ("a > 1 & b < 2 | mask", "(a > 1) & (b < 2) | mask"),
        ("a > 1 & mask", "(a > 1) & mask"),
        ("mask & a > 1 & b < 2", "mask & (a > 1) & (b < 2)"),
        ("(a+1) > 1 & (b) < 2", "((a+1) > 1) & ((b) < 2)"),
        ("mask & a == 2 | b == 3", "mask & (a == 2) | (b == 3)"),
        ("mask & mask == True", "mask & (mask == True)"),
        ("not (a > 1 | b > 2)", "(a > 1) | (b > 2)"),
        ("0 < a & b < 3", "(0 < a) & (b < 3)"),
    ],
)
def test_bare_and_between_comparisons_is_refused_with_the_form_to_write(
    text: str, shown: str
) -> None:
    error = error_of(text)
    assert shown in str(error)
    parse(shown, COLUMNS)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("(prize > 3) & (b < 2)", "prize", "did you mean 'price'"),
        ("Price > 3", "Price", "did you mean 'price'"),
        ("qqq > 3", "qqq", "there are 'a', 'f0'"),
        ("sqr(a) > 1", "sqr", "did you mean 'sqrt'"),
        ("sqrt > 1", "sqrt", "is a function"),
        ("n > 1", "n", "write n.x or n.y.z"),
        ("n.q > 1", "n.q", "unknown column"),
        ("a.abs > 1", "a.abs", "abs is a function: write abs(a)"),
        ("a.dt.hour == 1", "a.dt.hour", "hour is a function: write hour(a)"),
        ("limit > limit2", "limit2", "unknown column"),
        ("rec > 1", "rec", "write rec.x"),
        ("grid > 1", "grid", "no conditions"),
        ("obj > 1", "obj", "no conditions"),
        ("raw == 5", "raw == 5", "cannot be compared"),
        ("(a > 1) & (sym > 2.5)", "sym > 2.5", "cannot be compared"),
        ("raw == sym", "raw == sym", "cannot be compared"),
        ("day > 5", "day > 5", "write it as '2020-01-31T12:00'"),
        ("day > 'yesterday'", "day > 'yesterday'", "no date or time"),
        ("day > '2020-13-01'", "day > '2020-13-01'", "no date or time"),
        ("span > 5", "span > 5", "timedelta64(5, 's')"),
        ("span > timedelta64(1, 'M')", "span > timedelta64(1, 'M')", "no length"),
        ("z > 1", "z > 1", "no order"),
        ("a > None", "None", "isnan(x)"),
        ("a is b", "a is b", "write =="),
        ("a = 1", "= ", "=="),
        ("a > 1 && b < 2", "& ", "& | ~"),
        ("a > 1 AND b < 2", "AND", "small letters"),
        ("a <> 2", "<", "written !="),
        ("a > @k", "@", "without @"),
        ("a > %(k)s", "%", "by its name"),
        ("a > :k", ":", "by its name"),
        ("sym like 'a%'", "l", "like(x, 'a%')"),
        ("a BETWEEN 1 and 2", "B", "between(x, low, high)"),
        ("`a` > 1", "`", "col('its name')"),
        ("a is null", "a is null", "isnull(x)"),
        ("a IS NULL", "I", "isnull(x)"),
        ("sym.isna()", "sym.isna", "write isnull(x)"),
        ("isna(a)", "isna", "write isnull(x)"),
        ("pow(a, 2) > 1", "pow", "x ** y"),
        ("a if b else a", "a if b else a", "where(condition, x, y)"),
        ("a[0] > 1", "a[0]", "not allowed"),
        ("[a, b]", "[a, b]", "isin"),
        ("(lambda: a)() > 1", "lambda: a", "by their name"),
        ("sym.startswith('x')", "sym.startswith", "startswith(x, ...)"),
        ("a ^ 2 > 1", "a ^ 2", "**"),
        ("a << 2 > 1", "a << 2", "left_shift cannot"),
        ("a @ 2 > 1", "a @ 2", "not allowed"),
        ("f'{a}' == sym", "f'{a}'", "parameter"),
        ("(b := 1) > 1", "b := 1", "=="),
        ("... > a", "...", "not allowed"),
        ("__import__('os').system('x')", "__import__('os').system", "no methods"),
        ("sqrt(a, b) > 1", "sqrt(a, b)", "takes 1 arguments, not 2"),
        ("sqrt(x=a) > 1", "sqrt(x=a)", "plain arguments"),
        ("sqrt(*a) > 1", "sqrt(*a)", "plain arguments"),
        ("sqrt(sym) > 1", "sqrt(sym)", "not text"),
        ("sqrt('x') > a", "sqrt('x')", "takes numbers"),
        ("sym + 'x' == 'ax'", "sym + 'x'", "not text"),
        ("1 / 0 < a", "1 / 0", "division by zero"),
        ("9 ** 9 ** 9 > a", "9 ** 9 ** 9", "1024 bits"),
        ("a & mask", "a", "takes conditions"),
        ("mask and b", "b", "takes conditions"),
        ("not b", "b", "takes conditions"),
        ("~a > 1", "~a", "invert"),
        ("mask + mask > 1", "mask + mask", "where(x, 1, 0)"),
        ("a + b", "a + b", "must be true or false"),
        ("day + day > '2020'", "day + day", "cannot be computed"),
        ("b in a", "a", "not a column"),
        ("b in [a]", "a", "are constants"),
        ("b in [1, 'x']", "b in [1, 'x']", "cannot be compared"),
        ("b in nothing", "nothing", "unknown column"),
        ("b in b + 1", "b + 1", "a list [...]"),
        ("1 < b in [1]", "1 < b in [1]", "cannot be chained"),
        ("b in one", "one", "one-dimensional"),
        ("array([1], 'i4') > a", "array([1], 'i4')", "only in isin"),
        ("b in array([1], 'O')", "array([1], 'O')", "dtype O"),
        ("b in array([a], 'i4')", "array([a], 'i4')", "constants"),
        ("startswith(sym, raw)", "raw", "constant text"),
        ("startswith(a, 'x')", "startswith(a, 'x')", "columns of text"),
        ("col(a) > 1", "col(a)", "text"),
        ("datetime64('never') > day", "datetime64('never')", "datetime64()"),
        ("datetime64(a) > day", "datetime64(a)", "constants only"),
        ("where(a, 1, 2) > 1", "a", "takes a condition"),
        ("where(mask, 1, 'x') == 'x'", "where(mask, 1, 'x')", "one kind"),
        ("b > several", "several", "isin"),
        ("price > price2 + sym2", "price2 + sym2", "takes numbers"),
    ],
)
def test_errors_say_what_and_point_at_the_place(text: str, place: str, message: str) -> None:
    error = error_of(text, limit=1, one=5, several=[1, 2], price2=1, sym2="x")
    assert message in str(error)
    assert error.text == text
    assert error.span is not None
    assert text[slice(*error.span)] == place or place.startswith(text[slice(*error.span)])
    line, carets = str(error).split("\n")[-2:]
    start = len(carets) - len(carets.lstrip())
    assert line[start : len(carets)] == text[slice(*error.span)]


def test_errors_in_long_and_broken_lines_show_the_place() -> None:
    long = " | ".join(f"(b == {i})" for i in range(100)) + " | (prize > 1)"
    error = error_of(long)
    line, carets = str(error).split("\n")[-2:]
    assert len(line) < 120
    assert line[carets.index("^") : len(carets)] == "prize"
    broken = "(\n  (a > 1) &\n\t(ünknown > 2)\n)"
    error = error_of(broken)
    line, carets = str(error).split("\n")[-2:]
    assert line[carets.index("^") : len(carets)] == "ünknown"


def test_an_expression_from_operators_has_errors_with_a_text_too() -> None:
    with pytest.raises(QueryError) as caught:
        parse(expr("prize > 1") & expr("a > 1"), COLUMNS)
    assert caught.value.text == "(prize > 1) & (a > 1)"
    assert caught.value.span == (1, 6)


def test_names_that_are_column_and_parameter_raise_where_they_are_used() -> None:
    error = error_of("(b > 1) & (a > 1)", a=5)
    assert "both a column and a parameter" in str(error)
    assert error.span == (11, 12)
    parse("b > 1", COLUMNS, {"a": 5, "never used": object()})


def test_names_are_taken_as_they_are_written() -> None:
    # The micro sign and the Greek letter are one identifier for Python.
    assert parse("µ > 1", COLUMNS).columns == ("µ",)
    error_of("μ > 1")
    assert parse("col('with space') > n.y.z", COLUMNS).columns == ("with space", "n.y.z")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "a" + ")" * 10_000,
        "-" * 10_000 + "a",
        "not " * 5_000 + "mask",
        "a" + " + a" * 20_000,
        "a" + " ** a" * 10_000,
        "a" + ".b" * 20_000,
        "[" * 100 + "]" * 100,
        "f" + "(f" * 150,
        "a > " + "9" * 5_000,
        "a > 1" + " " * MAX_TEXT,
        "a\0",
        "'\ud800' == sym",
        "",
        "  ",
        "a >",
        "a; b",
        "import os",
        "'\\N{nonsense}' == sym",
    ],
)
def test_monstrous_and_broken_texts_raise_query_errors(text: str) -> None:
    assert error_of(text).text in (text, None)


@given(st.text("ab(1)<>=&|~+-*/ .,[]'\"notinr\n", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        bound = parse(text, COLUMNS, {"r": 1})
    except KistError as error:
        assert isinstance(error, QueryError)
    else:
        assert bound.dtype == bool


def test_only_text_is_read() -> None:
    for wrong in (b"a > 1", 5, None):
        with pytest.raises(QueryError):
            expr(wrong)  # type: ignore[arg-type]


def test_long_conditions_are_read() -> None:
    text = " | ".join(f"(b == {i})" for i in range(500))
    found = parse(text, COLUMNS).evaluate({"b": np.arange(498, 503)}, 5)
    assert found.tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_they_do_for_python(end: str) -> None:
    text = f"((a >{end} 3) &{end}   (b[0] < 2))"
    with pytest.raises(QueryError) as caught:
        expr(text)
    start, stop = caught.value.span
    assert text[start:stop] == "b[0]"
    assert repr(expr(f"(a >{end} 3)")) == "a > 3"
