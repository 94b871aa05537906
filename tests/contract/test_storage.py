"""Every backend keeps the contract of storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from kist.storage import FileBackend, MemoryBackend, MemoryFile, StorageBackend
from kist.testing.faults import FaultyBackend
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
