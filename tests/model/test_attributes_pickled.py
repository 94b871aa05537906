"""Attributes as handles that go to workers."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

import kist


def test_attributes_go_to_workers_as_other_handles_do(tmp_path: Path) -> None:
    with kist.open(tmp_path / "s.kist", "w") as store:
        store["t"] = np.zeros(3, "i4,f4")
        store.attrs["camera"] = "B"
        store["t"]["f0"].attrs["unit"] = "s"
        found = [
            pickle.loads(pickle.dumps(attrs)) for attrs in (store.attrs, store["t"]["f0"].attrs)
        ]
    assert [dict(attrs) for attrs in found] == [{"camera": "B"}, {"unit": "s"}]
