"""More signals than one: a second Ctrl-C while the first is cleared away, and many of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.engine import engine as engines
from kist.engine.interrupts import hold_interrupts
from kist.storage import ofd


@pytest.fixture
def store(tmp_path: Path) -> Iterator[kist.Store]:
    with kist.open(tmp_path / "s.kist", "a", durability="none") as store:
        store["x"] = np.zeros(1000)
        store.create_keystore("k")["a"] = 1
        yield store


class Late(hold_interrupts):
    """A signal arrives before it is held, so many times."""

    left = 0

    def __enter__(self) -> None:
        if Late.left:
            Late.left -= 1
            raise KeyboardInterrupt
        super().__enter__()


def interrupt(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def is_free(store: kist.Store) -> bool:
    """Both this handle and another one can write."""
    store["k"]["b"] = 2
    with kist.open(store.path, "r+", timeout=0.1, durability="none") as other:
        other["k"]["c"] = 3
    store["k"]["d"] = 4
    return bool(store.check())


@pytest.mark.parametrize("n", [1, 3])
def test_while_a_transaction_begins(
    store: kist.Store, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    with kist.open(store.path, "r+") as other:
        other["k"]["z"] = 1  # so that there is something to take over
    with monkeypatch.context() as patch:
        patch.setattr(engines, "hold_interrupts", Late)
        patch.setattr(Late, "left", n)
        patch.setattr(store._session.engine._writer, "take_over", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store["k"]["e"] = 5
        assert Late.left == 0
    assert is_free(store)
    assert "e" not in store["k"]


@pytest.mark.parametrize("n", [1, 3])
def test_while_a_transaction_is_rolled_back(
    store: kist.Store, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(engines, "hold_interrupts", Late)
        with pytest.raises(KeyboardInterrupt), store.transaction():
            store["x"][:] = 1
            patch.setattr(Late, "left", n)
            raise ZeroDivisionError
        assert Late.left == 0
    assert is_free(store)
    assert not store["x"][:].any()


def test_while_a_checkpoint_ends(store: kist.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = store._session.engine
    with monkeypatch.context() as patch:
        patch.setattr(engines, "hold_interrupts", Late)
        patch.setattr(engine._writer, "checkpoint", lambda **_: setattr(Late, "left", 2) or 1 / 0)
        with pytest.raises(KeyboardInterrupt):
            engine.checkpoint()
        assert Late.left == 0
    assert is_free(store)


def test_while_a_lock_is_waited_for(store: kist.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free, left = ofd.FileLocks._free, [1]

    def late(self: Any, request: bytes) -> None:
        if left:
            left.pop()
            raise KeyboardInterrupt
        free(self, request)

    with (
        kist.open(store.path, "r+") as other,
        other.transaction(),
        monkeypatch.context() as patch,
    ):
        patch.setattr(ofd.FileLocks, "_wait_in_line", interrupt)
        patch.setattr(ofd.FileLocks, "_free", late)
        with pytest.raises(KeyboardInterrupt):
            store["k"]["e"] = 5
        assert not left
    assert is_free(store)


def test_where_a_block_is_gone_and_nobody_was_told(
    store: kist.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store._session
    monkeypatch.setattr(session, "drop", interrupt)
    monkeypatch.setattr(session, "left", lambda writer: None)  # Ctrl-C came when it was collected
    with pytest.raises(KeyboardInterrupt):
        store["k"].update((key, 1 / 0) for key in "ef")
    monkeypatch.undo()
    assert is_free(store)
    assert "b" in store["k"] and "e" not in store["k"]


STORM = """
import os, signal, sys
import numpy as np, kist

signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
store = kist.open(sys.argv[1], "r+", durability="none", timeout=1)
x, k = store["x"], store["k"]

def all_at_once(n):
    with store.transaction():
        x[:] = n
        k.update({f"{i}": np.full(300, n) for i in range(20)})

def bulk(n):
    k.update({f"{i}": np.full(300, n) for i in range(20)})

for n in range(12):
    step = (all_at_once, bulk, lambda n: store.compact())[n % 3]
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001 * (n % 7 + 1), 0.001)
            step(n)
        finally:
            while True:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    sum(range(1000))
                    break
                except KeyboardInterrupt:
                    pass
    except KeyboardInterrupt:
        pass
    with kist.open(sys.argv[1], "r+", durability="none", timeout=1) as other:
        other.attrs["n"] = n  # the lock is free
        values = {int(v[0]) for v in other["k"].values() if np.ndim(v)}
        assert len(values) <= 1, values
        assert len(set(other["x"][:].tolist())) == 1
    store.attrs["m"] = n
    assert [f for f in os.listdir(os.path.dirname(sys.argv[1]))] == ["s.kist"]
assert store.check()
store.close()
print("done")
"""


def test_a_signal_each_millisecond(store: kist.Store) -> None:
    found = subprocess.run(
        [sys.executable, "-c", STORM, store.path],
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert found.stdout == "done\n", found.stderr[-3000:]
    assert is_free(store)
