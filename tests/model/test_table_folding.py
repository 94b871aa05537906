"""Folding: how pieces and patches add up, and that row ids, snapshots and sizes stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kist
from kist.model.tables.changes import fold as table_fold
from kist.model.tables.changes.fold import FAN_IN, fold_table, tier_to_fold

Array = np.ndarray[Any, Any]
DTYPE = np.dtype([("a", "i4"), ("b", "f8")])


def make(n: int, start: int = 0) -> Array:
    rows = np.zeros(n, DTYPE)
    rows["a"] = np.arange(start, start + n)
    rows["b"] = rows["a"] / 4
    return rows


def groups(table: Any) -> list[Any]:
    return list(table._state().layout.groups)


def fold(table: Any) -> None:
    table.store._session.engine.checkpoint()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=300))
def test_tiers_stay_few_whatever_comes_between_two_foldings(batches: list[int]) -> None:
    tiers: list[int] = []
    for batch in batches:
        tiers += [0] * batch
        found = tier_to_fold(tiers, 2)
        if found is not None:
            start, tier = found
            assert tier > max(tiers[start:])
            tiers[start:] = [tier]
        assert tiers == sorted(tiers, reverse=True)
        assert all(tiers.count(tier) < FAN_IN for tier in set(tiers) if tier)
        assert tiers.count(0) <= 1


def test_small_pieces_become_one_and_keep_their_row_ids() -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        for i in range(20):
            table.append(make(3, 3 * i))
        table.delete([4, 30])
        assert len(groups(table)) == 20
        fold(table)
        (group,) = groups(table)
        assert (group.first, group.n_rows, group.n_live, group.record.tier) == (0, 60, 58, 1)
        assert np.array_equal(table["a"][:], np.delete(np.arange(60), [4, 30]))
        table.append(make(1, 60))
        assert groups(table)[-1].first == 60


def test_rows_that_add_up_become_full_row_groups() -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        n = 0
        for _ in range(8):
            table.append(make(10_000, n))
            n += 10_000
        assert len(groups(table)) == 8
        fold(table)
        assert [(g.n_rows, g.is_pages) for g in groups(table)] == [
            (65_536, True),
            (4_464, True),  # what the seventh had too many
            (10_000, True),
        ]
        assert np.array_equal(table["a"][:], np.arange(n))
        fold(table)
        assert len(groups(table)) == 3


def test_one_call_folds_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_fold, "FOLD_BYTES", 1)
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        with store.transaction():
            for i in range(30):
                table.append(make(10_000, 10_000 * i))
        before = len(groups(table))
        with table._write() as txn:
            assert fold_table(txn, table._id, "/t")
        assert before - len(groups(table)) <= 6
        assert np.array_equal(table["a"][:], np.arange(300_000))


@pytest.mark.parametrize("n", [5_000, 10_000, 40_000])
def test_folding_keeps_pace_with_large_batches(n: int) -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        total = 0
        for _ in range(3):
            for _ in range(15):
                table.append(make(n, total))
                total += n
            fold(table)
            found = groups(table)
            # All but the rows of one group stand in full ones.
            small = [group for group in found if group.n_rows < 65_536]
            assert sum(group.n_rows for group in small) < 65_536
            assert len(small) < FAN_IN
        assert np.array_equal(table["a"][:], np.arange(total))


def test_a_gap_of_many_row_ids_is_not_filled() -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        table.append(make(10))
        table.append(make(60_000, 10))
        table.delete(slice(10, 60_010))
        for i in range(5):
            table.append(make(10, i))
            fold(table)
        assert [group.first for group in groups(table)][:1] == [0]
        assert sum(group.n_rows for group in groups(table)) == 60
        assert len(table) == 60


def test_many_appends_in_one_transaction_fold_on_the_way() -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        with store.transaction():
            for i in range(3_000):
                table.append(make(2, 2 * i))
        assert len(groups(table)) < 1_100
        assert np.array_equal(table["a"][:], np.arange(6_000))


def test_updates_of_single_rows_fold_into_few_patches_and_then_into_pages() -> None:
    rows = make(40_000)
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", rows)
        rng = np.random.default_rng(0)
        most = 0
        for step in range(600):
            at = int(rng.integers(0, 40_000))
            if step % 3:
                table["b"][at] = rows["b"][at] = step
            else:
                rows[at] = (step, step)
                table[at] = rows[at]
            if step % 7 == 0:
                fold(table)
            most = max(most, table.info["patches"])
        assert most < 3 * FAN_IN
        assert table[:].tobytes() == rows.tobytes()
        table["b"][::20] = 7.0  # a twentieth: with the others, worth new pages
        rows["b"][::20] = 7.0
        for _ in range(4):
            table["b"][1::40] = 8.0
            rows["b"][1::40] = 8.0
            fold(table)
        assert table[:].tobytes() == rows.tobytes()
        assert table.info["patches"] <= 2


def test_changing_many_rows_of_a_group_writes_its_pages_at_once() -> None:
    rows = make(20_000)
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", rows)
        table["b"][:10] = 1.0
        assert table.info["patches"] == 1
        table["b"][:5_000] = 2.0
        assert table.info["patches"] == 0
        rows["b"][:5_000] = 2.0
        assert table[:].tobytes() == rows.tobytes()


def test_a_snapshot_reads_what_was_there_before_the_folding(path: Path) -> None:
    with kist.open(path, "w", durability="none") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        for i in range(50):
            table.append(make(5, 5 * i))
        with kist.open(path) as reader:
            old = reader["t"]
            assert len(old) == 250
            table["a"][:] = 0
            for _ in range(3):
                fold(table)
                table.append(make(5))
            fold(table)
            assert np.array_equal(old["a"][:], np.arange(250))
        assert len(groups(table)) <= 3


def test_deleted_rows_of_a_full_group_go_with_it() -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", make(70_000))
        table.delete(slice(0, 65_000))
        assert len(groups(table)) == 2
        table.delete(slice(0, 536))
        assert [group.first for group in groups(table)] == [65_536]
        assert np.array_equal(table["a"][:], np.arange(65_536, 70_000))
        assert list(table._check_records(table._view())) == []


@pytest.mark.parametrize("rolled_back", [False, True])
def test_what_is_rolled_back_leaves_no_trace_in_what_is_remembered(rolled_back: bool) -> None:
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", make(10))
        try:
            with store.transaction():
                table.append(make(5, 100))
                assert len(table) == 15
                table.delete(0)
                assert table["a"][0] == 1
                if rolled_back:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            assert np.array_equal(table["a"][:], np.arange(10))
        table.append(make(3, 200))
        assert table["a"][-3:].tolist() == [200, 201, 202]
        assert len(table) == (13 if rolled_back else 17)


def test_wide_rows_make_shorter_groups() -> None:
    dtype = np.dtype([("image", "u1", (512, 512)), ("a", "i4")])
    rows = np.zeros(300, dtype)
    rows["image"] = np.arange(300)[:, None, None] % 251
    rows["a"] = np.arange(300)
    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", rows)
        assert [group.n_rows for group in groups(table)] == [127, 127, 46]
        assert np.array_equal(table["image"][130], rows["image"][130])
        assert table[5:200:60].tobytes() == rows[5:200:60].tobytes()
        table["image"][7] = 9
        assert table["image"][7].min() == 9
        table.append(rows[:20])
        fold(table)
        assert np.array_equal(table["a"][:], np.r_[:300, :20])
        assert b"".join(block["a"].tobytes() for block in table.blocks()) == table["a"][:].tobytes()


@pytest.mark.parametrize(("n", "times"), [(10, 40), (1_000, 100), (10_000, 20)])
def test_what_one_transaction_appends_in_many_pieces_is_folded_in_its_commit(
    n: int, times: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.kist"
    with kist.open(path, "w") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        other: Any = store.create_table("gone", dtype=DTYPE)
        with store.transaction():
            for number in range(times):
                table.append(make(n, n * number))
                other.append(make(n, n * number))
            assert len(groups(table)) == times
            del store["gone"]
    with kist.open(path) as store:
        table = store["t"]
        assert len(groups(table)) <= max(2, times // 5)
        assert np.array_equal(table["a"][:], np.arange(n * times))


@pytest.mark.parametrize("times", [20, 300])
def test_what_one_transaction_changes_in_many_steps_is_folded_in_its_commit(
    times: int, tmp_path: Path
) -> None:
    rows = make(200_000)
    rng = np.random.default_rng(times)
    with kist.open(tmp_path / "a.kist", "w") as store:
        table: Any = store.create_table("t", rows)
        other: Any = store.create_table("gone", rows[:1000])
        table.create_index("b")
        with store.transaction():
            for at in rng.integers(0, len(rows), times).tolist():
                rows[at] = (rows["a"][at], -1.0)
                table[at] = rows[at]
                other["b"][at % 1000] = 3.0
            del store["gone"]
    with kist.open(tmp_path / "a.kist") as store:
        table = store["t"]
        # Few are left to the next checkpoint; of many each row group has one at most.
        n_patches = table.info["patches"]
        assert n_patches == times if times < 64 else n_patches <= len(groups(table))
        assert table[:].tobytes() == rows.tobytes()
        assert table.where("b == -1").indices().tolist() == np.flatnonzero(rows["b"] == -1).tolist()


def test_a_damaged_table_does_not_keep_new_rows_from_being_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def damaged(txn: Any, node: int, path: str) -> bool:
        raise kist.CorruptDataError("a page is damaged")

    with kist.open(":memory:") as store:
        table: Any = store.create_table("t", dtype=DTYPE)
        monkeypatch.setattr(table_fold, "fold_table", damaged)
        with pytest.warns(kist.DamageWarning, match="a page is damaged"), store.transaction():
            for number in range(20):
                table.append(make(100, 100 * number))
        assert np.array_equal(table["a"][:], np.arange(2_000))
