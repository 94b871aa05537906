"""Values made to harm the reader are refused at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import CorruptDataError, FormatError
from kist.format.cursor import pack_blob, pack_varint
from kist.format.dtypes import pack_dtype
from kist.format.plain import MAX_EQUAL_HASHES, pack_value, unpack_value


def array_of(dtype, *shape: int, raw: bytes = b"") -> bytes:
    head = bytes([25]) + pack_varint(len(shape)) + b"".join(map(pack_varint, shape))
    return head + pack_blob(pack_dtype(np.dtype(dtype))) + raw


@pytest.mark.parametrize("dtype", ["S0", "U0", "V0", []])
def test_items_without_bytes_allocate_nothing_and_are_not_more_than_can_be_shown(dtype):
    got = unpack_value(array_of(dtype, 2**10, 2**10))
    assert got.shape == (2**10, 2**10)
    assert got.nbytes == 0
    assert got.dtype == np.dtype(dtype)
    with pytest.raises(CorruptDataError, match="values of no bytes"):
        unpack_value(array_of(dtype, 2**20, 2**19))


@pytest.mark.parametrize("shape", [(2**40,), (2**63, 2), (2**63, 0), (2**64 - 1,)])
def test_shapes_without_their_bytes_are_refused(shape):
    with pytest.raises(CorruptDataError):
        unpack_value(array_of("i8", *shape, raw=b"\0" * 8))


@pytest.mark.parametrize("tag", [18, 19, 20])
def test_keys_made_to_collide_are_refused(tag):
    n = MAX_EQUAL_HASHES + 1
    item = b"\0" if tag == 20 else b""
    keys = b"".join(pack_value(k * (2**61 - 1)) + item for k in range(n))
    with pytest.raises(CorruptDataError, match=f"{n} keys with one hash"):
        unpack_value(bytes([tag]) + pack_varint(n) + keys)
    many = set(range(5 * n))
    assert unpack_value(pack_value(many)) == many


def test_characters_beyond_unicode_are_refused():
    scalar = bytes([24]) + pack_blob(pack_dtype(np.dtype("U1")))
    assert unpack_value(scalar + "é".encode("utf-32-le")) == "é"
    with pytest.raises(CorruptDataError, match="not a character"):
        unpack_value(scalar + b"\xff" * 4)


@pytest.mark.parametrize("tag", [24, 25])
def test_strings_without_a_width_have_a_tag_of_their_own(tag):
    text = pack_blob(pack_dtype(np.dtypes.StringDType()))
    shape = b"" if tag == 24 else b"\1\1"
    with pytest.raises(CorruptDataError, match="StringDType"):
        unpack_value(bytes([tag]) + shape + text + b"\0" * 40)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


@given(VALUES, st.data())
def test_damaged_values_raise_format_errors_or_are_values(value, data):
    packed = bytearray(pack_value([value, np.arange(3), np.str_("x")]))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack_value(bytes(packed))
    except FormatError:
        pass
