"""Processes that are really killed; the judge, kist.testing.kill, can tell right from wrong."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kist
from kist.testing import kill
from kist.testing.kill import Alone, Among, Report, run_kills
from kist.testing.kill_processes import STEPS, BrokenError, Line, Nursery, advanced, take_counted
from kist.testing.kill_programs import DTYPE, PROGRAMS, Model, take_step

ROWS = PROGRAMS["rows"]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


# 200 kills in all


@pytest.mark.parametrize(("durability", "kills"), [("full", 70), ("relaxed", 40), ("none", 24)])
def test_writers_readers_and_compactors_are_killed_and_nobody_is_harmed(
    tmp_path: Path, nursery: Nursery, durability: str, kills: int
) -> None:
    report = run_kills(
        tmp_path,
        kills,
        seed=3,
        form="among",
        durability=durability,
        most_answers=30,
        nursery=nursery,
    )
    assert report.failures == [], str(report)
    assert report.kills == kills
    assert set(report.killed) == {"writer", "reader", "compactor"}
    assert report.acknowledged > 0 and report.looks > 0 and report.compactions > 0
    assert list(tmp_path.iterdir()) == []
    assert nursery.alive == {}


@pytest.mark.parametrize(("durability", "kills"), [("full", 26), ("relaxed", 14), ("none", 8)])
def test_a_killed_writer_loses_nothing_that_it_answered_for(
    tmp_path: Path, nursery: Nursery, durability: str, kills: int
) -> None:
    report = run_kills(tmp_path, kills, seed=1, durability=durability, nursery=nursery)
    assert report.failures == [], str(report)
    assert report.kills == kills
    assert report.acknowledged > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "durability", "kills"), [("alone", "full", 10), ("among", "relaxed", 8)]
)
def test_programs_over_all_objects_survive_kills(
    tmp_path: Path, nursery: Nursery, form: str, durability: str, kills: int
) -> None:
    report = run_kills(
        tmp_path,
        kills,
        seed=2,
        form=form,
        durability=durability,
        program="objects",
        most_answers=10,
        nursery=nursery,
    )
    assert report.failures == [], str(report)
    assert (report.kills, report.acknowledged > 0) == (kills, True)


@pytest.mark.parametrize(
    ("program", "form", "durability", "kills"),
    [
        ("few", "alone", "full", 10),
        ("few", "among", "full", 6),
        ("kinds", "alone", "full", 6),
        ("kinds", "among", "relaxed", 6),
        ("ward", "alone", "relaxed", 6),
        ("ward", "among", "full", 6),
        ("sealed", "alone", "full", 8),
        ("sealed", "among", "relaxed", 6),
        ("sealed-store", "alone", "none", 6),
        ("sealed-store", "among", "full", 8),
    ],
)
def test_small_commits_newer_kinds_and_sealed_things_survive_kills(
    tmp_path: Path, nursery: Nursery, program: str, form: str, durability: str, kills: int
) -> None:
    if PROGRAMS[program].options:
        pytest.importorskip("cryptography")
    report = run_kills(
        tmp_path,
        kills,
        seed=4,
        form=form,
        durability=durability,
        program=program,
        most_answers=10,
        nursery=nursery,
    )
    assert report.failures == [], str(report)
    assert (report.kills, report.acknowledged > 0) == (kills, True)


@pytest.mark.parametrize("name", ["few", "kinds", "ward"])
def test_a_model_is_what_its_steps_do_and_tells_them_apart(path: Path, name: str) -> None:
    program = PROGRAMS[name]
    if program.options:
        pytest.importorskip("cryptography")
    program.beside(path.parent)
    with kist.open(path, "x", **program.options) as store:
        program.prepare(store)
        model = program.first()
        for _ in range(70):
            program.take(store, model)
            before, model = model, model.next()
            assert model.is_shown_by(store)
            if model.step % 9 != 8:  # then the index alone is made anew
                assert not before.is_shown_by(store)
        assert store.check().ok


# The judge


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


def judge(path: Path, at: int) -> Alone:
    found = Alone(None, path, random.Random(0), Report())
    model = Model()
    while model.step < at:
        model = model.next()
    found.model = model
    return found


def test_one_step_in_flight_is_granted_but_no_more(path: Path) -> None:
    store_after(path, 12)
    for acknowledged in (11, 12):
        with kist.open(path) as store:
            assert judge(path, 10).found(store, Model(), acknowledged).step == 12
    for acknowledged in (10, 13):
        with pytest.raises(BrokenError, match=f"step {acknowledged} was acknowledged"):
            judge(path, 9).judge(acknowledged)


def test_half_of_a_step_is_noticed(path: Path) -> None:
    model = store_after(path, 15)
    with kist.open(path, "r+") as store:
        store.attrs["step"] = 16  # step 16 adds three rows and this
        assert not model.is_shown_by(store)
        assert not model.next().is_shown_by(store)


def test_a_store_that_is_gone_is_noticed(path: Path) -> None:
    with pytest.raises(BrokenError, match="the store is gone"):
        judge(path, 0).judge(0)
    among = counted(path, 3)
    path.unlink()
    with pytest.raises(BrokenError, match="the store is gone"):
        among.judge()


def test_a_lock_that_is_left_is_noticed(path: Path) -> None:
    model = store_after(path, 3)
    with (
        kist.open(path, "r+") as other,
        other.transaction(),
        pytest.raises(BrokenError, match="a lock is left"),
    ):
        judge(path, 3).go_on(model)


class Nobody:
    """A nursery whose processes are all dead."""

    def __init__(self) -> None:
        self.alive: dict[int, str] = {}


def counted(path: Path, steps: int) -> Among:
    """A judge of a store whose writers have taken some steps, all of them answered for."""
    among = Among(Nobody(), path, random.Random(0), Report())
    model = Model()
    with kist.open(path, "x") as store:
        for _ in range(steps):
            with store.transaction():
                take_counted(store, ROWS, model)
            model = model.next()
            among._hear(Line(1, "did", str(model.step)))
    return among


def test_shared_steps_that_are_all_there_are_fine(path: Path) -> None:
    among = counted(path, 11)
    among.judge()
    assert among.model.step == 12  # and one more was taken


def test_what_was_seen_or_answered_for_may_not_go(path: Path) -> None:
    for word in ("did", "saw"):
        among = counted(path, 5)
        among._hear(Line(2, word, "6"))
        with pytest.raises(BrokenError, match="step 6 was acknowledged or seen, and step 5"):
            among.judge()
        path.unlink()


def test_a_step_that_is_done_twice_is_noticed(path: Path) -> None:
    among = counted(path, 5)
    with pytest.raises(BrokenError, match="step 4 was done twice"):
        among._hear(Line(2, "did", "4"))


def test_each_dead_writer_may_have_had_one_step_in_flight(path: Path) -> None:
    among = counted(path, 9)
    among.done -= {7, 9}
    among.known = 8
    among.dead_writers = 1
    with pytest.raises(BrokenError, match="2 steps that nobody answered for, of 1 dead writers"):
        among.judge()
    among.dead_writers = 2
    among.judge()


def test_a_reader_notices_an_older_state_a_mix_and_a_changed_snapshot(path: Path) -> None:
    counted(path, 8)
    newer = judge(path, 9).model
    with kist.open(path, "r+") as store:
        with pytest.raises(BrokenError, match="step 9 was seen, and now step 8 is shown"):
            advanced(store, ROWS, newer)
        store.attrs[STEPS] = 9
        with pytest.raises(BrokenError, match="not what stands after step 9"):
            advanced(store, ROWS, Model())


def test_what_a_process_complains_of_is_heard(path: Path) -> None:
    with pytest.raises(BrokenError, match="the snapshot"):
        counted(path, 1)._hear(Line(5, "broken", "the snapshot of step 3 has changed"))


def test_a_process_that_ends_by_itself_is_noticed(tmp_path: Path, nursery: Nursery) -> None:
    missing = tmp_path / "missing" / "t.kist"
    pid = nursery.start("writer", missing, durability="full", program="rows")
    line = nursery.line()
    assert (line.pid, line.word) == (pid, "broken")
    assert "StoreNotFoundError" in line.rest or "No such file" in line.rest, line
    while not _is_over(pid):
        time.sleep(0.01)
    with pytest.raises(BrokenError, match="ended by itself"):
        nursery.kill(pid)


def _is_over(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_pins_of_the_dead_are_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    among = counted(path, 2)
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as if the judge's own were another's
    with pytest.raises(BrokenError, match="commits of the dead are pinned"):
        among.judge()


def test_the_long_form_runs_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kist.testing.kill", "--kills", "6", "--program", "rows"]
    done = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 kills" in done.stdout.splitlines()[-1]
    assert "0 failures" in done.stdout.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_kist_is_a_broken_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: Nursery
) -> None:
    def damaged(self: Any, seen: int) -> None:
        self.nursery.kill_all()
        raise kist.CorruptDataError("byte 7")

    monkeypatch.setattr(Alone, "judge", damaged)
    monkeypatch.setattr(nursery, "close", lambda: None)  # others need it
    report = run_kills(tmp_path, 2, nursery=nursery)
    assert "CorruptDataError: byte 7" in str(report)


def test_a_broken_promise_is_the_status_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Any, seen: int) -> None:
        raise BrokenError("on purpose")

    monkeypatch.setattr(Alone, "judge", broken)
    assert kill.main(["--kills", "2", "--form", "alone", "--folder", str(tmp_path)]) == 1
    assert "on purpose" in capsys.readouterr().out
