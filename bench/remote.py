"""A slice of a wide table behind a server that takes its time: round trips and bytes.

``python -m bench remote`` makes a table of 50 columns, lays it out anew with
``backup(compact=True)``, and reads 3 columns of 1 % of its rows over http on loopback, where each
answer waits 30 ms; ``--rows 5000000`` for the size of docs/performance.md. Slices are read at
places spread over the table, because where blocks begin is luck.

The bytes that a slice needs, exactly:

of its rows
    For each block (the least that can be decoded) its stored bytes, times the part of its rows
    that is wanted. What no reader can do without, were every row stored apart.
of its blocks
    The stored bytes of all blocks that hold a wanted row.

What comes beyond them are heads of pages, the rest of sectors (the least that can be verified)
and gaps between ranges that one request fetched together.
"""

from __future__ import annotations

import mmap
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import kist
from kist.testing.range_server import RangeServer

LATENCY_S = 0.030
N_COLUMNS = 50
BATCH = 250_000
COLUMNS = ["f03", "f17", "f42"]


class Slice(NamedTuple):
    """Some rows, and the bytes that reading `COLUMNS` of them needs."""

    start: int
    stop: int
    of_rows: float
    of_blocks: int


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


def slices(path: Path, n_rows: int) -> list[Slice]:
    """Return slices of 1 % of the rows, so far apart that none has a page of another."""
    from kist.engine.pages import load_head

    n, count = n_rows // 100, max(1, min(20, n_rows // BATCH))
    starts = [i * (n_rows - n) // max(1, count - 1) for i in range(count)]
    found = []
    with kist.open(path) as store:
        state = store["trades"]._state()
        leaves = [leaf for leaf in state.schema.leaves if ".".join(leaf.path) in COLUMNS]
        edges = state.layout.starts.tolist()
        for start in starts:
            of_rows, of_blocks = 0.0, 0
            for group, first, end in zip(state.layout.groups, edges[:-1], edges[1:], strict=True):
                if end <= start or first >= start + n:
                    continue
                for leaf in leaves:
                    pointer, _ = state.page(leaf, group)
                    head = load_head(state.view, pointer)[0]
                    sizes = np.diff(head.edges)
                    begins = first + head.block_values * np.arange(len(sizes))
                    ends = np.minimum(begins + head.block_values, end)
                    rows = np.minimum(ends, start + n) - np.maximum(begins, start)
                    wanted = np.clip(rows, 0, None) / (ends - begins)
                    of_rows += float((sizes * wanted).sum())
                    of_blocks += int(sizes[wanted > 0].sum())
            found.append(Slice(start, start + n, of_rows, of_blocks))
    return found


def prepare(folder: Path, n_rows: int) -> tuple[Path, list[Slice]]:
    """Make the file, and find out what is to be read of it."""
    path = make(folder, n_rows)
    return path, slices(path, n_rows)


def warm_up(folder: Path) -> None:
    """Load what the steps need, by a store of other values: heads that were read are kept."""
    with kist.open(folder / "other.kist", "w") as store:
        store["trades"] = batch(1, 70_000)[COLUMNS]
    with (
        RangeServer({"/other.kist": (folder / "other.kist").read_bytes()}) as server,
        kist.open(server.url("/other.kist")) as store,
    ):
        table = store["trades"]
        assert len(table[COLUMNS][5_000:6_000]) == 1_000
        assert len(table.where(f"{COLUMNS[0]} == 7")[COLUMNS][:]) > 0


def measure(folder: Path, n_rows: int) -> list[str]:
    """Return the lines of the report."""
    # Elsewhere: whoever writes pages knows their heads, and a reader does not.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        path, wanted = pool.submit(prepare, folder, n_rows).result()
    warm_up(folder)
    lines = [
        f"{n_rows:,} rows x {N_COLUMNS} columns, {path.stat().st_size:,} bytes; "
        f"{len(COLUMNS)} columns of {n_rows // 100:,} rows; {LATENCY_S * 1000:g} ms an answer",
        f"{'':24}{'seconds':>9}{'waits':>7}{'requests':>10}{'bytes':>13}",
    ]
    read: list[tuple[float, int, int, int]] = []
    found: list[np.ndarray[Any, Any]] = []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        files: Any = {"/public.kist": data}
        with RangeServer(files, latency_s=LATENCY_S) as server:
            url = server.url("/public.kist")
            server.tag_of(files["/public.kist"])  # computed once, and not while we measure

            def spent(began: float, backend: Any) -> tuple[float, int, int, int]:
                seconds = time.perf_counter() - began
                numbers = backend.rounds, backend.requests, backend.request_bytes
                backend.rounds = backend.requests = backend.request_bytes = 0
                return seconds, *numbers

            def line(what: str, seconds: float, waits: int, requests: int, n: int) -> None:
                lines.append(f"{what:24}{seconds:9.3f}{waits:7}{requests:10}{n:13,}")

            began = time.perf_counter()
            with kist.open(url) as store:
                backend: Any = store._session.engine.backend
                table = store["trades"]
                line("open", *spent(began, backend))
                for one in wanted:
                    began = time.perf_counter()
                    found.append(table[COLUMNS][one.start : one.stop])
                    read.append(spent(began, backend))
                seconds, waits, requests, n = zip(*read, strict=True)
                middle = statistics.median
                line(
                    "slice, median",
                    middle(seconds),
                    max(waits),
                    int(middle(requests)),
                    int(middle(n)),
                )
                began = time.perf_counter()
                table["f20"][:]
                line("one column", *spent(began, backend))
                began = time.perf_counter()
                n_hits = len(table.where(f"f30 == {n_rows // 62}")[["f30", "f01"]][:])
                line("a condition", *spent(began, backend))
    with kist.open(path) as store:
        for one, rows in zip(wanted, found, strict=True):
            assert (store["trades"][COLUMNS][one.start : one.stop] == rows).all()
    for what in ("of_rows", "of_blocks"):
        times = [got[3] / getattr(one, what) for got, one in zip(read, wanted, strict=True)]
        lines.append(
            f"bytes that came, times those {what.replace('_', ' its ', 1)}: "
            f"{statistics.median(times):.2f} (median of {len(times)} slices), "
            f"{min(times):.2f} to {max(times):.2f}"
        )
    lines.append(f"{n_hits} rows met the condition")
    return lines


def main(n_rows: int = 1_000_000, folder: Path | None = None) -> int:
    """Measure and print; the exit status is 0."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        print("\n".join(measure(Path(work), n_rows)))
    return 0
