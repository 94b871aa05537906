"""A smooth cube of f4: written, read, planes along each axis, small cubes anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.objects.arrays import (
    ArrayEngine,
    Blosc2,
    Blosc2Auto,
    Disk,
    H5py,
    Kist,
    KistFast,
    KistLZ4,
    Memcpy,
    NetCDF4,
    Zarr,
)
from bench.steps import Steps, equal
from bench.worker import Job

TITLE = "A smooth cube of f4, 512 a side"
SIDE, N_PLANES, N_CUBES, CUBE = 512, 8, 30, 32

ENGINES: dict[str, type[ArrayEngine]] = {
    e.name: e
    for e in (Kist, KistFast, KistLZ4, Blosc2, Blosc2Auto, NetCDF4, Zarr, H5py, Memcpy, Disk)
}


def volume(side: int) -> Any:
    """Waves along three axes, rounded to the last digit that an instrument shows."""
    x = np.linspace(0, 4 * np.pi, side, dtype=np.float32)
    cube = np.sin(x)[:, None, None] + np.cos(x / 2)[:, None] + np.sin(x / 3)
    return np.round(cube, 4).astype("<f4")


def run(engine: ArrayEngine, steps: Steps, job: Job) -> None:
    """Write, read, slice."""
    side = max(64, int(SIDE * job.scale ** (1 / 3)) // 32 * 32)
    values = volume(side)
    steps.note("raw bytes", values.nbytes)
    if not steps.time("write", lambda: engine.write(values)):
        return
    if isinstance(engine, Memcpy):
        del steps.outcomes["write"]  # writes nothing that lasts
    if isinstance(engine, Disk):
        return
    engine.open()
    steps.time("read all", lambda: engine.read(...), lambda found: equal(found, values), repeat=2)
    rng = np.random.default_rng(steps.turn)
    for axis in range(3):
        keys = [(*(slice(None),) * axis, int(at)) for at in rng.integers(0, side, N_PLANES)]
        _each(engine, steps, values, f"plane, axis {axis}", keys)
    corners = rng.integers(0, side - CUBE, (N_CUBES, 3)).tolist()
    cubes = [tuple(slice(a, a + CUBE) for a in corner) for corner in corners]
    _each(engine, steps, values, "cube of 32", cubes)
    engine.close()
    if not steps.right("read all"):
        steps.wrong("write")


def _each(engine: ArrayEngine, steps: Steps, values: Any, step: str, keys: list[Any]) -> None:
    steps.each(
        step,
        (lambda key=key: engine.read(key) for key in keys),
        lambda i, found: equal(found, values[keys[i]]),
    )
