"""Faults of the system at the calls of a user: `kist.open` on a real file, everything in it.

The long run is ``python -m kist.testing.faults``; here a share of the places is tried.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kist.engine import engine, writer
from kist.errors import CommitUnknownError, StorageError
from kist.storage import ofd
from kist.testing.trials import FAULTS, Report, Stage

pytestmark = pytest.mark.skipif(not ofd.HAVE_OFD, reason="needs OFD locks")

SHARE = 151  # one place in so many; a prime, so that the places differ from fault to fault
# Calls of which a step makes few, so that a larger share of them is tried.
RARE = {"sync": 11, "write": 31, "resize": 2, "directory sync": 11, "map": 1, "unlock": 23}
RARE |= {"open": 31, "lock": 23, "close": 31, "pin": 47, "stat": 47}


SEALED = {
    "disk full within a write": 29,
    "device fails at a sync": 17,
    "device fails at a read": 211,
    "Ctrl-C after a sync": 23,
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("trials")) as ready:
        yield ready


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_call_fails_the_transaction_is_gone_and_nothing_else(
    stage: Stage, name: str
) -> None:
    fault = FAULTS[name]
    report = stage.run(fault, RARE.get(fault.kind, SHARE), seed=sum(map(ord, name)))
    assert report.trials > 0
    assert report.failures == [], str(report)


def test_every_kind_of_call_is_made_by_some_step(stage: Stage) -> None:
    made = set().union(*(step.cold for step in stage.steps))
    assert made >= {fault.kind for fault in FAULTS.values()}


@pytest.mark.parametrize("durability", ["relaxed", "none"])
def test_faults_in_the_other_modes(tmp_path: Path, durability: str) -> None:
    report = Report()
    with Stage(tmp_path, durability) as ready:
        for name in ("disk full within a write", "device fails at a sync", "Ctrl-C after a sync"):
            report.add(ready.run(FAULTS[name], 29))
    assert report.trials > 6
    assert report.failures == [], str(report)


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("trials"), work="columns") as ready:
        yield ready


def test_faults_in_small_commits_and_columns_of_newer_kinds(columns: Stage) -> None:
    report = Report()
    for name, every in SEALED.items():
        report.add(columns.run(FAULTS[name], every, seed=len(name)))
    assert report.trials > 15
    assert report.failures == [], str(report)


def test_a_step_of_several_commits_has_a_state_after_each(columns: Stage) -> None:
    found = {step.name: len(step.states) for step in columns.steps if len(step.states) > 2}
    assert found == {
        "keys are put one by one": 5,
        "rows are appended one by one": 5,
        "keys and rows in turn": 8,
    }


@pytest.mark.parametrize("work", ["linked", "ward", "sealed", "sealed-store"])
def test_faults_in_links_and_in_sealed_objects_and_stores(tmp_path: Path, work: str) -> None:
    if work != "linked":
        pytest.importorskip("cryptography")
    report = Report()
    with Stage(tmp_path, work=work) as ready:
        for name, every in SEALED.items():
            report.add(ready.run(FAULTS[name], every, seed=len(name)))
    assert report.trials > 15
    assert report.failures == [], str(report)


# Mutants


def lock_kept_by_an_error(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ofd.FileLocks, "_free", ofd.FileLocks._set)


def pin_kept_by_an_error(patch: pytest.MonkeyPatch) -> None:
    def pinned(self: Any, version: Any) -> Any:
        state = self.state
        self._pins.pin(state.commit)
        engine.recovery.read_slots(self.backend, self.ring.super)
        unpin = engine.partial(self._pins.unpin, state.commit)
        return engine.Snapshot(self.reader, state, unpin, engine.ClosedEngine(self))

    patch.setattr(engine.Engine, "_pinned", pinned)


def handle_writes_after_a_failed_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer.Writer, "_fail", lambda self, why: None)


def unknown_outcome_called_a_failure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer.Writer, "_unknown", lambda self, record, error: StorageError(str(error)))


def space_after_a_commit_is_its_failure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer, "KistError", ZeroDivisionError)
    patch.setattr(writer, "OSError", ZeroDivisionError, raising=False)


def small_commits_whose_sync_may_fail(patch: pytest.MonkeyPatch) -> None:
    real = writer.Writer._sync_record

    def synced(self: Any, record: Any) -> None:
        with contextlib.suppress(CommitUnknownError):
            real(self, record)
        self.failed = None

    patch.setattr(writer.Writer, "_sync_record", synced)


def test_small_commits_that_are_not_synced_are_noticed(
    columns: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_commits_whose_sync_may_fail(monkeypatch)
    report = columns.run(FAULTS["device fails at a sync"], only="one by one")
    assert len(report.failures) > 3


@pytest.mark.parametrize(
    ("mutate", "name", "step"),
    [
        (lock_kept_by_an_error, "lock cannot be freed", "an attribute is set"),
        (pin_kept_by_an_error, "device fails at a read", "an array shrinks"),
        (handle_writes_after_a_failed_sync, "device fails at a sync", "an attribute is set"),
        (unknown_outcome_called_a_failure, "device fails at a sync", "an attribute is set"),
        (space_after_a_commit_is_its_failure, "commit cannot be pinned", "many keys are put"),
    ],
)
def test_a_rule_left_out_is_noticed(
    stage: Stage,
    mutate: Callable[[pytest.MonkeyPatch], None],
    name: str,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    assert stage.run(FAULTS[name], only=step).failures
