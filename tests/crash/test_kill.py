"""Writers that are really killed; the judge is kist.testing.kill, and can tell right from wrong."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kist
from kist.testing import kill
from kist.testing.kill import DTYPE, Model, run_kills, take_step


@pytest.mark.parametrize(("durability", "kills"), [("full", 25), ("relaxed", 16), ("none", 8)])
def test_a_killed_writer_loses_nothing_that_it_answered_for(
    tmp_path: Path, durability: str, kills: int
) -> None:
    report = run_kills(tmp_path, kills, seed=1, durability=durability)
    assert report.failures == [], str(report)
    assert report.kills == kills
    assert report.acknowledged > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("durability", "kills"), [("full", 16), ("relaxed", 8)])
def test_programs_over_all_objects_survive_kills(
    tmp_path: Path, durability: str, kills: int
) -> None:
    report = run_kills(
        tmp_path, kills, seed=2, durability=durability, program="objects", most_steps=20
    )
    assert report.failures == [], str(report)
    assert (report.kills, report.acknowledged > 0) == (kills, True)


def store_after(path: Path, steps: int) -> Model:
    model = Model()
    with kist.open(path, "x") as store:
        store.create_table("rows", dtype=DTYPE)
        for step in range(1, steps + 1):
            take_step(store, step)
            model = model.next()
    return model


def test_the_model_is_what_the_steps_do(path: Path) -> None:
    model = store_after(path, 31)
    with kist.open(path) as store:
        assert model.is_shown_by(store)
        assert not model.next().is_shown_by(store)
        assert model.noted == 26


def judge(path: Path, at: int) -> Any:
    found = kill._Judge(None, path.parent, random.Random(0), "full", 10, "rows")  # type: ignore[arg-type]
    model = Model()
    while model.step < at:
        model = model.next()
    found.model = model
    return found


def test_one_step_in_flight_is_granted_but_no_more(path: Path) -> None:
    store_after(path, 12)
    for acknowledged in (11, 12):
        with kist.open(path) as store:
            assert judge(path, 10)._found(store, Model(), acknowledged).step == 12
    for acknowledged in (10, 13):
        with pytest.raises(kill._BrokenError, match=f"step {acknowledged} was acknowledged"):
            judge(path, 9)._judge(path, acknowledged)


def test_half_of_a_step_is_noticed(path: Path) -> None:
    model = store_after(path, 15)
    with kist.open(path, "r+") as store:
        store.attrs["step"] = 16  # step 16 adds three rows and this
        assert not model.is_shown_by(store)
        assert not model.next().is_shown_by(store)


def test_a_lock_that_is_left_is_noticed(path: Path) -> None:
    model = store_after(path, 3)
    with (
        kist.open(path, "r+") as other,
        other.transaction(),
        pytest.raises(kill._BrokenError, match="a lock is left"),
    ):
        judge(path, 3)._go_on(path, model)


def test_the_long_form_runs_from_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kist.testing.kill", "--kills", "2", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 kills" in done.stdout
    assert list(tmp_path.iterdir()) == []
