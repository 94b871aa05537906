"""A million small values: put in bulk, got one by one, and one durable put."""

from __future__ import annotations

import sqlite3
import time
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from bench import iocount
from bench.engines.base import load
from bench.objects.steps import Steps, Store

N_KEYS, N_GETS, N_PUTS = 1_000_000, 20_000, 200


class SmallEngine(Store):
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


class Kist(SmallEngine):
    """One key store in one file."""

    name = "kist"
    modules: ClassVar[tuple[str, ...]] = ("kist",)

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


ENGINES: dict[str, type[SmallEngine]] = {e.name: e for e in (Kist, SQLite)}


def run(engine: SmallEngine, steps: Steps, scale: float) -> None:
    """Build, get at random, put."""
    n = max(1_000, int(N_KEYS * scale))
    items = {f"key-{i:08d}": i * 0.5 for i in range(n)}
    steps.time("put in bulk", lambda: engine.build(items))
    steps.note("bulk_per_second", n / steps.seconds["put in bulk"][-1])
    rng = np.random.default_rng(steps.turn)
    names = [f"key-{i:08d}" for i in rng.integers(0, n, N_GETS)]
    engine.open()
    samples, right = [], True
    for name in names:
        start = time.perf_counter()
        value = engine.get(name)
        samples.append(time.perf_counter() - start)
        right &= value == items[name]
    steps.seconds["get, p50"] = [float(np.quantile(samples, 0.5))]
    steps.seconds["get, p99"] = [float(np.quantile(samples, 0.99))]
    if not right:
        steps.wrong += ["get, p50", "get, p99", "put in bulk"]
    samples, before = [], iocount.now()
    for i, name in enumerate(names[:N_PUTS]):
        start = time.perf_counter()
        engine.put(name, i + 0.25)
        samples.append(time.perf_counter() - start)
    steps.seconds["durable put, p50"] = [float(np.quantile(samples, 0.5))]
    if engine.name == "kist":  # SQLite's calls do not go through Python
        spent = iocount.now() - before
        steps.note("bytes_per_put", spent.write_bytes / N_PUTS)
        steps.note("syncs_per_put", spent.syncs / N_PUTS)
    last = {name: i + 0.25 for i, name in enumerate(names[:N_PUTS])}
    if any(engine.get(name) != value for name, value in last.items()):
        steps.wrong.append("durable put, p50")
    engine.close()
