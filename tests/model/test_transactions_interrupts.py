"""Ctrl-C, as a real signal, at each write and each sync of a series of changes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.storage import file

ROWS = np.array([(1, 2.0), (3, 4.0)], "i4,f8")


class Interrupter:
    """Sends SIGINT to this process before or after the n-th write or sync."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.at = -1
        self.before = True
        for module, name in ((os, "pwritev"), (os, "ftruncate"), (file, "_fdatasync")):
            monkeypatch.setattr(module, name, self._wrap(getattr(module, name)))

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            hit = self.calls == self.at
            self.calls += 1
            if hit and self.before:
                os.kill(os.getpid(), signal.SIGINT)
            result = function(*arguments)
            if hit and not self.before:
                os.kill(os.getpid(), signal.SIGINT)
            return result

        return call


@pytest.fixture
def interrupter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Interrupter]:
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield Interrupter(monkeypatch)
    signal.signal(signal.SIGINT, old)


def state(store: kist.Store) -> Any:
    """What a reader sees: attributes, names, rows."""
    return (
        {name: np.asarray(value).tolist() for name, value in store.attrs.items()},
        {name: store[name][:].tolist() for name in store},
    )


def one_attribute(store: kist.Store, n: int) -> None:
    store.attrs["n"] = n


def several_things(store: kist.Store, n: int) -> None:
    with store.transaction():
        store.attrs["n"] = n
        store.attrs["big"] = np.full(30_000, n)
        store["t"].append(ROWS)
        with store.transaction():
            store["u"] = np.repeat(ROWS, n + 1)


def by_hand(store: kist.Store, n: int) -> None:
    store.begin()
    try:
        store.attrs["n"] = n
        store["t"].append(ROWS)
        store.commit()
    except BaseException:
        try:
            store.rollback()
        except kist.TransactionError:
            pass  # the commit was through when the signal arrived
        raise


def a_tag(store: kist.Store, n: int) -> None:
    store.tag("newest", move=True)
    store.attrs["n"] = n


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("change", [one_attribute, several_things, by_hand, a_tag])
def test_an_interrupt_at_any_write_or_sync_is_all_or_nothing(
    path: Path, interrupter: Interrupter, change: Callable[[kist.Store, int], None], before: bool
) -> None:
    store = kist.open(path, "w", timeout=1)
    store["t"] = ROWS
    interrupter.before = before
    for n in range(1, 49):
        old = state(store)
        interrupter.calls, interrupter.at = 0, n % 12
        try:
            change(store, n)
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        interrupter.at = -1
        seen = state(store)
        with kist.open(path) as other:
            assert state(other) == seen, "memory and disk agree"
        if seen == old:
            assert interrupted
        else:
            assert seen[0]["n"] == n
            if "big" in seen[0]:
                assert seen[0]["big"][0] == n and len(seen[1]["u"]) == 2 * (n + 1)
        store.attrs["after"] = n
        assert store.attrs["after"] == n, "the next call works"
    assert store.check().ok
    store.close()
