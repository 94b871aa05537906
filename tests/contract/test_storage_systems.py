"""What other systems than this one will run: the same contract, over simulated calls."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import kist
from kist.storage import StorageBackend, darwin, linux, newfile, positions, windows
from kist.storage.windows import WindowsBackend
from kist.testing.storage import StorageContract


class Simulated:
    """Calls with the rules of `LockFileEx`, on descriptors of this process."""

    def __init__(self) -> None:
        self.locks: list[tuple[int, int, int, bool]] = []  # descriptor, first, length, exclusive

    def pread(self, fd: int, n: int, offset: int) -> bytes:
        return os.pread(fd, min(n, 100), offset)  # short counts, too

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        return os.pwrite(fd, data[:100], offset)

    def lock(self, fd: int, start: int, length: int, exclusive: bool) -> bool:
        self._forget_closed()
        for other, first, n, alone in self.locks:
            meet = first < start + length and start < first + n
            # An exclusive lock keeps out even the handle that has it.
            if meet and (exclusive or alone) and os.path.sameopenfile(fd, other):
                return False
        self.locks.append((fd, start, length, exclusive))
        return True

    def unlock(self, fd: int, start: int, length: int) -> None:
        for lock in self.locks:
            if lock[:3] == (fd, start, length):
                self.locks.remove(lock)
                return
        raise OSError(22, "not locked like this")

    def closed(self, fds: list[int]) -> None:
        self.locks = [lock for lock in self.locks if lock[0] not in fds]

    def _forget_closed(self) -> None:
        alive = []
        for lock in self.locks:
            try:
                os.fstat(lock[0])
            except OSError:
                continue  # closed: its locks are gone
            alive.append(lock)
        self.locks = alive


class Simulating(WindowsBackend):
    """A descriptor's number is used again at once: its locks must be gone before."""

    def _close_descriptors(self) -> None:
        if isinstance(self._calls, Simulated):
            self._calls.closed(self._fds)
        super()._close_descriptors()


class Device:
    def __init__(self, path: Path) -> None:
        self.path, self.calls = path, Simulated()

    def open(self, *, writable: bool = True) -> StorageBackend:
        if not writable:
            return Simulating(self.path, calls=self.calls)
        with pytest.warns(kist.MountWarning, match="never been tested"):
            return Simulating(self.path, writable=True, create=True, calls=self.calls)

    def content(self) -> bytes:
        return self.path.read_bytes()


@pytest.mark.filterwarnings("ignore::kist.MountWarning")
class TestWindows(StorageContract):
    @pytest.fixture
    def device(self, path: Path) -> Iterator[Device]:
        yield Device(path)

    def test_files_that_cannot_be_opened_are_told_apart(self, path: Path) -> None:
        calls = Simulated()
        with pytest.raises(kist.StoreNotFoundError):
            WindowsBackend(path, calls=calls)
        path.write_bytes(b"")
        with pytest.raises(kist.StoreExistsError):
            WindowsBackend(path, writable=True, exclusive=True, calls=calls)
        with pytest.raises(kist.NotAStoreError, match="folder"):
            WindowsBackend(path.parent, calls=calls)
        with pytest.raises(kist.StorageError, match="not Windows"):
            WindowsBackend(path)


def test_untested_systems_say_so() -> None:
    assert (linux.TESTED, darwin.TESTED, windows.TESTED) == (True, False, False)


@pytest.mark.parametrize("system", [linux, darwin])
def test_locks_are_packed_as_each_system_wants_them(system: object) -> None:
    for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK):
        packed = system.pack_lock(kind, (1 << 62) + 5, 7)  # type: ignore[attr-defined]
        assert system.unpack_lock(packed) == (kind, (1 << 62) + 5, 7)  # type: ignore[attr-defined]
    assert len(packed) == (32 if system is linux else 24)


def test_macos_syncs_with_its_own_call_and_never_with_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(darwin.fcntl, "fcntl", lambda fd, number: calls.append((fd, number)))
    darwin.sync(5)
    assert calls == [(5, 51)]

    def refuse(fd: int, number: int) -> None:
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(darwin.fcntl, "fcntl", refuse)
    with pytest.raises(OSError, match="not supported"):
        darwin.sync(5)


def test_seeking_reads_as_a_call_with_a_place_does(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"0123456789")
    fd = os.open(file, os.O_RDONLY | positions.OPEN_FLAGS)
    try:
        for read in (positions.read_by_seeking, positions.read_at):
            buffer = bytearray(4)
            assert read(fd, memoryview(buffer), 3) == 4 and buffer == b"3456"
            assert read(fd, memoryview(buffer), 8) == 2 and buffer == b"8956"
            assert read(fd, memoryview(buffer), 10) == 0
    finally:
        os.close(fd)


@pytest.mark.filterwarnings("ignore:.*never been tested")
def test_a_backup_is_made_by_the_backend_of_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["x"] = range(5)
        calls = Simulated()
        monkeypatch.setattr(newfile, "FileBackend", partial(Simulating, calls=calls))
        store.backup(tmp_path / "b.kist")
    with kist.open(tmp_path / "b.kist") as copy:
        assert copy["x"][:].tolist() == [0, 1, 2, 3, 4]
