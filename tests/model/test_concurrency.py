"""Many processes and threads on one file: whole states, in order, and none that waits for ever."""

from __future__ import annotations

import multiprocessing
import operator
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

DTYPE = np.dtype([("batch", "i8"), ("n", "i4"), ("value", "f8")])

# A batch has as many rows as its number says, so that half of one is seen.
COMMON = """
import sys, time, numpy as np, kist
DTYPE = np.dtype([("batch", "i8"), ("n", "i4"), ("value", "f8")])

def size(batch):
    return 600 if batch % 17 == 0 else batch % 9 + 1

def rows_of(batch):
    rows = np.zeros(size(batch), DTYPE)
    rows["batch"], rows["n"] = batch, np.arange(size(batch))
    rows["value"] = batch / 4
    return rows

def look(store):
    with store.read():
        batch, rows = store.attrs["batch"], store["t"][:]
        expected = np.concatenate([np.zeros(0, DTYPE), *map(rows_of, range(1, batch + 1))])
        assert rows.tobytes() == expected.tobytes(), (batch, len(rows), len(expected))
        assert len(store["t"]) == len(rows)
        assert store["t"].where("batch == b", b=batch).count() == size(batch) * (batch > 0)
        return batch

def add(store):
    with store.transaction():
        batch = store.attrs["batch"] + 1
        store["t"].append(rows_of(batch))
        store.attrs["batch"] = batch
    return batch
"""

WRITER = """
store, taken, waited = kist.open(sys.argv[1], "r+", timeout=0.05), 0, 0
while taken < int(sys.argv[2]):
    try:
        add(store)
        taken += 1
    except kist.StoreLockedError:
        waited += 1
store.close()
"""

READER = """
last, store, looks = 0, kist.open(sys.argv[1], sys.argv[3]), 0
while last < int(sys.argv[2]):
    if sys.argv[3] == "r":
        store.refresh()
    batch = look(store)
    assert batch >= last, (batch, last)
    assert look(store) == batch or sys.argv[3] != "r"
    last = batch
    looks += 1
    time.sleep(0.003)  # the writers need processors too
    if looks % 40 == 0:
        report = store.check()
        assert report.ok, report
store.close()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMON + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors


@pytest.fixture
def common() -> Any:
    names: dict[str, Any] = {}
    exec(COMMON, names)
    return names


@pytest.fixture
def store(path: Path) -> Iterator[kist.Store]:
    with kist.open(path, "x") as store:
        store.create_table("t", dtype=DTYPE)
        store.attrs["batch"] = 0
        yield store


def test_writers_take_turns_and_readers_see_whole_states_in_order(
    store: kist.Store, common: Any
) -> None:
    readers = [start(READER, store.path, 80, mode) for mode in ("r", "r", "r+")]
    writers = [start(WRITER, store.path, 40) for _ in range(2)]
    for process in (*writers, *readers):
        finish(process)
    assert common["look"](store) == 80
    assert store.check().ok
    common["add"](store)


def test_threads_that_share_a_store_see_whole_states_in_order(
    store: kist.Store, common: Any
) -> None:
    def write(n: int) -> None:
        for _ in range(n):
            common["add"](store)

    def read() -> int:
        last = looks = 0
        while last < 80:
            batch = common["look"](store)
            assert batch >= last
            last, looks = batch, looks + 1
        return looks

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        writers = [pool.submit(write, 40) for _ in range(2)]
        for job in (*writers, *readers):
            job.result()
    assert store.check().ok


def test_threads_read_while_another_iterates_over_what_it_began_with(
    store: kist.Store, common: Any
) -> None:
    for _ in range(20):
        common["add"](store)
    table = store["t"]
    before = table[:]
    blocks = table.blocks(50)
    first = next(blocks)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: common["add"](store), range(20)))
        pool.submit(table.delete, slice(0, 30)).result()
    assert np.concatenate([first, *blocks]).tobytes() == before.tobytes()
    assert len(table) > len(before)


# Space under a pin

COLUMN = 20_000 * 8


def overwrite(table: Any, times: int) -> None:
    rng = np.random.default_rng(times)
    for _ in range(times):
        table["b"] = rng.random(20_000)


def test_a_pinned_reader_holds_back_what_it_reads_and_no_more(path: Path) -> None:
    with kist.open(path, "x", durability="none") as store:
        rows = np.zeros(20_000, [("a", "i4"), ("b", "f8")])
        rows["b"] = np.random.default_rng(0).random(20_000)
        table = store.create_table("t", rows, codec="none")
        overwrite(table, 20)  # as much room as overwriting takes without a reader
        room = path.stat().st_size
        with kist.open(path) as reader:
            pinned = reader["t"]
            before = pinned[:]
            seen = reader.commit_id
            overwrite(table, 300)
            assert pinned[:].tobytes() == before.tobytes()
            assert reader.commit_id == seen
            # What the snapshot holds, and what waits for the next checkpoints (1 MiB starts one).
            assert path.stat().st_size < room + COLUMN + 3 * 2**20
            (pin,) = (p for p in store.info["pins"] if p["commit"] <= seen)
            assert pin["pid"] == os.getpid()
            assert COLUMN <= pin["held_bytes"] < 3 * COLUMN
            grown = path.stat().st_size
            overwrite(table, 50)
            assert path.stat().st_size <= grown + COLUMN, "it has stopped growing"
        assert not any(p["commit"] <= seen for p in store.info["pins"])
        overwrite(table, 50)
        assert path.stat().st_size <= grown + COLUMN
        store.compact()
        assert path.stat().st_size < 2**20
        assert store.check().ok


# Who holds the lock


def test_who_waits_too_long_for_another_process_is_told_which(path: Path) -> None:
    kist.open(path, "x").close()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import kist, sys\n"
            "with kist.open(sys.argv[1], 'r+') as store, store.transaction():\n"
            "    store.attrs['n'] = 1\n"
            "    print('begun', flush=True)\n"
            "    sys.stdin.read()\n",
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdin is not None
    try:
        assert holder.stdout.readline() == "begun\n"
        with kist.open(path, "r+", timeout=0.05) as store:
            with pytest.raises(kist.StoreLockedError, match=str(holder.pid)) as caught:
                store.attrs["n"] = 2
            assert str(path) in str(caught.value)
            assert isinstance(caught.value, OSError)
            with kist.open(path) as reader:
                assert len(reader.attrs) == 0, "readers do not wait"
            holder.stdin.close()
            holder.wait()
            store.attrs["n"] += 2
            assert store.attrs["n"] == 3
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()


def test_who_waits_for_a_thread_of_this_process_is_told_its_name(store: kist.Store) -> None:
    begun, end = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction():
            begun.set()
            end.wait()

    thread = threading.Thread(target=hold, name="the holder")
    thread.start()
    begun.wait()
    try:
        store._session.timeout = 0.05
        with pytest.raises(kist.StoreLockedError, match="the holder"):
            store.attrs["x"] = 1
    finally:
        end.set()
        thread.join()
    store.attrs["x"] = 2


# Handles that travel


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(len, ["", ""]))  # now they are there
        yield pool


def test_handles_read_the_same_snapshot_in_workers(
    store: kist.Store, common: Any, workers: ProcessPoolExecutor
) -> None:
    for _ in range(10):
        common["add"](store)
    with kist.open(store.path) as reader:
        table = reader["t"]
        expected = table[:]
        common["add"](store)
        table_of_writer = store["t"]
        assert list(workers.map(len, [table, table_of_writer, table])) == [
            len(expected),
            len(expected) + common["size"](11),
            len(expected),
        ]
        for found in workers.map(operator.itemgetter(slice(None)), [table] * 3):
            assert found.tobytes() == expected.tobytes()
        column = workers.submit(operator.itemgetter(slice(3, 9)), table["value"]).result()
        np.testing.assert_array_equal(column, expected["value"][3:9])
        assert workers.submit(operator.attrgetter("commit_id"), reader).result() == reader.commit_id
        hits = table.where("value > low", low=2.0)
        count = operator.methodcaller("count")
        assert workers.submit(count, hits).result() == (expected["value"] > 2.0).sum()


def test_workers_are_told_when_a_snapshot_is_gone(
    store: kist.Store, common: Any, workers: ProcessPoolExecutor
) -> None:
    common["add"](store)
    data = pickle.dumps(store["t"])
    for at in range(80):
        store.attrs["big"] = np.full(50_000, at)  # checkpoints, and nobody pins what was before
    with pytest.raises(kist.SnapshotExpiredError, match="tag"):
        workers.submit(pickle.loads, data).result()
    store.tag("kept")
    tagged = kist.open(store.path, version="kept")
    for at in range(80):
        store.attrs["big"] = np.full(50_000, at)
    with tagged:
        assert workers.submit(len, tagged["t"]).result() == len(store["t"])
