"""The file that `attacks` change (made by `program.py`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kist

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
N = 9_000


def rows(start: int = 0, n: int = N) -> np.ndarray:
    """Rows of a table."""
    made = np.empty(n, [("id", "<i4"), ("a", "<i8"), ("b", "<i8"), ("c", "<i8")])
    for name in ("id", "a", "b"):
        made[name] = np.arange(start, start + n) % 30_011
    mixed = np.arange(start, start + n, dtype="<u8") * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(29)) * np.uint64(0xBF58476D1CE4E5B9)
    made["c"] = mixed >> np.uint64(24)  # pages of several units
    return made


def make(path: Path) -> None:
    """Write two tables with the fields (a, b) and c: pages, pieces, patches, deleted rows."""
    with kist.open(path, "w") as store:
        for name, start in (("t", 0), ("u", 5)):
            t = store.create_table(name, rows(start), encrypt={("a", "b"): KEY, "c": OTHER})
            t.append(rows(start + N, 5_000))
            for at in range(2):
                t.append(rows(at, 20))
            t["a"][3:5] = 7
            t["c"][N + 5_003] = 8
            t.delete(range(50, 60))


def change(path: Path) -> None:
    """Write other values, which those of before may be put in place of."""
    with kist.open(path, "r+", secrets=[KEY, OTHER]) as store:
        store["t"]["c"][:N] = 1
