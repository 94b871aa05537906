"""Arrays and key stores beside their peers, and what growing and overwriting them costs.

- ``keystore``: the KeyStore demo of 2016: keys with two arrays each, built, then read at random.
- ``million``: small values under many keys; put in bulk, got one by one, one durable put.
- ``volume``: a smooth f4 cube; written, read, planes along each axis, small cubes.
- ``lines``: ``linspace`` and its sine; size, writing, reading.
- ``grown``: an array appended to and overwritten many times, memory of working in blocks.

Each engine works in a process of its own: ``python -m bench.objects`` with a request as JSON.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.harness import WorkerError, run_module

WORKLOADS = ("keystore", "million", "volume", "lines", "grown")


@dataclass
class Found:
    """One engine in one workload, over all rounds."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    error: str | None = None

    def add(self, report: dict[str, Any]) -> None:
        """Take in one round."""
        for step, values in report["seconds"].items():
            self.seconds.setdefault(step, []).append(statistics.median(values))
        self.figures.update(report["figures"])
        self.wrong += [step for step in report["wrong"] if step not in self.wrong]

    def median(self, step: str) -> float | None:
        """Median seconds of a step, None where it has no time that counts."""
        if step in self.wrong or step not in self.seconds:
            return None
        return statistics.median(self.seconds[step])


Results = dict[str, dict[str, Found]]


def run(
    folder: Path,
    *,
    names: Sequence[str] = WORKLOADS,
    rounds: int = 3,
    scale: float = 1.0,
    log: Callable[[str], None] = lambda _: None,
) -> Results:
    """Run workloads in ``folder``; ``scale`` below 1 makes them smaller."""
    results: Results = {}
    for name in names:
        engines = import_module(f"bench.objects.{name}").ENGINES
        found = results[name] = {}
        usable = []
        for engine in engines.values():
            reason = engine.missing()
            if reason is None:
                usable.append(engine.name)
                found[engine.name] = Found()
            else:
                log(f"skipped {engine.name}: {reason}")
        for turn in range(rounds):
            first = turn % max(1, len(usable))
            for engine_name in usable[first:] + usable[:first]:
                log(f"{name}, round {turn + 1}: {engine_name}")
                place = folder / "objects"
                place.mkdir()
                request = {
                    "workload": name,
                    "engine": engine_name,
                    "folder": str(place),
                    "scale": scale,
                    "round": turn,
                }
                try:
                    found[engine_name].add(run_module("bench.objects", json.dumps(request)))
                except WorkerError as error:
                    found[engine_name].error = str(error)
                    log(f"  {engine_name}: {error}")
                finally:
                    shutil.rmtree(place)
    return results
