"""Sealed objects and stores, crashed at every write and sync: whole states, nothing in clear.

sealed_workloads.py holds what is done to them; link_workloads.py links, unions and indexes.
"""

from __future__ import annotations

from typing import Any

import api_workloads
import main_job
import pytest

pytest.importorskip("cryptography")

import link_workloads
import sealed_workloads
from crash_stores import check
from sealed_workloads import OpenSealed, empty_sealed, sealed

from kist.errors import CommitUnknownError, StorageError
from kist.storage import MemoryBackend
from kist.testing.faults import Fault, FaultyBackend

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = (
    "create, full",
    "small appends, full",
    "small appends, relaxed",
    "tags, full",
    "compact, full",
    "change of retention, full",
)

OBJECTS = {
    name: {**sealed_workloads.OBJECTS, **link_workloads.CASES}[name]
    for name in (
        "sealed columns",
        "relaxed, sealed arrays",
        "sealed key stores",
        "links",
        "sealed indexed rows",
    )
}


@pytest.mark.parametrize("name", OBJECTS)
def test_a_crash_leaves_sealed_objects_links_and_indexes_as_they_were_at_some_commit(
    name: str,
) -> None:
    report = check(OBJECTS[name], limit=4)
    assert report.failures == [], str(report)
    assert report.states >= 4


@pytest.mark.parametrize("name", NAMES)
def test_a_crash_of_a_sealed_store_leaves_a_state_that_there_was(name: str) -> None:
    created = name.startswith("create")
    more: dict[str, Any] = {} if created else {"initial": empty_sealed()}
    report = check(sealed(api_workloads.CASES[name]), created=created, limit=14, **more)
    assert report.failures == [], str(report)
    assert report.states >= 14


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_a_crash_while_a_store_is_sealed_again_leaves_a_state_that_there_was(
    durability: str,
) -> None:
    case = sealed_workloads.WHOLE[f"sealed store, secrets, {durability}"]
    report = check(case, limit=6, initial=empty_sealed())
    assert report.failures == [], str(report)
    assert report.states >= 6


def test_a_crash_of_the_main_job_of_a_sealed_store() -> None:
    name = next(iter(main_job.CASES))
    report = check(sealed(main_job.CASES[name]), limit=25, initial=empty_sealed())
    assert report.failures == [], str(report)


@pytest.mark.parametrize("kind", ["write", "sync", "read"])
def test_a_fault_in_any_call_leaves_the_last_commit_or_the_next(kind: str) -> None:
    inner = MemoryBackend()
    inner.write(0, [empty_sealed()])
    backend = FaultyBackend(inner)
    opened = OpenSealed(backend, "r+")
    opened.store.attrs["n"] = 0
    for n in range(1, 12):
        backend.faults = (Fault(kind, backend.calls[kind] + n % 4, 5),)
        acknowledged = False
        try:
            opened.store["x"] = [n] * 2000
            opened.store.attrs["n"] = n
            acknowledged = True
        except (OSError, StorageError, CommitUnknownError):
            pass
        backend.faults = ()
        fresh = OpenSealed(inner, "r")
        if acknowledged:
            assert fresh.store.attrs["n"] == n
            assert fresh.store["x"][0] == n
        assert fresh.check() == []
        opened = OpenSealed(backend, "r+")
