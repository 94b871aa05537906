"""Bytes and syncs of single small changes, in a store that holds much else."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import iocount
from bench.engines.base import load
from bench.workloads import FIELD, dataset_names, iter_blocks, small_table, table

N_CALLS = 200
"""Calls of each kind. Enough for several checkpoints, so that their cost is counted in."""

BIG = "big"


def _path(folder: Path) -> Path:
    return folder / "small-commits.kist"


def build(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """Make the store: ``n_datasets`` small tables and one big one."""
    kist: Any = load("kist")
    start = time.perf_counter()
    with kist.open(_path(folder), "w") as store:
        with store.transaction():
            for i, name in enumerate(dataset_names(n_datasets)):
                store.create_table(name, small_table(i))
        store.create_table(BIG, table(n_rows))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "file_bytes": _path(folder).stat().st_size}


def _changes(store: Any, n_rows: int) -> dict[str, Callable[[int], object]]:
    """One call of each kind, by number of the call."""
    big = store[BIG]
    more = next(iter_blocks(10 * N_CALLS, seed=1))
    # A stride that meets many row groups, as scattered corrections do.
    stride = max(1, n_rows // N_CALLS)

    def assign(i: int) -> None:
        big[i * stride] = more[i]

    def attribute(i: int) -> None:
        big.attrs["note"] = f"checked {i}"

    return {
        "append": lambda i: big.append(more[10 * i : 10 * i + 10]),
        "assign": assign,
        "attribute": attribute,
        "delete": lambda i: big.delete(i * (stride - 1)),
    }


def _cost(path: Path, kind: str, n_rows: int) -> dict[str, float | int]:
    """Open, make ``N_CALLS`` calls of one kind, close; what that wrote and synced."""
    kist: Any = load("kist")
    steps: list[int] = []
    times: list[float] = []
    store = kist.open(path, "r+")
    call = _changes(store, n_rows)[kind]
    kernel, first = iocount.kernel_written(), iocount.now()
    for i in range(N_CALLS):
        before = iocount.now()
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
        steps.append((iocount.now() - before).write_bytes)
    before = iocount.now()
    store.close()
    closing = iocount.now() - before
    total = iocount.now() - first
    return {
        "bytes_per_call": total.write_bytes / N_CALLS,
        "syncs_per_call": total.syncs / N_CALLS,
        "largest_call_bytes": max(steps),
        "median_call_bytes": statistics.median(steps),
        "close_bytes": closing.write_bytes,
        "uncounted_bytes": iocount.kernel_written() - kernel - total.write_bytes,
        "median_us": statistics.median(times) * 1e6,
        "max_us": max(times) * 1e6,
    }


def change(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """The cost of each kind of change, flat: ``append.bytes_per_call`` and so on."""
    found: dict[str, Any] = {}
    for kind in ("append", "assign", "delete", "attribute"):
        for name, value in _cost(_path(folder), kind, n_rows).items():
            found[f"{kind}.{name}"] = value
    kist: Any = load("kist")
    with kist.open(_path(folder)) as store:
        rows = len(store[BIG])
        if rows != n_rows + 10 * N_CALLS - N_CALLS:
            raise AssertionError(f"{rows} rows after the changes to {n_rows}")
        found["datasets"] = len(store)
    found["file_bytes"] = _path(folder).stat().st_size
    return found


def open_and_read(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """What opening the store and reading one value reads, in this fresh process."""
    kist: Any = load("kist")
    kist.open(":memory:").close()  # whatever is imported late is imported now
    before = iocount.now()
    start = time.perf_counter()
    store = kist.open(_path(folder))
    opened = iocount.now()
    value = store[BIG][FIELD][n_rows // 2]
    seconds = time.perf_counter() - start
    after = iocount.now()
    mapped = iocount.mapped_bytes(_path(folder))
    store.close()
    return {
        "bytes_read": (after - before).read_bytes + mapped,
        "bytes_read_by_open": (opened - before).read_bytes,
        "reads": (after - before).reads,
        "mapped_bytes": mapped,
        "seconds": seconds,
        "value": float(value),
    }
