"""What arrays of kist cost that grow by small steps, are overwritten, or exceed memory.

Only kist runs here: the figures are limits of its own, not ratios.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.engines.base import load
from bench.measure import measure
from bench.objects.arrays import Kist
from bench.steps import Steps, equal
from bench.worker import Job

TITLE = "Growing, overwriting, and working in blocks (kist alone)"
N_APPENDS, N_OVERWRITES, FRAMES, FRAME = 10_000, 10_000, 400, (512, 512)

ENGINES: dict[str, type[Kist]] = {Kist.name: Kist}


def run(engine: Kist, steps: Steps, job: Job) -> None:
    """Grow, overwrite, then work in blocks."""
    kist = load("kist")
    _grow(kist, engine, steps, max(50, int(N_APPENDS * job.scale)))
    _overwrite(kist, engine, steps, max(20, int(N_OVERWRITES * job.scale)))
    _blocks(kist, engine, steps, max(8, int(FRAMES * job.scale)))


def _grow(kist: Any, engine: Kist, steps: Steps, n: int) -> None:
    """``n`` appends of ten values, relaxed; then the same values written at once."""
    values = np.round(np.cumsum(np.random.default_rng(1).normal(size=10 * n)), 2)
    grown, once = engine.folder / "grown.kist", engine.folder / "once.kist"
    samples = []
    with kist.open(grown, "w", durability="relaxed") as store:
        array = store.create_array("a", shape=(0,), dtype="f8")
        for at in range(0, 10 * n, 10):
            start = time.perf_counter()
            array.append(values[at : at + 10])
            samples.append(time.perf_counter() - start)
    with kist.open(once, "w") as store:
        store.create_array("a", values)

    def read(path: Any) -> Any:
        with kist.open(path) as store:
            return store["a"][:]

    for _ in range(5):
        steps.time("open and read, grown", lambda: read(grown), lambda a: equal(a, values))
        steps.time("open and read, at once", lambda: read(once), lambda a: equal(a, values))
    steps.put("append of ten, p50", float(np.quantile(samples, 0.5)))
    steps.put("append of ten, p99", float(np.quantile(samples, 0.99)))
    steps.note("grown over at once, bytes", grown.stat().st_size / once.stat().st_size)


def _overwrite(kist: Any, engine: Kist, steps: Steps, n: int) -> None:
    """One array of a megabyte of random bits, written over and over."""
    rng = np.random.default_rng(2)
    versions = [rng.random(125_000) for _ in range(8)]
    path = engine.folder / "overwrite.kist"
    start = time.perf_counter()
    with kist.open(path, "w") as store:
        store["a"] = versions[0]
        for i in range(1, n):
            store["a"][...] = versions[i % 8]
    steps.put("one overwrite", (time.perf_counter() - start) / n)
    steps.note("overwritten, bytes", path.stat().st_size)
    with kist.open(path) as store:
        if not np.array_equal(store["a"][:], versions[(n - 1) % 8]):
            steps.wrong("one overwrite")


def _blocks(kist: Any, engine: Kist, steps: Steps, n: int) -> None:
    """Frames appended one by one in one transaction, then read frame by frame."""
    rng = np.random.default_rng(3)
    frame = rng.integers(0, 4096, FRAME).astype("<f8")
    path = engine.folder / "blocks.kist"

    def write() -> None:
        with kist.open(path, "w") as store, store.transaction():
            array = store.create_array("a", shape=(0, *FRAME), dtype="f8")
            for _ in range(n):
                array.append(frame[None])

    def read() -> float:
        with kist.open(path) as store:
            return sum(float(block[0, 0, 0]) for block in store["a"].blocks())

    for name, call in (("write", write), ("read", read)):
        _, sample = measure(call)
        steps.put(f"{name} in blocks", sample.seconds)
        steps.note(f"{name} in blocks, peak bytes", sample.peak_bytes)
