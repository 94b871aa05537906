"""Text from Arrow goes into pages as it is, wherever the rows then pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kist

pa = pytest.importorskip("pyarrow")

N = 70_000
TEXTS = [None if k % 11 == 0 else f"text ä {k % 5000}" for k in range(N)]


def rows(n: int = N) -> Any:
    return pa.table({"k": np.arange(n), "t": TEXTS[:n]})


@pytest.mark.parametrize("n", [10, 3000, N])
def test_what_is_appended_is_read_again(n: int) -> None:
    with kist.open(":memory:") as store:
        store["t"] = rows(n)
        store["t"].append(rows(n))
        table = store["t"]
        assert table["t"][:].tolist() == 2 * TEXTS[:n]
        assert table.where("t == 'text ä 7'").count() == 2 * TEXTS[:n].count("text ä 7")
        assert store.check().ok


def test_indexes_computed_columns_and_updates_see_the_text() -> None:
    with kist.open(":memory:") as store:
        table = store.create_table("t", rows(100))
        table.create_index("t")
        table.append(rows())
        assert table.where("t == 'text ä 4999'")["k"][:].tolist() == [
            k for k, t in enumerate(TEXTS) if t == "text ä 4999"
        ]
        table.upsert(pa.table({"k": [5, N + 5], "t": ["new", "newer"]}), on="k")
        assert table.where("k == 5")["t"][:].tolist() == ["new", "new"]
        assert table["t"][-1] == "newer"
        table.insert(0, rows(3))
        assert table["t"][:3].tolist() == TEXTS[:3]


def test_columns_of_another_kind_get_their_own_values() -> None:
    with kist.open(":memory:") as store:
        dtype = {"k": "i8", "t": kist.categorical(str)}
        table = store.create_table("coded", rows(1000), dtype=dtype)
        assert table["t"][:].tolist() == TEXTS[:1000]
        narrow = store.create_table("narrow", dtype=[("k", "i8"), ("t", "U20")])
        some = rows(1000).filter(pa.array([t is not None for t in TEXTS[:1000]]))
        narrow.append(some)
        assert narrow["t"][:].tolist() == [t for t in TEXTS[:1000] if t is not None]
        strict = store.create_table("s", dtype={"k": "i8", "t": np.dtypes.StringDType()})
        with pytest.raises(kist.DTypeError, match="missing"):
            strict.append(rows(1000))
        assert len(strict) == 0
        strict.append(some)
        assert strict["t"][:].tolist() == narrow["t"][:].tolist()
