"""Workloads over the raw map that need more than a backend that works, and judges of histories.

For the tests of the commit protocol, and for those that plant bugs in it.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from typing import Any

import pytest
import workloads as w

from kist.engine import Engine, Transaction, creation
from kist.errors import CommitUnknownError, KistError, ReadOnlyError, StorageError
from kist.storage import MemoryBackend
from kist.testing.crash import (
    Acknowledged,
    Case,
    Possible,
    Report,
    Session,
    check_crashes,
    judge_log,
)
from kist.testing.faults import Fault, FaultyBackend
from kist.testing.recording import Recorder


def check(case: Case, **more: Any) -> Report:
    options: dict[str, Any] = {"limit": 120, "deep": 0.03, "durability": case.durability}
    return check_crashes(
        case.workload,
        case.read_state,
        case.open_engine,
        **{"probe": case.probe, **options, **more},
    )


# Every commit that can still be opened


class Reviewing(Session):
    """After each commit, look at every commit that can still be opened."""

    def acknowledged(self) -> None:
        self.expected = getattr(self, "expected", {})
        self.failures = getattr(self, "failures", [])
        engine = self.engine
        for info in engine.history():
            try:
                with engine.snapshot(info.id) as view:
                    found = w.contents(view)
            except KistError as error:
                self.failures.append(f"commit {info.id}: {error}")
                continue
            if found != self.expected.setdefault(info.id, found):
                self.failures.append(f"commit {info.id}: another state")
        super().acknowledged()


def history_failures(case: Case) -> list[str]:
    session = Reviewing(Recorder(), case.open_engine, case.read_state)
    session.acknowledged()
    case.workload(session)
    session.engine.close()
    # Every commit was looked at when it was the newest, so its state was noted then.
    assert len(session.expected) > 10
    return session.failures


# Failed syncs: what they should have covered may never reach the disk


def fail_next_sync(session: Session) -> None:
    backend = session.engine.backend
    real = backend.sync

    def sync() -> None:
        backend.sync = real
        faulty = FaultyBackend(backend, [Fault("sync", 1)])
        faulty.sync()

    backend.sync = sync


def broken_syncs(session: Session) -> None:
    """Syncs fail; the next open builds on what it finds in the cache of the system."""
    for i in range(12):
        w.commit(session, lambda txn, i=i: w.put(txn, i % 4, b"%d" % i, [w.blob(i, 3000)]))
        fail_next_sync(session)
        txn = session.engine.begin()
        w.put(txn, i % 3, b"unknown %d" % i, [w.blob(-i, 2000)])
        with pytest.raises(CommitUnknownError):
            txn.commit()
        with pytest.raises(ReadOnlyError):
            session.engine.begin()
        session.reopen(kill=i % 2 == 0)
        session.possible()
        if i % 5 == 4:
            session.engine.checkpoint()
            session.acknowledged()


BROKEN_SYNCS = Case(broken_syncs, w.read_state, w.open_engine, w.probe)


# Calls that fail: an error that is raised is the end of a change; one that is swallowed is a lie


def open_faulty(backend: Any, mode: str, **more: Any) -> Engine:
    """An engine whose backend fails when it is told to, by its `faults`."""
    return w.open_engine(FaultyBackend(backend), mode, **more)


def failing(kind: str, error: int, share: float = 0.0) -> Callable[[Session], None]:
    """A workload in which every third commit meets a failure."""

    def workload(session: Session) -> None:
        for i in range(12):
            faulty = session.engine.backend
            if i % 3 == 1:
                faulty.calls.clear()
                faulty.faults = (Fault(kind, 1 + i % 2, error, share=share),)
            try:
                txn = session.engine.begin()
                with w.closing(txn):
                    w.put(txn, i % 4, b"%d" % i, [w.blob(i, 9000)])
                    txn.commit()
            except CommitUnknownError:
                session.reopen(kill=True)
                session.possible()
            except StorageError:
                session.reopen(kill=True)
            else:
                session.acknowledged()

    return workload


def failing_case(kind: str, error: int, share: float = 0.0) -> Case:
    return Case(failing(kind, error, share), w.read_state, open_faulty, w.probe)


FAILING = {
    "sync": failing_case("sync", errno.EIO),
    "write": failing_case("write", errno.ENOSPC, 0.5),
}


class _DiedError(Exception):
    """The process that creates a store is gone."""


class _DiesAtFolder(FaultyBackend):
    def sync_directory(self) -> None:
        raise _DiedError


def after_a_dead_creator(folder_fails: int = 0) -> Report:
    """A store whose creator died before its name was durable; the next writer goes on.

    Its first attempts to sync the folder may fail, and it is tried again.
    """
    recorder = Recorder()
    recorder.note(Possible(({}, {})))  # the empty store, which nobody was promised
    with contextlib.suppress(_DiedError):
        creation.create(_DiesAtFolder(recorder.backend()))
    faulty = FaultyBackend(recorder.backend())
    engine = w.open_engine(faulty, "a")
    for i in range(3):
        faulty.calls.clear()
        faulty.faults = (Fault("directory sync", 1, errno.EIO),) if i < folder_fails else ()
        try:
            txn = engine.begin()
        except StorageError:
            continue
        with w.closing(txn):
            w.put(txn, i, b"%d" % i, [w.blob(i, 900)])
            txn.commit()
        recorder.note(Acknowledged(w.read_state(engine)))
    engine.close()
    return judge_log(recorder.log, w.read_state, w.open_engine, probe=w.probe, deep=0, limit=200)


# Records of one size


def same_sizes(session: Session) -> None:
    """Records of one size, so that those of an earlier life fit behind those of a later one."""
    for i in range(12):
        w.commit(session, lambda txn, i=i: w.put(txn, i, b"%06d" % i))


def same_size_probe(engine: Engine, acknowledged: Callable[[], None]) -> None:
    txn: Transaction = engine.begin()
    w.put(txn, 10**6, b"%06d" % 0)
    txn.commit()
    acknowledged()
    with engine.snapshot() as view:
        expected = w.contents(view)
    size = engine.backend.size()
    again = w.open_engine(MemoryBackend(engine.backend.read(0, size), writable=False), "r")
    with again.snapshot() as view:
        assert w.contents(view) == expected, "records of an earlier life are shown"
    again.close()
    txn = engine.begin()
    txn.delete(w.key(10**6))
    txn.commit()


SAME_SIZES = Case(
    same_sizes, w.read_state, w.CASES["none, churn"].open_engine, same_size_probe, "none"
)
