"""The file whose sealed bodies are of batches (made by `program.py`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kist

FOLDER = Path(__file__).resolve().parent
KEY, PHRASE = bytes(range(32)), "golden files are for everybody"
N = 9_010


def rows() -> np.ndarray:
    """The rows of the table ``t``."""
    made = np.empty(N, [("id", "<i4"), ("name", "S6"), ("x", "<f8"), ("y", "<i2")])
    made["id"] = np.arange(N)
    made["name"] = [b"n%d" % (i % 37) for i in range(N)]
    made["x"] = np.arange(N) ** 2 % 10_007 / 4
    made["y"] = np.arange(N) % 300
    return made


def expected() -> np.ndarray:
    """What it shows with all secrets."""
    shown = rows()
    shown["x"][7:9] = -1
    shown["y"][3] = 5
    return np.delete(shown, slice(20, 30))


def numbers() -> np.ndarray:
    """The values of the array ``a``."""
    return np.arange(20_000, dtype="<i8") ** 3 % 65_521


def make(path: Path) -> None:
    """Write the file: pages of several units, pieces, patches; a chunk; entries of a key store."""
    with kist.open(path, "w") as store:
        encrypt = {("x", "y"): {"key": KEY}, "name": {"phrase": PHRASE}}
        t = store.create_table("t", rows()[:8_500], encrypt=encrypt)
        t.append(rows()[8_500:8_505])
        t.append(rows()[8_505:])
        t["x"][7:9] = -1.0
        t["y"][3] = 5
        t.delete(slice(20, 30))
        t.create_index("y")
        store.create_array("a", numbers(), encrypt=KEY)
        store.create_keystore("k", encrypt=KEY).update({"one": np.arange(5), "two": "text"})
