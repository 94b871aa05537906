"""Hostile files: stores with one thing in them changed to do harm, every checksum made right.

A store, of those that together hold every kind of object (`kist.testing.bases`), is mutated
(`kist.testing.mutations`; `kist.testing.insiders` for what is sealed), written to a file, and
opened; then everything is read in it, or, in every other round, everything is changed. What may
come of a call is data, or an error of `kist.errors`. Anything else is a finding:

- another exception (`MemoryError`, `struct.error`, `RecursionError`, a Rust panic, ...);
- a process that dies of a signal;
- a call that takes more than 5 s of the processor, or does not come back;
- more memory than `kist.testing.attack.MEMORY`, for a selection of a few megabytes and one page;
- a file that was opened outside of the store and of the time zones of the system.

Rounds run in child processes with a limit on their address space. The long run::

    python -m kist.testing.hostile --seeds 20000 --jobs 4
    python -m kist.testing.hostile --seeds 1 --first 4711 --trace     # one again, to debug it
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kist.testing.attack import Round, play
from kist.testing.forged import forge

__all__ = ["Report", "run_hostile"]

_A_CHILD: Final = 1000
"""Rounds of a child, which first makes all bases and asks everything of them: some 5 s."""
_TOLD: Final = 500
"""After so many rounds the command says how far it is."""
_FIRST: Final = 5
"""A child has so many times longer until its first round."""
_LOST: Final = 300.0
"""Seconds after which a round that does not come back is ended from outside."""

_counting = threading.Lock()


@dataclass
class Report:
    """What came of many.

    Attributes
    ----------
    rounds, calls : int
        Files, and calls made on them.
    kinds, bases, errors : Counter of str
        Mutations by kind, files by what they were made of, errors of kist by class.
    unnoticed : int
        Files on which every call gave data; `check` may say more.
    peak : int
        Most memory that a round took beyond what was there before, in bytes.
    findings : list of str
    """

    rounds: int = 0
    calls: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    bases: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unnoticed: int = 0
    peak: int = 0
    findings: list[str] = field(default_factory=list)

    def add(self, one: Round) -> None:
        """Count a round."""
        self.rounds += 1
        self.calls += one.answered + one.errors.total()
        self.kinds[one.mutation.partition(":")[0]] += 1
        self.bases[one.base] += 1
        self.errors += one.errors
        self.unnoticed += not one.errors and not one.finding
        self.peak = max(self.peak, one.peak)
        if one.finding:
            self.findings.append(f"seed {one.seed}, {one.base}, {one.mutation}: {one.finding}")

    def __str__(self) -> str:
        def counts(counter: Counter[str]) -> str:
            return ", ".join(f"{name} {n:,}" for name, n in counter.most_common())

        return (
            f"{self.rounds:,} files ({counts(self.kinds)}), made of {counts(self.bases)}; "
            f"{self.calls:,} calls, of which "
            f"{self.errors.total():,} raised errors of kist ({counts(self.errors)}); "
            f"{self.unnoticed:,} files without an error; most memory {self.peak >> 20} MiB; "
            f"{len(self.findings)} findings"
        )


def run_hostile(
    first: int,
    stop: int,
    report: Report | None = None,
    *,
    lost: float = _LOST,
    told: Callable[[], None] | None = None,
    jobs: int = 1,
) -> Report:
    """Play the rounds of some seeds in child processes.

    Parameters
    ----------
    first, stop : int
        The seeds.
    report : Report, optional
        Where they are counted.
    lost : float
        Seconds after which a child that says nothing is ended.
    told : callable, optional
        Called after each round.
    jobs : int
        Children at the same time.

    Returns
    -------
    Report

    Examples
    --------
    >>> from kist.testing.hostile import run_hostile
    >>> run_hostile(0, 2).findings
    []
    """
    counted = Report() if report is None else report

    def some(seed: int) -> None:
        end = min(stop, seed + _A_CHILD)
        while seed < end:
            command = [sys.executable, "-m", "kist.testing.attack", str(seed), str(end)]
            seed = run_child(command, end, counted, lost, told)

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(some, seed) for seed in range(first, stop, _A_CHILD)]:
            done.result()
    return counted


def run_child(
    command: Sequence[str],
    stop: int,
    report: Report,
    lost: float,
    told: Callable[[], None] | None = None,
) -> int:
    """Run one child until it ends, and count its rounds; returns the next seed."""
    # One heap, and Arrow's memory from it: address space is what is limited.
    more = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **more}
        )
        begun = None
        assert child.stdout is not None
        with child, _ended_after(child, lost) as alive:
            for line in child.stdout:
                alive()
                found = json.loads(line)
                if isinstance(found, int):
                    begun = found
                else:
                    errors_ = Counter[str](found.pop("errors"))
                    begun = None
                    with _counting:
                        report.add(Round(errors=errors_, **found))
                        if told is not None:
                            told()
        if child.returncode == 0:
            return stop
        errors.seek(0)
        said = errors.read()[-2000:]
    if begun is None:
        raise RuntimeError(f"a child ended with {child.returncode} outside of a round:\n{said}")
    forged = forge(begun)
    one = Round(begun, f"{forged.mutation.kind}: {forged.mutation.what}", forged.base)
    one.finding = f"the process ended with {child.returncode}: {said}"
    with _counting:
        report.add(one)
    return begun + 1


@contextlib.contextmanager
def _ended_after(child: subprocess.Popen[str], seconds: float) -> Iterator[Callable[[], None]]:
    """Kill a child that is silent for too long; gives what is to be called when it is not.

    Before its first word it makes all bases, and on a busy machine that may take long.
    """
    last = time.monotonic() + _FIRST * seconds
    over = threading.Event()

    def alive() -> None:
        nonlocal last
        last = time.monotonic()

    def watch() -> None:
        while not over.wait(1.0):
            if time.monotonic() - last > seconds:
                child.kill()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield alive
    finally:
        over.set()
        thread.join()


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack kist with mutated files; gives 1 when one does harm."""
    parser = argparse.ArgumentParser(
        prog="python -m kist.testing.hostile", description=main.__doc__
    )
    parser.add_argument("--seeds", type=int, default=2000, help="files to make")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes at the same time")
    parser.add_argument("--trace", action="store_true", help="in this process, with tracebacks")
    options = parser.parse_args(arguments)
    stop = options.first + options.seeds
    report = Report()
    if options.trace:
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(options.first, stop):
                report.add(play(seed, Path(folder), trace=True))
    else:
        known = 0

        def told() -> None:
            nonlocal known
            for finding in report.findings[known:]:
                print(finding, flush=True)
            known = len(report.findings)
            if report.rounds % _TOLD == 0:
                print(f"... {report.rounds:,} files, {known} findings", flush=True)

        run_hostile(options.first, stop, report, told=told, jobs=options.jobs)
    print(report)
    for finding in report.findings:
        print(finding)
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
