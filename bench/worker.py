"""One engine in one workload, once, in a process of its own.

``python -m bench.worker JOB`` takes a `Job` as JSON and prints what came of it as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import iocount
from bench.steps import BUDGET_S, Steps


@dataclass(frozen=True)
class Job:
    """What a worker is asked to do."""

    module: str
    """The workload, as ``bench.archive``."""
    engine: str
    folder: str
    shared: str = ""
    """A folder that all engines of the workload may read, with what ``prepare`` made."""
    phase: str = "run"
    turn: int = 0
    threads: int = 2
    rows: int = 0
    scale: float = 1.0
    cold: bool = False
    like_bytes: int = 0
    budget_s: float = BUDGET_S


def pin(threads: int) -> None:
    """Let this process use ``threads`` cores, so that engines that ask the system agree."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def run(job: Job) -> dict[str, Any]:
    """Do one job; what came of it, ready for JSON."""
    workload = import_module(job.module)
    folder = Path(job.folder)
    kind = workload.ENGINES[job.engine]
    kind.warm()
    engine = kind(folder, job.threads, job.like_bytes)
    steps = Steps(job.turn, folder if job.cold else None, job.budget_s)
    workload.run(engine, steps, job)
    if engine.stored_bytes():
        steps.figures.setdefault("stored bytes", engine.stored_bytes())
    return {
        "versions": kind.versions(),
        "outcomes": {name: outcome.summary() for name, outcome in steps.outcomes.items()},
        "figures": steps.figures,
        "not_offered": steps.not_offered,
    }


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    pin(job.threads)
    iocount.install()  # before anything imports kist, which then finds the counting calls
    print(json.dumps(run(job)))


if __name__ == "__main__":
    main()
