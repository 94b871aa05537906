"""The part of the contract of storage backends that holds for those that only read, too."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kist.errors import ReadOnlyError, StoreClosedError
from kist.storage import StorageBackend

__all__ = ["ReadingContract"]


class ReadingContract:
    """Tests that every backend must pass; subclass it and give it an ``opened`` fixture.

    ``opened(data)`` opens a backend for reading on a device that holds these bytes, and closes
    it after the test.
    """

    def test_a_read_is_short_only_where_the_file_ends(
        self, opened: Callable[[bytes], StorageBackend]
    ) -> None:
        backend = opened(b"0123456789")
        assert backend.size() == 10
        assert backend.read(2, 3) == b"234"
        assert backend.read(8, 100) == b"89"
        assert backend.read(10, 1) == b""
        assert backend.read(1 << 40, 1) == b""
        buffer = bytearray(b"......")
        assert backend.read_into(6, buffer) == 4
        assert buffer == b"6789.."

    def test_reading_fills_every_kind_of_buffer(
        self, opened: Callable[[bytes], StorageBackend]
    ) -> None:
        backend = opened(np.arange(6, dtype="<i2").tobytes())
        array = np.zeros(4, dtype="<i2")
        assert backend.read_into(2, array[1:3]) == 4
        assert array.tolist() == [0, 1, 2, 0]
        record = np.zeros(2, dtype=[("a", "<i2"), ("b", "<i2")])
        assert backend.read_into(4, record) == 8
        assert record.tolist() == [(2, 3), (4, 5)]

    def test_an_absurd_length_does_not_allocate_it(
        self, opened: Callable[[bytes], StorageBackend]
    ) -> None:
        assert opened(b"abc").read(0, 1 << 46) == b"abc"

    def test_negative_places_are_not_read(self, opened: Callable[[bytes], StorageBackend]) -> None:
        backend = opened(b"abc")
        for offset, n in ((-1, 1), (0, -1)):
            with pytest.raises((OSError, ValueError)):
                backend.read(offset, n)
        with pytest.raises((OSError, ValueError)):
            backend.read_into(-1, bytearray(1))

    def test_what_is_brought_near_is_what_is_read(
        self, opened: Callable[[bytes], StorageBackend]
    ) -> None:
        data = np.random.default_rng(1).bytes(700_000)
        backend = opened(data)
        ranges = [(650_000, 650_001), (300_000, 420_000), (419_000, 421_000), (5, 5), (0, 9)]
        backend.prefetch([*ranges, (699_999, 1 << 40)])
        for start, stop in [*ranges, (290_000, 660_000), (699_990, 700_100)]:
            assert backend.read(start, stop - start) == data[start:stop]
        backend.distrust()
        assert backend.read(299_990, 20) == data[299_990:300_010]

    def test_reads_are_counted(self, opened: Callable[[bytes], StorageBackend]) -> None:
        backend = opened(b"abcde")
        backend.read(1, 9)
        backend.read_into(0, bytearray(2))
        assert (backend.stats.reads, backend.stats.read_bytes) == (2, 6)

    def test_a_reader_cannot_write(self, opened: Callable[[bytes], StorageBackend]) -> None:
        reader = opened(b"abc")
        assert not reader.writable
        calls: list[Callable[[], object]] = [
            lambda: reader.write(0, [b"x"]),
            lambda: reader.resize(0),
            reader.sync,
            reader.sync_directory,
            lambda: reader.locks.acquire_writer(0),
        ]
        for call in calls:
            with pytest.raises(ReadOnlyError):
                call()
        assert reader.read(0, 9) == b"abc"

    def test_a_closed_reader_says_so(self, opened: Callable[[bytes], StorageBackend]) -> None:
        backend = opened(b"abc")
        backend.close()
        backend.close()
        calls: list[Callable[[], Any]] = [
            backend.size,
            lambda: backend.read(0, 1),
            lambda: backend.read_into(0, bytearray(1)),
            lambda: backend.write(0, [b"x"]),
            lambda: backend.resize(0),
            backend.sync,
            backend.sync_directory,
        ]
        for call in calls:
            with pytest.raises(StoreClosedError, match="is closed"):
                call()

    def test_it_is_the_same_file(self, opened: Callable[[bytes], StorageBackend]) -> None:
        assert opened(b"abc").same_file()

    def test_it_belongs_to_this_process(self, opened: Callable[[bytes], StorageBackend]) -> None:
        backend = opened(b"abc")
        assert backend.pid == os.getpid()
        assert not backend.forked

    def test_pins_are_counted(self, opened: Callable[[bytes], StorageBackend]) -> None:
        backend = opened(b"abc")
        for _ in range(3):
            backend.locks.pin(5)
        for left in (2, 1, 0):
            assert backend.locks.pins(9) == [5]
            assert backend.locks.holders() == {5: [os.getpid()]}
            backend.locks.unpin(5)
            assert left or backend.locks.pins(9) == []
        with pytest.raises(ValueError, match="not pinned"):
            backend.locks.unpin(5)

    def test_impossible_commits_are_not_pinned(
        self, opened: Callable[[bytes], StorageBackend]
    ) -> None:
        with pytest.raises(ValueError, match="commit -1"):
            opened(b"abc").locks.pin(-1)
