"""The KeyStore demo (``seeds``, 2016): keys of two arrays each, built, then read in any order.

With ``--scale 1`` 1,000 keys of up to 100,000 values a array. From ``--scale 5`` on it is the
variant larger than a cache: 1,000 keys for each unit of scale, of up to 1M values each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np

from bench.objects.keys import ENGINES as ENGINES
from bench.objects.keys import KeyEngine, Pair
from bench.steps import Steps, equal
from bench.worker import Job

TITLE = "Key store: two arrays a key, 100 random gets, durable puts"
N_KEYS, MAX_VALUES, N_READS, N_PUTS = 1_000, 100_000, 100, 100
LARGE = 5.0
"""From this scale on, arrays are ten times as long."""


def pair(index: int, max_values: int = MAX_VALUES) -> Pair:
    """The two arrays of one key: times in milliseconds, and what was measured then."""
    rng = np.random.default_rng((20160101, index))
    n = int(rng.integers(1, max_values + 1))
    x = np.arange(n) * 0.001 + index
    y = np.round(np.sin(x * 7) + rng.normal(0, 0.05, n), 3)
    return x, y


class Pairs:
    """All keys with their arrays, made when asked for: they need not fit into memory."""

    def __init__(self, scale: float) -> None:
        self.n = max(10, int(N_KEYS * scale))
        self.max_values = MAX_VALUES * (10 if scale >= LARGE else 1)
        self.in_memory = scale < LARGE
        self._kept = {k: self[k] for k in self} if self.in_memory else {}

    def __iter__(self) -> Iterator[str]:
        return (f"run-{i:06d}" for i in range(self.n))

    def __getitem__(self, key: str) -> Pair:
        return pair(int(key[4:]), self.max_values)

    def items(self) -> Iterator[tuple[str, Pair]]:
        """Keys and arrays; what making them takes is added to ``making_s``."""
        self.making_s, self.raw = 0.0, 0
        for key in self:
            start = time.perf_counter()
            value = self._kept[key] if self._kept else self[key]
            self.making_s += time.perf_counter() - start
            self.raw += value[0].nbytes + value[1].nbytes
            yield key, value


def run(engine: KeyEngine, steps: Steps, job: Job) -> None:
    """Build, read 100 keys at random with their p50 and p99, put and sync 100 new ones."""
    pairs = Pairs(job.scale)
    start = time.perf_counter()
    if not pairs.in_memory:
        engine.build(pairs.items())
        steps.put("build", time.perf_counter() - start - pairs.making_s)
    elif not steps.time("build", lambda: engine.build(pairs.items())):
        return
    steps.note("raw bytes", pairs.raw)
    if not engine.name.startswith("limit:"):
        steps.note("stored bytes", engine.stored_bytes())
    if "get" in engine.offers:
        _gets(engine, steps, pairs)
    _puts(engine, steps, pairs)


def _gets(engine: KeyEngine, steps: Steps, pairs: Pairs) -> None:
    rng = np.random.default_rng(steps.turn)
    keys = [f"run-{i:06d}" for i in rng.integers(0, pairs.n, N_READS)]
    sizes: list[int] = []

    def right(i: int, found: Pair) -> bool:
        wanted = pairs[keys[i]]
        sizes.append(wanted[0].nbytes + wanted[1].nbytes)
        return all(equal(a, b) for a, b in zip(found, wanted, strict=True))

    engine.open()
    times: list[float] = []

    def get(key: str) -> Pair:
        began = time.perf_counter()
        found = engine.get(key)
        times.append(time.perf_counter() - began)
        return found

    for key in dict.fromkeys(keys[:2]):
        engine.get(key)  # what is imported at the first call is not what a get costs
    steps.each("get", (lambda key=key: get(key) for key in keys), right, tail=True, patience=20)
    engine.close()
    if sizes:
        # Sizes differ a thousandfold, so that a plain p99 only finds the longest arrays.
        per_byte = np.asarray(times[: len(sizes)]) * 1e9 / np.asarray(sizes)
        steps.note("get, p99 of ns a byte", float(np.quantile(per_byte, 0.99)))
    if not steps.right("get"):
        steps.wrong("build")


def _puts(engine: KeyEngine, steps: Steps, pairs: Pairs) -> None:
    new = {f"new-{i:06d}": pair(1_000_000 + i, MAX_VALUES) for i in range(N_PUTS)}
    keys = list(new)
    engine.open(writable=True)
    done = steps.each(
        "durable put",
        (lambda key=key: engine.put(key, new[key]) for key in keys),
        tail=True,
        patience=7,
    )
    engine.close()
    if "get" in engine.offers:
        engine.open()
        if not all(
            equal(a, b)
            for key in keys[:done]
            for a, b in zip(engine.get(key), new[key], strict=True)
        ):
            steps.wrong("durable put", "durable put, p99")
        engine.close()
    os.sync()  # what one engine left to the system is not paid by the next
