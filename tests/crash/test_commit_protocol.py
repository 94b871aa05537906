"""What a crash leaves of any workload is the last commit, or the one in flight; see workloads.py.

test_planted_bugs.py leaves out each rule of the protocol, which the same check notices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import workloads as w
from protocol_extras import (
    BROKEN_SYNCS,
    FAILING,
    SAME_SIZES,
    after_a_dead_creator,
    check,
    history_failures,
)

from kist.format import layout
from kist.storage import MemoryBackend
from kist.testing.crash import Case, Session
from kist.testing.images import crash_states
from kist.testing.recording import Recorder

CASES: dict[str, Case] = w.CASES


@pytest.mark.parametrize("name", CASES)
def test_a_crash_leaves_the_last_commit_or_the_one_in_flight(name: str) -> None:
    report = check(CASES[name])
    assert report.failures == [], str(report)
    assert report.states >= 120


# Beyond what a crash does: one slot is lost later, or never reached the disk


def slot_images(log: list[Any], initial: bytes) -> Iterator[tuple[str, bytes, Any]]:
    """File as of each note, with one slot wiped, or as it was before its last write."""
    image = bytearray(initial)
    before: dict[int, bytes] = {}
    for event in log:
        if event.kind == "write":
            end = event.offset + len(event.data)
            image[:] = image.ljust(event.offset, b"\0")
            for place in layout.SLOT_OFFSETS:
                if event.offset == place and len(event.data) == layout.BLOCK:
                    before[place] = bytes(image[place : place + layout.BLOCK])
            image[event.offset : end] = event.data
        elif event.kind == "resize":
            image[:] = image[: event.offset].ljust(event.offset, b"\0")
        elif event.kind == "note":
            for place in layout.SLOT_OFFSETS:
                for what, data in (("wiped", bytes(layout.BLOCK)), ("stale", before.get(place))):
                    if data is not None:
                        damaged = bytearray(image)
                        damaged[place : place + layout.BLOCK] = data
                        yield f"slot at {place:#x} {what}", bytes(damaged), event.note.state


def slot_failures(case: Case) -> list[str]:
    recorder = Recorder()
    session = Session(recorder, case.open_engine, case.read_state)
    session.acknowledged()
    case.workload(session)
    session.engine.close()
    failures = []
    for what, image, expected in slot_images(recorder.log, b""):
        try:
            engine = case.open_engine(MemoryBackend(image), "a")
            if case.read_state(engine) != expected:
                failures.append(f"{what}: another state")
            case.probe(engine, lambda: None)
            if case.read_state(engine) != expected:
                failures.append(f"{what}: another state after the next commits")
            if problems := engine.check():
                failures.append(f"{what}: {problems[0]}")
            engine.close()
        except Exception as error:
            failures.append(f"{what}: {type(error).__name__}: {error}")
    return failures


@pytest.mark.parametrize("name", ["churn", "handovers", "tags"])
def test_the_newest_commit_is_reached_from_either_slot(name: str) -> None:
    assert slot_failures(CASES[name]) == []


@pytest.mark.parametrize("name", ["churn", "handovers", "tags", "retained", "relaxed, churn"])
def test_what_the_history_lists_shows_what_it_showed(name: str) -> None:
    assert history_failures(CASES[name]) == []


# What should have been durable and is not


def test_commits_after_a_failed_sync_do_not_rest_on_what_it_lost() -> None:
    report = check(BROKEN_SYNCS, limit=300)
    assert report.failures == [], str(report)


@pytest.mark.parametrize("kind", FAILING)
def test_what_was_acknowledged_between_failing_calls_is_there(kind: str) -> None:
    report = check(FAILING[kind], limit=150)
    assert report.failures == [], str(report)


@pytest.mark.parametrize("folder_fails", [0, 1])
def test_who_goes_on_after_a_dead_creator_makes_the_name_durable(folder_fails: int) -> None:
    report = after_a_dead_creator(folder_fails)
    assert report.failures == [], str(report)


def test_the_case_of_equal_sizes_is_right_without_its_mutant() -> None:
    assert check(SAME_SIZES, deep=0).failures == []


def test_crash_states_of_a_workload_are_thousands() -> None:
    recorder = Recorder()
    session = Session(recorder, CASES["churn"].open_engine, CASES["churn"].read_state)
    CASES["churn"].workload(session)
    session.engine.close()
    assert sum(1 for _ in crash_states(recorder.log)) > 3000
