"""What each durability promises, no more and no less: syncs are counted, and the power is cut.

`cut_power` takes back what was written since the last sync, all of it or any part.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import kist
from kist.engine import writer
from kist.storage import ofd
from kist.testing.system import FaultySystem

pytestmark = pytest.mark.skipif(not ofd.HAVE_OFD, reason="needs OFD locks")

Mode = Literal["full", "relaxed", "none"]
MODES: list[Mode] = ["full", "relaxed", "none"]
ROWS = np.zeros(10, "i8,f8,S8")


@pytest.fixture
def system() -> Iterator[FaultySystem]:
    with FaultySystem() as system:
        yield system


def opened(path: Path, mode: Mode) -> kist.Store:
    """Open a store whose log was just begun, so that a few commits need no checkpoint."""
    with kist.open(path, "w") as store:
        store.create_table("t", dtype=ROWS.dtype)
        store.create_keystore("k")
        store.compact()
    store = kist.open(path, "r+", durability=mode)
    store.attrs["n"] = 0
    store.sync()
    return store


def commit(store: kist.Store, n: int, value: int | bytes = 0) -> None:
    """One commit that touches three objects; they show whether it is there in part."""
    with store.transaction():
        store["t"].append(ROWS)
        store["k"][n] = value if isinstance(value, bytes) else bytes(value)
        store.attrs["n"] = n


def shown(path: Path) -> int:
    """Which commit a file shows; also: it is whole, and can be written to."""
    with kist.open(path, "r+") as store:
        assert store.check().ok
        n = int(store.attrs["n"])
        assert len(store["t"]) == 10 * n
        assert list(store["k"]) == list(range(1, n + 1))
        commit(store, n + 1)
    return n


def copies(system: FaultySystem, path: Path, n: int = 12) -> list[Path]:
    """Disks that the power may leave when it goes now."""
    found = []
    for seed in range(n):
        rng = random.Random(seed)
        share = (0.0, 0.3, 0.6, 0.9)[seed % 4]
        found.append(path.with_name(f"copy{seed}.kist"))
        system.cut_power(path, found[-1], lambda _, rng=rng, share=share: rng.random() < share)
    return found


def after_power_loss(system: FaultySystem, path: Path, n: int = 12) -> set[int]:
    """Which commits can be shown when the power goes now."""
    left = copies(system, path, n)  # all of them first: to look at one is to write, and to sync
    return {shown(one) for one in left}


@pytest.mark.parametrize("mode", MODES)
def test_in_every_mode_the_death_of_the_process_loses_nothing(
    path: Path, system: FaultySystem, mode: Mode
) -> None:
    with opened(path, mode) as store:
        for n in range(1, 6):
            commit(store, n, 500 * n)
            copy = path.with_name("copy.kist")
            shutil.copyfile(path, copy)  # what was written is with the system
            assert shown(copy) == n


def test_full_has_each_commit_on_the_disk_when_it_returns(path: Path, system: FaultySystem) -> None:
    with opened(path, "full") as store:
        for n in range(1, 5):
            commit(store, n, 700 * n)
            assert after_power_loss(system, path) == {n}
            system.count_anew()


def test_full_in_flight_is_all_or_nothing(
    path: Path, system: FaultySystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path, "full") as store:
        commit(store, 1)
        left: list[Path] = []
        sync = writer.Writer._flush

        def cut_before(self: Any) -> None:
            left.extend(copies(system, path, 24))
            sync(self)

        monkeypatch.setattr(writer.Writer, "_flush", cut_before)
        commit(store, 2, 50_000)
        monkeypatch.undo()
        assert len(left) == 24, "one sync"
    assert {shown(one) for one in left} == {1, 2}


@pytest.mark.parametrize("mode", ["relaxed", "none"])
def test_the_others_may_lose_the_last_commits_in_order_and_whole(
    path: Path, system: FaultySystem, mode: Mode
) -> None:
    with opened(path, mode) as store:
        for n in range(1, 7):
            commit(store, n, 900)
        found = after_power_loss(system, path, 24)
        assert found <= set(range(7))  # `shown` has looked at the wholeness
        assert 0 in found, "nothing was lost: the documentation could promise more"


@pytest.mark.parametrize("mode", MODES)
def test_sync_makes_everything_durable(path: Path, system: FaultySystem, mode: Mode) -> None:
    with opened(path, mode) as store:
        for n in range(1, 5):
            commit(store, n, 900)
        store.sync()
        assert after_power_loss(system, path) == {4}
        commit(store, 5)
        assert after_power_loss(system, path) <= {4, 5}


@pytest.mark.parametrize(("mode", "certain"), [("full", True), ("relaxed", True), ("none", False)])
def test_what_closing_makes_durable(
    path: Path, system: FaultySystem, mode: Mode, certain: bool
) -> None:
    with opened(path, mode) as store:
        for n in range(1, 4):
            commit(store, n)
    found = after_power_loss(system, path, 24)
    assert (found == {3}) is certain


@pytest.mark.parametrize("mode", MODES)
def test_a_checkpoint_makes_all_before_it_durable(
    path: Path, system: FaultySystem, mode: Mode
) -> None:
    with opened(path, mode) as store:
        for n in range(1, 4):
            commit(store, n)
        store.tag("now")  # needs a tree of its own
        assert after_power_loss(system, path) == {3}


def test_relaxed_never_has_more_than_its_limits_at_stake(
    path: Path, system: FaultySystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(writer.time, "monotonic", lambda: now)
    most, rng = 0, np.random.default_rng(0)
    with opened(path, "relaxed") as store:
        for n in range(1, 40):
            commit(store, n, rng.bytes(300_000))
            most = max(most, system.unsynced_bytes)
        assert 1 << 20 < most < (4 << 20) + (1 << 19)
        commit(store, 40)
        store.sync()
        commit(store, 41)
        now += 2.5
        commit(store, 42)  # the sync comes with the first commit after two seconds
        assert after_power_loss(system, path) == {42}


@pytest.mark.parametrize(
    ("mode", "fewest", "most"), [("full", 300, 330), ("relaxed", 0, 30), ("none", 0, 30)]
)
def test_syncs_of_three_hundred_small_commits(
    path: Path, system: FaultySystem, mode: Mode, fewest: int, most: int
) -> None:
    # Ten rows and a key by turns. Beyond one each there are two for every checkpoint.
    with opened(path, mode) as store:
        system.count_anew()
        for n in range(150):
            store["t"].append(ROWS)
            store["k"][n] = n
        assert fewest <= system.calls["sync"] <= most
        assert system.calls["directory sync"] == 0


def test_without_the_one_sync_of_a_commit_it_can_be_lost(
    path: Path, system: FaultySystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Why fewer than one is not possible, and that this file would notice.
    with opened(path, "full") as store:
        commit(store, 1)
        monkeypatch.setattr(writer.Writer, "_flush", lambda self: None)
        commit(store, 2)
        assert after_power_loss(system, path, 24) >= {1}
