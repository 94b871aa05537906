"""Many small datasets in one file: built in one transaction, opened and listed, the first read.

Building, listing and reading each run in a process of their own, so that what an engine imports
when it is first used is paid where its user pays it; the import alone is a step too.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from bench.engines.base import Engine, load, sync_file
from bench.engines.kist_store import kist_missing
from bench.steps import Steps, equal
from bench.worker import Job
from bench.workloads import SMALL_DTYPE, Records, dataset_names, small_table

TITLE = "Many datasets: build, open and list, first read, import"
PHASES = ("build", "list", "read", "import")
N_DATASETS, N_IMPORTS = 10_000, 5


class ListingEngine(Engine):
    """An engine that holds many small named datasets."""

    imports: ClassVar[str]
    """What its user imports, beside NumPy."""

    @abstractmethod
    def build(self, names: Sequence[str]) -> None:
        """Make one small table under each name, all in one transaction where there are any."""

    @abstractmethod
    def open_and_list(self) -> list[str]:
        """Open the store, give the names of its datasets in order, close."""

    @abstractmethod
    def open_and_read(self, name: str) -> Records:
        """Open the store, read one dataset, close."""


class Kist(ListingEngine):
    """One table a dataset, in one file."""

    name = "kist"
    modules = ("kist",)
    imports = "kist"

    @classmethod
    def missing(cls) -> str | None:
        return kist_missing()

    def build(self, names: Sequence[str]) -> None:
        with load("kist").open(self.folder / "l.kist", "w") as store, store.transaction():
            for i, name in enumerate(names):
                store.create_table(name, small_table(i))

    def open_and_list(self) -> list[str]:
        with load("kist").open(self.folder / "l.kist") as store:
            return list(store)

    def open_and_read(self, name: str) -> Records:
        with load("kist").open(self.folder / "l.kist") as store:
            rows: Records = store[name][:]
            return rows


class SQLite(ListingEngine):
    """Name and rows of each dataset in one table with the name as its primary key."""

    name = "sqlite"
    modules = ("sqlite3",)
    imports = "sqlite3"

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "l.sqlite")

    def build(self, names: Sequence[str]) -> None:
        connection = self._connect()
        with connection:
            connection.execute("CREATE TABLE dataset (name TEXT PRIMARY KEY, data BLOB)")
            connection.executemany(
                "INSERT INTO dataset VALUES (?, ?)",
                ((name, small_table(i).tobytes()) for i, name in enumerate(names)),
            )
        connection.close()

    def open_and_list(self) -> list[str]:
        connection = self._connect()
        try:
            return [name for (name,) in connection.execute("SELECT name FROM dataset ORDER BY 1")]
        finally:
            connection.close()

    def open_and_read(self, name: str) -> Records:
        connection = self._connect()
        try:
            found = connection.execute("SELECT data FROM dataset WHERE name = ?", (name,))
            return np.frombuffer(found.fetchone()[0], SMALL_DTYPE)
        finally:
            connection.close()


class LMDB(ListingEngine):
    """Name and rows of each dataset."""

    name = "lmdb"
    modules = ("lmdb",)
    imports = "lmdb"

    def _open(self) -> Any:
        return load("lmdb").open(str(self.folder / "l.lmdb"), map_size=1 << 32)

    def build(self, names: Sequence[str]) -> None:
        with self._open() as db, db.begin(write=True) as transaction:
            for i, name in enumerate(names):
                transaction.put(name.encode(), small_table(i).tobytes())

    def open_and_list(self) -> list[str]:
        with self._open() as db, db.begin() as transaction:
            return [key.decode() for key in transaction.cursor().iternext(values=False)]

    def open_and_read(self, name: str) -> Records:
        with self._open() as db, db.begin() as transaction:
            return np.frombuffer(transaction.get(name.encode()), SMALL_DTYPE)


class H5py(ListingEngine):
    """One dataset each in the root group."""

    name = "h5py"
    modules = ("h5py",)
    imports = "h5py"

    def build(self, names: Sequence[str]) -> None:
        path = self.folder / "l.h5"
        with load("h5py").File(path, "w", libver="latest") as file:
            for i, name in enumerate(names):
                file[name] = small_table(i)
        sync_file(path)

    def open_and_list(self) -> list[str]:
        with load("h5py").File(self.folder / "l.h5") as file:
            return list(file)

    def open_and_read(self, name: str) -> Records:
        with load("h5py").File(self.folder / "l.h5") as file:
            rows: Records = file[name][:]
            return rows


ENGINES: dict[str, type[ListingEngine]] = {e.name: e for e in (Kist, SQLite, LMDB, H5py)}


def run(engine: ListingEngine, steps: Steps, job: Job) -> None:
    """One phase."""
    n = max(10, int(N_DATASETS * job.scale))
    if job.phase == "import":
        steps.put("import, after NumPy", _import_s(engine.imports))
    else:
        _PHASES[job.phase](engine, steps, dataset_names(n))


def _build(engine: ListingEngine, steps: Steps, names: list[str]) -> None:
    steps.time(
        "build in one transaction",
        lambda: engine.build(names),
        lambda _: engine.open_and_list() == names,
    )


def _list(engine: ListingEngine, steps: Steps, names: list[str]) -> None:
    steps.time("open and list", engine.open_and_list, lambda found: found == names, repeat=5)


def _read(engine: ListingEngine, steps: Steps, names: list[str]) -> None:
    for step, at in (("first read in a process", len(names) // 2), ("open and read one", 3)):
        steps.time(
            step,
            lambda at=at: engine.open_and_read(names[at]),
            lambda found, at=at: equal(found, small_table(at)),
            repeat=1 if step.startswith("first") else 9,
        )


_PHASES = {"build": _build, "list": _list, "read": _read}


def _import_s(module: str) -> float:
    """Seconds in which an interpreter that has NumPy imports a module; the fastest of some."""
    code = (
        "import time, numpy\n"
        "began = time.perf_counter()\n"
        f"import {module}\n"
        "print(time.perf_counter() - began)"
    )
    command = [sys.executable, "-c", code]
    return min(float(subprocess.check_output(command)) for _ in range(N_IMPORTS))
