"""Who may write, and which commits are being read: the interface, and what all kinds share.

`kist.storage.ofd` has the locks of files, `kist.storage.memory` those of stores in memory.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque

from kist.errors import StorageError, StoreLockedError

__all__ = ["CountedPins", "Locks", "ThreadGate", "joined"]

MAX_COMMIT = (1 << 61) - 1  # room for it above the bytes of the other locks

# Waiting polls: what could wake a waiter without polling cannot time out, or needs signals,
# which belong to the program.
FIRST_PAUSE_S = 0.0002
LONGEST_PAUSE_S = 0.010


class Locks(ABC):
    """The locks of one backend. Safe to use from several threads."""

    @abstractmethod
    def acquire_writer(self, timeout: float | None) -> None:
        """Become the one writer of the file; not reentrant.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait; 0 tries once, None waits for ever.

        Raises
        ------
        StoreLockedError
            Another writer held the file all the time; the message names it where it can.
        ReadOnlyError
            The backend cannot write, or was opened before a fork.
        """

    def take_writer(self) -> bool:
        """Become the one writer if that takes no waiting; tell whether it did.

        For who holds interrupts back until it has released the lock: see `kist.engine.few`.
        """
        try:
            self.acquire_writer(0)
        except StoreLockedError:
            return False
        return True

    @abstractmethod
    def release_writer(self) -> None:
        """Let the next writer in; nothing happens when the lock is not held."""

    @abstractmethod
    def writer_held(self) -> bool:
        """Tell whether this object holds the writer's lock."""

    @abstractmethod
    def pin(self, commit: int) -> None:
        """Keep the space of `commit` from being used again; counted, undone by `unpin`."""

    @abstractmethod
    def unpin(self, commit: int) -> None:
        """Undo one `pin` of `commit`."""

    @abstractmethod
    def pinned_ranges(self, limit: int) -> list[tuple[int, int]]:
        """Return the pinned commits up to and including `limit` as ranges.

        Returns
        -------
        list of (int, int)
            First and last commit of each range, ascending, apart from each other; pins of
            every process and of this one. Commits that are not pinned are in none.
        """

    def pins(self, limit: int) -> list[int]:
        """Return the pinned commits up to and including `limit`, ascending."""
        return [c for first, last in self.pinned_ranges(limit) for c in range(first, last + 1)]

    @abstractmethod
    def holders(self) -> dict[int, list[int]]:
        """Return the process ids that pin each commit, as far as they can be seen."""

    @abstractmethod
    def writer_holder(self) -> str | None:
        """Name who holds the writer's lock, or None when nobody does or it cannot be seen."""


class CountedPins(Locks):
    """Pins that are counted; a subclass takes and frees the real one.

    A pin may be undone by a finalizer, and so at any moment, in a thread that is just within
    `pin`. `unpin` therefore never waits: it puts the commit on a list, which whoever holds the
    mutex works off before or after letting go of it.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._mutex = threading.Lock()
        self._undone: deque[int] = deque()
        self._unfreed: dict[int, None] = {}  # the system did not free these; tried again

    @abstractmethod
    def _take_pin(self, commit: int) -> None:
        """Take the one pin of this object on `commit`."""

    @abstractmethod
    def _free_pin(self, commit: int) -> None:
        """Free it."""

    def pin(self, commit: int) -> None:
        if not 0 <= commit <= MAX_COMMIT:
            raise ValueError(f"commit {commit} is not in 0 .. {MAX_COMMIT}")
        with self._mutex:
            self._work_off()
            if commit not in self._counts:
                try:
                    self._take_pin(commit)
                except BaseException:  # it may have been taken all the same
                    self._unfreed[commit] = None
                    raise
            self._counts[commit] = self._counts.get(commit, 0) + 1
        self._settle()

    def unpin(self, commit: int) -> None:
        if commit not in self._counts:
            raise ValueError(f"commit {commit} is not pinned")
        self._undone.append(commit)
        self._settle()

    def _settle(self) -> None:
        # Whoever holds the mutex comes here after letting go of it: nothing stays behind.
        while self._undone and self._mutex.acquire(blocking=False):
            try:
                self._work_off()
            finally:
                self._mutex.release()

    def _work_off(self) -> None:
        while self._undone:
            commit = self._undone.popleft()
            count = self._counts.get(commit, 0)
            if count > 1:
                self._counts[commit] = count - 1
            elif count == 1:
                del self._counts[commit]
                self._unfreed[commit] = None
        for commit in list(self._unfreed):
            if commit not in self._counts:  # else it is pinned again
                try:
                    self._free_pin(commit)
                except (StorageError, MemoryError):
                    continue  # keeps some space until the next pin, or until the file is closed
            self._unfreed.pop(commit, None)

    def _fresh_mutex(self) -> None:
        # In a forked child: a thread that held the old one does not exist there.
        self._mutex = threading.Lock()


Ticket = tuple[int, object]  # a thread and one entry of it


class ThreadGate:
    """The writer's lock between the threads of one process, with an owner.

    A `threading.Lock` would not do: Ctrl-C may rise between the call that takes it and the line
    that notes so, and then nobody knows whether it has to be given back. The owner's ticket in a
    dictionary is taken by one atomic step, and can be looked for afterwards.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inside: dict[None, Ticket] = {}
        self._bell = threading.Lock()  # rung on leaving, for one who waits; only a hint
        self._bell.acquire()

    def acquire(self, ticket: Ticket, timeout: float | None) -> None:
        """Enter, or raise `StoreLockedError`."""
        owner = self._inside.setdefault(None, ticket)
        if owner is ticket:
            return
        if owner[0] == ticket[0]:
            # Waiting would last until the timeout, and for nothing.
            raise StoreLockedError(f"{self._name!r}: this thread is already writing to it")
        started = time.monotonic()
        while self._inside.setdefault(None, ticket) is not ticket:
            left = LONGEST_PAUSE_S
            if timeout is not None:
                left = min(left, started + timeout - time.monotonic())
            if left <= 0:
                raise StoreLockedError(
                    f"{self._name!r}: another thread of this process is writing to it "
                    f"(waited {timeout:g} s)"
                )
            self._bell.acquire(timeout=left)

    def enter(self, ticket: Ticket) -> bool:
        """Enter if nobody is inside; tell whether that is so."""
        return self._inside.setdefault(None, ticket) is ticket

    def holds(self, ticket: Ticket) -> bool:
        """Tell whether this entry is inside."""
        return self._inside.get(None) is ticket

    def release(self) -> None:
        """Leave."""
        self._inside.clear()
        bell = self._bell
        if bell.locked():  # else it rings already
            try:
                bell.release()
            except RuntimeError:
                return  # another thread was quicker


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge ranges, sorted and with their last member, that overlap or touch."""
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
