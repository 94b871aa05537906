"""A handle notices every newer commit, and asks for it with two small reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.engine import Engine
from kist.errors import KistError, StaleHandleError
from kist.format import keys, layout
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile
from kist.testing.faults import Fault, FaultyBackend

NODE = 5
MODES = ("full", "relaxed", "none")


def opened(file: MemoryFile, durability: str = "full", mode: str = "r+") -> Engine:
    return Engine.open_backend(MemoryBackend(file), mode, durability=durability)  # type: ignore[arg-type]


def made() -> MemoryFile:
    file = MemoryFile()
    opened(file, mode="a").close()
    return file


def put(engine: Engine, number: int, payload: bytes = b"x") -> int:
    txn = engine.begin()
    txn.put(keys.group(NODE, number), pack_record(payload))
    return txn.commit()


def put_bulk(engine: Engine, number: int) -> int:
    txn = engine.begin()
    txn.put_many((keys.group(NODE, number + i), pack_record(b"%d" % i * 90)) for i in range(300))
    return txn.commit()


def shown(engine: Engine) -> dict[int, bytes]:
    found = engine.newest().scan(*keys.groups(NODE))
    return {keys.row_of(key): unpack_record(value)[1] for key, value in found}


def look(engine: Engine) -> int:
    """Reads that one look for a newer commit takes when nothing has changed."""
    engine.newest()
    engine.newest()
    before = engine.backend.stats.reads
    engine.newest()
    return engine.backend.stats.reads - before


def small(engine: Engine) -> None:
    put(engine, 1)


def bulk(engine: Engine) -> None:
    put_bulk(engine, 1)


def checkpoint(engine: Engine) -> None:
    engine.checkpoint()


def both_halves_over(engine: Engine) -> None:
    engine.checkpoint()
    put(engine, 2)
    engine.checkpoint()


def both_halves_over_with_zeros(engine: Engine) -> None:
    # What a record of zeros runs over looks as if nothing had ever been there.
    for _ in range(2):
        engine.checkpoint()
        for number in range(20):
            put(engine, number, bytes(4000))


def compaction(engine: Engine) -> None:
    put_bulk(engine, 1000)
    txn = engine.begin()
    txn.delete_range(*keys.groups(NODE))
    txn.commit()
    engine.compact()


def tag(engine: Engine) -> None:
    engine.tag("t")


def closed(engine: Engine) -> None:
    """Leave a mark, then commit behind it."""
    put(engine, 3)
    file = engine.backend.file  # type: ignore[attr-defined]
    engine.close()
    with_mark = opened(file)
    put(with_mark, 4)
    with_mark.close()


ADVANCES = [
    small,
    bulk,
    checkpoint,
    both_halves_over,
    both_halves_over_with_zeros,
    compaction,
    tag,
    closed,
]


@pytest.mark.parametrize("before", [small, bulk, checkpoint, closed, both_halves_over_with_zeros])
@pytest.mark.parametrize("advance", ADVANCES)
@pytest.mark.parametrize("durability", MODES)
def test_whatever_another_handle_does_is_noticed(
    before: Callable[[Engine], None], advance: Callable[[Engine], None], durability: str
) -> None:
    file = made()
    before(opened(file, durability))
    reader = opened(file, mode="r")
    assert look(reader) == 2
    writer = opened(file, durability)
    start = writer.refresh()
    advance(writer)
    fresh = opened(file, mode="r")
    assert reader.newest().commit == fresh.commit > start
    assert shown(reader) == shown(fresh)
    assert look(reader) == 2


@pytest.mark.parametrize("durability", MODES)
@pytest.mark.parametrize("advance", [small, bulk, checkpoint, both_halves_over_with_zeros])
def test_a_look_costs_two_reads_also_after_own_commits(
    advance: Callable[[Engine], None], durability: str
) -> None:
    engine = opened(MemoryFile(), durability, "a")
    assert look(engine) == 2
    for _ in range(3):
        advance(engine)
        assert look(engine) == 2


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["put", "zeros", "large", "bulk", "checkpoint", "reopen"]),
        st.sets(st.integers(0, 2)),
    ),
    min_size=1,
    max_size=60,
)


@given(steps=STEPS, modes=st.tuples(*[st.sampled_from(MODES)] * 3))
def test_a_handle_that_slept_shows_the_newest_commit(
    steps: list[tuple[int, str, set[int]]], modes: tuple[str, str, str]
) -> None:
    file = made()
    writers = [opened(file, mode) for mode in modes]
    readers = [opened(file, mode="r") for _ in modes]
    for number, (which, step, awake) in enumerate(steps):
        writer = writers[which]
        if step == "checkpoint":
            writer.checkpoint()
        elif step == "bulk":
            put_bulk(writer, number)
        elif step == "reopen":
            writer.close()
            writers[which] = opened(file, modes[which])
        else:
            size = {"put": 1, "zeros": 4096 * (number % 7), "large": 6000}[step]
            put(writer, number % 9, bytes(size) if step == "zeros" else b"%d" % number * size)
        for reader in awake:
            assert readers[reader].refresh() == writers[which].refresh()
    newest = opened(file, mode="r").commit
    assert [engine.refresh() for engine in (*readers, *writers)] == [newest] * 6


@pytest.mark.parametrize("durability", MODES)
@pytest.mark.parametrize("cut", [1, 4, 80, 96, 128, 200, 4095])
def test_a_record_seen_half_written_is_seen_when_it_is_whole(durability: str, cut: int) -> None:
    file = made()
    writer, reader = opened(file, durability), opened(file, mode="r")
    put(writer, 0)
    assert look(reader) == 2
    before = bytes(file.data)
    put(writer, 1, b"y" * 4000)
    after = bytes(file.data)
    first = next(at for at in range(len(before)) if before[at] != after[at])
    file.data[:] = before
    file.data[first : first + cut] = after[first : first + cut]
    for _ in range(3):
        reader.refresh()
        assert sorted(shown(reader)) == [0]
    file.data[:] = after
    assert sorted(shown(reader)) == [0, 1]
    assert look(reader) == 2


def test_a_slot_written_after_its_root_record_was_followed_is_noticed() -> None:
    file = made()
    writer, reader = opened(file), opened(file, mode="r")
    put(writer, 0)
    before = bytes(file.data)
    writer.checkpoint()
    slots = slice(layout.SLOT_OFFSETS[0], layout.HEAD_BYTES)
    after = bytes(file.data[slots])
    file.data[slots] = before[slots]
    assert look(reader) == 2  # it has the root record and not the slot
    assert reader.commit == writer.commit
    file.data[slots] = after
    put(writer, 1)  # in the other half
    assert sorted(shown(reader)) == [0, 1]


def test_a_slot_finished_by_another_writer_is_noticed() -> None:
    # The first one dies between a root record in the last block of a half and its slot.
    file = made()
    engine, reader = opened(file), opened(file, mode="r")
    while engine.ring.room(engine.chain.position) >= 4 * layout.BLOCK:
        put(engine, 0)
    put(engine, 0, bytes(4000))  # two blocks of three: one is left for the root record
    slots = slice(layout.SLOT_OFFSETS[0], layout.HEAD_BYTES)
    before = bytes(file.data[slots])
    engine.begin().rollback()  # begins with a checkpoint
    file.data[slots] = before
    assert look(reader) == 2
    other = opened(file)
    assert other.ring.room(other.chain.position) < layout.BLOCK
    put(other, 7)
    assert 7 in shown(reader)
    assert reader.commit == other.commit


def test_while_a_slot_is_damaged_the_other_half_is_looked_at_each_time() -> None:
    file = made()
    writer, reader = opened(file), opened(file, mode="r")
    put(writer, 0)
    reader.newest()
    writer.checkpoint()
    number = max(range(2), key=lambda n: writer.slots[n].checkpoint)  # type: ignore[union-attr]
    file.data[layout.SLOT_OFFSETS[number] + 30] ^= 1
    reader.newest()
    reader.newest()
    put(writer, 1)
    assert sorted(shown(reader)) == [0, 1]


def test_another_store_in_the_same_file_is_noticed() -> None:
    file = made()
    writer, reader = opened(file), opened(file, mode="r")
    put(writer, 0)
    assert look(reader) == 2
    file.data[:] = made().data
    with pytest.raises(StaleHandleError):
        reader.newest()
    with pytest.raises(StaleHandleError):
        writer.begin()


@pytest.mark.parametrize("left", [0, 100, 0x4000, 0x5000])
def test_a_file_cut_by_another_process_is_no_crash(path: Path, left: int) -> None:
    engine = Engine.open(path, "a")
    put(engine, 0)
    assert look(engine) == 2
    os.truncate(path, left)
    try:
        assert engine.newest().commit == 1
    except KistError:
        pass
    engine.backend.close()


def test_a_failed_commit_of_the_handle_itself_hides_nothing() -> None:
    file = made()
    fault = FaultyBackend(MemoryBackend(file))
    engine, other = Engine.open_backend(fault), opened(file)
    put(engine, 0)
    assert look(engine) == 2
    txn = engine.begin()
    txn.put(keys.group(NODE, 1), pack_record(b"y"))
    fault.faults = (Fault("write", fault.calls["write"] + 1),)
    with pytest.raises(OSError, match="Input/output"):
        txn.commit()
    assert sorted(shown(engine)) == [0]
    put(other, 2)
    assert sorted(shown(engine)) == [0, 2]


STEP_BY_STEP = """
import sys
from kist.engine import Engine
from kist.format import keys
from kist.format.values import pack_record

engine = None
for line in sys.stdin:
    step, mode = line.split()
    if engine is None or engine.durability != mode:
        if engine is not None:
            engine.close()
        engine = Engine.open(sys.argv[1], "r+", durability=mode)
    if step == "checkpoint":
        engine.checkpoint()
    elif step == "compact":
        engine.compact()
    else:
        txn = engine.begin()
        size = {"small": 10, "zeros": 9000, "bulk": 60000}[step]
        txn.put(keys.group(5, engine.commit % 50), pack_record(bytes(size)))
        txn.commit()
    print(engine.commit, flush=True)
"""


def test_commits_of_another_process_are_noticed_at_once(path: Path) -> None:
    reader = Engine.open(path, "a")
    command = [sys.executable, "-c", STEP_BY_STEP, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        steps = ["small", "zeros", "bulk", "checkpoint", "small", "compact", "zeros", "zeros"]
        for number in range(200):
            process.stdin.write(f"{steps[number % 8]} {MODES[number // 23 % 3]}\n")
            process.stdin.flush()
            commit = int(process.stdout.readline())
            if number % 5 or number % 40 > 20:  # sometimes it sleeps for a while
                assert reader.newest().commit == commit
                assert reader.newest().commit == commit
        process.stdin.close()
        assert process.wait() == 0
    assert reader.check() == []
    reader.close()
