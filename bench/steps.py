"""Timing of steps, and verification outside the timing before a time counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.engines.base import NotOffered
from bench.measure import Sample, drop_from_page_cache, measure

T = TypeVar("T")

BUDGET_S = 3.0
"""A step of many calls ends after this time; its figures are those of one call."""


@dataclass
class Outcome:
    """One step of one engine in one round."""

    samples: list[Sample] = field(default_factory=list)
    verified: bool = True
    error: str | None = None

    def summary(self) -> dict[str, Any]:
        """Medians of time and processor time, the highest peak: ready for JSON."""
        found: dict[str, Any] = {"verified": self.verified, "error": self.error}
        if self.samples:
            found |= {
                "seconds": statistics.median(s.seconds for s in self.samples),
                "cpu_s": statistics.median(s.cpu_s for s in self.samples),
                "peak_bytes": max(s.peak_bytes for s in self.samples),
            }
        return found


class Steps:
    """Runs the steps of one engine in one round; a step that fails is recorded, others go on."""

    def __init__(
        self, turn: int = 0, cold_folder: Path | None = None, budget_s: float = BUDGET_S
    ) -> None:
        self.turn = turn
        self.outcomes: dict[str, Outcome] = {}
        self.figures: dict[str, float] = {}
        self.not_offered: list[str] = []
        self._cold_folder = cold_folder
        self._budget_s = budget_s

    def time(
        self,
        step: str,
        call: Callable[[], T],
        check: Callable[[T], bool] = lambda _: True,
        *,
        repeat: int = 1,
    ) -> bool:
        """Take samples of a step, and verify each result; whether all of it worked."""
        if step in self.not_offered:
            return False
        outcome = self.outcomes.setdefault(step, Outcome())
        for _ in range(repeat):
            if self._cold_folder is not None:
                drop_from_page_cache(self._cold_folder)
            try:
                result, sample = measure(call)
                right = check(result)
            except NotOffered:
                del self.outcomes[step]
                self.not_offered.append(step)
                return False
            except Exception as error:  # another project's error: recorded, shown in the report
                outcome.error = one_line(error)
                return False
            del result
            outcome.samples.append(sample)
            outcome.verified &= right
        return outcome.verified

    def each(
        self,
        step: str,
        calls: Iterable[Callable[[], Any]],
        check: Callable[[int, Any], bool] = lambda i, result: True,
        *,
        patience: float = 1.0,
        tail: bool = False,
    ) -> int:
        """Time calls one by one, for ``patience`` budgets at most; returns how many were made.

        The step's time is the median of one call; with ``tail`` its 99th percentile is a step
        of its own. Results are verified between the calls, outside the time.
        """
        outcome = self.outcomes.setdefault(step, Outcome())
        times: list[float] = []
        cpu_s, clock = 0.0, time.perf_counter
        ends = clock() + patience * self._budget_s
        try:
            for i, call in enumerate(calls):
                cpu, start = time.process_time(), clock()
                result = call()
                times.append(clock() - start)
                cpu_s += time.process_time() - cpu
                outcome.verified &= check(i, result)
                if clock() > ends:
                    break
        except NotOffered:
            del self.outcomes[step]
            self.not_offered.append(step)
            return 0
        except Exception as error:  # as in `time`
            outcome.error = one_line(error)
            return len(times)
        if times:
            outcome.samples.append(Sample(statistics.median(times), cpu_s / len(times), 0))
            if tail:
                p99 = self.outcomes.setdefault(f"{step}, p99", Outcome())
                p99.samples.append(Sample(float(np.quantile(times, 0.99)), 0.0, 0))
                p99.verified &= outcome.verified
        return len(times)

    def put(self, step: str, seconds: float) -> None:
        """Take a time that was measured elsewhere."""
        self.outcomes.setdefault(step, Outcome()).samples.append(Sample(seconds, 0.0, 0))

    def wrong(self, *steps: str) -> None:
        """Let times of steps not count, because what they left behind is not right."""
        for step in steps:
            if step in self.outcomes:
                self.outcomes[step].verified = False

    def right(self, *steps: str) -> bool:
        """Whether steps were timed and gave what they should."""
        found = [self.outcomes.get(step) for step in steps]
        return all(o is not None and o.verified and o.error is None for o in found)

    def note(self, figure: str, value: float) -> None:
        """Keep a figure that is not a time."""
        self.figures[figure] = value


def one_line(error: Exception) -> str:
    """What went wrong, without the backtraces that some put into their messages."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first[:200]}"


def equal(found: Any, wanted: Any) -> bool:
    """Whether two arrays have the same dtype, shape and bytes (so -0.0 and NaNs count)."""
    found = np.asarray(found)
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    if found.ndim == 1 and found.flags.c_contiguous and wanted.flags.c_contiguous:
        step = 65_536  # in parts: two copies of a large table would not fit
        return all(
            found[at : at + step].tobytes() == wanted[at : at + step].tobytes()
            for at in range(0, len(found), step)
        )
    return bool(np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(wanted).tobytes())
