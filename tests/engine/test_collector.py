"""Python's collector of cycles rests during large commits, and is never left resting."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import kist
from kist.engine import Engine
from kist.engine.rootcommit import collector_paused
from kist.format import keys
from kist.model.unions import files
from kist.storage import MemoryBackend, MemoryFile
from kist.testing.faults import Fault, FaultyBackend

NODE = 5
MANY = 20_000


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


class Watching(FaultyBackend):
    """Notes whether the collector runs when something is written."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend(MemoryFile()))
        self.found: list[bool] = []
        self.interrupt = False

    def write(self, offset: int, buffers: Any) -> None:
        self.found.append(gc.isenabled())
        if self.interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        super().write(offset, buffers)


def begun() -> tuple[Watching, Engine, Any]:
    backend = Watching()
    engine = Engine.open_backend(backend, "a")
    txn = engine.begin()
    txn.put_many((keys.group(NODE, n), b"\0x") for n in range(MANY))
    backend.found.clear()
    return backend, engine, txn


def test_it_rests_while_many_records_are_written_and_runs_afterwards() -> None:
    backend, engine, txn = begun()
    txn.commit()
    assert not backend.found[0]
    assert gc.isenabled()
    engine.close()


def test_it_stays_off_where_a_program_has_switched_it_off() -> None:
    _, engine, txn = begun()
    gc.disable()
    txn.commit()
    assert not gc.isenabled()
    engine.close()


@pytest.mark.parametrize("kind", ["read", "write", "sync"])
@pytest.mark.parametrize("error", [28, KeyboardInterrupt, MemoryError])
def test_it_runs_after_a_commit_that_failed(kind: str, error: Any) -> None:
    backend, engine, txn = begun()
    backend.faults = (Fault(kind, backend.calls[kind] + 1, error, persist=True),)
    try:
        txn.commit()
    except (OSError, KeyboardInterrupt, MemoryError):
        pass
    else:
        assert kind == "read"  # not every commit reads
    assert gc.isenabled()
    backend.faults = ()
    engine.close()


def test_it_runs_after_a_commit_that_was_interrupted() -> None:
    backend, engine, txn = begun()
    backend.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        txn.commit()
    backend.interrupt = False
    assert backend.found[0] is False
    assert gc.isenabled()
    engine.close()


def test_it_runs_after_a_batch_that_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("broken")

    _, engine, txn = begun()
    monkeypatch.setattr("kist.engine.rootcommit.apply", broken)
    with pytest.raises(RuntimeError, match="broken"):
        txn.commit()
    assert gc.isenabled()
    engine.close()


def test_commits_of_two_threads_share_one_rest() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collector_paused(MANY):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with collector_paused(MANY):
        thread.start()
        inside.wait()
    assert not gc.isenabled()  # the other one is not done
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_a_child_forked_meanwhile_has_its_collector() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collector_paused(MANY):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if gc.isenabled() else 1)
    leave.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert gc.isenabled()


def test_an_interrupt_as_a_union_of_many_files_begins_leaves_it_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = files.pause.begin

    def interrupted() -> bool:
        paused = begin()
        os.kill(os.getpid(), signal.SIGINT)
        return paused

    monkeypatch.setattr(files.pause, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kist.union([f"{n}.kist" for n in range(200)])
    assert gc.isenabled()
