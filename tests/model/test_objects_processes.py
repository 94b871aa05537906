"""Handles of every kind go to other processes, and read the snapshot that they came from."""

from __future__ import annotations

import multiprocessing as mp
import operator
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist

Call = tuple[Callable[..., Any], tuple[Any, ...]]

KINDS = ("array", "table", "keystore", "group", "column")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[kist.Store]:
    with kist.open(tmp_path / "s.kist", "w") as store:
        fill(store, 1)
        yield store


def fill(store: kist.Store, number: int) -> None:
    """Put one of each kind into a store, or replace it."""
    with store.transaction():
        store["array"] = np.full((40, 50), number)
        store["table"] = np.full(500, number, [("a", "i8"), ("b", "f8")])
        store.create_keystore("keystore", overwrite=True).update(
            {"x": np.full(3000, number), "y": number}
        )
        store.require_group("group").attrs["number"] = number


def handle(store: Any, kind: str) -> Any:
    return store["table"]["a"] if kind == "column" else store[kind]


# Calls that another process can import: it cannot import this file.
CALLS: dict[str, Call] = {
    "array": (operator.getitem, ((slice(3, 30), slice(None, None, 7)),)),
    "table": (operator.getitem, (slice(2, 90),)),
    "keystore": (operator.getitem, ("x",)),
    "group": (operator.attrgetter("attrs.number"), ()),
    "column": (operator.getitem, (slice(10, 20),)),
}


def number_in(values: Any) -> int:
    """All that is there is one number."""
    values = np.asarray(values)
    values = values["a"] if values.dtype.names else values
    assert len(set(values.ravel().tolist())) == 1
    return int(values.flat[0])


def read(kind: str, handle: Any) -> int:
    """Read through a handle."""
    call, arguments = CALLS[kind]
    return number_in(call(handle, *arguments))


def read_in(pool: Any, store: Any) -> list[int]:
    """Read through handles of every kind in the processes of a pool."""
    found = []
    for kind in KINDS:
        call, arguments = CALLS[kind]
        # With a limit: a pool waits for ever for a worker that could not take its task.
        answer = pool.apply_async(call, (handle(store, kind), *arguments))
        found.append(number_in(answer.get(120)))
    return found


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_read_the_snapshot_of_the_handle(store: kist.Store, method: str) -> None:
    with kist.open(store.path) as reader:
        fill(store, 2)  # the reader stays on its commit, and pins it
        with mp.get_context(method).Pool(2) as pool:
            assert read_in(pool, reader) == [1] * len(KINDS)
            reader.refresh()
            assert read_in(pool, reader) == [2] * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_handle_whose_snapshot_is_gone_says_so(store: kist.Store, kind: str) -> None:
    data = pickle.dumps(handle(store, kind))
    assert read(kind, pickle.loads(data)) == 1
    for number in range(2, 5):
        fill(store, number)
    loaded = None
    try:
        loaded = pickle.loads(data)
    except kist.SnapshotExpiredError as error:
        assert "tag" in str(error)
    if loaded is not None:  # the store of the first load was still there, and pins it
        assert read(kind, loaded) == 1


@pytest.mark.parametrize("kind", ["array", "keystore"])
def test_a_handle_used_after_a_fork_reads_on(store: kist.Store, kind: str) -> None:
    with kist.open(store.path) as reader:
        used = reader[kind]
        assert read(kind, used) == 1
        parent, child = mp.get_context("fork").Pipe()

        def work() -> None:
            child.send(read(kind, used))

        process = mp.get_context("fork").Process(target=work)
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert parent.recv() == 1
        assert read(kind, used) == 1


@pytest.mark.parametrize("kind", ["array", "table", "keystore"])
def test_space_of_what_is_deleted_is_used_again(store: kist.Store, kind: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**60, 60_000)
    sizes = []
    for _ in range(40):
        if kind == "array":
            store["big"] = values
        elif kind == "table":
            store["big"] = values.view([("v", "i8")])
        else:
            store.create_keystore("big")["all"] = (values[:30_000], values[30_000:])
        del store["big"]
        sizes.append(Path(store.path).stat().st_size)
    assert sizes[-1] <= 1.1 * sizes[12], sizes
    assert store.check().ok


def test_a_tagged_version_shows_all_objects_as_they_were(store: kist.Store) -> None:
    store.tag("one")
    fill(store, 2)
    del store["array"], store["keystore"]
    with kist.open(store.path, version="one") as old:
        assert [read(kind, handle(old, kind)) for kind in KINDS] == [1] * len(KINDS)
    assert sorted(store) == ["group", "table"]


@pytest.mark.parametrize("kind", KINDS)
def test_commits_of_the_upkeep_are_in_the_way_of_no_handle(store: kist.Store, kind: str) -> None:
    store["other"] = np.random.default_rng(0).random(200_000)
    for number in range(2, 5):
        del store["other"]
        fill(store, number)
        store.compact()  # more commits than its own: which one is shown, nothing in the file says
        assert read(kind, pickle.loads(pickle.dumps(handle(store, kind)))) == number
        store["other"] = np.random.default_rng(number).random(200_000)
        assert read(kind, pickle.loads(pickle.dumps(handle(store, kind)))) == number


def test_a_handle_of_a_tag_made_by_the_upkeep_is_found_again(store: kist.Store) -> None:
    store["other"] = np.random.default_rng(0).random(200_000)
    del store["other"]
    store.compact()
    store.tag("kept")
    with store.at("kept") as kept:
        data = pickle.dumps(kept["array"])
        for number in range(2, 8):
            fill(store, number)
            store.compact()
    assert read("array", pickle.loads(data)) == 1
