"""The main job, crashed at every write and sync: the last commit or the one in flight, whole.

main_job.py holds the workloads; creation of the file is judged in test_commit_protocol.py.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine import creation, writer
from kist.storage import MemoryBackend
from kist.testing.crash import Case, Report, Session, check_crashes
from kist.testing.images import crash_states
from kist.testing.recording import Recorder


def load_cases() -> Any:
    # pytest imports tests without putting their folder on the path.
    path = Path(__file__).with_name("main_job.py")
    spec = importlib.util.spec_from_file_location("crash_main_job", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


job = load_cases()
CASES: dict[str, Case] = job.CASES


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pages of a few thousand rows gain nothing from threads."""
    kist.options.n_threads = 1
    yield
    kist.options.reset()


@functools.cache
def empty_store() -> bytes:
    backend = MemoryBackend()
    creation.create(backend)
    return backend.read(0, backend.size())


def begun(case: Case, session: Session) -> None:
    session.acknowledged()  # the empty store
    case.workload(session)


def check(case: Case, **more: Any) -> Report:
    options: dict[str, Any] = {"limit": 330, "deep": 0.02, "durability": case.durability}
    return check_crashes(
        functools.partial(begun, case),
        case.read_state,
        case.open_engine,
        **{"probe": case.probe, "initial": empty_store(), **options, **more},
    )


@pytest.mark.parametrize("name", CASES)
def test_a_crash_of_the_main_job_leaves_the_last_commit_or_the_one_in_flight(name: str) -> None:
    report = check(CASES[name])
    assert report.failures == [], str(report)
    assert report.states >= 330


def test_the_workloads_have_thousands_of_states_with_folds_and_pages_among_them() -> None:
    states = checkpoints = 0
    for name in ("table of a day", "growth", "versions"):
        recorder = Recorder(empty_store())
        case = CASES[name]
        session = Session(recorder, case.open_engine, case.read_state)
        begun(case, session)
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


# The check must be able to fail


def test_a_fold_that_loses_a_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(txn: Any, nodes: frozenset[int]) -> None:
        from kist.model.tables.change import delete_rows

        job._maintain(txn, nodes)
        for node in nodes:
            if node > 1:
                delete_rows(txn, node, "/", np.array([0]))

    real = job.OpenStore.__init__

    def opened(self: Any, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        self.engine.maintain = lossy

    monkeypatch.setattr(job.OpenStore, "__init__", opened)
    assert check(CASES["growth"], deep=0, limit=300).failures


def test_records_that_are_not_synced_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer.Writer, "_sync_record", lambda self, record: None)
    assert check(CASES["table of a day"], deep=0, limit=300).failures
