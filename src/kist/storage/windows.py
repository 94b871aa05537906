"""Stores in files on Windows: ``ReadFile``, ``WriteFile``, ``LockFileEx``. It has never run there.

What the system has to do stands in `Calls`; everything above passes the contract of storage with
calls that are simulated. Locks are on the same bytes as elsewhere, far beyond the end of the file,
and vanish with the handle. Windows cannot tell who holds a lock, nor which bytes of a range are
locked: pins are found by trying, half by half, and messages name nobody.
"""

from __future__ import annotations

import os
import random
import stat
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from kist.errors import (
    MountWarning,
    NotAStoreError,
    ReadOnlyError,
    StorageError,
    StoreClosedError,
    StoreExistsError,
    StoreLockedError,
    StoreNotFoundError,
)
from kist.storage.base import StorageBackend, view_of
from kist.storage.locks import MAX_COMMIT, CountedPins, ThreadGate, joined

if TYPE_CHECKING:
    from kist.storage.base import Readable

__all__ = ["TESTED", "Calls", "WindowsBackend", "WindowsLocks"]

TESTED: Final = False

# The same bytes as in `kist.storage.ofd`: docs/format.md, "Processes".
WRITER = 1 << 62
PIN_BASE = WRITER + (1 << 20)
_PAUSE_S = 0.002
_PIN_TIMEOUT_S = 10.0  # somebody looks for pins, which takes microseconds
_PART = 1 << 30  # a length of Windows has 32 bits


class Calls(Protocol):
    """What the system has to do, on descriptors of the C library."""

    def pread(self, fd: int, n: int, offset: int) -> bytes:
        """Read at most `n` bytes; none at the end of the file."""

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        """Write, and return how many bytes were."""

    def lock(self, fd: int, start: int, length: int, exclusive: bool) -> bool:
        """Lock a range without waiting; false when others keep it."""

    def unlock(self, fd: int, start: int, length: int) -> None:
        """Free a range that was locked as it is."""


class WindowsLocks(CountedPins):
    """Locks of a file; see `Locks`."""

    def __init__(self, path: str, fd: int, pin_fd: int, writable: bool, calls: Calls) -> None:
        self.path = path
        self._fd, self._pin_fd, self._writable, self._calls = fd, pin_fd, writable, calls
        self._gate = ThreadGate(path)
        self._held = False
        super().__init__()
        _open_locks.add(self)

    def acquire_writer(self, timeout: float | None) -> None:
        if not self._writable:
            raise ReadOnlyError(f"{self.path!r} was opened for reading only")
        if self._fd < 0:
            raise StoreClosedError(f"{self.path!r} is closed")
        started = time.monotonic()
        ticket = threading.get_ident(), object()
        try:
            self._gate.acquire(ticket, timeout)
            while not self._lock(self._fd, WRITER, 1, True):
                waited = time.monotonic() - started
                if timeout is not None and waited >= timeout:
                    raise StoreLockedError(
                        f"{self.path!r} is being written to by another process or another open "
                        f"of it in this process (waited {waited:.3g} s)"
                    )
                time.sleep(_PAUSE_S * (0.5 + random.random()))
            self._held = True
        except BaseException:
            if self._gate.holds(ticket):
                self._gate.release()
            raise

    def release_writer(self) -> None:
        if not self._held:
            return
        self._held = False
        try:
            self._unlock(self._fd, WRITER, 1)
        finally:
            self._gate.release()

    def writer_held(self) -> bool:
        return self._held

    def writer_holder(self) -> str | None:
        return None

    def holders(self) -> dict[int, list[int]]:
        # Of other processes nothing can be seen.
        own = {c for other in list(_open_locks) if other.path == self.path for c in other._counts}
        return {commit: [os.getpid()] for commit in sorted(own)}

    def _take_pin(self, commit: int) -> None:
        end = time.monotonic() + _PIN_TIMEOUT_S
        while not self._lock(self._pin_fd, PIN_BASE + commit, 1, False):
            if time.monotonic() > end:
                raise StorageError(f"{self.path!r}: commit {commit} cannot be pinned")
            time.sleep(_PAUSE_S / 10)

    def _free_pin(self, commit: int) -> None:
        if self._pin_fd >= 0:
            self._unlock(self._pin_fd, PIN_BASE + commit, 1)

    def pinned_ranges(self, limit: int) -> list[tuple[int, int]]:
        if self._fd < 0:
            raise StoreClosedError(f"{self.path!r} is closed")
        found, open_ranges = [], [(0, min(limit, MAX_COMMIT))]
        while open_ranges:
            first, last = open_ranges.pop()
            if first > last:
                continue
            if self._lock(self._fd, PIN_BASE + first, last - first + 1, True):
                self._unlock(self._fd, PIN_BASE + first, last - first + 1)
            elif first == last:
                found.append((first, last))
            else:
                middle = (first + last) // 2
                open_ranges += [(first, middle), (middle + 1, last)]
        return joined(sorted(found))

    def _lock(self, fd: int, start: int, length: int, exclusive: bool) -> bool:
        try:
            return self._calls.lock(fd, start, length, exclusive)
        except OSError as error:
            raise _failed(self.path, "lock", error) from None

    def _unlock(self, fd: int, start: int, length: int) -> None:
        try:
            self._calls.unlock(fd, start, length)
        except OSError as error:
            raise _failed(self.path, "unlock", error) from None

    def close(self) -> None:
        """Give up the writer's lock; the rest goes with the descriptors."""
        self.release_writer()
        _open_locks.discard(self)
        with self._mutex:
            self._fd = self._pin_fd = -1


_open_locks: weakref.WeakSet[WindowsLocks] = weakref.WeakSet()


class WindowsBackend(StorageBackend):
    """A file on Windows; parameters and errors as those of the other systems' `FileBackend`."""

    locks: WindowsLocks

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        writable: bool = False,
        create: bool = False,
        exclusive: bool = False,
        shared: bool = True,  # no mount is told from another here
        calls: Calls | None = None,
    ) -> None:
        self._fds: list[int] = []  # first of all: __del__ looks at it
        self.path = self.name = os.path.abspath(os.fspath(path))
        if (create or exclusive) and not writable:
            raise ValueError("a file that is created must be writable")
        self._calls = _windows_calls() if calls is None else calls
        self.writable = writable
        if writable:
            warnings.warn(
                f"{self.path!r}: kist has never been tested on Windows: keep backups",
                MountWarning,
                stacklevel=2,
            )
        self.created = not os.path.exists(self.path)
        flags = os.O_RDWR if writable else os.O_RDONLY
        flags |= os.O_CREAT if create or exclusive else 0
        flags |= os.O_EXCL if exclusive else 0
        try:
            if os.path.isdir(self.path):
                raise NotAStoreError(f"{self.path!r} is a folder; a store is a regular file")
            flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
            self._fds.append(os.open(self.path, flags, 0o666))
            reading = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
            self._fds.append(os.open(self.path, reading))
            found = os.fstat(self._fds[0])
        except OSError as error:
            self._close_descriptors()
            if isinstance(error, StorageError):
                raise
            raise _not_opened(self.path, error, writable) from None
        if not stat.S_ISREG(found.st_mode):
            self._close_descriptors()
            raise NotAStoreError(f"{self.path!r} is not a regular file")
        fd, pin_fd = self._fds
        self._identity = found.st_dev, found.st_ino
        self.locks = WindowsLocks(self.path, fd, pin_fd, writable, self._calls)
        super().__init__()

    def _fd(self, writing: bool = False) -> int:
        if not self._fds:
            raise StoreClosedError(f"{self.path!r} is closed")
        if writing and not self.writable:
            raise ReadOnlyError(f"{self.path!r} was opened for reading only")
        return self._fds[0]

    def size(self) -> int:
        return os.fstat(self._fd()).st_size

    def read(self, offset: int, n: int) -> bytes:
        fd, pieces, got = self._fd(), [], 0
        if offset < 0 or n < 0:
            raise ValueError(f"cannot read {n} bytes at {offset}")
        n = max(0, min(n, self.size() - offset))  # a hostile length must not take memory
        try:
            while got < n and (data := self._calls.pread(fd, min(n - got, _PART), offset + got)):
                pieces.append(data)
                got += len(data)
        except OSError as error:
            raise _failed(self.path, f"read {n} bytes at {offset}", error) from None
        self.stats.reads += 1
        self.stats.read_bytes += got
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        fd = self._fd(writing=True)
        if offset < 0:
            raise ValueError(f"there is no byte {offset}")
        data = memoryview(b"".join(view_of(b).tobytes() for b in buffers))
        at = 0
        try:
            while at < len(data):
                at += self._calls.pwrite(fd, data[at : at + _PART], offset + at)
        except OSError as error:
            raise _failed(self.path, f"write at {offset}", error) from None
        finally:
            self.stats.writes += 1
        self.stats.write_bytes += at

    def resize(self, n: int) -> None:
        fd = self._fd(writing=True)
        if n < 0:
            raise ValueError(f"cannot resize to {n} bytes")
        try:
            os.ftruncate(fd, n)
        except OSError as error:
            raise _failed(self.path, f"resize to {n} bytes", error) from None

    def sync(self) -> None:
        fd = self._fd(writing=True)
        if not self.lasts:
            return
        self.stats.syncs += 1
        try:
            os.fsync(fd)  # FlushFileBuffers
        except OSError as error:
            raise _failed(self.path, "sync", error) from None

    def sync_directory(self) -> None:
        # Windows has no such call: the name becomes durable with FlushFileBuffers of the file.
        fd = self._fd(writing=True)
        if not self.lasts:
            return
        self.stats.directory_syncs += 1
        try:
            os.fsync(fd)
        except OSError as error:
            raise _failed(self.path, "sync folder", error) from None

    def same_file(self) -> bool:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def close(self) -> None:
        if self._fds:
            try:
                self.locks.close()
            finally:
                self._close_descriptors()

    def _close_descriptors(self) -> None:
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)

    def __del__(self) -> None:
        if self._fds:
            warnings.warn(f"{self.path!r} was not closed", ResourceWarning, 2, source=self)
            self.close()


def _failed(path: str, operation: str, error: OSError) -> StorageError:
    found = StorageError(f"{path!r}: {operation}: {error.strerror}")
    found.errno, found.filename = error.errno, path
    return found


def _not_opened(path: str, error: OSError, writable: bool) -> StorageError:
    found: StorageError
    if isinstance(error, FileNotFoundError):
        found = StoreNotFoundError(f"{path!r}: no such file or folder")
    elif isinstance(error, FileExistsError):
        found = StoreExistsError(f"{path!r} exists already")
    elif isinstance(error, PermissionError) and writable:
        found = ReadOnlyError(f"{path!r} cannot be written to: {error.strerror}")
    else:
        return _failed(path, "open", error)
    found.errno, found.filename = error.errno, path
    return found


if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _FAIL_IMMEDIATELY, _EXCLUSIVE = 1, 2
    _LOCK_VIOLATION, _IO_PENDING, _END_OF_FILE = 33, 997, 38

    class _Overlapped(ctypes.Structure):
        _fields_ = [
            ("internal", ctypes.c_void_p),
            ("internal_high", ctypes.c_void_p),
            ("offset", wintypes.DWORD),
            ("offset_high", wintypes.DWORD),
            ("event", wintypes.HANDLE),
        ]

    def _at(offset: int) -> _Overlapped:
        return _Overlapped(None, None, offset & 0xFFFFFFFF, offset >> 32, None)

    class _Windows:
        def __init__(self) -> None:
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)

        def pread(self, fd: int, n: int, offset: int) -> bytes:
            buffer, done = ctypes.create_string_buffer(n), wintypes.DWORD()
            where = ctypes.byref(_at(offset))
            if not self._kernel.ReadFile(self._handle(fd), buffer, n, ctypes.byref(done), where):
                if ctypes.get_last_error() == _END_OF_FILE:
                    return b""
                raise ctypes.WinError(ctypes.get_last_error())
            return buffer.raw[: done.value]

        def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
            done, where = wintypes.DWORD(), ctypes.byref(_at(offset))
            bytes_ = bytes(data)
            handle = self._handle(fd)
            if not self._kernel.WriteFile(handle, bytes_, len(bytes_), ctypes.byref(done), where):
                raise ctypes.WinError(ctypes.get_last_error())
            return done.value

        def lock(self, fd: int, start: int, length: int, exclusive: bool) -> bool:
            flags = _FAIL_IMMEDIATELY | (_EXCLUSIVE if exclusive else 0)
            low, high = length & 0xFFFFFFFF, length >> 32
            where = ctypes.byref(_at(start))
            if self._kernel.LockFileEx(self._handle(fd), flags, 0, low, high, where):
                return True
            if ctypes.get_last_error() in (_LOCK_VIOLATION, _IO_PENDING):
                return False
            raise ctypes.WinError(ctypes.get_last_error())

        def unlock(self, fd: int, start: int, length: int) -> None:
            low, high = length & 0xFFFFFFFF, length >> 32
            where = ctypes.byref(_at(start))
            if not self._kernel.UnlockFileEx(self._handle(fd), 0, low, high, where):
                raise ctypes.WinError(ctypes.get_last_error())

        def _handle(self, fd: int) -> wintypes.HANDLE:
            return wintypes.HANDLE(msvcrt.get_osfhandle(fd))

    def _windows_calls() -> Calls:
        return _Windows()

else:

    def _windows_calls() -> Calls:
        raise StorageError("this system is not Windows")
