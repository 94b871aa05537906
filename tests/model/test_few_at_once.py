"""Commits without a transaction: the same bytes, and whatever stands against one is noticed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine import few, recovery, writer
from kist.errors import CommitUnknownError, NodeExistsError, ReadOnlyError, StaleHandleError
from kist.format import keys
from kist.format.keystore import pack_key
from kist.model.node import Node
from kist.storage import file

DTYPE = np.dtype([("a", "<i8"), ("b", "<f4")])
BEFORE = 3


def rows(first: int) -> np.ndarray[Any, Any]:
    found = np.zeros(10, DTYPE)
    found["a"] = np.arange(first, first + 10)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "few.kist"


@pytest.fixture
def store(path: Path) -> Iterator[kist.Store]:
    with kist.open(path, "w", timeout=20) as store:
        store.create_table("t", rows(0)[:0])
        store.create_keystore("k")
        yield store


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Which steps were tried at once, and whether that was possible."""
    found: list[bool] = []
    real = Node._at_once

    def at_once(self: Node, *args: Any) -> bool:
        found.append(real(self, *args))
        return found[-1]

    monkeypatch.setattr(Node, "_at_once", at_once)
    return found


def puts(store: kist.Store, first: int = 0, n: int = BEFORE) -> Any:
    runs = store["k"]
    for i in range(first, first + n):
        runs[f"key {i}"] = i
    return runs


def test_a_handle_goes_on_from_its_own_commit(store: kist.Store, done: list[bool]) -> None:
    runs = puts(store, n=10)
    assert done == [True] * 9
    del done[:]
    table = store["t"]
    for i in range(10):
        table.append(rows(10 * i))
    assert done == [True] * 9
    assert store.history()[0].id == store.info.commit == 22
    assert len(runs) == 10 and len(table) == 100 and store.check().ok


@pytest.mark.parametrize("n", [2, 100])
def test_the_bytes_are_those_of_a_transaction(
    path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    found = []
    for at_once in (True, False):
        ticks = iter(range(1, 1_000_000))
        with monkeypatch.context() as patch:
            patch.setattr(time, "time_ns", lambda ticks=ticks: next(ticks))
            patch.setattr(os, "urandom", lambda n, ticks=ticks: next(ticks).to_bytes(n, "big"))
            if not at_once:
                patch.setattr(Node, "_at_once", lambda *_: False)
            with kist.open(path, "w") as store:
                runs, table = store.create_keystore("k"), store.create_table("t", rows(0)[:0])
                for i in range(n):
                    runs[f"key {i}"] = [i, "text", 2.5]
                    runs["é" if i % 2 else "e\u0301x"] = b"bytes"
                for i in range(n):
                    table.append(rows(i))
        found.append(path.read_bytes())
        path.unlink()
    assert found[0] == found[1]


def test_what_others_commit_is_built_on(path: Path, store: kist.Store, done: list[bool]) -> None:
    runs, other = puts(store), kist.open(path, "r+")
    for i in range(40):  # through both halves of the log
        other["k"][f"other {i}"] = i
        runs[f"own {i}"] = i
        other["t"].append(rows(0))
    other.close()
    assert not any(done[BEFORE:]) and len(runs) == BEFORE + 80 and store.check().ok


def test_many_commits_of_others_run_over_the_place(path: Path, store: kist.Store) -> None:
    runs = puts(store)
    with kist.open(path, "r+") as other:
        for i in range(200):
            other["k"][f"other {i}"] = i
    runs["own"] = 1
    assert len(runs) == BEFORE + 201 and store.check().ok


def test_a_file_that_was_replaced_takes_nothing(path: Path, store: kist.Store) -> None:
    runs, copy = puts(store), path.with_name("copy.kist")
    shutil.copy(path, copy)
    before = copy.read_bytes()
    os.replace(copy, path)
    with pytest.raises(StaleHandleError):
        runs["more"] = 1
    assert path.read_bytes() == before


def test_another_writer_is_waited_for(path: Path, store: kist.Store, done: list[bool]) -> None:
    runs, other = puts(store), kist.open(path, "r+")
    begun = threading.Event()

    def write() -> None:
        with other.transaction():
            other["t"].append(rows(0))
            begun.set()
            time.sleep(0.1)

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(20)
    runs["late"] = 1
    thread.join()
    assert done[-1] is False and len(store["t"]) == 10 and len(runs) == BEFORE + 1
    other.close()


def test_who_stands_in_line_is_not_overtaken(path: Path, store: kist.Store) -> None:
    locks: Any = store._session.engine.backend.locks
    waiting = file.FileBackend(path, writable=True)
    waiting.locks._take_place()
    assert not locks.take_writer() and not locks.writer_held()
    waiting.close()
    assert locks.take_writer() and locks.writer_held()
    locks.release_writer()


def test_counts_are_those_of_what_was_replaced_too(
    path: Path, store: kist.Store, done: list[bool]
) -> None:
    runs = puts(store)
    for value in ("a text", b"bytes" * 40, "ä" * 300, 2.5, None, True, 1 << 70, "", b"", 1j):
        runs["key 1"] = runs["other"] = value
        assert runs["key 1"] == value and type(runs["key 1"]) is type(value)
    del done[:]
    runs["é"] = 1  # is looked at for other forms
    runs["é"] = 2
    runs[b"bytes"], runs[7] = 3, 4
    assert all(done[1:]) and store.check().ok  # which counts anew
    with kist.open(path) as again:
        assert dict(again["k"]) == dict(runs) and len(runs) == BEFORE + 4


def test_what_cannot_be_a_key_or_a_value_changes_nothing(store: kist.Store) -> None:
    runs, before = puts(store), store.info.commit
    for key, value in (("", 1), ("x" * 1001, 1), (1.5, 1), ("\ud800", 1), ("x", object())):
        with pytest.raises((kist.NodeNameError, kist.DTypeError)):
            runs[key] = value
    assert store.info.commit == before and len(runs) == BEFORE


def test_a_damaged_entry_is_told_by_who_replaces_it(store: kist.Store) -> None:
    runs = puts(store)
    node = runs._id
    with store.transaction():
        txn = store._session.own_writer().use()  # type: ignore[union-attr]
        txn.put(keys.item(node, pack_key("key 1")), b"\0\x01damaged")
    runs["key 2"] = 1
    with pytest.raises(kist.CorruptDataError, match="an entry of a key store"):
        runs["key 1"] = 5


def test_values_in_extents_take_a_transaction(store: kist.Store, done: list[bool]) -> None:
    runs = puts(store)
    runs["large"] = np.arange(100_000)
    assert done == [True, True]
    runs["large"] = 1  # gives up an extent
    runs["small"] = 2
    assert done == [True, True, False, True]
    assert runs["large"] == 1 and store.check().ok and len(runs) == BEFORE + 2


def test_an_open_transaction_takes_the_step(store: kist.Store, done: list[bool]) -> None:
    runs = puts(store)
    with pytest.raises(RuntimeError), store.transaction():
        runs["gone"] = 1
        raise RuntimeError
    assert not done[-1] and "gone" not in runs
    runs["there"] = 1
    assert len(runs) == BEFORE + 1


def test_a_step_that_raises_changes_nothing(store: kist.Store, done: list[bool]) -> None:
    runs = puts(store)
    runs["\u00e9"] = 1
    with pytest.raises(NodeExistsError):
        runs["e\u0301"] = 1
    runs["after"] = 1
    assert len(runs) == BEFORE + 2 and store.check().ok
    assert not store._session.engine.backend.locks.writer_held()


def interrupted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Have Ctrl-C arrive when a function is called for the first time."""
    real, arrived = getattr(owner, name), []

    def call(*args: Any, **more: Any) -> Any:
        if not arrived:
            arrived.append(1)
            signal.raise_signal(signal.SIGINT)
        return real(*args, **more)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (file.FileBackend, "take_turn"),
        (few.Few, "put"),
        (writer.Writer, "_write_record"),
        (writer.Writer, "_flush"),
        (recovery.Chain, "take"),
        (writer.Writer, "_made"),
    ],
)
def test_an_interrupt_rises_when_the_commit_is_made(
    store: kist.Store, done: list[bool], monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    runs = puts(store)
    interrupted(monkeypatch, owner, name)
    with pytest.raises(KeyboardInterrupt):
        runs["last"] = 1
    assert "last" in runs and len(runs) == BEFORE + 1
    runs["after"] = 1
    assert len(runs) == BEFORE + 2 and store.check().ok


@pytest.mark.parametrize("step", ["_write_record", "_flush", "_made"])
def test_memory_that_runs_out_leaves_all_or_nothing(
    path: Path, store: kist.Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    runs = puts(store)

    def none_left(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(writer.Writer, step, none_left)
    with pytest.raises(MemoryError if step == "_write_record" else CommitUnknownError):
        runs["last"] = 1
    monkeypatch.undo()
    assert not store._session.engine.backend.locks.writer_held()
    with kist.open(path) as again:
        assert len(again["k"]) == BEFORE + (step != "_write_record") and again.check().ok


def test_a_failed_sync_ends_the_writing(
    path: Path, store: kist.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = puts(store)

    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(file, "_fdatasync", fails)
    with pytest.raises(CommitUnknownError):
        runs["last"] = 1
    monkeypatch.undo()
    with pytest.raises(ReadOnlyError):
        runs["more"] = 1
    with kist.open(path, "r+") as again:
        again["k"]["next"] = 1
        assert again.check().ok


def test_a_handle_of_before_a_fork_writes_nothing(path: Path, store: kist.Store) -> None:
    runs = puts(store)
    pid = os.fork()
    if pid == 0:
        try:
            runs["child"] = 1
        except kist.KistError:
            os._exit(3)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    runs["parent"] = 1
    with kist.open(path) as again:
        assert len(again["k"]) == BEFORE + 1 + (status == 0) and again.check().ok


def test_threads_that_share_a_handle_lose_nothing(store: kist.Store, done: list[bool]) -> None:
    runs, table = store["k"], store["t"]
    failed: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for i in range(30):
                runs[f"{name} {i}"] = i
                table.append(rows(i))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(runs) == len(list(runs)) == 90 and len(table) == 900 and store.check().ok


@pytest.mark.parametrize("how", ["relaxed", "none", "memory", "retain"])
def test_other_stores_come_to_the_same(path: Path, how: str) -> None:
    make: dict[str, Callable[[], kist.Store]] = {
        "relaxed": lambda: kist.open(path, "w", durability="relaxed"),
        "none": lambda: kist.open(path, "w", durability="none"),
        "memory": lambda: kist.open(":memory:"),
        "retain": lambda: kist.open(path, "w", retain=5),
    }
    with make[how]() as store:
        store.create_keystore("k")
        table = store.create_table("t", rows(0)[:0])
        for i in range(5):
            table.append(rows(10 * i))
        assert len(puts(store, n=50)) == 50 and len(table) == 50 and store.check().ok
