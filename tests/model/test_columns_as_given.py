"""Columns that are given beside text go into pages as they are, and stay their giver's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.model.tables.stored.batch import empty_batch, joined

TEXT = np.dtypes.StringDType()
N = 70_000


def given(n: int) -> dict[str, Any]:
    return {
        "k": np.arange(n),
        "t": np.array([f"text {k % 5000}" for k in range(n)], TEXT),
        "x": np.linspace(0, 1, n)[::-1],
        "day": np.datetime64("2026-01-05") + np.arange(n) // 1000,
        "b": np.arange(n) % 3 == 0,
    }


@pytest.mark.parametrize("codec", ["auto", "none"])
@pytest.mark.parametrize("n", [3, 3000, N])
def test_what_changes_after_an_append_is_not_stored(n: int, codec: str, tmp_path: Path) -> None:
    wanted, rows = given(n), given(n)
    with kist.open(tmp_path / "a.kist", "x") as store:
        with store.transaction():
            table = store.create_table("t", rows, codec=codec)
            table.append(rows)
            for name in ("k", "x", "day", "b"):
                rows[name][:] = rows[name][:1]
        for name, values in wanted.items():
            assert table[name][:].tolist() == 2 * values.tolist(), name
        assert store.check().ok
    with kist.open(tmp_path / "a.kist") as store:
        assert store["t"]["k"][:].tolist() == 2 * list(range(n))


@pytest.mark.parametrize("n", [3, N])
def test_columns_that_cannot_be_written_to_are_taken(n: int) -> None:
    rows = given(n)
    for values in rows.values():
        values.flags.writeable = False
    with kist.open(":memory:") as store:
        table = store.create_table("t", rows)
        table.create_index("k", unique=True)
        table.append({**rows, "k": rows["k"] + n})
        with pytest.raises(kist.ConstraintError):
            table.append(rows)
        table.where("k == 2").update({"x": 7.5})
        assert table.where("k == 2")["x"][:].tolist() == [7.5]
        assert rows["x"].max() == 1.0
        assert table["k"][:].tolist() == list(range(2 * n))


def batch(n: int, names: str = "kxt") -> Any:
    rows = given(n)
    dtype = np.dtype([("k", "<i8"), ("x", "<f4"), ("t", "O")])
    made = empty_batch(dtype, {"t": TEXT}, n, names)
    for name in names:
        made[name] = rows[name].astype("f4") if name == "x" else rows[name]
    return made


def test_a_batch_of_columns_is_one_of_rows() -> None:
    rows, k = given(10), batch(10)["k"]
    assert not k.flags.writeable and k.tolist() == list(range(10))
    made = batch(10)
    parts = joined([made[:4], made[4:7], made[7:]])
    assert len(parts) == 10 and parts.nbytes == made.nbytes
    for found in (made, parts, made[::2], made[np.array([3, 1])]):
        assert found.fixed.dtype == np.dtype([("k", "<i8"), ("x", "<f4")])
        assert found["k"].tolist() == found.fixed["k"].tolist()
        assert len(found["t"]) == len(found) == len(found.fixed)
    assert made.fixed["x"].tolist() == rows["x"].astype("f4").tolist()
    made["k"] = 5
    assert made["k"].tolist() == [5] * 10 == made.fixed["k"].tolist()


def test_one_value_stands_for_all_rows_of_a_column() -> None:
    made = empty_batch(np.dtype([("k", "<i8"), ("t", "O")]), {"t": TEXT}, 4, ["k"])
    made["k"] = 3
    assert made["k"].tolist() == [3, 3, 3, 3] and made["t"].tolist() == [""] * 4


def test_what_is_not_given_is_zeros() -> None:
    made = batch(4, "kt")
    assert made.fixed["x"].tolist() == [0.0] * 4
