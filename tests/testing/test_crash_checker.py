"""The crash checker passes a store that is right, and catches each way of being wrong.

The store here is as small as one can be: a dict of small numbers, two slots that name a place
and the hash of what stands there, two places used in turn.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kist.errors import CorruptDataError, DamageWarning, NotAStoreError
from kist.storage import StorageBackend
from kist.testing.crash import Report, Session, check_crashes, main

PLACE = 8192


class Toy:
    """A store of one dict; `mistake` is what it does wrong."""

    def __init__(self, backend: StorageBackend, mode: str, mistake: str = "") -> None:
        self.backend = backend
        self.mistake = mistake
        self.seq, self.state = 0, {}
        for slot in self.slots():
            if slot["seq"] > self.seq:
                data = backend.read(slot["place"], slot["length"])
                # Who verifies needs no sync between data and slot.
                trusting = mistake in ("no sync of data", "slot first")
                if trusting or hashlib.md5(data).hexdigest() == slot["hash"]:
                    self.seq = slot["seq"]
                    self.state = json.loads(data)
        if self.seq == 0:
            if mode == "r":
                raise NotAStoreError("not a finished store")
            backend.sync_directory()
            self.commit({})
            backend.sync()
        elif mistake == "warns" and self.seq % 2:
            warnings.warn("one slot is old", DamageWarning, stacklevel=1)

    def slots(self) -> list[dict[str, Any]]:
        found = []
        for at in (0, 4096):
            line = self.backend.read(at, 512).split(b"\n")[0]
            try:
                slot = json.loads(line)
            except ValueError:
                continue
            found.append(slot)
        return found

    def commit(self, changes: dict[str, int | None]) -> None:
        state = {**self.state, **changes}
        state = {k: v for k, v in state.items() if v is not None}
        seq = self.seq + 1
        data = json.dumps(state).encode().ljust(1500)
        place = PLACE * (1 if self.mistake == "reuses at once" else 1 + seq % 2)
        digest = hashlib.md5(data).hexdigest()
        slot = {"seq": seq, "place": place, "length": len(data), "hash": digest}
        line = json.dumps(slot).encode().ljust(511) + b"\n"
        if self.mistake == "late":
            self.backend.sync()
        if self.mistake == "slot first":
            self.backend.write(4096 * (seq % 2), [line])
        self.backend.write(place, [data])
        if self.mistake not in ("no sync of data", "late"):
            self.backend.sync()
        if self.mistake != "slot first":
            self.backend.write(4096 * (seq % 2), [line])
        if self.mistake not in ("no sync of slot", "late"):
            self.backend.sync()
        self.seq, self.state = seq, state

    def check(self) -> Sequence[object]:
        return ["odd"] if self.mistake == "check complains" and len(self.state) == 3 else []

    def close(self) -> None:
        self.backend.close()


def workload(session: Session) -> None:
    for i in range(6):
        session.engine.commit({f"k{i}": i, f"k{i - 3}": None})
        session.acknowledged()
        if i == 2:
            session.reopen()
        if i == 4:
            session.reopen(kill=True)


def probe(toy: Toy, acknowledged: Callable[[], None]) -> None:
    name = "probe" * (1 + len(toy.state))
    toy.commit({name: 1})
    acknowledged()
    if toy.mistake == "loses the next commit":
        toy.commit({"k0": None, "k1": None, "k2": None, "k3": None})
    toy.commit({name: None})
    if toy.mistake == "cannot go on" and len(toy.state) > 2:
        raise CorruptDataError("no")


def check(mistake: str = "", **more: Any) -> Report:
    return check_crashes(
        workload,
        lambda toy: dict(toy.state),
        partial(Toy, mistake=mistake),
        probe=probe,
        **{"limit": 400, "deep": 0.1, **more},
    )


def test_a_store_that_is_right_passes() -> None:
    report = check()
    assert report.failures == []
    assert report.states > 200
    assert 20 < report.images < report.states


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("no sync of data", ""),
        ("no sync of slot", "acknowledged"),
        ("slot first", ""),
        ("reuses at once", ""),
        ("warns", "DamageWarning"),
        ("check complains", "check found odd"),
        ("cannot go on", "the next commits: CorruptDataError: no"),
        ("loses the next commit", "after the next commits"),
    ],
)
def test_each_mistake_is_caught(mistake: str, message: str) -> None:
    report = check(mistake)
    assert report.failures
    assert any(message in failure.message for failure in report.failures)
    assert str(report).count("\n") == min(10, len(report.failures))


def test_relaxed_may_lose_what_came_after_the_last_sync_and_nothing_else() -> None:
    # Each commit is made durable by the next one.
    assert check("late").failures
    assert check("late", durability="relaxed").failures == []
    assert check("late", durability="none").failures == []


def test_relaxed_does_not_excuse_a_mix() -> None:
    assert check("reuses at once", durability="relaxed").failures


def test_an_unknown_durability_is_refused() -> None:
    with pytest.raises(ValueError, match="durability 'fast'"):
        check(durability="fast")


def test_the_same_seed_gives_the_same_report() -> None:
    assert str(check("slot first", seed=5)) == str(check("slot first", seed=5))


def test_crashes_of_work_on_a_store_that_is_there(path: Path) -> None:
    from kist.storage import MemoryBackend

    backend = MemoryBackend()
    toy = Toy(backend, "a")
    toy.commit({"before": 7})
    image = backend.read(0, backend.size())

    def states_have_it(toy: Toy) -> bool:
        return toy.state.get("before") == 7

    report = check_crashes(workload, states_have_it, Toy, probe=probe, limit=200, initial=image)
    assert report.failures == []


CASES = """
import sys
sys.path.insert(0, {folder!r})
from functools import partial
import test_crash_checker as t
from kist.testing.crash import Case
def case(mistake):
    return Case(t.workload, lambda toy: dict(toy.state), partial(t.Toy, mistake=mistake), t.probe)
CASES = {{"right": case(""), "wrong": case("slot first")}}
"""


def test_the_command_line_runs_cases_and_tells_by_its_status(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    path.write_text(CASES.format(folder=str(Path(__file__).parent)))
    assert main([str(path), "--states", "250", "--case", "right"]) == 0
    assert main([str(path), "--states", "250", "--case", "wrong"]) == 1
    out = capsys.readouterr().out
    assert "right, seed 0" in out and "0 failures" in out
    with pytest.raises(SystemExit):
        main([str(path), "--case", "missing"])


def test_the_command_is_a_module(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kist.testing.crash", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "tests/crash/workloads.py" in done.stdout
