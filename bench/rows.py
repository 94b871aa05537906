"""``python -m bench.rows``: what one small append takes, by the form in which its rows are given.

Appends of all forms take turns, each to a table of its own, and SQLite inserts the same rows in
one transaction (write-ahead log, ``synchronous=FULL``, its log written over as it does after a
thousand pages). What the tables hold in the end is compared. Medians in us; with a sync, and
without any (``durability="none"``).

``python -m bench.rows FOLDER`` names a folder of the disk that is meant.
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kist

N_CALLS = 400
_FIELDS = [("time", "M8[us]"), ("n", "i8"), ("x", "f8"), ("y", "f8"), ("name", "S8")]
_LOG_PAGES = 1_000

Append = Callable[[int], object]


def row(i: int) -> tuple[Any, ...]:
    """Return the row of a number."""
    return np.datetime64(i, "us"), i, i / 2, -i / 4, b"name %d" % (i % 100)


def forms(store: kist.Store) -> dict[str, tuple[Any, Append]]:
    """Return a table for each form, and what appends to it the row or rows of a number."""
    dtype = np.dtype(_FIELDS)
    names = list(dtype.names or ())
    text = np.dtypes.StringDType()
    wide = [(f"f{i}", "f8") for i in range(50)]
    many = np.arange(500.0).reshape(10, 50)
    tables = {
        "array": store.create_table("array", dtype=dtype),
        "record": store.create_table("record", dtype=dtype),
        "tuple": store.create_table("tuple", dtype=dtype),
        "dict": store.create_table("dict", dtype=dtype),
        "ten tuples": store.create_table("ten", dtype=dtype),
        "tuple with text": store.create_table("text", dtype=dict(_FIELDS) | {"text": text}),
        "ten rows of 50 fields": store.create_table("wide", dtype=wide),
    }
    appends: dict[str, Append] = {
        "array": lambda i: np.array([row(i)], dtype),
        "record": lambda i: np.array([row(i)], dtype)[0],
        "tuple": row,
        "dict": lambda i: dict(zip(names, row(i), strict=True)),
        "ten tuples": lambda i: [row(i + k) for k in range(10)],
        "tuple with text": lambda i: (*row(i), f"what is said of {i}"),
        "ten rows of 50 fields": lambda i: (many + i).view(wide).ravel(),
    }
    return {name: (table, appends[name]) for name, table in tables.items()}


class Sqlite:
    """A table of the same fields, and text."""

    def __init__(self, path: Path, synced: bool) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.execute("CREATE TABLE t (time INT, n INT, x REAL, y REAL, name BLOB, text TEXT)")
        log = path.with_name(path.name + "-wal")
        page = int(self.db.execute("PRAGMA page_size").fetchone()[0])
        while log.stat().st_size < _LOG_PAGES * page:
            self.insert([-1])
        self.db.execute("DELETE FROM t")
        self.db.execute(f"PRAGMA synchronous={'FULL' if synced else 'OFF'}")
        self.db.execute("PRAGMA wal_checkpoint(RESTART)")

    def insert(self, numbers: list[int]) -> None:
        rows = []
        for i in numbers:
            when, *others = row(i)
            rows.append((int(when.view("i8")), *others, f"what is said of {i}"))
        if len(rows) > 1:
            self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", rows)
        if len(rows) > 1:
            self.db.execute("COMMIT")


def measure(folder: Path, durability: Any, n_calls: int = N_CALLS) -> dict[str, float]:
    """Return medians in us.

    Raises
    ------
    AssertionError
        A table does not hold what was appended.
    """
    warnings.simplefilter("ignore", kist.PerformanceWarning)  # each of these waits for the disk
    one, ten = (Sqlite(folder / f"{durability}{n}.db", durability == "full") for n in (1, 10))
    with kist.open(folder / f"{durability}.kist", "w", durability=durability) as store:
        made = forms(store)
        times: dict[str, list[float]] = {name: [] for name in (*made, "SQLite", "SQLite, ten")}
        for i in range(n_calls):
            for name, (table, give) in made.items():
                rows = give(i)
                start = time.perf_counter()
                table.append(rows)
                times[name].append(time.perf_counter() - start)
            for name, other, numbers in (
                ("SQLite", one, [i]),
                ("SQLite, ten", ten, list(range(i, i + 10))),
            ):
                start = time.perf_counter()
                other.insert(numbers)
                times[name].append(time.perf_counter() - start)
        _check(made, one, n_calls)
    for other in (one, ten):
        other.db.close()
    return {name: statistics.median(found) * 1e6 for name, found in times.items()}


def _check(made: dict[str, tuple[Any, Append]], other: Sqlite, n_calls: int) -> None:
    wanted = list(range(n_calls))
    for name, (table, _) in made.items():
        if name == "ten rows of 50 fields":
            right = table["f0"][::10].tolist() == wanted
        elif name == "ten tuples":
            right = table["n"][::10].tolist() == wanted
        else:
            right = table["n"][:].tolist() == wanted
        if not right:
            raise AssertionError(f"{name}: other rows than were appended")
    if [n for (n,) in other.db.execute("SELECT n FROM t ORDER BY rowid")] != wanted:
        raise AssertionError("SQLite: other rows than were inserted")


def main(arguments: list[str]) -> None:
    """Print a table of both."""
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else None) as name:
        full, none = (measure(Path(name), durability) for durability in ("full", "none"))
    print(f"{'us an append':24} {'durable':>8} {'no sync':>8}")
    for what, us in full.items():
        print(f"{what:24} {us:8.0f} {none[what]:8.0f}")


if __name__ == "__main__":
    main(sys.argv[1:])
