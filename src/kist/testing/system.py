"""System calls that fail when told to: below kist, and beside the rest of the program.

`FaultyBackend` replaces a device in memory. Here the real thing runs, `kist.open` on a real file
with its locks and descriptors, and only the calls that `kist.storage` makes to the system pass
through a counter::

    with FaultySystem() as system:
        store = kist.open("t.kist", "a")
        system.fail(Fault("write", 3, errno.ENOSPC, share=0.5))
        ...
"""

from __future__ import annotations

import fcntl
import os
import shutil
import types
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kist.storage import file, names, ofd
from kist.storage.base import view_of
from kist.testing.faults import CALLS, Fault

__all__ = ["LOG", "CALLS", "FaultySystem", "Fired"]

# Where the commit slots and the log of a file are: docs/format.md, "The file".
SLOTS = range(0x1000, 0x3000)
LOG = range(0x4000, 0x44000)


class Fired(NamedTuple):
    """A fault that came true.

    Attributes
    ----------
    kind : str
        Of call.
    offset : int
        Of a write; -1 for all others.
    logged : bool
        Whether something had been written to the log, or to a slot, since the last sync.
    """

    kind: str
    offset: int
    logged: bool


class _Undo(NamedTuple):
    offset: int
    old: bytes
    size: int  # of the file, before
    n: int


def _take_back(
    path: str | os.PathLike[str], writes: Sequence[_Undo], keep: Callable[[int], bool]
) -> None:
    kept = [keep(number) for number in range(len(writes))]
    with open(path, "r+b") as target:
        for kept_one, (offset, old, size, _) in reversed([*zip(kept, writes, strict=True)]):
            if not kept_one:
                target.seek(offset)
                target.write(old)
                if offset + len(old) >= size:
                    target.truncate(size)


class _Proxy(types.ModuleType):
    """A module with some functions replaced."""

    def __init__(self, module: Any, functions: dict[str, Callable[..., Any]]) -> None:
        super().__init__(module.__name__)
        self._module = module
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class FaultySystem:
    """Context: the system calls of `kist.storage` are counted, and fail as `fail` says.

    Parameters
    ----------
    sync : bool
        Really sync. Nothing that these tests look at depends on it, and it takes most of the time.

    Attributes
    ----------
    calls : Counter
        Calls of each kind since `count_anew`, and ``any``.
    fired : list of Fired
        Faults that came true since then.
    """

    def __init__(self, *, sync: bool = False) -> None:
        self.calls: Counter[str] = Counter()
        self.fired: list[Fired] = []
        self._sync = sync
        self._fault: Fault | None = None
        self._logged = False
        self._unsynced: list[_Undo] = []
        self.lost: list[_Undo] = []
        storage: Any = file
        locks: Any = ofd
        folders: Any = names
        self._real = storage.os, storage.mmap, storage._fdatasync, locks.os, locks.fcntl, folders.os

    def __enter__(self) -> FaultySystem:
        calls: dict[str, Callable[..., Any]] = {
            "open": self._wrap("open", os.open),
            "pread": self._pread,
            "preadv": self._preadv,
            "pwrite": lambda fd, data, at: self._write(fd, [data], at),
            "pwritev": self._write,
            "ftruncate": self._wrap("resize", os.ftruncate),
            "fsync": self._wrap("directory sync", os.fsync if self._sync else lambda fd: None),
            "stat": self._wrap("stat", os.stat),
            "fstat": self._wrap("stat", os.fstat),
            "close": self._close,
        }
        put: Any = file
        put.os, put.mmap = _Proxy(os, calls), _Proxy(self._real[1], {"mmap": self._map})
        put._fdatasync = self._fdatasync
        put = ofd
        put.os, put.fcntl = _Proxy(os, calls), _Proxy(fcntl, {"fcntl": self._fcntl})
        put = names
        put.os = _Proxy(os, calls)
        return self

    def __exit__(self, *exc: object) -> None:
        put: Any = file
        put.os, put.mmap, put._fdatasync = self._real[:3]
        put = ofd
        put.os, put.fcntl = self._real[3:5]
        put = names
        put.os = self._real[5]

    # What shall fail

    def fail(self, fault: Fault | None) -> None:
        """Let this fail, counted from now on; None ends all faults."""
        self._fault = fault
        if fault is not None:
            self.count_anew()

    def count_anew(self) -> None:
        """Count from zero."""
        self.calls.clear()
        self.fired.clear()

    def lose(self, path: str | os.PathLike[str], keep: Callable[[int], bool]) -> None:
        """Take back what a failed sync has not written, as the system may: the pages were clean.

        Call it when the store is closed. `keep` is asked for each write, by its number.
        """
        _take_back(path, self.lost, keep)
        self.lost = []

    @property
    def unsynced_bytes(self) -> int:
        """Bytes written since the last sync."""
        return sum(undo.n for undo in self._unsynced)

    def cut_power(
        self,
        path: str | os.PathLike[str],
        copy: str | os.PathLike[str],
        keep: Callable[[int], bool] = lambda number: False,
    ) -> None:
        """Make a copy of a file as a loss of power would leave it now: what is synced is there.

        `keep` is asked for each write since the last sync, by its number. Only for one file.
        """
        shutil.copyfile(path, copy)
        _take_back(copy, self._unsynced, keep)

    # The calls

    def _due(self, kind: str, offset: int = -1) -> Fault | None:
        self.calls[kind] += 1
        self.calls["any"] += 1
        fault = self._fault
        if fault is None or fault.kind not in (kind, "any"):
            return None
        n = self.calls[fault.kind]
        if n != fault.at and not (fault.persist and n > fault.at):
            return None
        self.fired.append(Fired(kind, offset, self._logged))
        return fault

    def _raise(self, fault: Fault) -> None:
        if fault.signal:
            os.kill(os.getpid(), fault.signal)
        elif not isinstance(fault.error, int):
            raise fault.error()
        elif fault.error:
            raise OSError(fault.error, os.strerror(fault.error))

    def _wrap(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            return self._do(kind, lambda: function(*arguments, **named))

        return call

    def _do(self, kind: str, function: Callable[[], Any]) -> Any:
        fault = self._due(kind)
        if fault is None:
            return function()
        if not fault.late:
            self._raise(fault)
        result = function()
        if fault.late:
            try:
                self._raise(fault)
            except BaseException:
                if kind == "open":  # nobody got to know it
                    os.close(result)
                raise
        return result

    def _close(self, fd: int) -> None:
        # As with close(2), the descriptor is gone even if the call fails.
        fault = self._due("close")
        os.close(fd)
        if fault is not None:
            self._raise(fault)

    def _pread(self, fd: int, n: int, offset: int) -> bytes:
        fault = self._due("read", offset)
        if fault is None:
            return os.pread(fd, n, offset)
        if not fault.late:
            self._raise(fault)
        data = os.pread(fd, n, offset)
        if fault.late:
            self._raise(fault)
        return data[: max(1, int(len(data) * fault.share))] if fault.short else data

    def _preadv(self, fd: int, buffers: Sequence[Any], offset: int) -> int:
        fault = self._due("read", offset)
        if fault is None:
            return os.preadv(fd, buffers, offset)
        if not fault.late:
            self._raise(fault)
        if fault.short:
            data = os.pread(fd, sum(view_of(b).nbytes for b in buffers), offset)
            view = view_of(buffers[0]).cast("B")
            n = min(len(view), max(1, int(len(data) * fault.share)))
            view[:n] = data[:n]
            return n
        got = os.preadv(fd, buffers, offset)
        if fault.late:
            self._raise(fault)
        return got

    def _map(self, *arguments: Any, **named: Any) -> Any:
        return self._do("map", lambda: self._real[1].mmap(*arguments, **named))

    def _write(self, fd: int, buffers: Sequence[Any], offset: int) -> int:
        fault = self._due("write", offset)
        if fault is not None and not fault.late and not fault.short and not fault.share:
            self._raise(fault)
        n = sum(view_of(buffer).nbytes for buffer in buffers)
        size = os.fstat(fd).st_size
        self._unsynced.append(_Undo(offset, os.pread(fd, n, offset), size, n))
        self._logged = self._logged or offset in LOG or offset in SLOTS
        if fault is None:
            return os.pwritev(fd, buffers, offset)
        if fault.signal or fault.late:
            done = os.pwritev(fd, buffers, offset)
            if fault.late:
                self._raise(fault)
            return done
        data = b"".join(view_of(buffer).tobytes() for buffer in buffers)
        share = int(n * fault.share)
        done = os.pwrite(fd, data[: max(1, share) if fault.short else share], offset)
        self._raise(fault)
        return done

    def _fdatasync(self, fd: int) -> None:
        try:
            self._do("sync", lambda: self._real[2](fd) if self._sync else None)
        except OSError:
            self.lost += self._unsynced
            raise
        finally:
            self._unsynced, self._logged = [], False

    def _fcntl(self, fd: int, command: int, argument: Any = 0) -> Any:
        kind, start, _ = ofd.system.unpack_lock(argument)
        name = "pin" if ofd.PIN_BASE <= start < ofd.LINE_BASE else "lock"
        if name == "lock" and kind == fcntl.F_UNLCK:
            name = "unlock"
        return self._do(name, lambda: fcntl.fcntl(fd, command, argument))
