"""Extents written over and over: few syncs, a small file, and folding goes on."""

from __future__ import annotations

from typing import Any

import pytest

from kist.engine import Engine, Frame, Transaction
from kist.engine.writer import FOLD_EVERY
from kist.errors import CommitUnknownError
from kist.format import keys, layout
from kist.format.values import pack_record
from kist.storage import MemoryBackend, MemoryFile
from kist.testing.faults import Fault, FaultyBackend

NODE, OTHER = 5, 6
SIZE = 1_000_000


def overwrite(engine: Engine, number: int, size: int = SIZE) -> None:
    txn = engine.begin()
    txn.put(keys.group(NODE, 0), pack_record(b"", txn.write([_frame(number, size)])))
    txn.commit()


def _frame(number: int, size: int = SIZE) -> Frame:
    return Frame(layout.FRAME_BLOB, NODE, 0, 0, b"%d," % number * (size // len(b"%d," % number)))


@pytest.mark.parametrize("durability", ["full", "relaxed", "none"])
def test_a_megabyte_overwritten_costs_two_syncs_and_three_megabytes(durability: Any) -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a", durability=durability)
    overwrite(engine, 0)
    before = engine.backend.stats.syncs
    for number in range(1, 5 * FOLD_EVERY):
        overwrite(engine, number)
    assert engine.backend.stats.syncs - before < 2.2 * 5 * FOLD_EVERY
    assert engine.backend.size() < 3 * SIZE + layout.DATA_OFFSET + 100_000
    assert engine.check() == []
    engine.close()


def test_what_others_add_meanwhile_is_still_folded() -> None:
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a")
    told: list[frozenset[int]] = []

    def maintain(txn: Transaction, nodes: frozenset[int]) -> None:
        told.append(nodes)

    engine.maintain = maintain
    for number in range(3 * FOLD_EVERY):
        if number == 2:
            txn = engine.begin()
            txn.put(keys.group(OTHER, 0), b"\0")
            txn.commit()
        overwrite(engine, number)
        assert number < 2 * FOLD_EVERY or told
    assert any(OTHER in nodes for nodes in told)
    assert all(NODE in nodes for nodes in told)
    engine.close()


def test_history_shows_such_commits_as_commits() -> None:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a")
    for number in range(4):
        overwrite(engine, number)
        assert engine.history()[0].id == engine.commit
        assert engine.newest().commit == engine.commit
    engine.close()


def test_a_failed_one_leaves_what_was_there_or_all_of_it() -> None:
    at = 1
    while True:
        file = MemoryFile()
        Engine.open_backend(MemoryBackend(file), "a").close()
        backend = FaultyBackend(MemoryBackend(file))
        engine = Engine.open_backend(backend)
        overwrite(engine, 1)
        backend.faults = (Fault("any", backend.calls["any"] + at, persist=True),)
        unknown = True
        try:
            overwrite(engine, 2)
        except CommitUnknownError:
            pass
        except OSError:
            unknown = False
        else:
            break
        fresh = Engine.open_backend(MemoryBackend(file))
        value = fresh.newest().get(keys.group(NODE, 0))
        engine.backend.inner.close()  # type: ignore[attr-defined]
        assert value is not None
        assert fresh.commit == 1 or unknown
        overwrite(fresh, 3)
        assert fresh.check() == []
        fresh.close()
        at += 1
    assert at > 5
