"""What differs between datasets without rows, and between values without bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kist
from kist.model.comparing import compare


def test_stores_without_rows_are_compared(tmp_path: Path) -> None:
    dtype = np.dtype([("v", "V3"), ("z", "f4", (0,)), ("p", "i2", (2,)), ("none", "V0")])
    for name in "ab":
        with kist.open(tmp_path / name, "w") as store:
            store.create_table("empty", dtype=dtype)
            store.create_table("full", np.zeros(3, dtype))
            store.create_array("cells", data=np.zeros((0, 2), dtype))
    with kist.open(tmp_path / "a") as one, kist.open(tmp_path / "b", "r+") as other:
        assert list(compare(one, other)) == []
        other["full"].update({"p": np.full((3, 2), 7)})
        assert [found.path for found in compare(one, other)] == ["/full"]
