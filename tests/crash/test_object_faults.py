"""Key stores, tables of strings and arrays: whatever fails at any call, they stay whole.

objects.py holds the workloads; crashes are judged in test_store_states.py, and what the engine
does when something fails in test_faults.py.
"""

from __future__ import annotations

import errno
import functools
from dataclasses import replace
from typing import Any

import objects
import pytest
from crash_stores import OpenStore, empty_store, probe, read_state

from kist.errors import CommitUnknownError, KistError, StorageError
from kist.model.keystores import write as keystore_write
from kist.testing.faults import Fault, FaultyBackend
from kist.testing.recording import Recorder

pytestmark = pytest.mark.usefixtures("one_thread")


class Faulty:
    """What a workload takes for its session: one store whose backend fails."""

    def __init__(self, recorder: Recorder, fault: Fault | None) -> None:
        self.faulty = FaultyBackend(recorder.backend(), [fault] if fault else [])
        self.engine = OpenStore(self.faulty, "r+")
        self.states: list[Any] = []
        self.acknowledged()

    def acknowledged(self) -> None:
        # Looking must not fail: a read that does is a fault of its own.
        faults, self.faulty.faults = self.faulty.faults, ()
        calls = self.faulty.calls.copy()
        self.states.append(read_state(self.engine))
        self.faulty.faults, self.faulty.calls = faults, calls

    def reopen(self, *, kill: bool = False) -> None:
        """Go on with the same handle, which is to be had by its name."""


WORKLOADS = {
    "key churn": objects.key_churn,
    "string tables": objects.string_tables,
    "arrays": objects.arrays,
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
    if raised is not None and read_state(session.engine) not in allowed:
        wrong.append(f"the handle shows another state after {raised!r}")
    session.engine.close()
    again = OpenStore(recorder.backend(), "r+")
    if read_state(again) not in allowed:
        wrong.append(f"another state after {raised!r}")
    wrong += [str(problem) for problem in again.check()]
    probe(again, lambda: None)
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
