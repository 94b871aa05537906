"""Giving space back: what lies behind free space moves into it."""

from __future__ import annotations

from kist.engine import Engine, Frame
from kist.format import keys, layout
from kist.format.values import pack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 7


def put(engine: Engine, number: int, size: int) -> None:
    txn = engine.begin()
    body = number.to_bytes(4, "little") * (size // 4)
    pointers = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, number, body)])
    txn.put(keys.group(NODE, number), pack_record(b"", pointers))
    txn.commit()


def test_an_extent_too_long_for_any_hole_waits_until_there_is_one() -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    for number in range(40):
        put(engine, number, 50_000)
    put(engine, 99, 300_000)  # the last of the file; the holes are of 50,000 bytes each
    txn = engine.begin()
    for number in range(0, 40, 2):
        txn.delete(keys.group(NODE, number))
    txn.commit()
    saved = engine.compact()
    live = 20 * 50_000 + 300_000
    assert saved > 900_000
    assert engine.backend.size() < layout.DATA_OFFSET + live + 100_000
    assert engine.check() == []
    with engine.newest() as snapshot:
        for number in [*range(1, 40, 2), 99]:
            value = snapshot.get(keys.group(NODE, number))
            assert value is not None
