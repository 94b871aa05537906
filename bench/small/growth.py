"""A table made by many appends of ten rows: what it writes, how evenly, and what it becomes."""

from __future__ import annotations

import json
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import iocount
from bench.engines.base import load
from bench.harness import ROOT
from bench.records import same_bits
from bench.small.pieces import n_pieces
from bench.workloads import TABLE_DTYPE, Records, iter_blocks, table

ROWS_PER_APPEND = 10
MOST_KILLS = 12
READS = 5


def _times(path: Path, rows: Records) -> float:
    """Median seconds of a full read; the first read of each store must give ``rows``."""
    kist: Any = load("kist")
    times = []
    with kist.open(path) as store:
        for i in range(READS):
            start = time.perf_counter()
            found = store["t"][:]
            times.append(time.perf_counter() - start)
            if i == 0 and not same_bits(found, rows):
                raise AssertionError(f"{path.name}: not the rows that were appended")
            del found
    return statistics.median(times)


def grow(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """``n_rows / 10`` relaxed appends, against the same table written at once."""
    kist: Any = load("kist")
    rows = table(n_rows)
    grown, at_once = folder / "grown.kist", folder / "at-once.kist"
    times: list[int] = []
    cpu: list[int] = []
    store = kist.open(grown, "w", durability="relaxed")
    handle = store.create_table("t", dtype=TABLE_DTYPE)
    before, started = iocount.now(), time.perf_counter()
    for start in range(0, n_rows, ROWS_PER_APPEND):
        part = rows[start : start + ROWS_PER_APPEND]
        begin, cpu_begin = time.perf_counter_ns(), time.process_time_ns()
        handle.append(part)
        times.append(time.perf_counter_ns() - begin)
        cpu.append(time.process_time_ns() - cpu_begin)
    pieces_before_close = n_pieces(handle)
    store.close()
    seconds = time.perf_counter() - started
    written = iocount.now() - before
    with kist.open(at_once, "w") as other:
        other.create_table("t", rows)
    sizes = [path.stat().st_size for path in (grown, at_once)]
    reads = [_times(path, rows) for path in (grown, at_once)]
    p50, p99 = np.percentile(times, [50, 99]) / 1e3
    cpu_p50, cpu_p99 = np.percentile(cpu, [50, 99]) / 1e3
    return {
        "calls": len(times),
        "seconds": seconds,
        "written_bytes": written.write_bytes,
        "file_bytes": sizes[0],
        "file_bytes_at_once": sizes[1],
        "written_per_stored": written.write_bytes / sizes[0],
        "size_ratio": sizes[0] / sizes[1],
        "read_ms": reads[0] * 1e3,
        "read_ms_at_once": reads[1] * 1e3,
        "read_ratio": reads[0] / reads[1],
        "p50_us": p50,
        "p99_us": p99,
        "max_us": max(times) / 1e3,
        "p99_per_p50": p99 / p50,
        "cpu_p99_per_p50": cpu_p99 / cpu_p50,
        "syncs": written.syncs,
        "pieces_before_close": pieces_before_close,
    }


def append_until_killed(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """Append ten rows at a time for ever, or until the rows are used up; says when it begins."""
    kist: Any = load("kist")
    with kist.open(folder / "killed.kist", "a", durability="relaxed") as store:
        handle = store.require_table("t", dtype=TABLE_DTYPE)
        done = len(handle)
        print("begins", flush=True)
        at = 0
        for block in iter_blocks(n_rows):
            for start in range(0, len(block), ROWS_PER_APPEND):
                part = block[start : start + ROWS_PER_APPEND]
                if at >= done:
                    handle.append(part)
                at += len(part)
    return {"rows": n_rows}


def kill(folder: Path, n_rows: int, n_datasets: int) -> dict[str, Any]:
    """Kill the appending process at random moments; open, count what is to merge, compare."""
    kist: Any = load("kist")
    rng = random.Random(3)
    rows = table(n_rows)
    found: list[int] = []
    opened: list[float] = []
    lengths = [0]
    for _ in range(min(MOST_KILLS, max(2, n_rows // 10_000))):
        request = {"part": "append_until_killed", "folder": str(folder), "rows": n_rows}
        with subprocess.Popen(
            [sys.executable, "-m", "bench.small", json.dumps({**request, "datasets": 0})],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.05, 1.5))
            process.send_signal(signal.SIGKILL)
        start = time.perf_counter()
        with kist.open(folder / "killed.kist") as store:
            handle = store["t"]
            n = len(handle)
            opened.append(time.perf_counter() - start)
            found.append(n_pieces(handle))
            if n < lengths[-1] or not same_bits(handle[:], rows[:n]):
                raise AssertionError(f"after a kill: {n} rows are not the first {n} appended")
        lengths.append(n)
        if n == n_rows:
            break
    return {
        "kills": len(found),
        "rows_at_the_end": lengths[-1],
        "most_pieces": max(found),
        "median_pieces": statistics.median(found),
        "slowest_open_ms": max(opened) * 1e3,
    }
