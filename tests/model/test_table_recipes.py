"""Recipes of pages: kept between appends, what the last pages say, and chosen again on drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.engine.pages import page_head
from kist.model import page_build
from kist.model.tables.changes import pages as table_pages
from kist.model.tables.changes.pages import Chosen, Recipes

Array = np.ndarray[Any, Any]
DTYPE = np.dtype([("x", "f8"), ("n", "i4"), ("s", "S4")])


def batch(kind: str, n: int, seed: int) -> Array:
    """Rows of one kind of data: each suits other stages."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, DTYPE)
    if kind == "walk":
        rows["x"] = np.round(np.cumsum(rng.normal(size=n)), 2)
        rows["n"] = np.arange(n)
        rows["s"] = rng.choice([b"a", b"bc"], n)
    elif kind == "noise":
        rows["x"] = rng.normal(size=n)
        rows["n"] = rng.integers(-(2**31), 2**31, n)
        rows["s"] = rng.integers(0, 2**31, n, np.int32).view("S4")
    elif kind == "gaps":
        rows["x"] = np.where(rng.random(n) < 0.3, np.nan, rng.integers(0, 9, n) / 10)
        rows["n"] = rng.integers(0, 3, n)
    return rows


def recipes_of(table: Any) -> dict[int, Chosen | None]:
    """The recipes that the next append begins with."""
    with table._write() as txn:
        state = table._state(txn)
        recipes = Recipes(txn, table._id, state.schema, state.tail.stamp)
        return {leaf.id: recipes.last(leaf) for leaf in state.schema.leaves}


batches = st.lists(
    st.tuples(
        st.sampled_from(["same", "walk", "noise", "gaps"]),
        st.sampled_from([5, 4_096, 8_192, 8_193, 10_000, 12_287, 12_288, 20_000]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25)
@given(batches, st.integers(0, 9))
def test_any_sequence_of_batches_comes_back_and_kept_recipes_are_those_of_the_last_pages(
    parts: list[tuple[str, int, bool]], seed: int
) -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        expected = np.zeros(0, DTYPE)
        for kind, n, undone in parts:
            rows = batch(kind, n, seed)
            with store.transaction():
                if undone:  # what a rolled-back append chose counts no more
                    with pytest.raises(KeyError), store.transaction():
                        table.append(batch("noise", 9_000, seed))
                        raise KeyError
                table.append(rows)
            expected = np.concatenate((expected, rows))
            kept = recipes_of(table)
            table_pages._kept.clear()
            for leaf, found in recipes_of(table).items():
                before = kept[leaf]
                assert (before is None) == (found is None)
                if before is not None and found is not None:
                    assert before.recipe == found.recipe
                    assert before.packed == found.packed == found.recipe.pack()
                    assert before.bits == pytest.approx(found.bits, rel=1e-6)
        assert table[:].tobytes() == expected.tobytes()
        for row in range(0, len(expected), 4_001):
            assert table[row : row + 3].tobytes() == expected[row : row + 3].tobytes()


def test_a_kept_recipe_is_given_up_when_the_data_drift() -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        found = []
        for kind in ("walk", "walk", "noise"):
            table.append(batch(kind, 10_000, 1))
            chosen = recipes_of(table)[table._state().schema.leaves[1].id]
            assert chosen is not None
            found.append(chosen.recipe.describe())
        assert found[0] == found[1] != found[2]
        assert "delta" in found[0]
        assert "delta" not in found[2]


def test_a_page_of_a_little_more_than_a_block_is_one_block() -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        sizes = (4_096, 8_192, 10_000, 12_287, 12_288, 16_385)
        for n in sizes:
            table.append(batch("walk", n, n))
        state = table._state()
        (leaf, *_) = state.schema.leaves
        blocks = [
            -(-n // page_head(state.view, state.page(leaf, group)[0]).block_values)
            for n, group in zip(sizes, state.layout.groups, strict=True)
        ]
        assert blocks == [1, 1, 1, 1, 2, 3]


def test_rows_with_a_stride_and_swapped_durations_become_pages() -> None:
    dtype = np.dtype([("a", "f8"), ("b", "f8"), ("t", "<m8[s]"), ("u", "<m8[s]"), ("n", "i4")])
    rows = np.frombuffer(np.random.default_rng(0).bytes(20_000 * dtype.itemsize), dtype)
    swapped = rows.astype([(n, rows.dtype[n].newbyteorder(">")) for n in dtype.names or ()])
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=dtype)
        table.append(rows[::2])
        table.append(swapped)
        found = table[:]
        assert found[:10_000].tobytes() == rows[::2].tobytes()
        for name in dtype.names or ():
            # Whatever NumPy makes of equal durations: the values are those that were given.
            assert found[name][10_000:].tobytes() == swapped[name].astype(dtype[name]).tobytes()


def test_data_that_become_compressible_are_noticed() -> None:
    rng = np.random.default_rng(4)
    n = 65_536
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("v", "f8")])
        table.append({"v": rng.random(2 * n)})
        noise = table.nbytes_stored
        steady = np.round(np.cumsum(rng.normal(size=n)), 2)
        for _ in range(16):
            table.append({"v": steady})
        assert table.nbytes_stored - noise < 0.8 * 16 * n * 8
        assert (table["v"][-n:] == steady).all()


def test_small_columns_alike_are_chosen_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    choose = page_build.choose
    monkeypatch.setattr(page_build, "choose", lambda *a, **k: chosen.append(a) or choose(*a, **k))
    rng = np.random.default_rng(5)
    dtype = np.dtype([(f"price{n}", "f8") for n in range(12)] + [("n", "i4")])
    tables = []
    for _ in range(6):
        rows = np.zeros(9_000, dtype)
        for name in dtype.names or ():
            rows[name] = np.round(np.cumsum(rng.normal(size=9_000)), 2)
        tables.append(rows)
    with kist.open(":memory:") as store:
        for number, rows in enumerate(tables):
            store[f"t{number}"] = rows
        assert 2 <= len(chosen) <= 30  # of 78
        for number, rows in enumerate(tables):
            np.testing.assert_array_equal(store[f"t{number}"][:], rows)
