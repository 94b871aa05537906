"""A disk that is full leaves no file, whatever the library says of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import kist

ENDINGS = ["h5", "npz", "npy", "parquet", "csv", "sqlite", "zarr", "nc", "b2nd"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("small")
    if sys.platform != "linux" or os.geteuid() or not shutil.which("mount"):
        pytest.skip("needs a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("source") / "a.kist"
    values = np.random.default_rng(0).normal(size=400_000)
    with kist.open(path, "w") as store:
        store["x"] = values
        store.create_table("t", {"a": values})
    return str(path)


@pytest.mark.parametrize("ending", [*ENDINGS, "pytables.h5"])
def test_nothing_is_left_on_a_full_disk(small: Path, source: str, ending: str) -> None:
    for library in {"parquet": ["pyarrow"], "csv": ["pyarrow"], "nc": ["netCDF4"]}.get(ending, []):
        pytest.importorskip(library)
    if ending.endswith("h5"):
        pytest.importorskip("tables")
    if ending == "zarr":
        pytest.importorskip("zarr")
    flavour = {"flavour": "pytables"} if "pytables" in ending else {}
    node = ":t" if ending in ("parquet", "csv") else ":x" if ending in ("npy", "b2nd") else ""
    # In a process of its own: some libraries keep a file open that they could not write.
    target = str(small / f"a.{ending}")
    code = f"import kist\nkist.convert({source + node!r}, {target!r}, **{flavour!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "StorageError" in done.stderr and "no file was left" in done.stderr, done.stderr
    assert "No space left" in done.stderr or "full" in done.stderr, done.stderr
    assert os.listdir(small) == []
