"""Locks of a file: on bytes far beyond its end.

Only OFD locks (``F_OFD_SETLK``) will do. They belong to an open file description: they vanish
with it when a process dies, two opens of one process exclude each other, and closing another
descriptor of the same file does not drop them, which is the worst trap of plain POSIX locks.

=====================  ======================================================================
byte                   locked
=====================  ======================================================================
``WRITER``             exclusively by the one transaction that writes
``SOLE``               exclusively by the one open store that writes, on network mounts
``PIN_BASE`` + commit  shared by everybody who reads that commit
``LINE_BASE`` + place  exclusively by one writer that waits; the lowest place is next
=====================  ======================================================================

Whoever finds somebody in line goes to its end: writers get their turns in the order in which
they came. A place goes with its process, so nobody waits for the dead.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from threading import get_ident

from kist.errors import (
    KistWarning,
    ReadOnlyError,
    StorageError,
    StoreClosedError,
    StoreLockedError,
)
from kist.storage import mounts
from kist.storage.holders import locks_seen, process_name
from kist.storage.locks import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_COMMIT,
    CountedPins,
    ThreadGate,
    joined,
)

__all__ = [
    "HAVE_OFD",
    "LINE_BASE",
    "LOCK_BASE",
    "PIN_BASE",
    "SOLE",
    "WRITER",
    "FileLocks",
    "system",
]

if sys.platform == "darwin":
    from kist.storage import darwin as system
else:
    from kist.storage import linux as system

_SETLK, _GETLK = system.SETLK, system.GETLK
HAVE_OFD = _SETLK is not None and _GETLK is not None

LOCK_BASE = 1 << 62
WRITER = LOCK_BASE
SOLE = LOCK_BASE + 1
PIN_BASE = LOCK_BASE + (1 << 20)  # + commit, see MAX_COMMIT
LINE_BASE = PIN_BASE + MAX_COMMIT + 1
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
PATIENCE_S = 0.1  # with who is first in line, and does not write
PLACES = 1 << 60  # a line that is never empty moves up one with each turn: it lasts

_flock = system.pack_lock
_LOCK_WRITER = _flock(fcntl.F_WRLCK, WRITER, 1)
_FREE_WRITER = _flock(fcntl.F_UNLCK, WRITER, 1)
_LOCK_SOLE = _flock(fcntl.F_WRLCK, SOLE, 1)
_LEAVE_LINE = _flock(fcntl.F_UNLCK, LINE_BASE, PLACES)
_WHOLE_LINE = _flock(fcntl.F_WRLCK, LINE_BASE, PLACES)


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
    sole : bool
        Keep all other writers out from the first turn until `close`, not only during a turn.

    Notes
    -----
    Pins are taken through a read-only descriptor of their own, opened with the first one: locks
    of the same description never conflict, so a writer would not see its own process's pins.
    Taking and freeing the writer's lock without contention costs three system calls.
    """

    def __init__(self, path: str, fd: int, writable: bool, sole: bool = False) -> None:
        self.path = path
        self._fd = fd
        self._writable = writable
        self._forked = False
        self._pin_fd = -1
        self._gate = ThreadGate(path)
        self._held = False
        self.sole = sole
        self._alone = False  # holds SOLE
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
        deadline = None if timeout is None else started + timeout
        ticket = threading.get_ident(), object()
        try:
            self._gate.acquire(ticket, timeout)
            if self.sole and not self._alone:
                self._become_sole(deadline, started)
            if not self._take_at_once():
                if timeout == 0:
                    raise self._too_late(started, PLACES)
                self._wait_in_line(deadline, started)
            self._held = True
        except BaseException:
            # Also after Ctrl-C between a lock and the line behind it, and where more of it come.
            arrived: BaseException | None = None
            for _ in range(20):
                try:
                    if self._gate.holds(ticket):
                        self._held = False
                        self._free(_FREE_WRITER)
                        self._free(_LEAVE_LINE)
                        self._gate.release()
                    break
                except (KeyboardInterrupt, SystemExit) as again:
                    arrived = again
                except BaseException:
                    self._gate.release()
                    raise
            if arrived is not None:
                raise arrived from None
            raise

    def take_writer(self) -> bool:
        if self._fd < 0 or self.sole or not self._writable:
            return False
        if not self._gate.enter((get_ident(), None)):
            return False
        try:
            self._held = held = self._take_at_once()
            return held
        finally:
            if not self._held:
                try:
                    self._free(_FREE_WRITER)  # perhaps taken, and no memory to say so
                finally:
                    self._gate.release()

    def _take_at_once(self) -> bool:
        """Take the writer's lock if it is free and nobody waits for it."""
        try:
            # Where nothing is locked the question comes back as it was, but for its type.
            answer = fcntl.fcntl(self._fd, _GETLK, _WHOLE_LINE)  # type: ignore[arg-type]
            if answer != _LEAVE_LINE and self._conflict(_WHOLE_LINE):
                return False
            fcntl.fcntl(self._fd, _SETLK, _LOCK_WRITER)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise self._failed(error) from None
        return True

    def _become_sole(self, deadline: float | None, started: float) -> None:
        pause = FIRST_PAUSE_S
        while not self._try(_LOCK_SOLE):
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                holder = self._holder_of(SOLE) or "another process, perhaps of another machine"
                raise StoreLockedError(
                    f"{self.path!r} is on a network mount and open for writing in {holder}: "
                    "there one store at a time writes, until it is closed "
                    f"(waited {now - started:.3g} s)"
                )
            pause = _slept(pause, deadline, now)
        self._alone = True

    def _wait_in_line(self, deadline: float | None, started: float) -> None:
        place = self._take_place()
        first, pause, free_since = -1, 0.0, math.inf
        while True:
            ahead = self._first_before(place)
            now = time.monotonic()
            # Whoever is first and takes nothing was stopped, as by Ctrl-Z: nobody waits for that.
            if (ahead is None or now - free_since > PATIENCE_S) and self._try(_LOCK_WRITER):
                break
            if deadline is not None and now >= deadline:
                raise self._too_late(started, place)
            if ahead != first:
                # The line has moved. Who stands far behind need not look as often.
                pause = FIRST_PAUSE_S * (1 if ahead is None else 1 + place - ahead)
                first, free_since = -1 if ahead is None else ahead, math.inf
            free_since = math.inf if self._locked(WRITER, WRITER) else min(free_since, now)
            pause = _slept(pause, deadline, now)
        self._set(_LEAVE_LINE)

    def _take_place(self) -> int:
        """Line up behind everybody who waits."""
        place = 0
        while found := self._locked(LINE_BASE + place, LINE_BASE + PLACES - 1):
            place = found[1] + 1 - LINE_BASE
        while not self._try(_flock(fcntl.F_WRLCK, LINE_BASE + place, 1)):
            place += 1  # somebody else came at the same time
        return place

    def _first_before(self, place: int) -> int | None:
        """Return the lowest place before `place` where somebody waits, or None."""
        first = place
        while first and (found := self._locked(LINE_BASE, LINE_BASE + first - 1)):
            first = max(0, found[0] - LINE_BASE)
        return None if first == place else first

    def _too_late(self, started: float, place: int) -> StoreLockedError:
        holder = self.writer_holder()
        ahead = None if holder else self._first_before(place)
        if ahead is not None and (waiting := self._holder_of(LINE_BASE + ahead)):
            holder = f"{waiting}, whose turn it is"
        by = f"by {holder}" if holder else "by another process or another open of it"
        waited = time.monotonic() - started
        return StoreLockedError(f"{self.path!r} is being written to {by} (waited {waited:.3g} s)")

    def _try(self, request: bytes) -> bool:
        assert _SETLK is not None
        try:
            fcntl.fcntl(self._fd, _SETLK, request)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise self._failed(error) from None
        return True

    def _set(self, request: bytes) -> None:
        assert _SETLK is not None
        try:
            fcntl.fcntl(self._fd, _SETLK, request)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> StorageError:
        hint = "; locks do not work on this mount" if error.errno in NO_LOCKS else ""
        found = StorageError(f"{self.path!r}: lock: {error.strerror}{hint}")
        found.errno = error.errno
        found.filename = self.path
        return found

    def release_writer(self) -> None:
        if self._held:
            self._held = False
            try:
                self._free(_FREE_WRITER)
            finally:
                self._gate.release()

    def _free(self, request: bytes) -> None:
        # Never a reason to raise: what was done under the lock is done, and whoever called
        # would take its commit for failed.
        why: Exception
        for _ in range(20):
            try:
                fcntl.fcntl(self._fd, _SETLK, request)  # type: ignore[arg-type]
                return
            except OSError as error:
                why = self._failed(error)
            except MemoryError as error:
                why = error
        message = f"{why}; others wait until this handle writes again, or is closed"
        warnings.warn(message, KistWarning, stacklevel=2)

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
        try:
            self._lock_pin(self._pin_fd, commit, kind)
        except StorageError as error:
            # Reading works on every mount. Where locks do not, nothing that is read is overwritten:
            # whoever writes there only adds, or may not write at all.
            if error.errno not in NO_LOCKS or mounts.overwrites(self.path):
                raise

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
            with suppress(OSError):  # the first error says more
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
        found = self._locked(PIN_BASE + first, PIN_BASE + last)
        return found and (found[0] - PIN_BASE, found[1] - PIN_BASE)

    def _locked(self, first: int, last: int) -> tuple[int, int] | None:
        """Return (first, last byte) of any one lock of others in a range, or None."""
        return self._conflict(_flock(fcntl.F_WRLCK, first, last - first + 1))

    def _conflict(self, request: bytes) -> tuple[int, int] | None:
        if _GETLK is None or not HAVE_OFD:
            return None
        try:
            answer = fcntl.fcntl(self._fd, _GETLK, request)
        except OSError as error:
            raise self._failed(error) from None
        kind, start, length = system.unpack_lock(answer)
        if kind == fcntl.F_UNLCK:
            return None
        return start, start + length - 1 if length else (1 << 63) - 1  # 0: to the end

    # Who, as /proc tells

    def holders(self) -> dict[int, list[int]]:
        found: dict[int, set[int]] = {}
        for pid, start, stop in self._seen():
            # A range that nobody could have pinned commit by commit is not ours to list.
            if PIN_BASE <= start < LINE_BASE and stop - start < 1 << 20:
                for byte in range(start, stop + 1):
                    found.setdefault(byte - PIN_BASE, set()).add(pid)
        return {commit: sorted(pids) for commit, pids in sorted(found.items())}

    def writer_holder(self) -> str | None:
        return self._holder_of(WRITER)

    def _holder_of(self, byte: int) -> str | None:
        pids = (pid for pid, start, stop in self._seen() if start <= byte <= stop)
        pid = next(pids, None)
        return None if pid is None else process_name(pid)

    def _seen(self) -> Iterator[tuple[int, int, int]]:
        return locks_seen(self._fd) if self._fd >= 0 else iter(())

    # Life

    def close(self) -> None:
        """Give up every lock of this object."""
        self.release_writer()
        with self._mutex:
            fd, self._pin_fd, self._fd = self._pin_fd, -1, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError as error:
                raise self._failed(error) from None

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


def _slept(pause: float, deadline: float | None, now: float) -> float:
    """Sleep, and return the next pause, which is longer."""
    pause = min(pause, LONGEST_PAUSE_S)
    time.sleep(pause if deadline is None else max(0.0, min(pause, deadline - now)))
    return 2 * pause
