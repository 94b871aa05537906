"""Whose transaction it is: threads, tasks, processes, forks, interrupts."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import kist

ROWS = np.array([(1, 2.0), (3, 4.0)], "i4,f8")


@pytest.fixture
def store(path: Path) -> Iterator[kist.Store]:
    with kist.open(path, "w", timeout=20) as store:
        store["t"] = ROWS
        store.attrs["n"] = 0
        yield store


def test_threads_that_count_up_lose_nothing(store: kist.Store) -> None:
    def count(_: int) -> None:
        for _ in range(10):
            with store.transaction():
                store.attrs["n"] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert store.attrs["n"] == 40


def test_processes_that_count_up_lose_nothing(store: kist.Store) -> None:
    code = (
        "import sys, kist\n"
        "with kist.open(sys.argv[1], 'r+') as store:\n"
        "    for _ in range(20):\n"
        "        with store.transaction():\n"
        "            store.attrs['n'] += 1\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, store.path]) for _ in range(3)]
    for _ in range(20):
        with store.transaction():
            store.attrs["n"] += 1
    assert [child.wait() for child in children] == [0, 0, 0]
    assert store.attrs["n"] == 80


def test_another_thread_sees_the_last_commit_and_waits_to_write(store: kist.Store) -> None:
    seen: list[int] = []

    def other() -> None:
        seen.append(store.attrs["n"])
        store.attrs["n"] = 10  # waits
        seen.append(store.attrs["n"])

    with store.transaction():
        store.attrs["n"] = 5
        thread = threading.Thread(target=other)
        thread.start()
        while not seen:
            time.sleep(0.001)
        assert store.attrs["n"] == 5
    thread.join()
    assert seen == [0, 10]


def test_a_thread_that_waits_too_long_is_told_who_writes(path: Path) -> None:
    errors: list[Exception] = []
    with kist.open(path, "w", timeout=0.05) as store:

        def other() -> None:
            try:
                store.attrs["n"] = 10
            except Exception as error:
                errors.append(error)

        with store.transaction():
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert isinstance(errors[0], kist.StoreLockedError)
        assert "MainThread" in str(errors[0])
        store.attrs["n"] = 1
        assert dict(store.attrs) == {"n": 1}


def test_another_handle_waits_too(path: Path) -> None:
    with kist.open(path, "w") as one, kist.open(path, "r+", timeout=0.05) as two:
        one.attrs["n"] = 1
        with one.transaction():
            with pytest.raises(kist.StoreLockedError):
                two.attrs["n"] = 2
            with pytest.raises(OSError):
                two.begin()
        two.attrs["n"] = 3
        assert one.attrs["n"] == 3


def test_a_transaction_left_by_a_dead_thread_is_rolled_back(store: kist.Store) -> None:
    def begin() -> None:
        store.begin()
        store.attrs["n"] = 5

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    assert store.attrs["n"] == 0
    store.attrs["m"] = 1
    assert dict(store.attrs) == {"m": 1, "n": 0}


def test_a_second_task_of_the_thread_raises_instead_of_a_deadlock(store: kist.Store) -> None:
    async def first(entered: asyncio.Event, leave: asyncio.Event) -> None:
        with store.transaction():
            store.attrs["n"] = 1
            entered.set()
            await leave.wait()
            assert store.attrs["n"] == 1

    async def second(entered: asyncio.Event, leave: asyncio.Event) -> None:
        await entered.wait()
        try:
            assert store.attrs["n"] == 0, "it reads the last commit"
            for write in (
                lambda: store.attrs.update(n=2),
                lambda: store.begin(),
                lambda: store.transaction().__enter__(),
            ):
                with pytest.raises(kist.TransactionError, match="another task"):
                    write()
        finally:
            leave.set()

    async def both() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()
        await asyncio.gather(first(entered, leave), second(entered, leave))

    asyncio.run(both())
    assert store.attrs["n"] == 1
    store.attrs["n"] = 2


def test_tasks_may_take_turns(store: kist.Store) -> None:
    async def count() -> None:
        for _ in range(5):
            with store.transaction():
                store.attrs["n"] += 1
            await asyncio.sleep(0)

    async def all_of_them() -> None:
        await asyncio.gather(*(count() for _ in range(3)))

    asyncio.run(all_of_them())
    assert store.attrs["n"] == 15


def test_a_snapshot_belongs_to_the_thread_that_holds_it(store: kist.Store) -> None:
    with store.read():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(store.attrs.update, n=7).result()
            assert pool.submit(lambda: store.attrs["n"]).result() == 7
        assert store.attrs["n"] == 0
    assert store.attrs["n"] == 7


def in_child(action: object) -> str:
    """Fork, run the action in the child, and return what it returned or raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = str(action())  # type: ignore[operator]
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(write, result.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def test_a_read_handle_goes_on_in_a_forked_child_on_its_own_commit(store: kist.Store) -> None:
    with kist.open(store.path) as reader:
        table = reader["t"]
        store["t"].append(ROWS)
        assert in_child(lambda: (len(table), reader.attrs["n"])) == "(2, 0)"
        assert in_child(lambda: (reader.refresh() > 0, len(table))) == "(True, 4)"
        assert len(table) == 2


def test_a_handle_that_writes_opens_itself_again_in_a_child(store: kist.Store) -> None:
    def write() -> int:
        store.attrs["n"] = 7
        store["t"].append(ROWS)
        return len(store["t"])

    assert in_child(write) == "4"
    assert store.attrs["n"] == 7
    store["t"].append(ROWS)
    assert len(store["t"]) == 6
    assert store.check().ok


def test_a_transaction_does_not_pass_to_a_child(store: kist.Store) -> None:
    def leave() -> None:
        txn.__exit__(None, None, None)

    txn = store.transaction()
    with txn:
        store.attrs["n"] = 5
        assert in_child(lambda: store.attrs["n"]).startswith("TransactionClosedError")
        assert in_child(lambda: store.attrs.update(n=6)).startswith("TransactionClosedError")
        assert in_child(leave).startswith("TransactionClosedError")
    assert store.attrs["n"] == 5
    store.begin()
    assert in_child(store.commit).startswith("TransactionClosedError")
    assert in_child(store.rollback).startswith("TransactionClosedError")
    store.rollback()


def test_handles_are_pickled_as_a_place_and_read_the_same_commit(store: kist.Store) -> None:
    with kist.open(store.path) as reader:
        data = pickle.dumps([reader, reader["t"], reader["/"]])
        assert len(data) < 600, "no rows travel"
        store["t"].append(ROWS)
        code = (
            "import pickle, sys\n"
            "store, table, root = pickle.loads(sys.stdin.buffer.read())\n"
            "print(len(table), table.name, table.store is store, root is store, store.mode)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], input=data, capture_output=True, check=True
        )
        assert done.stdout.decode().split() == ["2", "/t", "True", "True", "r"]


def test_a_pickled_handle_of_a_commit_that_is_gone_names_the_remedy(path: Path) -> None:
    with kist.open(path, "w") as store:
        store["t"] = ROWS
        data = pickle.dumps(store["t"])
        for at in range(100):  # enough for two checkpoints
            store.attrs["big"] = np.full(50_000, at)
        with pytest.raises(kist.SnapshotExpiredError, match="tag"):
            pickle.loads(data)
        data = pickle.dumps(store["t"])
        store.tag("keep")
        for at in range(100):
            store.attrs["big"] = np.full(50_000, at)
        table = pickle.loads(data)
        assert len(table) == 2
        assert table.store.attrs["big"][0] == 99


def test_a_pickled_handle_never_reads_another_store(store: kist.Store, path: Path) -> None:
    data = pickle.dumps(store["t"])
    store.close()
    path.unlink()
    with kist.open(path, "w") as other:
        for _ in range(5):
            other["t"] = ROWS[:1]
    with pytest.raises(kist.SnapshotError, match="another store"):
        pickle.loads(data)


def test_what_others_cannot_see_is_not_pickled(store: kist.Store) -> None:
    with kist.open(":memory:") as memory:
        memory["t"] = ROWS
        for handle in (memory, memory["t"]):
            with pytest.raises(kist.KistError, match="memory"):
                pickle.dumps(handle)
    with store.transaction(), pytest.raises(kist.TransactionError, match="not committed"):
        pickle.dumps(store["t"])


INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import kist

path, delay = sys.argv[1], float(sys.argv[2])
store = kist.open(path, "r+")
n, stopped = 0, False
def stop():
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=stop).start()
try:
    while True:
        n += 1
        with store.transaction():
            store.attrs["n"] = n
            store.attrs["big"] = np.full(3000, n)
            store["t"].append([(n, n)])
except KeyboardInterrupt:
    pass
seen = store.attrs["n"]
assert seen in (n, n - 1), (seen, n)
assert store.attrs["big"][-1] == seen
assert len(store["t"]) == seen, (len(store["t"]), seen)
with kist.open(path) as other:
    assert other.attrs["n"] == seen
store.attrs["after"] = 1
assert store.check().ok
store.close()
"""


@pytest.mark.parametrize("at", range(6))
def test_an_interrupt_leaves_memory_and_disk_agreeing(path: Path, at: int) -> None:
    with kist.open(path, "w") as store:
        store.create_table("t", dtype="i8,f8")
        store.attrs["n"] = 0
        store.attrs["big"] = np.zeros(3000)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(path), str(0.02 + 0.017 * at)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_writer_that_is_killed_holds_no_lock(store: kist.Store) -> None:
    code = (
        "import kist, os, signal, sys\n"
        "store = kist.open(sys.argv[1], 'r+')\n"
        "store.begin()\n"
        "store.attrs['n'] = 99\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, store.path])
    assert done.returncode == -signal.SIGKILL
    assert store.attrs["n"] == 0
    store.attrs["n"] = 1
    assert store.check().ok
