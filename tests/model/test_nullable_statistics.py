"""Statistics of nullable columns leave nulls out, and no answer depends on that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_programs import small_groups

import kist
from kist.engine import pages as engine_pages

N = 400


@pytest.fixture
def store() -> Iterator[kist.Store]:
    with kist.open(":memory:") as opened:
        yield opened


def made(store: kist.Store, dtype: str, *, clean: bool, seed: int) -> Any:
    """Return rows whose values rise, so that pages differ, with nulls; all of one page."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(N, [("id", "i8"), ("x", kist.nullable(dtype))])
    rows["id"] = np.arange(N)
    rise = 1000 + np.arange(N) + rng.integers(0, 9, N)
    rows["x"]["value"] = rise.astype("S4") if dtype == "S4" else rise.astype(dtype)
    rows["x"]["valid"] = rng.random(N) < 0.8
    rows["x"]["valid"][64:128] = False
    rows["x"]["valid"][128:192] = True
    if clean:
        rows["x"]["value"][~rows["x"]["valid"]] = np.zeros(1, dtype)
    store["t"] = rows
    return rows


def held(rows: Any, op: str, limit: Any) -> list[int]:
    x = rows["x"]["value"]
    mask = {"<": x < limit, ">=": x >= limit, "==": x == limit}[op]
    return np.flatnonzero(mask & rows["x"]["valid"]).tolist()


@pytest.mark.parametrize("dtype", ["i4", ">i8", "f8", "M8[s]", "S4"])
@settings(max_examples=8, deadline=None)
@given(st.booleans(), st.integers(0, 99), st.data())
def test_every_question_has_the_answer_of_numpy(
    dtype: str, clean: bool, seed: int, data: st.DataObject
) -> None:
    with small_groups(), kist.open(":memory:") as store:
        rows = made(store, dtype, clean=clean, seed=seed)
        t = store["t"]
        for step in range(3):
            at = data.draw(st.integers(0, N - 1))
            if step == 1:  # a value appears where statistics may not count what is stored
                t.where("id == at", at=at).update({"x.valid": True})
                rows["x"]["valid"][at] = True
            elif step == 2:  # so many that pages are stored anew
                t.where("id < at", at=at).update({"x.valid": True})
                rows["x"]["valid"][:at] = True
            limit = rows["x"]["value"][data.draw(st.integers(0, N - 1))]
            for op in ("<", ">=", "=="):
                found = t.where(f"x {op} limit", limit=limit)["id"][:].tolist()
                assert found == held(rows, op, limit)
                raw = t.where(f"x.value {op} limit", limit=limit)["id"][:].tolist()
                x = rows["x"]["value"]
                same = {"<": x < limit, ">=": x >= limit, "==": x == limit}[op]
                assert raw == np.flatnonzero(same).tolist()
            there = rows["x"]["value"][rows["x"]["valid"]]
            assert t["x"].max() == np.sort(there)[-1]
            assert t["x"].min() == np.sort(there)[0]
            for descending in (False, True):
                first = t.sort_by("x", descending=descending).limit(5)["x"][:]
                ends = np.sort(there)
                assert first.compressed().tolist() == (
                    ends[::-1][:5].tolist() if descending else ends[:5].tolist()
                )
            sizes = t.group_by("x").count()
            assert sizes["count"].sum() == N
            assert len(sizes) == len(set(there.tolist())) + bool((~rows["x"]["valid"]).any())


def test_pages_without_what_is_asked_for_are_not_read_for_the_zeros_under_nulls(
    store: Any, monkeypatch: Any
) -> None:
    with small_groups():
        made(store, "i4", clean=True, seed=1)
        t = store["t"]
        plan = str(t.where("x < 1010").explain())
        reads: list[int] = []
        reading = engine_pages._decode
        monkeypatch.setattr(
            engine_pages, "_decode", lambda *args: (reads.append(1), reading(*args))[1]
        )
        t.where("x < 1010").count()
        assert len(reads) <= 2, plan
        reads.clear()
        t["x"].max()
        assert not reads
        t.where("x >= 1128 and x < 1150").count()
        assert len(reads) <= 2  # the values of one page without nulls, perhaps of its neighbour


def test_an_extreme_by_an_index_of_the_values_leaves_nulls_out(store: Any) -> None:
    x = np.ma.MaskedArray(np.arange(9_000) + 5, np.arange(9_000) % 2 == 1)
    t = store.create_table("t", {"x": x})
    t.create_index("x.value")
    assert (t["x"].min(), t["x"].max()) == (5, 9_003)
