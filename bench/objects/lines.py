"""``linspace`` and its sine, as in the talks on solid compression: size, writing, reading."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.objects.arrays import (
    ArrayEngine,
    Blosc2,
    H5py,
    Kist,
    KistFast,
    Memcpy,
    Npz,
    Pcodec,
    Zarr,
)
from bench.steps import Steps, equal
from bench.worker import Job

TITLE = "`np.linspace(0, 100, 10**7)` and its sine"
N = 10_000_000

ENGINES: dict[str, type[ArrayEngine]] = {
    e.name: e for e in (Kist, KistFast, Blosc2, Pcodec, Zarr, H5py, Npz, Memcpy)
}


def run(engine: ArrayEngine, steps: Steps, job: Job) -> None:
    """Write and read one array, then the other."""
    line = np.linspace(0, 100, max(1_000, int(N * job.scale)))
    stored = 0
    for name, values in (("linspace", line), ("sine", np.sin(line))):
        write_and_read(engine, steps, name, values)
        size = engine.stored_bytes()
        stored += size
        if size:
            steps.note(f"raw over stored, {name}", values.nbytes / size)
        clear(engine)
    steps.note("raw bytes", 2 * line.nbytes)
    steps.note("stored bytes", stored)


def write_and_read(
    engine: ArrayEngine,
    steps: Steps,
    name: str,
    values: Any,
    same: Callable[[Any, Any], bool] = equal,
) -> None:
    """Write an array and read it, as steps of its name."""
    if not steps.time(f"write {name}", lambda: engine.write(values)):
        return
    if isinstance(engine, Memcpy):
        del steps.outcomes[f"write {name}"]  # writes nothing that lasts
    engine.open()
    steps.time(
        f"read {name}", lambda: engine.read(...), lambda found: same(found, values), repeat=3
    )
    engine.close()
    if not steps.right(f"read {name}"):
        steps.wrong(f"write {name}")


def clear(engine: ArrayEngine) -> None:
    """Delete what an engine wrote."""
    for path in engine.folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
