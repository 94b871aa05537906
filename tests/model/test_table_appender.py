"""The appender: rows one by one, commits in batches."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

DTYPE = np.dtype([("a", "i4"), ("b", ">f8")])


@pytest.fixture
def table() -> Iterator[Any]:
    with kist.open(":memory:") as store:
        yield store.create_table("t", dtype=DTYPE)


def test_rows_are_committed_in_batches_and_the_rest_at_the_end(table: Any) -> None:
    lengths = []
    with table.appender(rows=100, seconds=1e6) as add:
        for i in range(250):
            add((i, i / 2))
            lengths.append(len(table))
        assert add.n_waiting == 50
        assert add.n_rows == 250
    assert sorted(set(lengths)) == [0, 100, 200]
    assert np.array_equal(table["a"][:], np.arange(250))
    assert table.dtype == DTYPE


def test_several_rows_come_at_once(table: Any) -> None:
    with table.appender(rows=10, seconds=1e6) as add:
        add(np.zeros(7, DTYPE))
        add([(1, 2.0), (3, 4.0)])
        assert len(table) == 0
        add({"a": 5, "b": 6.0})
        assert len(table) == 10


def test_rows_that_waited_long_enough_are_committed_with_the_next(table: Any) -> None:
    with table.appender(rows=1000, seconds=0.01) as add:
        add((1, 1.0))
        time.sleep(0.02)
        add((2, 2.0))
        assert len(table) == 2


def test_a_timer_commits_rows_without_a_next_one(table: Any) -> None:
    with table.appender(rows=1000, seconds=0.02, timer=True) as add:
        add((1, 1.0))
        done = threading.Event()
        for _ in range(500):
            if len(table) == 1:
                done.set()
                break
            time.sleep(0.01)
        assert done.is_set()
    assert len(table) == 1


def test_a_bad_row_is_refused_and_the_others_stay(table: Any) -> None:
    with table.appender(rows=1000, seconds=1e6) as add:
        add((1, 1.0))
        with pytest.raises(kist.DTypeError, match="column 'a'"):
            add((2**40, 1.0))
        add((2, 1.0))
    assert table["a"][:].tolist() == [1, 2]


def test_an_exception_in_the_loop_does_not_lose_what_was_measured(table: Any) -> None:
    with pytest.raises(ZeroDivisionError), table.appender(seconds=1e6) as add:
        add((1, 1.0))
        raise ZeroDivisionError
    assert len(table) == 1


def test_a_row_that_was_added_is_not_changed_afterwards(table: Any) -> None:
    row = np.zeros(1, DTYPE)
    with table.appender(seconds=1e6) as add:
        for i in range(3):
            row["a"] = i
            add(row)
    assert table["a"][:].tolist() == [0, 1, 2]


def test_an_error_of_the_timer_is_raised_where_rows_are_added(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with table.appender(rows=1000, seconds=0.01, timer=True) as add:

        def failing(rows: object) -> int:
            raise kist.StorageError("no space left")

        with monkeypatch.context() as patch:
            patch.setattr(table, "_append_array", failing)
            add((1, 1.0))
            with pytest.raises(kist.StorageError, match="no space"):
                for _ in range(500):
                    time.sleep(0.01)
                    add((2, 2.0))
    assert table["a"][0] == 1


def test_an_appender_is_used_in_a_with_block(table: Any) -> None:
    add = table.appender()
    with pytest.raises(kist.TransactionError, match="with block"):
        add((1, 1.0))
    assert "0 rows added" in repr(add)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"rows": 0}, ValueError), ({"rows": 1.5}, TypeError), ({"seconds": 0}, ValueError)],
    ids=lambda v: repr(v).split(" at 0x")[0],
)
def test_bad_limits_are_refused(table: Any, options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        table.appender(**options)


@pytest.mark.parametrize("leave", ["exit", "fill", "flush", "end"])
@pytest.mark.parametrize("timer", [False, True])
def test_rows_that_wait_belong_to_the_process_that_was_forked(
    tmp_path: Path, leave: str, timer: bool
) -> None:
    with kist.open(tmp_path / "f.kist", "a") as store:
        table = store.create_table("t", dtype=DTYPE)
        child = 0
        try:
            with table.appender(rows=5, seconds=1e6, timer=timer) as add:
                add([(1, 1.0), (2, 2.0)])
                child = os.fork()
                if not child:
                    if leave == "exit":
                        raise SystemExit
                    if leave == "fill":
                        for i in range(9):
                            add((10 + i, 0.0))
                    if leave == "flush":
                        add.flush()
                else:
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (leave != "exit")
                    add((3, 3.0))
        finally:
            if not child:
                error = sys.exception() if sys.version_info >= (3, 11) else sys.exc_info()[1]
                os._exit(isinstance(error, kist.TransactionClosedError))
        assert table["a"][:].tolist() == [1, 2, 3]
        assert store.check()


def test_a_forked_process_makes_an_appender_of_its_own(tmp_path: Path) -> None:
    with kist.open(tmp_path / "f.kist", "a") as store:
        table = store.create_table("t", dtype=DTYPE)
        child = os.fork()
        if not child:
            try:
                with table.appender() as add:
                    add((1, 1.0))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert table["a"][:].tolist() == [1]
