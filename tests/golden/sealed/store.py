"""The store that is sealed as a whole (made by `program.py`); `shown` is what it must show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def shown(store: Any) -> dict[str, Any]:
    """What must be seen, with a store or a reader."""
    return {"attrs": dict(store.attrs), "n": dict(store["group"].attrs)}
