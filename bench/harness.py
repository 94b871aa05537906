"""Rounds over the engines in turn, each engine in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.engines import ENGINES, ListingEngine, TableEngine
from bench.machine import describe
from bench.results import EngineResult, RunResult
from bench.steps import N_APPENDS, rows_to_append
from bench.worker import Job
from bench.workloads import table

ROOT = Path(__file__).resolve().parent.parent

Log = Callable[[str], None]


class WorkerError(RuntimeError):
    """A worker ended without a report; the message is the end of what it printed."""


def run_module(module: str, argument: str) -> Any:
    """Run ``python -m module argument`` and give the JSON on the last line that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, argument],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise WorkerError(f"ended with {done.returncode}: {last}")
    return json.loads(lines[-1])


def _run_job(job: Job) -> dict[str, Any]:
    report: dict[str, Any] = run_module("bench.worker", json.dumps(asdict(job)))
    return report


def choose(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The engines that can run, and why the others cannot."""
    usable, skipped = [], {}
    for name in names:
        reason = ENGINES[name].missing()
        if reason is None:
            usable.append(name)
        else:
            skipped[name] = reason
    return usable, skipped


class Harness:
    """One run: data made once, then rounds that begin with another engine each time."""

    def __init__(self, folder: Path, result: RunResult, log: Log) -> None:
        self.folder = folder
        self.result = result
        self.log = log
        self._rows = folder / "rows.npy"
        self._more = folder / "more.npy"

    def _job(self, name: str, kind: str, folder: Path) -> Job:
        stored = [
            engine.stored_bytes
            for key, engine in self.result.engines.items()
            if engine.stored_bytes and not key.startswith("limit:")
        ]
        kist = self.result.engines.get("kist", EngineResult()).stored_bytes
        return Job(
            engine=name,
            kind=kind,
            folder=str(folder),
            threads=self.result.threads,
            rows_file=str(self._rows),
            more_file=str(self._more),
            n_datasets=self.result.n_datasets,
            like_bytes=kist or min(stored, default=0),
            cold=self.result.cold,
        )

    def _attempt(self, name: str, kind: str, folder: Path) -> bool:
        engine = self.result.engines.setdefault(name, EngineResult())
        try:
            engine.add(_run_job(self._job(name, kind, folder)))
        except WorkerError as error:
            engine.errors.append(f"{kind}: {error}")
            self.log(f"  {name} {kind}: {error}")
            return False
        return True

    def tables(self, names: Sequence[str]) -> None:
        """The table steps of all engines, ``n_rounds`` times."""
        n, extra = self.result.n_rows, N_APPENDS * rows_to_append(self.result.n_rows)
        rows = table(n + extra)
        np.save(self._rows, rows[:n])
        np.save(self._more, rows[n:])
        del rows
        engines = [name for name in names if issubclass(ENGINES[name], TableEngine)]
        for round_ in range(self.result.n_rounds):
            turn = round_ % max(1, len(engines))
            for name in engines[turn:] + engines[:turn]:
                self.log(f"round {round_ + 1}: {name}")
                folder = self.folder / "engine"
                folder.mkdir()
                try:
                    self._attempt(name, "table", folder)
                finally:
                    shutil.rmtree(folder)

    def listings(self, names: Sequence[str]) -> None:
        """Open and list, each time in a fresh process; the stores are built once."""
        built = {}
        for i, name in enumerate(names):
            if issubclass(ENGINES[name], ListingEngine):
                folder = self.folder / f"listing{i}"
                folder.mkdir()
                self.log(f"{name}: {self.result.n_datasets} datasets")
                if self._attempt(name, "build", folder):
                    built[name] = folder
        for _ in range(self.result.n_rounds):
            for name, folder in built.items():
                self._attempt(name, "list", folder)


def run(
    names: Sequence[str],
    folder: Path,
    *,
    n_rows: int,
    n_rounds: int,
    n_datasets: int,
    threads: int = 2,
    cold: bool = False,
    log: Log = lambda _: None,
) -> RunResult:
    """Run the steps of the named engines in ``folder``, which must be empty.

    Returns
    -------
    RunResult
        With ``small`` empty; ``bench.small`` fills that.
    """
    usable, skipped = choose(names)
    result = RunResult(
        machine=describe(folder),
        n_rows=n_rows,
        n_rounds=n_rounds,
        n_datasets=n_datasets,
        threads=threads,
        cold=cold,
        skipped=skipped,
    )
    for name, reason in skipped.items():
        log(f"skipped {name}: {reason}")
    harness = Harness(folder, result, log)
    harness.tables(usable)
    harness.listings(usable)
    return result
