"""Full disks and broken devices at every call: an error, the last commit, and a usable file."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kist.engine import Engine, Frame
from kist.errors import (
    CommitUnknownError,
    ReadOnlyError,
    StorageError,
    TransactionClosedError,
)
from kist.format import keys, layout
from kist.format.values import pack_record, unpack_record
from kist.storage import MemoryBackend, MemoryFile
from kist.testing.faults import Fault, FaultyBackend

NODE = 5
State = dict[int, tuple[bytes, ...]]


def contents(engine: Engine) -> State:
    found = {}
    with engine.snapshot() as view:
        for key, value in view.scan(*keys.groups(NODE)):
            pointers, payload = unpack_record(value)
            found[keys.row_of(key)] = (payload, *[bytes(view.read(p)) for p in pointers])
    return found


class Program:
    """A few transactions of every kind; what is committed, and what may be."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.committed: State = {}
        self.unknown: State | None = None
        self.errors: list[OSError | CommitUnknownError] = []

    def steps(self) -> Iterator[dict[int, tuple[bytes, ...]]]:
        yield {0: (b"a",)}
        yield {1: (b"b", b"blob" * 100)}
        yield {2: (b"c", b"large" * 30_000), 3: (b"d",)}
        yield dict.fromkeys(range(10, 1400), (b"many" * 5,))
        yield {1: (b"e", b"again" * 200)}
        yield {0: (b"f",)}

    def run(self) -> None:
        for number, changes in enumerate(self.steps()):
            try:
                txn = self.engine.begin()
                try:
                    for row, (payload, *blobs) in changes.items():
                        frames = [Frame(layout.FRAME_BLOB, NODE, 0, row, b) for b in blobs]
                        txn.put(keys.group(NODE, row), pack_record(payload, txn.write(frames)))
                    txn.commit()
                finally:
                    txn.rollback()
                self.committed = {**self.committed, **changes}
                if number == 1:
                    self.engine.checkpoint()
            except CommitUnknownError as error:
                self.errors.append(error)
                self.unknown = {**self.committed, **changes}
            except StorageError as error:
                self.errors.append(error)


def calls_of(options: dict[str, Any]) -> dict[str, int]:
    """How many calls of each kind the program makes; also: without faults it is right."""
    backend = FaultyBackend(MemoryBackend(MemoryFile()))
    engine = Engine.open_backend(backend, "a", **options)
    before = dict(backend.calls)
    program = Program(engine)
    program.run()
    found = {kind: n - before.get(kind, 0) for kind, n in backend.calls.items()}
    assert program.errors == []
    assert contents(engine) == program.committed
    engine.close()
    return found


@pytest.mark.parametrize("durability", ["full", "relaxed", "none"])
@pytest.mark.parametrize(
    ("kind", "error", "persist", "share", "late"),
    [
        ("write", errno.ENOSPC, False, 0.0, False),
        ("write", errno.ENOSPC, True, 0.5, False),
        ("write", errno.EIO, False, 0.7, False),
        ("write", errno.EIO, False, 0.0, True),
        ("sync", errno.EIO, False, 0.0, False),
        ("sync", errno.EIO, True, 0.0, True),
        ("read", errno.EIO, False, 0.0, False),
    ],
)
def test_a_failing_call_loses_at_most_its_transaction(
    kind: str, error: int, persist: bool, share: float, late: bool, durability: str
) -> None:
    options: dict[str, Any] = {"durability": durability}
    total = calls_of(options)[kind]
    for n in range(1, total + 1):
        file = MemoryFile()
        backend = FaultyBackend(MemoryBackend(file))
        engine = Engine.open_backend(backend, "a", **options)
        fault = Fault(kind, backend.calls[kind] + n, error, persist, share, late)
        backend.faults = (fault,)
        program = Program(engine)
        program.run()
        backend.faults = ()
        possible = [program.committed]
        if program.unknown is not None:
            possible.append(program.unknown)
        where = f"{kind} {n} of {total}: {program.errors}"
        assert program.errors, where
        assert not backend.locks.writer_held(), where
        assert contents(engine) in possible, where
        assert engine.check() == [], where
        # A handle whose sync failed writes no more; any other does.
        assert any(isinstance(e, ReadOnlyError) for e in program.errors) <= (kind != "read"), where
        reader = Engine.open_backend(MemoryBackend(MemoryFile(file.data)), "r")
        assert contents(reader) in possible, where
        assert reader.check() == [], where
        backend.close()
        writer = Engine.open_backend(MemoryBackend(file), "r+", **options)
        expected = contents(writer)
        assert expected in possible, where
        txn = writer.begin()
        txn.put(keys.group(NODE, 99), pack_record(b"after"))
        txn.commit()
        writer.checkpoint()
        assert contents(writer) == {**expected, 99: (b"after",)}, where
        assert writer.check() == [], where
        reader.close()
        writer.close()


def test_after_a_failed_sync_the_handle_only_reads() -> None:
    backend = FaultyBackend(MemoryBackend(MemoryFile()))
    engine = Engine.open_backend(backend, "a")
    backend.faults = (Fault("sync", backend.calls["sync"] + 1),)
    txn = engine.begin()
    txn.put(keys.group(NODE, 0), pack_record(b"x"))
    with pytest.raises(CommitUnknownError, match="commit 1") as info:
        txn.commit()
    assert info.value.commit == 1
    for _ in range(2):
        with pytest.raises(ReadOnlyError, match="sync failed"):
            engine.begin()
    with pytest.raises(ReadOnlyError):
        engine.checkpoint()
    with pytest.raises(ReadOnlyError):
        engine.sync()
    contents(engine)
    engine.close()


def test_a_transaction_may_go_on_without_what_could_not_be_written() -> None:
    backend = FaultyBackend(MemoryBackend(MemoryFile()))
    engine = Engine.open_backend(backend, "a")
    txn = engine.begin()
    backend.faults = (Fault("write", backend.calls["write"] + 1, errno.ENOSPC),)
    with pytest.raises(StorageError):
        txn.write([Frame(layout.FRAME_BLOB, NODE, 0, 0, b"x" * 1000)])
    txn.put(keys.group(NODE, 0), pack_record(b"without"))
    txn.commit()
    assert contents(engine) == {0: (b"without",)}
    assert engine.check() == []
    for _ in range(3):
        engine.checkpoint()
    assert engine.check() == []
    engine.close()


def test_a_range_that_could_not_be_read_is_not_given_up_in_part() -> None:
    backend = FaultyBackend(MemoryBackend(MemoryFile()))
    engine = Engine.open_backend(backend, "a")
    txn = engine.begin()
    for number in range(300):
        frame = Frame(layout.FRAME_BLOB, NODE, 0, number, b"%d" % number)
        txn.put(keys.group(NODE, number), pack_record(b"x" * 50, txn.write([frame])))
    txn.commit()
    engine.checkpoint()
    before = contents(engine)
    engine.reader.tree.forget()
    txn = engine.begin()
    assert txn.get(keys.group(NODE, 0)) is not None
    backend.faults = (Fault("read", backend.calls["read"] + 2),)
    with pytest.raises(StorageError):
        txn.delete_range(*keys.groups(NODE))
    txn.put(keys.group(NODE, 500), pack_record(b"on"))
    txn.commit()
    assert contents(engine) == {**before, 500: (b"on",)}
    assert engine.check() == []
    engine.close()


def test_a_sync_that_fails_in_one_thread_fails_the_commit_of_another() -> None:
    # The system tells only one of them: what the other has written may be lost all the same.
    backend = FaultyBackend(MemoryBackend(MemoryFile()))
    engine = Engine.open_backend(backend, "a")
    txn = engine.begin()
    frame = Frame(layout.FRAME_BLOB, NODE, 0, 0, b"x" * 1000)
    txn.put(keys.group(NODE, 0), pack_record(b"", txn.write([frame])))
    backend.faults = (Fault("sync", backend.calls["sync"] + 1),)
    errors: list[BaseException] = []

    def sync() -> None:
        try:
            engine.sync()
        except StorageError as error:
            errors.append(error)

    thread = threading.Thread(target=sync)
    thread.start()
    thread.join()
    assert len(errors) == 1
    with pytest.raises((StorageError, CommitUnknownError, TransactionClosedError)):
        txn.commit()
    assert not backend.locks.writer_held()
    engine.close()
