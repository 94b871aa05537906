"""Locks of a file: on bytes far beyond its end.

Only OFD locks (``F_OFD_SETLK``) will do. They belong to an open file description: they vanish
with it when a process dies, two opens of one process exclude each other, and closing another
descriptor of the same file does not drop them, which is the worst trap of plain POSIX locks.

=====================  ======================================================================
byte                   locked
=====================  ======================================================================
``WRITER``             exclusively by the one transaction that writes
``TURNSTILE``          exclusively by the one that is next, so that a writer which comes back
                       at once cannot overtake who has been waiting
``PIN_BASE`` + commit  shared by everybody who reads that commit
=====================  ======================================================================
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator

from kist.errors import ReadOnlyError, StorageError, StoreClosedError, StoreLockedError
from kist.storage.locks import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_COMMIT,
    CountedPins,
    ThreadGate,
    joined,
)

__all__ = ["HAVE_OFD", "LOCK_BASE", "PIN_BASE", "TURNSTILE", "WRITER", "FileLocks"]

LOCK_BASE = 1 << 62
WRITER = LOCK_BASE
TURNSTILE = LOCK_BASE + 1
PIN_BASE = LOCK_BASE + (1 << 20)  # + commit: below the largest off_t, see MAX_COMMIT

# struct flock where off_t has 64 bits: type, whence, start, length, pid (0 for OFD locks).
_FLOCK = struct.Struct("hhqqi4x")
_SETLK = getattr(fcntl, "F_OFD_SETLK", None)
_GETLK = getattr(fcntl, "F_OFD_GETLK", None)
HAVE_OFD = _SETLK is not None and _GETLK is not None and sys.maxsize > 1 << 32


def _flock(kind: int, start: int, length: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)


_LOCK_BOTH = _flock(fcntl.F_WRLCK, WRITER, 2)
_LOCK_WRITER = _flock(fcntl.F_WRLCK, WRITER, 1)
_LOCK_TURNSTILE = _flock(fcntl.F_WRLCK, TURNSTILE, 1)
_FREE_BOTH = _flock(fcntl.F_UNLCK, WRITER, 2)
_FREE_TURNSTILE = _flock(fcntl.F_UNLCK, TURNSTILE, 1)


class FileLocks(CountedPins):
    """OFD locks on one file.

    Parameters
    ----------
    path : str
        For messages, and to open the descriptor of the pins where there is no /proc.
    fd : int
        Descriptor that the writer's lock is taken on; it stays the caller's.
    writable : bool
        Whether `fd` can be locked exclusively.

    Notes
    -----
    Pins are taken through a read-only descriptor of their own, opened with the first one: locks
    of the same description never conflict, so a writer would not see its own process's pins.
    Taking and freeing the writer's lock without contention costs three system calls.
    """

    def __init__(self, path: str, fd: int, writable: bool) -> None:
        self.path = path
        self._fd = fd
        self._writable = writable
        self._forked = False
        self._pin_fd = -1
        self._gate = ThreadGate(path)
        self._held = False
        super().__init__()

    # The writer

    def acquire_writer(self, timeout: float | None) -> None:
        if not self._writable:
            why = (
                "opened before a fork: open it again in this process"
                if self._forked
                else ("opened for reading only")
            )
            raise ReadOnlyError(f"{self.path!r} cannot be written to here: {why}")
        if self._fd < 0:
            raise StoreClosedError(f"{self.path!r} is closed")
        started = time.monotonic()
        ticket = threading.get_ident(), object()
        try:
            self._gate.acquire(ticket, timeout)
            # Both bytes in one call: nobody writes and nobody waits.
            if not self._try(_LOCK_BOTH):
                deadline = None if timeout is None else started + timeout
                self._wait_for(_LOCK_TURNSTILE, deadline, started)
                self._wait_for(_LOCK_WRITER, deadline, started)
            self._set(_FREE_TURNSTILE)
            self._held = True
        except BaseException:
            # Also after Ctrl-C between a lock and the line behind it.
            if self._gate.holds(ticket):
                self._held = False
                try:
                    self._set(_FREE_BOTH)
                finally:
                    self._gate.release()
            raise

    def _wait_for(self, request: bytes, deadline: float | None, started: float) -> None:
        pause = FIRST_PAUSE_S
        while not self._try(request):
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                holder = self.writer_holder()
                by = f"by {holder}" if holder else "by another process or another open of it"
                raise StoreLockedError(
                    f"{self.path!r} is being written to {by} (waited {now - started:.3g} s)"
                )
            time.sleep(pause if deadline is None else min(pause, deadline - now))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _try(self, request: bytes) -> bool:
        try:
            self._set(request)
        except StorageError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def _set(self, request: bytes) -> None:
        assert _SETLK is not None
        try:
            fcntl.fcntl(self._fd, _SETLK, request)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> StorageError:
        found = StorageError(f"{self.path!r}: lock: {error.strerror}")
        found.errno = error.errno
        found.filename = self.path
        return found

    def release_writer(self) -> None:
        if not self._held:
            return
        self._held = False
        try:
            self._set(_FREE_BOTH)
        finally:
            self._gate.release()

    def writer_held(self) -> bool:
        return self._held

    # Pins

    def _take_pin(self, commit: int) -> None:
        self._set_pin(commit, fcntl.F_RDLCK)

    def _free_pin(self, commit: int) -> None:
        # After close, or in a forked child that never read, the lock is gone already.
        if self._pin_fd >= 0:
            self._set_pin(commit, fcntl.F_UNLCK)

    def _set_pin(self, commit: int, kind: int) -> None:
        if _SETLK is None or not HAVE_OFD:
            return  # and no writer exists on this system, see FileBackend
        if self._pin_fd < 0:
            self._pin_fd = self._open_again()
        self._lock_pin(self._pin_fd, commit, kind)

    def _lock_pin(self, fd: int, commit: int, kind: int) -> None:
        if _SETLK is None or not HAVE_OFD:
            return
        try:
            fcntl.fcntl(fd, _SETLK, _flock(kind, PIN_BASE + commit, 1))
        except OSError as error:
            raise self._failed(error) from None

    def pinned(self, commit: int) -> int:
        """Return a new descriptor that pins a commit until its last duplicate is closed."""
        fd = self._open_again()
        try:
            self._lock_pin(fd, commit, fcntl.F_RDLCK)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open_again(self) -> int:
        """Open a second description of the same inode, whatever stands at the path by now."""
        if self._fd < 0:
            raise StoreClosedError(f"{self.path!r} is closed")
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            try:
                return os.open(f"/proc/self/fd/{self._fd}", flags)
            except FileNotFoundError:
                fd = os.open(self.path, flags)
        except OSError as error:
            raise self._failed(error) from None
        if not os.path.sameopenfile(fd, self._fd):
            os.close(fd)
            raise StorageError(f"{self.path!r} was replaced, and there is no /proc to reach it")
        return fd

    def pinned_ranges(self, limit: int) -> list[tuple[int, int]]:
        if self._fd < 0:
            raise StoreClosedError(f"{self.path!r} is closed")
        # The kernel answers with any one lock in the range, not the lowest, and has merged
        # neighbouring pins of one owner: ask again left and right of each answer.
        found: list[tuple[int, int]] = []
        open_ranges = [(0, min(limit, MAX_COMMIT))]
        while open_ranges:
            first, last = open_ranges.pop()
            if first > last:
                continue
            answer = self._pin_in(first, last)
            if answer is None:
                continue
            low, high = max(answer[0], first), min(answer[1], last)
            found.append((low, high))
            open_ranges += [(first, low - 1), (high + 1, last)]
        return joined(sorted(found))

    def _pin_in(self, first: int, last: int) -> tuple[int, int] | None:
        if _GETLK is None or not HAVE_OFD:
            return None
        request = _flock(fcntl.F_WRLCK, PIN_BASE + first, last - first + 1)
        try:
            answer = fcntl.fcntl(self._fd, _GETLK, request)
        except OSError as error:
            raise self._failed(error) from None
        kind, _, start, length, _ = _FLOCK.unpack(answer)
        if kind == fcntl.F_UNLCK:
            return None
        stop = start + length if length else PIN_BASE + MAX_COMMIT + 1  # 0: to the end
        return start - PIN_BASE, stop - PIN_BASE - 1

    # Who, as /proc tells

    def holders(self) -> dict[int, list[int]]:
        found: dict[int, set[int]] = {}
        for pid, start, stop in self._seen():
            # A range that nobody could have pinned commit by commit is not ours to list.
            if start >= PIN_BASE and stop - start < 1 << 20:
                for byte in range(start, stop + 1):
                    found.setdefault(byte - PIN_BASE, set()).add(pid)
        return {commit: sorted(pids) for commit, pids in sorted(found.items())}

    def writer_holder(self) -> str | None:
        for pid, start, stop in self._seen():
            if start <= WRITER <= stop:
                return _process_name(pid)
        return None

    def _seen(self) -> Iterator[tuple[int, int, int]]:
        """Yield (process id, first, last byte) of the OFD locks on this file."""
        if self._fd < 0:
            return
        own = os.fstat(self._fd)
        for name in _listing("/proc"):
            if not name.isdigit():
                continue
            for fd in _listing(f"/proc/{name}/fd"):
                try:
                    found = os.stat(f"/proc/{name}/fd/{fd}")
                    if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino):
                        continue
                    with open(f"/proc/{name}/fdinfo/{fd}") as info:
                        lines = info.read().splitlines()
                except OSError:
                    continue  # gone meanwhile, or not ours to look at
                for line in lines:
                    # lock: 1: OFDLCK ADVISORY READ -1 fe:00:INODE START END
                    words = line.split()
                    if len(words) == 9 and words[0] == "lock:" and words[2] == "OFDLCK":
                        last = 2**63 - 1 if words[8] == "EOF" else int(words[8])
                        yield int(name), int(words[7]), last

    # Life

    def close(self) -> None:
        """Give up every lock of this object."""
        self.release_writer()
        with self._mutex:
            fd, self._pin_fd, self._fd = self._pin_fd, -1, -1
        if fd >= 0:
            os.close(fd)

    def after_fork_in_child(self) -> None:
        """Let go of what the parent holds, without freeing it for the parent."""
        # Closing is right and unlocking would be wrong: the description is shared.
        fd, self._pin_fd, self._fd = self._pin_fd, -1, -1
        self._gate = ThreadGate(self.path)
        self._held = False
        self._fresh_mutex()
        self._writable = False
        self._forked = True
        if fd >= 0:
            os.close(fd)

    def reopened(self, fd: int) -> None:
        """Pin again, through descriptors of this process, what was pinned before the fork."""
        self._fd = fd
        with self._mutex:
            for commit in self._counts:
                self._set_pin(commit, fcntl.F_RDLCK)


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []  # no /proc, a process that has ended, or one of somebody else


def _process_name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read(200).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = ""
    where = "this process" if pid == os.getpid() else f"process {pid}"
    return f"{where} ({command})" if command else where
