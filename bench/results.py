"""Figures of one run: samples of all rounds, and what is made of them."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class StepResult:
    """One step of one engine over all rounds."""

    rounds_s: dict[int, float] = field(default_factory=dict)
    """Round -> seconds, the median within the round."""
    cpu_s: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    verified: bool = True
    errors: list[str] = field(default_factory=list)

    def add(self, turn: int, outcome: dict[str, Any]) -> None:
        """Take in one round's outcome, as a worker gives it."""
        if outcome["error"] and outcome["error"] not in self.errors:
            self.errors.append(outcome["error"])
        self.verified &= outcome["verified"]
        if "seconds" in outcome:
            self.rounds_s[turn] = outcome["seconds"]
            self.cpu_s.append(outcome["cpu_s"])
            self.peak_bytes.append(outcome["peak_bytes"])

    @property
    def counts(self) -> bool:
        """Whether the times may be compared: every result was right and nothing failed."""
        return self.verified and not self.errors and bool(self.rounds_s)

    @property
    def median_s(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rounds_s.values())


@dataclass
class EngineResult:
    """One engine in one workload over all rounds."""

    steps: dict[str, StepResult] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    not_offered: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, turn: int, report: dict[str, Any]) -> None:
        """Take in what one worker reported."""
        for step, outcome in report["outcomes"].items():
            self.steps.setdefault(step, StepResult()).add(turn, outcome)
        self.figures |= report["figures"]
        self.not_offered += [s for s in report["not_offered"] if s not in self.not_offered]

    def step(self, name: str) -> StepResult | None:
        """A step whose times count, else None."""
        found = self.steps.get(name)
        return found if found is not None and found.counts else None

    def median_s(self, name: str) -> float | None:
        """Median seconds of a step, or None when it has no time that counts."""
        found = self.step(name)
        return None if found is None else found.median_s


@dataclass(frozen=True)
class Ratio:
    """One engine's time over another's: the median of paired rounds, and their spread."""

    median: float
    low: float
    high: float


@dataclass
class WorkloadResult:
    """One workload: its engines, and those that could not run."""

    title: str
    engines: dict[str, EngineResult] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def ratio(self, step: str, above: str, below: str = "kist") -> Ratio | None:
        """Time of ``above`` over that of ``below``, round by round."""
        engines = [self.engines.get(name) for name in (above, below)]
        found = [None if engine is None else engine.step(step) for engine in engines]
        if found[0] is None or found[1] is None:
            return None
        a, b = (step_.rounds_s for step_ in found if step_ is not None)
        pairs = [a[turn] / b[turn] for turn in a.keys() & b.keys() if b[turn]]
        if not pairs:
            return None
        return Ratio(statistics.median(pairs), min(pairs), max(pairs))

    def best_peer(self, step: str) -> str | None:
        """The fastest engine that is neither kist nor a limit."""
        times = {
            name: seconds
            for name, engine in self.engines.items()
            if is_peer(name) and (seconds := engine.median_s(step)) is not None
        }
        return min(times, key=lambda name: times[name]) if times else None

    def limit(self, step: str) -> str | None:
        """The limit that binds: the slowest of what a step cannot avoid."""
        times = {
            name: seconds
            for name, engine in self.engines.items()
            if is_limit(name) and (seconds := engine.median_s(step)) is not None
        }
        return max(times, key=lambda name: times[name]) if times else None

    def steps(self) -> list[str]:
        """All steps, in the order in which they were first met."""
        return list(dict.fromkeys(s for engine in self.engines.values() for s in engine.steps))


def is_limit(name: str) -> bool:
    """Whether an engine is a limit of the machine."""
    return name.startswith("limit:")


def is_peer(name: str) -> bool:
    """Whether an engine is another project's."""
    return not is_limit(name) and name.partition("-")[0] != "kist"


@dataclass
class RunResult:
    """One run of the benchmarks."""

    conditions: dict[str, str]
    workloads: dict[str, WorkloadResult] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    small: dict[str, Any] = field(default_factory=dict)

    def failed(self) -> bool:
        """Whether anything of kist or the benchmarks failed, or gave a wrong result."""
        for workload in self.workloads.values():
            for engine in workload.engines.values():
                if engine.errors or not all(step.counts for step in engine.steps.values()):
                    return True
        return any("error" in figures for figures in self.small.values())

    def to_json(self) -> dict[str, Any]:
        """Everything, with the medians beside the rounds."""
        out = asdict(self)
        for name, workload in self.workloads.items():
            for key, engine in workload.engines.items():
                for step in engine.steps:
                    place = out["workloads"][name]["engines"][key]["steps"][step]
                    place["median_s"] = engine.median_s(step)
        return out

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> RunResult:
        """What ``to_json`` gave: runs made one after the other become one report."""
        result = cls(found["conditions"], {}, found["versions"], found["small"])
        for name, workload in found["workloads"].items():
            place = WorkloadResult(workload["title"], {}, workload["skipped"])
            result.workloads[name] = place
            for key, engine in workload["engines"].items():
                steps = {step: _step_of(values) for step, values in engine.pop("steps").items()}
                place.engines[key] = EngineResult(steps, **engine)
        return result


def _step_of(values: dict[str, Any]) -> StepResult:
    values = {key: value for key, value in values.items() if key != "median_s"}
    values["rounds_s"] = {int(turn): s for turn, s in values["rounds_s"].items()}
    return StepResult(**values)
