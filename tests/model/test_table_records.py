"""The records of tables: what is packed comes back, what is damaged is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kist.errors import CorruptDataError
from kist.model.tables.stored.records import (
    GROUP_ROWS,
    INLINE,
    PAGES,
    GroupRecord,
    PageRecord,
    PatchPart,
    Tail,
    new_stamp,
    pack_dead,
    pack_ordinals,
    pack_patch,
    unpack_dead,
    unpack_ordinals,
    unpack_patch,
)

Array = np.ndarray[Any, Any]


@st.composite
def dead_rows(draw: st.DrawFn) -> Array:
    n = draw(st.sampled_from([2, 3, 7, 8, 9, 255, 256, 257, 4_000, GROUP_ROWS]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    if draw(st.booleans()):
        return np.asarray(rng.random(n) < draw(st.sampled_from([0.001, 0.1, 0.5, 0.99])))
    dead = np.zeros(n, bool)
    for _ in range(draw(st.integers(0, 4))):
        a, b = sorted(rng.integers(0, n + 1, 2))
        dead[a:b] ^= True
    return dead


@given(dead_rows())
def test_deleted_rows_come_back(dead: Array) -> None:
    assume(0 < dead.sum() < len(dead))  # a group without live rows goes
    packed = pack_dead(dead)
    assert np.array_equal(unpack_dead(packed, len(dead)), dead)
    assert len(packed) <= 5 + (len(dead) + 7) // 8


def test_a_slice_of_deleted_rows_takes_a_few_bytes() -> None:
    dead = np.zeros(GROUP_ROWS, bool)
    dead[1_000:50_000] = True
    assert len(pack_dead(dead)) == 5 + 3 * 2
    dead[:] = False
    dead[::2] = True
    assert len(pack_dead(dead)) == 5 + GROUP_ROWS // 8


@given(st.sets(st.integers(0, GROUP_ROWS - 1), min_size=1, max_size=60))
def test_ordinals_come_back(chosen: set[int]) -> None:
    ordinals = np.array(sorted(chosen), np.int64)
    found = unpack_ordinals(pack_ordinals(ordinals))
    assert found.dtype == np.int64
    assert np.array_equal(found, ordinals)


@given(st.integers(0, 60_000), st.integers(1, 300), st.integers(1, 18))
def test_evenly_spaced_ordinals_take_nine_bytes(first: int, step: int, n: int) -> None:
    ordinals = first + step * np.arange(n)
    ordinals = ordinals[ordinals < GROUP_ROWS]
    packed = pack_ordinals(ordinals)
    assert len(packed) == 9
    assert np.array_equal(unpack_ordinals(packed), ordinals)


def test_group_page_and_tail_records_come_back() -> None:
    group = GroupRecord(INLINE, 3, 7, 100, 90, b"rows")
    assert GroupRecord.unpack(group.pack()) == group
    pages = GroupRecord(PAGES, 0, 1, GROUP_ROWS, 1)
    assert GroupRecord.unpack(pages.pack()) == pages
    page = PageRecord(2**40, 1.5, b"recipe", b"statistics")
    assert PageRecord.unpack(page.pack()) == page
    tail = Tail(2**60, 2**59, 12, new_stamp())
    assert Tail.unpack(tail.pack()) == tail
    assert new_stamp() != new_stamp()


def test_patches_come_back() -> None:
    parts = [
        PatchPart((0, 3), np.array([1, 5, 9]), b"values"),
        PatchPart((70_000,), np.array([7, 8, 65_535]), b""),
    ]
    for part, found in zip(parts, unpack_patch(pack_patch(parts)), strict=True):
        assert found.leaves == part.leaves
        assert found.data == part.data
        assert np.array_equal(found.ordinals, part.ordinals)


DAMAGED: list[Any] = [
    (GroupRecord.unpack, b""),
    (GroupRecord.unpack, GroupRecord(PAGES, 0, 1, 5, 5).pack()[:-1]),
    (GroupRecord.unpack, GroupRecord(PAGES, 0, 1, 5, 6).pack()),
    (GroupRecord.unpack, GroupRecord(PAGES, 0, 1, 5, 0).pack()),
    (GroupRecord.unpack, GroupRecord(PAGES, 0, 1, GROUP_ROWS + 1, 1).pack()),
    (GroupRecord.unpack, GroupRecord(9, 0, 1, 5, 5).pack()),
    (Tail.unpack, Tail().pack()[:-1]),
    (Tail.unpack, b"\0" + Tail().pack()[1:]),
    (PageRecord.unpack, b"12"),
    (PageRecord.unpack, PageRecord(1, 1.0, b"recipe", b"").pack()[:-1]),
    (unpack_ordinals, b""),
    (unpack_ordinals, b"\x02\x05\0\x05\0"),
    (unpack_ordinals, b"\x01" + bytes(8)),
    (unpack_ordinals, b"\x03\x05\0"),
    (unpack_patch, b"\0"),
    (unpack_patch, pack_patch([PatchPart((1,), np.array([1]), b"xyz")])[:-1]),
    (unpack_patch, pack_patch([PatchPart((1,), np.array([1]), b"xyz")]) + b"z"),
    (lambda data: unpack_dead(data, 10), b""),
    (lambda data: unpack_dead(data, 10), pack_dead(np.arange(9) > 5)),
    (lambda data: unpack_dead(data, 9), pack_dead(np.arange(9) > 5)[:-1]),
    (lambda data: unpack_dead(data, 9), b"\x07" + pack_dead(np.arange(9) > 5)[1:]),
]


@pytest.mark.parametrize(("unpack", "data"), DAMAGED)
def test_a_damaged_record_is_refused(unpack: Any, data: bytes) -> None:
    with pytest.raises(CorruptDataError):
        unpack(data)


@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_bytes_are_a_record_or_refused(data: bytes, n_rows: int) -> None:
    for unpack in (
        GroupRecord.unpack, Tail.unpack, PageRecord.unpack, unpack_ordinals, unpack_patch,
        lambda raw: unpack_dead(raw, n_rows),
    ):  # fmt: skip
        try:
            unpack(data)
        except CorruptDataError as error:
            assert str(error)
