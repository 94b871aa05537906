"""Conditions on narrow integers are those on the values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist.codecs.choose import choose
from kist.codecs.narrow import narrow
from kist.codecs.pipeline import encode
from kist.codecs.values import to_form
from kist.query import parse
from kist.query.narrow import holds

OPS = ("<", "<=", "==", "!=", ">=", ">")


def page_of(values: Any) -> Any:
    encoded = encode(values, choose(to_form(values), "balanced"), block_values=256)
    return narrow(
        encoded.stages, values.dtype, len(values), encoded.block_values, 0, encoded.blocks
    )


def check(values: Any, constant: Any, valid: Any = None) -> bool:
    """Compare all operators; whether the page was narrow."""
    page = page_of(values)
    if page is None:
        return False
    assert page.values(page.numbers).tobytes() == values.tobytes()
    some = np.arange(0, len(values), 3)
    assert page.values(page.numbers[some]).tobytes() == values[some].tobytes()
    given_valid = {} if valid is None else {"x": valid}
    told = False
    for op in OPS:
        bound = parse(f"x {op} c", {"x": values.dtype}, {"c": constant})
        found = holds(bound, page, None if valid is None else valid.copy())
        if found is not None:
            told = True
            expected = bound.evaluate({"x": values}, len(values), given_valid)
            np.testing.assert_array_equal(found, expected, err_msg=f"{op} {constant!r}")
    return told


JOINED = [
    "~(x < c)",
    "(x < c) | (x > d)",
    "~((x >= c) & (x < d))",
    "isin(x, [c, d])",
    "~isin(x, [c, d]) & (x != d)",
    "isin(x, [])",
    "(x == c) | ~(x <= d) | isin(x, [d])",
]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_joined_comparisons_are_those_of_the_values(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(["u2", "i4", "i8", "f8", "M8[s]"])))
    low = data.draw(st.integers(0, 60_000))
    numbers = np.array(
        data.draw(st.lists(st.integers(low, low + 300), min_size=600, max_size=700)), "i8"
    )
    if dtype.kind == "f":
        values = numbers / 8 if data.draw(st.booleans()) else numbers / 100
    else:
        values = numbers.astype(dtype)
    c, d = (data.draw(st.sampled_from(values.tolist())) for _ in range(2))
    if dtype.kind == "M":
        c, d = np.datetime64(c, "s"), np.datetime64(d, "s")
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=1, max_size=9)))
    valid = np.resize(valid, len(values)) if data.draw(st.booleans()) else None
    page = page_of(values)
    for condition in JOINED:
        bound = parse(condition, {"x": values.dtype}, {"c": c, "d": d})
        known: Any = {}
        for _ in range(2):  # the second time with what is known
            found = None if page is None else holds(bound, page, valid, known)
            if found is None:
                continue
            given_valid = {} if valid is None else {"x": valid}
            expected = bound.evaluate({"x": values}, len(values), given_valid)
            np.testing.assert_array_equal(found, expected, err_msg=condition)


def test_what_is_joined_of_comparisons_needs_no_values() -> None:
    page = page_of(np.random.default_rng(3).integers(70_000, 71_009, 4_000, np.int32))
    assert page is not None and page.items is None
    for condition in JOINED[:5]:
        bound = parse(condition, {"x": np.dtype("i4")}, {"c": 70_010, "d": 70_500})
        assert holds(bound, page) is not None, condition
    bound = parse("isin(x, c)", {"x": np.dtype("i4")}, {"c": list(range(70_000, 70_100))})
    assert holds(bound, page) is None


INTEGERS = ["i2", "u2", "i4", "u4", "i8", "u8"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_integers_are_compared_as_they_are(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(INTEGERS)))
    info = np.iinfo(dtype)
    width = data.draw(st.sampled_from([1, 200, 255, 256, 40_000, 70_000]))
    step = data.draw(st.sampled_from([1, 1, 7, 1000]))
    span = width * step
    if span > int(info.max) - int(info.min):
        step, span = 1, min(width, int(info.max) - int(info.min))
    low = data.draw(
        st.one_of(
            st.sampled_from([int(info.min), 0, int(info.max) - span, -(span // 2)]),
            st.integers(int(info.min), int(info.max) - span),
        )
    )
    low = min(max(low, int(info.min)), int(info.max) - span)
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    numbers = rng.integers(0, max(span // step, 1), 700, endpoint=True)
    values = np.array([low + step * int(k) for k in numbers.tolist()], dtype)
    constant = data.draw(
        st.one_of(
            st.sampled_from(values[:20].tolist()),
            st.integers(low - 2, low + span + 2),
            st.sampled_from([int(info.min), int(info.max)]),
        )
    )
    constant = min(max(constant, int(info.min)), int(info.max))
    valid = rng.random(700) < 0.7 if data.draw(st.booleans()) else None
    check(values, constant, valid)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["f8", "f4"]),
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from([100, 30_000, 10**6, 10**9, 10**13]),
    st.integers(0, 999),
    st.data(),
)
def test_decimals_are_compared_as_they_are(
    dtype: str, digits: int, size: int, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.integers(-size // 3, size, 700) / 10**digits).astype(dtype)
    near = float(data.draw(st.sampled_from(values[:20].tolist())))
    constant = data.draw(
        st.sampled_from(
            [
                *(near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf), near + 0.004),
                *(0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -(10.0**30), int(near)),
                near + 0.5 / 10**digits,
            ]
        )
    )
    check(values, constant)
    if data.draw(st.booleans()):  # exceptions
        values[rng.integers(0, 700, 3)] = data.draw(st.sampled_from([np.nan, -0.0, 1 / 3, np.inf]))
        check(values, constant)


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[ms]", "M8[D]"])
@pytest.mark.parametrize("nat", [False, True])
def test_times_are_compared_and_nat_is_no_time(dtype: str, nat: bool) -> None:
    rng = np.random.default_rng(5)
    ticks = 10_000_000 + rng.integers(0, 50_000, 700)
    values = ticks.view(dtype)
    if nat:
        values[3:9] = "NaT"
    for constant in (values[20], values[0] + 1, values.min() - 5, np.array("NaT", dtype)[()]):
        check(values, constant)


@pytest.mark.parametrize("dtype", ["S8", "U4", "V3", "i8", "M8[s]", "f8"])
def test_dictionaries_are_asked_item_by_item(dtype: str) -> None:
    rng = np.random.default_rng(2)
    items = np.arange(10**9, 10**9 + 900 * 10**6, 10**8).astype("i8")
    words = np.array(["", "a", "ab", "b", "zz", "q", "a b", "Z", "aa"])
    kind = np.dtype(dtype).kind
    if kind in "SUV":
        source = words.astype(dtype.replace("V", "S")).view(dtype)
    else:
        source = (items * 7919 % (1 << 40)).view(dtype) if kind == "M" else items.astype(dtype)
    values = np.ascontiguousarray(source[rng.integers(0, len(source), 700)])
    for constant in (values[0], values[5], source[-1]):
        assert check(values, constant)


def test_text_in_dictionaries_is_searched_once_for_each_item() -> None:
    rng = np.random.default_rng(4)
    values = np.array(["apple", "pear", "plum", "apricot", "fig", ""], "S8")[
        rng.integers(0, 6, 700)
    ]
    page = page_of(values)
    assert page is not None and page.items is not None
    for text in (
        "startswith(x, 'ap')",
        "contains(x, 'p')",
        "isin(x, ['fig', 'pear', 'kiwi'])",
        "not (x == 'fig')",
        "(x > 'b') | (x == 'apple')",
    ):
        bound = parse(text, {"x": values.dtype}, {})
        np.testing.assert_array_equal(
            holds(bound, page), bound.evaluate({"x": values}, len(values))
        )


def test_pages_that_are_not_narrow_are_left_alone() -> None:
    rising = np.cumsum(np.arange(700) % 5 + 10**9).astype("i8")
    assert page_of(rising) is None  # deltas
    assert page_of((np.arange(700) % 9).astype(">i4")) is None
    assert page_of(np.random.default_rng(1).random(700)) is None
