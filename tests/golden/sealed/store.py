"""Make the sealed store anew: `python tests/golden/sealed/store.py`.

Clock and randomness are frozen, so it has the same bytes each time. `shown` is what it must show.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import kist

FOLDER = Path(__file__).resolve().parent
KEY, PHRASE = bytes(range(32)), "golden files are for everybody"
N = 9_000


def rows() -> np.ndarray:
    """The rows of the table ``group/t``."""
    made = np.empty(N, [("id", "<i4"), ("name", "S6")])
    made["id"] = np.random.default_rng(3).integers(0, 1 << 30, N)  # more than one unit
    made["name"] = [b"n%d" % (i % 37) for i in range(N)]
    return made


def values() -> np.ndarray:
    """The array ``images``."""
    return np.random.default_rng(4).random((40, 150))  # several units, not compressed


def make(path: Path) -> None:
    """Write the file: records before and behind a root, pages in the tree, two data keys."""
    with kist.open(path, "w", encrypt={"key": KEY}) as store:
        t = store.create_table("group/t", rows()[: N - 3])
        store.attrs["unit"] = "m"
        store.rotate()
        store.add_secret(PHRASE, label="phrase")
        store["images"] = values()
        t.append(rows()[N - 3 :])
        store["group"].attrs["n"] = 5


def main() -> None:
    """Write `store.kist`."""
    ticks = itertools.count(1_700_000_000_000_000_000, 1_000_000)
    draws = itertools.count()

    def urandom(n: int) -> bytes:
        return hashlib.shake_128(f"store {next(draws)}".encode()).digest(n)

    path = FOLDER / "store.kist"
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


def shown(store: Any) -> dict[str, Any]:
    """What must be seen, with a store or a reader."""
    return {"attrs": dict(store.attrs), "n": dict(store["group"].attrs)}


if __name__ == "__main__":
    main()
