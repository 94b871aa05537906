"""A slice of a wide table behind a server that takes its time: round trips and bytes.

``python -m bench remote`` makes a table of 5M rows and 50 columns, lays it out anew with
``backup(compact=True)``, and reads 3 columns of 1 % of its rows over http on loopback, where each
answer waits 30 ms. Counted are round trips and bytes after opening, against the bytes of the
blocks that hold those rows.
"""

from __future__ import annotations

import mmap
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import kist
from kist.testing.range_server import RangeServer

LATENCY_S = 0.030
N_COLUMNS = 50
BATCH = 250_000
COLUMNS = ["f03", "f17", "f42"]


def batch(start: int, n: int) -> np.ndarray[Any, Any]:
    """Rows of measurements: some columns ascend, some repeat, most are noise of few digits."""
    rng = np.random.default_rng(start)
    rows = np.zeros(n, [(f"f{i:02}", "f8" if i % 3 else "i4") for i in range(N_COLUMNS)])
    for i, name in enumerate(rows.dtype.names or ()):
        if i % 3 == 0:
            rows[name] = np.arange(start, start + n) // (i + 1)
        else:
            rows[name] = np.round(rng.normal(100, 15, n), 2 + i % 3)
    return rows


def make(folder: Path, n_rows: int) -> Path:
    """Write the table, and the copy that is read."""
    with kist.open(folder / "lab.kist", "w", durability="none") as store:
        table = store.create_table("trades", batch(0, 1)[:0])
        for start in range(0, n_rows, BATCH):
            table.append(batch(start, min(BATCH, n_rows - start)))
        store.backup(folder / "public.kist", compact=True)
    return folder / "public.kist"


def bytes_needed(path: Path, start: int, stop: int) -> int:
    """Stored bytes of the slice, had pages no other rows: what no reader can do without."""
    with kist.open(path) as store:
        table = store["trades"]
        return sum(int(table[c].nbytes_stored * (stop - start) / len(table)) for c in COLUMNS)


def measure(folder: Path, n_rows: int) -> list[str]:
    """Return the lines of the report."""
    path = make(folder, n_rows)
    start, stop = n_rows // 3, n_rows // 3 + n_rows // 100
    needed = bytes_needed(path, start, stop)
    lines = [
        f"{n_rows:,} rows x {N_COLUMNS} columns, {path.stat().st_size:,} bytes; "
        f"{len(COLUMNS)} columns of {stop - start:,} rows; {LATENCY_S * 1000:g} ms an answer",
        f"{'':24}{'seconds':>9}{'waits':>7}{'requests':>10}{'bytes':>13}",
    ]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        files: Any = {"/public.kist": data}
        with RangeServer(files, latency_s=LATENCY_S) as server:
            url = server.url("/public.kist")
            server.tag_of(files["/public.kist"])  # computed once, and not while we measure

            def line(what: str, began: float, backend: Any) -> None:
                lines.append(
                    f"{what:24}{time.perf_counter() - began:9.3f}{backend.rounds:7}"
                    f"{backend.requests:10}{backend.request_bytes:13,}"
                )
                backend.rounds = backend.requests = backend.request_bytes = 0

            began = time.perf_counter()
            with kist.open(url) as store:
                backend: Any = store._session.engine.backend
                line("open", began, backend)
                began = time.perf_counter()
                table = store["trades"]
                found = table[COLUMNS][start:stop]
                spent = backend.request_bytes
                line("slice", began, backend)
                began = time.perf_counter()
                table["f20"][:]
                line("one column", began, backend)
                began = time.perf_counter()
                n_hits = len(table.where(f"f30 == {n_rows // 62}")[["f30", "f01"]][:])
                line("a condition", began, backend)
    with kist.open(path) as store:
        assert (store["trades"][COLUMNS][start:stop] == found).all()
    lines.append(
        f"the slice took {spent / needed:.2f} times the {needed:,} bytes of those rows; "
        f"{n_hits} rows met the condition"
    )
    return lines


def main(n_rows: int = 5_000_000, folder: Path | None = None) -> int:
    """Measure and print; the exit status is 0."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        print("\n".join(measure(Path(work), n_rows)))
    return 0
