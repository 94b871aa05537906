"""Conditions on stored tables: all ways to write one give the same rows, pruned or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist

N = 140_000
DTYPE = np.dtype(
    [
        ("i", "i4"),
        ("f", "f8"),
        ("b", "?"),
        ("s", "S4"),
        ("t", "M8[s]"),
        ("u", "u1"),
        ("n", [("x", "f4")]),
    ]
)


def make_rows() -> np.ndarray:
    """Return rows of which some columns are clustered, with NaN and NaT here and there."""
    draw = np.random.default_rng(5)
    rows = np.zeros(N, DTYPE)
    rows["i"] = np.arange(N) // 7 - 3000
    rows["f"] = np.linspace(-50, 50, N)
    rows["f"][draw.integers(N, size=200)] = np.nan
    rows["b"] = np.arange(N) > N // 2
    rows["s"] = np.char.add(b"k", (np.arange(N) // 1000).astype("S"))
    rows["t"] = (np.arange(N) * 40_000).astype("M8[s]")
    rows["t"][::5000] = "NaT"
    rows["u"] = draw.integers(0, 256, N)
    rows["n"]["x"] = draw.normal(size=N)
    return rows


ROWS = make_rows()


@pytest.fixture(scope="module")
def table() -> Any:
    with kist.open(":memory:") as store:
        store["t"] = ROWS
        yield store["t"]


def numpy_of(text: str) -> np.ndarray:
    names = {name: ROWS[name] for name in "ifbstu"} | {"x": ROWS["n"]["x"]}
    with np.errstate(all="ignore"):
        found: np.ndarray = eval(text, {"np": np}, names)
    return np.flatnonzero(found)


CASES = {
    "i > 12_345": "i > 12_345",
    "f * f < 4": "f * f < 4",
    "~(f > 1)": "~(f > 1)",
    "exp(f) > 1e12": "np.exp(f) > 1e12",
    "log1p(f) < 1": "np.log1p(f) < 1",
    "i ** 2 < 100": "i.astype('i8') ** 2 < 100",
    "i // 1000 == 5": "i // 1000 == 5",
    "i % 1000 == 5": "i % 1000 == 5",
    "maximum(i, 100) <= 100": "i <= 100",
    "where(b, i, -i) > 16_990": "np.where(b, i, -i) > 16_990",
    "float32(f) < -49.99": "f.astype('f4') < np.float32(-49.99)",
    "int64(i) - 20_000 > -3_010": "i > 16_990",
    "s == 'k7'": "s == b'k7'",
    "like(s, 'k13%')": "np.strings.startswith(s, b'k13')",
    "like(s, 'k_3') & ~b": "np.isin(s, [b'k%d3' % k for k in range(1, 10)]) & ~b",
    "s in ['k1', 'k99', 'nope']": "np.isin(s, [b'k1', b'k99'])",
    "between(t, '1990-01-01', '1990-12-31')": (
        "(t >= np.datetime64('1990-01-01')) & (t <= np.datetime64('1990-12-31'))"
    ),
    "year(t) == 1990": "t.astype('M8[Y]') == np.datetime64('1990')",
    "year(t) != 1990": "~np.isnat(t) & (t.astype('M8[Y]') != np.datetime64('1990'))",
    "weekday(t) == 6 and hour(t) < 1": (
        "((t.astype('M8[D]').astype('i8') + 3) % 7 == 6) & (t.astype('i8') % 86400 < 3600)"
    ),
    "isnan(t) | isnan(f)": "np.isnat(t) | np.isnan(f)",
    "isnull(f)": "np.zeros(len(f), bool)",
    "b ^ (i > 0)": "b ^ (i > 0)",
    "u - 200 > 50": "u > 250",
    "n.x > 3": "x > 3",
}


@pytest.mark.parametrize("text", CASES)
def test_conditions_select_what_numpy_selects(table: Any, text: str) -> None:
    wanted = numpy_of(CASES[text])
    assert np.array_equal(table.where(text).indices(), wanted)
    assert np.array_equal(table.where(kist.expr(text)).indices(), wanted)
    assert np.array_equal(table.where(f"not ({text})").indices(), table[~kist.expr(text)].indices())


def test_every_way_to_write_a_condition_gives_the_same_rows(table: Any) -> None:
    wanted = np.flatnonzero((ROWS["i"] > 50) & (ROWS["f"] < 0.5))
    ways = [
        table.where("(i > 50) & (f < 0.5)"),
        table.where("i > low and f < high", low=50, high=0.5),
        table.where("c > low and f < 0.5", {"c": table["i"], "low": 50}),
        table[(table["i"] > 50) & (table["f"] < 0.5)],
        table.where((table["i"] > 50) & (table["f"] < 0.5)),
        table.where((table["i"] > 50) & kist.expr("f < 0.5")),
        table.where(lambda block: (block["i"] > 50) & (block["f"] < 0.5)),
        table.where((table["i"] > 50) & kist.expr(lambda block: block["f"] < 0.5)),
        table.where(np.less(table["f"], 0.5) & (np.int32(50) < table["i"])),
        table.where("i > 50").where("f < 0.5"),
    ]
    for way in ways:
        assert np.array_equal(way.indices(), wanted)


def test_a_function_sees_blocks_of_rows_and_only_the_columns_it_asks_for(table: Any) -> None:
    sizes = []

    def near(block: Any) -> Any:
        sizes.append(block.n_rows)
        assert len(block) <= len(DTYPE.names or ())
        return np.abs(block["n.x"]) < 0.01

    found = table.where(near)
    assert np.array_equal(found.indices(), np.flatnonzero(np.abs(ROWS["n"]["x"]) < 0.01))
    assert sizes[0] == 1 and sum(sizes[1:]) == N and len(sizes) < 10


def test_columns_of_another_table_are_refused_also_as_parameters(table: Any) -> None:
    with kist.open(":memory:") as other:
        other["t"] = ROWS[:3]
        for use in (
            lambda: table.where("c > 1", {"c": other["t"]["i"]}),
            lambda: table.where(other["t"]["i"] > 1),
            lambda: table.where("i > c", c=other["t"]["i"] + 1),
        ):
            with pytest.raises(kist.QueryError, match="from one table"):
                use()


@pytest.mark.parametrize(
    ("text", "params", "message"),
    [
        ("idx > 1", {}, "unknown column 'idx'"),
        ("i > limit", {"i": 3, "limit": 1}, "both a column and a parameter"),
        ("s > 5", {}, "cannot be compared"),
        ("(" * 10_000 + "i > 1" + ")" * 10_000, {}, "nested"),
        ("sum(i) > 5", {}, "kist.evaluate"),
        ("__import__('os')", {}, "unknown function"),
        ("i.real > 1", {}, "unknown column 'i.real'"),
    ],
)
def test_bad_conditions_raise_at_once(table: Any, text: str, params: Any, message: str) -> None:
    with pytest.raises(kist.QueryError, match=message):
        table.where(text, params)


def test_what_overflows_raises_when_it_is_read_and_changes_nothing(table: Any) -> None:
    with kist.open(":memory:") as store:
        store["t"] = np.array([(100, 1), (120, 2)], [("a", "i1"), ("b", "i8")])
        t = store["t"]
        assert t.where("a + a > 230").count() == 1
        with pytest.raises((kist.QueryError, kist.DTypeError)):
            t.where("b > 0").update({"a": kist.expr("a + 10")})
        assert t["a"][:].tolist() == [100, 120]
        t.where("b == 1").update({"a": kist.expr("a + 10"), "b": kist.expr("where(a > 5, b, -b)")})
        assert t["a"][:].tolist() == [110, 120] and t["b"][:].tolist() == [1, 2]


def test_handles_of_columns_hash_and_compare_by_identity_through_is_same(table: Any) -> None:
    a, b = table["i"], table["i"]
    assert a.is_same(b) and len({a}) == 1 and repr(a == b) == "i == i"
    with pytest.raises(kist.QueryError):
        bool(a == b)


signs = st.sampled_from(["<", "<=", "==", "!=", ">", ">="])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.builds(lambda s, v: f"(i {s} {v})", signs, st.integers(-3100, 17_100)),
            st.builds(lambda s, v: f"(f {s} {v})", signs, st.integers(-51, 51)),
            st.builds(lambda s, v: f"(i * 2 - 5 {s} {v})", signs, st.integers(-9000, 40_000)),
            st.sampled_from(["b", "(s < b'k50')", "(s == b'k100')", "(u > 250)", "(f != f)"]),
        ),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.sampled_from(["&", "|"]), min_size=2, max_size=2),
    st.booleans(),
)
def test_random_conditions_agree_with_numpy(
    table: Any, parts: list[str], joins: list[str], negated: bool
) -> None:
    text = parts[0]
    for join, part in zip(joins, parts[1:], strict=False):
        text = f"({text} {join} {part})"
    text = f"~{text}" if negated else text
    assert np.array_equal(table.where(text).indices(), numpy_of(text))
