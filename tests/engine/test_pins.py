"""What a snapshot sees stays as it is, however much is overwritten, until it is let go."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.engine import Engine, Frame, Snapshot
from kist.engine.pins import Pins
from kist.errors import SnapshotExpiredError, StoreClosedError
from kist.format import keys, layout
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile

NODE = 5


def put(engine: Engine, number: int, payload: bytes = b"x", blob: bytes = b"") -> int:
    txn = engine.begin()
    pointers = txn.write([Frame(layout.FRAME_BLOB, NODE, 0, number, blob)] if blob else [])
    txn.put(keys.group(NODE, number), pack_record(payload, pointers))
    return txn.commit()


def shown(view: Snapshot) -> dict[int, tuple[bytes, ...]]:
    found = {}
    for key, value in view.scan(*keys.groups(NODE)):
        pointers, payload = unpack_record(value)
        found[keys.row_of(key)] = (payload, *[bytes(view.read(p)) for p in pointers])
    return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), st.sampled_from([0, 100, 9000, 300_000])),
        st.tuples(
            st.sampled_from(["checkpoint", "look", "release"]), st.integers(0, 3), st.just(0)
        ),
    ),
    max_size=40,
)


@given(steps=STEPS, apart=st.booleans())
def test_pinned_snapshots_never_change(steps: list[tuple[str, int, int]], apart: bool) -> None:
    file = MemoryFile()
    writer = Engine.open_backend(MemoryBackend(file), "a", durability="none")
    reader = Engine.open_backend(MemoryBackend(file), "r") if apart else writer
    kept: list[tuple[Snapshot, dict[int, tuple[bytes, ...]]]] = []
    for step, (kind, n, size) in enumerate(steps):
        if kind == "put":
            put(writer, n, b"%d" % step, bytes([step]) * size)
        elif kind == "checkpoint":
            writer.checkpoint()
        elif kind == "look":
            snapshot = reader.snapshot()
            kept.append((snapshot, shown(snapshot)))
        elif kept:
            kept.pop(n % len(kept))[0].release()
        for snapshot, expected in kept:
            assert shown(snapshot) == expected
    assert writer.check() == []
    reader.close()
    writer.close()


def test_a_commit_that_goes_before_it_is_pinned_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = MemoryFile()
    writer = Engine.open_backend(MemoryBackend(file), "a", durability="none")
    put(writer, 0, b"old", b"old" * 100_000)
    reader = Engine.open_backend(MemoryBackend(file), "r")
    real, found = Pins.pin, reader.commit

    def pin(self: Pins, commit: int) -> None:
        monkeypatch.setattr(Pins, "pin", real)
        for turn in range(8):  # the space of the old commit is used again
            put(writer, 0, b"new", b"new" * 100_000 + b"%d" % turn)
            writer.checkpoint()
        real(self, commit)

    monkeypatch.setattr(Pins, "pin", pin)
    with reader.snapshot(opened_now=True) as snapshot:
        assert snapshot.commit > found
        assert shown(snapshot) == {0: (b"new", b"new" * 100_000 + b"7")}
    reader.close()
    writer.close()


def test_without_pins_a_file_that_is_overwritten_stays_small() -> None:
    engine = Engine.open(":memory:", "a", durability="none")
    for i in range(200):
        put(engine, 0, b"", bytes([i]) * 100_000)
    assert engine.backend.size() < 8 << 20
    engine.close()


def test_a_pin_holds_only_what_it_sees() -> None:
    engine = Engine.open(":memory:", "a", durability="none")
    put(engine, 0, b"", b"a" * 500_000)
    with engine.snapshot() as old:
        for i in range(100):
            put(engine, 0, b"", bytes([i]) * 500_000)
        assert engine.backend.size() < 20 << 20
        assert shown(old) == {0: (b"", b"a" * 500_000)}
        assert [p.commit for p in engine.usage().pins] == [old.commit]
        assert 500_000 <= engine.usage().pins[0].bytes_held < 1_000_000
    engine.close()


def test_the_newest_snapshot_is_the_same_object_until_something_changes() -> None:
    engine = Engine.open(":memory:", "a")
    put(engine, 0)
    first = engine.newest()
    assert engine.newest() is first
    put(engine, 1)
    second = engine.newest()
    assert second is not first
    assert set(shown(first)) == {0}
    assert set(shown(second)) == {0, 1}
    engine.close()


def test_a_version_that_is_gone_is_refused_by_name() -> None:
    engine = Engine.open(":memory:", "a")
    for i in range(3):
        put(engine, i)
    for _ in range(3):
        engine.checkpoint()
    for version in (1, 2, 100, -1, "missing"):
        with pytest.raises(SnapshotExpiredError):
            engine.snapshot(version)
    assert engine.backend.locks.pins(1000) == []
    engine.close()


def test_pins_go_with_their_snapshot_and_with_the_engine(path: Path) -> None:
    engine = Engine.open(path, "a")
    put(engine, 0)
    other = Engine.open(path, "r")
    snapshot = other.snapshot()
    assert engine.backend.locks.pins(10) == [1]
    circle: list[Any] = [snapshot]
    circle.append(circle)
    del snapshot, circle
    gc.collect()
    assert engine.backend.locks.pins(10) == []
    kept = other.snapshot()
    assert kept.pinned
    other.close()
    assert engine.backend.locks.pins(10) == []
    with pytest.raises(StoreClosedError):
        kept.get(keys.group(NODE, 0))
    kept.release()
    engine.close()


class Reentrant:
    """Locks that let another pin go while they work, as a garbage collection may."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.meanwhile: list[Callable[[], None]] = []

    def _collect(self) -> None:
        while self.meanwhile:
            self.meanwhile.pop()()

    def pin(self, commit: int) -> None:
        before = self.counts.get(commit, 0)
        self._collect()
        self.counts[commit] = before + 1

    def unpin(self, commit: int) -> None:
        before = self.counts[commit]
        self._collect()
        self.counts[commit] = before - 1


def test_a_pin_may_be_undone_in_the_middle_of_another() -> None:
    class Backend:
        locks = Reentrant()

    pins = Pins(Backend())  # type: ignore[arg-type]
    for commit in (7, 7, 8):
        pins.pin(commit)
    Backend.locks.meanwhile.append(lambda: pins.unpin(7))
    pins.pin(7)
    assert Backend.locks.counts == {7: 2, 8: 1}
    Backend.locks.meanwhile.append(lambda: pins.unpin(7))
    pins.unpin(7)
    assert Backend.locks.counts == {7: 0, 8: 1}
