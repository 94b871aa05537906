"""A crowd on one store: a short run, and that its judge can tell right from wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import kist
from kist.testing import crowd
from kist.testing.batches import look, prepare, write_batch
from kist.testing.crowd import run_crowd


def test_no_batch_of_many_writers_is_lost_or_doubled_and_no_reader_goes_back(
    tmp_path: Path,
) -> None:
    report = run_crowd(tmp_path, writers=2, threads=2, readers=1, batches=8, seconds=300)
    assert report.failures == [], str(report)
    assert report.commits == dict.fromkeys(range(4), 8)
    assert report.looks > 0
    assert set(report.longest_wait) == set(range(4))


def test_backups_taken_while_writers_work_and_die_are_whole(tmp_path: Path) -> None:
    report = run_crowd(
        tmp_path, writers=2, readers=0, batches=10, seconds=300, backups=True, kills=2, seed=1
    )
    assert report.failures == [], str(report)
    assert report.backups > 0


@pytest.fixture
def store(path: Path) -> kist.Store:
    store = kist.open(path, "x", durability="none")
    prepare(store, 2)
    for n in range(60):
        write_batch(store, n % 2)
    return store


def test_a_store_that_a_crowd_wrote_is_as_it_must_be(store: kist.Store) -> None:
    assert look(store).tolist() == [30, 30]
    assert write_batch(store, 1)[0] == 31
    store.close()


def _add(name: str, n: int) -> Callable[[kist.Store], None]:
    def change(store: kist.Store) -> None:
        store["counters"][name] = store["counters"][name] + n

    return change


def _set_last(store: kist.Store) -> None:
    store["last"][0] = 29


def _swap(store: kist.Store) -> None:
    rows = store["rows"][:]
    own = np.flatnonzero(rows["writer"] == 1)
    store["rows"]["n"][own[:2]] = 99


def _double(store: kist.Store) -> None:
    rows = store["rows"][-3:]
    store["rows"].append(rows)


WRONG: dict[str, Callable[[kist.Store], object]] = {
    "a row is lost": lambda store: store["rows"].delete(-1),
    "rows are doubled": _double,
    "a counter lost a step": _add("batches", -1),
    "a counter went too far": _add("rows", 1),
    "part of a commit is old": _set_last,
    "a row is another": _swap,
    "an attribute is old": lambda store: store.attrs.__setitem__("newest", (0, 3)),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_the_judge_sees_what_is_wrong(
    store: kist.Store, change: Callable[[kist.Store], object]
) -> None:
    change(store)
    with pytest.raises(AssertionError):
        look(store)
    store.close()


def test_fairness_is_the_fewest_commits_for_the_most() -> None:
    report = crowd.Report(commits={0: 30, 1: 10, 2: 20}, longest_wait={0: 0.5})
    assert report.fairness == pytest.approx(1 / 3)
    assert "writer 0: 30 commits, longest wait 0.500 s" in str(report)
    assert crowd.Report().fairness == 0


def test_a_share_that_is_too_small_is_a_failure(tmp_path: Path) -> None:
    report = run_crowd(tmp_path, writers=1, readers=0, batches=1, seconds=60, fair=2)
    assert report.failures == ["fairness 1.00 is below 2"]
