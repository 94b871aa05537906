"""What recovery takes, cuts, and calls damage."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest

from kist.engine import Engine, Frame, recovery
from kist.errors import CommitUnknownError, CorruptDataError, DamageWarning
from kist.format import keys, layout
from kist.format.values import Pointer, pack_record
from kist.storage import MemoryBackend, MemoryFile
from kist.testing.faults import Fault, FaultyBackend
from kist.testing.recording import Event, Recorder

NODE = 5


def put(engine: Engine, number: int, payload: bytes = b"x", blob: bytes = b"") -> list[Pointer]:
    txn = engine.begin()
    pointers = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, number, blob)] if blob else [])
    txn.put(keys.group(NODE, number), pack_record(payload, pointers))
    txn.commit()
    return pointers


def rows(engine: Engine, version: int | str | None = None) -> list[int]:
    with engine.snapshot(version) as view:
        return [keys.row_of(key) for key, _ in view.scan(*keys.groups(NODE))]


def opened(data: bytes, mode: str = "r+", durability: str = "full") -> Engine:
    backend = MemoryBackend(MemoryFile(data))
    return Engine.open_backend(backend, mode, durability=durability)  # type: ignore[arg-type]


def content(engine: Engine) -> bytearray:
    return bytearray(engine.backend.read(0, engine.backend.size()))


def apply(data: bytearray, events: Iterable[Event]) -> None:
    """Do to `data` what the writes among the events did."""
    for event in events:
        if event.kind == "write":
            end = event.offset + len(event.data)
            data.extend(bytes(max(0, end - len(data))))
            data[event.offset : end] = event.data


@pytest.mark.parametrize("after", ["full", "relaxed", "none"])
@pytest.mark.parametrize("before", ["full", "relaxed", "none"])
def test_a_record_that_was_cut_does_not_come_before_its_successor(before: str, after: str) -> None:
    engine = opened(b"", "a", before)
    put(engine, 0)
    engine.sync()
    put(engine, 1)
    lost = put(engine, 2, blob=b"z" * 1000)[0]
    data = content(engine)
    offset, length = lost.extent
    data[offset : offset + length] = bytes(length)  # the record came to the disk, this did not
    engine = opened(data, "r+", after)
    assert rows(engine) == [0, 1]
    for number in (10, 11, 12):
        put(engine, number)
    assert rows(opened(content(engine))) == [0, 1, 10, 11, 12]


def test_a_slot_whose_sync_failed_is_written_again_before_the_other_one_is_replaced() -> None:
    recorder = Recorder()
    engine = Engine.open_backend(recorder.backend(), "a")
    put(engine, 0)
    engine.checkpoint()
    put(engine, 1)
    failing = FaultyBackend(recorder.backend())
    dying = Engine.open_backend(failing, "r+")
    put(dying, 2)
    failing.faults = (Fault("sync", failing.calls["sync"] + 2),)
    disk, start = bytearray(recorder.file.data), len(recorder.log)
    with pytest.raises(CommitUnknownError):
        dying.checkpoint()
    # Its record and its slot are in the cache of the system, and never reach the disk; the
    # tree, which was synced before, does.
    apply(disk, [e for e in recorder.log[start:] if e.offset >= layout.DATA_OFFSET])
    start = len(recorder.log)
    engine = Engine.open_backend(recorder.backend(), "r+")
    put(engine, 3)
    apply(disk, recorder.log[start:])
    assert rows(opened(disk)) == [0, 1, 2, 3]
    # The next checkpoint is torn in its slot.
    start = len(recorder.log)
    engine.checkpoint()
    torn = [
        e._replace(data=e.data[:40]) if e.offset in layout.SLOT_OFFSETS else e
        for e in recorder.log[start:]
        if not layout.RING_OFFSET <= e.offset < layout.DATA_OFFSET
    ]
    apply(disk, torn)
    assert rows(opened(disk)) == [0, 1, 2, 3]


def test_an_older_commit_behind_damage_is_refused_not_replaced_by_another() -> None:
    engine = opened(b"", "a")
    for number in range(5):
        put(engine, number)
    position = engine.chain.seen[2].position
    engine.checkpoint()
    data = content(engine)
    assert rows(opened(data), 5) == [0, 1, 2, 3, 4]
    data[position + 150] ^= 1
    engine = opened(data)
    assert rows(engine, 2) == [0, 1]
    for version in (3, 4, 5):
        with pytest.raises(CorruptDataError, match="cannot be reached"):
            engine.snapshot(version)
    assert rows(engine) == [0, 1, 2, 3, 4]


def test_a_writer_does_not_go_on_behind_a_damaged_commit_of_another() -> None:
    file = MemoryFile()
    first = Engine.open_backend(MemoryBackend(file), "a")
    second = Engine.open_backend(MemoryBackend(file), "r+")
    for number in range(4):
        put(first, number)
    record = first.chain.seen[1]
    file.data[record.position + record.size - 1] ^= 1
    with pytest.raises(CorruptDataError, match="was durable"):
        second.begin()
    assert rows(second) == [0]
    assert rows(first) == [0, 1, 2, 3]


def test_a_writer_does_not_go_on_behind_a_damaged_commit_that_a_close_has_named() -> None:
    file = MemoryFile()
    first = Engine.open_backend(MemoryBackend(file), "a")
    put(first, 0)
    second = Engine.open_backend(MemoryBackend(file), "r+")
    for number in range(1, 4):
        put(first, number)
    record = first.chain.seen[-1]
    first.close()
    # The record, and the mark behind it that says so too.
    end = record.position + record.size
    file.data[end - 1 : end + 4096] = bytes(4097)
    with pytest.raises(CorruptDataError, match="commit 4 was durable"):
        second.begin()
    assert rows(second) == [0, 1, 2]


def test_a_record_that_says_it_is_longer_than_the_log_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = opened(b"", "a")
    for number in range(3):
        put(engine, number)
    record, half = engine.chain.seen[-1], engine.ring.half
    data = content(engine)
    struct.pack_into("<I", data, record.position + recovery._LENGTH_AT, (1 << 32) - 1)
    lengths = []
    read = MemoryBackend.read

    def noted(self: MemoryBackend, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read(self, offset, length)

    monkeypatch.setattr(MemoryBackend, "read", noted)
    assert rows(opened(data)) == [0, 1]
    assert max(lengths) <= half


def test_damage_to_any_record_but_the_last_is_told_from_a_torn_write() -> None:
    engine = opened(b"", "a")
    for number in range(6):
        put(engine, number)
    records = list(engine.chain.seen)
    whole = content(engine)
    for record in records[:-1]:
        for byte in (0, 20, 100, record.size - 1):
            data = bytearray(whole)
            data[record.position + byte] ^= 0x10
            with pytest.warns(DamageWarning, match="was durable"):
                reader = opened(data, "r")
            assert rows(reader) == list(range(record.commit - 1))
            with pytest.raises(CorruptDataError):
                opened(data)
    data = bytearray(whole)
    data[records[-1].position + 20] ^= 1
    assert rows(opened(data)) == list(range(5))


def test_after_an_orderly_close_damage_to_the_last_record_is_seen_too() -> None:
    recorder = Recorder()
    engine = Engine.open_backend(recorder.backend(), "a")
    for number in range(3):
        put(engine, number)
    record = engine.chain.seen[-1]
    engine.close()
    data = bytearray(recorder.file.data)
    data[record.position + record.size - 1] ^= 1
    with pytest.warns(DamageWarning, match="was durable"):
        assert rows(opened(data, "r")) == [0, 1]


@pytest.mark.parametrize("number", [0, 1])
def test_either_slot_may_be_damaged(number: int) -> None:
    engine = opened(b"", "a")
    expected = []
    for i in range(80):
        put(engine, i)
        expected.append(i)
        data = content(engine)
        data[layout.SLOT_OFFSETS[number] + 9] ^= 1
        other = opened(data)
        assert rows(other) == expected
        put(other, 1000)
        other.checkpoint()
        put(other, 1001)
        assert rows(opened(content(other))) == [*expected, 1000, 1001]


def test_without_slots_nothing_is_shown() -> None:
    engine = opened(b"", "a")
    put(engine, 0)
    data = content(engine)
    for offset in layout.SLOT_OFFSETS:
        data[offset + 9] ^= 1
    for mode in ("r", "r+", "a"):
        with pytest.raises(CorruptDataError, match="neither commit slot"):
            opened(data, mode)


def test_the_log_of_an_earlier_life_is_not_taken() -> None:
    engine = opened(b"", "a")
    for i in range(200):  # through both halves, several times
        put(engine, i % 5, b"%d" % i)
        if i % 13 == 5:
            fresh = opened(content(engine))
            assert fresh.commit == engine.commit
            assert fresh.chain.damage == ""


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_a_store_that_is_written_while_it_is_opened_shows_its_newest_commit(turns: int) -> None:
    file = MemoryFile()
    writer = Engine.open_backend(MemoryBackend(file), "a", durability="none")
    put(writer, 0)

    class Slow(MemoryBackend):
        def read(self, offset: int, n: int) -> bytes:
            data = super().read(offset, n)
            if offset == 0 and writer.commit == 1:  # the slots of before
                for number in range(1, 1 + turns):
                    put(writer, number)
                    writer.checkpoint()
            return data

    reader = Engine.open_backend(Slow(file), "r")
    assert (reader.commit, reader.slots) == (writer.commit, writer.slots)
    with reader.snapshot(opened_now=True) as view:
        assert [keys.row_of(key) for key, _ in view.scan(*keys.groups(NODE))] == list(
            range(1 + turns)
        )
    reader.close()
    writer.close()
