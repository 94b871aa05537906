"""Changing tables in place, beside a NumPy array that does the same."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from table_programs import small_groups

import kist
from kist.errors import (
    ColumnNotFoundError,
    ConflictError,
    ConstraintError,
    DTypeError,
    QueryError,
    ReadOnlyError,
    SelectionError,
    ShapeError,
    TransactionClosedError,
)
from kist.model.tables.stored import read as table_read

Array = np.ndarray[Any, Any]

DTYPE = np.dtype([("k", "i4"), ("a", "i2"), ("b", "f8"), ("c", "S3"), ("v", "f4", (2,))])
NESTED = np.dtype([("n", [("x", "i4"), ("y", "f8")]), ("b", "u8")])
STRING = np.dtypes.StringDType()


def same(found: Array, expected: Array) -> bool:
    """Whether two arrays hold the same values bit by bit."""
    return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


def rows_of(n: int, seed: int, n_keys: int = 40) -> Array:
    """Random rows of few distinct keys, with NaN and zeros of both signs."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, DTYPE)
    rows["k"] = rng.integers(0, n_keys, n)
    rows["a"] = rng.integers(-50, 50, n)
    rows["b"] = rng.choice([0.0, -0.0, np.nan, 1.5, -2.25, 1e300], n) + rng.integers(0, 9, n)
    rows["c"] = rng.choice([b"", b"a", b"zz", b"abc"], n)
    rows["v"] = rng.integers(0, 5, (n, 2))
    return rows


@pytest.fixture
def store() -> Iterator[Any]:
    with kist.open(":memory:") as opened:
        yield opened


@pytest.fixture
def table(store: Any) -> Any:
    """Ten rows, k = 0 .. 9."""
    rows = rows_of(10, 1)
    rows["k"] = np.arange(10)
    store["t"] = rows
    return store["t"]


def unchanged(table: Any, before: Array) -> bool:
    return same(table[:], before) and list(table._check_records(table._view())) == []


# Updates


def test_update_takes_values_arrays_and_expressions_from_before_the_update(table: Any) -> None:
    before = table[:]
    hits = table.where("k >= 7")
    assert hits.update({"a": kist.expr("k * 2 + a"), "k": [1, 2, 3], "c": "k", "v": 4}) == 3
    assert table["k"][7:].tolist() == [1, 2, 3]
    assert table["a"][7:].tolist() == (before["k"] * 2 + before["a"])[7:].tolist()
    assert table["c"][7:].tolist() == [b"k"] * 3  # a str is a value
    assert table["v"][7:].tolist() == [[4, 4]] * 3
    assert same(table[:7], before[:7])


def test_update_of_a_table_changes_all_rows_and_takes_parameters(table: Any) -> None:
    before = table[:]
    assert table.update({"a": kist.expr("k - by")}, by=3) == 10
    assert table.update({"b": table["k"] / 2, "c": kist.expr("c")}) == 10
    assert table["a"][:].tolist() == (before["k"] - 3).tolist()
    assert table["b"][:].tolist() == (before["k"] / 2).tolist()
    assert same(table["c"][:], before["c"])


def test_an_update_of_nothing_and_of_no_rows_changes_nothing(table: Any) -> None:
    before = table[:]
    assert table.update({}) == 0
    assert table.where("k > 100").update({"a": 1, "b": kist.expr("b * 2")}) == 0
    assert unchanged(table, before)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"zz": 1}, ColumnNotFoundError),
        ({"a": 1.5}, DTypeError),
        ({"a": 1, "c": "too long"}, DTypeError),
        ({"a": [1, 2]}, ShapeError),
        ({"a": []}, ShapeError),
        ({"a": kist.expr("k + zz")}, QueryError),
        ({"a": kist.expr("b * 1.5")}, DTypeError),
        ({"a": kist.expr("k * 30000")}, DTypeError),
        ([("a", 1)], SelectionError),
    ],
)
def test_an_update_that_fails_changes_nothing(table: Any, values: Any, error: Any) -> None:
    before = table[:]
    with pytest.raises(error):
        table.update(values)
    assert unchanged(table, before)


def test_an_update_that_fails_in_a_late_page_undoes_the_first_ones(store: Any) -> None:
    with small_groups():
        rows = rows_of(500, 2)
        rows["k"] = np.arange(500)
        store["t"] = rows
        with store.transaction():
            store["t"][0] = rows[1]
            before = store["t"][:]
            with pytest.raises(DTypeError, match="row 480") as caught:
                store["t"].where("k > 3").update({"a": kist.expr("where(k == 480, 99999, k)")})
            assert caught.value.row == 480
            assert unchanged(store["t"], before)
        assert unchanged(store["t"], before)


def test_an_update_that_names_a_column_twice_is_refused(store: Any) -> None:
    store["t"] = np.zeros(3, NESTED)
    with pytest.raises(SelectionError, match="parts of one column"):
        store["t"].update({"n": (1, 2.0), "n.x": 5})
    assert store["t"].update({"n.x": 5, "n.y": kist.expr("n.x + 0.5")}) == 3
    assert store["t"]["n"][0].tolist() == (5, 0.5)


def test_an_update_of_strings_and_by_strings(store: Any) -> None:
    words = np.array(["a", "", "long " * 30], STRING)
    store.create_table("t", {"s": words, "i": np.arange(3)})
    assert store["t"].where("s == ''").update({"s": "empty", "i": 7}) == 1
    assert store["t"].update({"s": store["t"]["s"]}) == 3
    assert store["t"]["s"][:].tolist() == ["a", "empty", "long " * 30]


def test_conditions_and_expressions_may_be_assigned(table: Any) -> None:
    before = table[:]
    table[table["k"] > 7] = before[0]
    assert table["k"][8:].tolist() == [0, 0]
    table["a"][table["k"] == 3] = 42
    table["b"] = table["k"] * 0.5
    table["a"][np.arange(10) < 2] = [5, 6]
    assert table["a"][[0, 1, 3]].tolist() == [5, 6, 42]
    assert table["b"][:8].tolist() == (before["k"][:8] * 0.5).tolist()


def test_a_reader_of_an_old_version_sees_what_it_saw(tmp_path: Path) -> None:
    with small_groups(), kist.open(tmp_path / "t.kist", "a", durability="none") as store:
        store["t"] = rows_of(300, 3)
        table = store["t"]
        with kist.open(tmp_path / "t.kist") as reader:
            before = reader["t"][:]
            table.update({"b": kist.expr("b + 1"), "c": "new"})
            table.upsert(rows_of(20, 4), on="k")
            table.insert(5, rows_of(70, 5))
            table.drop_before(100)
            for _ in range(4):
                store._session.engine.checkpoint()
                table.delete(slice(0, 50, 2))
            assert unchanged(reader["t"], before)


# Inserting, upserting, and the ends


def test_insert_puts_rows_in_front_of_a_position(table: Any) -> None:
    rows = table[:]
    for at in (0, 4, -1, 10, len(table)):
        new = rows_of(3, at + 20)
        assert table.insert(at, new) == 3
        rows = np.insert(rows, at, new)
        assert same(table[:], rows)
    for at in (len(rows) + 1, -len(rows) - 1, 1.5, True):
        with pytest.raises(SelectionError):
            table.insert(at, rows[0])
    with pytest.raises(DTypeError):
        table.insert(0, [rows[0], (1, 2, 3)])
    assert unchanged(table, rows)


def test_rows_of_strings_are_inserted(store: Any) -> None:
    with small_groups():
        words = np.array(["", "a", "b" * 40] * 50, STRING)
        store.create_table("t", {"i": np.arange(150), "s": words})
        assert store["t"].insert(10, {"i": [-1, -2], "s": ["new", "x" * 100]}) == 2
        expected = [*words[:10].tolist(), "new", "x" * 100, *words[10:].tolist()]
        assert store["t"]["s"][:].tolist() == expected


def test_upsert_updates_the_keys_that_are_there_and_appends_the_others(table: Any) -> None:
    new = rows_of(4, 9)
    new["k"] = [3, 100, 3, 9]
    expected = table[:].copy()
    expected[3], expected[9] = new[2], new[3]  # of two rows with one key the last one stays
    assert table.upsert(new, on="k") == (2, 1)
    assert same(table[:], np.append(expected, new[1:2]))
    before = table[:]
    assert table.upsert(new, on="k") == (3, 0)
    assert unchanged(table, before)


def test_upsert_keeps_columns_that_the_rows_do_not_bring(store: Any) -> None:
    fill = {"b": -1.0, "c": b"-", "v": [0, 0]}
    table = store.create_table("t", rows_of(5, 1), fill_value=fill)
    table["k"] = np.arange(5)
    before = table[:].copy()
    assert table.upsert({"k": [2, 7], "a": [20, 70]}, on="k").n_appended == 1
    before["a"][2] = 20
    assert same(table[:5], before)
    assert table[5].tolist()[:4] == (7, 70, -1.0, b"-")
    for rows in ([{"k": 1, "a": 2}, {"k": 1}], iter([{"k": 1, "a": 2}, {"k": 1}])):
        with pytest.raises(DTypeError, match="different columns"):
            table.upsert(rows, on="k")
    with pytest.raises(DTypeError, match="no key column"):
        table.upsert({"a": [1]}, on="k")


@pytest.mark.parametrize("kind", ["?", "u1", ">i2", "f4", "M8[s]", "S4", "U4", "T"])
def test_keys_of_every_kind_and_of_several_columns(store: Any, kind: str) -> None:
    rng = np.random.default_rng(5)
    numbers = rng.integers(0, 12, 400)
    keys = np.char.add("k", numbers.astype("U2")) if kind in ("S4", "U4", "T") else numbers
    keys = keys.astype(STRING if kind == "T" else kind)
    if kind in ("f4", "M8[s]"):
        keys[::9] = "nat" if kind[0] == "M" else np.nan
    columns = {"k": keys, "j": rng.integers(0, 3, 400), "x": np.arange(400)}
    there: dict[Any, int] = {}
    names = [str(key) for key in keys]
    with small_groups():
        dtype = {name: values.dtype for name, values in columns.items()}
        table = store.create_table("t", dtype=list(dtype.items()))
        for start in range(0, 400, 50):
            part = {name: values[start : start + 50] for name, values in columns.items()}
            table.upsert(part, on=["k", "j"])
            there |= zip(
                zip(names[start : start + 50], part["j"].tolist(), strict=True),
                part["x"].tolist(),
                strict=True,
            )
        keys = [str(key) for key in table["k"][:]]
        assert dict(zip(zip(keys, table["j"][:].tolist()), table["x"][:].tolist())) == there  # noqa: B905
        assert len(table) == len(there)


def test_an_upsert_that_cannot_be_is_refused(store: Any, table: Any) -> None:
    before = table[:]
    with pytest.raises(DTypeError, match="cannot be a key"):
        table.upsert(before, on="v")
    for on in ([], ["k", "k"]):
        with pytest.raises(SelectionError, match="key columns"):
            table.upsert(before, on=on)
    with pytest.raises(ColumnNotFoundError):
        table.upsert(before, on="zz")

    def failing() -> Iterator[Any]:
        yield before[::-1]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        table.upsert(failing(), on="k")
    assert unchanged(table, before)
    words = np.array(["a", None], np.dtypes.StringDType(na_object=None))
    store.create_table("s", {"s": words})
    with pytest.raises(ConstraintError, match="row 1"):
        store["s"].upsert({"s": ["b", None]}, on="s")
    assert store["s"].upsert({"s": ["a", "b"]}, on="s") == (1, 1)


def test_both_ends_are_cut_off(table: Any) -> None:
    rows = table[:]
    assert table.truncate(20) == 0
    assert table.truncate(8) == 2
    assert table.drop_before("k >= oldest", oldest=3) == 3
    assert table.drop_before("k > 1000") == 0  # no row holds: there is nothing in front of it
    assert table.drop_before(table["k"] == 4) == 1
    assert same(table[:], rows[4:8])
    assert table.drop_before(100) == 4
    for wrong in (-1, 1.5, True):
        with pytest.raises(SelectionError):
            table.truncate(wrong)
        with pytest.raises(SelectionError):
            table.drop_before(wrong)
    with pytest.raises(QueryError):
        table.drop_before("zz > 1")


# Rows that are changed while a loop runs


def test_rows_changed_in_a_loop_are_one_commit_at_its_end(store: Any, table: Any) -> None:
    commits = len(store.history())
    for row in table.where("k >= 4"):
        row["a"] = row["k"] + 10
        row["c"] = "x"
        if row["k"] != 5:
            row.update()
        assert row["a"] == row["k"] + 10
        assert int(table["a"][:].max()) < 50  # nobody sees it before
    assert table["a"][4:].tolist() == [14, int(table["a"][5]), 16, 17, 18, 19]
    assert table["c"][4:].tolist().count(b"x") >= 5
    assert table["c"][5] != b"x" or table["a"][5] != 15
    assert len(store.history()) <= commits + 1


def test_a_loop_that_is_left_keeps_what_was_updated(table: Any) -> None:
    for row in table:
        row["a"] = 7
        row.update()
        if row["k"] == 2:
            break
    assert table["a"][:3].tolist() == [7, 7, 7]
    with pytest.raises(ZeroDivisionError):
        for row in table[["k", "b"]]:
            row["b"] = 1 / (3 - int(row["k"]))
            row.update()
    assert table["b"][:3].tolist() == [1 / 3, 1 / 2, 1.0]
    with pytest.raises(TransactionClosedError):
        row.update()


def test_an_exception_within_a_transaction_undoes_the_loop(store: Any, table: Any) -> None:
    before = table[:]
    with pytest.raises(ZeroDivisionError), store.transaction():
        for row in table:
            row["b"] = 1 / (3 - int(row["k"]))
            row.update()
    assert unchanged(table, before)
    with store.transaction():
        for row in table:
            row["a"] = row["k"]
            row.update()
        assert table["a"][:].tolist() == list(range(10))
    assert table["a"][:].tolist() == list(range(10))


def test_fields_of_every_kind_are_set_in_rows(store: Any) -> None:
    store["t"] = np.zeros(3, [("n", NESTED), ("v", "f4", (2,)), ("t", "M8[s]"), ("s", "S2")])
    for i, row in enumerate(store["t"]):
        row["n.n.x"] = i
        row["n"] = ((i, 0.5), 9)
        row["n.b"] = 8
        row[1] = [i, i + 1]
        row[2:] = np.datetime64("2020-01-01"), "ab"
        row.update()
        assert row["n"].tolist() == ((i, 0.5), 8)
        with pytest.raises(ShapeError):
            row[2:] = (1,)
        with pytest.raises(DTypeError):
            row["s"] = "abc"
        with pytest.raises(ColumnNotFoundError):
            row["zz"] = 1
    assert store["t"]["n.n.x"][:].tolist() == [0, 1, 2]
    assert store["t"]["n.b"][:].tolist() == [8, 8, 8]
    assert store["t"]["v"][:].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert store["t"]["s"][:].tolist() == [b"ab"] * 3


def test_many_rows_are_updated_the_last_value_counting(store: Any) -> None:
    with small_groups():
        store["t"] = rows_of(9000, 3)
        table = store["t"]
        table["k"] = np.arange(9000)
        for row in table.where("k % 2 == 0"):
            row["a"] = 1
            row.update()
            row["a"] = row["k"] % 1000
            row.update()
        assert (table["a"][::2] == np.arange(0, 9000, 2) % 1000).all()


def test_a_loop_finds_its_rows_again_after_others_have_changed_the_table(tmp_path: Path) -> None:
    with small_groups(), kist.open(tmp_path / "t.kist", "a", durability="none") as store:
        rows = rows_of(200, 3)
        rows["k"] = np.arange(200)
        store["t"] = rows
        with kist.open(tmp_path / "t.kist", "a", durability="none") as other:
            for row in store["t"].where("k >= 150"):
                if row["k"] == 160:
                    other["t"].delete(slice(0, 40))
                    other["t"].append(rows[:30])
                    other["t"].where("k == 120").update({"a": -1})
                    other._session.engine.checkpoint()
                row["a"] = 3
                row.update()
            assert (store["t"]["a"][110:160] == 3).all()
            before = store["t"][:]
            for change in ("update", "delete"):
                with pytest.raises(ConflictError, match="nothing of the loop was written"):
                    for row in store["t"].where("k >= 150"):
                        row["a"] = 4
                        row.update()
                        if row["k"] == 160:
                            hits = other["t"].where("k == 155")
                            hits.delete() if change == "delete" else hits.update({"b": 0.125})
                            before = other["t"][:]
                assert unchanged(store["t"], before)


def test_rows_of_a_store_opened_for_reading_cannot_be_set(tmp_path: Path) -> None:
    with kist.open(tmp_path / "t.kist", "w") as store:
        store["t"] = rows_of(3, 1)
    with kist.open(tmp_path / "t.kist") as store, pytest.raises(ReadOnlyError):
        for row in store["t"]:
            row["a"] = 1


def test_what_a_left_loop_cannot_write_ends_the_transaction(
    store: Any, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table[:]

    def unraisable(_: Any) -> None:
        raised.append(1)

    raised: list[int] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable)
    with pytest.raises(TransactionClosedError), store.transaction():
        for row in table:
            row["a"] = 1
            row.update()
            table.delete(0)
            break
        gc.collect()
    assert raised
    assert unchanged(table, before)


# Space, and what is read


def settle(store: Any) -> None:
    """Let what was freed be free, and fold what there is to fold."""
    for i in range(12):
        store["t"]["k"][0] = i
        store._session.engine.checkpoint()


def test_the_space_of_deleted_rows_comes_back(store: Any) -> None:
    rng = np.random.default_rng(1)
    rows = np.zeros(4 * 65_536, [("k", "i8"), ("x", "f8"), ("y", "u4")])
    rows["x"], rows["y"] = rng.random(len(rows)), rng.integers(0, 2**32, len(rows))
    store["t"] = rows
    full = store["t"].nbytes_stored
    keep = rng.random(len(rows)) < 0.2
    keep[65_536 : 2 * 65_536] = False
    keep[66_000:66_050] = True
    store["t"].delete(~keep)
    rows = rows[keep].copy()
    settle(store)
    rows["k"][0] = 11
    assert same(store["t"][:], rows)
    assert store["t"].nbytes_stored < 0.3 * full
    groups = store["t"]._state().layout.groups
    assert groups[1].n_rows < 100  # what is dead at both ends of a group is cut off
    stored = store["t"].nbytes_stored
    settle(store)
    assert store["t"].nbytes_stored < 1.05 * stored
    assert store.check().ok


def test_long_strings_are_not_repeated_for_rows_that_are_gone(store: Any) -> None:
    with small_groups():
        words = np.array(["x" * (1 + i % 7 * 1000) for i in range(64)], STRING)
        store.create_table("t", {"k": np.arange(64), "s": words})
        keep = np.zeros(64, bool)
        keep[[6, 11, 50]] = True  # 6,000 and 4,000 and 1,000 letters
        store["t"].delete(~keep)
        settle(store)
        assert store["t"]["s"][:].tolist() == words[keep].tolist()
        state = store["t"]._state()
        assert [group.n_rows for group in state.layout.groups] == [45]
        leaf = state.schema.leaves[1]
        whole = np.empty(45, STRING)
        table_read.read_leaves(
            state, [table_read.Span(state.layout.group(0), range(45), 0)], [leaf], [whole]
        )
        assert sum(map(len, whole.tolist())) < 60_000


def test_a_table_that_is_filled_and_emptied_in_turn_stays_small(tmp_path: Path) -> None:
    """Every turn deletes as many rows as it appends, scattered over the whole table."""
    sizes = []
    with kist.open(tmp_path / "t.kist", "a", durability="none") as store:
        store["t"] = np.zeros(0, [("k", "i8"), ("x", "u8")])
        table, rng = store["t"], np.random.default_rng(2)
        for turn in range(55):
            rows = np.zeros(5_000, table.dtype)
            rows["x"] = rng.integers(0, 2**63, len(rows))
            table.append(rows)
            if turn >= 5:
                table.delete(rng.random(len(table)) < 5_000 / len(table))
            if turn % 5 == 4:
                store._session.engine.checkpoint()
            sizes.append(table.nbytes_stored)
        live = len(table) * 8
    assert max(sizes[20:]) < 3 * live, (live, sizes)
    assert max(sizes[40:]) < 1.3 * max(sizes[15:40]), sizes


def test_a_table_that_is_only_changed_in_bulk_is_folded(tmp_path: Path) -> None:
    """Each deletion puts more records than the log takes, and so a tree."""
    with kist.open(tmp_path / "t.kist", "a", durability="none") as store:
        table = store.create_table("t", dtype=[("k", "u4")])
        rng = np.random.default_rng(2)
        for _ in range(45):
            table.append({"k": rng.integers(0, 2**32, 20_000, "u4")})
            table.delete(rng.random(len(table)) < 0.04)
        assert len(table._state().layout.groups) < 35


def test_bulk_updates_do_not_pile_up_patches(store: Any) -> None:
    store["t"] = np.zeros(70_000, [("k", "i4"), ("x", "f8")])
    store["t"]["k"] = np.arange(70_000)
    for i in range(12):
        store["t"].where("k % 20 == i", i=i).update({"x": float(i)})
    assert max(len(group.patches) for group in store["t"]._state().layout.groups) <= 5
    x = np.arange(70_000) % 20.0
    assert (store["t"]["x"][:] == np.where(x < 12, x, 0)).all()


def test_an_update_writes_no_more_than_the_columns_that_it_names(store: Any) -> None:
    rng = np.random.default_rng(1)
    dtype = [("k", "i4")] + [(f"x{i}", "u8") for i in range(20)]
    rows = np.zeros(65_536, dtype)
    rows["k"] = np.arange(len(rows))
    for i in range(20):
        rows[f"x{i}"] = rng.integers(0, 2**63, len(rows))
    store["t"] = rows
    state = store["t"]._state()
    before = {leaf.id: state.page(leaf, state.layout.group(0))[0] for leaf in state.schema.leaves}
    assert store["t"].where("k < 60000").update({"x3": kist.expr("x3 + x4")}) == 60_000
    state = store["t"]._state()
    after = {leaf.id: state.page(leaf, state.layout.group(0))[0] for leaf in state.schema.leaves}
    assert [leaf for leaf in after if after[leaf] != before[leaf]] == [4]


def test_pruning_stays_right_when_values_leave_the_bounds_of_a_page(store: Any) -> None:
    with small_groups():
        table = store.create_table("t", {"k": np.arange(640), "x": np.zeros(640)})
        for position, value in ((3, 99.0), (100, -5.0), (639, np.nan)):
            table["x"][position] = value
            assert table.where("x != 0").indices().tolist()[-1] == position or value != value
        assert table.where("x > 50").indices().tolist() == [3]
        assert table.where("x < -1").indices().tolist() == [100]
        table.where("x > 50").update({"x": 1.0})
        table.delete(3)
        assert table.where("x >= 1").count() == 0
        assert table.where("x == x").count() == 638


# Random programs


class Changes(RuleBasedStateMachine):
    """A table in a file, changed in all ways, and the array that it should be."""

    @initialize(seed=st.integers(0, 9))
    def start(self, seed: int) -> None:
        self.path = self.folder / f"{next(self.numbers)}.kist"
        self.store: Any = kist.open(self.path, "a", durability="none")
        self.rows = rows_of(70 * seed, seed)
        self.store["t"] = self.rows
        self.saved: Array | None = None
        self.readers: list[tuple[Any, Array]] = []

    folder: Path
    numbers: Iterator[int]

    @property
    def table(self) -> Any:
        return self.store["t"]

    @rule(n=st.sampled_from([1, 7, 15, 16, 40, 100, 200]), seed=st.integers(0, 99))
    def append(self, n: int, seed: int) -> None:
        new = rows_of(n, seed)
        assert self.table.append(new) == n
        self.rows = np.append(self.rows, new)

    @rule(limit=st.integers(-60, 60), by=st.integers(-5, 5))
    def update_where(self, limit: int, by: int) -> None:
        hits = self.rows["a"] > limit
        values = {"a": kist.expr("a - by"), "b": kist.expr("b + a"), "c": "u"}
        assert self.table.where("a > limit", limit=limit).update(values, by=by) == hits.sum()
        self.rows["b"][hits] += self.rows["a"][hits]
        self.rows["a"][hits] -= by
        self.rows["c"][hits] = b"u"

    @rule(key=st.integers(0, 45), seed=st.integers(0, 99))
    def update_few(self, key: int, seed: int) -> None:
        hits = np.flatnonzero(self.rows["k"] == key)
        new = rows_of(len(hits), seed)
        assert self.table.where("k == key", key=key).update({"b": new["b"], "v": new["v"]}) == len(
            hits
        )
        self.rows["b"][hits], self.rows["v"][hits] = new["b"], new["v"]

    @rule(value=st.integers(-9, 9))
    def update_all(self, value: int) -> None:
        assert self.table.update({"b": float(value), "v": value}) == len(self.rows)
        self.rows["b"], self.rows["v"] = value, value

    @rule(low=st.integers(-60, 60), width=st.integers(1, 60))
    def delete_where(self, low: int, width: int) -> None:
        hits = (self.rows["a"] >= low) & (self.rows["a"] < low + width)
        found = self.table.where("(a >= low) & (a < high)", low=low, high=low + width).delete()
        assert found == hits.sum()
        self.rows = self.rows[~hits]

    @rule(step=st.integers(1, 9), data=st.data())
    def delete_rows(self, step: int, data: Any) -> None:
        start = data.draw(st.integers(0, len(self.rows)))
        index = slice(start, start + 90, step)
        assert self.table.delete(index) == len(self.rows[index])
        self.rows = np.delete(self.rows, index)

    @rule(n=st.integers(0, 90), seed=st.integers(0, 99), data=st.data())
    def insert(self, n: int, seed: int, data: Any) -> None:
        at = data.draw(st.integers(0, len(self.rows)))
        new = rows_of(n, seed)
        assert self.table.insert(at, new) == n
        self.rows = np.insert(self.rows, at, new)

    @rule(n=st.integers(0, 90), seed=st.integers(0, 99), keys=st.sampled_from(["k", "kc", "kbc"]))
    def upsert(self, n: int, seed: int, keys: str) -> None:
        new = rows_of(n, seed)

        def key_of(row: Any) -> tuple[Any, ...]:
            return tuple("nan" if row[key] != row[key] else row[key].item() for key in keys)

        given = {key_of(row): row for row in new}
        expected = [given.get(key_of(row), row) for row in self.rows]
        there = {key_of(row) for row in self.rows}
        n_updated = sum(key_of(row) in given for row in self.rows)
        added = [row for key, row in given.items() if key not in there]
        assert self.table.upsert(new, on=list(keys)) == (n_updated, len(added))
        # A zero of the other sign is the same key, and stays as it is.
        zeros = self.rows["b"].copy()
        self.rows = np.array([*expected, *added], DTYPE)
        if "b" in keys:
            self.rows["b"][: len(zeros)] = zeros

    @rule(data=st.data())
    def cut(self, data: Any) -> None:
        low = data.draw(st.integers(0, len(self.rows) // 2))
        assert self.table.drop_before(low) == low
        high = data.draw(st.integers((len(self.rows) - low) // 2, len(self.rows)))
        self.table.truncate(high)
        self.rows = self.rows[low:][:high].copy()

    @rule(key=st.integers(0, 45), stop=st.integers(0, 9))
    def loop(self, key: int, stop: int) -> None:
        for i, row in enumerate(self.table.where("k == key", key=key)):
            row["a"] = i
            row.update()
            if i == stop:
                break
        hits = np.flatnonzero(self.rows["k"] == key)[: stop + 1]
        self.rows["a"][hits] = np.arange(len(hits))

    @rule(start=st.integers(0, 300), seed=st.integers(0, 99))
    def assign(self, start: int, seed: int) -> None:
        part = slice(start, start + 30)
        new = rows_of(len(self.rows[part]), seed)
        self.table[part] = new
        self.rows[part] = new

    @rule()
    def fails(self) -> None:
        if len(self.rows):
            with pytest.raises(DTypeError):
                self.table.update({"c": "u", "a": kist.expr("where(k >= 0, 99999, a)")})
            with pytest.raises(DTypeError):
                self.table.insert(0, [self.rows[0], (1, 2)])

    @precondition(lambda self: self.saved is None)
    @rule()
    def begin(self) -> None:
        self.store.begin()
        self.saved = self.rows.copy()

    @precondition(lambda self: self.saved is not None)
    @rule(keep=st.booleans())
    def end(self, keep: bool) -> None:
        if keep:
            self.store.commit()
        else:
            self.store.rollback()
            self.rows = self.saved
        self.saved = None

    @precondition(lambda self: self.saved is None)
    @rule(how=st.sampled_from(["fold", "fold", "reopen", "compact", "reader"]))
    def between(self, how: str) -> None:
        if how == "fold":
            self.store._session.engine.checkpoint()
        elif how == "compact":
            self.store.compact()
        elif how == "reader":
            self.readers.append((kist.open(self.path), self.rows.copy()))
        else:
            self.store.close()
            self.store = kist.open(self.path, "a", durability="none")

    @invariant()
    def is_the_array(self) -> None:
        table = self.table
        assert len(table) == len(self.rows)
        assert (
            table.where("a > 10").indices().tolist() == np.flatnonzero(self.rows["a"] > 10).tolist()
        )
        assert table.where("b < 3").count() == np.count_nonzero(self.rows["b"] < 3)
        assert table.where("c == 'u'").count() == np.count_nonzero(self.rows["c"] == b"u")

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        try:
            assert unchanged(self.table, self.rows)
            for reader, rows in self.readers:
                assert unchanged(reader["t"], rows)
                reader.close()
            if self.saved is not None:
                self.store.commit()
            assert self.store.check().ok
        finally:
            self.store.close()


def test_a_changed_table_is_what_a_changed_array_would_be(tmp_path: Path) -> None:
    Changes.folder, Changes.numbers = tmp_path, iter(range(10**9))
    with small_groups():
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Changes, settings=settings(max_examples=25, stateful_step_count=15, deadline=None)
        )
