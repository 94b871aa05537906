"""A forked child reads on by itself, and can do nothing to its parent's writing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kist.engine import Engine, parallel
from kist.errors import KistError, ReadOnlyError, TransactionClosedError
from kist.format import keys
from kist.format.values import pack_record

NODE = 5


def put(engine: Engine, number: int) -> int:
    txn = engine.begin()
    txn.put(keys.group(NODE, number), pack_record(b"x"))
    return txn.commit()


def rows(engine: Engine) -> list[int]:
    return [keys.row_of(key) for key, _ in engine.newest().scan(*keys.groups(NODE))]


def in_child(work: Callable[[], None]) -> int:
    """Exit status of a forked child that does `work`; killed after some seconds."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = Engine.open(path, "a", durability="none")
    put(engine, 0)
    yield engine
    engine.close()


def test_a_child_forked_within_a_transaction_sees_later_commits(engine: Engine) -> None:
    inside, outside = os.pipe()
    txn = engine.begin()

    def child() -> None:
        os.read(inside, 1)
        assert rows(engine) == [0, 1]

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            os._exit(status)
    txn.put(keys.group(NODE, 1), pack_record(b"x"))
    txn.commit()
    os.write(outside, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(inside)
    os.close(outside)


def test_a_child_cannot_end_the_transaction_of_its_parent(engine: Engine) -> None:
    txn = engine.begin()
    txn.put(keys.group(NODE, 1), pack_record(b"x"))

    def child() -> None:
        with pytest.raises(TransactionClosedError, match="the parent's"):
            txn.commit()
        txn.rollback()
        with pytest.raises(ReadOnlyError, match="fork"):
            engine.begin()
        engine.close()

    assert in_child(child) == 0
    assert engine.backend.locks.writer_held()
    txn.commit()
    assert rows(engine) == [0, 1]


def test_children_of_busy_processes_do_not_hang(engine: Engine) -> None:
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            engine.newest()
            engine.snapshot().release()
            parallel.run([lambda: None] * 3)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()

    def child() -> None:
        assert rows(engine) == [0]
        with engine.snapshot() as view:
            assert view.get(keys.group(NODE, 0)) is not None
        assert parallel.run([lambda: 1] * 3) == [1, 1, 1]

    try:
        assert [in_child(child) for _ in range(12)] == [0] * 12
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_child_lets_go_of_what_it_does_not_read(engine: Engine) -> None:
    old = engine.snapshot()
    put(engine, 1)
    commit = old.commit

    def child() -> None:
        assert rows(engine) == [0, 1]
        assert os.getpid() in engine.backend.locks.holders()[commit]
        old.release()
        assert os.getpid() not in engine.backend.locks.holders().get(commit, [])

    assert in_child(child) == 0
    assert commit in engine.backend.locks.pins(engine.commit)
    old.release()
    assert commit not in engine.backend.locks.pins(engine.commit)


def test_a_child_of_a_store_in_memory_has_a_copy_to_read() -> None:
    engine = Engine.open(":memory:", "a")
    put(engine, 0)

    def child() -> None:
        assert rows(engine) == [0]
        with pytest.raises(KistError):
            engine.begin()

    assert in_child(child) == 0
    put(engine, 1)
    assert rows(engine) == [0, 1]
    engine.close()
