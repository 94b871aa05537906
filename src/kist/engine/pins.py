"""Pins that may be undone anywhere: also by the garbage collector, in the middle of a pin."""

from __future__ import annotations

import threading
from collections import deque

from kist.errors import StorageError, StoreClosedError
from kist.storage.base import StorageBackend


class Pins:
    """The pins of one engine, counted by the backend.

    A snapshot in a cycle of references is let go by whatever thread happens to collect it, also
    by one that is just pinning and holds the lock. So to undo a pin never waits: it is noted,
    and done by who has the lock, or by the next one to let it go.
    """

    def __init__(self, backend: StorageBackend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._undone: deque[int] = deque()

    def pin(self, commit: int) -> None:
        """Keep the space of a commit from being used again."""
        with self._lock:
            self._backend.locks.pin(commit)
        self._settle()

    def unpin(self, commit: int) -> None:
        """Undo one `pin`; never waits."""
        self._undone.append(commit)
        self._settle()

    def _settle(self) -> None:
        while self._undone and self._lock.acquire(blocking=False):
            try:
                self._backend.locks.unpin(self._undone.popleft())
            except (IndexError, ValueError, StorageError, StoreClosedError):
                continue  # another thread did it, or the file was closed and its pins with it
            finally:
                self._lock.release()

    def after_fork_in_child(self) -> None:
        """The thread that held the lock does not exist here."""
        self._lock = threading.Lock()
