"""Stores, crashed at every write and sync: the last commit or the one in flight, whole.

main_job.py, objects.py and api_workloads.py hold the workloads; crash_stores.py what they share.
"""

from __future__ import annotations

from typing import Any

import api_workloads
import main_job
import numpy as np
import objects
import pytest
from crash_stores import OpenStore, check, empty_store

from kist.engine import writer
from kist.model.directory import maintain
from kist.testing.crash import Case, Session
from kist.testing.images import crash_states
from kist.testing.recording import Recorder

pytestmark = pytest.mark.usefixtures("one_thread")

JOB: dict[str, Case] = main_job.CASES
OBJECTS: dict[str, Case] = objects.CASES
API: dict[str, Case] = api_workloads.CASES


@pytest.mark.parametrize("name", JOB)
def test_a_crash_of_the_main_job_leaves_the_last_commit_or_the_one_in_flight(name: str) -> None:
    report = check(JOB[name], limit=100)
    assert report.failures == [], str(report)
    assert report.states >= 100


@pytest.mark.parametrize("name", OBJECTS)
def test_a_crash_leaves_every_object_as_of_the_last_commit_or_the_one_in_flight(name: str) -> None:
    report = check(OBJECTS[name], limit=24)
    assert report.failures == [], str(report)
    assert report.states >= 24


@pytest.mark.parametrize("name", API)
def test_a_crash_of_anything_that_users_do_leaves_a_state_that_there_was(name: str) -> None:
    # In full every prefix of the writes, and some of what else can be.
    full = name.endswith("full")
    created = name.startswith("create")
    report = check(API[name], created=created, limit=20, prefixes=full)
    assert report.failures == [], str(report)
    assert report.states >= 20


def test_every_mode_meets_everything_that_users_do() -> None:
    ways = {"create", "small appends", "large writes", "overwrite", "resize", "delete"}
    ways |= {
        "change in place",
        "schema",
        "indexes",
        "key store churn",
        "many datasets",
        "compact",
        "tags",
        "change of retention",
        "put off",
    }
    assert {name.rsplit(", ", 1)[0] for name in API} == ways
    assert len(API) == len(ways) * len(api_workloads.DURABILITIES)


def test_the_workloads_have_thousands_of_states_with_folds_and_pages_among_them() -> None:
    states = checkpoints = 0
    for name in ("table of a day", "growth", "versions"):
        recorder = Recorder(empty_store())
        case = JOB[name]
        session = Session(recorder, case.open_engine, case.read_state)
        session.acknowledged()
        case.workload(session)
        table = session.engine.store["trades"]
        if name == "growth":
            assert table.info.pieces < 60, "75 appends have been folded"
        checkpoints += sum(
            e.kind == "write" and b"TREE" in {e.data[i : i + 4] for i in range(0, len(e.data), 64)}
            for e in recorder.log
        )
        session.engine.close()
        states += sum(1 for _ in crash_states(recorder.log, initial=empty_store()))
    assert states > 5000
    assert checkpoints > 10


# The check must be able to fail; test_planted_bugs.py has the rest


def test_a_fold_that_loses_a_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(txn: Any, nodes: frozenset[int]) -> None:
        from kist.model.tables.changes.change import delete_rows

        maintain(txn, nodes)
        for node in nodes:
            if node > 1:
                delete_rows(txn, node, "/", np.array([0]))

    real = OpenStore.__init__

    def opened(self: Any, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        self.engine.maintain = lossy

    monkeypatch.setattr(OpenStore, "__init__", opened)
    assert check(JOB["growth"], deep=0, limit=300).failures


@pytest.mark.parametrize("case", [JOB["table of a day"], OBJECTS["key churn"]])
def test_records_that_are_not_synced_are_noticed(
    monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.setattr(writer.Writer, "_sync_record", lambda self, record: None)
    assert check(case, deep=0, limit=80).failures
