"""Text of 16 bytes and more does not stand in NumPy's arrays themselves: answers are the same.

`searchsorted` of NumPy 2.0 to 2.4 finds no such string of another array.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist

TEXT = np.dtypes.StringDType()
MISSING = np.dtypes.StringDType(na_object=None)


@pytest.fixture
def store() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store


def _names(n: int, length: int) -> list[str]:
    """Texts that differ at their end, in no order."""
    order = np.random.default_rng(n).permutation(n).tolist()
    return [f"{'a rather long name of ':.<{length}}{number:05d}" for number in order]


@pytest.mark.parametrize("length", [3, 10, 11, 12, 40, 100])
@pytest.mark.parametrize("n", [10, 3000, 70_000])
@pytest.mark.parametrize("dtype", [TEXT, MISSING])
def test_isin_of_many_texts_finds_each(store: Any, n: int, length: int, dtype: Any) -> None:
    names = _names(500, length)
    rows: list[Any] = [names[at] for at in np.random.default_rng(1).integers(0, 500, n).tolist()]
    if dtype is MISSING:
        rows[::7] = [None] * len(rows[::7])
    table = store.create_table("t", dtype=[("name", dtype), ("v", "i4")])
    table.append({"name": np.array(rows, dtype), "v": np.arange(n, dtype="i4")})
    some = [*names[:60], "none of them, and as long as they"]
    wanted = [at for at, name in enumerate(rows) if name in some]
    others = [at for at, name in enumerate(rows) if name is not None and name not in some]
    few = [at for at in wanted if at % 97 == 0]
    for index in (False, True):
        if index:
            table.create_index("name")
        assert table.where("isin(name, some)", some=some).indices().tolist() == wanted
        assert table.where("~isin(name, some)", some=some).indices().tolist() == others
        assert table.where("v % 97 == 0 and isin(name, some)", some=some).indices().tolist() == few


@settings(max_examples=40, deadline=None)
@given(
    length=st.sampled_from([1, 10, 11, 30]),
    n=st.integers(1, 400),
    n_new=st.integers(0, 300),
    seed=st.integers(0, 9),
    two=st.booleans(),
    index=st.booleans(),
)
def test_upsert_by_text_is_that_of_a_dict(
    length: int, n: int, n_new: int, seed: int, two: bool, index: bool
) -> None:
    rng = np.random.default_rng(seed)
    names = _names(n + n_new, length)
    with kist.open(":memory:") as store:
        table = store.create_table("t", dtype=[("name", TEXT), ("k", "i4"), ("v", "i8")])
        first = names[:n]
        table.append({"name": np.array(first, TEXT), "k": np.zeros(n, "i4"), "v": np.arange(n)})
        if index:
            table.create_index("name", unique=True)
        given = [names[at] for at in rng.integers(0, len(names), n // 2 + 1).tolist()]
        given += names[n:]
        model = dict(zip(first, range(n), strict=True))
        known = len(set(given) & set(first))
        done = table.upsert(
            {
                "name": np.array(given, TEXT),
                "k": np.zeros(len(given), "i4"),
                "v": 1000 + np.arange(len(given)),
            },
            on=["name", "k"] if two else "name",
        )
        model |= {name: 1000 + at for at, name in enumerate(given)}
        assert done == (known, len(model) - n)
        assert dict(zip(table["name"][:].tolist(), table["v"][:].tolist(), strict=True)) == model
        assert len(table) == len(model)


def test_upsert_of_many_texts_reaches_their_rows(store: Any) -> None:
    names = _names(90_000, 12)
    table = store.create_table("t", dtype=[("name", TEXT), ("v", "i8")])
    table.append({"name": np.array(names, TEXT), "v": np.zeros(90_000, "i8")})
    some = [*names[::2], *(f"another long name {n}" for n in range(500))]
    done = table.upsert({"name": np.array(some, TEXT), "v": np.ones(len(some), "i8")}, on="name")
    assert done == (45_000, 500)
    assert table["v"][:90_000].tolist() == [1, 0] * 45_000 and len(table) == 90_500
