"""A backend that fails when told to: full disk, broken device, Ctrl-C, at the N-th call."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kist.errors import StorageError
from kist.storage import Locks, StorageBackend
from kist.storage.base import view_of
from kist.testing.recording import RecordingBackend

if TYPE_CHECKING:
    from kist.storage.base import Readable, Writable

__all__ = ["KINDS", "Fault", "FaultyBackend"]

KINDS = ("read", "write", "resize", "sync", "directory sync", "close")


@dataclass(frozen=True)
class Fault:
    """What fails, and when.

    Parameters
    ----------
    kind : str
        One of `KINDS`, or ``any``.
    at : int
        Which call of that kind, from 1.
    error : int or type of exception
        An ``errno``, raised as `StorageError`, or an exception such as `KeyboardInterrupt`.
    persist : bool
        All later calls of that kind fail too.
    share : float
        For writes: the part of the bytes that is written before the failure.
    late : bool
        The call takes effect in full, and fails then.
    """

    kind: str
    at: int
    error: int | type[BaseException] = errno.EIO
    persist: bool = False
    share: float = 0.0
    late: bool = False

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, "any"):
            raise ValueError(f"no kind of call {self.kind!r}")


class FaultyBackend(StorageBackend):
    """Another backend with faults.

    Parameters
    ----------
    inner : StorageBackend
        What does the work.
    faults : sequence of Fault
        What shall fail.

    Attributes
    ----------
    calls : Counter
        Calls of each kind so far, and ``any``: a first run without faults tells how far to go.
    """

    locks: Locks

    def __init__(self, inner: StorageBackend, faults: Sequence[Fault] = ()) -> None:
        self.inner = inner
        self.faults = tuple(faults)
        self.calls: Counter[str] = Counter()
        self.name = inner.name
        self.writable = inner.writable
        self.locks = inner.locks
        super().__init__()
        self.stats = inner.stats

    def _due(self, kind: str) -> Fault | None:
        self.calls[kind] += 1
        self.calls["any"] += 1
        for fault in self.faults:
            if fault.kind in (kind, "any"):
                n = self.calls[fault.kind]
                if n == fault.at or (fault.persist and n > fault.at):
                    return fault
        return None

    def _error(self, fault: Fault, what: str) -> BaseException:
        if not isinstance(fault.error, int):
            return fault.error()
        error = StorageError(f"{self.name!r}: {what}: {os.strerror(fault.error)}")
        error.errno = fault.error
        error.filename = self.name
        return error

    def size(self) -> int:
        return self.inner.size()

    def read(self, offset: int, n: int) -> bytes:
        fault = self._due("read")
        if fault:
            raise self._error(fault, "read")
        return self.inner.read(offset, n)

    def read_into(self, offset: int, buffer: Writable) -> int:
        fault = self._due("read")
        if fault:
            raise self._error(fault, "read")
        return self.inner.read_into(offset, buffer)

    def map(self, offset: int, n: int, commit: int) -> tuple[Readable, int]:
        fault = self._due("read")
        if fault:
            raise self._error(fault, "map")
        return self.inner.map(offset, n, commit)

    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        fault = self._due("write")
        if fault is None:
            self.inner.write(offset, buffers)
            return
        data = b"".join(view_of(buffer).tobytes() for buffer in buffers)
        share = len(data) if fault.late else int(len(data) * fault.share)
        if share:
            self.inner.write(offset, (data[:share],))
        raise self._error(fault, "write")

    def resize(self, n: int) -> None:
        fault = self._due("resize")
        if fault is None or fault.late:
            self.inner.resize(n)
        if fault:
            raise self._error(fault, "resize")

    def sync(self) -> None:
        fault = self._due("sync")
        if fault is None or fault.late:
            self.inner.sync()
        elif isinstance(self.inner, RecordingBackend) and isinstance(fault.error, int):
            # Ctrl-C leaves the pages dirty: a later sync covers them.
            self.inner.fail_sync()
        if fault:
            raise self._error(fault, "sync")

    def sync_directory(self) -> None:
        fault = self._due("directory sync")
        if fault is None or fault.late:
            self.inner.sync_directory()
        if fault:
            raise self._error(fault, "sync folder")

    def same_file(self) -> bool:
        return self.inner.same_file()

    def close(self) -> None:
        # As with close(2), the descriptor is gone even if the call fails.
        fault = self._due("close")
        self.inner.close()
        if fault:
            raise self._error(fault, "close")
