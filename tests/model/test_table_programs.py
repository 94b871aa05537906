"""Random programs on a table, with a plain NumPy array beside it that does the same."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_programs import indices, rows_of, same, small_groups

import kist
from kist.model.tables.changes import fold as table_fold
from kist.testing.strategies import structured_dtypes

Array = np.ndarray[Any, Any]

# What rows are made of: every kind of dtype that a column can have.
DTYPES = {
    "flat": np.dtype([("a", "i4"), ("b", "f8"), ("c", "S5")]),
    "odd": np.dtype([("a", ">i2"), ("b", ">f8"), ("c", "U3"), ("d", "M8[ns]"), ("e", "m8[25s]")]),
    "small": np.dtype([("a", "?"), ("b", "f2"), ("c", "u1"), ("d", "V3")]),
    "wide": np.dtype([("a", "c8"), ("b", "g"), ("c", ">c16")]),
    "nested": np.dtype([("n", [("x", "i4"), ("y", [("z", "f4"), ("w", "S2")])]), ("b", "u8")]),
    "arrays": np.dtype([("v", "f4", (2, 3)), ("n", [("x", "i2", (2,))], (3,)), ("b", "i8")]),
    "gaps": np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [3, 9],
                      "itemsize": 20}),
    "aligned": np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2")], align=True),
    "record": np.dtype((np.record, [("a", "i4"), ("b", "f8")])),
    "empty": np.dtype([("a", "S0"), ("b", "i4"), ("c", "f8", (0,)), ("d", "U0")]),
}  # fmt: skip


class Both:
    """A table and the array that it should be."""

    def __init__(self, path: Path | str, dtype: np.dtype[Any]) -> None:
        self.path = path
        self.dtype = dtype
        self.store: Any = kist.open(path, "a", durability="none")
        self.table: Any = self.store.create_table("t", dtype=dtype)
        self.rows: Array = np.zeros(0, dtype)

    def append(self, n: int, seed: int) -> None:
        new = rows_of(self.dtype, n, seed)
        assert self.table.append(new) == n
        self.rows = np.concatenate([self.rows, new]).astype(self.dtype)

    def delete(self, index: Any) -> None:
        gone = np.zeros(len(self.rows), bool)
        gone[index] = True
        assert self.table.delete(index) == gone.sum()
        self.rows = self.rows[~gone]

    def assign(self, index: Any, seed: int) -> None:
        new = rows_of(self.dtype, len(self.rows[index]), seed)
        self.table[index] = new
        self.rows[index] = new

    def assign_column(self, name: str, index: Any, seed: int) -> None:
        new = rows_of(self.dtype, len(self.rows[index]), seed)[name]
        self.table[name][index] = new
        self.rows[name][index] = new

    def fold(self) -> None:
        self.store._session.engine.checkpoint()

    def reopen(self) -> None:
        if self.path == ":memory:":
            return
        self.store.close()
        self.store = kist.open(self.path, "a", durability="none")
        self.table = self.store["t"]

    def check(self) -> None:
        assert len(self.table) == len(self.rows)
        assert same(self.table[:], self.rows)
        for name in self.dtype.names or ():
            assert same(self.table[name][:], self.rows[name])
        assert list(self.table._check_records(self.table._view())) == []


def run(both: Both, data: st.DataObject) -> None:
    """Draw and do a few steps; sometimes within a transaction, or one that is rolled back."""
    for _ in range(data.draw(st.integers(3, 12))):
        step(both, data, data.draw(st.integers(0, 11)))
    both.check()


def step(both: Both, data: st.DataObject, what: int) -> None:
    n = len(both.rows)
    seed = data.draw(st.integers(0, 50))
    if what <= 3 or n == 0:
        size = data.draw(st.sampled_from([1, 3, 7, 15, 16, 40, 64, 100, 200]))
        both.append(size, seed)
    elif what == 4:
        both.delete(data.draw(indices(n)))
    elif what == 5:
        both.assign(data.draw(indices(n)), seed)
    elif what == 6:
        name = data.draw(st.sampled_from(both.dtype.names))
        both.assign_column(name, data.draw(indices(n)), seed)
    elif what <= 8:
        both.fold()
    elif what == 9:
        both.reopen()
    elif what == 10:
        before = both.rows.copy()
        with contextlib.suppress(ZeroDivisionError), both.store.transaction():
            step(both, data, data.draw(st.integers(0, 6)))
            step(both, data, data.draw(st.integers(0, 6)))
            raise ZeroDivisionError
        both.rows = before
    else:
        with both.store.transaction():
            for _ in range(3):
                step(both, data, data.draw(st.integers(0, 6)))
                assert same(both.table[:], both.rows)


@pytest.mark.parametrize("name", DTYPES)
@settings(max_examples=12)  # of each dtype
@given(data=st.data())
def test_a_table_is_what_an_array_would_be(name: str, data: st.DataObject) -> None:
    with small_groups():
        both = Both(":memory:", DTYPES[name])
        with both.store:
            run(both, data)


@given(data=st.data())
def test_a_table_in_a_file_survives_being_opened_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    with small_groups():
        both = Both(tmp_path_factory.mktemp("t") / "t.kist", DTYPES["flat"])
        try:
            run(both, data)
            both.reopen()
            both.check()
        finally:
            both.store.close()


@given(dtype=structured_dtypes(), seed=st.integers(0, 100))
def test_any_dtype_comes_back_as_it_was(dtype: np.dtype[Any], seed: int) -> None:
    with small_groups(), kist.open(":memory:") as store:
        rows = rows_of(dtype, 90, seed)
        table = store.create_table("t", dtype=dtype)
        for part in (rows[:3], rows[3:20], rows[20:]):
            table.append(part)
        assert table.dtype == dtype
        assert same(table[:], rows)
        store._session.engine.checkpoint()
        assert same(table[:], rows)
        assert same(table[5:80:7], rows[5:80:7])


def test_many_small_appends_fold_into_few_pieces() -> None:
    with small_groups():
        both = Both(":memory:", DTYPES["flat"])
        with both.store:
            for seed in range(300):
                both.append(2, seed)
                if seed % 7 == 0:
                    both.fold()
            both.fold()
            both.check()
            groups = both.table._state().layout.groups
            full = [group for group in groups if group.n_rows == 64]
            assert len(full) == 9
            assert len(groups) - len(full) <= 3 * table_fold.FAN_IN
