"""Full disks, broken devices and Ctrl-C at any call: the change is gone, the file is whole.

A workload is run once to learn its states and its calls, then again and again with one fault at
one call. What raised must not have changed anything, the file must open, be whole, take further
commits, and survive a crash at any time of all this.
"""

from __future__ import annotations

import errno
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kist.engine import Engine, writer
from kist.errors import CommitUnknownError, KistError, ReadOnlyError, StorageError
from kist.testing.crash import Acknowledged, Possible, Session, judge_log
from kist.testing.faults import Fault, FaultyBackend
from kist.testing.recording import Recorder


def load_workloads() -> Any:
    # pytest imports tests without putting their folder on the path.
    path = Path(__file__).with_name("workloads.py")
    spec = importlib.util.spec_from_file_location("fault_workloads", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


w = load_workloads()


def workload(session: Session) -> None:
    """Every kind of commit once or twice."""
    for i in range(3):
        w.commit(session, lambda txn, i=i: w.put(txn, i, b"%d" % i, [w.blob(i, 900)]))
    session.engine.checkpoint()
    w.commit(session, lambda txn: w.put(txn, 1, b"large", [w.blob(9, 70_000)]))
    session.engine.tag("kept")
    session.acknowledged()
    w.commit(session, lambda txn: [w.put(txn, i, b"v" * 50) for i in range(700)])
    w.commit(session, lambda txn: txn.delete_range(w.key(0), w.key(600)))
    session.engine.checkpoint()
    session.engine.compact()
    session.acknowledged()
    w.commit(session, lambda txn: w.put(txn, 2, b"last", [w.blob(7, 5000)]))


class Faulty(Session):
    """A session whose first backend fails; counts what was acknowledged."""

    def __init__(self, recorder: Recorder, fault: Fault | None, durability: str) -> None:
        self.recorder = recorder
        self.durability = durability
        self.faulty = FaultyBackend(recorder.backend(), [fault] if fault else [])
        self.states: list[Any] = []
        super().__init__(recorder, self.open_first, w.read_state)
        self.acknowledged()

    def open_first(self, backend: Any, mode: str) -> Engine:
        backend.close()
        return Engine.open_backend(self.faulty, mode, durability=self.durability)

    def acknowledged(self) -> None:
        # Looking must not fail: a read that does is a fault of its own.
        faults, self.faulty.faults = self.faulty.faults, ()
        calls = self.faulty.calls.copy()
        super().acknowledged()
        self.states.append(w.read_state(self.engine))
        self.faulty.faults, self.faulty.calls = faults, calls


@cache
def clean_run(durability: str) -> tuple[list[Any], dict[str, int]]:
    session = Faulty(Recorder(), None, durability)
    workload(session)
    session.engine.close()
    return session.states, dict(session.faulty.calls)


def run(fault: Fault, durability: str) -> tuple[Recorder, BaseException | None, int, list[str]]:
    """Run with a fault; gives the recorder, what was raised, and how many states there were."""
    recorder = Recorder()
    try:
        session = Faulty(recorder, fault, durability)
    except (StorageError, KeyboardInterrupt) as error:
        return recorder, error, 0, []
    expected, _ = clean_run(durability)
    raised: BaseException | None = None
    try:
        workload(session)
    except (KistError, KeyboardInterrupt) as error:
        raised = error
    done = len(session.states)
    wrong = []
    if done < len(expected):
        session.possible(expected[done])
    # The fault is over, as when space was made: the same handle reads on, and writes on unless
    # it said that it is dead.
    session.faulty.faults = ()
    if raised is not None and not session.engine.closed:
        shown = w.read_state(session.engine)
        unknown = isinstance(raised, (CommitUnknownError, KeyboardInterrupt))
        if shown not in expected[done - 1 : done + unknown]:
            wrong.append("the handle shows another state after the error")
        try:
            w.probe(session.engine, session.acknowledged)
        except ReadOnlyError:
            if isinstance(raised, KeyboardInterrupt):
                wrong.append("Ctrl-C ended the handle")
        except KistError as error:
            wrong.append(f"the next commit on the same handle: {error}")
    session.engine.close()
    return recorder, raised, done, wrong


def failures(fault: Fault, durability: str) -> list[str]:
    expected, _ = clean_run(durability)
    recorder, raised, done, wrong = run(fault, durability)
    engine = Engine.open_backend(recorder.backend(), "a", durability=durability)
    state = w.read_state(engine)
    allowed = expected[max(done - 1, 0) : max(done, 1)]
    if isinstance(raised, (CommitUnknownError, KeyboardInterrupt)):
        allowed = expected[max(done - 1, 0) : done + 1]
    if state not in allowed:
        wrong.append(f"{len(state[0])} records and tags {list(state[1])} after {raised!r}")
    # What is in the cache of the system is acknowledged with the next commit, not earlier.
    recorder.note(Possible(state))
    w.probe(engine, lambda: recorder.note(Acknowledged(w.read_state(engine))))
    recorder.note(Acknowledged(w.read_state(engine)))
    wrong += [str(problem) for problem in engine.check()]
    engine.close()
    report = judge_log(
        recorder.log,
        w.read_state,
        w.open_engine,
        probe=w.probe,
        seed=fault.at,
        limit=12,
        durability=durability,
        deep=0,
    )
    return wrong + [str(failure) for failure in report.failures]


FAULTS = {
    "disk full at a write": Fault("write", 1, errno.ENOSPC),
    "disk full within a write": Fault("write", 1, errno.ENOSPC, share=0.5),
    "disk full from now on": Fault("write", 1, errno.ENOSPC, persist=True),
    "device fails at a write": Fault("write", 1, errno.EIO, share=0.9),
    "device fails at a sync": Fault("sync", 1, errno.EIO),
    "device fails at all syncs": Fault("sync", 1, errno.EIO, persist=True),
    "device fails at a read": Fault("read", 1, errno.EIO),
    "device fails for good": Fault("any", 1, errno.EIO, persist=True),
    "folder cannot be synced": Fault("directory sync", 1, errno.EIO),
    "file cannot be cut": Fault("resize", 1, errno.EIO),
    "Ctrl-C in a write": Fault("write", 1, KeyboardInterrupt, share=0.5),
    "Ctrl-C in a sync": Fault("sync", 1, KeyboardInterrupt),
    "Ctrl-C in a read": Fault("read", 1, KeyboardInterrupt),
}
PLACES = 7
IN_RELAXED = ("disk full within a write", "device fails at a sync", "Ctrl-C in a sync")


@pytest.mark.parametrize(
    ("name", "durability"),
    [(name, "full") for name in FAULTS] + [(name, "relaxed") for name in IN_RELAXED],
)
def test_whatever_fails_the_file_is_whole_and_shows_what_was_acknowledged(
    name: str, durability: str
) -> None:
    fault = FAULTS[name]
    _, calls = clean_run(durability)
    n = calls[fault.kind]
    places = sorted({1 + i * (n - 1) // (PLACES - 1) for i in range(PLACES)})
    found = {at: wrong for at in places if (wrong := failures(replace(fault, at=at), durability))}
    assert found == {}, found


def test_the_workload_makes_every_kind_of_call() -> None:
    states, calls = clean_run("full")
    assert len(states) == 10
    assert all(calls[kind] for kind in ("read", "write", "sync", "resize", "directory sync"))


# Mutants


def failed_writes_left_standing(patch: pytest.MonkeyPatch) -> None:
    def write(self: Any, record: Any, data: bytes, **more: Any) -> None:
        self._engine.backend.write(record.position, [data.ljust(-len(data) % 4096 + len(data))])

    patch.setattr(writer.Writer, "_write_record", write)


def handle_goes_on_after_a_failed_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer.Writer, "_fail", lambda self, why: None)


@pytest.mark.parametrize(
    ("mutate", "name", "durability"),
    [
        (failed_writes_left_standing, "device fails at a write", "full"),
        # In full it would do no harm: the tail is written again before anything is built on it.
        (handle_goes_on_after_a_failed_sync, "device fails at a sync", "relaxed"),
    ],
)
def test_a_rule_left_out_is_noticed(
    mutate: Callable[[pytest.MonkeyPatch], None],
    name: str,
    durability: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clean_run(durability)
    mutate(monkeypatch)
    assert any(failures(replace(FAULTS[name], at=at), durability) for at in range(3, 14))
