"""Records of the log: what is written comes back; what is cut or changed does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import CorruptDataError
from kist.format import layout
from kist.format.log import Freed, Record, Verify, unpack_record_at
from kist.format.values import Pointer

UUID = bytes(range(16))
U64 = st.integers(0, layout.MAX_COMMIT)
PLACES = st.integers(0, layout.MAX_OFFSET // 2)
SUMS = st.binary(min_size=16, max_size=16)
OPS = st.lists(
    st.tuples(st.integers(0, 2), st.binary(max_size=40), st.binary(max_size=60)), max_size=5
)
COMMON = {
    "commit": U64,
    "position": st.integers(0, 2**40),
    "time_ns": st.integers(-(2**63), 2**63 - 1),
    "horizon": U64,
    "end": PLACES,
    "next_node": st.integers(0, layout.MAX_NODE),
    "parent": SUMS,
    "flags": st.integers(0, 65535).map(lambda n: n & ~layout.FLAG_SEALED),  # tested apart
    "message": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
}
RECORDS = st.one_of(
    st.builds(
        Record,
        kind=st.just(layout.COMMIT_CHANGES),
        verify=st.lists(st.builds(Verify, PLACES, st.integers(0, 1 << 20), SUMS), max_size=4),
        used=st.lists(st.tuples(PLACES, PLACES), max_size=4),
        freed=st.lists(st.builds(Freed, PLACES, PLACES, U64, U64), max_size=4),
        ops=OPS,
        **COMMON,
    ),
    st.builds(
        Record,
        kind=st.just(layout.COMMIT_ROOT),
        root=st.one_of(
            st.none(),  # as zeros
            st.builds(
                Pointer,
                U64.map(lambda n: n & ~1),
                U64,
                st.integers(0, 2**32 - 1),
                st.integers(1, 9),
                SUMS,
            ),
        ),
        spare=st.tuples(PLACES, PLACES),
        **COMMON,
    ),
    st.builds(Record, kind=st.just(layout.COMMIT_MARK), **COMMON),
)


@given(record=RECORDS, before=st.binary(max_size=70), behind=st.binary(max_size=70))
def test_a_record_comes_back_wherever_it_stands(
    record: Record, before: bytes, behind: bytes
) -> None:
    data = record.pack(UUID)
    assert record.size == len(data)
    found = unpack_record_at(before + data + behind, len(before), record.position, UUID)
    assert found == record


@given(record=RECORDS, cut=st.integers(0, 10**6))
def test_a_record_that_is_cut_is_none(record: Record, cut: int) -> None:
    data = record.pack(UUID)
    for rest in (b"", bytes(500)):
        torn = data[: cut % len(data)] + rest
        found = unpack_record_at(torn, 0, record.position, UUID)
        # Zeros at its end may be what it had there.
        assert found is None or (found == record and torn[: len(data)] == data)


@given(record=RECORDS, at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_record_with_one_flipped_bit_is_none(record: Record, at: int, bit: int) -> None:
    data = bytearray(record.pack(UUID))
    data[at % len(data)] ^= 1 << bit
    assert unpack_record_at(bytes(data), 0, record.position, UUID) is None


@given(record=RECORDS)
def test_a_record_counts_only_in_its_place_and_its_store(record: Record) -> None:
    data = record.pack(UUID)
    assert unpack_record_at(data, 0, record.position + 64, UUID) is None
    assert unpack_record_at(data, 0, record.position, bytes(16)) is None
    assert unpack_record_at(bytes(64) + data, 0, record.position, UUID) is None


def a_record(**changed: object) -> Record:
    record = Record(layout.COMMIT_CHANGES, 1, 0, 0, 0, 0, 2, bytes(16))
    for name, value in changed.items():
        setattr(record, name, value)
    return record


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": 9},
        {"ops": [(3, b"k", b"v")]},
        {"commit": layout.MAX_COMMIT + 1},
        {"end": layout.MAX_OFFSET + 1},
        {"next_node": layout.MAX_NODE + 1},
        {"used": [(layout.MAX_OFFSET, 1)]},
        {"verify": [Verify(0, layout.UNSYNCED_RELAXED + 1, bytes(16))]},
    ],
)
def test_a_whole_record_that_breaks_the_format_is_damage(changed: dict[str, object]) -> None:
    data = a_record(**changed).pack(UUID)
    with pytest.raises(CorruptDataError, match="whole, but breaks the format"):
        unpack_record_at(data, 0, 0, UUID)


@given(payload=st.binary(max_size=200), kind=st.integers(0, 4))
def test_any_payload_under_a_right_sum_is_read_or_refused(payload: bytes, kind: int) -> None:
    class Forged(Record):
        def _payload(self) -> bytes:
            return payload

    data = Forged(kind, 1, 0, 0, 0, 0, 2, bytes(16)).pack(UUID)
    try:
        found = unpack_record_at(data, 0, 0, UUID)
    except CorruptDataError:
        return
    assert found is not None
    assert found.kind in (layout.COMMIT_CHANGES, layout.COMMIT_ROOT, layout.COMMIT_MARK)
