"""``python -m bench.saving``: `kist.save` and `kist.load` beside `np.save`, `np.savez` and all.

NumPy's return when the system has the bytes; "synced" has an `os.fsync` behind them, "safe" what
`kist.save` promises: a file beside, which is synced, takes the name, and the name is synced. All
take turns in one process, from the page cache; what is loaded is compared before it counts. Times
are medians in ms, sizes what a file has and, behind the stroke, what it takes on the disk.
What is not measured, because it would take minutes, is nan.

``python -m bench.saving FOLDER 1e3 1e6 1e8 1e9`` names a folder and sizes in bytes.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kist
from bench.engines.base import sync_path

Array = np.ndarray[Any, Any]

SIZES = (1e3, 1e6, 1e8)
_BUDGET_S = 6.0
_MOST = 40
_ZLIB_BYTES = 200e6
"""More is not given to `np.savez_compressed`: a gigabyte takes it a minute."""


def arrays(n: int) -> dict[str, Array]:
    """Return values that pack well, less well, and not at all."""
    rng = np.random.default_rng(0)
    return {
        "walk of 3 decimals": rng.normal(0, 0.01, n).cumsum().round(3),
        "integers below 1000": rng.integers(0, 1000, n),
        "sine": np.sin(np.linspace(0, 1000, n)),
        "random": rng.random(n),
    }


class Saved:
    """One array and the files that it is saved to, one for each way."""

    def __init__(self, folder: Path, values: Array) -> None:
        self.folder, self.values = folder, values

    def path(self, name: str) -> Path:
        return self.folder / name

    def save(self) -> None:
        np.save(self.path("a.npy"), self.values)

    def synced(self) -> None:
        np.save(self.path("b.npy"), self.values)
        sync_path(self.path("b.npy"))

    def safe(self) -> None:
        np.save(self.path("part.npy"), self.values)
        sync_path(self.path("part.npy"))
        self.path("part.npy").replace(self.path("c.npy"))
        sync_path(self.folder)

    def savez(self) -> None:
        np.savez(self.path("d.npz"), x=self.values)

    def savez_compressed(self) -> None:
        np.savez_compressed(self.path("e.npz"), x=self.values)

    def kist_save(self) -> None:
        kist.save(self.path("f.kist"), self.values)

    def kist_none(self) -> None:
        kist.save(self.path("g.kist"), self.values, durability="none")

    def kist_savez(self) -> None:
        kist.savez(self.path("h.kist"), x=self.values)

    def load(self) -> Any:
        return np.load(self.path("a.npy"))

    def loadz(self) -> Any:
        with np.load(self.path("d.npz")) as file:
            return file["x"]

    def loadz_compressed(self) -> Any:
        with np.load(self.path("e.npz")) as file:
            return file["x"]

    def kist_load(self) -> Any:
        return kist.load(self.path("f.kist"))

    def kist_loadz(self) -> Any:
        with kist.load(self.path("h.kist")) as file:
            return file["x"]


SAVES = {
    "np.save": (Saved.save, "a.npy"), "synced": (Saved.synced, ""), "safe": (Saved.safe, ""),
    "kist.save": (Saved.kist_save, "f.kist"), '"none"': (Saved.kist_none, ""),
    "np.savez": (Saved.savez, "d.npz"), "compressed": (Saved.savez_compressed, "e.npz"),
    "kist.savez": (Saved.kist_savez, "h.kist"),
}  # fmt: skip
LOADS = {
    "np.load": Saved.load, "kist.load": Saved.kist_load, "npz": Saved.loadz,
    "compressed npz": Saved.loadz_compressed, "savez's": Saved.kist_loadz,
}  # fmt: skip


def medians(saved: Saved) -> dict[str, float]:
    """Return the time of each way in ms; one that takes long takes part in fewer turns."""
    calls: dict[str, Callable[[], Any]] = {
        **{name: lambda own=own: own(saved) for name, (own, _) in SAVES.items()},  # type: ignore[misc]
        **{name: lambda own=own: own(saved) for name, own in LOADS.items()},  # type: ignore[misc]
    }
    if saved.values.nbytes > _ZLIB_BYTES:
        calls = {name: call for name, call in calls.items() if "compressed" not in name}
    for name, call in calls.items():  # the first of each, which loads modules, does not count
        found = call()
        if name in LOADS and found.tobytes() != saved.values.tobytes():
            raise AssertionError(f"{name} gave other values")
        del found
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_MOST):
        for name, call in calls.items():
            if sum(times[name]) < 1e3 * _BUDGET_S / len(calls) or not times[name]:
                begun = time.perf_counter()
                call()
                times[name].append(1e3 * (time.perf_counter() - begun))
    return {name: statistics.median(own) for name, own in times.items()}


def shown(number: float) -> str:
    """Return a number with three digits that count."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def size_of(path: Path) -> str:
    """Return the bytes that a file has and takes, in kB."""
    if not path.exists():
        return "nan"
    found = path.stat()
    taken = getattr(found, "st_blocks", -(-found.st_size // 512)) * 512
    return f"{found.st_size / 1e3:,.0f} / {taken / 1e3:,.0f}"


def main(folder: Path, sizes: tuple[float, ...] = SIZES) -> None:
    """Print two tables: times, and sizes."""
    kist.options.n_threads = 2
    times, bytes_ = [], []
    for size in sizes:
        for name, values in arrays(max(1, int(size) // 8)).items():
            with tempfile.TemporaryDirectory(dir=folder) as made:
                saved = Saved(Path(made), values)
                found = medians(saved)
                what = f"{size / 1e6:g} MB, {name}"
                times.append([what, *(shown(found.get(way, math.nan)) for way in (*SAVES, *LOADS))])
                files = (size_of(saved.path(file)) for _, file in SAVES.values() if file)
                bytes_.append([what, *files])
                print(*times[-1], *bytes_[-1][1:], file=sys.stderr, sep=", ", flush=True)
    for top, rows in (
        (("ms", *SAVES, *LOADS), times),
        (("kB of the file, and on the disk", *(n for n, (_, f) in SAVES.items() if f)), bytes_),
    ):
        print("| " + " | ".join(top) + " |\n|---|" + "---:|" * (len(top) - 1))
        for row in rows:
            print("| " + " | ".join(row) + " |")
        print()


if __name__ == "__main__":
    place = sys.argv[1] if sys.argv[1:] else None
    asked = tuple(map(float, sys.argv[2:])) or SIZES
    with tempfile.TemporaryDirectory(dir=place) as own:
        main(Path(own), asked)
