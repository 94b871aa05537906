"""A store in the memory of this process, for ``:memory:`` and for tests."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kist.errors import ReadOnlyError, StoreClosedError, StoreLockedError
from kist.storage.base import StorageBackend, view_of
from kist.storage.locks import CountedPins, joined

if TYPE_CHECKING:
    from kist.storage.base import Readable

__all__ = ["MemoryBackend", "MemoryFile"]


class MemoryFile:
    """The bytes and locks that several `MemoryBackend` share, as one inode does.

    Parameters
    ----------
    data : bytes-like
        First content; copied.
    """

    def __init__(self, data: Readable = b"") -> None:
        self.data = bytearray(data)
        # Reentrant: the garbage collector may end a backend at any time.
        self.mutex = threading.RLock()
        self.writer: MemoryLocks | None = None
        self.queue: list[MemoryLocks] = []
        self.changed = threading.Condition(self.mutex)
        # (id of the owner, commit); changed in single steps, so that it needs no lock.
        self.pins: dict[tuple[int, int], None] = {}


class MemoryLocks(CountedPins):
    """Locks between the backends of one `MemoryFile`; waiters are served in order."""

    def __init__(self, file: MemoryFile, name: str, writable: bool) -> None:
        self._file = file
        self._name = name
        self._writable = writable
        super().__init__()
        self._owner: int | None = None

    def acquire_writer(self, timeout: float | None) -> None:
        if not self._writable:
            raise ReadOnlyError(f"{self._name!r} was opened for reading only")
        file = self._file
        started = time.monotonic()
        with file.changed:
            if file.writer is self and self._owner == threading.get_ident():
                raise StoreLockedError(f"{self._name!r}: this thread is already writing to it")
            file.queue.append(self)
            try:
                while file.writer is not None or file.queue[0] is not self:
                    left = None if timeout is None else started + timeout - time.monotonic()
                    if left is not None and left <= 0:
                        raise StoreLockedError(
                            f"{self._name!r} is being written to by this process "
                            f"(waited {time.monotonic() - started:.3g} s)"
                        )
                    file.changed.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
                file.writer = self
                self._owner = threading.get_ident()
            finally:
                file.queue.remove(self)
                file.changed.notify_all()

    def release_writer(self) -> None:
        with self._file.changed:
            if self._file.writer is self:
                self._file.writer = None
                self._owner = None
                self._file.changed.notify_all()

    def writer_held(self) -> bool:
        return self._file.writer is self

    def _take_pin(self, commit: int) -> None:
        self._file.pins[id(self), commit] = None

    def _free_pin(self, commit: int) -> None:
        self._file.pins.pop((id(self), commit), None)

    def pinned_ranges(self, limit: int) -> list[tuple[int, int]]:
        pins = sorted({commit for _, commit in list(self._file.pins) if commit <= limit})
        return joined([(commit, commit) for commit in pins])

    def holders(self) -> dict[int, list[int]]:
        return {commit: [os.getpid()] for commit in sorted({c for _, c in list(self._file.pins)})}

    def writer_holder(self) -> str | None:
        return None if self._file.writer is None else "this process"

    def close(self) -> None:
        """Give up every lock of this object."""
        self.release_writer()
        for commit in list(self._counts):
            self._free_pin(commit)


class MemoryBackend(StorageBackend):
    """Bytes in memory.

    Parameters
    ----------
    file : MemoryFile, bytes-like or None
        What to open: a file shared with other backends, or the content of one of its own.
    writable : bool
        Whether it can be written to.
    name : str
        For messages.

    Notes
    -----
    A forked child has a copy of everything, its own to change.
    """

    locks: MemoryLocks

    def __init__(
        self,
        file: MemoryFile | Readable | None = None,
        *,
        writable: bool = True,
        name: str = ":memory:",
    ) -> None:
        self.file = file if isinstance(file, MemoryFile) else MemoryFile(file or b"")
        self.name = name
        self.writable = writable
        self._closed = False
        self.locks = MemoryLocks(self.file, name, writable)
        super().__init__()

    def _data(self, writing: bool = False) -> bytearray:
        if self._closed:
            raise StoreClosedError(f"{self.name!r} is closed")
        if writing and not self.writable:
            raise ReadOnlyError(f"{self.name!r} was opened for reading only")
        return self.file.data

    def size(self) -> int:
        return len(self._data())

    def read(self, offset: int, n: int) -> bytes:
        if offset < 0 or n < 0:
            raise ValueError(f"cannot read {n} bytes at {offset}")
        data = bytes(self._data()[offset : offset + n])
        self.stats.reads += 1
        self.stats.read_bytes += len(data)
        return data

    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        if offset < 0:
            raise ValueError(f"cannot write at {offset}")
        data = self._data(writing=True)
        joined = b"".join(view_of(b).tobytes() for b in buffers)
        with self.file.mutex:
            if joined and offset > len(data):
                data.extend(bytes(offset - len(data)))
            if joined:
                data[offset : offset + len(joined)] = joined
        self.stats.writes += 1
        self.stats.write_bytes += len(joined)

    def resize(self, n: int) -> None:
        if n < 0:
            raise ValueError(f"cannot resize to {n} bytes")
        data = self._data(writing=True)
        with self.file.mutex:
            del data[n:]
            data.extend(bytes(n - len(data)))

    def sync(self) -> None:
        self._data(writing=True)
        self.stats.syncs += 1

    def sync_directory(self) -> None:
        self._data(writing=True)
        self.stats.directory_syncs += 1

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.locks.close()

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        # A thread that held these does not exist in the child.
        self.locks._fresh_mutex()
        file = self.file
        file.mutex = threading.RLock()
        file.changed = threading.Condition(file.mutex)
        file.writer = None
        file.queue = []
