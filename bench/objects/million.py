"""A million small values: put in bulk, got one by one, and one durable put."""

from __future__ import annotations

import sqlite3
import struct
from abc import abstractmethod
from typing import Any

import numpy as np

from bench import iocount
from bench.engines.base import Engine, load
from bench.engines.kist_store import KistEngine
from bench.steps import Steps
from bench.worker import Job

TITLE = "A million small values by key"
N_KEYS, N_GETS, N_PUTS = 1_000_000, 20_000, 200


class SmallEngine(Engine):
    """Small values by key."""

    @abstractmethod
    def build(self, items: dict[str, float]) -> None:
        """Store all in one commit; durable on return."""

    @abstractmethod
    def open(self) -> None:
        """Open what ``build`` made, for reading and writing."""

    @abstractmethod
    def get(self, key: str) -> Any:
        """One value."""

    @abstractmethod
    def put(self, key: str, value: float) -> None:
        """One durable put."""

    @abstractmethod
    def close(self) -> None:
        """Close what ``open`` opened."""


class Kist(KistEngine, SmallEngine):
    """One key store in one file."""

    def build(self, items: dict[str, float]) -> None:
        with load("kist").open(self.folder / "keys.kist", "w") as store:
            store.create_keystore("runs").update(items)

    def open(self) -> None:
        self._store = load("kist").open(self.folder / "keys.kist", "r+")
        self._runs = self._store["runs"]

    def get(self, key: str) -> Any:
        return self._runs[key]

    def put(self, key: str, value: float) -> None:
        self._runs[key] = value

    def close(self) -> None:
        self._store.close()


class SQLite(SmallEngine):
    """A table without row ids, in WAL mode, every commit synced."""

    name = "sqlite"
    modules = ("sqlite3",)

    def _connect(self) -> None:
        self._db = sqlite3.connect(self.folder / "keys.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")

    def build(self, items: dict[str, float]) -> None:
        self._connect()
        self._db.execute("CREATE TABLE kv (k TEXT PRIMARY KEY, v) WITHOUT ROWID")
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO kv VALUES (?, ?)", items.items())
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def open(self) -> None:
        self._connect()

    def get(self, key: str) -> Any:
        return self._db.execute("SELECT v FROM kv WHERE k = ?", (key,)).fetchone()[0]

    def put(self, key: str, value: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", (key, value))

    def close(self) -> None:
        self._db.close()


class LMDB(SmallEngine):
    """LMDB with the eight bytes of each value, synced at every commit as it does by itself."""

    name = "lmdb"
    modules = ("lmdb",)

    def build(self, items: dict[str, float]) -> None:
        self.open()
        with self._db.begin(write=True) as transaction:
            for key, value in items.items():
                transaction.put(key.encode(), struct.pack("<d", value))
        self.close()

    def open(self) -> None:
        self._db = load("lmdb").open(str(self.folder / "keys.lmdb"), map_size=1 << 36)

    def get(self, key: str) -> Any:
        with self._db.begin() as transaction:
            return struct.unpack("<d", transaction.get(key.encode()))[0]

    def put(self, key: str, value: float) -> None:
        with self._db.begin(write=True) as transaction:
            transaction.put(key.encode(), struct.pack("<d", value))

    def close(self) -> None:
        self._db.close()


ENGINES: dict[str, type[SmallEngine]] = {e.name: e for e in (Kist, SQLite, LMDB)}


def run(engine: SmallEngine, steps: Steps, job: Job) -> None:
    """Build, get at random, put."""
    n = max(1_000, int(N_KEYS * job.scale))
    items = {f"key-{i:08d}": i * 0.5 for i in range(n)}
    steps.time("put in bulk", lambda: engine.build(items))
    steps.note("stored bytes", engine.stored_bytes())
    rng = np.random.default_rng(steps.turn)
    names = [f"key-{i:08d}" for i in rng.integers(0, n, N_GETS)]
    engine.open()
    steps.each(
        "get",
        (lambda name=name: engine.get(name) for name in names),
        lambda i, found: found == items[names[i]],
        tail=True,
    )
    if not steps.right("get"):
        steps.wrong("put in bulk")
    before = iocount.now()
    done = steps.each(
        "durable put",
        (lambda i=i: engine.put(names[i], i + 0.25) for i in range(N_PUTS)),
        tail=True,
    )
    if engine.name == "kist":  # the calls of the others do not go through Python
        spent = iocount.now() - before
        steps.note("bytes per put", spent.write_bytes / done)
        steps.note("syncs per put", spent.syncs / done)
    last = {name: i + 0.25 for i, name in enumerate(names[:done])}
    if any(engine.get(name) != value for name, value in last.items()):
        steps.wrong("durable put", "durable put, p99")
    engine.close()
