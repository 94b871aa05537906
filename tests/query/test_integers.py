"""Integers never wrap around: an expression gives the exact value, or raises."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import QueryError
from kist.query import parse
from kist.query.specialize import FEW

DTYPES = {"a": "i1", "b": "u1", "c": ">i4", "d": "u4", "e": "i8", "g": "u8", "h": "u2"}
COLUMNS = {name: np.dtype(dtype) for name, dtype in DTYPES.items()}


def model(text: str, row: dict[str, int]) -> int:
    """Python's integers, with NumPy's division by zero."""

    class Exact(int):
        def __add__(self, other: Any) -> Any:
            return Exact(int(self) + int(other))

        def __sub__(self, other: Any) -> Any:
            return Exact(int(self) - int(other))

        def __mul__(self, other: Any) -> Any:
            return Exact(int(self) * int(other))

        def __floordiv__(self, other: Any) -> Any:
            return Exact(int(self) // int(other) if other else 0)

        def __mod__(self, other: Any) -> Any:
            return Exact(int(self) % int(other) if other else 0)

        def __pow__(self, other: Any) -> Any:  # type: ignore[override]
            return Exact(int(self) ** int(other))

        def __abs__(self) -> Any:
            return Exact(abs(int(self)))

        def __neg__(self) -> Any:
            return Exact(-int(self))

    return int(eval(text, {}, {name: Exact(x) for name, x in row.items()}))


names = st.sampled_from([*COLUMNS])
small = st.sampled_from(["2", "3", "7"])
expressions = st.recursive(
    names,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), st.one_of(inner, small)).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(inner, st.sampled_from(["0", "2", "3"])).map(lambda p: f"({p[0]} ** {p[1]})"),
        inner.map(lambda text: f"abs({text})"),
        inner.map(lambda text: f"(-{text})"),
    ),
    max_leaves=4,
)


def pool(name: str) -> list[int]:
    info = np.iinfo(COLUMNS[name])
    return [int(info.min), int(info.max), 0, 1, 2, 5, 100, int(info.max) // 2]


def column(name: str, seed: int, n: int) -> np.ndarray:
    return np.array(np.random.default_rng(seed).choice(np.array(pool(name), object), n)).astype(
        COLUMNS[name]
    )


@given(expressions, st.integers(0, 2**32), st.integers(1, 6), st.booleans())
def test_values_are_exact_or_refused(text: str, seed: int, n: int, many: bool) -> None:
    columns = {name: column(name, seed + i, n) for i, name in enumerate(COLUMNS)}
    if many:  # then dtypes are chosen for the block
        n = FEW
        columns = {name: np.resize(x, n) for name, x in columns.items()}
    bound = parse(text, COLUMNS, condition=False)
    exact = [model(text, {k: int(x[i]) for k, x in columns.items()}) for i in range(min(n, 6))]
    try:
        found = bound.value(columns, n)
    except QueryError as error:
        assert "does not fit" in str(error)
        return
    if found.dtype.kind == "f":  # NumPy has no integers for int64 beside uint64
        return
    info = np.iinfo(found.dtype)
    assert all(info.min <= x <= info.max for x in exact)
    assert found[:6].tolist() == exact


@pytest.mark.parametrize("op", ["+", "-", "*", "//", "%"])
@pytest.mark.parametrize("n", [64, FEW])
def test_comparisons_of_what_32_bits_give_are_always_exact(op: str, n: int) -> None:
    narrow = [name for name, dtype in COLUMNS.items() if dtype.itemsize < 8]
    for left, right in itertools.product(narrow, repeat=2):
        x, y = (
            np.array(side, object)
            for side in zip(*itertools.product(pool(left), pool(right)), strict=True)
        )
        columns = {"x": np.resize(x, n).astype(COLUMNS[left])}
        columns["y"] = np.resize(y, n).astype(COLUMNS[right])
        exact = [model(f"x {op} y", {"x": a, "y": b}) for a, b in zip(x, y, strict=True)]
        dtypes = {name: values.dtype for name, values in columns.items()}
        for sign, limit in (("<", 0), (">", 100), ("==", exact[1]), ("!=", exact[8])):
            found = parse(f"x {op} y {sign} {limit}", dtypes).evaluate(columns, n)
            wanted = [eval(f"{value} {sign} {limit}") for value in exact]
            assert found[:64].tolist() == wanted, (left, right, sign, limit)


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("x + 1", np.array([1, 127], "i1"), "128 does not fit int8"),
        ("x - 1", np.array([0, 1], "u1"), "-1 does not fit uint8"),
        ("x * x", np.array([3, 2**40]), r"multiply\(1099511627776, 1099511627776\) does not fit"),
        ("x ** 5", np.array([2, 2**20]), "power"),
        ("-x", np.array([-(2**63)]), "negative"),
        ("abs(x)", np.array([-(2**63)]), "absolute"),
        ("x // -1", np.array([-(2**63), 0]), "floor_divide"),
        ("x << 60", np.array([1, 16]), "left_shift"),
        ("x - 1", np.array([0], "u8"), "subtract"),
        ("int8(x)", np.array([200]), "200 does not fit int8"),
        ("int8(x)", np.array([1.5, 200.5]), "200.5 does not fit int8"),
        ("int64(x)", np.array([2.0**63]), "does not fit int64"),
        ("int32(x)", np.array([np.nan]), "nan does not fit"),
        ("uint8(x)", np.array([-1.0]), "-1.0 does not fit"),
    ],
)
def test_what_does_not_fit_raises_and_names_the_value(
    text: str, values: np.ndarray, message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        parse(text, {"x": values.dtype}, condition=False).value({"x": values}, len(values))


def test_large_and_small_values_in_one_block_are_told_apart() -> None:
    x = np.array([2**62, 1, -(2**62)])
    y = np.array([1, 2**62, -1])
    assert (
        parse("x * y", {"x": x.dtype, "y": y.dtype}, condition=False)
        .value({"x": x, "y": y}, 3)
        .tolist()
        == [2**62] * 3
    )


def test_results_have_the_dtypes_of_numpy() -> None:
    for text, wanted in (
        *(("b + b", "u1"), ("a + c", "i4"), ("a + b", "i2"), ("d * 2", "u4"), ("e + g", "f8")),
        *(("a / b", "f8"), ("sqrt(a + a)", "f2"), ("c // 2", "i4"), ("int64(a) + 1", "i8")),
        *(("float32(e) * 2", "f4"), ("a << 2", "i1"), ("~b", "u1"), ("b & 15", "u1")),
        *(("where(a > 0, a + 1, 0)", "i1"), ("maximum(a, c)", "i4"), ("a ^ a", "i1")),
    ):
        assert parse(text, COLUMNS, condition=False).dtype == np.dtype(wanted), text


def test_conversions_are_those_of_numpy() -> None:
    x = np.array([-1.9, 0.0, 2.5, 127.9])
    for name in ("int8", "int64", "float32", "complex64"):
        found = parse(f"{name}(x)", {"x": x.dtype}, condition=False).value({"x": x}, 4)
        assert found.dtype == name and np.array_equal(found, x.astype(name))
    for text in ("int8(z)", "float64(s)", "int8(t)"):
        columns = {"z": np.dtype("c16"), "s": np.dtype("S3"), "t": np.dtype("M8[s]")}
        with pytest.raises(QueryError, match="takes numbers"):
            parse(text, columns, condition=False)


def test_numbers_that_are_tried_for_each_piece_of_a_long_block() -> None:
    x = np.arange(30_000) - 1
    x[-1] = 2**62
    with pytest.raises(QueryError, match="does not fit"):
        parse("x * 2 > 5", {"x": x.dtype}).evaluate({"x": x}, len(x))
    assert parse("x * 1 > 5", {"x": x.dtype}).evaluate({"x": x}, len(x)).sum() == 29_993
