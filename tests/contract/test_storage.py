"""Every backend keeps the contract of storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kist.storage import FileBackend, MemoryBackend, MemoryFile, StorageBackend
from kist.testing.faults import FaultyBackend
from kist.testing.range_server import RangeServer
from kist.testing.reading import ReadingContract
from kist.testing.recording import Recorder
from kist.testing.storage import StorageContract


class File:
    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, *, writable: bool = True) -> StorageBackend:
        return FileBackend(self.path, writable=writable, create=writable)

    def content(self) -> bytes:
        return self.path.read_bytes()


class Memory:
    def __init__(self) -> None:
        self.file = MemoryFile()

    def open(self, *, writable: bool = True) -> StorageBackend:
        return MemoryBackend(self.file, writable=writable)

    def content(self) -> bytes:
        return bytes(self.file.data)


class Recorded:
    def __init__(self) -> None:
        self.recorder = Recorder()

    def open(self, *, writable: bool = True) -> StorageBackend:
        return self.recorder.backend(writable=writable)

    def content(self) -> bytes:
        return bytes(self.recorder.file.data)


class Faulty(File):
    def open(self, *, writable: bool = True) -> StorageBackend:
        return FaultyBackend(super().open(writable=writable))


class TestFile(StorageContract):
    @pytest.fixture
    def device(self, path: Path) -> File:
        return File(path)


class TestMemory(StorageContract):
    @pytest.fixture
    def device(self) -> Memory:
        return Memory()


class TestRecording(StorageContract):
    @pytest.fixture
    def device(self) -> Recorded:
        return Recorded()


class TestFaulty(StorageContract):
    @pytest.fixture
    def device(self, path: Path) -> Faulty:
        return Faulty(path)


Opened = Iterator[Callable[[bytes], StorageBackend]]


def remote(server: RangeServer, **options: object) -> Callable[[bytes], StorageBackend]:
    from kist.storage.objectstore import ObjectStoreTransport
    from kist.storage.remote import RemoteBackend

    def opened(data: bytes) -> StorageBackend:
        server.files["/file"] = data
        return RemoteBackend(ObjectStoreTransport(server.url("/file"), {}, 10), **options)

    return opened


class TestObjectStore(ReadingContract):
    @pytest.fixture
    def opened(self) -> Opened:
        pytest.importorskip("obstore")
        with RangeServer({}) as server:
            yield remote(server)


class TestObjectStoreThroughAFolder(ReadingContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        pytest.importorskip("obstore")
        with RangeServer({}) as server:
            yield remote(server, cache=tmp_path / "blocks")


class TestFsspec(ReadingContract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        fsspec = pytest.importorskip("fsspec")
        from kist.storage.fsspecfile import FsspecTransport
        from kist.storage.remote import RemoteBackend

        def opened(data: bytes) -> StorageBackend:
            (tmp_path / "file").write_bytes(data)
            return RemoteBackend(FsspecTransport(fsspec.open(str(tmp_path / "file"))))

        yield opened
