"""A backend that fails when told to: full disk, broken device, Ctrl-C, at the N-th call.

The long run tries the faults of `kist.testing.trials` at every call that the steps of
`kist.testing.workload` make to the system, in a temporary directory::

    python -m kist.testing.faults
    python -m kist.testing.faults --every 20 --durability relaxed --fault sync
    python -m kist.testing.faults --allocations 5000 --limits 500
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from kist.errors import StorageError
from kist.storage import Locks, StorageBackend
from kist.storage.base import view_of
from kist.testing.recording import RecordingBackend

if TYPE_CHECKING:
    from kist.storage.base import Readable, Writable

__all__ = ["CALLS", "KINDS", "Fault", "FaultyBackend"]

KINDS = ("read", "write", "resize", "sync", "directory sync", "close")
"""What a backend is asked to do."""

CALLS = (*KINDS, "open", "stat", "map", "lock", "unlock", "pin")
"""What a file asks of the system, as `kist.testing.system` counts it."""


@dataclass(frozen=True)
class Fault:
    """What fails, and when.

    Parameters
    ----------
    kind : str
        One of `CALLS`, or ``any``.
    at : int
        Which call of that kind, from 1.
    error : int or type of exception
        An ``errno``, raised as `StorageError` by a backend and as `OSError` by the system, or an
        exception such as `KeyboardInterrupt`. 0 raises nothing.
    persist : bool
        All later calls of that kind fail too.
    share : float
        For writes: the part of the bytes that is written before the failure.
    late : bool
        The call takes effect in full, and fails then.
    short : bool
        Of the system: the call handles `share` of the bytes, at least one, and says so.
    signal : int
        Of the system: instead of failing, send this signal to the process, before or after.
    """

    kind: str
    at: int
    error: int | type[BaseException] = errno.EIO
    persist: bool = False
    share: float = 0.0
    late: bool = False
    short: bool = False
    signal: int = 0

    def __post_init__(self) -> None:
        if self.kind not in (*CALLS, "any"):
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Try faults at the calls of a workload in a temporary directory; gives 1 when one failed."""
    # Not above: those modules take their Fault from this one.
    from kist.testing import memory
    from kist.testing.trials import FAULTS, Report, Stage
    from kist.testing.works import WORKS

    parser = argparse.ArgumentParser(prog="python -m kist.testing.faults", description=main.__doc__)
    parser.add_argument("--every", type=int, default=1, help="one place in so many (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", action="append", help="only those whose name contains this")
    parser.add_argument("--step", default="", help="only steps whose name contains this")
    parser.add_argument("--durability", choices=("full", "relaxed", "none"), default="full")
    parser.add_argument("--work", choices=tuple(WORKS), default="everything", help="what is done")
    parser.add_argument("--allocations", type=int, default=0, help="trials with failing ones")
    parser.add_argument("--limits", type=int, default=0, help="trials with a limit of memory")
    parser.add_argument("--folder", help="where to make the stores")
    options = parser.parse_args(arguments)
    chosen = [n for n in FAULTS if not options.fault or any(part in n for part in options.fault)]
    total, started = Report(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        Stage(folder, options.durability, options.work) as stage,
    ):
        runs: dict[str, Callable[[], Report]] = {
            name: partial(stage.run, FAULTS[name], options.every, options.seed, options.step)
            for name in chosen
        }
        if options.allocations or options.limits:
            runs = {}
        if options.allocations and memory.HAVE_ALLOCATION_FAULTS:
            given = stage, options.allocations, options.seed, options.step
            runs["allocations fail"] = partial(memory.run_allocations, *given)
        if options.limits:
            given = stage, options.limits, options.seed, options.step
            runs["limit of memory"] = partial(memory.run_limits, *given)
        for name, run in runs.items():
            report = run()
            total.add(report)
            print(f"{name}: {report}", flush=True)
    took = time.monotonic() - started
    print(f"{options.durability}, seed {options.seed}, {took:.0f} s, in all: {total}")
    return 1 if total.failures or not total.trials else 0


if __name__ == "__main__":
    sys.exit(main())
