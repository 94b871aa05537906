"""The kept inputs of the fuzzer, given to the parsers without it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from kist.errors import KistError

FUZZ = Path(__file__).resolve().parents[2] / "contrib" / "fuzz"
sys.path.insert(0, str(FUZZ))

import corpus  # noqa: E402
import seeds  # noqa: E402
import targets  # noqa: E402

MOST = 300_000
"""Bytes of the kept inputs, so that the project stays small."""


@pytest.mark.parametrize("target", targets.TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_kept_inputs_give_a_result_or_an_error_of_kist(target: str) -> None:
    inputs = corpus.read(target)
    assert inputs, f"no inputs for {target}"
    begun = time.process_time()
    errors = [error for data in inputs if (error := targets.run(target, data))]
    assert time.process_time() - begun < 5
    assert all(isinstance(error, KistError) for error in errors)


def test_every_target_has_a_file_and_every_file_a_target() -> None:
    assert {path.stem for path in corpus.FOLDER.iterdir()} == set(targets.TARGETS)
    assert sum(path.stat().st_size for path in corpus.FOLDER.iterdir()) < MOST


def test_seeds_are_made_for_every_target() -> None:
    made = seeds.make_seeds()
    assert set(made) == set(targets.TARGETS)
    for target, inputs in made.items():
        # What is whole passes: else a target would reach nothing behind its first check.
        assert not all(targets.run(target, data) for data in inputs), target


def test_inputs_are_written_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    (tmp_path / "x.txt").write_text("# broke it once\nYWJj\nZGVm\n")
    corpus.write("x", [b"z", b"abc"])
    assert corpus.read("x") == [b"abc", b"z"]
    assert corpus.notes("x") == {b"abc": "# broke it once"}


def test_damaged_chunks_kill_no_process() -> None:
    command = [sys.executable, str(FUZZ / "chunks.py"), "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("0 died") == 2
