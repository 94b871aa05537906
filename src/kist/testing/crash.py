"""The crash checker: runs a workload, makes every disk that a crash could leave, and opens it.

A *workload* is a function that changes a store and calls ``session.acknowledged()`` whenever
something it did has been acknowledged. `check_crashes` runs it on a recording backend, makes
crash states from the log (`kist.testing.images`), opens each with a fresh engine, and demands:

1. it opens, for reading and for writing, without a warning, and shows one of the states that
   may be shown there: in ``full`` the newest acknowledged one, or the one in flight; in
   ``relaxed`` and ``none`` any acknowledged one not older than the last sync before the crash;
2. ``engine.check()`` finds nothing;
3. the next commits work, and read back;
4. a crash during all this leaves, again, such a state (sampled).

The engine is any object with the methods of `Engine`. The long run over all workloads, of the
commit protocol and of the public API, from the project's folder::

    python -m kist.testing.crash --states 200000
"""

from __future__ import annotations

import argparse
import os
import random
import runpy
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kist.testing.judging import (
    MOST_FAILURES,
    Acknowledged,
    Failure,
    OpenEngine,
    Possible,
    Probe,
    ReadState,
    Report,
    judge_log,
)
from kist.testing.recording import Recorder, RecordingBackend

__all__ = [
    "Acknowledged",
    "Case",
    "Failure",
    "Possible",
    "Report",
    "Session",
    "check_crashes",
    "judge_log",
]


class Session:
    """What a workload works on.

    Attributes
    ----------
    engine : Engine
        Opened in mode ``a``; after `reopen` another one.
    """

    def __init__(self, recorder: Recorder, open_engine: OpenEngine, read_state: ReadState) -> None:
        self._recorder = recorder
        self._open_engine = open_engine
        self._read_state = read_state
        self._backend, self.engine = self._open()
        self._dead: list[Any] = []

    def _open(self, **options: Any) -> tuple[RecordingBackend, Any]:
        backend = self._recorder.backend()
        return backend, self._open_engine(backend, "a", **options)

    def acknowledged(self) -> None:
        """Note that what the engine shows now has been acknowledged."""
        self._recorder.note(Acknowledged(self._read_state(self.engine)))

    def possible(self, state: Any = None) -> None:
        """Note that a state may be shown from here on, and may be lost, as after a failed sync.

        By default the one that the engine shows now.
        """
        state = self._read_state(self.engine) if state is None else state
        self._recorder.note(Possible(state))

    def reopen(self, *, kill: bool = False, **options: Any) -> None:
        """End the engine, in order or as the death of its process would, and open another.

        The options are for the function that opens it.
        """
        if kill:
            self._backend.kill()
            # Not yet collected: what an engine does when it is must not reach the log.
            self._dead.append(self.engine)
        else:
            self.engine.close()
        self._backend, self.engine = self._open(**options)


Workload = Callable[[Session], None]


class Case(NamedTuple):
    """A workload with all that it takes to check it."""

    workload: Workload
    read_state: ReadState
    open_engine: OpenEngine
    probe: Probe
    durability: str = "full"


def check_crashes(
    workload: Workload,
    read_state: ReadState,
    open_engine: OpenEngine,
    *,
    probe: Probe,
    seed: int = 0,
    limit: int | None = 2000,
    durability: str = "full",
    deep: float = 0.02,
    initial: bytes = b"",
    prefixes: bool = False,
    most_failures: int = MOST_FAILURES,
) -> Report:
    """Run `workload`, and open what crashes at any time would leave.

    Parameters
    ----------
    workload : callable
        Called with a `Session`; deterministic apart from times and ids.
    read_state : callable
        Gives a comparable value of what an engine shows.
    open_engine : callable
        Called with a backend and a mode (``r`` or ``a``); gives an engine with `durability`.
    probe : callable
        Called after a crash with an engine and a function ``acknowledged``: commits something
        new, calls that function, verifies what it committed, and commits its removal. Raises
        when something is wrong.
    seed : int
        Of all samples.
    limit : int or None
        Most states of the workload itself; None: all.
    durability : {"full", "relaxed", "none"}
        What is promised.
    deep : float
        Share of the images for which crashes during recovery are tried too.
    initial : bytes
        Store that is there when the workload begins.
    prefixes : bool
        Judge the file after each write in any case, beside `limit` other states.
    most_failures : int
        End after so many.

    Returns
    -------
    Report
        Empty ``failures`` when every promise held.
    """
    recorder = Recorder(initial)
    session = Session(recorder, open_engine, read_state)
    if not initial:
        session.acknowledged()
    workload(session)
    session.engine.close()
    return judge_log(
        recorder.log,
        read_state,
        open_engine,
        probe=probe,
        seed=seed,
        limit=limit,
        durability=durability,
        deep=deep,
        initial=initial,
        prefixes=prefixes,
        most_failures=most_failures,
    )


CASES = (
    "workloads",
    "main_job",
    "objects",
    "api_workloads",
    "sealed_workloads",
    "link_workloads",
    "step_workloads",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the cases of some files; gives 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m kist.testing.crash", description=main.__doc__)
    parser.add_argument(
        "files",
        nargs="*",
        default=[f"tests/crash/{name}.py" for name in CASES],
        help="Python files with CASES, a dict from name to Case (default: %(default)s)",
    )
    parser.add_argument("--states", type=int, default=200_000, help="states in all")
    parser.add_argument("--minutes", type=float, help="begin no further case after that time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deep", type=float, default=0.1, help="share tried with a second crash")
    parser.add_argument("--case", action="append", help="only cases whose name contains this")
    options = parser.parse_args(arguments)
    cases: dict[str, Case] = {}
    for file in options.files:
        if not os.path.exists(file):
            parser.error(f"there is no {file}; run this in a checkout, or name files with CASES")
        # As if it was run itself: it may import its neighbours.
        sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
        cases |= runpy.run_path(file)["CASES"]
    chosen = [n for n in cases if not options.case or any(part in n for part in options.case)]
    if not chosen:
        parser.error(f"no such case; there are {', '.join(cases)}")
    return _run({name: cases[name] for name in chosen}, options)


def _run(cases: dict[str, Case], options: argparse.Namespace) -> int:
    began = time.monotonic()
    total, judged, seed = Report(), 0, options.seed

    def over() -> bool:
        late = options.minutes and time.monotonic() - began > 60 * options.minutes
        return total.states >= options.states or bool(late)

    # Round after round with other seeds, because a workload has only so many states. Rounds are
    # whole, so that no case is left out, unless the time is over: then chance has chosen.
    while not over():
        order = list(cases.items())
        if options.minutes:
            random.Random(seed).shuffle(order)
        for name, case in order:
            started = time.monotonic()
            report = check_crashes(
                case.workload,
                case.read_state,
                case.open_engine,
                probe=case.probe,
                seed=seed,
                limit=max(100, options.states // len(cases)),
                durability=case.durability,
                deep=options.deep,
                prefixes=True,
            )
            total.states += report.states
            total.images += report.images
            total.failures += report.failures
            judged += 1
            print(f"{name}, seed {seed}, {time.monotonic() - started:.0f} s: {report}", flush=True)
            if options.minutes and over():
                break
        seed += 1
    print(
        f"{judged} runs of {len(cases)} cases, {time.monotonic() - began:.0f} s: {total.states} "
        f"states, {total.images} images, {len(total.failures)} failures"
    )
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
