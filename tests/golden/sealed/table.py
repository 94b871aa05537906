"""The file with sealed columns (made by `program.py`); `expected` is what it must show."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kist

FOLDER = Path(__file__).resolve().parent
KEY, PHRASE = bytes(range(32)), "golden files are for everybody"
N = 5_010


def rows() -> np.ndarray:
    """The rows of the table ``t``."""
    made = np.empty(N, [("id", "<i4"), ("name", "S6"), ("x", "<f8"), ("y", "<i2")])
    made["id"] = np.arange(N)
    made["name"] = [b"n%d" % (i % 37) for i in range(N)]
    made["x"] = np.arange(N) % 101 / 4
    made["y"] = np.arange(N) % 300
    return made


def expected() -> np.ndarray:
    """What it shows with all secrets."""
    shown = rows()
    shown["x"][7:9] = -1
    shown["y"][3] = 5
    return np.delete(shown, slice(20, 30))


def make(path: Path) -> None:
    """Write the file: pages, pieces in records and in an extent, patches, deleted rows."""
    with kist.open(path, "w") as store:
        encrypt = {("x", "y"): {"key": KEY}, "name": {"phrase": PHRASE}}
        t = store.create_table("t", rows()[:4_500], encrypt=encrypt)
        t.append(rows()[4_500:4_505])
        t.append(rows()[4_505:])
        t["x"][7:9] = -1.0
        t["y"][3] = 5
        t.delete(slice(20, 30))
