"""Split, merge and unions beside a copy of the same bytes: ``python -m bench.parts``.

A table of 20 columns is cut into four files and put together again, between runs of ``cp`` of the
same file, each with and without the sync that kist ends with by default; then many small files
are opened as one table, by `kist.union` and by a link that knows them, and asked for rows that lie
in one of them. What comes out is compared with the source before a time counts. Half of the speed
of ``cp`` and 100 MB of memory are the goals, and half a second for a thousand files.

    python -m bench.parts                          # 300 MB and 1,000 files, half a minute
    python -m bench.parts --rows 20_000_000        # 2 GB
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import getitem
from pathlib import Path
from typing import Any, Literal

import numpy as np

import kist
from bench.measure import measure
from bench.report import table as markdown_table

N_COLUMNS = 20
BATCH = 250_000
N_PARTS = 4
ROWS_OF_A_FILE = 5000


def batch(start: int, n: int) -> np.ndarray[Any, Any]:
    """Rows of which half the columns are random walks and half noise that does not compress."""
    draw = np.random.default_rng(start)
    rows = np.zeros(n, [(f"f{i:02}", "f8") for i in range(N_COLUMNS)])
    for i, name in enumerate(rows.dtype.names or ()):
        noise = draw.normal(size=n)
        rows[name] = noise if i % 2 else np.round(np.cumsum(noise), 2)
    return rows


def make(path: Path, n_rows: int) -> None:
    """Write the table that is cut."""
    with kist.open(path, "w", durability="none") as store:
        table = store.create_table("t", batch(0, 1)[:0])
        for start in range(0, n_rows, BATCH):
            table.append(batch(start, min(BATCH, n_rows - start)))


def copy(source: Path, target: Path) -> None:
    """Copy as ``cp`` does: within the kernel, without a sync."""
    shutil.copyfile(source, target)


def copy_durably(source: Path, target: Path) -> None:
    """The same, with what makes it last."""
    copy(source, target)
    fd = os.open(target, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_same(source: Path, merged: Path) -> None:
    """Raise unless both hold the same rows."""
    with kist.open(source) as one, kist.open(merged) as other:
        if len(one["t"]) != len(other["t"]):
            raise AssertionError(f"{len(other['t'])} rows instead of {len(one['t'])}")
        for a, b in zip(one["t"].blocks(), other["t"].blocks(), strict=True):
            if a.tobytes() != b.tobytes():
                raise AssertionError("rows are not those of the source")


def split_and_merge(folder: Path, n_rows: int, rounds: int) -> list[str]:
    """Return a table of speeds and peaks."""
    source, target = folder / "source.kist", folder / "copy.kist"
    out, merged = folder / "parts", folder / "merged.kist"
    make(source, n_rows)
    size = source.stat().st_size

    def merge(durability: Literal["full", "none"]) -> None:
        kist.merge(sorted(out.iterdir()), merged, durability=durability)

    def split(durability: Literal["full", "none"]) -> None:
        kist.split(source, "t", parts=N_PARTS, out=out, durability=durability)

    steps: dict[str, Callable[[], Any]] = {
        "cp": lambda: copy(source, target),
        f'split into {N_PARTS}, durability="none"': lambda: split("none"),
        'merge, durability="none"': lambda: merge("none"),
        "cp, synced": lambda: copy_durably(source, target),
        f"split into {N_PARTS}": lambda: split("full"),
        "merge": lambda: merge("full"),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    work: dict[str, list[float]] = {name: [] for name in steps}
    peaks: dict[str, int] = {}
    for _ in range(rounds):
        for name, call in steps.items():
            if name.startswith("split"):
                shutil.rmtree(out, ignore_errors=True)
            else:
                (target if name.startswith("cp") else merged).unlink(missing_ok=True)
            os.sync()  # nobody pays for what others wrote
            _, sample = measure(call)
            times[name].append(sample.seconds)
            work[name].append(sample.cpu_s)
            peaks[name] = max(peaks.get(name, 0), sample.peak_bytes)
        check_same(source, merged)
    best = {name: statistics.median(found) for name, found in times.items()}
    rows = [
        (
            name,
            f"{seconds:.2f} s",
            f"{size / seconds / 1e6:,.0f} MB/s",
            f"{best['cp' if _is_loose(name) else 'cp, synced'] / seconds:.2f}",
            f"{statistics.median(work[name]):.2f} s",
            f"{peaks[name] / 1e6:.0f} MB",
        )
        for name, seconds in best.items()
    ]
    return markdown_table(
        [
            *(f"{size / 1e6:,.0f} MB", "median", "speed"),
            *("of cp with as many syncs", "processor", "peak"),
        ],
        rows,
    )


def _is_loose(step: str) -> bool:
    """Tell whether a step leaves the bytes to the system."""
    return step == "cp" or "none" in step


def unions(folder: Path, n_files: int, rounds: int) -> list[str]:
    """Return a table of what it takes to open many files as one, and to ask them."""
    parts = folder / "many"
    parts.mkdir()
    paths = [parts / f"{n:05}.kist" for n in range(n_files)]
    for n, path in enumerate(paths):
        rows = np.zeros(ROWS_OF_A_FILE, [("id", "i8"), ("x", "f8")])
        rows["id"] = np.arange(n * ROWS_OF_A_FILE, (n + 1) * ROWS_OF_A_FILE)
        rows["x"] = rows["id"] % 97
        with kist.open(path, "w", durability="none") as store:
            store["t"] = rows
    linked = folder / "linked.kist"
    with kist.open(linked, "w") as store:
        store.create_union("t", "t", files=paths)
    names = ("open", "rows of one file", "again", "sum", "linked: open", "linked: rows of one file")
    times: dict[str, list[float]] = {name: [] for name in names}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = call()
        times[name].append(time.perf_counter() - start)
        return found

    n_rows = n_files * ROWS_OF_A_FILE
    low = n_rows // 2 + 10
    for _ in range(rounds):
        union = timed("open", lambda: kist.union(paths, "t"))
        with union:
            for name in ("rows of one file", "again"):
                hits = union.where("(id >= low) & (id < low + 20)", low=low)
                found = timed(name, partial(getitem, hits["id"], slice(None)))
                if found.tolist() != list(range(low, low + 20)):
                    raise AssertionError("not the rows that were asked for")
            if timed("sum", union["id"].sum) != n_rows * (n_rows - 1) // 2:
                raise AssertionError("not the sum of all files")
        with timed("linked: open", lambda: kist.open(linked)) as store:
            start = time.perf_counter()
            table = store["t"]
            times["linked: open"][-1] += time.perf_counter() - start
            hits = table.where("(id >= low) & (id < low + 20)", low=low)
            found = timed("linked: rows of one file", partial(getitem, hits["id"], slice(None)))
            if found.tolist() != list(range(low, low + 20)) or table.n_open != 1:
                raise AssertionError("not the rows that were asked for, or of more files than one")
    rows_ = [(name, f"{statistics.median(found) * 1000:,.1f} ms") for name, found in times.items()]
    return markdown_table([f"{n_files:,} files of {ROWS_OF_A_FILE:,} rows", "median"], rows_)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.parts", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="rows of the table to cut")
    parser.add_argument("--files", type=int, default=1000, help="files of the union")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; a disk, not memory")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="kist-bench-", dir=args.folder) as place:
        print("\n".join(split_and_merge(Path(place), args.rows, args.rounds)))
        print()
        print("\n".join(unions(Path(place), args.files, args.rounds)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
