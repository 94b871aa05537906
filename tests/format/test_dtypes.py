"""Dtypes as bytes: every one comes back, and no bytes do harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import CorruptDataError, DTypeError, FormatError
from kist.format.dtypes import MAX_DEPTH, pack_dtype, unpack_dtype
from kist.testing.strategies import dtypes


def same(a: np.dtype, b: np.dtype) -> bool:
    """Compare also what `==` between dtypes leaves out."""
    # Not the type of numbers: 'l' and 'q' are one int64 with two types.
    if a != b or a.str != b.str or a.isalignedstruct != b.isalignedstruct:
        return False
    if (a.type is np.record) != (b.type is np.record):
        return False
    if a.names is None:
        return a.subdtype is None or same(a.base, b.base)
    return a.names == b.names and all(
        same(a.fields[n][0], b.fields[n][0]) and a.fields[n][1:] == b.fields[n][1:] for n in a.names
    )


@given(dtypes())
def test_a_dtype_comes_back_equal_with_layout_titles_and_byte_order(dtype):
    assert same(unpack_dtype(pack_dtype(dtype)), dtype)


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtypes.StringDType(),
        np.dtypes.StringDType(coerce=False),
        np.dtypes.StringDType(na_object=None),
        np.dtypes.StringDType(na_object=np.nan),
        np.dtypes.StringDType(na_object="none"),
    ],
)
def test_string_dtypes_keep_their_missing_value(dtype):
    assert unpack_dtype(pack_dtype(dtype)) == dtype


@pytest.mark.parametrize("char", ["g", "G"])
def test_long_doubles_of_this_machine_are_shown_as_numpy_does(char):
    back = unpack_dtype(pack_dtype(np.dtype(char)))
    assert (repr(back), back.byteorder) == (repr(np.dtype(char)), "=")


def test_the_bytes_of_a_small_description_are_as_documented():
    dtype = np.dtype([("a", "<i4"), (("T", "b"), ">M8[25s]", (2,))])
    assert pack_dtype(dtype).hex(" ") == (
        "01 0d 00 14 00 00 00 02 00"
        " 00 00 00 00 00 01 61 02 00 04 00 00 00"
        " 04 00 00 00 01 01 62 01 54 0c 00 01 02 00 00 00 06 01 08 00 00 00 07 19 00 00 00"
    )


def test_objects_are_refused_with_advice():
    with pytest.raises(DTypeError, match=r"'n\.o' holds Python objects.*StringDType"):
        pack_dtype(np.dtype([("n", [("o", "O")])]))


def test_a_string_with_an_unknown_missing_value_is_refused():
    with pytest.raises(DTypeError, match="na_object=None"):
        pack_dtype(np.dtypes.StringDType(na_object=0))


def test_deep_nesting_is_refused_both_ways():
    dtype = np.dtype("i1")
    for _ in range(MAX_DEPTH):
        dtype = np.dtype([("x", dtype)])
    packed = pack_dtype(dtype)
    assert unpack_dtype(packed) == dtype
    with pytest.raises(DTypeError, match="nest more than"):
        pack_dtype(np.dtype([("x", dtype)]))
    level = packed[1 : 1 + (len(packed) - 7) // MAX_DEPTH]
    with pytest.raises(CorruptDataError, match="nested more than"):
        unpack_dtype(packed[:1] + level + packed[1:])


def test_an_alignment_this_machine_cannot_give_costs_only_the_flag():
    dtype = np.dtype({"names": ["a", "b"], "formats": ["i4", "f8"], "offsets": [0, 4]})
    packed = bytearray(pack_dtype(dtype))
    packed[2] |= 1
    assert unpack_dtype(bytes(packed)) == dtype


@given(dtypes(), st.data())
def test_damaged_descriptions_raise_format_errors_or_are_dtypes(dtype, data):
    packed = bytearray(pack_dtype(dtype))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = unpack_dtype(bytes(packed))
    except FormatError:
        return
    assert unpack_dtype(pack_dtype(got)) == got


@given(dtypes(), st.data())
def test_cut_or_lengthened_descriptions_raise(dtype, data):
    packed = pack_dtype(dtype)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(CorruptDataError):
        unpack_dtype(packed[:cut])
    with pytest.raises(CorruptDataError, match="too many"):
        unpack_dtype(packed + b"\0")


@given(st.binary(max_size=40))
def test_any_bytes_give_a_dtype_or_a_format_error(raw):
    try:
        unpack_dtype(b"\x01" + raw)
    except FormatError:
        pass
