"""Figures of one run: samples of all rounds, and what is made of them."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class StepResult:
    """One step of one engine over all rounds."""

    rounds_s: list[float] = field(default_factory=list)
    """The median of each round, in seconds."""
    cpu_s: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    verified: bool = True
    errors: list[str] = field(default_factory=list)

    def add(self, outcome: dict[str, Any]) -> None:
        """Take in one round's outcome, as a worker gives it."""
        samples = outcome["samples"]
        if outcome["error"]:
            self.errors.append(outcome["error"])
        self.verified &= outcome["verified"]
        if samples:
            self.rounds_s.append(statistics.median(s["seconds"] for s in samples))
            self.cpu_s.append(statistics.median(s["cpu_s"] for s in samples))
            self.peak_bytes.append(max(s["peak_bytes"] for s in samples))

    @property
    def counts(self) -> bool:
        """Whether the times may be compared: every result was right and nothing failed."""
        return self.verified and not self.errors and bool(self.rounds_s)

    @property
    def median_s(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rounds_s)


@dataclass
class EngineResult:
    """One engine over all rounds."""

    versions: dict[str, str] = field(default_factory=dict)
    stored_bytes: int = 0
    steps: dict[str, StepResult] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, report: dict[str, Any]) -> None:
        """Take in what one worker reported."""
        self.versions.update(report["versions"])
        self.stored_bytes = max(self.stored_bytes, report["stored_bytes"])
        for step, outcome in report["outcomes"].items():
            self.steps.setdefault(step, StepResult()).add(outcome)

    def median_s(self, step: str) -> float | None:
        """Median seconds of a step, or None when it has no time that counts."""
        result = self.steps.get(step)
        return result.median_s if result is not None and result.counts else None


@dataclass
class RunResult:
    """One run of the benchmarks."""

    machine: dict[str, str]
    n_rows: int
    n_rounds: int
    n_datasets: int
    threads: int
    cold: bool
    engines: dict[str, EngineResult] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    small: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Workload -> engine -> `bench.objects.Found`."""

    def to_json(self) -> dict[str, Any]:
        """Everything, with the medians beside the rounds."""
        out = asdict(self)
        for name, engine in self.engines.items():
            for step in engine.steps:
                out["engines"][name]["steps"][step]["median_s"] = engine.median_s(step)
        return out
