"""What the engine asks of a device: six operations on a range of bytes.

The seam is narrow on purpose: a test can freeze, drop, tear or refuse any of it, and a new kind
of device has to get little right. ``tests/contract/test_storage.py`` says what.
"""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    from _typeshed import ReadableBuffer, WriteableBuffer

    from kist.storage.locks import Locks

    # To type checkers an ndarray is a buffer from Python 3.12 on.
    Readable: TypeAlias = ReadableBuffer | np.ndarray[Any, Any]
    Writable: TypeAlias = WriteableBuffer | np.ndarray[Any, Any]
    Look: TypeAlias = tuple[bytes, bytes]

__all__ = ["Stats", "StorageBackend", "bytes_of", "view_of"]


def view_of(buffer: Readable) -> memoryview:
    """View any buffer, of which a type checker may not know that it is one."""
    return memoryview(buffer)  # type: ignore[arg-type]


def bytes_of(view: memoryview) -> memoryview:
    """View the same memory as bytes, whatever its format and shape."""
    try:
        return view.cast("B")
    except (TypeError, ValueError):
        # Formats of records cannot be cast; NumPy views anything as bytes.
        import numpy as np

        array: np.ndarray[Any, Any] = np.asarray(view)
        return array.reshape(-1).view(np.uint8).data


@dataclass(slots=True)
class Stats:
    """How often a backend was called, and for how many bytes.

    Not exact while several threads use the backend at once.
    """

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    write_bytes: int = 0
    syncs: int = 0
    directory_syncs: int = 0


class StorageBackend(ABC):
    """A range of bytes that can be read, written, resized and made durable.

    Reads and writes may come from several threads at once, unless they overlap.

    Attributes
    ----------
    name : str
        The path, for messages.
    writable : bool
        Whether `write`, `resize` and `sync` are allowed; `ReadOnlyError` otherwise.
    forked : bool
        Whether this process is a fork of the one that opened the backend: transactions begun
        before belong to the parent.
    pid : int
        The process that the descriptors belong to.
    stats : Stats
        Counters since it was opened.
    locks : Locks
        Writer's lock and pins.
    append_only : bool
        Whether space that was used must never be written again: readers may be where their pins
        are not seen.
    remote : bool
        Whether each read waits for a network, so that `prefetch` pays.
    lasts : bool
        Whether `sync` and `sync_directory` do anything. False while nobody knows a new file: its
        maker syncs it once, when it is whole, or never.
    takes_threads : bool
        Whether several threads may call `write` at once, of bytes that do not overlap.
    eager : bool
        Whether the device may begin with what was written before it is asked to `sync`. A hint:
        it changes how long the sync takes, and nothing that is promised.
    """

    name: str
    writable: bool
    locks: Locks
    append_only: bool = False
    remote: bool = False
    lasts: bool = True
    eager: bool = True
    takes_threads: bool = False

    def __init__(self) -> None:
        self.stats = Stats()
        self.forked = False
        self.pid = os.getpid()
        _open_backends.add(self)

    @abstractmethod
    def size(self) -> int:
        """Return the length in bytes."""

    @abstractmethod
    def read(self, offset: int, n: int) -> bytes:
        """Return `n` bytes from `offset`; fewer only where the file ends."""

    def read_into(self, offset: int, buffer: Writable) -> int:
        """Fill `buffer` from `offset`, and return how many bytes there were.

        Fewer than the buffer holds only where the file ends.
        """
        view = view_of(buffer)
        data = self.read(offset, view.nbytes)
        bytes_of(view)[: len(data)] = data
        return len(data)

    def map(self, offset: int, n: int, commit: int) -> tuple[Readable, int]:
        """Return read-only memory that shows bytes of the file, and where they begin in it.

        Parameters
        ----------
        commit : int
            Stays pinned until the memory is let go, also when the backend is closed. The caller
            has pinned it already.

        Notes
        -----
        There may be fewer bytes than `n` where the file ends. A copy, unless a backend has
        something better.
        """
        return self.read(offset, n), 0

    @abstractmethod
    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        """Write `buffers`, one behind the other, at `offset`; the file grows as needed.

        Parameters
        ----------
        offset : int
            Where the first byte goes.
        buffers : sequence of contiguous bytes-like objects
            ``bytes``, ``memoryview``, ``ndarray``.

        Raises
        ------
        StorageError
            ``errno`` tells why. Any part of the bytes may have been written.
        """

    @abstractmethod
    def resize(self, n: int) -> None:
        """Make the file `n` bytes long: cut it, or add zeros."""

    @abstractmethod
    def sync(self) -> None:
        """Return when all writes and the length are on the device.

        Raises
        ------
        StorageError
            It is unknown what is on the device, and stays so: a second sync may succeed without
            having written what the first one could not.
        """

    @abstractmethod
    def sync_directory(self) -> None:
        """Return when the file's name is on the device."""

    @abstractmethod
    def close(self) -> None:
        """Give up descriptors and locks; a second call does nothing."""

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Bring ranges near that will be read soon, all in one round trip.

        Parameters
        ----------
        ranges : sequence of (int, int)
            First byte and end of each, in any order.
        """
        return  # a file of this machine is near

    def is_near(self, start: int, stop: int) -> bool:
        """Tell whether a range is read without waiting for a network."""
        return True

    def distrust(self) -> None:
        """Forget what was kept of the file: bytes have failed their sum."""
        return

    def same_file(self) -> bool:
        """Tell whether the path still leads to the bytes that are open here."""
        return True

    def take_turn(self, first: tuple[int, int], second: tuple[int, int]) -> Look | None:
        """Become the one writer at once, and read two ranges; None where it takes more than that.

        What small commits begin with, in as few steps as there can be. With None nothing has been
        done: somebody else writes or waits, or the path leads elsewhere. Interrupts are held by
        the caller until it has released the writer's lock, as with `Locks.take_writer`.

        Parameters
        ----------
        first, second : (int, int)
            Offset and length of what is read, in this order.
        """
        if not self.locks.take_writer():
            return None
        look = None
        try:
            if self.same_file():
                look = self.read(*first), self.read(*second)
        finally:
            if look is None:
                self.locks.release_writer()
        return look

    def _after_fork_in_child(self) -> None:
        self.forked = True
        self.pid = os.getpid()


# A child inherits descriptors, and with them the parent's locks: it would keep the file locked
# after the parent has died. Closing them here frees nothing in the parent.
_open_backends: weakref.WeakSet[StorageBackend] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for backend in list(_open_backends):
        backend._after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork_in_child)
