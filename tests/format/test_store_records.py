"""Super, slots, frames, values and keys: bytes of fixed shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import CorruptDataError, NotAStoreError, UnsupportedVersionError
from kist.format import keys, layout
from kist.format.frame import FrameHeader, unpack_frame
from kist.format.superblock import Slot, Super, unpack_slot, unpack_super
from kist.format.values import (
    KeptVersion,
    Pointer,
    extent_length,
    pack_free,
    pack_record,
    pack_waiting,
    pointer_bytes,
    unpack_free,
    unpack_record,
    unpack_waiting,
)

UUID = bytes(range(16))
U64 = st.integers(0, 2**64 - 1)
SMALL = st.integers(0, layout.MAX_NODE)
SUMS = st.binary(min_size=16, max_size=16)
# An odd offset marks a pointer of a sealed store.
OFFSETS = U64.map(lambda n: n & ~1)
POINTERS = st.builds(Pointer, OFFSETS, U64, st.integers(0, 2**32 - 1), U64, SUMS)
SLOTS = st.builds(
    Slot,
    checkpoint=SMALL,
    commit=SMALL,
    time_ns=st.integers(-(2**63), 2**63 - 1),
    position=SMALL,
    end=SMALL,
    next_node=SMALL,
    root=st.one_of(st.none(), POINTERS),
    chain=SUMS,
    spare=st.tuples(SMALL, SMALL),
)


def flipped(data: bytes, at: int, limit: int) -> bytes:
    changed = bytearray(data)
    changed[at % limit] ^= 1 << (at % 8)
    return bytes(changed)


# Super


def head(super_: Super) -> bytes:
    data = bytearray(layout.HEAD_BYTES)
    for offset in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        data[offset : offset + layout.BLOCK] = super_.pack()
    return bytes(data)


@given(created=st.integers(0, 2**62), ignorable=U64, at=st.integers(0, 10**6))
def test_either_super_is_enough(created: int, ignorable: int, at: int) -> None:
    super_ = Super(UUID, created, features_ignorable=ignorable)
    data = head(super_)
    assert unpack_super(data, "p") == super_
    assert unpack_super(bytes(layout.BLOCK) + data[layout.BLOCK :], "p") == super_
    assert unpack_super(data[: layout.SUPER_COPY_OFFSET], "p") == super_
    one = flipped(data, at, layout.SUPER.size)
    assert unpack_super(one, "p") == super_


def test_what_is_no_store_is_named() -> None:
    for data, message in (
        (b"", "empty"),
        (bytes(layout.HEAD_BYTES), "creation was cut off"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"PAR1" + bytes(100), "Parquet"),
        (b"some text", "another signature"),
    ):
        with pytest.raises(NotAStoreError, match=message):
            unpack_super(data, "p")


def test_a_store_of_the_future_is_refused() -> None:
    for changed in ({"features_read": 2}, {"features_read": 1 << 63}):
        with pytest.raises(UnsupportedVersionError, match="features"):
            unpack_super(head(Super(UUID, 1)._replace(**changed)), "p")
    data = bytearray(head(Super(UUID, 1)))
    data[8:10] = (2).to_bytes(2, "little")
    assert unpack_super(bytes(data), "p") == Super(UUID, 1)  # the other copy knows better
    at = layout.SUPER_COPY_OFFSET + 8
    data[at : at + 2] = data[8:10]
    with pytest.raises(UnsupportedVersionError, match="version 2"):
        unpack_super(bytes(data), "p")
    assert unpack_super(head(Super(UUID, 1, features_write=5)), "p").features_write == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"ring_half": 4096 * 4 + 1},
        {"ring_half": 4096},
        {"ring_half": 1 << 40},
        {"ring_offset": 0},
        {"data_offset": 2**63},
    ],
)
def test_an_impossible_geometry_is_damage(changed: dict[str, int]) -> None:
    with pytest.raises(CorruptDataError, match="geometry"):
        unpack_super(head(Super(UUID, 1)._replace(**changed)), "p")


def test_two_damaged_supers_are_damage() -> None:
    data = bytearray(head(Super(UUID, 1)))
    for offset in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        data[offset + 30] ^= 1
    with pytest.raises(CorruptDataError, match="fail their"):
        unpack_super(bytes(data), "p")


# Slots


@given(slot=SLOTS, at=st.integers(0, 10**6))
def test_a_slot_comes_back_or_is_none(slot: Slot, at: int) -> None:
    data = slot.pack(UUID)
    assert len(data) == layout.BLOCK
    assert unpack_slot(data, UUID) == slot
    assert unpack_slot(data, bytes(16)) is None
    assert unpack_slot(flipped(data, at, layout.SLOT.size), UUID) is None
    assert unpack_slot(data[: at % layout.SLOT.size], UUID) is None


@pytest.mark.parametrize("field", ["checkpoint", "commit", "position", "end", "next_node"])
def test_a_slot_that_names_the_impossible_is_none(field: str) -> None:
    slot = Slot(1, 1, 1, layout.RING_OFFSET, layout.DATA_OFFSET, 2, None, bytes(16))
    assert unpack_slot(slot._replace(**{field: 2**64 - 1}).pack(UUID), UUID) is None


# Frames


@given(
    header=st.builds(
        FrameHeader,
        type=st.binary(min_size=4, max_size=4),
        offset=U64,
        uuid=SUMS,
        node=U64,
        column=st.integers(0, 2**32 - 1),
        row=U64,
        birth=U64,
        length=U64,
        head=st.integers(0, 2**32 - 1),
        body_sum=SUMS,
        flags=st.integers(0, 65535),
    ),
    at=st.integers(0, 10**6),
)
def test_a_frame_header_comes_back_or_is_none(header: FrameHeader, at: int) -> None:
    data = header.pack()
    assert len(data) == 128
    assert unpack_frame(data + b"body") == header
    assert unpack_frame(flipped(data, at, 128)) is None
    assert unpack_frame(data[: at % 128]) is None


# Values


@given(payload=st.binary(max_size=50), pointers=st.lists(POINTERS, max_size=5))
def test_a_value_is_its_pointers_and_its_payload(payload: bytes, pointers: list[Pointer]) -> None:
    value = pack_record(payload, pointers)
    assert unpack_record(value) == (tuple(pointers), payload)
    assert pointer_bytes(value) == tuple(p.pack() for p in pointers)
    assert [Pointer.unpack(p) for p in pointer_bytes(value)] == pointers
    for cut in range(1 + 44 * len(pointers)):
        if pointers or cut == 0:
            with pytest.raises(CorruptDataError):
                unpack_record(value[:cut])
        if cut and pointers:
            with pytest.raises(CorruptDataError):
                pointer_bytes(value[:cut])


def test_a_value_owns_at_most_255_extents() -> None:
    pointer = Pointer(0, 0, 0, 0, bytes(16))
    assert len(unpack_record(pack_record(b"", [pointer] * 255))[0]) == 255
    with pytest.raises(ValueError, match="255"):
        pack_record(b"", [pointer] * 256)


@given(length=st.integers(0, 2**40))
def test_extents_have_room_for_header_and_body_in_units_of_64(length: int) -> None:
    assert extent_length(length) % 64 == 0
    assert 128 + length <= extent_length(length) < 128 + length + 64


@given(a=U64, b=U64)
def test_records_of_the_store_come_back(a: int, b: int) -> None:
    assert unpack_free(pack_free(a)) == a
    assert unpack_waiting(pack_waiting(a, b)) == (a, b)
    for short in (b"", b"\0", b"\0" + bytes(7)):
        with pytest.raises(CorruptDataError):
            unpack_free(short)
        with pytest.raises(CorruptDataError):
            unpack_waiting(short)
        with pytest.raises(CorruptDataError):
            KeptVersion.unpack(short)


@given(
    version=st.builds(
        KeptVersion,
        U64,
        U64,
        st.integers(-(2**63), 2**63 - 1),
        U64,
        U64,
        st.one_of(st.none(), POINTERS.filter(lambda p: p.pack() != bytes(44))),
        st.booleans(),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    )
)
def test_kept_versions_come_back(version: KeptVersion) -> None:
    assert KeptVersion.unpack(version.pack()) == version
    assert pointer_bytes(version.pack()) == ()  # its pages are shared: they are not owned


# Keys

NODES = st.integers(1, 2**56 - 1)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


@given(node=NODES, row=U64, leaf=st.integers(0, 2**32 - 1), seq=U64, name=NAMES)
def test_keys_say_what_they_were_made_of(
    node: int, row: int, leaf: int, seq: int, name: str
) -> None:
    for key, bounds in (
        (keys.child(node, name), keys.children(node)),
        (keys.attribute(node, leaf, name), keys.attributes(node, leaf)),
        (keys.group(node, row), keys.groups(node)),
        (keys.page(node, leaf, row), keys.pages(node, leaf)),
        (keys.patch(node, row, seq), keys.patches(node)),
        (keys.patch(node, row, seq), keys.patches(node, row)),
        (keys.deletion(node, row), keys.deletions(node)),
        (keys.schema(node), keys.whole_node(node)),
        (keys.node(node), keys.whole_node(node)),
    ):
        assert bounds[0] <= key < bounds[1]
        assert keys.whole_node(node)[0] <= key < keys.whole_node(node)[1]
        assert keys.node_of(key) == node
    assert keys.name_of(keys.child(node, name)) == name
    assert keys.name_of(keys.attribute(node, leaf, name)) == name
    assert keys.leaf_of(keys.page(node, leaf, row)) == leaf
    assert keys.row_of(keys.page(node, leaf, row)) == row
    assert keys.row_of(keys.group(node, row)) == row
    assert keys.row_of(keys.deletion(node, row)) == row
    assert keys.patch_of(keys.patch(node, row, seq)) == (row, seq)


@given(a=st.tuples(NODES, U64), b=st.tuples(NODES, U64))
def test_keys_sort_by_node_then_row(a: tuple[int, int], b: tuple[int, int]) -> None:
    assert (keys.group(*a) < keys.group(*b)) == (a < b)
    assert (keys.waiting(a[1], a[0]) < keys.waiting(b[1], b[0])) == ((a[1], a[0]) < (b[1], b[0]))


@given(prefix=st.binary(max_size=6), key=st.binary(max_size=9))
def test_a_prefix_range_holds_what_begins_with_it(prefix: bytes, key: bytes) -> None:
    start, stop = keys.prefix_range(prefix)
    assert (start <= key < stop) == key.startswith(prefix)


def test_keys_of_the_store_are_apart_from_those_of_nodes() -> None:
    for key in (keys.free(2**63), keys.waiting(2**63, 1), keys.version(7), keys.tag("x" * 200)):
        assert key < keys.whole_node(keys.ROOT)[0]
        assert keys.node_of(key) == keys.STORE
    assert keys.tag_of(keys.tag("übung")) == "übung"
    with pytest.raises(CorruptDataError):
        keys.tag_of(keys.tag("") + b"\xff")
