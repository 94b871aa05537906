"""One column of a table written over and over: the file must not grow with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import iocount
from bench.engines.base import load

ROWS = 125_000
"""Of eight bytes: a column of 1 MB. Random bits, so that it takes 1 MB stored as well."""

LOOK_EVERY = 20


def _overwrite(path: Path, n: int, *, pinned: bool) -> dict[str, Any]:
    kist: Any = load("kist")
    rng = np.random.default_rng(5)
    versions = [rng.random(ROWS) for _ in range(8)]
    rest = np.zeros(ROWS, [("id", "<i8"), ("name", "S8")])
    rest["id"] = np.arange(ROWS)
    with kist.open(path, "w") as store:
        store.create_table("t", rest)
    rest_bytes = path.stat().st_size
    rows = np.zeros(ROWS, [*rest.dtype.descr, ("value", "<f8")])
    for name in ("id", "name"):
        rows[name] = rest[name]
    rows["value"] = versions[-1]
    largest = 0
    with kist.open(path, "w") as store:
        store.create_table("t", rows)
    reader = kist.open(path) if pinned else None
    before, start = iocount.now(), time.perf_counter()
    with kist.open(path, "r+") as store:
        column = store["t"]["value"]
        for i in range(n):
            column[:] = versions[i % len(versions)]
            if i % LOOK_EVERY == 0:
                largest = max(largest, path.stat().st_size)
    seconds = time.perf_counter() - start
    written = (iocount.now() - before).write_bytes
    if reader is not None:
        if not np.array_equal(reader["t"]["value"][:], versions[-1]):
            raise AssertionError("the pinned reader lost its snapshot")
        reader.close()
    with kist.open(path) as store:
        if not np.array_equal(store["t"]["value"][:], versions[(n - 1) % len(versions)]):
            raise AssertionError("the last overwrite is not what is read")
    largest = max(largest, path.stat().st_size)
    return {
        "calls": n,
        "extra_bytes": largest - rest_bytes,
        "rest_bytes": rest_bytes,
        "written_per_call": written / n,
        "seconds_per_call": seconds / n,
    }


def overwrite(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """10,000 overwrites at a million rows; a tenth as many with a reader that holds the first."""
    n = max(20, n_rows // 100)
    found = _overwrite(folder / "overwrite.kist", n, pinned=False)
    pinned = _overwrite(folder / "overwrite-pinned.kist", max(20, n // 10), pinned=True)
    return {**found, "pinned_extra_bytes": pinned["extra_bytes"], "pinned_calls": pinned["calls"]}
