"""Plain values come back with their exact types; hostile bytes raise."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kist.errors import DTypeError, FormatError
from kist.format.cursor import pack_blob, pack_varint
from kist.format.plain import MAX_DEPTH, pack_value, unpack_value

ZONES = st.one_of(
    st.none(),
    st.just(dt.UTC),
    st.just(dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
    st.sampled_from(["Europe/Berlin", "America/New_York"]).map(zoneinfo.ZoneInfo),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=ZONES),
    st.timedeltas(),
    st.decimals(allow_nan=False),
)
HASHABLE = st.one_of(LEAVES, st.tuples(LEAVES), st.frozensets(st.integers()))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.sets(st.integers(), max_size=4),
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(map(same, [*a, *a.values()], [*b, *b.values()]))
    return bool(a == b)


@given(VALUES)
def test_a_plain_value_comes_back_with_its_types(value: Any) -> None:
    assert same(unpack_value(pack_value(value)), value)


@given(
    hnp.arrays(
        st.one_of(hnp.scalar_dtypes(), hnp.nested_dtypes(max_itemsize=64)),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_an_array_comes_back_bit_for_bit(array: np.ndarray) -> None:
    found = unpack_value(pack_value(array))
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


@pytest.mark.parametrize(
    "scalar",
    [
        np.float64(1.5),
        np.int8(-3),
        np.str_("é"),
        np.bytes_(b"x"),
        np.bool_(True),
        np.datetime64("2020-01-01T00:00:01", "s"),
        np.timedelta64(3, "D"),
        np.longdouble("1.1"),
    ],
    ids=lambda s: type(s).__name__,
)
def test_a_numpy_scalar_is_not_a_python_number(scalar: np.generic) -> None:
    found = unpack_value(pack_value(scalar))
    assert type(found) is type(scalar)
    assert found.dtype == scalar.dtype
    assert found == scalar


def test_strings_with_missing_ones_come_back() -> None:
    array = np.array(["a", None, ""], dtype=np.dtypes.StringDType(na_object=None))
    found = unpack_value(pack_value(array))
    assert found.dtype == array.dtype
    assert found.tolist() == ["a", None, ""]


def test_signs_and_payloads_of_floats_are_kept() -> None:
    assert str(unpack_value(pack_value(-0.0))) == "-0.0"
    assert np.isnan(unpack_value(pack_value(float("nan"))))
    assert str(unpack_value(pack_value(Decimal("1.20")))) == "1.20"


def test_equal_sets_have_equal_bytes() -> None:
    assert pack_value({"a", "b", "c"}) == pack_value({"c", "a", "b"})


def test_a_list_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(DTypeError, match="hold itself"):
        pack_value(loop)


def test_nesting_up_to_the_limit_is_kept_and_deeper_is_refused() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert unpack_value(pack_value(value)) == value
    with pytest.raises(DTypeError):
        pack_value([value])


@pytest.mark.parametrize("value", [object(), len, np.array([object()]), np.ma.array([1])])
def test_other_objects_are_refused_by_name(value: Any) -> None:
    with pytest.raises(DTypeError):
        pack_value([value])


@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_corrupt(data: bytes) -> None:
    try:
        unpack_value(data)
    except FormatError:  # corrupt, or of a newer version
        return


@given(VALUES, st.data())
def test_cut_and_changed_bytes_are_a_value_or_corrupt(value: Any, data: st.DataObject) -> None:
    packed = bytearray(pack_value(value))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    for raw in (bytes(packed), bytes(packed[:at])):
        try:
            unpack_value(raw)
        except FormatError:
            continue


@pytest.mark.parametrize("n", [0, 1, 0x7F, 0x80, 0x3FFF, 0x4000, 0x20_0000])
def test_lengths_take_no_more_bytes_than_they_need(n: int) -> None:
    assert pack_blob(bytes(n)) == pack_varint(n) + bytes(n)
    assert len(pack_varint(n)) == max(1, -(-n.bit_length() // 7))
