"""Memory that stays: what is read again and again is not written to new pages each time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kist

READING = """
import resource, sys
import kist
with kist.open(sys.argv[1]) as store:
    runs = store["runs"]
    def read():
        for key in runs:
            value = runs[key]
    read()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        read()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep memory as they like")
def test_values_that_are_read_again_find_memory_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "runs.kist"
    rng = np.random.default_rng(0)
    sizes = rng.integers(1_000, 100_000, 40).tolist()
    with kist.open(path, "x") as store:
        store.create_keystore("runs").update(
            {str(i): (np.arange(n) * 0.001, np.arange(n) % 50 / 8) for i, n in enumerate(sizes)}
        )
    # Dask leaves MALLOC_TRIM_THRESHOLD_ in the environment, which has glibc learn nothing.
    env = {name: said for name, said in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", READING, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )
    faults = int(done.stdout)
    assert faults < 40 * 3 * 4, "pages for each value; they hold 200 of them"
