"""The file with sealed categorical columns (made by `program.py`)."""

from __future__ import annotations

from pathlib import Path

import kist

FOLDER = Path(__file__).resolve().parent
KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
NAMES = [f"person {i}" for i in range(400)]
COLOURS = ["red", None, "blue", "red"]
SIZES = [5, 7, None, 5]
N = len(NAMES) + 1


def expected() -> dict[str, list[object]]:
    """What the table ``t`` shows with all secrets."""
    return {
        "name": [*NAMES[:3], "somebody", *NAMES[4:], NAMES[9]],
        "colour": [COLOURS[i % 4] for i in range(N)],
        "size": [SIZES[i % 4] for i in range(N)],
    }


def lists() -> dict[str, list[object]]:
    """The categories of each column."""
    return {"name": [*NAMES, "somebody"], "colour": ["red", "green", "blue"], "size": [5, 7]}


def make(path: Path) -> None:
    """Write the file: a list in an extent, one of an enumeration, an open one, a new value."""
    spec = {
        "id": "i4",
        "name": kist.categorical(),
        "colour": kist.enum(["red", "green", "blue"]),
        "size": kist.categorical("i2"),
    }
    with kist.open(path, "w") as store:
        first = {
            "id": list(range(N - 1)),
            "name": NAMES,
            "colour": [COLOURS[i % 4] for i in range(N - 1)],
            "size": [SIZES[i % 4] for i in range(N - 1)],
        }
        encrypt = {("name", "colour"): KEY, "id": OTHER}
        t = store.create_table("t", first, dtype=spec, encrypt=encrypt)
        t.append({"id": [400], "name": [NAMES[9]], "colour": [COLOURS[0]], "size": [SIZES[0]]})
        t["name"][3] = "somebody"
