"""A smooth cube of f4: written, read, planes along each axis, small cubes anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.objects.arrays import ArrayEngine, Blosc2, H5py, Kist, KistFast, KistLZ4, Zarr
from bench.objects.steps import Steps, equal

SIDE, N_PLANES, N_CUBES, CUBE = 512, 8, 30, 32

ENGINES: dict[str, type[ArrayEngine]] = {
    e.name: e for e in (Kist, KistFast, KistLZ4, Zarr, H5py, Blosc2)
}


def volume(side: int) -> Any:
    """Waves along three axes, and a little noise in the last bits that instruments leave."""
    x = np.linspace(0, 4 * np.pi, side, dtype=np.float32)
    cube = np.sin(x)[:, None, None] + np.cos(x / 2)[:, None] + np.sin(x / 3)
    return np.round(cube, 4).astype("<f4")


def run(engine: ArrayEngine, steps: Steps, scale: float) -> None:
    """Write, read, slice."""
    side = max(64, int(SIDE * scale ** (1 / 3)) // 32 * 32)
    values = volume(side)
    steps.note("raw_bytes", values.nbytes)
    steps.time("write", lambda: engine.write(values))
    engine.open()
    steps.time("read all", lambda: engine.read(...), lambda found: equal(found, values))
    rng = np.random.default_rng(steps.turn)
    for axis in range(3):
        for place in rng.integers(0, side, N_PLANES):
            key = (*(slice(None),) * axis, int(place))
            steps.time(
                f"plane, axis {axis}",
                lambda key=key: engine.read(key),
                lambda found, key=key: equal(found, values[key]),
            )
    for corner in rng.integers(0, side - CUBE, (N_CUBES, 3)):
        key = tuple(slice(int(a), int(a) + CUBE) for a in corner)
        steps.time(
            "cube of 32",
            lambda key=key: engine.read(key),
            lambda found, key=key: equal(found, values[key]),
        )
    engine.close()
    if "read all" in steps.wrong:
        steps.wrong.append("write")
