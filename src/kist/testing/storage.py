"""The contract of storage backends, as a suite of tests to subclass.

::

    class TestMine(StorageContract):
        @pytest.fixture
        def device(self, tmp_path):
            return MyDevice(tmp_path)

where the device has ``open(writable=True) -> StorageBackend``, which gives a new backend for
the same bytes each time, and ``content() -> bytes``, which looks at them past every backend.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.errors import StoreLockedError
from kist.storage import StorageBackend
from kist.testing.reading import ReadingContract

__all__ = ["Device", "StorageContract"]


class Device(Protocol):
    """Some bytes, and ways to reach them."""

    def open(self, *, writable: bool = True) -> StorageBackend:
        """Open the bytes once more."""

    def content(self) -> bytes:
        """Return the bytes without going through a backend."""


_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 300), st.lists(st.binary(max_size=40))),
        st.tuples(st.just("resize"), st.integers(0, 400), st.just([])),
    ),
    max_size=12,
)


class StorageContract(ReadingContract):
    """Tests that every backend that writes must pass; subclass it, give it a ``device`` fixture."""

    @pytest.fixture
    def opened(self, device: Device) -> Iterator[Callable[[bytes], StorageBackend]]:
        backends: list[StorageBackend] = []

        def opened(data: bytes) -> StorageBackend:
            writer = device.open()
            writer.write(0, [data])
            writer.close()
            backends.append(device.open(writable=False))
            return backends[-1]

        yield opened
        for backend in backends:
            backend.close()

    @pytest.fixture
    def backend(self, device: Device) -> Iterator[StorageBackend]:
        backend = device.open()
        yield backend
        backend.close()

    # Bytes

    def test_a_new_device_is_empty(self, backend: StorageBackend) -> None:
        assert backend.size() == 0
        assert backend.read(0, 10) == b""
        assert backend.read_into(5, bytearray(3)) == 0

    def test_what_was_written_is_read_and_is_there(
        self, device: Device, backend: StorageBackend
    ) -> None:
        backend.write(0, [b"abc", b"", b"defg"])
        assert backend.read(0, 7) == b"abcdefg"
        assert backend.read(2, 3) == b"cde"
        assert device.content() == b"abcdefg"

    def test_a_write_beyond_the_end_leaves_zeros_between(self, backend: StorageBackend) -> None:
        backend.write(5, [b"x"])
        assert backend.size() == 6
        assert backend.read(0, 6) == b"\0\0\0\0\0x"

    def test_writing_nothing_changes_nothing(self, backend: StorageBackend) -> None:
        backend.write(9, [])
        backend.write(9, [b"", b""])
        assert backend.size() == 0

    def test_resize_cuts_and_adds_zeros(self, backend: StorageBackend) -> None:
        backend.write(0, [b"0123456789"])
        backend.resize(4)
        backend.resize(6)
        assert backend.read(0, 100) == b"0123\0\0"

    def test_every_kind_of_buffer_is_written(self, backend: StorageBackend) -> None:
        numbers = np.arange(3, dtype="<u4")
        record = np.zeros(2, dtype=[("a", "<i4"), ("b", "S3")])
        buffers: list[Any] = [b"ab", bytearray(b"cd"), memoryview(b"efgh")[1:3], numbers, record]
        backend.write(1, buffers)
        expected = b"abcdfg" + numbers.tobytes() + record.tobytes()
        assert backend.read(1, 1000) == expected

    def test_thousands_of_buffers_are_one_write(self, backend: StorageBackend) -> None:
        # More than IOV_MAX, which is 1,024 on Linux.
        buffers = [bytes([i % 251]) * (i % 3) for i in range(5000)]
        backend.write(0, buffers)
        assert backend.read(0, 100_000) == b"".join(buffers)

    def test_negative_offsets_are_not_written_to(self, backend: StorageBackend) -> None:
        with pytest.raises((OSError, ValueError)):
            backend.write(-1, [b"a"])
        with pytest.raises((OSError, ValueError)):
            backend.resize(-1)
        assert backend.size() == 0

    def test_any_writes_do_what_they_do_to_a_bytearray(self, device: Device) -> None:
        @given(operations=_OPERATIONS)
        def check(operations: list[tuple[str, int, list[bytes]]]) -> None:
            backend = device.open()
            try:
                backend.resize(0)
                model = bytearray()
                for kind, n, buffers in operations:
                    data = b"".join(buffers)
                    if kind == "resize":
                        backend.resize(n)
                        model[:] = model[:n].ljust(n, b"\0")
                    else:
                        backend.write(n, buffers)
                        if data:
                            model[:] = model.ljust(n, b"\0")
                            model[n : n + len(data)] = data
                    assert backend.size() == len(model)
                assert backend.read(0, 1000) == model
                assert device.content() == model
            finally:
                backend.close()

        check()

    # Counters and syncs

    def test_calls_are_counted(self, backend: StorageBackend) -> None:
        backend.write(0, [b"abc", b"de"])
        backend.read(1, 9)
        backend.read_into(0, bytearray(2))
        backend.sync()
        backend.sync()
        backend.sync_directory()
        found = backend.stats
        assert (found.writes, found.write_bytes) == (1, 5)
        assert (found.reads, found.read_bytes) == (2, 6)
        assert (found.syncs, found.directory_syncs) == (2, 1)

    # Modes and life

    # The writer's lock

    def test_two_backends_of_one_process_exclude_each_other(
        self, device: Device, backend: StorageBackend
    ) -> None:
        other = device.open()
        try:
            backend.locks.acquire_writer(0)
            assert backend.locks.writer_held()
            assert not other.locks.writer_held()
            for timeout in (0, 0.02):
                with pytest.raises(StoreLockedError, match="this process"):
                    other.locks.acquire_writer(timeout)
            backend.locks.release_writer()
            other.locks.acquire_writer(0)
            assert other.locks.writer_held()
            assert not backend.locks.writer_held()
        finally:
            other.close()

    def test_closing_another_backend_keeps_the_lock(
        self, device: Device, backend: StorageBackend
    ) -> None:
        backend.locks.acquire_writer(0)
        device.open().close()
        other = device.open()
        try:
            with pytest.raises(StoreLockedError):
                other.locks.acquire_writer(0)
        finally:
            other.close()

    def test_closing_frees_the_lock(self, device: Device, backend: StorageBackend) -> None:
        other = device.open()
        other.locks.acquire_writer(0)
        other.close()
        backend.locks.acquire_writer(0)
        assert backend.locks.writer_held()

    def test_the_lock_is_not_reentrant(self, backend: StorageBackend) -> None:
        backend.locks.acquire_writer(0)
        started = time.monotonic()
        with pytest.raises(StoreLockedError, match="this thread"):
            backend.locks.acquire_writer(60)
        assert time.monotonic() - started < 30
        assert backend.locks.writer_held()

    def test_a_turn_shows_what_stands_in_two_places(self, backend: StorageBackend) -> None:
        backend.write(0, [bytes(range(200))])
        assert backend.take_turn((10, 3), (150, 2)) == (b"\x0a\x0b\x0c", b"\x96\x97")
        assert backend.locks.writer_held()
        assert backend.take_turn((10, 3), (150, 2)) is None  # it is not reentrant
        assert backend.locks.writer_held()
        backend.locks.release_writer()

    def test_no_turn_is_taken_while_another_writes(
        self, device: Device, backend: StorageBackend
    ) -> None:
        backend.write(0, [bytes(100)])
        other = device.open()
        other.locks.acquire_writer(0)
        assert backend.take_turn((0, 9), (9, 9)) is None
        assert not backend.locks.writer_held() and other.locks.writer_held()
        other.locks.release_writer()
        assert backend.take_turn((0, 9), (9, 9)) == (bytes(9), bytes(9))
        backend.locks.release_writer()
        other.close()

    def test_releasing_what_is_not_held_does_nothing(self, backend: StorageBackend) -> None:
        backend.locks.release_writer()
        backend.locks.acquire_writer(0)
        backend.locks.release_writer()
        backend.locks.release_writer()
        assert not backend.locks.writer_held()

    def test_threads_take_turns(self, device: Device, backend: StorageBackend) -> None:
        other = device.open()
        inside: list[int] = []
        worst: list[int] = []

        def work(locks_of: StorageBackend, name: int) -> None:
            for _ in range(20):
                locks_of.locks.acquire_writer(60)
                inside.append(name)
                worst.append(len(inside))
                inside.remove(name)
                locks_of.locks.release_writer()

        # Two of them share a backend, which a lock of the file alone would not keep apart.
        threads = [
            threading.Thread(target=work, args=(b, i))
            for i, b in enumerate((backend, backend, other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.close()
        assert worst == [1] * 60

    def test_another_thread_waits_and_gets_the_lock(self, backend: StorageBackend) -> None:
        backend.locks.acquire_writer(0)
        with pytest.raises(StoreLockedError):
            _in_thread(lambda: backend.locks.acquire_writer(0))
        waiting = threading.Thread(target=lambda: backend.locks.acquire_writer(None))
        waiting.start()
        backend.locks.release_writer()
        waiting.join()
        assert backend.locks.writer_held()

    # Pins

    def test_pins_are_seen_by_everybody(self, device: Device, backend: StorageBackend) -> None:
        reader = device.open(writable=False)
        try:
            reader.locks.pin(7)
            backend.locks.pin(3)
            backend.locks.pin(4)
            reader.locks.pin(4)
            for locks in (backend.locks, reader.locks):
                assert locks.pins(100) == [3, 4, 7]
                assert locks.pinned_ranges(100) == [(3, 4), (7, 7)]
                assert locks.pins(6) == [3, 4]
                assert locks.pins(7) == [3, 4, 7]
                assert locks.pins(2) == []
            assert backend.locks.holders() == {c: [os.getpid()] for c in (3, 4, 7)}
        finally:
            reader.close()
        assert backend.locks.pins(100) == [3, 4]

    def test_pins_do_not_keep_writers_out(self, device: Device, backend: StorageBackend) -> None:
        reader = device.open(writable=False)
        reader.locks.pin(0)
        backend.locks.acquire_writer(0)
        reader.close()
        assert backend.locks.writer_held()

    def test_any_pins_are_what_a_set_would_hold(self, device: Device) -> None:
        steps = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12), st.booleans()))

        @given(steps=steps, limit=st.integers(0, 14))
        def check(steps: list[tuple[int, int, bool]], limit: int) -> None:
            backends = [device.open(writable=i < 2) for i in range(3)]
            try:
                model: list[list[int]] = [[], [], []]
                for who, commit, pin in steps:
                    if pin:
                        backends[who].locks.pin(commit)
                        model[who].append(commit)
                    elif commit in model[who]:
                        backends[who].locks.unpin(commit)
                        model[who].remove(commit)
                expected = sorted({c for pins in model for c in pins if c <= limit})
                assert [b.locks.pins(limit) for b in backends] == [expected] * 3
            finally:
                for backend in backends:
                    backend.close()

        check()


def _in_thread(call: Callable[[], object]) -> None:
    """Run `call` in another thread, and raise here what it raises."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if caught:
        raise caught[0]
