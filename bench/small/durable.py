"""Durable small commits beside their physical limit and SQLite; what checksums and check cost.

The limit of a commit is an overwriting ``pwrite`` and ``fdatasync`` of the bytes that it writes.
The floor of one that Python makes are the system calls of kist's, locks and looks included, with
nothing in between. All of them take turns, so that they meet the same disk: of some calls in a row,
as a program makes them, and call by call, where each finds the caches as the others left them.

SQLite's log grows in its first thousand pages, and each sync has to write the new length of the
file, too; from then on it is written over, as kist's is from the beginning, and a commit takes half
as long. So its log is filled before the clock runs.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import statistics
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import iocount
from bench.engines.base import load
from bench.measure import drop_from_page_cache
from bench.workloads import Records, iter_blocks, table

N_CALLS = 400
IN_A_ROW = 25
VALUE_BYTES = 400
N_FIELDS = (3, 10, 50)
READ_ROUNDS = 7

_FLOCK = struct.Struct("hhqqi4x")
_LOCK = 1 << 62  # far behind all bytes of the file


class _Limit:
    """A file of its own, written over at the same place."""

    def __init__(self, path: Path, n_bytes: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self._data = os.urandom(n_bytes)
        os.pwrite(self._fd, self._data, 0)
        os.fsync(self._fd)

    def call(self, _: int) -> None:
        os.pwrite(self._fd, self._data, 0)
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class _Floor:
    """What a commit asks of the system, and nothing else: locks, looks, the next block, a sync."""

    N_BLOCKS = 30

    def __init__(self, path: Path, n_bytes: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self._link = f"/proc/{os.getpid()}/fd/{self._fd}"
        self._data = os.urandom(n_bytes)
        os.pwrite(self._fd, self._data * self.N_BLOCKS, 0)
        os.fsync(self._fd)

    def call(self, i: int) -> None:
        fd, place = self._fd, i % self.N_BLOCKS * len(self._data)
        fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, _LOCK + 1, 1, 0))
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, _LOCK, 1, 0))
        os.readlink(self._link)
        os.pread(fd, 4_300, place)
        os.pread(fd, 4_300, 0)
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        os.pwrite(fd, self._data, place)
        os.fdatasync(fd)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, 0, _LOCK, 1, 0))
        signal.signal(signal.SIGINT, handler)

    def close(self) -> None:
        os.close(self._fd)


class _Sqlite:
    """A table of blobs by key; write-ahead log, ``synchronous=FULL``."""

    LOG_PAGES = 1_000  # SQLite begins its log anew when it is so long

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB)")
        self._db.execute("PRAGMA synchronous=OFF")
        log = path.with_name(path.name + "-wal")
        page = int(self._db.execute("PRAGMA page_size").fetchone()[0])
        self._n_before = 0
        while log.stat().st_size < self.LOG_PAGES * page:
            self.put(f"before {self._n_before}", bytes(VALUE_BYTES))
            self._n_before += 1
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA wal_checkpoint(RESTART)")  # syncs the log, and begins it anew

    def put(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, value))

    def count(self) -> int:
        n = int(self._db.execute("SELECT count(*) FROM t").fetchone()[0])
        return n - self._n_before

    def close(self) -> None:
        self._db.close()


Calls = dict[str, Callable[[int], object]]


def _times(calls: Calls, first: int, in_a_row: int) -> dict[str, list[float]]:
    """Median of each turn in us; turns of so many calls, `N_CALLS` of each from a number on."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for start in range(first, first + N_CALLS, in_a_row):
        for name, call in calls.items():
            times = []
            for i in range(start, start + in_a_row):
                begin = time.perf_counter()
                call(i)
                times.append(time.perf_counter() - begin)
            found[name].append(statistics.median(times) * 1e6)
    return found


def _figures(calls: Calls, first: int, in_a_row: int) -> dict[str, float]:
    """Medians over turns, of times and of ratios within a turn."""
    times = _times(calls, first, in_a_row)
    paired = list(zip(times["kist"], times["limit"], times["sqlite"], strict=True))
    end = "" if in_a_row > 1 else "_alternating"
    return {
        **{f"{name}_us{end}": statistics.median(us) for name, us in times.items()},
        f"over_floor{end}": statistics.median(
            k / floor for k, floor in zip(times["kist"], times["floor"], strict=True)
        ),
        f"over_limit{end}": statistics.median(k / (limit + 150) for k, limit, _ in paired),
        f"over_sqlite{end}": statistics.median(k / other for k, _, other in paired),
        # How fast the machine is at this moment: SQLite is C from end to end.
        f"sqlite_over_limit{end}": statistics.median(o / (limit + 150) for _, limit, o in paired),
    }


def _of_fields(rows: Records, n_fields: int) -> Records:
    """Return the first fields of rows, side by side."""
    names = (rows.dtype.names or ())[:n_fields]
    out = np.empty(len(rows), [(name, rows.dtype[name]) for name in names])
    for name in names:
        out[name] = rows[name]
    return out


def durable(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """One key put, and ten rows of 3, 10 and 50 fields appended: durable when the call returns."""
    kist: Any = load("kist")
    n = 2 * N_CALLS
    values = [os.urandom(VALUE_BYTES) for _ in range(n)]
    all_rows = next(iter_blocks(10 * n, seed=1))
    tables = {f"append{width}": _of_fields(all_rows, width) for width in N_FIELDS}
    found: dict[str, Any] = {}
    with kist.open(folder / "durable.kist", "w") as store:
        runs = store.create_keystore("runs")
        for kind in ("put", *tables):
            call: Callable[[int], object]
            if kind == "put":
                call = lambda i: runs.__setitem__(f"k{i}", values[i])  # noqa: E731
                data = values
            else:
                rows = tables[kind]
                grown = store.create_table(kind, rows[:0])
                call = lambda i, grown=grown, rows=rows: grown.append(rows[10 * i : 10 * i + 10])  # type: ignore[misc] # noqa: E731
                data = [rows[10 * i : 10 * i + 10].tobytes() for i in range(n)]
            before = iocount.kernel_written()  # no call is wrapped: that would be timed, too
            call(0)
            written = iocount.kernel_written() - before
            limit = _Limit(folder / f"{kind}.limit", written)
            floor = _Floor(folder / f"{kind}.floor", written)
            other = _Sqlite(folder / f"{kind}.sqlite")
            calls = {
                "kist": call,
                "limit": limit.call,
                "floor": floor.call,
                "sqlite": lambda i, other=other, data=data: other.put(f"k{i}", data[i]),  # type: ignore[misc]
            }
            figures = _figures(calls, 0, IN_A_ROW) | _figures(calls, N_CALLS, 1)
            if other.count() != n:
                raise AssertionError(f"SQLite holds {other.count()} values")
            found |= {f"{kind}.{name}": value for name, value in figures.items()}
            found[f"{kind}.bytes"] = written
            limit.close()
            floor.close()
            other.close()
    with kist.open(folder / "durable.kist") as store:
        if [bytes(store["runs"][f"k{i}"]) for i in range(n)] != values:
            raise AssertionError("a value is not what was put")
        for kind, rows in tables.items():
            again = np.concatenate([rows[:10], rows])
            if store[kind][:].tobytes() != again.tobytes():
                raise AssertionError("rows are not what was appended")
    return found


def verify(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """Share of checksums in a full read, and the speed of check beside that of the disk."""
    kist: Any = load("kist")
    path = folder / "verify.kist"
    rows = table(max(n_rows, 50_000))  # fewer stay decoded from when they were written
    with kist.open(path, "w") as store:
        store.create_table("t", rows)
    with kist.open(path) as store:
        if store["t"][:].tobytes() != rows.tobytes():
            raise AssertionError("rows are not what was written")
        shares, times = [], []
        for _ in range(READ_ROUNDS):
            with _Checksums() as checksums:
                wall, processor = time.perf_counter(), time.process_time()
                store["t"][:]
                shares.append(checksums.seconds / (time.process_time() - processor))
                times.append(time.perf_counter() - wall)
        store.check()  # so that its modules are loaded: what is timed is how it reads
    del rows
    drop_from_page_cache(folder)
    start = time.perf_counter()
    size = 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(8 << 20):
            size += len(data)
    disk = time.perf_counter() - start
    drop_from_page_cache(folder)
    start = time.perf_counter()
    with kist.open(path) as store:
        if not store.check().ok:
            raise AssertionError("check finds damage")
    check = time.perf_counter() - start
    return {
        "read_s": min(times),
        "share": statistics.median(shares),
        "disk_bytes_per_s": size / disk,
        "check_bytes_per_s": size / check,
        "check_over_disk": check / disk,
    }


class _Checksums:
    """Processor time within the functions that verify, on all threads, while it is active.

    Reading once with and once without them would not do: two reads of a shared machine differ by
    more than checksums cost.
    """

    def __init__(self) -> None:
        self._calls: list[float] = []  # appended to by several threads

    def __enter__(self) -> _Checksums:
        from kist.engine import batches, pages, view

        self._kept = [
            (pages, "verify_sectors", pages.verify_sectors),
            (batches, "verify_sectors", batches.verify_sectors),
            (view.Reader, "verify", view.Reader.verify),
        ]
        for owner, name, call in self._kept:
            setattr(owner, name, self._timed(call))
        return self

    def _timed(self, call: Callable[..., None]) -> Callable[..., None]:
        def timed(*args: Any) -> None:
            start = time.thread_time()
            call(*args)
            self._calls.append(time.thread_time() - start)

        return timed

    @property
    def seconds(self) -> float:
        if not self._calls:
            raise AssertionError("nothing was verified")
        return sum(self._calls)

    def __exit__(self, *_: object) -> None:
        for owner, name, call in self._kept:
            setattr(owner, name, call)
