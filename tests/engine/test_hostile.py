"""Files whose sums are right and whose contents are made to hurt: an error, never more."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kist.engine import Engine, Frame
from kist.errors import KistError
from kist.format import keys, layout, superblock
from kist.format.log import Freed, Record, Verify
from kist.format.values import KeptVersion, Pointer, pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5
HUGE = 2**64 - 1


def small_store() -> Engine:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    txn = engine.begin()
    txn.put(keys.group(NODE, 1), pack_record(b"x"))
    txn.commit()
    engine.checkpoint()
    return engine


def content(engine: Engine) -> bytearray:
    return bytearray(engine.backend.read(0, engine.backend.size()))


def with_slot(**changed: Any) -> bytes:
    """A store whose newer slot says something else."""
    engine = small_store()
    newest = max((s for s in engine.slots if s), key=lambda s: s.checkpoint)
    data = content(engine)
    block = newest._replace(**changed).pack(engine.uuid)
    place = layout.SLOT_OFFSETS[engine.slots.index(newest)]
    data[place : place + len(block)] = block
    return bytes(data)


def with_record(**changed: Any) -> bytes:
    """A store with one more record of the log."""
    engine = small_store()
    chain, state = engine.chain, engine.state
    record = Record(
        layout.COMMIT_CHANGES,
        state.commit + 1,
        chain.position,
        0,
        chain.horizon,
        state.end,
        state.next_node,
        chain.last,
    )
    for name, value in changed.items():
        setattr(record, name, value)
    block, data = record.pack(engine.uuid), content(engine)
    data[chain.position : chain.position + len(block)] = block
    return bytes(data)


def with_puts(*puts: tuple[bytes, bytes]) -> bytes:
    return with_record(ops=[(layout.OP_PUT, key, value) for key, value in puts])


def far(offset: int, length: int = 5, head: int = 5) -> bytes:
    return pack_record(b"", [Pointer(offset, length, head, 1, bytes(16))])


def version_of(commit: int) -> bytes:
    return KeptVersion(commit, commit, 0, layout.DATA_OFFSET, NODE + 1, None, True, "").pack()


RECORD = keys.group(NODE, 1)
FILES: dict[str, Callable[[], bytes]] = {
    "position of a slot": lambda: with_slot(position=HUGE),
    "position just below": lambda: with_slot(position=2**63 - 64),
    "position between records": lambda: with_slot(position=0x4001),
    "position among extents": lambda: with_slot(position=layout.DATA_OFFSET),
    "end of a slot": lambda: with_slot(end=2**62),
    "no end": lambda: with_slot(end=0),
    "next node of a slot": lambda: with_slot(next_node=HUGE),
    "commit of a slot": lambda: with_slot(commit=HUGE),
    "checkpoint of a slot": lambda: with_slot(checkpoint=HUGE),
    "root far away": lambda: with_slot(root=Pointer(2**63, 100, 100, 1, bytes(16))),
    "root too long": lambda: with_slot(root=Pointer(0x44000, 2**47, 2**32 - 1, 1, bytes(16))),
    "spare far away": lambda: with_slot(spare=(2**63, 2**63)),
    "spare over the header": lambda: with_slot(spare=(0, layout.DATA_OFFSET)),
    "to verify far away": lambda: with_record(verify=[Verify(2**63, 10, bytes(16))]),
    "to verify too long": lambda: with_record(verify=[Verify(0, HUGE, bytes(16))]),
    "to verify too often": lambda: with_record(verify=[Verify(0, 2**24, bytes(16))] * 500),
    "used far away": lambda: with_record(used=[(2**63, 2**63)]),
    "used header": lambda: with_record(used=[(0, layout.DATA_OFFSET)]),
    "freed header": lambda: with_record(freed=[Freed(0, layout.DATA_OFFSET, 0, 0)]),
    "freed twice": lambda: with_record(freed=[Freed(layout.DATA_OFFSET, 64, 0, 0)] * 2),
    "end of a record": lambda: with_record(end=HUGE),
    "horizon of a record": lambda: with_record(horizon=HUGE),
    "kind of a record": lambda: with_record(kind=7),
    "range backwards": lambda: with_record(ops=[(layout.OP_DELETE_RANGE, b"z", b"a")]),
    "empty key and value": lambda: with_puts((b"", b"")),
    "pointers cut off": lambda: with_puts((RECORD, b"\xff123")),
    "empty value": lambda: with_puts((RECORD, b"")),
    "free space with a short key": lambda: with_puts((bytes(8) + b"F1", pack_record(b"1"))),
    "free space without a length": lambda: with_puts((keys.free(2**20), pack_record(b"1"))),
    "version cut off": lambda: with_puts((keys.version(3), pack_record(b"1"))),
    "version of another commit": lambda: with_puts((keys.version(1), version_of(HUGE))),
    "version to come": lambda: with_puts((keys.version(2**63), version_of(2**63))),
    "tag without a name": lambda: with_puts((bytes(8) + b"T\xff", pack_record(bytes(16)))),
    "tag cut off": lambda: with_puts((keys.tag("a"), pack_record(b""))),
    "extent far away": lambda: with_puts((RECORD, far(2**63))),
    "extent in the header": lambda: with_puts((RECORD, far(0))),
    "extent too long": lambda: with_puts((RECORD, far(0x44000, 2**48, 2**32 - 1))),
    "extent with a large head": lambda: with_puts((RECORD, far(0x44000, 5, 2**32 - 1))),
}


def read_all(engine: Engine) -> None:
    view = engine.newest()
    for _, value in view.scan(b"", b"\xff" * 9):
        for pointer in unpack_record(value)[0]:
            view.read(pointer)


def write_some(engine: Engine) -> None:
    txn = engine.begin()
    try:
        txn.delete(RECORD)
        pointers = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, 2, b"z" * 100)])
        txn.put(keys.group(NODE, 2), pack_record(b"y", pointers))
        txn.commit()
    finally:
        txn.rollback()


CALLS: list[Callable[[Engine], object]] = [
    read_all,
    Engine.usage,
    Engine.check,
    Engine.history,
    Engine.tags,
    lambda engine: engine.snapshot(1),
    lambda engine: engine.snapshot("a"),
    write_some,
    Engine.checkpoint,
    lambda engine: engine.tag("b"),
    Engine.versions,
    lambda engine: engine.backup(engine.path + ".copy", overwrite=True),
    Engine.compact,
    Engine.close,
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_hostile_file_raises_only_errors_of_kist(path: Path, name: str, mode: str) -> None:
    path.write_bytes(FILES[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            engine = Engine.open(path, mode)
        except KistError:
            return
        for call in CALLS:
            try:
                call(engine)
            except KistError:
                assert not engine.backend.locks.writer_held()
        engine.close()


def test_a_record_that_breaks_the_format_is_listed_by_check(path: Path) -> None:
    path.write_bytes(with_puts((RECORD, b"\xff123"), (keys.group(NODE, 2), pack_record(b"ok"))))
    engine = Engine.open(path)
    assert [(p.where, p.key) for p in engine.check()] == [("tree", RECORD)]
    engine.close()


class Watched(MemoryBackend):
    """A memory file whose superblock and slots must be written to by nothing but themselves."""

    def write(self, offset: int, buffers: Any) -> None:
        length = sum(memoryview(b).nbytes for b in buffers)
        one_block = offset % layout.BLOCK == 0 and length <= layout.BLOCK
        assert offset >= layout.CLOSING_OFFSET or one_block, f"{length} bytes at {offset}"
        super().write(offset, buffers)


@pytest.mark.parametrize("position", [0, 1, 64, layout.SLOT_OFFSETS[0], layout.RING_OFFSET - 64])
@pytest.mark.parametrize("other", ["whole", "gone"])
def test_a_slot_cannot_send_the_log_over_the_header(position: int, other: str) -> None:
    data = bytearray(with_slot(position=position))
    uuid = bytes(data[16:32])
    if other == "gone":
        for at in layout.SLOT_OFFSETS:
            slot = superblock.unpack_slot(data[at:], uuid)
            if slot is None or slot.position != position:
                data[at : at + layout.BLOCK] = bytes(layout.BLOCK)
    file = MemoryFile()
    MemoryBackend(file).write(0, [bytes(data)])
    try:
        engine = Engine.open_backend(Watched(file), "r+")
    except KistError:  # no slot is left
        assert other == "gone"
        assert MemoryBackend(file).read(0, len(data)) == data
        return
    assert other == "whole"
    txn = engine.begin()
    txn.put(keys.group(NODE, 2), pack_record(b"y"))
    txn.commit()
    engine.checkpoint()
    engine.checkpoint()
    engine.close()
    engine = Engine.open_backend(Watched(file), "r+")
    assert engine.newest().get(keys.group(NODE, 2)) == pack_record(b"y")
    assert engine.check() == []
    engine.close()


@pytest.mark.parametrize("offset", [0, 2**30, 2**62, 2**64 - 256])
def test_what_stood_in_no_place_leaves_no_space_that_is_written_to(offset: int) -> None:
    file = MemoryFile()
    MemoryBackend(file).write(0, [with_puts((RECORD, far(offset, 2**20 if offset else 2**17)))])
    engine = Engine.open_backend(MemoryBackend(file), "r+")
    txn = engine.begin()
    txn.delete(RECORD)
    txn.commit()
    for n in range(6):
        txn = engine.begin()
        pointers = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, 2, bytes(2**19))])
        txn.put(keys.group(NODE, 2 + n), pack_record(b"y", pointers))
        txn.commit()
        engine.checkpoint()
    engine.compact()
    assert engine.check() == []
    assert engine.backend.size() < 2**24
    engine.close()
    engine = Engine.open_backend(MemoryBackend(file), "r+")
    read_all(engine)
    engine.begin().rollback()
    engine.close()
