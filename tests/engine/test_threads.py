"""Threads of one process: readers beside a writer, each sees one whole commit."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kist.engine import Engine, Frame
from kist.format import keys, layout
from kist.format.values import pack_record, unpack_record

NODE = 5
KEY = keys.group(NODE, 0)


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads change places at nearly every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@contextmanager
def running(work: Callable[[], None], n: int = 2) -> Iterator[list[BaseException]]:
    """Repeat `work` on some threads meanwhile; what they raised is in the list."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def loop() -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=loop) for _ in range(n)]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def number_of(value: bytes | None) -> int:
    return int(unpack_record(value)[1]) if value else 0


@pytest.mark.usefixtures("eager_switching")
def test_a_snapshot_never_shows_one_commit_under_the_number_of_another() -> None:
    engine = Engine.open(":memory:", "a")

    def read() -> None:
        snapshot = engine.newest()
        found = number_of(snapshot.get(KEY))
        assert found == snapshot.state.shown

    with running(read) as errors:
        end = time.monotonic() + 1.0
        while time.monotonic() < end and not errors:
            txn = engine.begin()
            number = txn.commit_id + 1
            txn.put(KEY, pack_record(b"%d" % number))
            assert txn.commit() == number
    engine.close()
    assert errors == []


@pytest.mark.usefixtures("eager_switching")
def test_commit_returns_its_own_number_while_others_commit() -> None:
    engine = Engine.open(":memory:", "a")
    seen: list[int] = []

    def write() -> None:
        txn = engine.begin()
        number = txn.commit_id + 1
        txn.put(KEY, pack_record(b"%d" % number))
        assert txn.commit() == number
        seen.append(number)

    with running(write, 3) as errors:
        time.sleep(0.5)
    engine.close()
    assert errors == []
    assert len(seen) == len(set(seen)) > 0


@pytest.mark.usefixtures("eager_switching")
def test_a_check_beside_a_writer_finds_nothing() -> None:
    engine = Engine.open(":memory:", "a", durability="none")
    steps = iter(range(1 << 30))

    def write() -> None:
        step = next(steps)
        txn = engine.begin()
        pointers = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, 0, b"x" * 3000)])
        txn.put(keys.group(NODE, step % 50), pack_record(b"", pointers))
        txn.commit()
        if step % 20 == 0:
            engine.checkpoint()

    with running(write, 1) as errors:
        for _ in range(25):
            assert engine.check() == []
            usage = engine.usage()
            assert usage.total >= usage.live > 0
            assert engine.history()
    engine.close()
    assert errors == []
