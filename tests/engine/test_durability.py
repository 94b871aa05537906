"""When each mode syncs, and what stands on the disk by then."""

from __future__ import annotations

import pytest

from kist.engine import Durability, Engine, Frame, writer
from kist.format import keys, layout
from kist.format.values import pack_record
from kist.storage import MemoryBackend, MemoryFile
from kist.testing.recording import Recorder

NODE = 5


def put(engine: Engine, number: int, size: int = 0) -> None:
    txn = engine.begin()
    frames = [Frame(layout.FRAME_BLOB, NODE, 0, number, bytes(size))] if size else []
    txn.put(keys.group(NODE, number), pack_record(b"x", txn.write(frames)))
    txn.commit()


def syncs_of(engine: Engine, n: int, size: int = 0) -> int:
    before = engine.backend.stats.syncs
    for number in range(n):
        put(engine, number, size)
    return engine.backend.stats.syncs - before


@pytest.fixture
def recorder() -> Recorder:
    recorder = Recorder()
    Engine.open_backend(recorder.backend(), "a").close()
    return recorder


def opened(recorder: Recorder, durability: Durability) -> Engine:
    return Engine.open_backend(recorder.backend(), "r+", durability=durability)


@pytest.mark.parametrize("size", [0, 100, 60_000, 1 << 20])
def test_full_syncs_once_for_a_commit_of_up_to_a_megabyte(recorder: Recorder, size: int) -> None:
    engine = opened(recorder, "full")
    assert syncs_of(engine, 10, size) == 10
    engine.close()


def test_full_syncs_large_extents_before_the_record(recorder: Recorder) -> None:
    engine = opened(recorder, "full")
    assert syncs_of(engine, 1, layout.UNSYNCED_FULL) == 2
    kinds = ["data" if e.offset >= layout.DATA_OFFSET else e.kind for e in recorder.log[-4:]]
    assert kinds == ["data", "sync", "write", "sync"]
    engine.close()


def test_full_syncs_hardly_more_than_once_a_commit_in_the_long_run(recorder: Recorder) -> None:
    engine = opened(recorder, "full")
    assert syncs_of(engine, 300) < 300 * 1.08
    engine.close()


def test_full_never_writes_into_a_block_of_an_acknowledged_commit(recorder: Recorder) -> None:
    engine = opened(recorder, "full")
    start = len(recorder.log)
    syncs_of(engine, 20, 100)
    written = [
        event.offset // layout.BLOCK
        for event in recorder.log[start:]
        if event.kind == "write" and layout.RING_OFFSET <= event.offset < layout.DATA_OFFSET
    ]
    assert len(set(written)) == len(written) == 20
    engine.close()


def test_relaxed_syncs_after_some_bytes_some_time_and_at_the_end(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(writer.time, "monotonic", lambda: now)
    engine = opened(recorder, "relaxed")
    assert syncs_of(engine, 20, 1000) == 0
    now += 3.0
    assert syncs_of(engine, 5) == 1
    assert syncs_of(engine, 1, layout.UNSYNCED_RELAXED) == 1
    put(engine, 0)
    before = engine.backend.stats.syncs
    engine.sync()
    engine.close()
    assert engine.backend.stats.syncs == before + 1


def test_none_syncs_only_what_a_new_tree_needs(recorder: Recorder) -> None:
    engine = opened(recorder, "none")
    assert syncs_of(engine, 50, 1000) == 0
    before = engine.backend.stats.syncs
    engine.checkpoint()
    assert engine.backend.stats.syncs == before + 2
    put(engine, 0)
    engine.sync()
    assert engine.backend.stats.syncs == before + 3
    engine.close()


@pytest.mark.parametrize("durability", ["full", "relaxed", "none"])
def test_what_was_synced_is_shown_whatever_is_lost_later(
    recorder: Recorder, durability: Durability
) -> None:
    engine = opened(recorder, durability)
    for number in range(5):
        put(engine, number, 500)
    engine.sync()
    synced = len(recorder.log)
    for number in range(5, 9):
        put(engine, number, 500)
    data = bytearray(recorder.initial)
    for event in recorder.log[:synced]:
        if event.kind == "write":
            data.extend(bytes(max(0, event.offset + len(event.data) - len(data))))
            data[event.offset : event.offset + len(event.data)] = event.data
    disk = Engine.open_backend(MemoryBackend(MemoryFile(data)), "r")
    assert len(list(disk.newest().scan(*keys.groups(NODE)))) == 5
    disk.close()
    engine.close()


def test_a_new_handle_syncs_the_folder_before_its_first_commit(recorder: Recorder) -> None:
    engine = opened(recorder, "full")
    assert engine.backend.stats.directory_syncs == 0
    put(engine, 0)
    put(engine, 1)
    assert engine.backend.stats.directory_syncs == 1
    engine.close()


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_closing_vouches_for_the_last_commit(recorder: Recorder, durability: Durability) -> None:
    engine = opened(recorder, durability)
    put(engine, 0)
    commit = engine.commit
    assert Engine.open_backend(recorder.backend(), "r").chain.horizon < commit
    engine.close()
    assert Engine.open_backend(recorder.backend(), "r").chain.horizon == commit


def test_data_that_were_synced_are_not_written_again_by_the_next_writer(
    recorder: Recorder,
) -> None:
    first, second = opened(recorder, "none"), opened(recorder, "none")
    for number in range(6):
        put(first, number, layout.UNSYNCED_RELAXED - 5000)
    before = second.backend.stats.write_bytes
    put(second, 9)
    assert second.backend.stats.write_bytes - before < 2 * layout.UNSYNCED_RELAXED
    for engine in (first, second):
        engine.close()
