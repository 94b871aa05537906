"""Modes, what is created when, and two who create at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kist.engine import Engine, creation
from kist.errors import (
    CorruptDataError,
    NotAStoreError,
    ReadOnlyError,
    StoreClosedError,
    StoreExistsError,
    StoreLockedError,
    StoreNotFoundError,
)
from kist.format import keys, layout
from kist.format.values import pack_record
from kist.storage import FileBackend

NODE = 5


def put(engine: Engine, number: int) -> None:
    txn = engine.begin()
    txn.put(keys.group(NODE, number), pack_record(b"x"))
    txn.commit()


def rows(path: Path) -> list[int]:
    engine = Engine.open(path, "r")
    try:
        return [keys.row_of(key) for key, _ in engine.newest().scan(*keys.groups(NODE))]
    finally:
        engine.close()


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_reading_modes_create_nothing(path: Path, mode: str) -> None:
    with pytest.raises(StoreNotFoundError):
        Engine.open(path, mode)
    assert not path.exists()
    path.write_bytes(b"")
    with pytest.raises(NotAStoreError, match="empty"):
        Engine.open(path, mode)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("mode", ["a", "w", "x"])
def test_creating_modes_make_a_whole_store(path: Path, mode: str) -> None:
    Engine.open(path, mode).close()
    assert rows(path) == []
    assert path.stat().st_size == layout.DATA_OFFSET


def test_exclusive_refuses_any_file(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(StoreExistsError):
        Engine.open(path, "x")


def test_appending_keeps_and_writing_empties_at_the_first_commit(path: Path) -> None:
    engine = Engine.open(path, "w")
    put(engine, 0)
    engine.close()
    engine = Engine.open(path, "a")
    put(engine, 1)
    engine.close()
    assert rows(path) == [0, 1]
    engine = Engine.open(path, "w")
    assert rows(path) == [0, 1]  # a crash now would leave the old content
    txn = engine.begin()
    assert not list(txn.scan(*keys.groups(NODE)))
    txn.rollback()
    assert rows(path) == [0, 1]
    put(engine, 2)
    assert rows(path) == [2]
    put(engine, 3)
    engine.close()
    assert rows(path) == [2, 3]


def test_writing_without_a_commit_leaves_an_empty_store(path: Path) -> None:
    engine = Engine.open(path, "a")
    put(engine, 0)
    engine.tag("old")
    engine.close()
    Engine.open(path, "w").close()
    assert rows(path) == []
    engine = Engine.open(path)
    assert engine.tags() == {}
    engine.close()


@pytest.mark.parametrize(
    "content",
    [
        b"important notes",
        b"\x89HDF\r\n\x1a\n" + bytes(5000),
        bytes(50_000) + b"numbers that begin with many zeros",
        bytes(200) + b"numbers" + bytes(50_000),
    ],
)
def test_foreign_files_are_overwritten_only_on_demand(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for mode in ("r", "r+", "a", "w"):
        with pytest.raises(NotAStoreError):
            Engine.open(path, mode)
        assert path.read_bytes() == content
    Engine.open(path, "w", overwrite=True).close()
    assert rows(path) == []


def test_a_foreign_file_is_not_cut_while_another_makes_a_store_of_it(path: Path) -> None:
    path.write_bytes(b"important notes")
    other = FileBackend(path, writable=True)
    other.locks.acquire_writer(0)
    with pytest.raises(StoreLockedError):
        Engine.open(path, "w", overwrite=True, timeout=0.01)
    assert path.read_bytes() == b"important notes"
    opened: list[Engine] = []
    waiting = threading.Thread(target=lambda: opened.append(Engine.open(path, "w", overwrite=True)))
    waiting.start()
    other.resize(0)
    creation.create(other)
    uuid = other.read(16, 16)
    other.locks.release_writer()
    waiting.join()
    assert opened[0].uuid == uuid
    opened[0].close()
    other.close()


def test_many_who_open_a_new_file_at_once_share_one_store(path: Path) -> None:
    engines: list[Engine] = []
    start = threading.Barrier(6)

    def work(number: int) -> None:
        start.wait()
        engine = Engine.open(path, "a", durability="none")
        put(engine, number)
        engines.append(engine)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({engine.uuid for engine in engines}) == 1
    assert rows(path) == list(range(6))
    for engine in engines:
        engine.close()


def test_a_creation_that_was_cut_off_is_begun_again(path: Path) -> None:
    Engine.open(path, "a").close()
    whole = path.read_bytes()
    supers = (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET)
    cut = bytearray(whole)
    for offset in supers:
        cut[offset : offset + layout.BLOCK] = bytes(layout.BLOCK)
    for content in (bytes(cut), bytes(cut[:9000]), bytes(5)):
        path.write_bytes(content)
        with pytest.raises(NotAStoreError):
            Engine.open(path, "r")
        Engine.open(path, "a").close()
        assert rows(path) == []
    for offset in supers:  # either super may be missing
        one = bytearray(whole)
        one[offset : offset + layout.BLOCK] = bytes(layout.BLOCK)
        path.write_bytes(one)
        engine = Engine.open(path, "a")
        assert engine.uuid == whole[16:32]
        engine.close()


def test_a_file_cut_within_its_log_is_damaged(path: Path) -> None:
    engine = Engine.open(path, "a")
    put(engine, 0)
    engine.close()
    content = path.read_bytes()
    for size in (layout.HEAD_BYTES, layout.HEAD_BYTES + 5000, layout.DATA_OFFSET - 1):
        path.write_bytes(content[:size])
        for mode in ("r", "r+", "a"):
            with pytest.raises(CorruptDataError, match="cut short"):
                Engine.open(path, mode)


def test_unknown_modes_and_durabilities_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="mode"):
        Engine.open(path, "rb")
    with pytest.raises(ValueError, match="durability"):
        Engine.open(path, "a", durability="some")  # type: ignore[arg-type]


def test_a_reader_cannot_write_and_a_closed_engine_does_nothing(path: Path) -> None:
    Engine.open(path, "a").close()
    engine = Engine.open(path, "r")
    for write in (engine.begin, engine.checkpoint, lambda: engine.tag("a")):
        with pytest.raises(ReadOnlyError):
            write()
    engine.close()
    engine.close()
    for call in (engine.newest, engine.snapshot, engine.refresh, engine.begin, engine.history):
        with pytest.raises(StoreClosedError):
            call()
