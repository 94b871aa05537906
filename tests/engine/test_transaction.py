"""What a transaction takes, refuses, owns and frees."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from kist.engine import Engine, Frame, Pointer, Transaction
from kist.errors import StoreLockedError, TransactionClosedError
from kist.format import keys, layout
from kist.format.values import pack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine.open_backend(MemoryBackend(MemoryFile()), "a", durability="none")
    yield engine
    engine.close()


def write(txn: Transaction, number: int, body: bytes = b"x" * 500) -> Pointer:
    pointer = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, number, body)])[0]
    txn.put(keys.group(NODE, number), pack_record(b"", [pointer]))
    return pointer


@pytest.mark.parametrize("size", [0, 1, 4096, 60_000, layout.MAX_VALUE])
def test_values_of_any_size_that_is_taken_come_back_after_opening(size: int) -> None:
    file = MemoryFile()
    engine = Engine.open_backend(MemoryBackend(file), "a")
    txn = engine.begin()
    for number in range(3):
        txn.put(keys.group(NODE, number), bytes(size))
    txn.commit()
    engine.checkpoint()
    engine.close()
    engine = Engine.open_backend(MemoryBackend(file), "r")
    view = engine.newest()
    assert [view.get(keys.group(NODE, n)) for n in range(4)] == [*[bytes(size)] * 3, None]
    assert dict(view.scan(*keys.groups(NODE))) == {
        keys.group(NODE, n): bytes(size) for n in range(3)
    }
    engine.close()


def test_keys_and_values_that_are_too_long_or_short_are_refused(engine: Engine) -> None:
    txn = engine.begin()
    for key in (b"", b"12345678", b"k" * (layout.MAX_KEY + 1)):
        with pytest.raises(ValueError, match="a key has"):
            txn.put(key, b"\0")
    with pytest.raises(ValueError, match="a value has"):
        txn.put(keys.group(NODE, 0), bytes(layout.MAX_VALUE + 1))
    txn.put(b"k" * layout.MAX_KEY, b"\0")
    txn.commit()
    engine.checkpoint()
    assert engine.newest().get(b"k" * layout.MAX_KEY) == b"\0"


@pytest.mark.parametrize("savepoint", [False, True])
def test_many_records_put_at_once_are_as_if_put_one_by_one(engine: Engine, savepoint: bool) -> None:
    def change(at_once: bool) -> tuple[object, ...]:
        txn = engine.begin()
        old = [write(txn, number) for number in range(4)]
        if savepoint:
            txn.savepoint()
        new = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, n, b"y" * n) for n in range(6)])
        # Replaced by others, kept, new, and without any.
        owned = [new[0], old[1], new[2], new[3], new[4], new[5], None]
        pairs = [
            (keys.group(NODE, n), pack_record(b"z", [p] if p else [])) for n, p in enumerate(owned)
        ]
        if at_once:
            txn.put_all(pairs)
        else:
            for key, value in pairs:
                txn.put(key, value)
        found = txn.journal, txn.journal_bytes, txn.overlay.values, txn.freed(1)
        txn.rollback()
        return found

    assert change(True) == change(False)


def test_records_put_as_new_are_as_if_put_one_by_one(engine: Engine) -> None:
    def change(as_new: bool) -> tuple[object, ...]:
        txn = engine.begin()
        point = txn.savepoint()
        owned = txn.write([Frame(b"BLOB", NODE, 0, n, b"x" * 100) for n in range(4)])
        pairs = [(keys.group(NODE, n), pack_record(b"z", [p])) for n, p in enumerate(owned)]
        if as_new:
            txn.put_new(pairs)
        else:
            for key, value in pairs:
                txn.put(key, value)
        found = txn.journal.copy(), txn.journal_bytes, txn.overlay.values.copy(), txn.freed(1)
        txn.rollback_to(point)
        found = *found, txn.journal.copy(), txn.journal_bytes, txn.overlay.values.copy()
        txn.rollback()
        with pytest.raises(TransactionClosedError):
            txn.put_new(pairs)
        return found

    assert change(True) == change(False)


def test_nothing_is_put_when_one_of_many_records_is_refused(engine: Engine) -> None:
    txn = engine.begin()
    good = (keys.group(NODE, 0), b"\0")
    for bad in ((b"", b"\0"), (keys.group(NODE, 1), bytes(layout.MAX_VALUE + 1))):
        with pytest.raises(ValueError, match="has"):
            txn.put_all([good, bad])
    assert not txn.changed
    txn.rollback()


@pytest.mark.parametrize("end", [Transaction.commit, Transaction.rollback])
def test_a_transaction_that_has_ended_takes_nothing_more(
    engine: Engine, end: Callable[[Transaction], object]
) -> None:
    txn = engine.begin()
    txn.put(keys.group(NODE, 0), b"\0")
    point = txn.savepoint()
    end(txn)
    calls: list[Callable[[], object]] = [
        lambda: txn.put(keys.group(NODE, 1), b"\0"),
        lambda: txn.get(keys.group(NODE, 1)),
        lambda: txn.delete(keys.group(NODE, 0)),
        lambda: txn.delete_range(*keys.groups(NODE)),
        lambda: txn.scan(*keys.groups(NODE)),
        lambda: txn.write([Frame(b"BLOB", NODE, 0, 0, b"x")]),
        txn.savepoint,
        lambda: txn.rollback_to(point),
        txn.commit,
    ]
    for call in calls:
        with pytest.raises(TransactionClosedError):
            call()
    txn.rollback()
    found = [key for key, _ in engine.newest().scan(*keys.groups(NODE))]
    assert found == [keys.group(NODE, 0)] * (end is Transaction.commit)


def test_one_thread_cannot_begin_twice(engine: Engine) -> None:
    txn = engine.begin()
    with pytest.raises(StoreLockedError, match="this thread"):
        engine.begin()
    txn.rollback()
    engine.begin().rollback()


def test_closing_rolls_back(engine: Engine) -> None:
    file = MemoryFile()
    other = Engine.open_backend(MemoryBackend(file), "a")
    txn = other.begin()
    write(txn, 0)
    other.close()
    assert txn.closed
    again = Engine.open_backend(MemoryBackend(file), "r")
    assert list(again.newest().scan(*keys.groups(NODE))) == []
    again.close()


def test_node_ids_are_not_used_twice_but_after_a_rollback(engine: Engine) -> None:
    txn = engine.begin()
    first = txn.new_node()
    point = txn.savepoint()
    second = txn.new_node()
    assert second == first + 1
    txn.rollback_to(point)
    assert txn.new_node() == second
    txn.put(keys.node(first), b"\0")
    txn.commit()
    engine.checkpoint()
    txn = engine.begin()
    assert txn.new_node() == second + 1
    txn.rollback()


def test_a_commit_without_changes_makes_no_commit(engine: Engine) -> None:
    before = engine.commit
    txn = engine.begin()
    txn.delete(keys.group(NODE, 0))
    txn.delete_range(*keys.groups(NODE))
    txn.write([Frame(b"BLOB", NODE, 0, 0, b"for nothing")])
    assert txn.commit() == before
    assert engine.commit == before
    assert engine.check() == []


def test_extents_follow_their_pointers(engine: Engine) -> None:
    txn = engine.begin()
    kept, moved, dropped = write(txn, 0), write(txn, 1), write(txn, 2)
    txn.commit()
    txn = engine.begin()
    txn.put(keys.group(NODE, 0), pack_record(b"new", [kept]))
    txn.put(keys.group(NODE, 11), pack_record(b"", [moved]))
    txn.delete(keys.group(NODE, 1))
    txn.put(keys.group(NODE, 2), pack_record(b"nothing"))
    txn.commit()
    txn = engine.begin()
    waiting = {w.offset for w in engine.writer_space().waiting_extents()}
    txn.rollback()
    assert waiting == {dropped.offset}
    view = engine.newest()
    assert bytes(view.read(kept)) == bytes(view.read(moved)) == b"x" * 500
    assert engine.check() == []


def test_an_extent_owned_twice_is_found_by_check(engine: Engine) -> None:
    txn = engine.begin()
    pointer = write(txn, 0)
    txn.put(keys.group(NODE, 1), pack_record(b"", [pointer]))
    txn.commit()
    assert ["two records own" in problem.message for problem in engine.check()] == [True]


def test_frames_of_one_write_stand_side_by_side(engine: Engine) -> None:
    txn = engine.begin()
    bodies = [bytes([n]) * n * 100 for n in range(1, 6)]
    frames = [Frame(layout.FRAME_BLOB, NODE, 0, n, body) for n, body in enumerate(bodies)]
    pointers = txn.write(frames)
    assert txn.write([]) == []
    for a, b in itertools.pairwise(pointers):
        assert sum(a.extent) == b.offset
    assert [bytes(txn.read(p)) for p in pointers] == bodies
    txn.put(keys.group(NODE, 0), pack_record(b"", pointers))
    txn.commit()
    assert engine.check() == []
