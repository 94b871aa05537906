"""``linspace`` and its sine, as in the talks: size, writing, reading."""

from __future__ import annotations

import shutil

import numpy as np

from bench.objects.arrays import ArrayEngine, Blosc2, H5py, Kist, KistFast, Npz, Zarr
from bench.objects.steps import Steps, equal

N = 10_000_000

ENGINES: dict[str, type[ArrayEngine]] = {
    e.name: e for e in (Kist, KistFast, Zarr, H5py, Blosc2, Npz)
}


def run(engine: ArrayEngine, steps: Steps, scale: float) -> None:
    """Write and read one array, then the other."""
    line = np.linspace(0, 100, max(1_000, int(N * scale)))
    for name, values in (("linspace", line), ("sine", np.sin(line))):
        steps.time(f"write {name}", lambda values=values: engine.write(values))
        steps.note(f"raw over stored, {name}", values.nbytes / engine.stored_bytes())
        engine.open()
        for _ in range(3):
            steps.time(
                f"read {name}",
                lambda: engine.read(...),
                lambda found, values=values: equal(found, values),
            )
        engine.close()
        for path in engine.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    steps.note("stored_bytes", 0)
