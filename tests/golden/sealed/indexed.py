"""Make the file with indexes on sealed columns anew: `python tests/golden/sealed/indexed.py`.

Clock and randomness are frozen, so it has the same bytes each time.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from pathlib import Path
from unittest import mock

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


def main() -> None:
    """Write `indexed.kist`."""
    ticks = itertools.count(1_700_000_000_000_000_000, 1_000_000)
    draws = itertools.count()

    def urandom(n: int) -> bytes:
        return hashlib.shake_128(f"indexed {next(draws)}".encode()).digest(n)

    path = FOLDER / "indexed.kist"
    path.unlink(missing_ok=True)
    with (
        mock.patch.object(time, "time_ns", lambda: next(ticks)),
        mock.patch.object(os, "urandom", urandom),
    ):
        kist.options.n_threads = 1  # the order of writes follows from the program
        try:
            make(path)
        finally:
            kist.options.reset()


if __name__ == "__main__":
    main()
