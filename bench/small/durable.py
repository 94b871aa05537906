"""Durable small commits beside their physical limit and SQLite; what checksums and check cost.

The limit of a commit is an overwriting ``pwrite`` and ``fdatasync`` of the bytes that it writes.
All three take turns, call by call, so that they meet the same disk.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
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
VALUE_BYTES = 400
N_FIELDS = (3, 10, 50)
READ_ROUNDS = 7


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


class _Sqlite:
    """A table of blobs by key; write-ahead log, ``synchronous=FULL``."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB)")

    def put(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (key, value))

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM t").fetchone()[0])

    def close(self) -> None:
        self._db.close()


def _times(calls: dict[str, Callable[[int], object]]) -> dict[str, float]:
    """Median of each in us, call by call in turn."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(N_CALLS):
        for name, call in calls.items():
            start = time.perf_counter()
            call(i)
            found[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) * 1e6 for name, times in found.items()}


def _figures(calls: dict[str, Callable[[int], object]]) -> dict[str, float]:
    us = _times(calls)
    return {
        **{f"{name}_us": value for name, value in us.items()},
        "over_limit": us["kist"] / (us["limit"] + 150),
        "over_sqlite": us["kist"] / us["sqlite"],
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
    values = [os.urandom(VALUE_BYTES) for _ in range(N_CALLS)]
    all_rows = next(iter_blocks(10 * N_CALLS, seed=1))
    tables = {f"append{n}": _of_fields(all_rows, n) for n in N_FIELDS}
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
                data = [rows[10 * i : 10 * i + 10].tobytes() for i in range(N_CALLS)]
            before = iocount.now()
            call(0)
            written = (iocount.now() - before).write_bytes
            limit = _Limit(folder / f"{kind}.limit", written)
            other = _Sqlite(folder / f"{kind}.sqlite")
            figures = _figures(
                {
                    "kist": call,
                    "limit": limit.call,
                    "sqlite": lambda i, other=other, data=data: other.put(f"k{i}", data[i]),  # type: ignore[misc]
                }
            )
            if other.count() != N_CALLS:
                raise AssertionError(f"SQLite holds {other.count()} values")
            found |= {f"{kind}.{name}": value for name, value in figures.items()}
            found[f"{kind}.bytes"] = written
            limit.close()
            other.close()
    with kist.open(folder / "durable.kist") as store:
        if [bytes(store["runs"][f"k{i}"]) for i in range(N_CALLS)] != values:
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
    rows = table(n_rows)
    with kist.open(path, "w") as store:
        store.create_table("t", rows)
    with kist.open(path) as store:
        if store["t"][:].tobytes() != rows.tobytes():
            raise AssertionError("rows are not what was written")
        times: dict[bool, list[float]] = {True: [], False: []}
        for i in range(READ_ROUNDS):
            for checked in (i % 2 == 0, i % 2 == 1):  # what is first of two is slower
                with _Unverified(not checked):
                    start = time.perf_counter()
                    store["t"][:]
                    times[checked].append(time.perf_counter() - start)
    del rows
    with_, without = min(times[True]), min(times[False])
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
        "read_s": with_,
        "read_unverified_s": without,
        "share": 1 - without / with_,
        "disk_bytes_per_s": size / disk,
        "check_bytes_per_s": size / check,
        "check_over_disk": check / disk,
    }


class _Unverified:
    """Full reads without their checksums, for comparison; kist itself has no such switch."""

    def __init__(self, active: bool) -> None:
        self._active = active

    def __enter__(self) -> None:
        from kist.engine import pages

        self._pages, self._kept = pages, pages.verify_sectors
        if self._active:
            pages.verify_sectors = lambda *args: None

    def __exit__(self, *_: object) -> None:
        self._pages.verify_sectors = self._kept
