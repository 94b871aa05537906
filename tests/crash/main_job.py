"""The main job as workloads for the crash checker: tables, attributes, tags, upkeep, of a store.

``CASES`` is what ``python -m kist.testing.crash tests/crash/main_job.py`` runs; the tests beside
this file run a share. What a store shows is everything that a user could read of it: names,
attributes, the rows of tables, and the same of every tagged version.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import kist
from kist.engine import Engine
from kist.model.session import Session as StoreSession
from kist.model.store import Store, _maintain
from kist.testing.crash import Case, Session

DTYPE = np.dtype(
    [("time", "M8[us]"), ("price", "f8"), ("size", "i4"), ("flag", "u1"), ("sym", "S8")]
)


def rows_of(n: int, seed: int) -> np.ndarray[Any, Any]:
    """Rows that compress as real ones do, all of them different from seed to seed."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, DTYPE)
    rows["time"] = np.datetime64("2024-01-01", "us") + np.cumsum(rng.integers(1, 90, n))
    rows["price"] = (10_000 + np.cumsum(rng.integers(-3, 4, n))) / 100
    rows["size"] = rng.integers(1, 100, n) * 10
    rows["flag"] = seed % 256
    rows["sym"] = rng.choice([b"AAPL", b"MSFT", b"IBM"], n)
    return rows


class OpenStore:
    """A store on a backend, with the methods that the checker asks of an engine."""

    def __init__(self, backend: Any, mode: str, durability: Any = "full", retain: int = 0) -> None:
        self.engine = Engine.open_backend(backend, mode, durability=durability, retain=retain)
        self.engine.maintain = _maintain
        self.store = self._store("r" if mode == "r" else "r+", None, durability)

    def _store(self, mode: str, version: str | None, durability: Any = "full") -> Store:
        session = StoreSession(
            self.engine,
            lambda: self.engine,
            mode=mode,
            version=version,
            timeout=1.0,
            full=False,  # no warning about many small commits
            name="recorded",
        )
        store = Store(session, mode, durability, 0, False)
        # Nothing must happen when it is collected: that is for the checker to say.
        store._finalizer.detach()
        return store

    @contextlib.contextmanager
    def version(self, tag: str) -> Iterator[Store]:
        """Show what a tag keeps."""
        store = self._store("r", tag)
        try:
            yield store
        finally:
            assert store._session._fixed is not None
            store._session._fixed.release()

    def check(self) -> list[Any]:
        return list(self.store.check().problems)

    def close(self) -> None:
        self.store._session.close()


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def shown(store: Store) -> dict[str, Any]:
    """Everything that can be read of one commit."""
    found: dict[str, Any] = {"/": dict(store.attrs)}

    def visit(path: str, node: Any) -> None:
        found[path] = (node.kind, dict(node.attrs))
        if node.kind == "table":
            rows = node[:]
            assert len(rows) == len(node)
            found[path] += (len(rows), digest(rows.tobytes()))

    store.visititems(visit)
    return found


def read_state(opened: OpenStore) -> Any:
    with opened.store.read():
        newest = shown(opened.store)
    tagged = {}
    for tag in opened.store.tags:
        with opened.version(tag) as store:
            tagged[tag] = shown(store)
    return newest, tagged


def probe(opened: OpenStore, acknowledged: Callable[[], None]) -> None:
    """Go on after a crash: a table of its own, rows behind those that are there, all removed."""
    store = opened.store
    new = rows_of(40, 99)
    # A crash during recovery leaves the table of an earlier probe.
    name = next(n for n in map("probe{}".format, range(10)) if n not in store)
    store[name] = new
    acknowledged()
    assert store[name][:].tobytes() == new.tobytes()
    del store[name]
    acknowledged()
    if "trades" not in store:
        return
    trades = store["trades"]
    before = trades[:]
    trades.append(new)
    acknowledged()
    with store.transaction():
        trades[len(before)] = before[0] if len(before) else new[1]
        assert len(trades) == len(before) + 40
    acknowledged()
    found = trades[:]
    assert found[: len(before)].tobytes() == before.tobytes()
    assert found[len(before) + 1 :].tobytes() == new[1:].tobytes()
    assert trades.delete(slice(len(before), None)) == 40
    acknowledged()
    opened.engine.checkpoint()


# Workloads


def table_of_a_day(session: Session) -> None:
    """One table through all that a user does with rows."""
    store = session.engine.store
    trades = store.create_table("trades", dtype=DTYPE, attrs={"exchange": "X"})
    session.acknowledged()
    for seed in range(4):
        trades.append(rows_of(10, seed))
        session.acknowledged()
    trades.append(rows_of(5000, 10))
    session.acknowledged()
    trades[0] = trades[7]
    session.acknowledged()
    trades["price"][20:60] = 1.5
    session.acknowledged()
    trades.delete([3, 5, 4000])
    session.acknowledged()
    trades.attrs["note"] = "x" * 5000
    session.acknowledged()
    trades.where("size > 900").update({"flag": 7})
    session.acknowledged()
    with contextlib.suppress(ZeroDivisionError), store.transaction():
        trades.append(rows_of(700, 11))
        trades.delete(slice(0, 2000))
        store.attrs["never"] = 1
        raise ZeroDivisionError
    session.acknowledged()
    with store.transaction("several"):
        trades.append(rows_of(10, 12))
        store["raw/other"] = rows_of(30, 13)
        with contextlib.suppress(kist.SelectionError):
            trades.delete([0, 10**6])
        store.attrs["n"] = len(trades)
    session.acknowledged()
    trades.where("sym == 'IBM'").delete()
    session.acknowledged()
    store.move("raw/other", "moved")
    session.acknowledged()
    store["trades"] = rows_of(300, 14)
    session.acknowledged()
    del store["moved"]
    session.acknowledged()


def growth(session: Session) -> None:
    """Small appends, until checkpoints come by themselves and fold the pieces."""
    trades = session.engine.store.create_table("trades", dtype=DTYPE)
    session.acknowledged()
    for i in range(75):
        trades.append(rows_of(10, i))
        session.acknowledged()
        if i % 20 == 9:
            trades[i] = trades[i + 1]
            session.acknowledged()
            trades.delete(slice(0, i, 7))
            session.acknowledged()


def handovers(session: Session) -> None:
    """Writers that close and writers that die, each followed by another."""
    session.engine.store.create_table("trades", dtype=DTYPE)
    session.acknowledged()
    for i in range(12):
        trades = session.engine.store["trades"]
        trades.append(rows_of(10 if i % 4 else 1500, i))
        session.acknowledged()
        trades["size"][i * 3] = -i
        session.acknowledged()
        if i % 3 == 2:
            session.reopen(kill=i % 2 == 0)


def versions(session: Session) -> None:
    """Tags over changing rows, then less and less of it all, and compaction."""
    store = session.engine.store
    trades = store.create_table("trades", rows_of(3000, 0))
    session.acknowledged()
    store.tag("first")
    session.acknowledged()
    trades.append(rows_of(10, 1))
    session.acknowledged()
    trades["price"] = np.arange(3010.0)
    session.acknowledged()
    store.tag("second")
    session.acknowledged()
    trades.delete(slice(100, 2900))
    session.acknowledged()
    store.compact()
    session.acknowledged()
    store.tag("first", move=True)
    session.acknowledged()
    trades.append(rows_of(10, 2))
    session.acknowledged()
    store.untag("second")
    session.acknowledged()
    store.untag("first")
    session.acknowledged()
    store.compact()
    session.acknowledged()
    trades.append(rows_of(10, 3))
    session.acknowledged()


def case(workload: Callable[[Session], None], durability: str = "full", retain: int = 0) -> Case:
    opener = partial(OpenStore, durability=durability, retain=retain)
    return Case(workload, read_state, opener, probe, durability)


CASES = {
    "table of a day": case(table_of_a_day),
    "growth": case(growth),
    "store handovers": case(handovers),
    "versions": case(versions),
    "retained versions": case(table_of_a_day, retain=2),
    "relaxed growth": case(growth, "relaxed"),
    "relaxed day": case(table_of_a_day, "relaxed"),
    "none, handovers of a store": case(handovers, "none"),
}
