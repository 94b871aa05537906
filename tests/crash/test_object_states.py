"""Key stores, tables of strings and arrays: crashed and failing at every call, they stay whole.

objects.py holds the workloads; what the engine does is judged in the tests beside this one.
"""

from __future__ import annotations

import errno
import functools
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kist
from kist.engine import creation, writer
from kist.errors import CommitUnknownError, KistError, StorageError
from kist.model.keystores import write as keystore_write
from kist.storage import MemoryBackend
from kist.testing.crash import Case, Report, Session, check_crashes
from kist.testing.faults import Fault, FaultyBackend
from kist.testing.recording import Recorder


def load_objects() -> Any:
    # pytest imports tests without putting their folder on the path.
    path = Path(__file__).with_name("objects.py")
    spec = importlib.util.spec_from_file_location("crash_objects", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


job = load_objects()
CASES: dict[str, Case] = job.CASES


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Values of a few thousand elements gain nothing from threads."""
    kist.options.n_threads = 1
    yield
    kist.options.reset()


@functools.cache
def empty_store() -> bytes:
    backend = MemoryBackend()
    creation.create(backend)
    return backend.read(0, backend.size())


def check(case: Case, **more: Any) -> Report:
    def begun(session: Session) -> None:
        session.acknowledged()  # the empty store
        case.workload(session)

    options: dict[str, Any] = {"limit": 24, "deep": 0.02, "durability": case.durability}
    return check_crashes(
        begun,
        case.read_state,
        case.open_engine,
        **{"probe": case.probe, "initial": empty_store(), **options, **more},
    )


@pytest.mark.parametrize("name", CASES)
def test_a_crash_leaves_every_object_as_of_the_last_commit_or_the_one_in_flight(name: str) -> None:
    report = check(CASES[name])
    assert report.failures == [], str(report)
    assert report.states >= 24


# Faults


class Faulty:
    """What a workload takes for its session: one store whose backend fails."""

    def __init__(self, recorder: Recorder, fault: Fault | None) -> None:
        self.faulty = FaultyBackend(recorder.backend(), [fault] if fault else [])
        self.engine = job.OpenStore(self.faulty, "r+")
        self.states: list[Any] = []
        self.acknowledged()

    def acknowledged(self) -> None:
        # Looking must not fail: a read that does is a fault of its own.
        faults, self.faulty.faults = self.faulty.faults, ()
        calls = self.faulty.calls.copy()
        self.states.append(job.read_state(self.engine))
        self.faulty.faults, self.faulty.calls = faults, calls

    def reopen(self, *, kill: bool = False) -> None:
        """Go on with the same handle, which is to be had by its name."""


WORKLOADS = {
    "key churn": job.key_churn,
    "string tables": job.string_tables,
    "arrays": job.arrays,
}
FAULTS = {
    "disk full within a write": Fault("write", 1, errno.ENOSPC, share=0.5),
    "disk full from now on": Fault("write", 1, errno.ENOSPC, persist=True),
    "device fails at a sync": Fault("sync", 1, errno.EIO),
    "device fails at a read": Fault("read", 1, errno.EIO),
    "Ctrl-C in a write": Fault("write", 1, KeyboardInterrupt, share=0.5),
}
PLACES = 5


@functools.cache
def clean_run(name: str) -> tuple[list[Any], dict[str, int]]:
    session = Faulty(Recorder(empty_store()), None)
    WORKLOADS[name](session)
    session.engine.close()
    return session.states, dict(session.faulty.calls)


def failures(name: str, fault: Fault) -> list[str]:
    expected, _ = clean_run(name)
    recorder = Recorder(empty_store())
    session, raised = None, None
    try:
        session = Faulty(recorder, fault)
        WORKLOADS[name](session)
    except (KistError, KeyboardInterrupt) as error:
        raised = error
    if session is None:
        assert isinstance(raised, StorageError | KeyboardInterrupt)
        return []
    done = len(session.states)
    either = isinstance(raised, CommitUnknownError | KeyboardInterrupt)
    allowed = expected[done - 1 : done + either]
    wrong = []
    session.faulty.faults = ()
    if raised is not None and job.read_state(session.engine) not in allowed:
        wrong.append(f"the handle shows another state after {raised!r}")
    session.engine.close()
    again = job.OpenStore(recorder.backend(), "r+")
    if job.read_state(again) not in allowed:
        wrong.append(f"another state after {raised!r}")
    wrong += [str(problem) for problem in again.check()]
    job.probe(again, lambda: None)
    wrong += [f"after more commits: {problem}" for problem in again.check()]
    again.close()
    return wrong


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", WORKLOADS)
def test_whatever_fails_every_object_is_whole_and_as_acknowledged(name: str, fault: str) -> None:
    one = FAULTS[fault]
    n = clean_run(name)[1][one.kind]
    places = sorted({1 + i * (n - 1) // (PLACES - 1) for i in range(PLACES)})
    found = {at: wrong for at in places if (wrong := failures(name, replace(one, at=at)))}
    assert found == {}


# The check must be able to fail


def test_a_count_of_keys_in_a_commit_of_its_own_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = keystore_write.Change.write

    def write(self: Any, txn: Any) -> None:
        before = txn.get(keystore_write.keys.bounds(self._id))
        real(self, txn)
        if before is not None:
            txn.put(keystore_write.keys.bounds(self._id), before)

    monkeypatch.setattr(keystore_write.Change, "write", write)
    with pytest.raises(AssertionError):
        clean_run.__wrapped__("key churn")


def test_records_that_are_not_synced_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer.Writer, "_sync_record", lambda self, record: None)
    assert check(CASES["key churn"], deep=0, limit=80).failures
