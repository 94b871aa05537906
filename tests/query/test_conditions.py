"""Conditions on random tables: what they select, and which pages their bounds leave out."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist.errors import QueryError
from kist.indexes.statistics import Bounds, compute
from kist.query import parse

SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
STRINGS = np.dtypes.StringDType(na_object=None)
COLUMNS: dict[str, np.dtype[Any]] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "flag": "?",
        "i1": "i1",
        "u1": "u1",
        "i4b": ">i4",
        "i8": "i8",
        "u8": "u8",
        "f2": "f2",
        "f4": "f4",
        "f8b": ">f8",
        "z": "c16",
        "s5": "S5",
        "s19": "S19",
        "u3": "U3",
        "u9b": ">U9",
        "v4": "V4",
        "day": "M8[D]",
        "sec": ">M8[s]",
        "month": "M8[M]",
        "span": "m8[ms]",
        "long": "g",
    }.items()
} | {"w": STRINGS}
INTEGERS = ["i1", "u1", "i4b", "i8", "u8"]
FLOATS = ["f2", "f4", "f8b", "long"]
TIMES = ["day", "sec", "month"]
TEXTS = ["s5", "s19", "u3", "u9b", "v4", "w"]

LENGTHS = {"D": 86400, "s": 1, "ms": 1}


def pool_of(name: str) -> list[Any]:
    """Return values of a column that are worth a try."""
    dtype = COLUMNS[name]
    if dtype.kind == "b":
        return [False, True]
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        some = [*range(-3, 8), 20, 127, 128, 255, 300, 2**24 + 1, 2**53 + 1, 2**63 - 1, 2**63]
        return [int(info.min), int(info.max), *(x for x in some if info.min <= x <= info.max)]
    if dtype.kind == "f":
        return [0.0, -0.0, 0.1, 1.0, -1.0, 2.0, 3.0, -2.5, 250.0, 6e4, np.nan, np.inf, -np.inf]
    if dtype.kind == "c":
        return [0, 1, 1j, -2.5, complex("nan"), complex("inf")]
    if dtype.kind in "mM":
        return [np.iinfo("i8").min, *range(-3, 4), 12, 240, 5 * 86400, 40_000, 2**31]
    plain = ["", "a", "b", "ab", "aa", "ba", "é", "aé", "\xff", "a\xffb", "abab", "a\0b"]
    long = ["a" * 15, "a" * 16, "a" * 17, "a" * 18 + "b", "b" * 16 + "a", "abé" * 5, "\xff" * 9]
    if dtype.kind in "SV":
        raw = [b"\xff" * dtype.itemsize, b"\xff" * 15 + b"a"]
        return [text.encode()[: dtype.itemsize] for text in plain + long] + raw
    if dtype.kind == "T":
        return [None, *(text for text in plain + long if "\0" not in text), "\U0001f600"]
    # NumPy makes no StringDType of lone surrogates, and does not look behind a NUL there.
    odd = ["\ud800", "a\0b"] if name == "u3" else ["é\U0001f600"]
    texts = [*(text for text in plain + long if "\0" not in text), *odd]
    return [text[: dtype.itemsize // 4] for text in texts]


POOLS = {name: pool_of(name) for name in COLUMNS}


def make(name: str, values: list[Any]) -> np.ndarray:
    dtype = COLUMNS[name]
    if dtype.kind in "mM":
        ticks = np.array(values, dtype="i8").view(dtype.newbyteorder("="))
        return ticks.astype(dtype)
    if dtype.kind == "V":
        return np.array(values, dtype="S4").view("V4")
    with np.errstate(over="ignore"):
        return np.array(values, dtype=dtype)


def build(n: int, seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    table = {}
    for name, pool in POOLS.items():
        # Few different values, so that pages are constant, or nearly so, now and then.
        some = draw.integers(len(pool), size=draw.integers(1, 6))
        table[name] = make(name, [pool[i] for i in draw.choice(some, n)])
    return table


def tables(most: int = 20) -> st.SearchStrategy[dict[str, np.ndarray]]:
    return st.builds(build, st.integers(0, most), st.integers(0, 2**32))


def select(text: str, table: dict[str, np.ndarray], **params: Any) -> np.ndarray:
    bound = parse(text, COLUMNS, params)
    n = len(table["i8"])
    found = bound.evaluate({name: table[name] for name in bound.columns}, n)
    assert found.dtype == bool and found.shape == (n,)
    return found


signs = st.sampled_from(list(SIGNS))


@given(
    tables(), st.sampled_from(["flag", *INTEGERS]), signs, st.integers(-(2**70), 2**70), st.data()
)
def test_integers_compare_by_value(table: Any, name: str, sign: str, far: int, data: Any) -> None:
    constant = data.draw(
        st.one_of(st.just(far), st.integers(-300, 300), st.sampled_from(POOLS[name]))
    )
    wanted = [SIGNS[sign](int(x), constant) for x in table[name]]
    assert select(f"{name} {sign} {constant}", table).tolist() == wanted
    flipped = [SIGNS[sign](constant, int(x)) for x in table[name]]
    assert select(f"{constant} {sign} {name}", table).tolist() == flipped
    assert select(f"{name} {sign} limit", table, limit=constant).tolist() == wanted


@given(tables(), st.sampled_from(FLOATS), signs, st.data())
def test_floats_compare_as_in_numpy(table: Any, name: str, sign: str, data: Any) -> None:
    constant = data.draw(st.sampled_from(POOLS[name]))
    column = table[name]
    wanted = SIGNS[sign](column, constant)
    assert np.array_equal(select(f"{name} {sign} x", table, x=constant), wanted)
    strong = np.float64(constant)
    assert np.array_equal(select(f"{name} {sign} x", table, x=strong), SIGNS[sign](column, strong))
    whole = data.draw(st.integers(-(2**60), 2**60))
    if name != "f2":
        wanted = SIGNS[sign](column, whole)
        assert np.array_equal(select(f"{name} {sign} {whole}", table), wanted)


@given(tables(), st.sampled_from(INTEGERS), signs, st.floats(-300, 300))
def test_integers_against_floats_compare_as_in_numpy(
    table: Any, name: str, sign: str, constant: float
) -> None:
    for value in (constant, float(round(constant)), np.float32(constant)):
        wanted = SIGNS[sign](table[name], value)
        assert np.array_equal(select(f"{name} {sign} x", table, x=value), wanted)


@given(tables(), st.sampled_from(TEXTS), signs, st.text("abé\xff", max_size=20), st.data())
def test_text_compares_like_python_text(
    table: Any, name: str, sign: str, other: str, data: Any
) -> None:
    kind = COLUMNS[name].kind
    column = table[name].tolist()
    some = data.draw(st.sampled_from([other, *(x for x in column if isinstance(x, str))]))
    if "\ud800" in some:  # is no UTF-8
        some = "a"
    if kind in "SV":
        constant: Any = some.encode()
        column = [bytes(x).rstrip(b"\0") for x in column]
    else:
        constant = some
    wanted = [x is not None and SIGNS[sign](x, constant) for x in column]
    assert select(f"{name} {sign} {some!r}", table).tolist() == wanted
    assert select(f"{name} {sign} x", table, x=some.encode()).tolist() == wanted
    assert select(f"{name} {sign} x", table, x=np.str_(some)).tolist() == wanted
    for func, test in (("startswith", "startswith"), ("endswith", "endswith")):
        wanted = [x is not None and getattr(x, test)(constant) for x in column]
        assert select(f"{func}({name}, {some!r})", table).tolist() == wanted
    wanted = [x is not None and constant in x for x in column]
    assert select(f"contains({name}, x)", table, x=constant).tolist() == wanted
    wanted = [x == constant or x in (b"a", "a") for x in column]
    assert select(f"{name} in [{some!r}, 'a']", table).tolist() == wanted


def seconds(time: np.datetime64) -> int | None:
    """Milliseconds since 1970 of any time, by another way than the code under test."""
    if np.isnat(time):
        return None
    return int(time.astype("M8[ms]").astype("i8"))


@given(
    tables(),
    st.sampled_from(TIMES),
    signs,
    st.one_of(st.integers(-4000, 4000), st.integers(-(10**9), 4 * 10**12)),
    st.sampled_from(["Y", "M", "D", "h", "s", "ms"]),
)
def test_times_compare_exactly_in_any_unit(
    table: Any, name: str, sign: str, ms: int, unit: str
) -> None:
    constant = np.datetime64(ms, "ms").astype(f"M8[{unit}]")
    column = [seconds(x) for x in table[name]]
    at = seconds(constant)
    wanted = [sign == "!=" if x is None else bool(SIGNS[sign](x, at)) for x in column]
    assert select(f"{name} {sign} t", table, t=constant).tolist() == wanted
    assert select(f"{name} {sign} '{constant}'", table).tolist() == wanted
    assert select(f"{name} in ['{constant}', 'NaT']", table).tolist() == [x == at for x in column]


@given(tables(), st.sampled_from(["day", "sec", "month", "span"]), signs)
def test_nothing_equals_nat_and_no_unit_overflows(table: Any, name: str, sign: str) -> None:
    column = table[name]
    nat = np.timedelta64("NaT") if name == "span" else np.datetime64("NaT")
    assert select(f"{name} {sign} t", table, t=nat).tolist() == [sign == "!="] * len(column)
    if name == "sec":
        for days, holding in ((2**60, ("<", "<=")), (-(2**60), (">", ">="))):
            wanted = [sign == "!=" or (sign in holding and not np.isnat(x)) for x in column]
            assert select(f"sec {sign} t", table, t=np.datetime64(days, "D")).tolist() == wanted


@given(tables(), signs)
def test_columns_compare_with_columns(table: Any, sign: str) -> None:
    for left, right in (("i8", "u8"), ("i1", "u8"), ("i4b", "i1")):
        wanted = [
            SIGNS[sign](int(x), int(y)) for x, y in zip(table[left], table[right], strict=True)
        ]
        assert select(f"{left} {sign} {right}", table).tolist() == wanted
    for left, right in (("f4", "f8b"), ("i8", "f4"), ("u3", "u9b"), ("s5", "s19"), ("flag", "i1")):
        wanted = SIGNS[sign](table[left], table[right])
        assert np.array_equal(select(f"{left} {sign} {right}", table), wanted)
    wanted = [
        x is not None and bool(SIGNS[sign](x, y))
        for x, y in zip(table["w"].tolist(), table["u9b"].tolist(), strict=True)
    ]
    assert select(f"w {sign} u9b", table).tolist() == wanted


@given(tables(), st.lists(st.integers(-300, 300), max_size=40), st.sampled_from(INTEGERS + FLOATS))
def test_isin_is_equality_with_one_of_many(table: Any, values: list[int], name: str) -> None:
    column = table[name]
    wanted = (
        [any(x == v for v in values) for x in column.tolist()]
        if name != "f2"
        else [any(x == np.float16(v) for v in values) for x in column]
    )
    assert select(f"{name} in {values}", table).tolist() == wanted
    assert select(f"{name} not in x", table, x=values).tolist() == [not x for x in wanted]
    for dtype in ("i4", "f8"):
        array = np.array(values, dtype=dtype)
        assert select(f"isin({name}, x)", table, x=array).tolist() == wanted
    assert select(f"isin({name}, x)", table, x=set(values)).tolist() == wanted


@given(tables())
def test_arithmetic_and_functions_are_those_of_numpy(table: Any) -> None:
    i1, i4, f4, f8 = (table[name] for name in ("i1", "i4b", "f4", "f8b"))
    with np.errstate(all="ignore"):
        cases = {
            "i4b * f4 - 2.5": i4 * f4 - 2.5,
            "f4 / i1": f4 / i1,
            "i4b // 7 + i4b % 7": i4 // 7 + i4 % 7,
            "-f8b ** 2": -(f8**2),
            "abs(float64(i4b))": np.abs(i4.astype("f8")),
            "sqrt(f8b) + log(f4)": np.sqrt(f8) + np.log(f4),
            "arctan2(f4, f8b)": np.arctan2(f4, f8),
            "where(f4 > 0, i1, i4b)": np.where(f4 > 0, i1, i4),
            "floor(f8b) + ceil(f4)": np.floor(f8) + np.ceil(f4),
            "i4b & 7 | i1": i4 & 7 | i1,
            "~i4b": ~i4,
            "u1 + 300": table["u1"].astype("u2") + np.uint16(300),
            "log1p(f4) * expm1(f8b)": np.log1p(f4) * np.expm1(f8),
            "hypot(f4, f8b) + maximum(f4, 1)": np.hypot(f4, f8) + np.maximum(f4, 1),
            "float32(i4b) + f4": i4.astype("f4") + f4,
            "i1 ** -1": i1**-1.0,
            "day - '2020-01-01'": table["day"] - np.datetime64("2020-01-01"),
            "sec + timedelta64(1, 'h')": table["sec"] + np.timedelta64(1, "h"),
            "+f4": f4,
            "complex(f4, f8b)": np.stack([f4, f8], -1).astype("f8").view("c16")[:, 0],
            "complex(1, i1) * 2": (1 + 1j * i1) * 2,
            "ones_like(f4) * 3": np.full(len(i1), 3, "f4"),
            "2 * 3 + 1": np.full(len(i1), 7),
            "f4": f4,
        }
    for text, wanted in cases.items():
        bound = parse(text, COLUMNS, condition=False)
        found = bound.value(table, len(i1))
        assert found.dtype == bound.dtype == wanted.dtype, text
        assert np.array_equal(found, wanted, equal_nan=found.dtype.kind in "fcmM"), text
        assert not any(np.shares_memory(found, column) for column in (f4, f8))


@given(tables())
def test_nan_nat_and_missing_strings_are_found_by_isnan(table: Any) -> None:
    for name in ("f2", "f4", "f8b", "z", "day", "span", "long"):
        assert np.array_equal(select(f"isnan({name})", table), np.isnan(table[name]))
    assert select("isnan(w)", table).tolist() == [x is None for x in table["w"].tolist()]
    assert not select("isnan(i8)", table).any()


# Conditions of every shape.

atoms = st.one_of(
    st.builds(
        lambda name, sign, data: f"({name} {sign} {data})",
        st.sampled_from([*INTEGERS, *FLOATS, "flag"]),
        signs,
        st.one_of(
            st.integers(-3, 3),
            st.integers(-(2**66), 2**66),
            st.floats(-3, 3).map(lambda x: round(x, 1)),
            st.sampled_from(["float('inf')", "float('nan')", "float64('0.1')", "int8(2)", "-0.0"]),
        ),
    ),
    st.builds(
        lambda name, sign, text: f"({name} {sign} {text!r})",
        st.sampled_from(TEXTS),
        signs,
        st.text("abé\xff", max_size=18),
    ),
    st.builds(
        lambda func, name, text: f"{func}({name}, {text!r})",
        st.sampled_from(["startswith", "startswith", "endswith", "contains"]),
        st.sampled_from(TEXTS),
        st.text("abé\xff", max_size=17),
    ),
    st.builds(
        lambda name, sign, time: f"({name} {sign} '{time}')",
        st.sampled_from(TIMES),
        signs,
        st.sampled_from(["1970-01", "1970-01-05", "1970-01-05T12:00:00.5", "2050", "NaT"]),
    ),
    st.builds(
        lambda left, sign, right: f"({left} {sign} {right})",
        st.sampled_from(INTEGERS + FLOATS),
        signs,
        st.sampled_from(INTEGERS + FLOATS),
    ),
    st.builds(
        lambda pair, sign: f"({pair[0]} {sign} {pair[1]})",
        st.sampled_from([("u3", "u9b"), ("u9b", "w"), ("w", "w"), ("s19", "s5"), ("v4", "s5")]),
        signs,
    ),
    st.builds(
        lambda func, left, op, right, sign, limit: f"({func}({left} {op} {right}) {sign} {limit})",
        st.sampled_from(["", "-", "abs", "floor", "sqrt", "exp"]),
        st.sampled_from(INTEGERS + FLOATS),
        st.sampled_from(["+", "-", "*", "/", "//", "%"]),
        st.sampled_from([*INTEGERS, *FLOATS, "2", "0.1", "-3", "100000"]),
        signs,
        st.integers(-300, 300),
    ),
    st.builds(
        lambda name, values: f"({name} in {values})",
        st.sampled_from(INTEGERS + FLOATS),
        st.lists(st.integers(-3, 3), max_size=4),
    ),
    st.builds(
        lambda name, values: f"({name} not in {values})",
        st.sampled_from(TEXTS),
        st.lists(st.text("ab", max_size=3), max_size=3),
    ),
    st.sampled_from(
        [
            *("flag", "isnan(f4)", "isnan(day)", "isnan(w)", "True", "False", "(z == 0)"),
            *("(f4 != f4)", "(day < sec)", "(span > timedelta64(1, 's'))", "(-1 < i1 <= 2)"),
            *("between(f8b, -2, i1)", "(i1 & 2 == 2)", "(where(flag, i1, f4) > 0)"),
        ]
    ),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&", "|", "and", "or"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        inner.map(lambda text: f"~{text}"),
        inner.map(lambda text: f"(not {text})"),
    ),
    max_leaves=4,
)


@settings(max_examples=200)
@given(st.lists(tables(most=4), min_size=1, max_size=3), conditions, st.data())
def test_pruning_never_drops_a_match_and_never_claims_what_does_not_match(
    pages: list[dict[str, np.ndarray]], text: str, data: Any
) -> None:
    hidden = data.draw(st.sets(st.sampled_from(list(COLUMNS)), max_size=2))
    bounds = {}
    for name, dtype in COLUMNS.items():
        records = [compute(page[name]).pack() for page in pages]  # type: ignore[union-attr]
        if name in hidden:
            records[0] = None
        bounds[name] = Bounds.from_packed(records, dtype)
    bound = parse(text, COLUMNS)
    may, whole = bound.prune(bounds, len(pages))
    assert may.shape == whole.shape == (len(pages),)
    for page, may_match, all_match in zip(pages, may, whole, strict=True):
        try:
            found = bound.evaluate(page, len(page["i8"]))
        except QueryError as error:
            assert "does not fit" in str(error)
            continue
        assert may_match or not found.any()
        assert not all_match or found.all()
    nothing = bound.prune({}, len(pages))
    assert bound.columns == () or ((nothing[0] >= may).all() and (nothing[1] <= whole).all())


def overflows(bound: Any, table: dict[str, np.ndarray]) -> bool:
    try:
        bound.evaluate(table, len(table["i8"]))
    except QueryError as error:
        assert "does not fit" in str(error)
        return True
    return False


@given(tables(), conditions)
def test_conjuncts_together_are_the_condition(table: Any, text: str) -> None:
    n = len(table["i8"])
    bound = parse(text, COLUMNS)
    if overflows(bound, table):
        return
    parts = [part.evaluate(table, n) for part in bound.conjuncts]
    assert np.array_equal(np.logical_and.reduce(parts), bound.evaluate(table, n))
    assert sorted(bound.order) == list(range(len(parts)))


@given(tables(), conditions)
def test_blocks_are_neither_changed_nor_handed_out(table: Any, text: str) -> None:
    for column in table.values():
        column.flags.writeable = False
    bound = parse(text, COLUMNS)
    if overflows(bound, table):
        return
    found = bound.evaluate(table, len(table["i8"]))
    assert found.flags.writeable
    again = bound.evaluate(table, len(table["i8"]))
    assert np.array_equal(found, again) and not np.shares_memory(found, again)


# What pruning must be able to do, so that it is not right by doing nothing.

PAGES = {
    "f8b": [np.arange(k, k + 10.0) for k in (0, 10, 20)],
    "i4b": [np.arange(k, k + 10) for k in (0, 10, 20)],
    "u9b": [np.array([f"k{k}-{i}" for i in range(9)]) for k in (1, 2, 3)],
    "s19": [np.array([b"key-number-%06d" % (k * 10 + i) for i in range(9)]) for k in (1, 2, 3)],
    "day": [np.arange(k, k + 10).astype("M8[D]") for k in (0, 10, 20)],
    "f4": [np.array([1, np.nan]), np.array([np.nan, np.nan]), np.array([1.0, 2.0])],
    "flag": [np.array([True, True]), np.array([True, False]), np.array([False])],
}


@pytest.mark.parametrize(
    ("text", "may", "whole"),
    [
        ("f8b > 15", [0, 1, 1], [0, 0, 1]),
        ("(f8b > 5) & (f8b < 15)", [1, 1, 0], [0, 0, 0]),
        ("f8b >= 0", [1, 1, 1], [1, 1, 1]),
        ("~(f8b > 15)", [1, 1, 0], [1, 0, 0]),
        ("f8b + 10 < 15", [1, 0, 0], [0, 0, 0]),
        ("2 * i4b - 1 >= 19", [0, 1, 1], [0, 1, 1]),
        ("abs(i4b - 15) > 6", [1, 0, 1], [0, 0, 0]),
        ("i4b in [3, 12]", [1, 1, 0], [0, 0, 0]),
        ("i4b not in [31, 42]", [1, 1, 1], [1, 1, 1]),
        ("u9b == 'k2-3'", [0, 1, 0], [0, 0, 0]),
        ("startswith(u9b, 'k2')", [0, 1, 0], [0, 1, 0]),
        ("startswith(s19, 'key-number-00001')", [1, 0, 0], [0, 0, 0]),
        ("u9b in ['k3-1', 'x']", [0, 0, 1], [0, 0, 0]),
        ("day < '1970-01-11'", [1, 0, 0], [1, 0, 0]),
        ("day == '1970-01-11T12:00'", [0, 0, 0], [0, 0, 0]),
        ("f4 > 0", [1, 0, 1], [0, 0, 1]),
        ("f4 <= 0", [0, 0, 0], [0, 0, 0]),
        ("isnan(f4)", [1, 1, 0], [0, 1, 0]),
        ("~isnan(f4)", [1, 0, 1], [0, 0, 1]),
        ("f4 != 7", [1, 1, 1], [1, 1, 1]),
        ("f4 != 1", [1, 1, 1], [0, 1, 0]),
        ("flag", [1, 1, 0], [1, 0, 0]),
        ("~flag", [0, 1, 1], [0, 0, 1]),
        ("f8b < i4b", [1, 1, 1], [0, 0, 0]),
        ("f8b < i4b - 20", [0, 0, 0], [0, 0, 0]),
        ("u1 > 300", [0, 0, 0], [0, 0, 0]),
    ],
)
def test_pages_that_cannot_match_are_left_out(text: str, may: list[int], whole: list[int]) -> None:
    bounds = {
        name: Bounds.from_packed([compute(page).pack() for page in pages], pages[0].dtype)  # type: ignore[union-attr]
        for name, pages in PAGES.items()
    }
    columns = {name: pages[0].dtype for name, pages in PAGES.items()} | {"u1": np.dtype("u1")}
    found = parse(text, columns).prune(bounds, 3)
    assert [part.astype(int).tolist() for part in found] == [may, whole]


@pytest.mark.parametrize(
    ("text", "page"),
    [
        # Both ends fall on one side, and what is computed in between does not.
        ("f8 - f8 <= float('inf')", {"f8": [1.0, np.inf]}),
        ("isnan(f8 - f8)", {"f8": [1.0, np.inf]}),
        ("f8 * 0 == 0", {"f8": [-1.0, np.inf]}),
        ("1 / f8 < 1", {"f8": [-1.0, -0.01, 0.01, 1.0]}),
        ("1 / f8 > 5", {"f8": [-1.0, 0.0, 1.0]}),
        ("i1 + 100 > 0", {"i1": [1, 120]}),
        ("i1 * i1 < 0", {"i1": [3, 12]}),
        ("abs(i1) < 0", {"i1": [-128, -1]}),
        ("-u1 < 200", {"u1": [0, 3, 100]}),
        ("u1 - 3 > 250", {"u1": [1, 7]}),
        ("abs(i1) > 4", {"i1": [-5, 0, 5]}),
        ("sqrt(f8) >= 0", {"f8": [-1.0, 4.0]}),
        # Missing values.
        ("w != 'x'", {"w": ["a", None]}),
        ("~(w == 'x')", {"w": ["a", None]}),
        ("isnan(w)", {"w": ["a", None]}),
        ("f8 in [1, 2]", {"f8": [1.0, np.nan]}),
        ("f8 == f8", {"f8": [1.0, np.nan]}),
        ("f8 + 1 != 2", {"f8": [1.0, np.nan]}),
        ("~(f8 > 5)", {"f8": [7.0, np.nan]}),
        # Cut text.
        ("s20 == 'aaaaaaaaaaaaaaaa'", {"s20": [b"a" * 16, b"a" * 17]}),
        ("s20 > 'aaaaaaaaaaaaaaaa'", {"s20": [b"a" * 16, b"a" * 17]}),
        ("startswith(s20, 'aaaaaaaaaaaaaaaaaa')", {"s20": [b"a" * 16, b"a" * 19]}),
        ("s20 >= x", {"s20": [b"\xff" * 20, b"a"]}),
        ("w > 'a'", {"w": ["a\0b"]}),
        ("w == 'a'", {"w": ["a\0b", "a"]}),
    ],
)
def test_pages_with_a_trap_are_judged_right(text: str, page: dict[str, list[Any]]) -> None:
    dtypes = {"f8": "f8", "i1": "i1", "u1": "u1", "s20": "S20", "w": STRINGS}
    columns = {name: np.dtype(dtype) for name, dtype in dtypes.items()}
    blocks = {name: np.array(values, dtype=columns[name]) for name, values in page.items()}
    bounds = {
        name: Bounds.from_packed([compute(values).pack()], values.dtype)  # type: ignore[union-attr]
        for name, values in blocks.items()
    }
    n = len(next(iter(blocks.values())))
    bound = parse(text, columns, {"x": b"\xff" * 19})
    found = bound.evaluate(blocks, n)
    (may,), (whole,) = bound.prune(bounds, 1)
    assert may or not found.any()
    assert not whole or found.all()


@pytest.mark.parametrize("dtype", ["S9", "S19", "U3", "U9", ">U9", "S3", "S8"])
def test_text_that_agrees_only_in_its_first_bytes_is_not_equal(dtype: str) -> None:
    width = np.dtype(dtype).itemsize // (4 if "U" in dtype else 1)
    wanted = "a" * width
    other = "a" * (width - 1) + "b"
    column = np.array([other, *["b"] * 20, wanted, *["c"] * 20]).astype(dtype)
    for values in (column, np.repeat(column, 2)[::2], column[[0, 21]]):
        found = parse("x == y", {"x": values.dtype}, {"y": wanted}).evaluate(
            {"x": values}, len(values)
        )
        assert found.tolist() == [x in (wanted, wanted.encode()) for x in values.tolist()]
