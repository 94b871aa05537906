"""Data loaders: workers of every kind of start read shuffled rows beside a writing parent."""

from __future__ import annotations

import multiprocessing as mp
import operator
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

N = 200
METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def store(path: Path) -> Iterator[kist.Store]:
    rng = np.random.default_rng(0)
    with kist.open(path, "x", durability="none", timeout=5) as store:
        with store.transaction():
            rows = np.zeros(N, [("label", "i4"), ("x", "f4", (8,))])
            rows["label"], rows["x"] = np.arange(N), rng.normal(size=(N, 8))
            store["table"] = rows
            store["array"] = rng.integers(0, 255, (N, 12, 12), "u1")
            store["column"] = rng.normal(size=N)
            store.create_keystore("keys").update({n: np.full(5, n) for n in range(N)})
        yield store


def batches(seed: int, size: int = 25) -> list[list[int]]:
    """Shuffled numbers in batches, as a sampler gives them to workers."""
    order = np.random.default_rng(seed).permutation(N).tolist()
    return [order[at : at + size] for at in range(0, N, size)]


def test_the_samplers_batches_hold_every_number_once() -> None:
    assert sorted(n for batch in batches(3) for n in batch) == list(range(N))


@pytest.mark.parametrize(
    ("method", "mode"), [("fork", "r"), ("fork", "r+"), ("spawn", "r"), ("forkserver", "r+")]
)
def test_four_workers_read_shuffled_items_and_batches(
    store: kist.Store, method: str, mode: str
) -> None:
    expected = {name: store[name][:] for name in ("table", "array", "column")}
    with kist.open(store.path, mode) as source:
        handles = {name: source[name] for name in (*expected, "keys")}
        with mp.get_context(method).Pool(4) as pool:
            waiting: list[tuple[str, Any, Any]] = []
            for name, handle in handles.items():
                for batch in batches(1):
                    some: list[Any] = batch[:3]
                    if name != "keys":
                        some.append(batch)  # handle[[...]], beside handle[i]
                    for item in some:
                        answer = pool.apply_async(operator.getitem, (handle, item))
                        waiting.append((name, item, answer))
            for name, item, answer in waiting:
                found = answer.get(120)
                wanted = np.full(5, item) if name == "keys" else expected[name][item]
                assert np.asarray(found).tobytes() == np.asarray(wanted).tobytes(), (name, item)


@pytest.mark.parametrize("method", METHODS)
def test_no_worker_waits_for_what_its_parent_holds(store: kist.Store, method: str) -> None:
    reader = kist.open(store.path)
    handles = [reader["table"], store["table"], store["array"]]
    with store.transaction():  # its locks stay held until the workers have answered
        store["table"].append(store["table"][:5])
        store.attrs["x"] = 1
        with store.read(), mp.get_context(method).Pool(2) as pool:
            answers = [pool.apply_async(operator.getitem, (handles[0], 7)) for _ in range(8)]
            lengths = [pool.apply_async(len, (reader[name],)) for name in ("table", "array")]
            assert [int(a.get(60)["label"]) for a in answers] == [7] * 8
            assert [a.get(60) for a in lengths] == [N, N]
    assert len(store["table"]) == N + 5
    reader.close()


def test_forked_workers_read_through_inherited_handles_while_threads_write(
    store: kist.Store,
) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store["column"][0] = 1.0
            store.attrs["n"] = 1

    thread = threading.Thread(target=write)
    thread.start()
    context = mp.get_context("fork")
    table, array = store["table"], store["array"]
    order = batches(2)[0]

    def work(pipe: Any) -> None:
        # The descriptors, locks and threads of the parent are not there any more.
        found = [int(table[n]["label"]) for n in order], array[order].sum().item()
        pipe.send(found)

    try:
        for _ in range(4):
            parent, child = context.Pipe()
            process = context.Process(target=work, args=(child,))
            process.start()
            assert parent.poll(60), "a worker waits"
            assert parent.recv() == (order, array[order].sum().item())
            process.join(60)
            assert process.exitcode == 0
            parent.close()
            child.close()
            process.close()
    finally:
        stop.set()
        thread.join()
