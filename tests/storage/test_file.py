"""Files: how they are opened, what is refused, and what the system's failures turn into."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kist
from kist.errors import (
    NotAStoreError,
    ReadOnlyError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
)
from kist.storage import FileBackend, file, linux


@pytest.fixture
def backend(path: Path) -> Iterator[FileBackend]:
    backend = FileBackend(path, writable=True, create=True)
    yield backend
    backend.close()


# Opening


def test_create_tells_whether_it_created(path: Path) -> None:
    for created in (True, False):
        with_backend = FileBackend(path, writable=True, create=True)
        assert with_backend.created is created
        with_backend.close()


def test_exclusive_refuses_a_file_that_is_there(path: Path) -> None:
    FileBackend(path, writable=True, exclusive=True).close()
    with pytest.raises(StoreExistsError, match="exists already") as error:
        FileBackend(path, writable=True, exclusive=True)
    assert isinstance(error.value, FileExistsError)
    assert (error.value.errno, error.value.filename) == (errno.EEXIST, str(path))


@pytest.mark.parametrize("writable", [False, True])
def test_a_missing_file_is_not_found(path: Path, writable: bool) -> None:
    with pytest.raises(StoreNotFoundError, match="no such file") as error:
        FileBackend(path, writable=writable)
    assert isinstance(error.value, FileNotFoundError)
    assert not path.exists()


def test_a_missing_folder_is_named(path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"no folder .*missing"):
        FileBackend(path.parent / "missing" / "a.kist", writable=True, create=True)


def test_a_link_to_nowhere_is_created_at_its_end(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    backend = FileBackend(link, writable=True, create=True)
    backend.write(0, [b"abc"])
    backend.sync_directory()
    assert backend.same_file()
    backend.close()
    assert path.read_bytes() == b"abc"


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device", "a socket"])
def test_what_is_not_a_file_is_not_a_store(path: Path, kind: str, writable: bool) -> None:
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        listener = socket.socket(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket has at most 108 bytes
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)
            listener.close()
    else:
        path = Path("/dev/null")
    with pytest.raises(NotAStoreError, match=f"is {kind}"):
        FileBackend(path, writable=writable)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_without_permission_is_read_only(path: Path) -> None:
    path.write_bytes(b"abc")
    path.chmod(0o400)
    with pytest.raises(ReadOnlyError):
        FileBackend(path, writable=True)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_refusal_to_open_for_writing_is_read_only(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(file.os, "open", failing(number))
    with pytest.raises(ReadOnlyError) as error:
        FileBackend(path, writable=True)
    assert error.value.errno == number
    with pytest.raises(StorageError) as other:
        FileBackend(path)
    assert not isinstance(other.value, ReadOnlyError)
    assert other.value.errno == number


def test_a_relative_path_survives_a_change_of_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    backend = FileBackend(path.name, writable=True, create=True)
    monkeypatch.chdir("/")
    assert backend.path == str(path)
    assert backend.same_file()
    backend.sync_directory()
    backend.close()


def test_descriptors_are_not_inherited(backend: FileBackend) -> None:
    backend.locks.pin(1)
    for fd in (backend._fd, backend.locks._pin_fd):
        assert not os.get_inheritable(fd)


def test_creating_what_cannot_be_written_is_a_mistake(path: Path) -> None:
    for more in ({"create": True}, {"exclusive": True}):
        with pytest.raises(ValueError, match="must be writable"):
            FileBackend(path, **more)
    assert not path.exists()


def test_an_open_that_fails_leaves_no_descriptor(path: Path) -> None:
    os.mkfifo(path)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(NotAStoreError):
            FileBackend(path)
    assert len(os.listdir("/proc/self/fd")) == len(before)


# Identity


def test_a_replaced_file_is_not_the_same(backend: FileBackend, path: Path) -> None:
    assert backend.same_file()
    path.rename(path.with_name("moved"))
    assert not backend.same_file()
    path.write_bytes(b"another")
    assert not backend.same_file()


def test_a_file_whose_folder_was_replaced_is_not_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    backend = FileBackend(folder / "f", writable=True, create=True)
    assert backend.same_file()
    assert backend.same_file()
    folder.rename(tmp_path / "before")
    assert not backend.same_file()
    folder.mkdir()
    (folder / "f").write_bytes(b"another")
    assert not backend.same_file()
    (folder / "f").unlink()
    folder.rmdir()
    (tmp_path / "before").rename(folder)
    assert backend.same_file()
    backend.close()


def test_a_link_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"")
    (tmp_path / "now").symlink_to("a")
    backend = FileBackend(tmp_path / "now" / "f", writable=True)
    assert backend.same_file()
    assert backend.same_file()
    (tmp_path / "now").unlink()
    (tmp_path / "now").symlink_to("b")
    assert not backend.same_file()
    backend.close()


def test_a_deleted_file_is_not_the_same_whatever_comes_in_its_place(
    backend: FileBackend, path: Path
) -> None:
    assert backend.same_file()
    other = path.with_name("other")
    other.write_bytes(b"")
    other.replace(path)
    assert not backend.same_file()
    path.unlink()
    assert not backend.same_file()


def test_without_proc_the_file_is_known_by_its_inode(
    backend: FileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kist.storage.linux.os.readlink", _no_proc)
    assert linux.link_of(backend._fd) == ""
    assert backend.same_file()
    path.rename(path.with_name("moved"))
    assert not backend.same_file()


def _no_proc(path: str) -> str:
    raise FileNotFoundError(path)


# Failures


def failing(number: int) -> Callable[..., Any]:
    def fail(*arguments: object, **more: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_no_turn_is_taken_where_the_path_leads_elsewhere(backend: FileBackend, path: Path) -> None:
    backend.write(0, [bytes(100)])
    assert backend.take_turn((0, 8), (8, 8)) is not None
    backend.locks.release_writer()
    path.rename(path.with_name("moved"))
    path.write_bytes(bytes(100))
    assert backend.take_turn((0, 8), (8, 8)) is None
    assert not backend.locks.writer_held()


def test_a_turn_that_shows_less_than_was_asked_for_is_given_back(backend: FileBackend) -> None:
    backend.write(0, [bytes(100)])
    for first, second in (((90, 20), (0, 8)), ((0, 8), (90, 20))):
        assert backend.take_turn(first, second) is None
        assert not backend.locks.writer_held()


def test_a_turn_whose_look_fails_is_given_back(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, n: int, offset: int) -> bytes:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(StorageError) as raised:
        backend.take_turn((0, 8), (8, 8))
    assert raised.value.errno == errno.EIO and str(backend.path) in str(raised.value)
    assert not backend.locks.writer_held()
    backend.locks.acquire_writer(0)
    backend.locks.release_writer()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize(
    ("call", "function"),
    [
        (lambda b: b.write(0, [b"abc"]), "pwritev"),
        (lambda b: b.read(0, 3), "pread"),
        (lambda b: b.read_into(0, bytearray(3)), "preadv"),
        (lambda b: b.resize(10), "ftruncate"),
        (lambda b: b.sync_directory(), "fsync"),
        (lambda b: b.size(), "fstat"),
        (lambda b: b.same_file(), "stat"),
    ],
    ids=["write", "read", "read_into", "resize", "sync_directory", "size", "same_file"],
)
def test_a_failing_call_keeps_its_number_and_names_the_file(
    backend: FileBackend,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[FileBackend], object],
    function: str,
    number: int,
) -> None:
    monkeypatch.setattr(file.os, function, failing(number))
    with pytest.raises(StorageError, match=r"t\.kist") as error:
        call(backend)
    monkeypatch.undo()
    assert (error.value.errno, error.value.filename) == (number, backend.path)
    assert os.strerror(number) in str(error.value)


def test_a_failing_sync_is_raised_and_counted(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_fdatasync", failing(errno.EIO))
    with pytest.raises(StorageError, match="sync") as error:
        backend.sync()
    assert error.value.errno == errno.EIO
    assert backend.stats.syncs == 1


def test_a_failing_close_is_raised_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FileBackend(path, writable=True, create=True)
    real = os.close

    def close(fd: int) -> None:
        real(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(file.os, "close", close)
    with pytest.raises(StorageError, match="close"):
        backend.close()
    monkeypatch.undo()
    backend.close()


def test_a_storage_error_reaches_another_process_with_its_message(backend: FileBackend) -> None:
    backend.close()
    error = backend._failed("read 3 bytes at 7", OSError(errno.EIO, "Input/output error"))
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is StorageError
    assert str(twin) == str(error)


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_short_counts_are_taken_up(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    def pwritev(fd: int, buffers: list[bytes], offset: int) -> int:
        data = b"".join(memoryview(b).tobytes() for b in buffers)[:step]
        return os.pwrite(fd, data, offset)

    def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
        data = real_pread(fd, step, offset)
        buffers[0].cast("B")[: len(data)] = data[: len(buffers[0])]
        return min(len(data), len(buffers[0]))

    real_pread, real_pwrite = os.pread, os.pwrite
    monkeypatch.setattr(file.os, "pwritev", pwritev)
    monkeypatch.setattr(file.os, "pwrite", lambda fd, d, at: real_pwrite(fd, d[:step], at))
    monkeypatch.setattr(file.os, "pread", lambda fd, n, at: real_pread(fd, min(n, step), at))
    monkeypatch.setattr(file.os, "preadv", preadv)
    buffers = [b"ab", b"", b"cdefg", bytearray(b"hij"), memoryview(b"klmnop")[::1]]
    backend.write(3, buffers)
    assert backend.read(3, 100) == b"abcdefghijklmnop"
    buffer = bytearray(20)
    assert backend.read_into(5, buffer) == 14
    assert buffer == b"cdefghijklmnop" + bytes(6)


def test_a_device_that_takes_nothing_does_not_hang_the_writer(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file.os, "pwritev", lambda *a: 0)
    monkeypatch.setattr(file.os, "pwrite", lambda *a: 0)
    with pytest.raises(StorageError, match="takes no more bytes") as error:
        backend.write(0, [b"abc"])
    assert error.value.errno == errno.EIO


def test_records_are_taken_up_after_a_short_count(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    records = np.zeros(5, dtype=[("a", "<i4"), ("b", "S3")])
    records["a"] = range(5)
    real = os.pwrite
    monkeypatch.setattr(
        file.os, "pwritev", lambda fd, b, at: real(fd, memoryview(b[0]).tobytes()[:5], at)
    )
    backend.write(0, [records])
    assert backend.read(0, 100) == records.tobytes()


# Leaving


def test_a_backend_that_is_not_closed_says_so_and_closes(path: Path) -> None:
    backend = FileBackend(path, writable=True, create=True)
    fd = backend._fd
    with pytest.warns(ResourceWarning, match="was not closed"):
        del backend
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_close_gives_up_locks_and_pins(path: Path, backend: FileBackend) -> None:
    other = FileBackend(path, writable=True)
    other.locks.acquire_writer(0)
    other.locks.pin(3)
    other.close()
    backend.locks.acquire_writer(0)
    assert backend.locks.pins(10) == []


@pytest.mark.skipif(sys.platform != "linux", reason="nothing else begins without waiting")
def test_the_device_begins_with_much_before_the_sync(
    backend: FileBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    start = linux.start_writing
    monkeypatch.setattr(linux, "start_writing", lambda fd: (begun.append(fd), start(fd)))
    piece = bytes(file.EARLY_BYTES // 4)
    for n in range(8):
        backend.write(n * len(piece), [piece])
    assert len(begun) == 2
    backend.write(0, [piece])
    backend.sync()
    for n in range(3):
        backend.write(n * len(piece), [piece])
    assert len(begun) == 2
    backend.eager = False
    backend.write(0, [piece] * 8)
    assert len(begun) == 2


@pytest.mark.parametrize("durability", ["full", "relaxed", "none"])
def test_without_durability_the_system_decides_when_it_writes(path: Path, durability: Any) -> None:
    with kist.open(path, "w", durability=durability) as store:
        assert store._session.engine.backend.eager is (durability != "none")
