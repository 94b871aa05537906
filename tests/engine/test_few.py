"""Small commits at the engine: what is refused leaves nothing, no old state is built on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kist.engine import Engine, Frame
from kist.engine.engine import Durability
from kist.engine.few import Few
from kist.format import keys, layout
from kist.format.values import pack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5
RECORD = pack_record(b"value")


def key(n: int) -> bytes:
    return keys.group(NODE, n)


def contents(engine: Engine) -> dict[bytes, bytes]:
    return dict(engine.newest().scan(*keys.groups(NODE)))


def engine_on(backend: MemoryBackend, durability: Durability = "full") -> Engine:
    """An engine that has just made a commit with a record in an extent."""
    engine = Engine.open_backend(backend, "a", timeout=0, durability=durability)
    txn = engine.begin()
    txn.put(key(1), RECORD)
    txn.put(key(2), pack_record(b"", txn.write([Frame(b"BLOB", NODE, 0, 1, b"z" * 5000)])))
    txn.commit()
    return engine


@pytest.fixture
def engine() -> Engine:
    return engine_on(MemoryBackend())


def one(at: bytes, value: bytes, old: bytes | None = None) -> Callable[[Few], bool]:
    def write(few: Few) -> bool:
        few.put(at, value, old=old)
        return True

    return write


def test_records_are_there_when_it_returns(engine: Engine) -> None:
    before = engine.commit
    assert engine.put_few(before, one(key(3), RECORD)) is True
    assert engine.commit == before + 1
    assert contents(engine)[key(3)] == RECORD
    assert engine.check() == []


@pytest.mark.parametrize("what", ["new extents", "old extents", "short key", "long key", "empty"])
def test_what_is_no_small_record_takes_a_transaction(engine: Engine, what: str) -> None:
    owner, before, commit = contents(engine)[key(2)], contents(engine), engine.commit
    write = {
        "new extents": one(key(3), owner),
        "old extents": one(key(2), RECORD, owner),
        "short key": one(key(3)[:8], RECORD),
        "long key": one(key(3) + bytes(layout.MAX_KEY), RECORD),
        "empty": one(key(3), b""),
    }[what]

    def after_another(few: Few) -> bool:
        few.put(key(9), RECORD)
        return write(few)

    assert engine.put_few(commit, after_another) is None
    assert contents(engine) == before and engine.commit == commit
    assert engine.put_few(commit, one(key(4), RECORD)) is True
    assert contents(engine) == before | {key(4): RECORD}


def test_a_step_that_fails_after_it_has_put_something_leaves_nothing(engine: Engine) -> None:
    before, commit = contents(engine), engine.commit

    def fails(few: Few) -> bool:
        few.put(key(3), RECORD)
        assert few.get(key(3)) == RECORD  # it sees what it has put
        raise RuntimeError

    with pytest.raises(RuntimeError):
        engine.put_few(commit, fails)
    assert contents(engine) == before and engine.commit == commit
    assert not engine.backend.locks.writer_held()
    txn = engine.begin()
    txn.put(key(4), RECORD)
    txn.commit()
    assert contents(engine) == before | {key(4): RECORD}
    assert engine.put_few(engine.commit, one(key(5), RECORD)) is True


def test_more_than_a_record_of_the_log_holds_takes_a_transaction(engine: Engine) -> None:
    before, commit = contents(engine), engine.commit

    def many(few: Few) -> bool:
        for n in range(3, 3 + layout.MAX_RECORD // 900 + 1):
            few.put(key(n), pack_record(bytes(900)))
        return True

    assert engine.put_few(commit, many) is None
    assert contents(engine) == before and engine.check() == []


@pytest.mark.parametrize("how", ["changes", "tree", "relaxed"])
@pytest.mark.parametrize("mode", ["full", "relaxed", "none"])
def test_what_others_have_committed_is_not_written_over(how: str, mode: Durability) -> None:
    file = MemoryFile()
    engine = engine_on(MemoryBackend(file), mode)
    # Its records stand closer to each other than those of "full".
    durability: Durability = "relaxed" if how == "relaxed" else "full"
    other = Engine.open_backend(MemoryBackend(file), "r+", timeout=0, durability=durability)
    txn = other.begin()
    txn.put(key(7), RECORD)
    txn.commit()
    if how == "tree":
        other.checkpoint()
    assert engine.put_few(engine.chain.state.commit, one(key(3), RECORD)) is None
    txn = engine.begin()
    txn.put(key(3), RECORD)
    txn.commit()
    assert engine.put_few(engine.commit, one(key(4), RECORD)) is True
    for looked_at in (engine, other, Engine.open_backend(MemoryBackend(file), "r")):
        assert {key(n) for n in (1, 2, 3, 4, 7)} == set(contents(looked_at))
        assert looked_at.check() == []


@pytest.mark.parametrize("what", ["fork", "close", "distrust"])
def test_a_handle_that_may_not_go_on_does_nothing(engine: Engine, what: str) -> None:
    commit, file = engine.commit, bytes(engine.backend.file.data)  # type: ignore[attr-defined]
    if what == "fork":
        engine.backend.forked = True
    elif what == "close":
        engine.closed = True
    else:
        engine.distrust()  # memory ran out while it followed others
    assert engine.put_few(commit, one(key(3), RECORD)) is None
    assert bytes(engine.backend.file.data) == file  # type: ignore[attr-defined]
    assert not engine.backend.locks.writer_held()


def test_another_thread_may_follow_others_just_before_the_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = MemoryFile()
    engine, real = engine_on(MemoryBackend(file)), MemoryBackend.take_turn
    other = Engine.open_backend(MemoryBackend(file), "r+", timeout=0)

    def take_turn(backend: MemoryBackend, *places: Any) -> Any:
        if backend is engine.backend and other.commit == commit:
            txn = other.begin()
            txn.put(key(7), RECORD)
            txn.commit()
            assert engine.refresh() == commit + 1
        return real(backend, *places)

    commit = engine.commit
    monkeypatch.setattr(MemoryBackend, "take_turn", take_turn)
    assert engine.put_few(commit, one(key(3), RECORD)) is None
    assert {key(n) for n in (1, 2, 7)} == set(contents(engine)) and engine.check() == []


def test_a_path_that_leads_elsewhere_ends_the_turn(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryBackend, "same_file", lambda self: False)
    assert engine.put_few(engine.commit, one(key(3), RECORD)) is None
    assert not engine.backend.locks.writer_held()


def test_nobody_keeps_the_state_before_from_being_let_go(engine: Engine) -> None:
    commit = engine.newest().commit_id
    assert engine.backend.locks.pins(100) == [commit]
    assert engine.put_few(commit, one(key(3), RECORD)) is True
    assert engine.backend.locks.pins(100) == []


def test_an_older_commit_of_the_same_engine_is_no_ground(engine: Engine) -> None:
    commit = engine.commit
    assert engine.put_few(commit, one(key(3), RECORD)) is True
    assert engine.put_few(commit, one(key(3), pack_record(b"old"))) is None
    assert contents(engine)[key(3)] == RECORD


def test_no_block_with_an_acknowledged_commit_is_written_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[tuple[int, int]] = []
    real = MemoryBackend.write

    def write(backend: MemoryBackend, offset: int, buffers: Any) -> None:
        places.append((offset, sum(map(len, buffers))))
        real(backend, offset, buffers)

    monkeypatch.setattr(MemoryBackend, "write", write)
    for n in range(3, 10):
        assert engine.put_few(engine.commit, one(key(n), RECORD)) is True
    assert len(places) == 7
    assert {offset % layout.BLOCK for offset, _ in places} == {0}
    assert {n for _, n in places} == {layout.BLOCK}
    assert len({offset for offset, _ in places}) == 7


@pytest.mark.parametrize("mode", ["relaxed", "none"])
def test_without_syncs_records_stand_close_to_each_other(mode: Durability) -> None:
    engine = engine_on(MemoryBackend(), mode)
    before = engine.chain.position
    syncs = engine.backend.stats.syncs
    for n in range(3, 10):
        assert engine.put_few(engine.commit, one(key(n), RECORD)) is True
    assert engine.chain.position - before < layout.BLOCK
    assert engine.backend.stats.syncs == syncs
    again = Engine.open_backend(MemoryBackend(engine.backend.file), "r")  # type: ignore[attr-defined]
    assert {key(n) for n in range(1, 10)} == set(contents(again)) and again.check() == []


def test_relaxed_syncs_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_on(MemoryBackend(), "relaxed")
    assert engine.put_few(engine.commit, one(key(3), RECORD)) is True
    syncs, horizon = engine.backend.stats.syncs, engine.chain.horizon
    assert horizon < engine.commit
    monkeypatch.setattr("kist.engine.writer.RELAXED_SYNC_S", -1.0)
    assert engine.put_few(engine.commit, one(key(4), RECORD)) is True
    assert engine.backend.stats.syncs == syncs + 1 and engine.chain.horizon == engine.commit


def test_what_is_retained_takes_a_transaction() -> None:
    engine = Engine.open_backend(MemoryBackend(), "a", retain=2)
    txn = engine.begin()
    txn.put(key(1), RECORD)
    txn.commit()
    assert engine.put_few(engine.commit, one(key(3), RECORD)) is None
    assert set(contents(engine)) == {key(1)}


def test_a_reader_of_the_same_engine_sees_it_at_once(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "few.kist", "x")
    try:
        txn = engine.begin()
        txn.put(key(1), RECORD)
        txn.commit()
        before = engine.newest()
        assert engine.put_few(engine.commit, one(key(3), RECORD)) is True
        assert engine.newest().get(key(3)) == RECORD
        assert before.get(key(3)) is None  # a snapshot stays as it is
    finally:
        engine.close()


def test_what_was_deleted_by_the_range_is_not_there(engine: Engine) -> None:
    engine.checkpoint()  # the records stand in the tree
    txn = engine.begin()
    txn.delete_range(*keys.groups(NODE))
    txn.commit()
    found = []

    def write(few: Few) -> bool:
        found.append(few.get(key(1)))
        few.put(key(1), RECORD)
        return True

    assert engine.put_few(engine.commit, write)
    assert found == [None]
    assert contents(engine) == {key(1): RECORD}
