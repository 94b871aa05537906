"""Servers, files and folders that mean harm, or are merely odd: an error of ours, in bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.errors import NotAStoreError, StaleHandleError, StorageError, StoreNotFoundError
from kist.storage import attempts, remote
from kist.storage.blockcache import BLOCK_BYTES, BlockCache
from kist.storage.fsspecfile import FsspecTransport
from kist.storage.remote import RemoteBackend
from kist.storage.transport import Transport, Version
from kist.testing.range_server import Fault, RangeServer

pytest.importorskip("obstore")

N = 200_000


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("hostile") / "lab.kist"
    with kist.open(path, "w") as store:
        store["noise"] = np.random.default_rng(1).bytes(N)  # before the tree, so never near
        noise = np.random.default_rng(2).normal(size=N)
        store["more"] = noise
    return path.read_bytes()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("kist.engine.view._TREE", 64 << 10)


@pytest.fixture
def server(stored: bytes) -> Iterator[RangeServer]:
    with RangeServer({"/lab.kist": stored}) as server:
        yield server


# Servers


def test_a_range_that_cannot_be_had_any_more_means_that_the_file_has_changed(
    stored: bytes,
) -> None:
    with (
        RangeServer({"/lab.kist": stored}, etags="none") as server,
        kist.open(server.url("/lab.kist")) as store,
    ):
        server.files["/lab.kist"] = stored[:300_000]
        with pytest.raises(StaleHandleError, match="open it again"):
            store["more"][:]
        server.files["/lab.kist"] = b""
        with pytest.raises(StaleHandleError, match="open it again"):
            store.refresh()


def test_an_answer_without_end_is_not_waited_for(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist"), timeout=20) as store:
        server.faults.append(Fault("endless", times=100))
        with pytest.raises(StorageError, match="more came than"):
            store["more"][:]
        n_attempts = len(server.requests) - 2
    # What lies in buffers of the system, and no more.
    assert server.bytes_endless < n_attempts * (32 << 20)


def test_a_condition_that_fails_though_there_is_none_is_a_refusal(stored: bytes) -> None:
    with RangeServer({"/lab.kist": stored}, etags="weak") as server:
        server.faults.append(Fault("status", status=412))
        with pytest.raises(StorageError, match="refused the request"):
            kist.open(server.url("/lab.kist"))
        with kist.open(server.url("/lab.kist")) as store:
            server.faults.append(Fault("status", status=412))
            with pytest.raises(StorageError, match="refused the request"):
                store["more"][:]
            assert store["more"].shape == (N,)


@pytest.mark.parametrize("first", [True, False])
def test_a_server_that_packs_ranges_is_named(server: RangeServer, first: bool) -> None:
    if first:
        server.faults.append(Fault("gzip", times=1000))
        with pytest.raises(StorageError, match=r"packs its answers \(gzip\)"):
            kist.open(server.url("/lab.kist"))
        assert len(server.requests) == 1
        return
    with kist.open(server.url("/lab.kist")) as store:
        server.faults.append(Fault("gzip", times=1000))
        with pytest.raises(StorageError, match=r"packs its answers \(gzip\)"):
            store["more"][:]


def test_a_refused_first_range_is_an_empty_file(server: RangeServer) -> None:
    server.files["/empty"] = b""
    with pytest.raises(NotAStoreError, match="empty"):
        kist.open(server.url("/empty"))


@pytest.mark.parametrize("url", ["http:" + "//[::1/a.kist", "http://" + "a" * 100_000])
def test_addresses_that_libraries_choke_on_are_errors_of_ours(url: str) -> None:
    with pytest.raises(StorageError):
        kist.open(url, timeout=0.1)


def test_schemes_are_of_any_case_and_a_timeout_may_be_endless(server: RangeServer) -> None:
    url = server.url("/lab.kist").replace("http:", "HTTP:")
    for timeout in (float("inf"), 1e300):
        with kist.open(url, timeout=timeout) as store:
            assert store["more"].shape == (N,)


# Files


class Vast(Transport):
    """A file of any length, whose server counts what it was asked for."""

    name = "https://example/vast.kist"

    def __init__(self, size: int) -> None:
        self.version = Version(size, "e")
        self.asked = 0

    def get(self, start: int, stop: int, version: Version | None) -> tuple[bytes, Version]:
        assert stop - start <= remote.MOST_BYTES
        self.asked += stop - start
        return bytes(stop - start), self.version


def test_what_is_brought_near_is_bounded_whatever_a_file_says() -> None:
    transport = Vast(1 << 60)
    backend = RemoteBackend(transport)
    backend.prefetch([(1 << 20, 2 << 20), (1 << 58, (1 << 58) + (1 << 54))])
    assert transport.asked < 2 << 20
    assert backend.is_near(1 << 20, 2 << 20)
    backend.prefetch([(a << 24, (a << 24) + (4 << 20)) for a in range(1, 1000)])
    assert transport.asked < remote.KEPT_BYTES + (2 << 20)


def test_a_range_beyond_all_memory_is_not_asked_for() -> None:
    transport = Vast(1 << 60)
    backend = RemoteBackend(transport)
    transport.asked = 0
    with pytest.raises(MemoryError):
        backend.read(1 << 20, 1 << 58)
    assert transport.asked == 0
    assert backend.read(5, 40 << 20) == bytes(40 << 20)


# fsspec


class ServerDisconnectedError(Exception):
    """As that of aiohttp is called, which is no OSError."""


ServerDisconnectedError.__module__ = "aiohttp.client_exceptions"


class AnswerError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"answer {status}")
        self.status = status


class System:
    """A file system of fsspec which, like that of the web, says of all failures: not there."""

    protocol = "lab"

    def __init__(self, data: bytes, **options: Any) -> None:
        self.data = data
        self.storage_options = options
        self.causes: list[Exception | None] = []
        self.errors: list[Exception] = []
        self.tag = "e"

    def invalidate_cache(self) -> None:
        pass

    def info(self, path: str) -> dict[str, Any]:
        if self.causes:
            raise FileNotFoundError(path) from self.causes.pop()
        return {"size": len(self.data), "ETag": self.tag}

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        if self.errors:
            raise self.errors.pop()
        return self.data[start:end]


class File:
    def __init__(self, data: bytes, path: str = "lab.kist", **options: Any) -> None:
        self.path = path
        self.fs = System(data, **options)


@pytest.mark.parametrize(
    "cause", [ServerDisconnectedError("cut"), ConnectionResetError("cut"), AnswerError(503)]
)
def test_a_server_of_fsspec_that_fails_is_not_a_file_that_is_missing(
    stored: bytes, cause: Exception
) -> None:
    file: Any = File(stored)
    file.fs.causes = [cause] * 2
    with kist.open(file) as store:
        assert store["more"].shape == (N,)
    file.fs.causes = [cause] * 100
    with pytest.raises(StorageError, match="attempts"):
        kist.open(file)


@pytest.mark.parametrize("cause", [None, FileNotFoundError("x"), AnswerError(404), KeyError("x")])
def test_a_file_that_fsspec_does_not_find_is_missing(
    stored: bytes, cause: Exception | None
) -> None:
    file: Any = File(stored)
    file.fs.causes = [cause]
    with pytest.raises(StoreNotFoundError):
        kist.open(file)


def test_a_file_of_fsspec_that_was_cut_off_has_changed(stored: bytes) -> None:
    file: Any = File(stored)
    with kist.open(file) as store:
        file.fs.errors = [AnswerError(416)]
        with pytest.raises(StaleHandleError, match="shorter"):
            store["more"][:]
    with kist.open(file) as store:
        file.fs.data = b"<html>maintenance</html>" + bytes(400_000)
        with pytest.raises(StaleHandleError, match="size"):
            store["more"][:]


def test_short_answers_of_fsspec_are_not_put_together_from_two_contents(stored: bytes) -> None:
    file: Any = File(stored)
    asked = []

    def cat_file(path: str, start: int, end: int) -> bytes:
        asked.append(start)
        file.fs.tag = "other"
        return stored[start : start + 10]

    with kist.open(file) as store:
        file.fs.cat_file = cat_file
        with pytest.raises(StaleHandleError, match="etag"):
            store["more"][:]
    assert len(asked) == 1


def test_files_of_one_name_on_two_machines_have_blocks_of_their_own(stored: bytes) -> None:
    def key(*args: Any, **options: Any) -> str:
        file: Any = File(stored, *args, **options)
        return FsspecTransport(file).key

    assert key(host="a") == key(host="a")
    assert len({key(host="a"), key(host="b"), key("lab.kist?id=1"), key("lab.kist?id=2")}) == 4


# Folders


def test_a_folder_with_other_things_in_it_keeps_them(tmp_path: Path) -> None:
    theirs = ["film.mkv.part", "a/b.part", "0000.block", "c/00000001.block"]
    for name in theirs:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (1, 1))  # the oldest there are
    (tmp_path / "empty").mkdir()
    cache = BlockCache(tmp_path, "x", Version(100 * BLOCK_BYTES, "e"), 10 * BLOCK_BYTES)
    for n in range(60):
        cache.put(n, bytes([n]) * BLOCK_BYTES)
    assert all((tmp_path / name).exists() for name in theirs)
    assert (tmp_path / "empty").is_dir()
    ours = sum(path.stat().st_size for path in Path(cache.folder).iterdir())
    assert ours <= 11 * BLOCK_BYTES


def test_a_folder_that_another_process_took_away_is_made_again(tmp_path: Path) -> None:
    version = Version(100 * BLOCK_BYTES, "e")
    cache = BlockCache(tmp_path, "x", version, 10 * BLOCK_BYTES)
    other = BlockCache(tmp_path, "y", version, 10 * BLOCK_BYTES)
    for n in range(30):  # makes room, and takes empty folders away
        other.put(n, bytes(BLOCK_BYTES))
    assert not Path(cache.folder).exists()
    cache.put(3, b"x" * BLOCK_BYTES)
    assert cache.get(3) == b"x" * BLOCK_BYTES


def test_many_who_share_a_folder_keep_no_more_than_one(tmp_path: Path) -> None:
    limit = 64 * BLOCK_BYTES
    version = Version(1000 * BLOCK_BYTES, "e")
    shared = [BlockCache(tmp_path, str(n), version, limit) for n in range(8)]
    for n in range(40):
        for cache in shared:
            cache.put(n, bytes(BLOCK_BYTES))
        total = sum(path.stat().st_size for path in tmp_path.rglob("*.block"))
        assert total <= 1.5 * limit
