"""One engine, one round, in a process of its own: ``python -m bench.worker`` prints JSON."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from bench.engines import ENGINES, ListingEngine, TableEngine
from bench.steps import Round
from bench.workloads import dataset_names


@dataclass(frozen=True)
class Job:
    """What a worker is asked to do."""

    engine: str
    kind: str
    """``table``, ``build`` (make the store to be listed) or ``list``."""
    folder: str
    threads: int
    rows_file: str = ""
    more_file: str = ""
    n_datasets: int = 0
    like_bytes: int = 0
    cold: bool = False


def _version_of(module: str) -> str:
    name = module.partition(".")[0]
    if name == "sqlite3":
        import sqlite3

        return sqlite3.sqlite_version
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def pin(threads: int) -> None:
    """Let this process use ``threads`` cores, so that engines that ask the system agree."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def run(job: Job) -> dict[str, object]:
    """Do one job; what came of it, ready for JSON."""
    kind = ENGINES[job.engine]
    engine = kind(Path(job.folder), job.threads, job.like_bytes)
    round_ = Round(cold=job.cold)
    if job.kind == "table":
        assert isinstance(engine, TableEngine)
        round_.table(engine, np.load(job.rows_file), np.load(job.more_file))
    else:
        assert isinstance(engine, ListingEngine)
        if job.kind == "build":
            engine.build_listing(dataset_names(job.n_datasets))
        else:
            round_.listing(engine, job.n_datasets)
    return {
        "engine": job.engine,
        "versions": {m.partition(".")[0]: _version_of(m) for m in kind.modules},
        "stored_bytes": round_.stored_bytes,
        "outcomes": {step: asdict(outcome) for step, outcome in round_.outcomes.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", help="a Job as JSON")
    job = Job(**json.loads(parser.parse_args().job))
    pin(job.threads)
    print(json.dumps(run(job)))


if __name__ == "__main__":
    main()
