"""Whether what stands on a disk after a crash is what was promised; for `kist.testing.crash`."""

from __future__ import annotations

import hashlib
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from kist.errors import DamageWarning, NotAStoreError
from kist.storage import MemoryBackend, StorageBackend
from kist.testing.images import crash_states
from kist.testing.recording import Event, Recorder

__all__ = ["Acknowledged", "Engine", "Failure", "Possible", "Report", "judge_log"]

DURABILITIES = ("full", "relaxed", "none")


class Engine(Protocol):
    """What the checker itself needs of an engine; workloads may need more."""

    def check(self) -> Sequence[object]:
        """Return every problem of the file."""

    def close(self) -> None:
        """End the engine and its backend."""


# Called with a backend and a mode, and with what a workload gives to `Session.reopen`.
OpenEngine = Callable[..., Any]
ReadState = Callable[[Any], Any]
# Called with an engine and with what tells that a commit has been acknowledged.
Probe = Callable[[Any, Callable[[], None]], None]


class Acknowledged(NamedTuple):
    """Note in a log: from here on this state may not be lost."""

    state: Any


class Possible(NamedTuple):
    """Note in a log: from here on this state may be shown, too."""

    state: Any


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
        Crashes that would have broken a promise; at most as many as asked for.
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
    prefixes: bool = False,
    most_failures: int = MOST_FAILURES,
) -> Report:
    """Open what crashes during work that was recorded before would leave.

    Parameters are those of `check_crashes`. The log holds what `Session` noted.
    """
    checker = _Checker(read_state, open_engine, probe, seed, deep, most_failures)
    checker.judge(log, initial, durability, limit, prefixes=prefixes)
    return checker.report


class _Checker:
    def __init__(
        self,
        read_state: ReadState,
        open_engine: OpenEngine,
        probe: Probe,
        seed: int,
        deep: float,
        most_failures: int,
    ) -> None:
        self.read_state = read_state
        self.open_engine = open_engine
        self.probe = probe
        self.seed = seed
        self.deep = deep
        self.most_failures = most_failures
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
        prefixes: bool = False,
    ) -> None:
        """Judge the crash states of one log, and those of crashes within their recovery."""
        if durability not in DURABILITIES:
            raise ValueError(f"durability {durability!r} is not one of {DURABILITIES}")
        promises = _Promises(log, durability)
        seed = self.seed + self.report.states
        for description, image, index in crash_states(
            log, seed=seed, limit=limit, initial=initial, prefixes=prefixes
        ):
            if len(self.report.failures) >= self.most_failures:
                return
            self.report.states += 1
            description = within + description
            deep = not within and self._rng.random() < self.deep
            fresh, outcome = self._outcome(image, deep)
            message = promises.broken(outcome, index)
            if message:
                self.report.failures.append(Failure(description, message, image))
            elif fresh and image and deep:
                self.judge(
                    outcome.log, image, durability, 12, f"{description}, and during recovery "
                )

    def _outcome(self, image: bytes | None, deep: bool) -> tuple[bool, _Outcome]:
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
            outcome = self._examine(image, deep)
        # The log is for the first time only.
        self._outcomes[key] = outcome._replace(log=())
        return True, outcome

    def _examine(self, image: bytes, deep: bool) -> _Outcome:
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
                if deep:  # the states are for those who judge the log
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
