"""Fixtures for every test, and a watch over what a test leaves behind."""

from __future__ import annotations

import gc
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

# A slow machine is not a failure, neither in a test nor in drawing its examples.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "default", max_examples=50, deadline=None, suppress_health_check=SLOW
)
# The same examples in every run, so that a red run can be repeated.
hypothesis.settings.register_profile(
    "ci",
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=SLOW,
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test another kist than the one that `.ci/run` has installed."""
    expected = os.environ.get("KIST_INSTALLED_IN")
    if expected is None:
        return
    import kist

    found = Path(kist.__file__).resolve()
    if not found.is_relative_to(Path(expected).resolve()):
        raise pytest.UsageError(f"the installed kist should be tested, but found {found}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test may put its store; nothing is there yet."""
    return tmp_path / "t.kist"


@pytest.fixture
def shared_data() -> Path:
    """Real data sets, which stand beside the project and not in it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the project")
    return folder


@pytest.fixture
def sealed_golden() -> Callable[[str], Any]:
    """What is known of a file in `golden/sealed`: the names of the module that makes it."""
    folder = ROOT / "tests" / "golden" / "sealed"
    return lambda name: SimpleNamespace(**runpy.run_path(str(folder / f"{name}.py")))


def open_files_below(folder: Path) -> dict[str, str]:
    """Descriptors of this process that lead to files below `folder`, deleted ones included."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
        if target.startswith(f"{folder}{os.sep}"):
            found[fd] = target
    return found


def child_processes() -> dict[str, str]:
    """Children of every thread of this process, running or not yet waited for."""
    found = {}
    for task in os.listdir("/proc/self/task"):
        try:
            pids = Path(f"/proc/self/task/{task}/children").read_text().split()
        except FileNotFoundError:
            continue  # the thread has ended, or the kernel does not list children
        for pid in pids:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except FileNotFoundError:
                continue
            # multiprocessing keeps these two for the next pool, until the interpreter ends.
            if b"resource_tracker" not in command and b"forkserver" not in command:
                found[pid] = command.replace(b"\0", b" ").decode(errors="replace") or "zombie"
    return found


@pytest.fixture(autouse=True)
def leaves_nothing_behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Fail a test that leaves a file below the temporary directory open, or a child process."""
    if not sys.platform.startswith("linux"):
        yield
        return
    base = tmp_path_factory.getbasetemp()
    # What fixtures of wider scope hold was there before and may stay.
    files, children = open_files_below(base), child_processes()
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        return  # its traceback keeps frames alive, and the failure itself says more
    left = open_files_below(base).items() - files.items()
    if left:
        gc.collect()  # a cycle that is already garbage is no leak
        left = open_files_below(base).items() - files.items()
    if left:
        pytest.fail(f"left open: {sorted(target for _, target in left)}", pytrace=False)
    # By their numbers: the command of a process that just began, or just ended, is not there.
    running = {pid: command for pid, command in child_processes().items() if pid not in children}
    if running:
        pytest.fail(f"left running: {sorted(running.items())}", pytrace=False)
