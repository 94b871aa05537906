"""Damaged files of every kind: the suite itself, short, and that it can fail."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.testing import corruption, rotting


def test_no_damage_shows_anything_wrong() -> None:
    # A process of its own: it forks for each file, and must have no threads.
    command = [sys.executable, "-m", "kist.testing.corruption", "--seeds", "27"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "27 damaged files" in done.stdout
    assert "findings: 0" in done.stdout
    for kind in rotting.KINDS:
        assert f"{kind} 3" in done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> rotting.Files:
    folder = tmp_path_factory.mktemp("family")
    rotting.write_stores(folder, 1, steps=3)
    return rotting.Files(folder)


def test_values_that_are_not_what_they_were_are_findings(
    files: rotting.Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(self: Any, values: Any) -> Any:
        values = np.array(values)
        values.flat[0] ^= 1
        return values

    whole = rotting.Damage("zero", "nothing", files.newest, [(0, 1)])
    monkeypatch.setattr(rotting.Damage, "draw", lambda *_: whole)
    assert corruption.judge(files, 0, tmp_path)["findings"] == []
    truth = rotting.Files.truth

    def wrong(self: rotting.Files, commit: int) -> Any:
        found = truth(self, commit)
        assert found is not None
        return {**found, "/raw|values": other(self, found["/raw|values"])}

    (tmp_path / "out.kist").unlink()
    monkeypatch.setattr(rotting.Files, "truth", wrong)
    findings = corruption.judge(files, 0, tmp_path)["findings"]
    assert [f for f in findings if f.startswith("'/raw|values' is not what it was")]
    assert [f for f in findings if f.startswith("salvage: '/raw|values' differs")]


def test_a_file_that_salvage_writes_to_is_a_finding(
    files: rotting.Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    salvage = kist.salvage

    def careless(broken: Path, out: Path) -> Any:
        report = salvage(broken, out)
        broken.write_bytes(broken.read_bytes()[:-1])
        return report

    monkeypatch.setattr(kist, "salvage", careless)
    findings = corruption.judge(files, 1, tmp_path)["findings"]
    assert "the damaged file was written to" in findings


def test_each_kind_of_damage_changes_the_file(files: rotting.Files) -> None:
    rng = random.Random(0)
    for kind in rotting.KINDS:
        damage = rotting.Damage.draw(files, rng, kind)
        assert damage.kind == kind
        assert damage.data != files.newest
        assert damage.places
