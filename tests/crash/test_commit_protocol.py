"""What a crash leaves of any workload is the last commit, or the one in flight; see workloads.py.

Beside it the mutants: each rule of the protocol, left out, is noticed by the same check.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kist.engine import Engine, Transaction, creation, recovery, writer
from kist.engine.space import Space
from kist.errors import CommitUnknownError, CorruptDataError, KistError, ReadOnlyError
from kist.format import layout
from kist.storage import MemoryBackend
from kist.testing.crash import Case, Report, Session, check_crashes
from kist.testing.faults import Fault, FaultyBackend
from kist.testing.images import crash_states
from kist.testing.recording import Recorder, RecordingBackend


def load_workloads() -> Any:
    # pytest imports tests without putting their folder on the path.
    path = Path(__file__).with_name("workloads.py")
    spec = importlib.util.spec_from_file_location("crash_workloads", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


w = load_workloads()
CASES: dict[str, Case] = w.CASES


def check(case: Case, **more: Any) -> Report:
    options: dict[str, Any] = {"limit": 120, "deep": 0.03, "durability": case.durability}
    return check_crashes(
        case.workload,
        case.read_state,
        case.open_engine,
        **{"probe": case.probe, **options, **more},
    )


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


@pytest.mark.parametrize("name", ["churn", "handovers", "tags", "retained", "relaxed, churn"])
def test_what_the_history_lists_shows_what_it_showed(name: str) -> None:
    assert history_failures(CASES[name]) == []


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


def test_commits_after_a_failed_sync_do_not_rest_on_what_it_lost() -> None:
    report = check(BROKEN_SYNCS, limit=300)
    assert report.failures == [], str(report)


# Mutants

Mutate = Callable[[pytest.MonkeyPatch], object]


def without_sync_of(what: str) -> Mutate:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        real = writer.Writer.sync

        def sync(self: writer.Writer, named: str) -> None:
            if named != what:
                real(self, named)

        patch.setattr(writer.Writer, "sync", sync)

    return mutate


def without_sync_of_records(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer.Writer, "_sync_record", lambda self, record: None)


def slot_before_the_tree(patch: pytest.MonkeyPatch) -> None:
    """Root record and slot are written first, the pages of the tree behind them."""
    real_tree, real_sync = writer.write_tree, writer.Writer._sync_record
    held: list[tuple[RecordingBackend, int, list[bytes]]] = []

    def write_tree(reader: Any, *arguments: Any) -> Any:
        backend = reader.backend
        reader.backend = _Holding(backend, held)
        try:
            return real_tree(reader, *arguments)
        finally:
            reader.backend = backend

    def sync_record(self: writer.Writer, record: Any) -> None:
        real_sync(self, record)
        for backend, offset, buffers in held:
            backend.write(offset, buffers)
        if held:
            held.clear()
            real_sync(self, record)

    patch.setattr(writer, "write_tree", write_tree)
    patch.setattr(writer.Writer, "_sync_record", sync_record)


class _Holding:
    def __init__(self, backend: Any, held: list[Any]) -> None:
        self.backend, self.held = backend, held

    def write(self, offset: int, buffers: Any) -> None:
        self.held.append((self.backend, offset, [bytes(b) for b in buffers]))


def space_reused_at_once(patch: pytest.MonkeyPatch) -> None:
    real = Space.release
    patch.setattr(Space, "release", lambda self, oldest, kept: real(self, 1 << 60, kept))


def older_slot_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer, "oldest_commit", lambda slots: max(s.commit for s in slots if s))


def kept_versions_ignored(patch: pytest.MonkeyPatch) -> None:
    real = Space.release
    patch.setattr(Space, "release", lambda self, oldest, kept: real(self, oldest, []))


def listed_extents_not_verified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "verified", lambda backend, record: True)


def parent_not_checked(patch: pytest.MonkeyPatch) -> None:
    real = recovery._read_record

    def read(ring: Any, position: int, commit: int = 0, last: bytes | None = None) -> Any:
        record = real(ring, position)
        if record and last is not None:
            if record.commit != commit + (record.kind != layout.COMMIT_MARK):
                return None
            record.parent = last
        return record

    patch.setattr(recovery, "_read_record", read)


def tail_not_written_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer.Writer, "_rewrite_tail", lambda self, chain: None)


def without_sync_of_the_folder(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RecordingBackend, "sync_directory", MemoryBackend.sync_directory)


def header_before_the_rest(patch: pytest.MonkeyPatch) -> None:
    """Creation in one step."""

    def create(backend: Any) -> None:
        held = MemoryBackend()
        real(held)
        backend.write(0, [held.read(0, held.size())])
        backend.sync()
        backend.sync_directory()

    real = creation.create
    patch.setattr(creation, "create", create)


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
    same_sizes, w.read_state, CASES["none, churn"].open_engine, same_size_probe, "none"
)

MUTANTS: dict[str, tuple[Mutate, Case]] = {
    "no sync of large extents": (without_sync_of("the data of a commit"), CASES["large extents"]),
    "no sync of a new tree": (without_sync_of("a new tree"), CASES["bulk"]),
    "no sync of a new tree, in none": (without_sync_of("a new tree"), CASES["none, churn"]),
    "no sync of records": (without_sync_of_records, CASES["small puts"]),
    "root record and slot before the tree": (slot_before_the_tree, CASES["churn"]),
    "space reused at once": (space_reused_at_once, CASES["none, churn"]),
    "kept versions ignored": (kept_versions_ignored, CASES["tags"]),
    "listed extents not verified": (listed_extents_not_verified, CASES["small extents"]),
    "parent sum not checked": (parent_not_checked, SAME_SIZES),
    "tail not written again": (tail_not_written_again, BROKEN_SYNCS),
    "no sync of the folder": (without_sync_of_the_folder, CASES["small extents"]),
    "header before the rest": (header_before_the_rest, CASES["small extents"]),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_rule_left_out_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, case = MUTANTS[name]
    mutate(monkeypatch)
    try:
        report = check(case, deep=0, limit=400)
    except CorruptDataError:
        return  # noticed before any crash
    assert report.failures, str(report)


@pytest.mark.parametrize("mutate", [older_slot_ignored, space_reused_at_once])
def test_the_older_slot_ignored_is_noticed_in_the_history(
    monkeypatch: pytest.MonkeyPatch, mutate: Mutate
) -> None:
    # A crash does not need the older slot: the newer one is durable before reuse, and if it is
    # lost later, the log leads past it. Those who read what it names do.
    mutate(monkeypatch)
    assert history_failures(CASES["churn"])


def test_the_case_of_equal_sizes_is_right_without_its_mutant() -> None:
    assert check(SAME_SIZES, deep=0).failures == []


def test_crash_states_of_a_workload_are_thousands() -> None:
    recorder = Recorder()
    session = Session(recorder, CASES["churn"].open_engine, CASES["churn"].read_state)
    CASES["churn"].workload(session)
    session.engine.close()
    assert sum(1 for _ in crash_states(recorder.log)) > 3000
