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

The engine is any object with the methods of `Engine`. The long run over the workloads of the
commit protocol, from the project's folder::

    python -m kist.testing.crash --states 200000
"""

from __future__ import annotations

import argparse
import hashlib
import random
import runpy
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kist.errors import DamageWarning, NotAStoreError
from kist.storage import MemoryBackend, StorageBackend
from kist.testing.images import crash_states
from kist.testing.recording import Event, Recorder, RecordingBackend

__all__ = [
    "Acknowledged",
    "Case",
    "Engine",
    "Failure",
    "Possible",
    "Report",
    "Session",
    "check_crashes",
    "judge_log",
]

DURABILITIES = ("full", "relaxed", "none")


class Engine(Protocol):
    """What the checker itself needs of an engine; workloads may need more."""

    def check(self) -> Sequence[object]:
        """Return every problem of the file."""

    def close(self) -> None:
        """End the engine and its backend."""


OpenEngine = Callable[[StorageBackend, str], Any]
ReadState = Callable[[Any], Any]
# Called with an engine and with what tells that a commit has been acknowledged.
Probe = Callable[[Any, Callable[[], None]], None]


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

    def _open(self) -> tuple[RecordingBackend, Any]:
        backend = self._recorder.backend()
        return backend, self._open_engine(backend, "a")

    def acknowledged(self) -> None:
        """Note that what the engine shows now has been acknowledged."""
        self._recorder.note(Acknowledged(self._read_state(self.engine)))

    def possible(self, state: Any = None) -> None:
        """Note that a state may be shown from here on, and may be lost, as after a failed sync.

        By default the one that the engine shows now.
        """
        state = self._read_state(self.engine) if state is None else state
        self._recorder.note(Possible(state))

    def reopen(self, *, kill: bool = False) -> None:
        """End the engine, in order or as the death of its process would, and open another."""
        if kill:
            self._backend.kill()
            # Not yet collected: what an engine does when it is must not reach the log.
            self._dead.append(self.engine)
        else:
            self.engine.close()
        self._backend, self.engine = self._open()


class Acknowledged(NamedTuple):
    """Note in a log: from here on this state may not be lost."""

    state: Any


class Possible(NamedTuple):
    """Note in a log: from here on this state may be shown, too."""

    state: Any


Workload = Callable[[Session], None]


class Case(NamedTuple):
    """A workload with all that it takes to check it."""

    workload: Workload
    read_state: ReadState
    open_engine: OpenEngine
    probe: Probe
    durability: str = "full"


class Failure(NamedTuple):
    """A crash that would have broken a promise."""

    description: str
    message: str
    image: bytes | None

    def __str__(self) -> str:
        return f"{self.description}: {self.message}"


@dataclass
class Report:
    """What a check has seen.

    Attributes
    ----------
    states : int
        Crash states judged, those of crashes during recovery included.
    images : int
        Different images opened for them.
    failures : list of Failure
        Crashes that would have broken a promise; at most `MOST_FAILURES`.
    """

    states: int = 0
    images: int = 0
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.states} states, {self.images} images, {len(self.failures)} failures"]
        return "\n".join([*lines, *(f"  {failure}" for failure in self.failures[:10])])


MOST_FAILURES = 50


class _Outcome(NamedTuple):
    state: Any = None
    unfinished: bool = False  # a reader was told that this is not a finished store
    error: str = ""
    log: tuple[Event, ...] = ()  # of recovery and the commits after it
    no_file: bool = False


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
    )


def judge_log(
    log: Sequence[Event],
    read_state: ReadState,
    open_engine: OpenEngine,
    *,
    probe: Probe,
    seed: int = 0,
    limit: int | None = 2000,
    durability: str = "full",
    deep: float = 0.02,
    initial: bytes = b"",
) -> Report:
    """Open what crashes during work that was recorded before would leave.

    Parameters are those of `check_crashes`. The log holds what `Session` noted.
    """
    checker = _Checker(read_state, open_engine, probe, seed, deep)
    checker.judge(log, initial, durability, limit)
    return checker.report


class _Checker:
    def __init__(
        self,
        read_state: ReadState,
        open_engine: OpenEngine,
        probe: Probe,
        seed: int,
        deep: float,
    ) -> None:
        self.read_state = read_state
        self.open_engine = open_engine
        self.probe = probe
        self.seed = seed
        self.deep = deep
        self.report = Report()
        self._rng = random.Random(seed)
        self._outcomes: dict[bytes, _Outcome] = {}

    def judge(
        self,
        log: Sequence[Event],
        initial: bytes,
        durability: str,
        limit: int | None,
        within: str = "",
    ) -> None:
        """Judge the crash states of one log, and those of crashes within their recovery."""
        if durability not in DURABILITIES:
            raise ValueError(f"durability {durability!r} is not one of {DURABILITIES}")
        promises = _Promises(log, durability)
        seed = self.seed + self.report.states
        for description, image, index in crash_states(log, seed=seed, limit=limit, initial=initial):
            if len(self.report.failures) >= MOST_FAILURES:
                return
            self.report.states += 1
            description = within + description
            fresh, outcome = self._outcome(image)
            message = promises.broken(outcome, index)
            if message:
                self.report.failures.append(Failure(description, message, image))
            elif fresh and image and not within and self._rng.random() < self.deep:
                self.judge(
                    outcome.log, image, durability, 12, f"{description}, and during recovery "
                )

    def _outcome(self, image: bytes | None) -> tuple[bool, _Outcome]:
        if image is None:
            return False, _Outcome(unfinished=True, no_file=True)
        key = hashlib.blake2b(image, digest_size=16).digest()
        known = self._outcomes.get(key)
        if known is not None:
            return False, known
        self.report.images += 1
        with warnings.catch_warnings():
            # No crash may look like damage.
            warnings.simplefilter("error", DamageWarning)
            outcome = self._examine(image)
        # The log is for the first time only.
        self._outcomes[key] = outcome._replace(log=())
        return True, outcome

    def _examine(self, image: bytes) -> _Outcome:
        recorder = Recorder(image)
        step = "reading"
        try:
            unfinished = False
            shown = None
            backend: StorageBackend = MemoryBackend(image, writable=False)
            try:
                engine = self.open_engine(backend, "r")
            except NotAStoreError:
                unfinished = True
                backend.close()
            else:
                shown = self.read_state(engine)
                engine.close()
            step = "opening for writing"
            engine = self.open_engine(recorder.backend(), "a")
            state = self.read_state(engine)
            if not unfinished and shown != state:
                return _Outcome(error=f"a reader saw {_short(shown)}, a writer {_short(state)}")
            recorder.note(Acknowledged(state))
            step = "check"
            problems = engine.check()
            if problems:
                return _Outcome(error=f"check found {problems[0]} and {len(problems) - 1} more")
            step = "the next commits"

            def acknowledged() -> None:
                recorder.note(Acknowledged(self.read_state(engine)))

            self.probe(engine, acknowledged)
            acknowledged()
            engine.close()
            step = "reading after them"
            engine = self.open_engine(recorder.backend(writable=False), "r")
            after = self.read_state(engine)
            problems = engine.check()
            engine.close()
            if after != state or problems:
                return _Outcome(error=f"after the next commits: {_short(after)}, {problems[:1]}")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return _Outcome(
                error=f"{step}: {type(error).__name__}: {error} ({where.name}, line {where.lineno})"
            )
        return _Outcome(state, unfinished, "", tuple(recorder.log))


class _Promises:
    """What may be seen after a crash at each place of a log."""

    def __init__(self, log: Sequence[Event], durability: str) -> None:
        self._notes = [(i, event.note) for i, event in enumerate(log) if event.kind == "note"]
        self._acknowledged = [i for i, note in self._notes if isinstance(note, Acknowledged)]
        self._syncs = [i for i, event in enumerate(log) if event.kind == "sync"]
        self._full = durability == "full"

    def broken(self, outcome: _Outcome, at: int) -> str:
        """Say which promise `outcome` breaks when the crash came before event `at`."""
        if outcome.error:
            return outcome.error
        acknowledged = [i for i in self._acknowledged if i < at]
        if outcome.unfinished and acknowledged:
            return "an acknowledged store is gone"
        if outcome.no_file:
            return ""
        if not self._full:
            synced = max((i for i in self._syncs if i < at), default=0)
            acknowledged = [i for i in acknowledged if i < synced] or acknowledged[:1]
        first = acknowledged[-1] if acknowledged else 0
        # The first one behind the crash was in flight, or a commit that it is made of.
        last = next((i for i in self._acknowledged if i >= at), sys.maxsize)
        allowed = [note.state for i, note in self._notes if first <= i <= last]
        if outcome.state in allowed:
            return ""
        known = outcome.state in [note.state for _, note in self._notes]
        kind = "an acknowledged state, but not one that may be shown" if known else "no such state"
        return f"shows {_short(outcome.state)}: {kind}; expected {_short(allowed[:1])}"


def _short(state: Any) -> str:
    text = repr(state)
    return text if len(text) < 120 else f"{text[:80]}... ({len(text)} characters)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the cases of a file; gives 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m kist.testing.crash", description=main.__doc__)
    parser.add_argument(
        "file",
        nargs="?",
        default="tests/crash/workloads.py",
        help="Python file with CASES, a dict from name to Case (default: %(default)s)",
    )
    parser.add_argument("--states", type=int, default=200_000, help="states in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deep", type=float, default=0.1, help="share tried with a second crash")
    parser.add_argument("--case", action="append", help="only cases whose name contains this")
    options = parser.parse_args(arguments)
    cases: dict[str, Case] = runpy.run_path(options.file)["CASES"]
    chosen = [n for n in cases if not options.case or any(part in n for part in options.case)]
    if not chosen:
        parser.error(f"no such case; there are {', '.join(cases)}")
    left, broken, seed = options.states, 0, options.seed
    # Round after round with other seeds, because a workload has only so many states; rounds are
    # whole, so that no case is left out.
    while left > 0:
        for name in chosen:
            case = cases[name]
            started = time.monotonic()
            report = check_crashes(
                case.workload,
                case.read_state,
                case.open_engine,
                probe=case.probe,
                seed=seed,
                limit=max(100, options.states // len(chosen)),
                durability=case.durability,
                deep=options.deep,
            )
            left -= report.states
            broken += len(report.failures)
            print(f"{name}, seed {seed}, {time.monotonic() - started:.0f} s: {report}", flush=True)
        seed += 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
