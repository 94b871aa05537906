"""The examples run, on this machine's own files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kist

ROOT = Path(__file__).resolve().parent.parent


def test_the_main_job_runs_from_end_to_end(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "main_job.py", path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "kill -9" in done.stdout and "compared with NumPy" in done.stdout
    with kist.open(path) as store:
        assert store.check().ok
        assert set(store.tags) == {"first-half", "complete"}
