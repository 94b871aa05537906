"""Bugs planted on purpose: each rule of the protocol, left out, is noticed by the crash checker.

A checker that finds nothing proves nothing, so these stay as tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import api_workloads
import crash_stores
import protocol_extras as extras
import pytest
import workloads as w
from protocol_extras import BROKEN_SYNCS, FAILING, SAME_SIZES, history_failures

from kist.engine import creation, recovery, writer
from kist.engine.space import Space
from kist.errors import CorruptDataError
from kist.format import layout, log
from kist.storage import MemoryBackend
from kist.testing.crash import Case
from kist.testing.faults import FaultyBackend
from kist.testing.recording import RecordingBackend

pytestmark = pytest.mark.usefixtures("one_thread")

Mutate = Callable[[pytest.MonkeyPatch], object]
CASES: dict[str, Case] = w.CASES
API: dict[str, Case] = api_workloads.CASES


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


def tags_gone_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """What a tag kept is given out though a crash may bring the tag back."""
    real = writer.Writer.release

    def release(self: Any, space: Space) -> None:
        horizon, self._chain.horizon = self._chain.horizon, self._chain.state.commit
        try:
            real(self, space)
        finally:
            self._chain.horizon = horizon

    patch.setattr(writer.Writer, "release", release)


def space_reused_at_once(patch: pytest.MonkeyPatch) -> None:
    """Whatever is freed is free with the next step, though nothing of it is durable."""
    tags_gone_before_it_is_durable(patch)
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

    def create(backend: Any, encrypt: Any = None) -> None:
        held = MemoryBackend()
        real(held, encrypt)
        backend.write(0, [held.read(0, held.size())])
        backend.sync()
        backend.sync_directory()

    real = creation.create
    patch.setattr(creation, "create", create)


def checkpoints_not_synced(patch: pytest.MonkeyPatch) -> None:
    """In relaxed, slot after slot is written over in one stretch without a sync."""
    for name in ("sync", "_sync_record"):
        real = getattr(writer.Writer, name)

        def sync(self: Any, what: Any, real: Any = real) -> None:
            if self._engine.durability != "relaxed":
                real(self, what)

        patch.setattr(writer.Writer, name, sync)


def freed_is_free(patch: pytest.MonkeyPatch) -> None:
    """What a commit frees is taken by the same commit."""
    real = Space.wait

    def wait(self: Space, freed: Any) -> None:
        freed = list(freed)
        real(self, [])
        for extent in freed:
            self.give(extent.offset, extent.length)

    patch.setattr(Space, "wait", wait)


class _Equal(bytes):
    """A sum that is like every other."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def sums_of_records_not_verified(patch: pytest.MonkeyPatch) -> None:
    real = log.sum128_of
    patch.setattr(log, "sum128_of", lambda parts: _Equal(real(parts)))


def swallowed(call: str) -> Mutate:
    """Errors of a call to the device get lost on the way up."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        real = getattr(FaultyBackend, call)

        def quiet(self: Any, *arguments: Any) -> None:
            try:
                real(self, *arguments)
            except OSError:
                return

        patch.setattr(FaultyBackend, call, quiet)

    return mutate


def take_over_without_the_folder(patch: pytest.MonkeyPatch) -> None:
    real = writer.Writer.take_over

    def take_over(self: Any) -> None:
        self._directory_synced = True
        real(self)

    patch.setattr(writer.Writer, "take_over", take_over)


# Over the raw map

PROTOCOL: dict[str, tuple[Mutate, Case]] = {
    "no sync of large extents": (without_sync_of("the data of a commit"), CASES["large extents"]),
    "no sync of a new tree": (without_sync_of("a new tree"), CASES["bulk"]),
    "no sync of a new tree, in none": (without_sync_of("a new tree"), CASES["none, churn"]),
    "no sync of records": (without_sync_of_records, CASES["small puts"]),
    "slot and root record too early": (slot_before_the_tree, CASES["churn"]),
    "relaxed writes over both slots": (checkpoints_not_synced, CASES["relaxed, churn"]),
    "space reused at once": (space_reused_at_once, CASES["none, churn"]),
    "space reused by the commit that frees it": (freed_is_free, CASES["bulk"]),
    "kept versions ignored": (kept_versions_ignored, CASES["tags"]),
    "listed extents not verified": (listed_extents_not_verified, CASES["small extents"]),
    "sums of records not verified": (sums_of_records_not_verified, CASES["ranges"]),
    "parent sum not checked": (parent_not_checked, SAME_SIZES),
    "tail not written again": (tail_not_written_again, BROKEN_SYNCS),
    "no sync of the folder": (without_sync_of_the_folder, CASES["small extents"]),
    "header before the rest": (header_before_the_rest, CASES["small extents"]),
    "error of a sync swallowed": (swallowed("sync"), FAILING["sync"]),
    "error of a write swallowed": (swallowed("write"), FAILING["write"]),
}


@pytest.mark.parametrize("name", PROTOCOL)
def test_a_rule_left_out_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate, case = PROTOCOL[name]
    mutate(monkeypatch)
    try:
        report = extras.check(case, deep=0, limit=400, most_failures=1)
    except CorruptDataError:
        return  # noticed before any crash
    assert report.failures, str(report)


@pytest.mark.parametrize(
    ("mutate", "folder_fails"),
    [(take_over_without_the_folder, 0), (swallowed("sync_directory"), 3)],
)
def test_a_name_that_nobody_makes_durable_is_noticed(
    monkeypatch: pytest.MonkeyPatch, mutate: Mutate, folder_fails: int
) -> None:
    mutate(monkeypatch)
    assert "gone" in str(extras.after_a_dead_creator(folder_fails).failures)


@pytest.mark.parametrize("mutate", [older_slot_ignored, space_reused_at_once])
def test_the_older_slot_ignored_is_noticed_in_the_history(
    monkeypatch: pytest.MonkeyPatch, mutate: Mutate
) -> None:
    # A crash does not need the older slot: the newer one is durable before reuse, and if it is
    # lost later, the log leads past it. Those who read what it names do.
    mutate(monkeypatch)
    assert history_failures(CASES["churn"])


# Over stores, by what users do

STORES: dict[str, tuple[Mutate, str]] = {
    "no sync of records": (without_sync_of_records, "delete, full"),
    "no sync of the folder": (without_sync_of_the_folder, "create, full"),
    "relaxed writes over both slots": (checkpoints_not_synced, "key store churn, relaxed"),
    "space reused at once": (space_reused_at_once, "overwrite, none"),
    "listed extents not verified": (listed_extents_not_verified, "resize, relaxed"),
    "a tag is gone too early": (tags_gone_before_it_is_durable, "tags, relaxed"),
}


@pytest.mark.parametrize("name", STORES)
def test_a_rule_left_out_is_noticed_by_what_users_see(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate, case = STORES[name]
    crash_stores.empty_store()  # made right
    mutate(monkeypatch)
    try:
        report = crash_stores.check(
            API[case], created=case.startswith("create"), deep=0, limit=400, most_failures=1
        )
    except CorruptDataError:
        return  # noticed before any crash
    assert report.failures, str(report)
