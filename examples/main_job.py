"""The main job, on input that every machine has: a table of all files of the Python installation.

A structured array goes into one file, grows by appends, survives `kill -9` in the middle of them,
is read by column, row and range, queried, changed and rolled back; an old version stays readable.
Each step says what it does and how long it took, and checks its result against NumPy.

    python examples/main_job.py [FILE]

FILE is by default in a temporary folder, which is removed at the end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import kist

BLOCK = 1000  # rows of a block when the table is made
BATCH = 20  # rows of one append of the child
MOST_FILES = 20_000


@contextmanager
def step(what: str) -> Iterator[list[str]]:
    """Time a step; notes put into the list are printed with it."""
    notes: list[str] = []
    start = time.perf_counter()
    yield notes
    took = time.perf_counter() - start
    print(f"{what:<58} {took * 1e3:8.1f} ms")
    for note in notes:
        print(f"    {note}")


def files_of_python() -> list[tuple[bytes, bytes, int, int, int, int]]:
    """Return (path, extension, size, mtime in ns, mode, inode) of the files of this Python."""
    found = []
    roots = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    base = os.path.commonpath(roots)
    seen: set[str] = set()
    for root in sorted(roots):
        for folder, folders, names in os.walk(root):
            folders.sort()
            if folder in seen:
                folders.clear()
                continue
            seen.add(folder)
            for name in sorted(names):
                path = os.path.join(folder, name)
                try:
                    about = os.stat(path)
                except OSError:
                    continue  # a dangling link
                found.append(
                    (
                        os.fsencode(os.path.relpath(path, base)),
                        os.fsencode(os.path.splitext(name)[1]),
                        about.st_size,
                        about.st_mtime_ns,
                        about.st_mode,
                        about.st_ino,
                    )
                )
                if len(found) == MOST_FILES:
                    return found
    return found


def as_rows(files: list[tuple[bytes, bytes, int, int, int, int]]) -> np.ndarray:
    """Return the files as one structured array, as wide as the longest path."""
    paths, extensions = max(len(f[0]) for f in files), max(len(f[1]) for f in files)
    dtype = [
        ("path", f"S{paths}"),
        ("extension", f"S{max(1, extensions)}"),
        ("size", "i8"),
        ("mtime", "M8[ns]"),
        ("mode", "u4"),
        ("inode", "u8"),
    ]
    return np.array(files, dtype)


CHILD = """
import sys
import numpy as np
import kist

rows = np.load(sys.argv[2])
with kist.open(sys.argv[1], "r+") as store:
    table = store["python/files"]
    for start in range(0, len(rows), {batch}):
        table.append(rows[start : start + {batch}])
        print(start + {batch}, flush=True)  # the rows are on the disk: say so
"""


def append_and_kill(path: str, rows: np.ndarray, folder: str) -> tuple[int, float]:
    """Let a child append the rows in small batches, and kill it halfway.

    Returns the number of rows that it had acknowledged, and its appends per second.
    """
    source = os.path.join(folder, "rows.npy")
    np.save(source, rows)
    code = CHILD.format(batch=BATCH)
    child = subprocess.Popen(
        [sys.executable, "-c", code, path, source], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    acknowledged = int(child.stdout.readline())
    start, first = time.perf_counter(), acknowledged
    for line in child.stdout:
        acknowledged = int(line)
        if acknowledged >= len(rows) // 2:
            break
    rate = (acknowledged - first) / BATCH / (time.perf_counter() - start)
    child.send_signal(signal.SIGKILL)  # no warning, no clean-up
    rest = child.stdout.read().split()
    child.stdout.close()
    child.wait()
    return int(rest[-1]) if rest else acknowledged, rate


def run(path: str, folder: str) -> None:
    with step("scan the files of this Python") as notes:
        rows = as_rows(files_of_python())
        notes.append(f"{len(rows):,} files, {rows.nbytes / 1e6:.1f} MB as a structured array")
    half = len(rows) // 2

    with step("make a table of the first half, block by block") as notes:
        blocks = (rows[at : min(at + BLOCK, half)] for at in range(0, half, BLOCK))
        with kist.open(path, "w") as store:
            table = store.create_table("python/files", blocks, dtype=rows.dtype)
            table.attrs["python"] = sys.version
            store.tag("first-half")
            notes.append(f"{len(table):,} rows, on disk, tagged 'first-half'")

    with step(f"append {BATCH} rows at a time in a child, kill -9 halfway") as notes:
        acknowledged, rate = append_and_kill(path, rows[half:], folder)
        notes.append(
            f"{acknowledged:,} rows acknowledged, {rate:,.0f} durable appends a second, then killed"
        )

    with step("open the file again") as notes:
        store = kist.open(path, "r+")
        table = store["python/files"]
        survived = len(table) - half
        notes.append(f"{survived:,} appended rows are there, at least {acknowledged:,} had to be")
        assert survived >= acknowledged and survived % BATCH == 0

    with step("check every byte of it") as notes:
        report = store.check()
        notes.append(repr(report))
        assert report.ok

    with step("append the rest, and compare all rows with the array"):
        table.append(rows[half + survived :])
        assert np.array_equal(table[:], rows)
    complete = store.tag("complete")

    with step("read one column") as notes:
        sizes = table["size"][:]
        notes.append(f"{sizes.sum():,} bytes in all files")
        assert np.array_equal(sizes, rows["size"])

    with step("read 100 single rows in any order"):
        for at in np.random.default_rng(1).integers(0, len(rows), 100):
            assert table[int(at)] == rows[at]

    with step("query: large Python sources") as notes:
        hits = table.where("(extension == '.py') & (size > limit)", limit=100_000)
        n, total = hits.count(), hits["size"].sum()
        wanted = (rows["extension"] == b".py") & (rows["size"] > 100_000)
        assert (n, total) == (wanted.sum(), rows["size"][wanted].sum())
        notes.append(f"{n:,} files, {total:,} bytes; the first: {hits[0]['path'].decode()}")

    with step("query: five newest files") as notes:
        limit = np.sort(rows["mtime"])[-5]
        newest = table.where("mtime >= limit", limit=limit)
        for row in list(newest)[:5]:
            notes.append(f"{row['mtime']}  {row['path'].decode()}")

    with step("change them in a transaction that fails"):
        try:
            with store.transaction("a bad idea"):
                hits.update({"size": 0})
                table.delete(slice(0, 1000))
                assert hits.count() == 0
                raise RuntimeError("better not")
        except RuntimeError:
            assert np.array_equal(table[:], rows), "nothing of it is left"

    with step("change them for good: update, delete, one commit") as notes:
        with store.transaction("remove compiled files, hide modes") as txn:
            removed = table.where("extension == '.pyc'").delete()
            table.where("mode > 0").update({"mode": kist.expr("mode & 0o777")})
        kept = rows[rows["extension"] != b".pyc"].copy()
        kept["mode"] &= 0o777
        assert np.array_equal(table[:], kept)
        notes.append(f"{removed:,} rows deleted, {len(table):,} updated, in commit {txn.id}")

    with (
        step("open the version before, by its tag") as notes,
        kist.open(path, version="complete") as old,
    ):
        assert np.array_equal(old["python/files"][:], rows)
        notes.append(f"all {len(rows):,} rows of commit {complete} are still there")

    with step("and the history"):
        messages = [commit.message for commit in store.history() if commit.message]
        assert any("compiled" in message for message in messages)
    store.close()
    print(
        f"\n{path}: {os.path.getsize(path) / 1e6:.2f} MB with three versions, "
        f"for {rows.nbytes / 1e6:.1f} MB of rows"
    )


def main() -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = sys.argv[1] if len(sys.argv) > 1 else str(Path(folder, "files.kist"))
        run(path, folder)
        print(f"{time.perf_counter() - start:.1f} s in all; everything was compared with NumPy")


if __name__ == "__main__":
    main()
