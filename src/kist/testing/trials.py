"""One trial: a step of a workload with a fault at its n-th call, and all that must hold then.

`Stage` runs the workload once without faults, and keeps the file before each step, the state after
it, and how many calls of each kind it makes. A trial then opens such a file, takes the step with a
fault, and demands:

1. the call raises the right error, or has done all that it should do: `StorageError` with the
   system's number, `CommitUnknownError` if and only if the sync of a commit record failed,
   `MemoryError`, `KeyboardInterrupt`, `SystemExit`;
2. the transaction is gone: the same handle shows the state before, or, if the call got through or
   the outcome is unknown, the state after; so does another handle. No writer's lock is left;
3. the same handle can take the step again, unless a sync failed: then it refuses to write until
   the store is opened again, and still reads;
4. opened again, the file shows that state, `check` finds nothing, and the step can be taken. After
   a failed sync what was not synced may be lost, all of it or any part;
5. no descriptor and no pin of a commit is left.

A *cold* trial has the fault anywhere from opening, after a kill, to closing; a *warm* one within
the step, in a handle that has written before.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import kist
from kist.storage import FileBackend
from kist.testing import workload
from kist.testing.faults import Fault
from kist.testing.system import FaultySystem
from kist.testing.works import WORKS

__all__ = ["FAULTS", "Report", "Stage", "Step", "Trial"]

FAULTS = {
    "device fails at a read": Fault("read", 1),
    "device fails at all reads": Fault("read", 1, persist=True),
    "no memory at a read": Fault("read", 1, MemoryError),
    "no memory after a read": Fault("read", 1, MemoryError, late=True),
    "short reads": Fault("read", 1, 0, True, 0.4, short=True),
    "disk full at a write": Fault("write", 1, errno.ENOSPC),
    "disk full within a write": Fault("write", 1, errno.ENOSPC, share=0.6),
    "disk full from now on": Fault("write", 1, errno.ENOSPC, True, 0.3),
    "quota reached": Fault("write", 1, errno.EDQUOT),
    "file too large": Fault("write", 1, errno.EFBIG, True),
    "device fails within a write": Fault("write", 1, share=0.9),
    "device fails after a write": Fault("write", 1, late=True),
    "no memory at a write": Fault("write", 1, MemoryError),
    "no memory after a write": Fault("write", 1, MemoryError, late=True),
    "short writes": Fault("write", 1, 0, True, 0.4, short=True),
    "device fails at a sync": Fault("sync", 1),
    "device fails at all syncs": Fault("sync", 1, persist=True),
    "device fails after a sync": Fault("sync", 1, late=True),
    "disk full at a sync": Fault("sync", 1, errno.ENOSPC),
    "folder cannot be synced": Fault("directory sync", 1),
    "file cannot be cut": Fault("resize", 1),
    "file cannot be locked": Fault("lock", 1, errno.ENOLCK),
    "no locks from now on": Fault("lock", 1, errno.ENOLCK, True),
    "no memory after a lock": Fault("lock", 1, MemoryError, late=True),
    "lock cannot be freed": Fault("unlock", 1, errno.ENOLCK),
    "commit cannot be pinned": Fault("pin", 1, errno.ENOLCK),
    "no memory after a pin": Fault("pin", 1, MemoryError, late=True),
    "no descriptors": Fault("open", 1, errno.EMFILE),
    "no descriptors from now on": Fault("open", 1, errno.ENFILE, True),
    "path cannot be looked at": Fault("stat", 1),
    "no memory for a map": Fault("map", 1, errno.ENOMEM),
    "close fails": Fault("close", 1),
    "device fails for good": Fault("any", 1, persist=True),
    "no memory from now on": Fault("any", 1, MemoryError, True),
    "Ctrl-C before a write": Fault("write", 1, 0, signal=signal.SIGINT),
    "Ctrl-C after a write": Fault("write", 1, 0, late=True, signal=signal.SIGINT),
    "Ctrl-C before a sync": Fault("sync", 1, 0, signal=signal.SIGINT),
    "Ctrl-C after a sync": Fault("sync", 1, 0, late=True, signal=signal.SIGINT),
    "Ctrl-C before any call": Fault("any", 1, 0, signal=signal.SIGINT),
    "Ctrl-C after any call": Fault("any", 1, 0, late=True, signal=signal.SIGINT),
    "SIGTERM before a write": Fault("write", 1, 0, signal=signal.SIGTERM),
    "SIGTERM after a sync": Fault("sync", 1, 0, late=True, signal=signal.SIGTERM),
    "SIGTERM after any call": Fault("any", 1, 0, late=True, signal=signal.SIGTERM),
}
"""What is tried, at every call that a step makes."""


@dataclass
class Report:
    """What came of trials.

    Attributes
    ----------
    trials : int
        How many.
    raised : Counter
        Names of the errors that were raised; ``nothing`` where the call went through all the same.
    failures : list of str
        What was wrong.
    """

    trials: int = 0
    raised: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take in another report."""
        self.trials += other.trials
        self.raised += other.raised
        self.failures += other.failures

    def __str__(self) -> str:
        raised = ", ".join(f"{n} {name}" for name, n in sorted(self.raised.items()))
        head = f"{self.trials} trials, raised: {raised or 'nothing'}; {len(self.failures)} failures"
        return "\n".join([head, *(f"  {failure}" for failure in self.failures[:10])])


class _WrongError(Exception):
    """Something does not hold."""


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _WrongError(otherwise)


class Step(NamedTuple):
    """A step of the workload, and what is there before it and after each of its commits."""

    name: str
    take: Callable[[kist.Store], object]
    image: Path  # of the file after a kill, before the step
    states: Sequence[Any]
    cold: Counter[str]
    warm: Counter[str]

    @property
    def before(self) -> Any:
        return self.states[0]

    @property
    def after(self) -> Any:
        return self.states[-1]

    def each(self, store: kist.Store, first: int = 0) -> Iterator[int]:
        """Take it from a state on; yields the number of the state, after each commit."""
        if isinstance(self.take, workload.Commits):
            yield from self.take.each(store, first)
        else:
            self.take(store)
            yield 1

    def go_on(self, store: kist.Store, found: Any) -> None:
        """Take what is left of it when a store shows one of its states."""
        first = self.states.index(found)
        if first < len(self.states) - 1:
            for _ in self.each(store, first):
                pass


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


class Stage:
    """The workload, ready for trials. A context: signals have its handlers meanwhile.

    Parameters
    ----------
    folder : path
        Where files are made.
    durability : {"full", "relaxed", "none"}
        Of the handles that meet the faults.
    work : {"everything", "sealed", "sealed-store"}
        What is done: of `kist.testing.works`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        durability: str = "full",
        work: str = "everything",
    ) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "trial.kist"
        self.durability = durability
        self.work = WORKS[work]
        self.steps: list[Step] = []

    def __enter__(self) -> Stage:
        self._old = signal.signal(signal.SIGTERM, _terminated)
        self._old_int = signal.signal(signal.SIGINT, signal.default_int_handler)
        if not self.steps:
            self._rehearse()
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGTERM, self._old)
        signal.signal(signal.SIGINT, self._old_int)
        for file in (self.path, *(step.image for step in self.steps)):
            file.unlink(missing_ok=True)
        self.steps = []

    def _open(self, mode: str = "r+") -> kist.Store:
        options: dict[str, Any] = {**self.work.options, "durability": self.durability}
        return kist.open(self.path, mode, timeout=0.0, **options)

    def look(self) -> kist.Store:
        """Open the store for reading."""
        return kist.open(self.path, **self.work.options)

    def _rehearse(self) -> None:
        if self.work.beside is not None:
            self.work.beside(self.folder)
        with FaultySystem() as system:
            kist.open(self.path, "w", **self.work.options, **self.work.making).close()
            for number, (name, take) in enumerate(self.work.steps.items()):
                image = self.folder / f"{number}.image"
                with self._open() as store:
                    store.attrs["step"] = number
                    states = [workload.shown(store)]
                    shutil.copyfile(self.path, image)
                self._restore(image)
                system.count_anew()
                store = self._open()
                take(store)
                store.close()
                cold = system.calls.copy()
                self._restore(image)
                step = Step(name, take, image, states, cold, Counter())
                with self._open() as store:
                    _warm_up(store)
                    for _ in step.each(store):
                        states.append(workload.shown(store))
                self._restore(image)
                with self._open() as store:
                    _warm_up(store)
                    system.count_anew()
                    take(store)
                    step.warm.update(system.calls)
                self.steps.append(step)

    def restore(self, step: Step) -> None:
        """Put the file there as it is before a step."""
        self._restore(step.image)

    def _restore(self, image: Path) -> None:
        self.path.unlink(missing_ok=True)  # another inode: nothing of the last trial stays
        shutil.copyfile(image, self.path)

    def trials(
        self, fault: Fault, every: int = 1, seed: int = 0
    ) -> Iterator[tuple[Step, Fault, bool]]:
        """Yield (step, fault, warm) for each place of a fault, or for one in `every`."""
        number = seed
        for step in self.steps:
            for warm, calls in ((False, step.cold), (True, step.warm)):
                for at in range(1, calls[fault.kind] + 1):
                    number += 1
                    if number % every == 0:
                        yield step, replace(fault, at=at), warm

    def run(self, fault: Fault, every: int = 1, seed: int = 0, only: str = "") -> Report:
        """Try a fault at every place, or at one in `every`."""
        report = Report()
        for step, one, warm in self.trials(fault, every, seed):
            if only in step.name:
                self._try(step, one, warm, report)
        return report

    def _try(self, step: Step, fault: Fault, warm: bool, report: Report) -> None:
        trial = Trial(self, step, fault, warm)
        report.trials += 1
        report.failures += trial.failures()
        report.raised[type(trial.raised).__name__ if trial.raised else "nothing"] += 1


class Trial:
    """One step of a stage with a fault."""

    def __init__(self, stage: Stage, step: Step, fault: Fault, warm: bool) -> None:
        self.stage, self.step, self.fault, self.warm = stage, step, fault, warm
        self.raised: BaseException | None = None
        self.where = "opening"
        self.store: kist.Store | None = None
        self.system = FaultySystem()
        self.lost = False  # what a sync could not write
        self.done = 0  # commits of the step that have returned

    def failures(self) -> list[str]:
        """Run it, and return what was wrong."""
        files = _open_files()
        self.stage.restore(self.step)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.run()
            left = _open_files() - files
            _demand(not left, f"left open: {left}")
            _demand(_pins(self.stage.path) == [], "a pin is left")
        except Exception as error:
            how = f"{self.step.name}, {'warm' if self.warm else 'cold'}, {self.fault}"
            raised = f"raised {self.raised!r} in {self.where}"
            return [f"{how}: {raised}: {type(error).__name__}: {error}"]
        return []

    def run(self) -> None:
        """Run it; raises when something is wrong."""
        try:
            with self.system:
                self._take_the_step()
                self._disarm()
        finally:
            if self.store is not None:
                self.store.close()
        self.lost = bool(self.system.lost)
        if self.lost:
            rng = random.Random(self.fault.at)
            share = rng.choice((0.0, 0.5, 1.0))
            self.system.lose(self.stage.path, lambda number: rng.random() < share)
        self.reopen()

    # The handle that meets the fault

    def _take_the_step(self) -> None:
        try:
            if not self.warm:
                self._arm()
            self.store = self.stage._open()
            if self.warm:
                _warm_up(self.store)
                self._arm()
            self.where = "step"
            for done in self.step.each(self.store):
                self.done = done
            self.where = "closing"
            if not self.warm:
                self.store.close()
        except BaseException as error:
            self.raised = error
        if not self.fault.persist or self.fault.kind not in ("write", "sync", "lock"):
            self._disarm()
        if self.raised is not None:
            _forget_frames(self.raised)
        self._judge_the_error()
        if self.store is not None and not self.store.closed:
            self._judge_the_handle()

    def _arm(self) -> None:
        self.system.fail(self.fault)

    def _disarm(self) -> None:
        self.system.fail(None)

    def _judge_the_error(self) -> None:
        raised, wanted, fired = self.raised, self.fault.error, self.system.fired
        _demand(bool(fired), "the fault did not come true")
        if raised is None:
            _demand(not self.fault.signal, "the signal was swallowed")
        elif self.fault.signal:
            kind = KeyboardInterrupt if self.fault.signal == signal.SIGINT else SystemExit
            _demand(isinstance(raised, kind), "another error than that of the signal")
        elif isinstance(raised, kist.CommitUnknownError):
            logged = [f for f in fired if f.kind == "sync" or f.offset >= 0]
            _demand(bool(logged) and raised.commit is not None, "the outcome is known")
        elif isinstance(wanted, int):
            # A file that a link leads to, and that cannot be opened, is a link that leads nowhere.
            kinds = kist.StorageError, kist.LinkError
            _demand(isinstance(raised, kinds), "not a StorageError")
            number = getattr(raised.__cause__, "errno", None) or getattr(raised, "errno", None)
            _demand(number == wanted, f"errno {number}")
        else:
            _demand(isinstance(raised, wanted), f"not {wanted.__name__}")

    def _judge_the_handle(self) -> None:
        step, store = self.step, self.store
        assert store is not None
        # A sync that was never called, for want of memory, can be called later.
        called = isinstance(self.fault.error, int) and not self.fault.signal
        dead = called and any(f.kind == "sync" for f in self.system.fired)
        known = workload.shown(store)
        _demand(known in self._possible(), "the handle shows another state")
        if self.fault.persist:
            self._disarm()
            _demand(workload.shown(store) == known, "the handle shows another state than before")
        # A lock that the system does not free stays until the next write, or until the end.
        if sum(f.kind == "unlock" for f in self.system.fired) < 2:
            with self.stage.look() as other:
                _demand(workload.shown(other) == known, "another handle shows another state")
            self._judge_the_lock()
        if isinstance(self.raised, kist.CommitUnknownError) or (dead and self.raised):
            try:
                store.attrs["x"] = 1
            except kist.ReadOnlyError:
                return
            raise _WrongError("the handle goes on writing after a failed sync")
        step.go_on(store, known)
        _demand(workload.shown(store) == step.after, "the step, taken again, does something else")
        store.attrs["later"] = 1
        _demand(store.attrs["later"] == 1, "the next commit is not there")
        del store.attrs["later"]
        self._judge_the_lock()

    def _judge_the_lock(self) -> None:
        """Another handle can write at once, and no commit is pinned that nobody reads."""
        assert self.store is not None
        len(self.store.attrs)  # has the newest commit pinned, whatever was pinned before
        backend = FileBackend(self.stage.path, writable=True)
        try:
            backend.locks.acquire_writer(0)
            backend.locks.release_writer()
            pins = backend.locks.pins(1 << 40)
        finally:
            backend.close()
        # One belongs to the handle's newest snapshot.
        _demand(len(pins) <= 1, f"commits {pins} are pinned")

    def _possible(self) -> list[Any]:
        step = self.step
        if self.raised is None or self.where == "closing":
            return [step.after]
        if self.where == "opening":
            return [step.before]
        unknown = self.fault.signal or isinstance(self.raised, kist.CommitUnknownError)
        known = not unknown and step.name not in _SEVERAL_COMMITS
        return list(step.states[self.done : self.done + (1 if known else 2)])

    # The file

    def reopen(self) -> None:
        """Open the file again, and judge it."""
        step = self.step
        with self.stage.look() as store:
            found = workload.shown(store)
        fine = found in self._possible() or (self.store is not None and found == step.after)
        if self.lost and self.stage.durability != "full":
            fine = fine or found in step.states
        _demand(fine, "opened again, the file shows another state")
        with self.stage._open() as store:
            if self.fault.at % 2:
                self._check(store)
            step.go_on(store, found)
            _demand(workload.shown(store) == step.after, "after the next step: another state")
            self._check(store)

    def _check(self, store: kist.Store) -> None:
        problems = store.check().problems
        _demand(not problems, f"check: {problems[:1]}")


_SEVERAL_COMMITS = ("a tag is moved", "the file is made compact")


def _warm_up(store: kist.Store) -> None:
    step = store.attrs["step"]
    store.attrs["step"] = -1
    store.attrs["step"] = step


def _forget_frames(error: BaseException) -> None:
    # Its frames would keep what they were working on: handles, and so descriptors.
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is not None and one.__traceback__ is not None:
            one.__traceback__ = None
            chain += [one.__context__, one.__cause__]


def _open_files() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself
    return found


def _pins(path: Path) -> list[int]:
    backend = FileBackend(path)
    try:
        return backend.locks.pins(1 << 40)
    finally:
        backend.close()
