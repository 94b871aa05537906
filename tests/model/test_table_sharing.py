"""Tables between threads and processes, and handles that travel."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np

import kist

DTYPE = np.dtype([("a", "i8"), ("b", "i8")])


def make(n: int) -> np.ndarray[Any, Any]:
    rows = np.zeros(n, DTYPE)
    rows["a"] = np.arange(n)
    rows["b"] = -rows["a"]
    return rows


def test_readers_in_threads_see_whole_commits_while_another_writes(path: Path) -> None:
    with kist.open(path, "w", durability="none") as store:
        table: Any = store.create_table("t", make(9_000))
        stop = threading.Event()
        wrong: list[str] = []
        reads = 0

        def read() -> None:
            nonlocal reads
            while not stop.is_set():
                rows = table[:]
                if not np.array_equal(rows["a"], -rows["b"]):
                    wrong.append(f"{len(rows)} rows that do not belong together")
                if len(rows) % 10:
                    wrong.append(f"{len(rows)} rows")
                hits = table.where("a < 100")["b"][:]
                if len(hits) and hits.min() < -99:
                    wrong.append("a row that does not match")
                reads += 1

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for step in range(150):
                if step % 3 == 0:
                    table.append(make(10 * (step % 7 + 1)))
                elif step % 3 == 1:
                    with store.transaction():
                        new = np.arange(step, step + 50)
                        table["a"][step : step + 50] = new
                        table["b"][step : step + 50] = -new
                else:
                    table.delete(slice(step, step + 10))
                if step % 10 == 0:
                    store._session.engine.checkpoint()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert wrong == []
        assert reads > 0


def test_handles_of_all_kinds_are_pickled_and_read_the_same_commit(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["t"] = make(100)
    with kist.open(path) as store:
        table = store["t"]
        handles = [
            table,
            table["a"],
            table[["b", "a"]],
            table.where("a > low", low=90),
            table.where("a > low", low=90)["b"],
            table[table["a"] > 90][["b"]],
        ]
        copies = pickle.loads(pickle.dumps(handles))
        for handle, copy in zip(handles, copies, strict=True):
            assert copy[:].tobytes() == handle[:].tobytes()
        copies[0].store.close()


def test_a_second_handle_sees_what_the_first_has_written(path: Path) -> None:
    with kist.open(path, "w", durability="none") as one, kist.open(path, "r+") as two:
        first: Any = one.create_table("t", make(10))
        second = two["t"]
        for step in range(40):
            writer, reader = (first, second) if step % 2 else (second, first)
            writer.append(make(7))
            writer["a"][-1] = writer["b"][-1] = step
            assert len(reader) == 10 + 7 * (step + 1)
            assert reader["a"][-1] == step
            if step % 9 == 0:
                one._session.engine.checkpoint()
        assert first[:].tobytes() == second[:].tobytes()


def test_a_table_is_copied_with_its_pieces_patches_and_deletions(path: Path) -> None:
    with kist.open(path, "w", durability="none") as store:
        table: Any = store.create_table("t", make(20_000))
        table.append(make(30))
        table["a"][5:9] = 77
        table.delete([3, 20_010])
        store.copy("t", "u")
        copy = store["u"]
        table.delete(slice(0, 10_000))
        table["b"][:] = 0
        assert len(copy) == 20_028
        assert copy["a"][4:8].tolist() == [77] * 4
        assert list(copy._check_records(copy._view())) == []
        copy.append(make(3))
        assert len(copy) == 20_031
