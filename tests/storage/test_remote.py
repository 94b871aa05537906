"""Reading over a network: few requests, one version, and every fault has its error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kist
from kist.engine import view
from kist.errors import (
    CorruptDataError,
    NotAStoreError,
    ReadOnlyError,
    StaleHandleError,
    StorageError,
    StoreNotFoundError,
)
from kist.storage import attempts, blockcache, remote
from kist.storage.blockcache import BLOCK_BYTES, BlockCache
from kist.storage.pieces import Pieces
from kist.storage.remote import FIRST_BYTES, RemoteBackend, merged
from kist.storage.transport import Transient, Version
from kist.testing.range_server import Fault, RangeServer

pytest.importorskip("obstore")

N = 60_000


def rows() -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    found = np.zeros(N, [(f"f{i}", "f8") for i in range(12)])
    for name in found.dtype.names or ():
        found[name] = rng.normal(size=N)
    return found


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("remote")
    with kist.open(folder / "all.kist", "w") as store:
        values = rows()
        table = store.create_table("trades", values[:0])
        for at in range(0, N, 10_000):  # pages apart from each other
            table.append(values[at : at + 10_000])
        store["images"] = np.arange(40 * 64 * 64, dtype="i4").reshape(40, 64, 64)
        runs = store.require_keystore("runs")
        with store.transaction():
            for i in range(30):
                runs[f"{i:02}"] = np.random.default_rng(i).normal(size=4000)
        store.backup(folder / "lab.kist", compact=True)
    return (folder / "lab.kist").read_bytes()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.0)


@pytest.fixture(autouse=True)
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    # What comes with the tree when a store is opened would be half of the file.
    monkeypatch.setattr(view, "_TREE", 256 << 10)


@pytest.fixture
def server(stored: bytes) -> Iterator[RangeServer]:
    with RangeServer({"/lab.kist": stored}) as server:
        yield server


def backend_of(store: kist.Store) -> RemoteBackend:
    found = store._session.engine.backend
    assert isinstance(found, RemoteBackend)
    return found


def spent(store: kist.Store) -> tuple[int, int, int]:
    """Round trips, requests and bytes since the last call."""
    backend = backend_of(store)
    found = backend.rounds, backend.requests, backend.request_bytes
    backend.rounds = backend.requests = backend.request_bytes = 0
    return found


# Requests


def test_opening_takes_two_requests(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        assert len(server.requests) == 2
        assert server.requests[0][1:] == (0, FIRST_BYTES)
        assert store.mode == "r"
        assert len(store["trades"]) == N
        assert list(store) == ["images", "runs", "trades"]
        assert len(server.requests) == 2


def test_opening_a_file_that_was_never_laid_out_anew_takes_three_round_trips(
    tmp_path: Path,
) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["trades"] = rows()
        store["trades"].append(rows()[:10])
        # As it stands, its writer still at work: the extents of the last commits are verified.
        data = (tmp_path / "a.kist").read_bytes()
    with RangeServer({"/a.kist": data}) as server, kist.open(server.url("/a.kist")) as store:
        assert spent(store)[0] <= 3
        assert len(store["trades"]) == N + 10


def test_a_slice_of_some_columns_takes_two_round_trips_and_little_more_than_its_bytes(
    server: RangeServer, stored: bytes
) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        trades = store["trades"]
        spent(store)
        found = trades[["f1", "f5", "f8"]][20_000:28_000]
        rounds, _, n_bytes = spent(store)
        assert rounds <= 4
        assert rounds <= 2
        needed = 3 * 8_000 * 8  # random floats do not shrink
        assert n_bytes < 1.6 * needed  # blocks at both ends are small beside a real slice
    assert (found == rows()[["f1", "f5", "f8"]][20_000:28_000]).all()


def test_neighbouring_pages_come_in_one_request(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        trades = store["trades"]
        spent(store)
        assert (trades["f3"][:] == rows()["f3"]).all()
        rounds, requests, n_bytes = spent(store)
        assert (rounds, requests) == (1, 1)
        assert n_bytes < 1.1 * N * 8


def test_pages_of_sealed_columns_come_together_as_well(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    key, values = bytes(range(32)), rows()[["f0", "f1"]].copy()
    with kist.open(tmp_path / "a.kist", "w") as store:
        table = store.create_table("t", values[:0], encrypt={("f0", "f1"): key})
        for at in range(0, N, 10_000):
            table.append(values[at : at + 10_000])
        store.backup(tmp_path / "b.kist", compact=True)
    data = (tmp_path / "b.kist").read_bytes()
    with (
        RangeServer({"/b.kist": data}) as server,
        kist.open(server.url("/b.kist"), secrets=key) as store,
    ):
        table = store["t"]
        spent(store)
        assert (table["f1"][:] == values["f1"]).all()
        rounds, requests, n_bytes = spent(store)
        assert (rounds, requests) == (1, 1)
        assert n_bytes < 1.2 * N * 8
        assert (table["f0"][20_000:28_000] == values["f0"][20_000:28_000]).all()
        assert spent(store)[0] <= 2


def test_every_kind_of_dataset_reads_as_from_the_disk(
    server: RangeServer, stored: bytes, tmp_path: Path
) -> None:
    (tmp_path / "lab.kist").write_bytes(stored)
    questions: list[Callable[[Any], Any]] = [
        lambda s: s["trades"][["f0", "f11"]][:],
        lambda s: s["trades"].where("(f2 > 1.5) & (f3 < 0)")[:],
        lambda s: s["trades"][[59_999, 0, 31_111]],
        lambda s: s["trades"][17],
        lambda s: s["trades"]["f4"][::997],
        lambda s: s["trades"]["f4"].mean(),
        lambda s: s["images"][3:5, ::2, 5],
        lambda s: s["images"][[3, 39, 0], [1, 2, 3]],
        lambda s: s["images"][...],
        lambda s: np.array(s["runs"].get_many(["03", "17", "29"])),
        lambda s: s["runs"].open("11")[5:9],
        lambda s: s.check().ok,
    ]
    with kist.open(server.url("/lab.kist")) as far, kist.open(tmp_path / "lab.kist") as near:
        for question in questions:
            np.testing.assert_array_equal(question(far), question(near))


def test_many_keys_come_in_one_round_trip(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        runs = store["runs"]
        spent(store)
        assert len(runs.get_many([f"{i:02}" for i in range(30)])) == 30
        assert spent(store)[0] <= 2


def test_a_condition_brings_many_groups_at_once(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        spent(store)
        assert store["trades"].where("f7 > 1").count() == (rows()["f7"] > 1).sum()
        assert spent(store)[0] <= 2


def test_what_was_read_is_not_asked_for_again(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        store["images"][:]
        spent(store)
        store["images"][:]
        assert spent(store) == (0, 0, 0)


# One version


@pytest.mark.parametrize("etags", ["strong", "weak", "none"])
def test_a_file_that_changes_under_the_reader_is_noticed(stored: bytes, etags: Any) -> None:
    with RangeServer({"/lab.kist": stored}, etags=etags) as server:
        with kist.open(server.url("/lab.kist")) as store:
            # Without an ETag the length is all that tells.
            server.files["/lab.kist"] = stored + bytes(64)
            with pytest.raises(StaleHandleError, match="open it again"):
                store["images"][:]
            with pytest.raises(StaleHandleError, match="open it again"):
                store.refresh()
        with kist.open(server.url("/lab.kist")) as store:
            assert store["images"][1, 0, 0] == 4096
            store.refresh()


def test_a_file_that_goes_is_noticed(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        del server.files["/lab.kist"]
        with pytest.raises(StaleHandleError, match="not there any more"):
            store["images"][:]


def test_fsspec_notices_a_change_after_each_round_trip(stored: bytes, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    path = tmp_path / "lab.kist"
    path.write_bytes(stored)
    with kist.open(fsspec.open(str(path))) as store:
        assert store["trades"]["f1"][5] == rows()["f1"][5]
        os.utime(path, (1, 1))
        with pytest.raises(StaleHandleError, match="open it again"):
            store["images"][:]


def test_open_files_of_fsspec_are_read_by_ranges(stored: bytes) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    system.pipe_file("/lab.kist", stored)
    try:
        with system.open("/lab.kist") as file, kist.open(file) as store:
            assert store.path == "memory:///lab.kist"
            assert store["images"][39, 63, 63] == 40 * 64 * 64 - 1
    finally:
        system.rm_file("/lab.kist")
    with pytest.raises(StoreNotFoundError, match=r"memory:///lab\.kist"):
        kist.open(fsspec.open("memory:///lab.kist"))


class Flaky:
    """A file system of fsspec that raises what it is told to, once for each."""

    protocol = "lab"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.of_facts: list[Exception] = []
        self.of_ranges: list[Exception] = []
        self.asked = 0

    def invalidate_cache(self) -> None:
        pass

    def info(self, path: str) -> dict[str, Any]:
        self._raise(self.of_facts)
        return {"size": len(self.data), "ETag": "e"}

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        self._raise(self.of_ranges)
        return self.data[start:end]

    def _raise(self, errors: list[Exception]) -> None:
        self.asked += 1
        if errors:
            raise errors.pop()


class FlakyFile:
    path = "lab.kist"

    def __init__(self, data: bytes) -> None:
        self.fs = Flaky(data)


class AnswerError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"answer {status}")
        self.status = status


class NoCredentialsError(Exception):
    """As that of botocore is called."""


def test_what_fails_within_fsspec_is_tried_again_also_when_facts_are_asked_for(
    stored: bytes,
) -> None:
    file = FlakyFile(stored)
    file.fs.of_facts = [OSError("cut"), AnswerError(503)]
    file.fs.of_ranges = [OSError("cut")]
    with kist.open(file) as store:  # type: ignore[arg-type]
        file.fs.of_facts = [OSError("cut"), AnswerError(503)]
        file.fs.of_ranges = [AnswerError(500)]
        assert store["trades"]["f4"][:].sum() == rows()["f4"].sum()
        file.fs.of_facts = [OSError("cut")]
        store.refresh()
        assert not file.fs.of_facts and not file.fs.of_ranges


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AnswerError(403), "access was refused.*given to fsspec"),
        (NoCredentialsError("none"), "access was refused.*NoCredentialsError"),
        (PermissionError("no"), "access was refused"),
        (AnswerError(400), "refused the request"),
    ],
)
def test_what_fsspec_is_refused_is_not_tried_again(
    stored: bytes, error: Exception, message: str
) -> None:
    file = FlakyFile(stored)
    file.fs.of_facts = [error]
    with pytest.raises(StorageError, match=message):
        kist.open(file)  # type: ignore[arg-type]
    assert file.fs.asked == 1


# Faults


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_passes_is_tried_again(server: RangeServer, status: int) -> None:
    server.faults.append(Fault("status", status=status, times=attempts.ATTEMPTS - 1))
    with kist.open(server.url("/lab.kist")) as store:
        server.faults.append(Fault("cut", times=2))
        server.faults.append(Fault("short"))
        assert (store["images"][:].ravel() == np.arange(40 * 64 * 64)).all()


@pytest.mark.parametrize("kind", ["status", "short"])
def test_what_does_not_pass_ends_with_its_reason(server: RangeServer, kind: Any) -> None:
    server.faults.append(Fault(kind, times=1000))
    with pytest.raises(StorageError, match=r"6 attempts, timeout 30 s.*try again later"):
        kist.open(server.url("/lab.kist"))
    assert len(server.requests) == attempts.ATTEMPTS


def test_a_server_that_does_not_answer_is_given_up(server: RangeServer) -> None:
    server.faults.append(Fault("stall", times=1000))
    with pytest.raises(StorageError, match="longer timeout="):
        kist.open(server.url("/lab.kist"), timeout=0.2)


def test_what_came_before_a_connection_broke_is_not_asked_for_again(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        server.forget()
        # More often than a request is made in vain.
        server.faults.append(Fault("cut", times=attempts.ATTEMPTS + 2))
        assert (store["trades"]["f3"][:] == rows()["f3"]).all()
        asked = [(request.start, request.stop) for request in server.requests]
        assert len(asked) == attempts.ATTEMPTS + 3
        assert asked == sorted(asked) and len({stop for _, stop in asked}) == 1
        assert asked[-1][1] - asked[-1][0] < (asked[0][1] - asked[0][0]) / 16


def test_a_server_that_falls_silent_within_an_answer_is_asked_for_the_rest(
    server: RangeServer,
) -> None:
    with kist.open(server.url("/lab.kist"), timeout=3) as store:
        server.forget()
        server.faults.append(Fault("hang"))
        assert (store["trades"]["f3"][:] == rows()["f3"]).all()
        first, rest = server.requests[-2:]
        assert first.start < rest.start and first.stop == rest.stop


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(attempts, "time", clock)
    monkeypatch.setattr(attempts, "FIRST_PAUSE_S", 0.1)
    return clock


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_patience_gets_all_of_the_time(
    server: RangeServer, clock: Clock, status: int
) -> None:
    busy = {"status": status, "headers": {"Retry-After": "8"}}
    server.faults.append(Fault("status", times=attempts.ATTEMPTS + 2, **busy))  # type: ignore[arg-type]
    with kist.open(server.url("/lab.kist")):
        assert 8 < clock.now < 30
    server.forget()
    server.faults.append(Fault("status", times=1000, **busy))  # type: ignore[arg-type]
    clock.now = 0.0
    with pytest.raises(StorageError, match=rf"{status}.*attempts, timeout 30 s"):
        kist.open(server.url("/lab.kist"))
    assert 20 < clock.now <= 30
    assert len(server.requests) < 20


def test_a_second_more_is_given_for_what_came_and_no_longer(clock: Clock) -> None:
    data = bytes(range(256)) * 4096
    step = 0

    def once(start: int, stop: int) -> bytes:
        clock.now += 1.5
        if start + step >= stop:
            return data[start:stop]
        raise Transient("slow", data=data[start : start + step])

    step = 2 * attempts.SLOWEST
    found = attempts.persist(once, (100, len(data)), name="x", timeout_s=1)
    assert found == data[100:] and clock.now > 30
    step = attempts.SLOWEST // 2
    with pytest.raises(StorageError, match="slow"):
        attempts.persist(once, (0, len(data)), name="x", timeout_s=3)


def test_one_failure_after_a_long_halt_is_not_the_end(clock: Clock) -> None:
    def once(start: int, stop: int) -> bytes:
        if clock.now:
            return b"x"
        clock.now += 3600
        raise Transient("the machine was asleep")

    assert attempts.persist(once, (0, 1), name="x", timeout_s=30) == b"x"


def test_redirects_are_followed_and_circles_named(stored: bytes) -> None:
    ways = {"/old": "/lab.kist", "/a": "/b", "/b": "/a"}
    with RangeServer({"/lab.kist": stored}, redirects=ways) as server:
        with kist.open(server.url("/old")) as store:
            assert store["images"][1, 0, 0] == 4096
        server.forget()
        with pytest.raises(StorageError, match="in a circle"):
            kist.open(server.url("/a"))
        assert len(server.requests) < 15, "tried again"


def test_a_server_that_is_not_there_is_an_error_of_ours() -> None:
    with RangeServer({}) as server:
        url = server.url("/lab.kist")
    with pytest.raises(StorageError, match="attempts"):
        kist.open(url)


@pytest.mark.parametrize("kind", ["flip", "shifted"])
def test_damage_on_the_way_is_seen_and_not_kept(
    server: RangeServer, kind: Any, tmp_path: Path
) -> None:
    with kist.open(server.url("/lab.kist"), cache=tmp_path / "blocks") as store:
        trades = store["trades"]
        trades["f9"][0]  # heads and tree are near
        server.faults.append(Fault(kind, times=1000))
        with pytest.raises(CorruptDataError, match="f2"):
            trades["f2"][:]
        server.faults.clear()
        assert (trades["f2"][:] == rows()["f2"]).all()


def test_a_server_without_ranges_is_refused(stored: bytes) -> None:
    with RangeServer({"/lab.kist": stored}, ranges=False) as server:
        with pytest.raises(StorageError, match="download the file"):
            kist.open(server.url("/lab.kist"))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (404, StoreNotFoundError, "no file"),
        (401, StorageError, "storage_options"),
        (403, StorageError, "skip_signature"),
        (400, StorageError, "refused the request"),
    ],
)
def test_what_is_refused_is_not_tried_again(
    server: RangeServer, status: int, error: type[Exception], message: str
) -> None:
    server.faults.append(Fault("status", status=status))
    with pytest.raises(error, match=message):
        kist.open(server.url("/lab.kist"))
    assert len(server.requests) == 1


def test_missing_credentials_say_what_to_do(server: RangeServer) -> None:
    # Without any, obstore asks the machine that it may run on; here, one that knows nothing.
    options = {"metadata_endpoint": server.url(""), "region": "us-east-1"}
    options |= {"client_options": {"allow_http": True}}
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.delenv(name, raising=False)
        with pytest.raises(StorageError, match=r"storage_options.*skip_signature"):
            kist.open("s3://example/trades.kist", storage_options=options)


@pytest.mark.parametrize("data", [b"", b"PK\3\4 something else" * 9, bytes(400_000)])
def test_what_is_no_store_is_called_so(server: RangeServer, data: bytes) -> None:
    server.files["/other"] = data
    with pytest.raises(NotAStoreError):
        kist.open(server.url("/other"))


def test_addresses_are_only_read(server: RangeServer) -> None:
    for mode in ("r+", "a", "w", "x"):
        with pytest.raises(ReadOnlyError, match="copy it there"):
            kist.open(server.url("/lab.kist"), mode)
    with (
        kist.open(server.url("/lab.kist")) as store,
        pytest.raises(ReadOnlyError),
        store.transaction(),
    ):
        pass
    assert store.closed


def test_options_of_the_network_are_refused_for_a_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="over a network"):
        kist.open(tmp_path / "a.kist", cache=tmp_path)
    with pytest.raises(ValueError, match="over a network"):
        kist.open(tmp_path / "a.kist", "w", storage_options={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["gopher://lab/a.kist", "s3://", "http://"])
def test_impossible_addresses_are_errors_of_ours(url: str) -> None:
    with pytest.raises(StorageError):
        kist.open(url, timeout=0.1)


def test_file_addresses_are_paths(stored: bytes, tmp_path: Path) -> None:
    (tmp_path / "a b.kist").write_bytes(stored)
    with kist.open((tmp_path / "a b.kist").as_uri(), "r+") as store:
        store.attrs["written"] = True


def test_secrets_in_an_address_are_not_shown(server: RangeServer) -> None:
    address = server.url("/lab.kist?signature=SECRET").removeprefix("http://")
    url = f"http://{'me:SECRET'}@{address}"
    with kist.open(url) as store:
        assert server.requests[0].path == "/lab.kist?signature=SECRET"
        server.files.clear()
        with pytest.raises(StaleHandleError) as caught:
            store["images"][:]
        shown = [str(caught.value), repr(store), store.path, repr(backend_of(store).version)]
    server.faults.append(Fault("status", times=1000))
    with pytest.raises(StorageError) as failed:
        kist.open(url)
    assert "SECRET" not in "".join([*shown, str(failed.value)])


def test_handles_travel_to_other_processes_with_their_options(server: RangeServer) -> None:
    import pickle

    with kist.open(server.url("/lab.kist?a=1"), timeout=7) as store:
        data = pickle.dumps(store["images"])
    again = pickle.loads(data)
    assert again[2, 0, 0] == 2 * 4096
    assert again.store._session.timeout == 7
    again.store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_says_that_connections_stay_behind(server: RangeServer) -> None:
    with kist.open(server.url("/lab.kist")) as store:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                store["images"][:]
                os.write(writing, b"read")
            except StorageError as error:
                os.write(writing, str(error).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            assert b"spawn" in pipe.read()
        os.waitpid(child, 0)


# The folder


def test_a_folder_answers_the_next_process(server: RangeServer, tmp_path: Path) -> None:
    for turn in range(2):
        server.forget()
        with kist.open(server.url("/lab.kist"), cache=tmp_path / "blocks") as store:
            assert (store["trades"]["f6"][:] == rows()["f6"]).all()
            # Opening asks once whether the file is still the same.
            assert (len(server.requests) == 1) is bool(turn)


def test_a_damaged_block_is_asked_for_again(server: RangeServer, tmp_path: Path) -> None:
    def read() -> None:
        server.forget()
        with kist.open(server.url("/lab.kist"), cache=tmp_path) as store:
            assert (store["trades"]["f6"][:] == rows()["f6"]).all()

    read()
    blocks = sorted(tmp_path.rglob("*.block"))
    whole = blocks[0].read_bytes()
    flipped = [whole[:n] + bytes([whole[n] ^ 4]) + whole[n + 1 :] for n in (3, 16, len(whole) - 1)]
    for damage in (b"", blocks[-1].read_bytes()[:-1], b"x" * (BLOCK_BYTES + 16), *flipped):
        blocks[0].write_bytes(damage)
        read()
        assert [r.n for r in server.requests[1:]] == [BLOCK_BYTES]
    blocks[0].write_bytes(blocks[1].read_bytes())  # whole, and of another place
    read()
    assert [r.n for r in server.requests[1:]] == [BLOCK_BYTES]


def test_a_new_version_has_blocks_of_its_own(
    server: RangeServer, stored: bytes, tmp_path: Path
) -> None:
    url = server.url("/lab.kist")
    with kist.open(url, cache=tmp_path) as store:
        store["images"][:]
    server.files["/lab.kist"] = stored + bytes(64)
    server.forget()
    with kist.open(url, cache=tmp_path) as store:
        assert store["images"][1, 0, 0] == 4096
    assert len(server.requests) > 1


def test_a_file_without_a_name_for_its_version_is_not_kept(stored: bytes, tmp_path: Path) -> None:
    with (
        RangeServer({"/lab.kist": stored}, etags="none") as server,
        pytest.raises(StorageError, match="without cache="),
    ):
        kist.open(server.url("/lab.kist"), cache=tmp_path)


def test_the_folder_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    limit = 20 * BLOCK_BYTES
    old = BlockCache(tmp_path, "old", Version(10 * BLOCK_BYTES, "a"), limit)
    for n in range(10):
        old.put(n, bytes([n]) * BLOCK_BYTES)
        os.utime(tmp_path / Path(old.folder).name / f"{n:08x}.block", (n, n))
    new = BlockCache(tmp_path, "new", Version(100 * BLOCK_BYTES, "b"), limit)
    for n in range(40):
        new.put(n, bytes([n]) * BLOCK_BYTES)
        total = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
        assert total <= limit + BLOCK_BYTES
    assert new.get(39) == bytes([39]) * BLOCK_BYTES
    assert old.get(0) is None
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_cannot_be_made_is_an_error(server: RangeServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cache"):
        kist.open(server.url("/lab.kist"), cache=tmp_path / "file")


# The parts


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), max_size=30),
    st.integers(0, 500),
    st.integers(0, 200),
    st.integers(1, 400),
)
def test_pieces_are_what_a_bytearray_would_hold(
    puts: list[tuple[int, int]], start: int, n: int, limit: int
) -> None:
    data = np.random.default_rng(0).bytes(1000)
    pieces = Pieces(limit)
    for at, length in puts:
        pieces.put(at, data[at : at + length])
        assert pieces._bytes == sum(map(len, pieces._data.values())) <= limit
    found = pieces.get(start, start + n)
    gaps = pieces.missing(start, start + n)
    assert (found is None) == bool(gaps)
    if found is not None:
        assert found == data[start : start + n]
    for a, b in gaps:
        pieces.put(a, data[a:b], for_good=True)
    if n <= limit:
        assert pieces.get(start, start + n) == data[start : start + n]


def test_neighbours_of_a_piece_are_not_part_of_it() -> None:
    pieces = Pieces(100)
    pieces.put(0, b"ab")
    pieces.put(2, b"cd")
    assert pieces._within(2, 4) == [2]
    assert merged([(0, 2), (2, 4), (5, 6)], gap=0) == [(0, 4), (5, 6)]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 50_000)), max_size=20))
def test_merged_ranges_hold_all_and_little_more(ranges: list[tuple[int, int]]) -> None:
    wanted = [(a, a + n) for a, n in ranges]
    runs = merged(wanted)
    assert all(any(a <= x and y <= b for a, b in runs) for x, y in wanted if y > x)
    assert all(b < c for (_, b), (c, _) in pairwise(runs))
    exact = sum(b - a for a, b in merged(wanted, gap=0))
    most = remote.SMALL_GAP * len(wanted) + exact // 2
    assert exact <= sum(b - a for a, b in runs) <= exact + most


def test_blocks_of_the_folder_are_all_of_the_file(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, "x", Version(2 * BLOCK_BYTES + 5, "e"), 1 << 30)
    assert list(cache.blocks_of(0, cache.size)) == [0, 1, 2]
    assert cache.range_of(2) == (2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 5)
    assert blockcache.BLOCK_BYTES % 4096 == 0
