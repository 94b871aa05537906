"""What a crowd writes, and how one can see that all of it is there: see `kist.testing.crowd`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import kist

__all__ = ["demand", "look", "prepare", "write_batch"]

DTYPE = np.dtype([("writer", "i4"), ("batch", "i8"), ("n", "i4"), ("value", "f8")])
_KEEP = 4000
"""Rows from which on a writer drops the oldest half: looking must not become slower and slower."""

Array = np.ndarray[Any, Any]


def _sizes(writer: int, batches: Array) -> Array:
    """Rows of some batches of a writer: a few, at times hundreds."""
    return np.where((batches + writer) % 23 == 0, 300, 1 + (batches * 7 + writer) % 9)


def _batch(writer: int, batch: int) -> Array:
    rows = np.zeros(int(_sizes(writer, np.array([batch]))[0]), DTYPE)
    rows["writer"], rows["batch"], rows["n"] = writer, batch, np.arange(len(rows))
    rows["value"] = writer + batch / 8
    return rows


def prepare(store: kist.Store, writers: int) -> None:
    """Make what a crowd works on."""
    with store.transaction("prepare"):
        store.create_table("rows", dtype=DTYPE)
        store.create_array("last", shape=(writers,), dtype="i8")
        counters = store.create_keystore("counters")
        for name in ("batches", "rows", "dropped"):
            counters[name] = 0
        plans = store.create_keystore("plans")
        plans.update((f"{name} {writer}", 0) for name in "ab" for writer in range(writers))


def write_batch(store: kist.Store, writer: int) -> tuple[int, float]:
    """Commit the next batch of a writer; returns its number and how long it waited."""
    started = time.monotonic()
    # Two small commits, the second at once if nobody comes between them: `kist.engine.few`.
    plans, planned = store["plans"], int(store["last"][writer]) + 1
    plans[f"a {writer}"] = planned
    plans[f"b {writer}"] = planned
    with store.transaction():
        waited = time.monotonic() - started
        counters, table = store["counters"], store["rows"]
        batch = int(store["last"][writer]) + 1
        rows = _batch(writer, batch)
        table.append(rows)
        counters["batches"] = counters["batches"] + 1
        counters["rows"] = counters["rows"] + len(rows)
        store["last"][writer] = batch
        store.attrs["newest"] = (writer, batch)
        if len(table) > _KEEP:
            dropped = table[: len(table) // 2]
            # Whole batches of each writer, oldest first: what is left of each is its end.
            table.delete(slice(0, len(dropped)))
            counters["dropped"] = counters["dropped"] + len(dropped)
    return batch, waited


def look(store: kist.Store) -> Array:
    """Demand that a store shows one commit of a crowd; returns the last batch of each writer.

    Raises
    ------
    AssertionError
        It does not; the message says what disagrees.
    """
    with store.read():
        last, rows = store["last"][:], store["rows"][:]
        counters = dict(store["counters"].items())
        newest = store.attrs.get("newest")
        plans = dict(store["plans"].items())
    there = len(rows) + counters["dropped"]
    demand(there == counters["rows"], f"{there} rows, and {counters['rows']} were counted")
    demand(int(last.sum()) == counters["batches"], f"{last} batches, not {counters['batches']}")
    sizes = sum(int(_sizes(w, np.arange(1, n + 1)).sum()) for w, n in enumerate(last))
    demand(sizes == there, f"{there} rows, and the batches have {sizes}")
    if newest is not None:
        demand(int(last[newest[0]]) == newest[1], f"the newest batch is {newest}, not {last}")
    for writer, n in enumerate(last.tolist()):
        first, second = plans[f"a {writer}"], plans[f"b {writer}"]
        demand(n <= second <= first <= n + 1, f"{n} batches, and {second} and {first} were planned")
        own = rows[rows["writer"] == writer]
        if not len(own):
            continue
        batches = np.arange(own["batch"][0], last[writer] + 1)
        expected = np.concatenate([_batch(writer, int(b)) for b in batches])[-len(own) :]
        demand(own.tobytes() == expected.tobytes(), f"the rows of writer {writer} are not its own")
    return np.asarray(last)


def demand(fine: bool, message: str) -> None:
    """Raise `AssertionError` unless something is fine."""
    if not fine:
        raise AssertionError(message)
