"""Ctrl-C anywhere in a block, its last step included: no transaction stays open behind it."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import numpy as np
import pytest

import kist
from kist.model import session, transactions
from kist.testing.faults import Fault
from kist.testing.system import FaultySystem

ROWS = np.array([(1, 2.0), (3, 4.0)], "i4,f8")


def load_interrupts() -> Any:
    # pytest imports tests without putting their folder on the path.
    path = Path(__file__).parent.parent / "engine" / "test_interrupts.py"
    spec = importlib.util.spec_from_file_location("places_of_interrupts", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


interrupts = load_interrupts()


def a_block(store: kist.Store) -> None:
    with store.transaction():
        store.attrs["n"] = 1


def a_step(store: kist.Store) -> None:
    store.attrs["n"] = 1


def a_block_within(store: kist.Store) -> None:
    with store.transaction():
        with store.transaction():
            store.attrs["n"] = 1
        store.attrs["m"] = 1


def assert_nothing_is_open(path: Path, store: kist.Store) -> None:
    gc.collect()
    assert store._session._writer is None
    with kist.open(path, "r+", timeout=0) as other:
        other.attrs["n"] = 0
    assert store.attrs["n"] == 0
    store.attrs["after"] = 1
    assert store.attrs["after"] == 1


@pytest.mark.parametrize("work", [a_block, a_step, a_block_within])
@pytest.mark.parametrize(
    "place",
    [
        transactions.Transaction.__exit__,
        transactions.Write.__exit__,
        session.Session.finish,
        session.Session.drop,
        session.Session._next_turn,
    ],
)
def test_an_interrupt_at_the_first_step_of_an_end_leaves_no_transaction_open(
    path: Path, work: Callable[[kist.Store], None], place: FunctionType
) -> None:
    met: list[None] = []

    def tracer(frame: FrameType, event: str, arg: object) -> None:
        if frame.f_code is place.__code__ and not met:
            met.append(None)
            raise KeyboardInterrupt

    with kist.open(path, "w", timeout=0) as store:
        store.attrs["n"] = 0
        before = sys.gettrace()
        try:
            sys.settrace(tracer)
            work(store)
        except KeyboardInterrupt:
            assert met
        finally:
            sys.settrace(before)
        assert_nothing_is_open(path, store)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_anywhere_leaves_no_transaction_open(path: Path) -> None:
    store = kist.open(path, "w", timeout=0, durability="none")
    store.attrs["n"] = 0
    n, more = 0, True
    while more:
        n += 17
        try:
            more = interrupts.interrupted(n, a_block_within, store)
        except AssertionError:
            more = True  # within __del__, where Python prints it
        assert_nothing_is_open(path, store)
    assert n > 100
    store.close()


def test_a_block_that_is_forgotten_does_not_take_later_writes_with_it(path: Path) -> None:
    with kist.open(path, "w", timeout=0) as store:
        block = store.transaction()
        block.__enter__()
        store.attrs["a"] = 1
        del block
        store.attrs["b"] = 2
        assert dict(store.attrs) == {"b": 2}
        with kist.open(path) as other:
            assert dict(other.attrs) == {"b": 2}


# What failures leave in memory


def test_failed_commits_leave_no_transaction_no_pin_and_no_memory(path: Path) -> None:
    transactions: list[weakref.ref[Any]] = []
    with FaultySystem() as system, kist.open(path, "w") as store:
        store["t"] = ROWS
        store.create_keystore("k")

        def fail(n: int) -> None:
            kinds = ("write", "read", "lock", "stat")
            # A record that can neither be written nor be wiped out ends the handle.
            for_good = n % 3 == 0 and n % 4 != 0
            system.fail(Fault(kinds[n % 4], 1 + n // 4 % 2, persist=for_good))
            try:
                with store.transaction():
                    writer = store._session._writer
                    assert writer is not None
                    transactions.append(weakref.ref(writer.txn))
                    store["t"].append(ROWS)
                    store["k"][n] = np.full(20_000, n)
            except kist.StorageError:
                return
            finally:
                system.fail(None)
            del store["k"][n]
            store["t"].delete(slice(2, None))

        for n in range(60):
            fail(n)
        gc.collect()
        files = os.listdir("/proc/self/fd")
        tracemalloc.start()
        try:
            for n in range(30):
                fail(n)
            gc.collect()
            first = tracemalloc.get_traced_memory()[0]
            for n in range(120):
                fail(n)
            transactions.clear()
            fail(0)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - first
        finally:
            tracemalloc.stop()
        assert grown < 150_000, f"{grown} bytes in 120 failures"
        assert len(os.listdir("/proc/self/fd")) == len(files)
        assert all(one() is None for one in transactions)
        assert len(store.info.pins) <= 1
        assert store["t"][:].tolist() == ROWS.tolist()
        assert store.check().ok
