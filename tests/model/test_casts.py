"""Input becomes records by name and by value; what would change raises and says where."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import DTypeError, ShapeError
from kist.model.casts import cast_values, iter_blocks, to_records

DTYPE = np.dtype(
    [
        ("a", "i4"),
        ("b", "f8"),
        ("s", "S4"),
        ("u", "U3"),
        ("t", "M8[s]"),
        ("v", "i2", (2,)),
        ("n", [("x", "f4"), ("y", "u1")]),
    ]
)
ROW = (1, 2.5, b"ab", "xy", np.datetime64("2020-01-01", "s"), [1, 2], (1.5, 3))
EXPECTED = np.array([ROW], DTYPE)
NAMES = DTYPE.names or ()


def test_records_of_the_dtype_are_taken_as_they_are() -> None:
    assert to_records(EXPECTED, DTYPE) is EXPECTED


@pytest.mark.parametrize(
    "data",
    [
        ROW,
        [ROW],
        dict(zip(NAMES, ROW, strict=True)),
        [dict(zip(NAMES, ROW, strict=True))],
        {name: [value] for name, value in zip(NAMES, ROW, strict=True)},
        EXPECTED[0],
        [EXPECTED[0]],
        EXPECTED[list(NAMES)[::-1]],
        EXPECTED.view(np.recarray),
    ],
    ids=["tuple", "rows", "dict", "dicts", "columns", "void", "voids", "other order", "recarray"],
)
def test_each_form_of_a_row_gives_the_same_record(data: Any) -> None:
    found = to_records(data, DTYPE)
    assert found.dtype == DTYPE
    assert found.tobytes() == EXPECTED.tobytes()


def with_(**changes: Any) -> dict[str, Any]:
    return {**dict(zip(NAMES, ROW, strict=True)), **changes}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"s": b"abcde"}, "cut to 4"),
        ({"u": "abcd"}, "cut to 3"),
        ({"a": 2**31}, "outside"),
        ({"a": 2**80}, "out of range"),
        ({"a": 1.5}, "fraction"),
        ({"a": float("nan")}, "integer"),
        ({"a": None}, "missing"),
        ({"a": "1"}, "text"),
        ({"b": 2**53 + 1}, "exactly"),
        ({"b": "2"}, "text"),
        ({"s": 5}, "text"),
        ({"s": "é"}, "ASCII"),
        ({"t": np.datetime64("2020-01-01T00:00:00.5", "ms")}, "precision"),
        ({"t": dt.datetime(2020, 1, 1, microsecond=1)}, "precision"),
        ({"t": 5}, "datetime64"),
        ({"v": [1, 70_000]}, "outside"),
        ({"n": (1.5, 300)}, "outside"),
        ({"n": (1e300, 3)}, "overflows"),
    ],
    ids=str,
)
def test_a_value_that_would_change_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DTypeError, match=words) as info:
        to_records(with_(**changes), DTYPE)
    assert (info.value.column or "").split(".")[0] == next(iter(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"a": np.int64(7)},
        {"a": 7.0},
        {"a": True},
        {"b": 2**53},
        {"b": np.float32(0.1)},
        {"s": "ab"},
        {"s": b"ab\0\0\0\0"},
        {"u": np.bytes_(b"ab")},
        {"t": "2020-01-01T00:00:01"},
        {"t": dt.datetime(2020, 1, 1)},
        {"t": np.datetime64("NaT")},
        {"v": np.array([1, 2], "i8")},
        {"n": {"x": 1, "y": 2}},
    ],
    ids=str,
)
def test_an_exact_value_passes(changes: dict[str, Any]) -> None:
    name = next(iter(changes))
    found = to_records(with_(**changes), DTYPE)[name][0]
    if name == "n":
        assert found.item() == (1.0, 2)
    elif name == "t":
        assert found == np.datetime64(changes["t"], "s") or np.isnat(found)
    else:
        expected = changes[name]
        if isinstance(expected, (str, bytes)):
            expected = {"s": b"ab", "u": "ab"}[name]
        assert np.all(found == expected)


def test_the_row_of_a_bad_value_is_named() -> None:
    rows = np.zeros(5, [("a", "i8")])
    rows["a"][3] = 300
    with pytest.raises(DTypeError, match="row 103") as info:
        to_records(rows, np.dtype([("a", "u1")]), first_row=100)
    assert (info.value.row, info.value.column) == (103, "a")


def test_a_missing_field_takes_its_default_or_raises() -> None:
    short = {"a": [1, 2]}
    dtype = np.dtype([("a", "i4"), ("b", "f8")])
    assert to_records(short, dtype, {"b": 1.5})["b"].tolist() == [1.5, 1.5]
    with pytest.raises(DTypeError, match="fill_value"):
        to_records(short, dtype)


def test_an_extra_field_raises_with_the_nearest_name() -> None:
    with pytest.raises(DTypeError, match="did you mean 'price'"):
        to_records({"prise": [1.0]}, np.dtype([("price", "f8")]))


@pytest.mark.parametrize("data", [5, None, "text", np.arange(3), {1, 2}, {}])
def test_what_holds_no_rows_is_refused(data: Any) -> None:
    with pytest.raises(DTypeError):
        to_records(data, DTYPE)


@pytest.mark.parametrize(
    "data", [{"a": [1], "b": [1, 2]}, {"a": 1, "b": [1.0, 2.0]}, np.zeros((2, 2), [("a", "i4")])]
)
def test_shapes_that_do_not_fit_are_refused(data: Any) -> None:
    with pytest.raises(ShapeError):
        to_records(data, np.dtype([("a", "i4"), ("b", "f8")]))


def test_an_iterator_is_read_in_blocks_and_rows_are_counted_through() -> None:
    dtype = np.dtype([("a", "u1")])
    blocks = list(iter_blocks(((i % 200,) for i in range(250)), dtype, n_rows=100))
    assert [len(b) for b in blocks] == [100, 100, 50]
    with pytest.raises(DTypeError, match="row 256"):
        list(iter_blocks(((i,) for i in range(300)), dtype, n_rows=100))


INTS = st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2", ">u8"])


@given(st.lists(st.integers(-(2**64), 2**65), min_size=1), INTS)
def test_integers_arrive_whole_or_raise(values: list[int], code: str) -> None:
    dtype = np.dtype(code)
    info = np.iinfo(dtype)
    fits = all(info.min <= v <= info.max for v in values)
    try:
        found = cast_values(values, dtype, column="c")
    except DTypeError:
        assert not fits
    else:
        assert fits
        assert found.tolist() == values
        assert found.dtype == dtype


@given(INTS, INTS, st.data())
def test_integer_arrays_arrive_whole_or_raise(
    source: str, target: str, data: st.DataObject
) -> None:
    have, want = np.iinfo(np.dtype(source)), np.iinfo(np.dtype(target))
    edges = [have.min, have.max, want.min, want.max, 0, 1, want.max + 1, want.min - 1]
    edges = [e for e in edges if have.min <= e <= have.max]
    values = data.draw(st.lists(st.sampled_from(edges), min_size=1))
    array = np.array(values, source)
    try:
        found = cast_values(array, np.dtype(target), column="c")
    except DTypeError:
        assert any(not want.min <= v <= want.max for v in values)
    else:
        assert found.tolist() == values


@given(st.lists(st.floats(), min_size=1), st.sampled_from(["f2", "f4", "f8", ">f4"]))
def test_floats_round_but_do_not_overflow(values: list[float], code: str) -> None:
    array = np.array(values)
    with np.errstate(over="ignore"):
        expected = array.astype(code)
    if (np.isinf(expected) & ~np.isinf(array)).any():
        with pytest.raises(DTypeError, match="overflows"):
            cast_values(array, np.dtype(code), column="c")
    else:
        found = cast_values(array, np.dtype(code), column="c")
        assert found.tobytes() == expected.tobytes()
