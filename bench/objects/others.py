"""Data that favours others: nothing to encode, nothing to compress, or hardly anything at all.

Random doubles and compressed bytes only cost what looking at them costs; one column needs no
table; ten rows are mostly what the format itself takes.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np

from bench.engines.base import NotOffered, load, sync_file
from bench.objects.arrays import ArrayEngine, Blosc2, H5py, Memcpy, Npy, Zarr
from bench.objects.arrays import Kist as KistArray
from bench.objects.lines import clear, write_and_read
from bench.steps import Steps, equal
from bench.worker import Job
from bench.workloads import Records, table

TITLE = "Data that favours others"
N = 10_000_000


class Kist(KistArray):
    """Arrays as arrays; records as a table."""

    def write(self, values: Any) -> None:
        with load("kist").open(self.folder / "array.kist", "w") as store:
            store["a"] = values


class Parquet(ArrayEngine):
    """pyarrow's defaults with Zstd: one column, or one of each field."""

    name = "parquet-zstd"
    modules = ("pyarrow", "pyarrow.parquet")

    def write(self, values: Any) -> None:
        pa = load("pyarrow")
        if values.dtype.names is None:
            columns = {"a": pa.array(values)}
        else:
            columns = {n: pa.array(_plain(values[n])) for n in values.dtype.names}
        path = self.folder / "a.parquet"
        load("pyarrow.parquet").write_table(pa.table(columns), path, compression="zstd")
        sync_file(path)
        self._dtype = values.dtype

    def open(self) -> None:
        pass

    def read(self, key: Any) -> Any:
        found = load("pyarrow.parquet").read_table(self.folder / "a.parquet")
        if self._dtype.names is None:
            return found["a"].to_numpy()[key]
        out = np.empty(len(found), self._dtype)
        for name in self._dtype.names:
            out[name] = found[name].to_numpy()
        return out[key]


class SQLite(ArrayEngine):
    """Rows as rows; it has no arrays."""

    name = "sqlite"
    modules = ("sqlite3",)

    def write(self, values: Any) -> None:
        if values.dtype.names is None:
            raise NotOffered
        self._dtype = values.dtype
        names = ", ".join(values.dtype.names)
        marks = ", ".join("?" * len(values.dtype.names))
        db = sqlite3.connect(self.folder / "a.sqlite")
        with db:
            db.execute(f"CREATE TABLE t ({names})")
            db.executemany(f"INSERT INTO t VALUES ({marks})", _python_rows(values))
        db.close()

    def open(self) -> None:
        self._db = sqlite3.connect(self.folder / "a.sqlite")

    def read(self, key: Any) -> Any:
        rows = self._db.execute("SELECT * FROM t ORDER BY rowid").fetchall()
        kinds = [(n, "<i8" if d.kind == "M" else d) for n, d in _fields(self._dtype)]
        return np.array(rows, kinds).view(self._dtype)[key]

    def close(self) -> None:
        self._db.close()


def _fields(dtype: np.dtype[Any]) -> list[tuple[str, np.dtype[Any]]]:
    return [(name, dtype[name]) for name in dtype.names or ()]


def _plain(column: Any) -> Any:
    return np.ascontiguousarray(column)


def _python_rows(values: Records) -> list[tuple[Any, ...]]:
    columns = [
        (_plain(values[n]).view(np.int64) if d.kind == "M" else values[n]).tolist()
        for n, d in _fields(values.dtype)
    ]
    return list(zip(*columns, strict=True))


ENGINES: dict[str, type[ArrayEngine]] = {
    e.name: e for e in (Kist, Npy, Parquet, Blosc2, H5py, Zarr, SQLite, Memcpy)
}


def run(engine: ArrayEngine, steps: Steps, job: Job) -> None:
    """Write and read each."""
    n = max(1_000, int(N * job.scale))
    rng = np.random.default_rng(20261104)
    kinds = {
        "random doubles": rng.random(n),
        # What a good compressor leaves cannot be told from random bytes.
        "compressed bytes": rng.integers(0, 256, 8 * n, np.uint8),
        "one column": np.ascontiguousarray(table(max(1_000, n // 4))["price0"]),
        "ten rows": table(10),
    }
    for name, values in kinds.items():
        if values.dtype.names is not None and isinstance(engine, Blosc2 | Zarr | H5py):
            steps.not_offered.append(f"write {name}")  # an array of records in HDF5 has no M8
            continue
        write_and_read(engine, steps, name, values, equal)
        if engine.stored_bytes():
            steps.note(f"stored bytes, {name}", engine.stored_bytes())
        clear(engine)
    steps.note("raw bytes", sum(values.nbytes for values in kinds.values()))
