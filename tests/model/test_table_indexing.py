"""Rows, columns and parts of them, read and assigned as in a NumPy array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist

Array = np.ndarray[Any, Any]

DTYPE = np.dtype(
    [
        ("a", "i4"),
        ("b", ">f8"),
        ("s", "S4"),
        ("n", [("x", "u1"), ("y", "f4", (2,))]),
        ("v", "i2", (2, 3)),
    ]
)
N = 10_300


def make(n: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, DTYPE)
    rows["a"] = rng.integers(0, 1000, n)
    rows["b"] = rng.integers(0, 100, n) / 4
    rows["s"] = rng.choice([b"ab", b"cd", b"efgh"], n)
    rows["n"]["x"] = rng.integers(0, 5, n)
    rows["n"]["y"] = rng.normal(size=(n, 2))
    rows["v"] = rng.integers(-9, 9, (n, 2, 3))
    return rows


@pytest.fixture
def case() -> Iterator[tuple[Any, Array]]:
    """A table of pages and pieces with some rows deleted, and the array that it is."""
    rows = make(N)
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", data=rows[:9_000])
        table.append(rows[9_000:10_000])
        for start in range(10_000, N, 100):
            table.append(rows[start : start + 100])
        gone = np.zeros(N, bool)
        gone[[0, 17, 8_999, 10_050]] = gone[300:330] = True
        table.delete(gone)
        yield table, rows[~gone]


def check(table: Any, rows: Array) -> None:
    assert len(table) == len(rows)
    assert table[:].tobytes() == rows.tobytes()


INDICES: list[Any] = [
    slice(None),
    slice(5, 100),
    slice(-50, None),
    slice(None, None, 3),
    slice(9_990, 5, -7),
    slice(None, None, -1),
    slice(8_000, 10_200, 1000),
    slice(4, 4),
    slice(20_000, 30_000),
    [],
    [3],
    [5, 5, 1, -1, 10_000, 5],
    np.array([[1, 2], [10_100, 4]]),
    np.array([3, 9_500], "u8"),
    np.array([], "i8"),
    range(10, 200, 9),
    ...,
    (),
    (slice(2, 9),),
    (..., slice(2, 9)),
]


@pytest.mark.parametrize("index", INDICES, ids=lambda v: repr(v).split(" at 0x")[0])
def test_rows_are_read_as_from_an_array(case: tuple[Any, Array], index: Any) -> None:
    table, rows = case
    expected = rows[index]
    found = table[index]
    assert found.shape == expected.shape
    assert found.dtype == DTYPE
    assert found.tobytes() == expected.tobytes()
    assert not found.flags.writeable
    for name in ("a", "b", "s", "v"):
        column = table[name][index]
        assert column.dtype == rows[name].dtype.base
        assert column.tobytes() == expected[name].tobytes()
        assert column.shape == expected[name].shape
        assert column.flags.writeable
    assert table["n"]["y"][index].tobytes() == expected["n"]["y"].tobytes()
    assert table["n.x"][index].tobytes() == expected["n"]["x"].tobytes()
    assert table["n"][index].tobytes() == expected["n"].tobytes()
    some = table[["s", "a"]][index]
    assert some.dtype.names == ("s", "a")
    assert not some.flags.writeable
    assert some["a"].tobytes() == expected["a"].tobytes()


def test_a_mask_selects_where_it_is_true(case: tuple[Any, Array]) -> None:
    table, rows = case
    for share in (0.0, 0.01, 0.7, 1.0):
        mask = np.random.default_rng(1).random(len(rows)) < share
        assert table[mask].tobytes() == rows[mask].tobytes()
        assert table["b"][mask].tobytes() == rows["b"][mask].tobytes()
    assert table[mask.tolist()].tobytes() == rows[mask].tobytes()


@settings(max_examples=40)
@given(
    a=st.none() | st.integers(-12_000, 12_000),
    b=st.none() | st.integers(-12_000, 12_000),
    step=st.none() | st.integers(-4_000, 4_000).filter(bool),
)
def test_any_slice_is_that_of_an_array(a: int | None, b: int | None, step: int | None) -> None:
    index = slice(a, b, step)
    table, rows = shared()
    assert table[index].tobytes() == rows[index].tobytes()
    assert table["b"][index].tobytes() == rows["b"][index].tobytes()


_shared: list[Any] = []


def shared() -> tuple[Any, Array]:
    """One table for all examples of a property."""
    if not _shared:
        rows = make(N)
        store = kist.open(":memory:")
        table = store.create_table("t", data=rows)
        table.delete(slice(100, 9_000, 50))
        _shared.extend([store, table, np.delete(rows, np.s_[100:9_000:50])])
    return _shared[1], _shared[2]


def test_a_single_row_is_a_read_only_record(case: tuple[Any, Array]) -> None:
    table, rows = case
    for index in (0, -1, 8_500, np.int32(7), np.array(9)):
        row = table[index]
        assert isinstance(row, np.void)
        assert row.tobytes() == rows[index].tobytes()
        with pytest.raises(ValueError, match="read-only"):
            row["a"] = 1


def test_a_single_value_is_a_numpy_scalar(case: tuple[Any, Array]) -> None:
    table, rows = case
    value = table["a"][5]
    assert isinstance(value, np.int32)
    assert value == rows["a"][5]
    assert table["s"][5] == rows["s"][5]
    assert table["v"][5].tolist() == rows["v"][5].tolist()
    assert isinstance(table["n"][5], np.void)
    assert np.array_equal(table["v"][5, 1], rows["v"][5, 1])
    assert np.array_equal(table["v"][2:7, :, 1], rows["v"][2:7, :, 1])


def test_tables_and_columns_say_their_size(case: tuple[Any, Array]) -> None:
    table, rows = case
    assert (table.shape, table.ndim, table.size) == (rows.shape, 1, rows.size)
    assert (table.nrows, table.dtype, table.itemsize) == (len(rows), DTYPE, DTYPE.itemsize)
    assert table.nbytes == rows.nbytes
    assert 0 < table.nbytes_stored < rows.nbytes
    assert table.ratio == table.nbytes / table.nbytes_stored
    assert table.columns == table.colnames == DTYPE.names
    column = table["v"]
    assert (column.shape, column.ndim, column.size) == (rows["v"].shape, 3, rows["v"].size)
    assert column.dtype == np.dtype("i2")
    assert column.nbytes == rows["v"].nbytes
    assert "a" in table
    assert "z" not in table


def test_arrays_are_made_of_tables_and_columns(case: tuple[Any, Array]) -> None:
    table, rows = case
    assert np.asarray(table).tobytes() == rows.tobytes()
    assert np.array_equal(np.asarray(table["v"]), rows["v"])
    assert np.asarray(table["a"], dtype="f8").dtype == np.dtype("f8")
    assert np.asarray(table[["a"]])["a"].tobytes() == rows["a"].tobytes()
    assert np.asarray(table.where("a < 10"))["a"].max() < 10
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(table["a"], copy=False)
    assert np.isclose(np.sum(table["a"]), rows["a"].sum())
    assert np.isclose(np.mean(table["b"]), rows["b"].mean())


def test_loading_more_than_the_limit_is_refused(
    case: tuple[Any, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, _ = case
    kist.options.max_load = 1000
    try:
        with pytest.raises(kist.TooLargeError, match="max_load"):
            np.asarray(table)
        assert len(table[:]) == len(table)  # asked for
    finally:
        kist.options.reset()


def test_rows_are_iterated_as_independent_rows(case: tuple[Any, Array]) -> None:
    table, rows = case
    seen = list(table)
    assert len(seen) == len(rows)
    row = seen[17]
    assert isinstance(row, kist.Row)
    assert row["a"] == row[0] == rows["a"][17]
    assert row[:2] == (rows["a"][17], rows["b"][17])
    assert row["n.x"] == rows["n"]["x"][17]
    assert list(dict(row)) == list(DTYPE.names or ())
    assert len(row) == len(tuple(row)) == 5
    assert isinstance(row[0], np.int32)
    assert "a=" in repr(row)
    row["v"][...] = 99  # its own
    assert np.array_equal(table[17]["v"], rows[17]["v"])
    with pytest.raises(kist.ColumnNotFoundError, match="no field 'zz'"):
        row["zz"]
    with pytest.raises(kist.SelectionError, match="out of range"):
        row[9]


def test_blocks_come_in_the_length_asked_for(case: tuple[Any, Array]) -> None:
    table, rows = case
    blocks = list(table.blocks(4_000))
    assert [len(block) for block in blocks] == [4_000, 4_000, len(rows) - 8_000]
    assert b"".join(block.tobytes() for block in blocks) == rows.tobytes()
    assert b"".join(block.tobytes() for block in table["b"].blocks(999)) == rows["b"].tobytes()
    assert np.array_equal(list(table["a"]), rows["a"])
    for bad in (0, -1):
        with pytest.raises(ValueError, match="at least one row"):
            table.blocks(bad)


def test_an_iteration_sees_the_state_it_began_with(case: tuple[Any, Array]) -> None:
    table, rows = case
    blocks = table.blocks(1_000)
    first = next(blocks)
    table.delete(slice(0, 9_000))
    assert b"".join(block.tobytes() for block in [first, *blocks]) == rows.tobytes()


ASSIGNED: list[Any] = [
    slice(0, 3),
    slice(5, 9_900),
    slice(None),
    slice(9_990, 5, -70),
    [7],
    [3, 10_100, 5],
    [4, 4, 4, 1],
    np.arange(0, 10_000, 333),
    [],
    ...,
]


@pytest.mark.parametrize("index", ASSIGNED, ids=lambda v: repr(v).split(" at 0x")[0])
def test_rows_are_assigned_as_in_an_array(case: tuple[Any, Array], index: Any) -> None:
    table, rows = case
    new = make(len(rows[index]), 5)
    table[index] = new
    rows[index] = new
    check(table, rows)


@pytest.mark.parametrize("index", ASSIGNED, ids=lambda v: repr(v).split(" at 0x")[0])
@pytest.mark.parametrize("name", ["a", "b", "s", "v", "n"])
def test_columns_are_assigned_as_in_an_array(
    case: tuple[Any, Array], index: Any, name: str
) -> None:
    table, rows = case
    new = make(len(rows[index]), 6)[name]
    table[name][index] = new
    rows[name][index] = new
    check(table, rows)


def test_one_row_or_value_is_assigned_to_many(case: tuple[Any, Array]) -> None:
    table, rows = case
    row = make(1, 3)[0]
    table[10:500] = row
    rows[10:500] = row
    table[[1, 3]] = tuple(row)
    rows[[1, 3]] = row
    table[2] = dict(zip(DTYPE.names or (), tuple(row), strict=True))
    rows[2] = row
    table["a"][3:8_000] = 77
    rows["a"][3:8_000] = 77
    table["v"][5:9] = 4
    rows["v"][5:9] = 4
    table["v"][6] = [[1, 2, 3], [4, 5, 6]]
    rows["v"][6] = [[1, 2, 3], [4, 5, 6]]
    table["n.x"][:] = 3
    rows["n"]["x"][:] = 3
    table["s"] = b"all"
    rows["s"] = b"all"
    table["n"]["y"][7] = (1.5, 2.5)
    rows["n"]["y"][7] = (1.5, 2.5)
    mask = rows["a"] == 77
    table[["a", "s"]][mask] = (5, b"m")
    rows["a"][mask] = 5
    rows["s"][mask] = b"m"
    check(table, rows)


def test_the_last_of_repeated_rows_wins(case: tuple[Any, Array]) -> None:
    table, rows = case
    table["a"][[5, 6, 5]] = [1, 2, 3]
    rows["a"][[5, 6, 5]] = [1, 2, 3]
    check(table, rows)


DELETED: list[Any] = [
    7, -1, slice(0, 10), slice(None, None, 2), [1, 1, 5], np.arange(50), [], slice(9_900, None),
    ...,
]  # fmt: skip


@pytest.mark.parametrize("index", DELETED, ids=lambda v: repr(v).split(" at 0x")[0])
def test_rows_are_deleted_by_position(case: tuple[Any, Array], index: Any) -> None:
    table, rows = case
    gone = np.zeros(len(rows), bool)
    gone[index] = True
    assert table.delete(index) == gone.sum()
    check(table, rows[~gone])
    table.append(rows[:5])
    check(table, np.concatenate([rows[~gone], rows[:5]]).astype(DTYPE))


def test_row_ids_are_not_used_again_after_all_rows_went(case: tuple[Any, Array]) -> None:
    table, rows = case
    table.delete(...)
    assert len(table) == 0
    assert len(table[:]) == 0
    state = table._state()
    assert state.layout.groups == []
    table.append(rows[:1])
    assert table._state().layout.groups[0].first == N
    check(table, rows[:1])


def test_a_column_of_a_record_array_is_one_of_records() -> None:
    rows = np.rec.array([(1, 2.5), (2, 3.5)], dtype=[("a", "i4"), ("b", "f8")])
    with kist.open(":memory:") as store:
        store["t"] = rows
        table: Any = store["t"]
        assert table.dtype.type is np.record
        assert table[0].a == 1
        assert table[:].dtype == rows.dtype
        assert table[["b", "a"]].dtype.type is np.record


def test_titles_are_names_too() -> None:
    dtype = np.dtype([(("the price", "p"), "f8"), ("q", "i4")])
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", np.array([(1.5, 2)], dtype))
        assert table.dtype == dtype
        assert table["the price"][0] == 1.5
        assert table["p"].title == "the price"
        assert table["q"].title is None
