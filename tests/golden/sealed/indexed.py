"""The file with indexes on sealed columns (made by `program.py`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kist

FOLDER = Path(__file__).resolve().parent
KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
N = 5_000


def rows() -> np.ndarray:
    """The rows of the table ``t`` when its indexes were made."""
    made = np.empty(N, [("id", "<i4"), ("b", "<u4"), ("c", "<u2"), ("x", "<f8")])
    made["id"] = np.arange(N)
    made["b"] = np.arange(N) * 7919 % 641
    made["c"] = np.arange(N) % 11
    made["x"] = np.arange(N) / 4
    return made


def expected() -> np.ndarray:
    """What it shows with all secrets: the runs do not know this change."""
    shown = rows()
    shown["b"][5] = 9
    return shown


def make(path: Path) -> None:
    """Write the file: an open index, and two of the field (``b``, ``c``), whose runs are soiled."""
    with kist.open(path, "w") as store:
        t = store.create_table("t", rows(), encrypt={("b", "c"): KEY, "x": OTHER})
        t.create_index("id")
        t.create_index("b")
        t.create_index("b", "c")
        t["b"][5] = 9
