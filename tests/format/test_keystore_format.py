"""Keys of key stores as bytes, and heads of bundles."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import kist
from kist.format.bundle import (
    Part,
    PartKind,
    bundle_damage,
    pack_bundle_head,
    unpack_bundle_head,
)
from kist.format.keystore import Counts, pack_key, pack_limit, sizes_of, unpack_key

INTS = st.integers(-(2**128), 2**128 - 1)
NEAR = st.builds(lambda power, off: 256**power + off, st.integers(0, 15), st.integers(-2, 2))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
KEYS = st.one_of(INTS, NEAR, NEAR.map(lambda n: -n), st.binary(min_size=1, max_size=20), TEXTS)


def place(key: Any) -> tuple[int, Any]:
    if isinstance(key, int):
        return 0, key
    return (1, key) if isinstance(key, bytes) else (2, key.encode())


@given(st.lists(KEYS))
def test_packed_keys_sort_as_the_keys_do_and_come_back(keys: list[Any]) -> None:
    packed = {pack_key(key): key for key in keys}
    assert [place(packed[raw]) for raw in sorted(packed)] == sorted({place(k) for k in keys})
    for raw, key in packed.items():
        found = unpack_key(raw)
        assert (type(found), found) == (type(key), key)


def test_the_page_gives_examples_of_keys() -> None:
    assert pack_key(5) == bytes.fromhex("2105")
    assert pack_key(-1) == bytes.fromhex("1f")
    assert pack_key(-300) == bytes.fromhex("1dfed4")
    assert pack_key(np.int16(-300)) == pack_key(-300)
    assert pack_key(np.str_("a")) == pack_key("a") == b"\x50a"


@pytest.mark.parametrize(
    "raw",
    ["", "40", "50", "50ff", "2100", "220001", "2101ff", "1eff", "1d00", "31", "0e", "60", "20ff"],
)
def test_bytes_that_are_no_key_are_refused(raw: str) -> None:
    with pytest.raises(kist.CorruptDataError):
        unpack_key(bytes.fromhex(raw))


def test_ends_of_ranges_need_not_be_keys() -> None:
    assert pack_limit("") < pack_key("\0") and pack_limit(b"") < pack_key(b"\0")
    assert pack_limit("") > pack_key(b"\xff" * 1000)
    assert pack_key(2**128 - 1) < pack_limit(2**200) < pack_limit(b"")
    assert pack_limit(-(2**200)) < pack_key(-(2**128))
    assert pack_limit("x" * 2000) > pack_key("x" * 1000)


def test_counts_come_back_and_short_ones_are_refused() -> None:
    counts = Counts(3, 2**40, 5, "fast")
    assert Counts.unpack(counts.pack()) == counts
    for value in (None, b"\0", counts.pack()[:20]):
        with pytest.raises(kist.CorruptDataError):
            Counts.unpack(value)
    for entry in (b"", b"\0", b"\0\1", b"\0\2abc"):
        with pytest.raises(kist.CorruptDataError):
            sizes_of(b"key", entry)


def head_of(*parts: Part, plain: bytes = b"") -> bytes:
    return pack_bundle_head(plain, list(parts))


def test_heads_that_do_not_add_up_are_refused() -> None:
    page = (64, 28, bytes(16))
    value = Part(PartKind.VALUE, np.dtype("u1"), (3,), 8, [page])  # type: ignore[list-item]
    array = Part(PartKind.ARRAY, np.dtype("f8"), (2, 3), 6, [page])  # type: ignore[list-item]
    good = head_of(array, value)
    assert [part.size for part in unpack_bundle_head(good, len(good) + 128).parts] == [6, 3]
    huge = Part(PartKind.ARRAY, np.dtype("f8"), (2**62,), 2**30, [page])  # type: ignore[list-item]
    many = Part(PartKind.ARRAY, np.dtype("f8"), (2**62,), 1, [page])  # type: ignore[list-item]
    wide = Part(PartKind.ARRAY, np.dtype("f8"), (3,), 8, [(20, 28, bytes(16))])  # type: ignore[list-item]
    none = Part(PartKind.ARRAY, np.dtype("f8"), (0,), 8, [])
    for head, length in (
        (good, len(good) + 64),
        (good, len(good) + 129),
        (good[:-64], len(good) + 64),
        (good[:20], 20),
        (b"XX" + good[2:], len(good) + 128),
        (head_of(value, array), len(good) + 128),
        (head_of(array), len(head_of(array)) + 64),  # without a value
        (head_of(value, plain=b"\0"), len(head_of(value, plain=b"\0")) + 64),  # with two
        (head_of(huge, plain=b"\0"), len(head_of(huge, plain=b"\0")) + 64),
        (head_of(many, plain=b"\0"), len(head_of(many, plain=b"\0")) + 64),
        (head_of(wide, plain=b"\0"), len(head_of(wide, plain=b"\0")) + 20),
        (head_of(none, plain=b"\0"), len(head_of(none, plain=b"\0"))),
        (good[:-1] + b"\1", len(good) + 128),
    ):
        with pytest.raises(kist.CorruptDataError):
            unpack_bundle_head(head, length)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_bundle_are_refused(data: bytes) -> None:
    for raw in (data, b"KV\1\0" + data):
        with pytest.raises(kist.KistError):
            bundle_damage(memoryview(raw), len(raw))
            raise kist.CorruptDataError("an empty bundle that is well made")
