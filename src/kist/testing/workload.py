"""A workload that touches everything: each step is one call of a user, and changes one thing.

The faults of `kist.testing.trials` are tried at every call of each step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import kist

__all__ = ["STEPS", "Commits", "UndoneError", "noise", "rows", "shown"]

ROW = np.dtype([("id", "<i8"), ("value", "<f8"), ("name", "S6")])


def rows(n: int, seed: int) -> np.ndarray[Any, Any]:
    """Return rows of a table, others for each seed."""
    rng = np.random.default_rng(seed)
    made = np.zeros(n, ROW)
    made["id"] = np.arange(n) + 1000 * seed
    made["value"] = np.round(rng.normal(size=n), 3)
    made["name"] = rng.integers(0, 40, n).astype("S6")
    return made


def noise(n: int, seed: int) -> np.ndarray[Any, Any]:
    """Return bytes that no codec makes smaller."""
    return np.random.default_rng(seed).integers(0, 255, n, "u1")


class UndoneError(Exception):
    """Ends a block that is to leave nothing."""


class Commits:
    """A step of several calls, each of them a commit, by handles that are kept.

    Such a handle makes small commits at once: see `kist.engine.few`.

    Parameters
    ----------
    *calls : callable
        Called with a function that gives the node at a path, always by the same handle.
    """

    def __init__(self, *calls: Callable[[Callable[[str], Any]], object]) -> None:
        self._calls = calls

    def each(self, store: kist.Store, first: int = 0) -> Iterator[int]:
        """Make the calls from a number on; yields how many have been made, after each."""
        nodes: dict[str, Any] = {}

        def node(path: str) -> Any:
            if path not in nodes:
                nodes[path] = store[path]
            return nodes[path]

        for number, call in enumerate(self._calls[first:], first + 1):
            call(node)
            yield number

    def __call__(self, store: kist.Store) -> None:
        """Make all calls."""
        for _ in self.each(store):
            pass


def _datasets(store: kist.Store) -> None:
    with store.transaction("datasets"):
        store.create_table("rows", dtype=ROW, attrs={"unit": "V"})
        store["images"] = np.arange(6000, dtype="<i4").reshape(6, 20, 50)
        store.create_keystore("runs").update((f"k{n}", n) for n in range(20))
        store["texts"] = np.array(["a", "bc" * 200, "é"], np.dtypes.StringDType())
        store["old/rows"] = rows(50, 1)
        store.create_array("plain", data=noise(5000, 2), codec="none")


def _with_savepoints(store: kist.Store) -> None:
    with store.transaction("several"):
        store["rows"].append(rows(10, 5))
        try:
            with store.transaction():
                store["images"][0] = -1
                store["runs"].clear()
                store["rows"].delete(slice(0, 5))
                raise UndoneError
        except UndoneError:
            store.attrs["undone"] = True
        with store.transaction():
            store["runs"]["in"] = noise(9000, 6)
            store["images"][2, 3:7] = 5


def _by_hand(store: kist.Store) -> None:
    store.begin()
    try:
        store["rows"].append(rows(3, 7))
        store.attrs["by hand"] = [1, 2.5, "three"]
    except BaseException:
        store.rollback()
        raise
    store.commit("by hand")


def _appender(store: kist.Store) -> None:
    with store.transaction(), store["rows"].appender(rows=40, timer=False) as add:
        for row in rows(100, 8):
            add(row)


def _moves(store: kist.Store) -> None:
    with store.transaction():
        store.copy("rows", "copied")
        store.move("old/rows", "old/moved")
        store["old"].attrs["moved"] = True


def _bulk(store: kist.Store) -> None:
    store["runs"].update({n: b"value %d " % n * 12 for n in range(400)})


def _untag(store: kist.Store) -> None:
    store.untag("kept")


def _deletions(store: kist.Store) -> None:
    with store.transaction():
        del store["copied"]
        del store["big"]
        store["runs"].clear()


STEPS: dict[str, Callable[[kist.Store], object]] = {
    "datasets are made": _datasets,
    "ten rows are appended": lambda store: store["rows"].append(rows(10, 2)),
    "rows are appended": lambda store: store["rows"].append(rows(4000, 3)),
    "an attribute is set": lambda store: store["rows"].attrs.update(note="x" * 300, n=7),
    "a key is put": lambda store: store["runs"].update(k3=(noise(300, 1), "text")),
    "rows are updated": lambda store: store["rows"].where("value > 1.5").update({"name": "big"}),
    "rows are deleted": lambda store: store["rows"].delete([0, 17, 2000]),
    "a row is assigned": lambda store: store["rows"].__setitem__(5, (-1, 0.5, b"five")),
    "an array is written": lambda store: store["images"].__setitem__((1, slice(2, 9)), 7),
    "an array grows": lambda store: store["images"].append(np.ones((3, 20, 50), "<i4")),
    "an array shrinks": lambda store: store["images"].resize((4, 21, 30)),
    "a tag is set": lambda store: store.tag("kept"),
    "a large array is made": lambda store: store.create_array("big", data=noise(1_300_000, 4)),
    "a large array is overwritten": lambda store: store["big"].__setitem__(
        slice(0, 700_000), noise(700_000, 9)
    ),
    "a transaction with savepoints": _with_savepoints,
    "a transaction by hand": _by_hand,
    "an appender": _appender,
    "nodes are moved": _moves,
    "many keys are put": _bulk,
    "all is read": lambda store: _read_all(store),
    "all is checked": lambda store: store.check(),
    "a tag is moved": lambda store: store.tag("kept", move=True),
    "a tag goes": _untag,
    "much is deleted": _deletions,
    "the file is made compact": lambda store: store.compact(),
    "commits are synced": lambda store: store.sync(),
}
"""What is done, by its name."""


def _read_all(store: kist.Store) -> None:
    with store.read():
        shown(store)
        store["plain"].mmap()[:10].sum()
    with kist.open(store.path, version="kept") as old:
        old["rows"][:5]


def shown(store: kist.Store) -> dict[str, Any]:
    """Return everything that can be read of one commit, as something that can be compared."""
    found: dict[str, Any] = {"/": _packed(dict(store.attrs))}

    def visit(path: str, node: Any) -> None:
        found[path] = node.kind, _packed(dict(node.attrs)), *_contents(node)

    with store.read():
        store.visititems(visit)
        found["tags"] = sorted(store.tags)
    return found


def _contents(node: Any) -> Iterator[Any]:
    if node.kind == "key store":
        yield _packed(dict(node.items()))
    elif node.kind == "table":
        yield from (_packed(node[name][:]) for name in node.colnames)
        yield [index.name for index in getattr(node, "indexes", ())]  # unions have none
    elif node.kind == "array":
        yield _packed(node[...])
    elif node.kind == "link":
        yield node.leads_to
        try:
            end = node.follow()
        except kist.LinkError as error:
            # What leads nowhere is a state; what could not be read is none.
            if isinstance(error.__cause__, OSError):
                raise
            yield "nowhere"
            return
        yield from _contents(end)


def _packed(value: Any) -> Any:
    if isinstance(value, kist.Ragged):
        data = str(value.to_list()).encode()
        return str(value.dtype), hashlib.blake2b(data, digest_size=8).hexdigest()
    if isinstance(value, np.ndarray):
        data = str(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
        return str(value.dtype), value.shape, hashlib.blake2b(data, digest_size=8).hexdigest()
    if isinstance(value, dict):
        return {key: _packed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(one) for one in value]
    return value
