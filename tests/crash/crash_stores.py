"""Stores on a backend, and everything that can be read of them, for the crash checker.

`OpenStore` has the methods that the checker asks of an engine; `case` makes a `Case` of a workload
over ``session.engine.store``. What a store shows is all that a user could read of it: names,
attributes, the contents of every dataset, and the same of every tagged version.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import kist
from kist.engine import Engine, creation
from kist.model.directory import maintain
from kist.model.session import Session as StoreSession
from kist.model.store import Store
from kist.storage import MemoryBackend
from kist.testing.crash import Case, Report, Session, check_crashes

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

    NAME = "recorded"
    """Path that the store takes to be its own: links to files are relative to its folder."""

    def __init__(
        self,
        backend: Any,
        mode: str,
        durability: Any = "full",
        retain: int = 0,
        *,
        keyring: Any = None,
        encrypt: Any = None,
    ) -> None:
        self.engine = Engine.open_backend(
            backend,
            mode,
            durability=durability,
            retain=retain,
            keyring=keyring,
            encrypt=encrypt,
        )
        self.engine.maintain = maintain
        self.store = self._store("r" if mode == "r" else "r+", None, durability)

    def _store(self, mode: str, version: int | str | None, durability: Any = "full") -> Store:
        session = StoreSession(
            self.engine,
            lambda: self.engine,
            mode=mode,
            version=version,
            timeout=1.0,
            full=False,  # no warning about many small commits
            name=self.NAME,
        )
        store = Store(session, mode, durability, 0, False)
        # Nothing must happen when it is collected: that is for the checker to say.
        store._finalizer.detach()
        return store

    @contextlib.contextmanager
    def version(self, version: int | str) -> Iterator[Store]:
        """Show what a tag keeps, or a commit that is listed."""
        store = self._store("r", version)
        try:
            yield store
        finally:
            assert store._session._fixed is not None
            store._session._fixed.release()

    def check(self) -> list[Any]:
        return list(self.store.check().problems)

    def close(self) -> None:
        self.store._session.close()


# What a store shows


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def packed(value: Any) -> Any:
    """Return a value as something that can be compared."""
    if isinstance(value, np.ndarray):
        data = str(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
        return "array", str(value.dtype), value.shape, digest(data)
    if isinstance(value, list | tuple):
        return type(value).__name__, *map(packed, value)
    if isinstance(value, dict):
        return {key: packed(one) for key, one in value.items()}
    return type(value).__name__, value


def shown(store: kist.Store) -> dict[str, Any]:
    """Everything that can be read of one commit."""
    found: dict[str, Any] = {"/": packed(dict(store.attrs))}

    def visit(path: str, node: Any) -> None:
        contents: Any = None
        if node.kind == "key store":
            contents = {key: packed(value) for key, value in node.items()}
            assert len(contents) == len(node)
        elif node.kind == "table":
            rows = node[:]
            assert len(rows) == len(node)
            contents = packed(rows)
            for index in node.indexes:
                name = index.columns[0]
                for value in np.unique(rows[name])[::40]:
                    found_by = node.where(f"{name} == value", value=value).indices()
                    assert np.array_equal(found_by, np.flatnonzero(rows[name] == value))
        elif node.kind == "array":
            contents = packed(node[...])
        found[path] = node.kind, packed(dict(node.attrs)), contents

    store.visititems(visit)
    return found


def read_state(opened: OpenStore) -> Any:
    """What the newest commit and each tag hold."""
    with opened.store.read():
        newest = shown(opened.store)
    tagged = {}
    for tag in opened.store.tags:
        with opened.version(tag) as store:
            tagged[tag] = shown(store)
    return newest, tagged


# What must be possible after a crash


def probe(opened: OpenStore, acknowledged: Callable[[], None]) -> None:
    """Go on after a crash: a table that comes and goes; after some crashes much more.

    The long form takes ten times as long. Which crashes get it is left to the number of the
    commit, so that it does not depend on the order of states.
    """
    store = opened.store
    rows = rows_of(40, 99)
    # A crash during recovery leaves the objects of an earlier probe.
    name = next(n for n in map("probe{}".format, range(10)) if n not in store)
    long = opened.engine.commit % 3 == 0
    store[f"{name}/table" if long else name] = rows
    acknowledged()
    if long:
        _probe_objects(opened, store[name], acknowledged)
    else:
        assert store[name][:].tobytes() == rows.tobytes()
    del store[name]
    acknowledged()
    if long and "trades" in store:
        _probe_rows(store, rows, acknowledged)
        opened.engine.checkpoint()


def _probe_objects(opened: OpenStore, group: kist.Group, acknowledged: Callable[[], None]) -> None:
    """Objects of each kind, changed and folded."""
    values = np.arange(3000, dtype="<i4")
    with opened.store.transaction():
        runs = group.create_keystore("runs")
        runs.update({"a": values + 1, "b": 5})
    acknowledged()
    array = group.create_array("array", data=values)
    acknowledged()
    array.append(values[:9])
    acknowledged()
    opened.engine.checkpoint()
    assert group["table"][:].tobytes() == rows_of(40, 99).tobytes()
    assert runs["a"].tolist() == (values + 1).tolist()
    assert list(runs) == ["a", "b"]
    assert array[-10:].tolist() == [2999, *range(9)]


def _probe_rows(store: kist.Store, new: Any, acknowledged: Callable[[], None]) -> None:
    """Rows behind those that are there, removed in the end."""
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


# Cases


def case(workload: Callable[[Session], None], durability: str = "full", **more: Any) -> Case:
    opener = partial(OpenStore, durability=durability, **more)
    return Case(workload, read_state, opener, probe, durability)


@functools.cache
def empty_store() -> bytes:
    backend = MemoryBackend()
    creation.create(backend)
    return backend.read(0, backend.size())


def check(case: Case, *, created: bool = False, **more: Any) -> Report:
    """Check a case; with `created`, crashes while the store is created are among the states."""

    def begun(session: Session) -> None:
        session.acknowledged()  # the empty store
        case.workload(session)

    options: dict[str, Any] = {"limit": 100, "deep": 0.02, "durability": case.durability}
    return check_crashes(
        case.workload if created else begun,
        case.read_state,
        case.open_engine,
        **{
            "probe": case.probe,
            "initial": b"" if created else empty_store(),
            **options,
            **more,
        },
    )
