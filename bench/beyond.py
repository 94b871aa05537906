"""Many tables of 50 fields in ONE file that may exceed memory: ``python -m bench.beyond``.

The size of the mail that asked for it is 1,000 tables of 5M rows, 1.5 TB of records. This command
writes as many tables of as many rows as it is told, each made in blocks, and holds none of them in
memory; then it opens the file anew and reads parts of tables chosen at random. What is written and
read is compared with what the generator makes again. The arithmetic to 1.5 TB follows from the
last of the tables, when the file is as long as it gets.

    python -m bench.beyond --tables 20 --rows 5_000_000 --folder /data     # 30 GB of records
    python -m bench.beyond --tables 3 --rows 200_000                       # a minute, to try
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.engines.base import load
from bench.engines.kist_store import warm_kist
from bench.machine import describe
from bench.measure import drop_from_page_cache, measure, status_bytes
from bench.report import table as markdown_table
from bench.report import time_text
from bench.steps import equal
from bench.worker import pin
from bench.workloads import BLOCK_ROWS, TABLE_DTYPE, Records, iter_blocks

GOAL_TABLES, GOAL_ROWS = 1_000, 5_000_000
"""1,000 tables of 5M rows of 305 bytes: 1.525 TB."""
FIELDS = ["sent", "price0", "symbol"]
READS = 5
APPEND_BLOCKS = 4
"""262,144 rows at once: full row groups, and 80 MB of memory."""

Log = Callable[[str], None]
T = TypeVar("T")


def name_of(index: int) -> str:
    """The name of one table."""
    return f"archive/day{index:05d}"


def _block(index: int, n_rows: int, start: int, stop: int) -> Records:
    """Rows of one table, made again."""
    at = 0
    parts = []
    for block in iter_blocks(n_rows, seed=index):
        if at < stop and start < at + len(block):
            parts.append(block[max(0, start - at) : stop - at])
        at += len(block)
        if at >= stop:
            break
    return np.concatenate(parts)


class Cost:
    """What calls of kist took together: seconds, and the most memory held in any of them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_bytes = 0

    def of(self, call: Callable[[], T]) -> T:
        """Call once, and add what it cost."""
        held = status_bytes("VmRSS")
        result, sample = measure(call)
        self.seconds += sample.seconds
        self.peak_bytes = max(self.peak_bytes, held + sample.peak_bytes)
        return result


def write_table(store: Any, index: int, n_rows: int, rows: Records) -> Cost:
    """One table, in one transaction, from blocks that are made in ``rows``; what kist cost."""
    cost = Cost()
    with ExitStack() as stack:
        stack.enter_context(store.transaction())
        handle = cost.of(lambda: store.create_table(name_of(index), dtype=TABLE_DTYPE))
        blocks = iter_blocks(n_rows, seed=index)
        while n := _fill(rows, blocks):
            cost.of(partial(handle.append, rows[:n]))
        cost.of(stack.close)
    return cost


def _fill(rows: Records, blocks: Iterator[Records]) -> int:
    """Make the next blocks in ``rows``, as many as it holds; how many rows they have."""
    n = 0
    while n < len(rows) and (block := next(blocks, None)) is not None:
        rows[n : n + len(block)] = block
        n += len(block)
    return n


class _Reader:
    """Reads of one freshly opened store, timed one by one, each verified after its time."""

    def __init__(self, path: Path) -> None:
        self.seconds: dict[str, float] = {}
        self.store = self.time("open", lambda: load("kist").open(path))

    def time(self, step: str, call: Callable[[], T]) -> T:
        """Call once, and keep how long it took."""
        start = time.perf_counter()
        found = call()
        self.seconds[step] = time.perf_counter() - start
        return found

    def read(self, n_tables: int, index: int, start: int, wanted: Records) -> None:
        """List, then read parts of one table that must agree with ``wanted``."""
        if self.time("list", lambda: len(self.store["archive"])) != n_tables:
            raise AssertionError("tables are missing")
        table, stop = self.store[name_of(index)], start + len(wanted)
        part = self.time("3 fields of 1 %, a range", lambda: table[FIELDS][start:stop])
        row = self.time("a single row", lambda: table[start])
        field = self.time("one field", lambda: table["price0"][:])
        columns = {"price0": field[start:stop], **{name: part[name] for name in FIELDS}}
        right = all(
            equal(np.ascontiguousarray(column), np.ascontiguousarray(wanted[name]))
            for name, column in columns.items()
        )
        if not right or row.tobytes() != wanted[0].tobytes():
            raise AssertionError(f"{name_of(index)}: what was read is not what was written")


def _reads(path: Path, n_tables: int, n_rows: int) -> dict[str, float]:
    """Median seconds of reads from tables chosen at random, with the page cache dropped."""
    rng = np.random.default_rng(1)
    found: list[dict[str, float]] = []
    size = max(1, n_rows // 100)
    for _ in range(READS):
        index, start = int(rng.integers(n_tables)), int(rng.integers(n_rows - size + 1))
        wanted = _block(index, n_rows, start, start + size)
        drop_from_page_cache(path.parent)
        reader = _Reader(path)
        with reader.store:
            reader.read(n_tables, index, start, wanted)
        found.append(reader.seconds)
    return {step: statistics.median(some[step] for some in found) for step in found[0]}


def run(folder: Path, n_tables: int, n_rows: int, log: Log = lambda _: None) -> dict[str, Any]:
    """Write, read, reckon; all figures."""
    warm_kist()
    kist: Any = load("kist")
    path = folder / "beyond.kist"
    raw_table = n_rows * TABLE_DTYPE.itemsize
    seconds: list[float] = []
    sizes: list[int] = []
    rows = np.ones(APPEND_BLOCKS * BLOCK_ROWS, TABLE_DTYPE)
    held = status_bytes("VmRSS")
    peak = 0
    with kist.open(path, "w") as store:
        for index in range(n_tables):
            cost = write_table(store, index, n_rows, rows)
            peak = max(peak, cost.peak_bytes - held)
            seconds.append(cost.seconds)
            sizes.append(path.stat().st_size)
            log(f"{name_of(index)}: {time_text(seconds[-1])}, file {sizes[-1] / 1e9:.2f} GB")
    del rows
    reads = _reads(path, n_tables, n_rows)
    last = statistics.median(seconds[-max(1, n_tables // 4) :])
    first = statistics.median(seconds[: max(1, n_tables // 4)])
    stored_table = sizes[-1] / n_tables
    factor = GOAL_TABLES * GOAL_ROWS / n_rows
    return {
        "conditions": describe(folder),
        "tables": n_tables,
        "rows of each": n_rows,
        "raw bytes": raw_table * n_tables,
        "stored bytes": sizes[-1],
        "seconds a table, first quarter": first,
        "seconds a table, last quarter": last,
        "raw bytes a second": raw_table / last,
        "peak bytes above the start": peak,
        "reads, cache dropped": reads,
        "goal": {
            "raw bytes": GOAL_TABLES * GOAL_ROWS * TABLE_DTYPE.itemsize,
            "stored bytes": stored_table * factor,
            "hours to write": last * factor / 3_600,
        },
    }


def report(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    goal, reads = found["goal"], found["reads, cache dropped"]
    rows = [
        ["tables", f"{found['tables']:,} of {found['rows of each']:,} rows"],
        [
            "records, file",
            f"{found['raw bytes'] / 1e9:,.2f} GB, {found['stored bytes'] / 1e9:,.2f} GB",
        ],
        ["a table, at the start", time_text(found["seconds a table, first quarter"])],
        ["a table, at the end", time_text(found["seconds a table, last quarter"])],
        ["records a second", f"{found['raw bytes a second'] / 1e6:,.0f} MB"],
        ["peak memory above the start", f"{found['peak bytes above the start'] / 1e6:,.0f} MB"],
        *([step, time_text(seconds)] for step, seconds in reads.items()),
        [
            f"{goal['raw bytes'] / 1e12:.3f} TB of records, reckoned: file",
            f"{goal['stored bytes'] / 1e9:,.0f} GB",
        ],
        ["the same: time to write", f"{goal['hours to write']:,.1f} h"],
    ]
    return "\n".join(markdown_table(("many tables in one file", "found"), rows)) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.beyond",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tables", type=int, default=3, help="how many tables (default 3)")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of each (default 200,000)")
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument("--folder", type=Path, help="where to work; a disk, not memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    args = parser.parse_args(argv)
    if args.tables < 1 or args.rows < 100:
        parser.error("at least one table of 100 rows")
    pin(args.threads)
    with tempfile.TemporaryDirectory(prefix="kist-beyond-", dir=args.folder) as folder:
        found = run(
            Path(folder),
            args.tables,
            args.rows,
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(report(found), end="")
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
