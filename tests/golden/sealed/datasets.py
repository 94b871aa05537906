"""The file with sealed arrays and key stores (made by `program.py`).

`values` and `entries` are what it must show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import kist

FOLDER = Path(__file__).resolve().parent
KEY, PHRASE = bytes(range(32)), "golden files are for everybody"


def values() -> dict[str, np.ndarray]:
    """What the arrays show with all secrets."""
    scans = np.full((90, 120), 7, "<i4")
    scans[:70, :100] = np.arange(7_000).reshape(70, 100) % 913
    scans[3:5] = 1
    scans[68:, :] = np.arange(120)
    words = np.array(["one", "", "three hundred"], np.dtypes.StringDType())
    return {"scans": scans, "few": np.array([1.5, -2.5]), "words": words, "none": np.full(4, 2.5)}


def entries() -> dict[Any, Any]:
    """What the key store ``runs`` shows, in its order."""
    return {
        -7: None,
        3: {"gain": 2.5},
        b"raw": bytes(range(40)),
        "e\u0301": "not in form NFC",
        "long": "x" * 4_000,
        "run": (np.arange(900, dtype="<i4"), "volts"),
    }


def make(path: Path) -> None:
    """Write the file: pages in blocks, small values, segments, lowered shapes, fill values; then
    entries in records and in bundles."""
    made = values()
    with kist.open(path, "w") as store:
        encrypt = {"key": KEY, "phrase": PHRASE}
        scans = store.create_array(
            "scans", shape=(70, 100), dtype="<i4", chunks=(64, 64), fill_value=7, encrypt=encrypt
        )
        scans[...] = np.arange(7_000).reshape(70, 100) % 913
        scans.resize((68, 120))
        scans.append(made["scans"][68:])
        scans[3:5] = 1
        scans[5:68, 100:] = 7
        scans[:3, 100:] = 7
        store.create_array("few", made["few"], encrypt=KEY)
        store.create_array("words", made["words"], encrypt=KEY)
        store.create_array("none", shape=(4,), dtype="f8", fill_value=2.5, encrypt=KEY)
        runs = store.create_keystore("runs", encrypt=KEY)
        runs.update({**dict(reversed(entries().items())), "gone": 1})
        del runs["gone"]
        store.create_keystore("empty", encrypt=KEY)
