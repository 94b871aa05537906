"""The guards of conftest.py do catch what they are there for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")


def run_inner(
    folder: Path, code: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `code` as a test file of its own project that has our conftest.py."""
    tests = folder / "inner" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(CONFTEST, tests)
    (tests / "test_inner.py").write_text(code)
    (folder / "inner" / "pytest.ini").write_text("[pytest]\n")
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "--import-mode=importlib", "-rEfp"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--basetemp={folder / 'base'}", "tests"],
        cwd=folder / "inner",
        env=environment,
        capture_output=True,
        text=True,
    )


LEAKS = """
import subprocess, sys
import pytest

KEPT = []

def test_leaves_a_file(path):
    KEPT.append(open(path, "wb"))

def test_leaves_a_process():
    KEPT.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))

def test_leaves_nothing(path):
    with open(path, "wb"):
        subprocess.run([sys.executable, "-c", ""], check=True)

@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with open(tmp_path_factory.mktemp("shared") / "f", "wb") as file:
        yield file

def test_uses_a_file_of_the_module(shared):
    shared.write(b"x")

def test_fails(path):
    KEPT.append(open(path, "wb"))
    assert False

def test_end():
    child = KEPT[1]
    child.communicate(b"\\n")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_only_tests_that_leave_something_fail(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "KIST_INSTALLED_IN"}
    done = run_inner(tmp_path, LEAKS, environment)
    summary = {line.split(" - ")[0] for line in done.stdout.splitlines() if "::" in line}
    expected = {"ERROR tests/test_inner.py::test_leaves_a_file"}
    if Path(f"/proc/self/task/{os.getpid()}/children").exists():  # a kernel may lack the list
        expected.add("ERROR tests/test_inner.py::test_leaves_a_process")
    assert {line for line in summary if line.startswith("ERROR")} == expected
    assert {line for line in summary if line.startswith("FAILED")} == {
        "FAILED tests/test_inner.py::test_fails"
    }


def test_another_kist_than_the_installed_one_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "KIST_INSTALLED_IN": str(tmp_path / "venv")}
    done = run_inner(tmp_path, "def test_x(): pass", environment)
    assert done.returncode == 4
    assert "the installed kist should be tested" in done.stderr
