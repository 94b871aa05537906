"""Writing in another thread: in order or shared, errors, Ctrl-C, and the end of a transaction."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kist import options
from kist.engine import Engine, Frame
from kist.engine.lane import Lane
from kist.errors import StorageError
from kist.format.checksum import sum128
from kist.format.layout import FRAME_BLOB

NODE = 5


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "n_threads", 2)


class Gate:
    """A task that another thread has begun, and that ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.is_done = False

    def __call__(self) -> str:
        self.begun.set()
        assert self.go.wait(30)
        self.is_done = True
        return "gate"


def test_one_after_the_other() -> None:
    lane, gate, done = Lane(shared=False), Gate(), []

    def noted(n: int) -> int:
        done.append((n, threading.current_thread() is threading.main_thread()))
        return n

    first = lane.begin(gate)
    rest = [lane.begin(partial(noted, n)) for n in range(5)]
    assert gate.begun.wait(30)
    gate.go.set()
    assert [wait() for wait in reversed(rest)] == [4, 3, 2, 1, 0]
    assert first() == "gate"
    assert done == [(n, False) for n in range(5)]


def test_who_waits_does_others_meanwhile() -> None:
    lane, gate, done = Lane(shared=True), Gate(), []
    first = lane.begin(gate)
    assert gate.begun.wait(30)

    def noted(n: int) -> int:
        done.append(threading.current_thread())
        if n == 2:
            gate.go.set()
        return n

    rest = [lane.begin(partial(noted, n)) for n in range(3)]
    assert first() == "gate"
    assert [wait() for wait in rest] == [0, 1, 2]
    assert done == [threading.main_thread()] * 3


@pytest.mark.parametrize("shared", [False, True])
def test_errors_are_of_who_asks(shared: bool) -> None:
    lane = Lane(shared=shared)

    def fails() -> None:
        raise StorageError("no space left")

    bad, good = lane.begin(fails), lane.begin(lambda: 3)
    lane.settle()
    assert good() == 3
    with pytest.raises(StorageError, match="no space"):
        bad()


def test_an_interrupt_is_not_kept_for_later() -> None:
    """It comes in the middle of what this thread does while it waits for another one."""
    lane, gate = Lane(shared=True), Gate()
    first = lane.begin(gate)
    assert gate.begun.wait(30)

    def interrupted() -> None:
        raise KeyboardInterrupt

    lane.begin(interrupted)
    with pytest.raises(KeyboardInterrupt):
        first()
    gate.go.set()
    assert first() == "gate"


def test_nothing_more_is_begun_once_it_is_cancelled() -> None:
    lane, gate, done = Lane(shared=True), Gate(), []
    lane.begin(gate)
    assert gate.begun.wait(30)
    lane.begin(lambda: done.append(1))
    threading.Timer(0.05, gate.go.set).start()
    lane.settle(cancel=True)
    assert gate.is_done and not done
    assert lane.begin(lambda: 4)() == 4


def test_one_thread_does_it_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "n_threads", 1)
    done: list[int] = []
    wait = Lane(shared=True).begin(lambda: done.append(1))
    assert not done
    wait()
    assert done == [1]


def test_a_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    lane, gate = Lane(shared=True), Gate()
    lane.begin(gate)
    assert gate.begun.wait(30)
    child = os.fork()
    if not child:
        lane.settle()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    gate.go.set()
    lane.settle()


def opened(path: Path) -> Engine:
    return Engine.open(path, "a", durability="none")


def letting_go(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> list[bool]:
    """Let a task go once somebody waits for all of them; return whether it was done by then."""
    settle, found = Lane.settle, []

    def waited(self: Lane, **how: Any) -> None:
        found.append(gate.is_done)
        gate.go.set()
        settle(self, **how)
        found.append(gate.is_done)

    monkeypatch.setattr(Lane, "settle", waited)
    return found


@pytest.mark.parametrize("end", ["rollback", "commit", "close", "write"])
def test_the_end_waits_for_what_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Space that is given back, or named by a commit, is written to by nobody."""
    engine = opened(tmp_path / "a.kist")
    txn = engine.begin()
    txn.put(b"\0" * 7 + b"\5N", b"\0x")
    gate = Gate()
    txn.begin(gate)
    assert gate.begun.wait(30)
    found = letting_go(monkeypatch, gate)
    ends: dict[str, Callable[[], object]] = {
        "rollback": txn.rollback,
        "commit": txn.commit,
        "close": engine.close,
        "write": lambda: txn.write([Frame(FRAME_BLOB, NODE, 0, 0, b"body")]),
    }
    ends[end]()
    assert found[:2] == [False, True]
    assert txn.closed == (end != "write")
    engine.close()


def test_what_is_filled_later_is_what_is_written_at_once(tmp_path: Path) -> None:
    found = []
    for late in (False, True):
        engine = opened(tmp_path / f"{late}.kist")
        txn = engine.begin()
        frames = [Frame(FRAME_BLOB, NODE, 0, n, bytes([n]) * (100 + n)) for n in range(5)]
        if late:
            heads = [bytes(frame.head) for frame in frames]
            pointers = txn.take_places(
                [len(head) for head in heads],
                [len(head) for head in heads],
                list(map(sum128, heads)),
            )
            txn.verify += txn.begin(partial(txn.fill_places, pointers, frames))()
        else:
            pointers = txn.write(frames)
        for frame, pointer in zip(frames, pointers, strict=True):
            assert engine.reader.read(pointer) == frame.head
        verify = [(one.offset, one.length) for one in txn.verify]  # sums hang on the store
        found.append((pointers, verify, txn.unsynced, txn.used))
        txn.rollback()
        engine.close()
    assert found[0] == found[1]
