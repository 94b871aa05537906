"""Rounds over the engines of a workload in turn, each engine in a process of its own.

A workload is a module with ``TITLE``, ``ENGINES`` (name -> engine) and ``run(engine, steps, job)``.
It may have ``prepare(folder, job)``, which makes data for all its engines once, and ``PHASES``,
when its steps need more than one process over the same files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.results import EngineResult, RunResult, WorkloadResult
from bench.worker import Job

ROOT = Path(__file__).resolve().parent.parent

WORKLOADS = {
    "archive": "bench.archive",
    "queries": "bench.queries",
    "listing": "bench.objects.listing",
    "keystore": "bench.objects.keystore",
    "million": "bench.objects.million",
    "volume": "bench.objects.volume",
    "lines": "bench.objects.lines",
    "strings": "bench.objects.strings",
    "others": "bench.objects.others",
    "grown": "bench.objects.grown",
    "bridges": "bench.bridges",
}
"""Name of a workload -> its module."""

Log = Callable[[str], None]


class WorkerError(RuntimeError):
    """A worker ended without a report; the message is the end of what it printed."""


# As it was at the start: netCDF4, imported to see whether it is there, leads HDF5 to its own
# plugins by a variable, and h5py in a child would look there too.
_ENVIRONMENT = dict(os.environ)


def run_module(module: str, argument: str) -> Any:
    """Run ``python -m module argument`` and give the JSON on the last line that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, argument],
        cwd=ROOT,
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        raise WorkerError(f"ended with {done.returncode}: {last}")
    return json.loads(lines[-1])


def engines_of(workload: str) -> dict[str, Any]:
    """The engines of a workload by name."""
    engines: dict[str, Any] = import_module(WORKLOADS[workload]).ENGINES
    return engines


def choose(workload: str, names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """The engines that can run, of those that are named, and why the others cannot.

    Without names, all run but those that the workload keeps for who asks for them (``EXTRA``).
    """
    extra = getattr(import_module(WORKLOADS[workload]), "EXTRA", ())
    usable, skipped = [], {}
    for name, engine in engines_of(workload).items():
        if name in extra if names is None else name not in names:
            continue
        reason = engine.missing()
        if reason is None:
            usable.append(name)
        else:
            skipped[name] = reason
    return usable, skipped


class Harness:
    """One workload: data made once, then rounds that begin with another engine each time."""

    def __init__(self, name: str, folder: Path, job: Job, run: RunResult, log: Log) -> None:
        self.name = name
        self.module: ModuleType = import_module(WORKLOADS[name])
        self.folder = folder
        self.job = replace(job, module=WORKLOADS[name], shared=str(folder / "shared"))
        self.run = run
        self.log = log
        self.result = run.workloads[name] = WorkloadResult(self.module.TITLE)

    def rounds(self, n_rounds: int, names: Sequence[str] | None) -> None:
        """Run the engines ``n_rounds`` times."""
        usable, self.result.skipped = choose(self.name, names)
        for engine, reason in self.result.skipped.items():
            self.log(f"{self.name}: skipped {engine}: {reason}")
        shared = Path(self.job.shared)
        shared.mkdir(parents=True)
        try:
            if hasattr(self.module, "prepare"):
                self.module.prepare(shared, self.job)
            for turn in range(n_rounds):
                first = turn % max(1, len(usable))
                for engine in usable[first:] + usable[:first]:
                    self.log(f"{self.name}, round {turn + 1}: {engine}")
                    self._engine(engine, turn)
        finally:
            shutil.rmtree(shared)

    def _engine(self, name: str, turn: int) -> None:
        result = self.result.engines.setdefault(name, EngineResult())
        kist = self.result.engines.get("kist", EngineResult()).figures
        like_bytes = int(kist.get("stored bytes", 0))
        folder = self.folder / "engine"
        folder.mkdir()
        job = replace(self.job, engine=name, folder=str(folder), turn=turn, like_bytes=like_bytes)
        try:
            for phase in getattr(self.module, "PHASES", ("run",)):
                argument = json.dumps(asdict(replace(job, phase=phase)))
                report = run_module("bench.worker", argument)
                result.add(turn, report)
                self.run.versions |= report["versions"]
        except WorkerError as error:
            if str(error) not in result.errors:
                result.errors.append(str(error))
            self.log(f"  {name}: {error}")
        finally:
            shutil.rmtree(folder)


def run(
    names: Sequence[str],
    folder: Path,
    result: RunResult,
    *,
    engines: Sequence[str] | None = None,
    n_rounds: int = 3,
    job: Job,
    log: Log = lambda _: None,
) -> None:
    """Run workloads in ``folder``, which must be empty, and add what they give to ``result``.

    ``job`` carries what holds for all of them: rows, scale, threads, cache.
    """
    for name in names:
        place = folder / name
        place.mkdir()
        try:
            Harness(name, place, job, result, log).rounds(n_rounds, engines)
        finally:
            shutil.rmtree(place)
