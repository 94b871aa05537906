"""Groups of keys that stand in dictionaries are those of their values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kist
from kist.model.tables import groupby
from kist.model.tables.query import grouping


def test_keys_in_dictionaries_are_grouped_without_being_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    n = 9_000
    rows = np.zeros(n, [("s", "S8"), ("d", "M8[s]"), ("x", "f8")])
    rows["s"] = np.array([b"one", b"two", b"three", b""])[rng.integers(0, 4, n)]
    rows["d"] = np.array(["2024-01-01", "1999-12-31T01", "NaT"], "M8[s]")[rng.integers(0, 3, n)]
    rows["x"] = rng.random(n)
    taken: list[bool] = []
    numbering = grouping.numbered_pages

    def noted(*args: Any) -> Any:
        found = numbering(*args)
        taken.append(bool(found))
        return found

    monkeypatch.setattr(groupby, "numbered_pages", noted)

    def check(table: Any, rows: Any) -> None:
        found = table.group_by("s", "d").agg("count", total=("x", "sum"))
        for row in found:
            same = (rows["s"] == row["s"]) & (
                np.isnat(rows["d"]) if np.isnat(row["d"]) else rows["d"] == row["d"]
            )
            assert row["count"] == same.sum()
            assert np.isclose(row["total"], rows["x"][same].sum())
        assert found["count"].sum() == len(rows)

    with kist.open(":memory:") as store:
        store["t"] = rows
        t = store["t"]
        check(t, rows)
        assert taken.count(True) >= 1
        check(t.where("x > 0.3"), rows[rows["x"] > 0.3])
        t["s"][5:40] = b"patched"
        rows["s"][5:40] = b"patched"
        check(t, rows)
        t.delete([0, 7, n - 1])
        check(t, np.delete(rows, [0, 7, n - 1]))
