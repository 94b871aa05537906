"""The file with sealed groups (made by `program.py`).

`expected` and `attributes` are what it must show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import kist

FOLDER = Path(__file__).resolve().parent
KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


def expected() -> dict[str, Any]:
    """What the datasets show with the secrets, by their paths."""
    return {
        "/ward/rows": np.array([(1, b"Ann"), (2, b"Bob"), (3, b"Eve")], "<i4,S4"),
        "/ward/scans": np.arange(6_000, dtype="<i4").reshape(60, 100),
        "/ward/sub/few": np.array([1.5, -2.5]),
        "/ward/late": np.array([7], "<i8"),
        "/second/few": np.array([9], "<i8"),
    }


def attributes() -> dict[str, dict[str, Any]]:
    """The attributes of nodes, by their paths."""
    return {
        "/ward": {"TITLE": "Ward 3", "head": "Dr. No"},
        "/ward/sub": {"large": np.arange(900)},
        "/ward/sub/few": {},
        "/ward/rows": {"unit": "mg"},
        "/second": {},
        "/": {"open": 1},
    }


def make(path: Path) -> None:
    """Write the file: a group of two secrets, rotated between writes, and one of another."""
    shown = expected()
    with kist.open(path, "w") as store:
        store.attrs["open"] = 1
        ward = store.create_group("ward", encrypt={"lab": OTHER}, title="Ward 3")
        ward["rows"] = shown["/ward/rows"][:2]
        ward["rows"].attrs["unit"] = "mg"
        ward["rows"]["f1"].attrs["of"] = "people"
        ward["scans"] = shown["/ward/scans"]
        ward["sub/few"] = shown["/ward/sub/few"]
        ward["sub"].attrs["large"] = np.arange(900)
        ward.create_keystore("runs").update({"a": 1, "b": np.arange(3)})
        ward.rotate({"lab": KEY, "more": OTHER})
        ward.remove_secret("more")
        ward["rows"].append(shown["/ward/rows"][2:])
        ward["late"] = shown["/ward/late"]
        ward.attrs.update(head="Dr. No", gone=1)
        del ward.attrs["gone"]
        store.create_group("second", encrypt=OTHER)["few"] = shown["/second/few"]
        store.move("ward/sub", "ward/other")
        store.move("ward/other", "ward/sub")
