"""Peak memory of writing and reading in blocks, above the interpreter with kist imported.

Not ``ru_maxrss``: a child begins with the maximum of the process that started it. The peak of
``/proc/self/status`` belongs to the program that runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.engines.base import load
from bench.harness import run_module
from bench.measure import measure
from bench.workloads import FIELD, TABLE_DTYPE, iter_blocks


def _path(folder: Path) -> Path:
    return folder / "memory.kist"


def _write(folder: Path, n_rows: int, *, one_transaction: bool) -> dict[str, Any]:
    kist: Any = load("kist")
    kist.open(":memory:").close()  # whatever is imported late is imported now

    def write() -> None:
        with kist.open(_path(folder), "w") as store:
            if one_transaction:
                with store.transaction():
                    append(store)
            else:
                append(store)

    def append(store: Any) -> None:
        table = store.create_table("t", dtype=TABLE_DTYPE)
        for block in iter_blocks(n_rows):
            table.append(block)

    _, sample = measure(write)
    return {"peak_bytes": sample.peak_bytes, "seconds": sample.seconds}


def write(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """One commit per block."""
    return _write(folder, n_rows, one_transaction=False)


def write_in_transaction(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """All blocks in one transaction."""
    return _write(folder, n_rows, one_transaction=True)


def read(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """All rows of the table that ``write`` made, block by block."""
    kist: Any = load("kist")
    kist.open(":memory:").close()

    def total() -> tuple[int, float]:
        n, total = 0, 0.0
        with kist.open(_path(folder)) as store:
            for block in store["t"].blocks():
                n += len(block)
                total += float(np.sum(block[FIELD]))
        return n, total

    (n, _), sample = measure(total)
    if n != n_rows:
        raise AssertionError(f"{n} rows read of {n_rows}")
    return {"peak_bytes": sample.peak_bytes, "seconds": sample.seconds}


def peaks(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """Each of the above in a fresh process, on four times the rows of the other parts."""
    found: dict[str, Any] = {"rows": 4 * n_rows}
    for part in ("transaction", "write", "read"):
        request = {"part": f"memory_{part}", "folder": str(folder), "rows": 4 * n_rows}
        figures = run_module("bench.small", json.dumps({**request, "datasets": n_datasets}))
        found[f"{part}_bytes"] = figures["peak_bytes"]
        found[f"{part}_seconds"] = figures["seconds"]
    _path(folder).unlink()
    return found
