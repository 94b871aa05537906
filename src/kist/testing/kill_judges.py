"""Who dies when, and whether a promise was broken; for `kist.testing.kill`."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kist
from kist.testing.kill_processes import (
    STARTED,
    BrokenError,
    Line,
    Nursery,
    advanced,
    demand,
    shows,
    take_counted,
)
from kist.testing.kill_programs import PROGRAMS

__all__ = ["Alone", "Among", "Judge", "Report"]


@dataclass
class Report:
    """What came of a run.

    Attributes
    ----------
    killed : Counter
        Processes killed, by role.
    acknowledged : int
        Steps that writers had answered for.
    in_flight : int
        Steps that were there, committed but not answered for when their writer died.
    unborn : int
        Kills that came before the store was finished.
    looks, compactions : int
        Snapshots that readers have compared, and times that a file was made small, meanwhile.
    failures : list of str
        Broken promises; the run ends at the first.
    """

    killed: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    in_flight: int = 0
    unborn: int = 0
    looks: int = 0
    compactions: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Processes killed."""
        return self.killed.total()

    def add(self, other: Report) -> None:
        """Count what came of another run, too."""
        self.killed += other.killed
        for name in ("acknowledged", "in_flight", "unborn", "looks", "compactions"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failures += other.failures

    def __str__(self) -> str:
        roles = ", ".join(f"{n} {role}s" for role, n in sorted(self.killed.items()))
        head = (
            f"{self.kills} kills ({roles}), {self.acknowledged} steps acknowledged, "
            f"{self.in_flight} more in flight, {self.unborn} kills during creation, {self.looks} "
            f"looks of readers, {self.compactions} compactions, {len(self.failures)} failures"
        )
        return "\n".join([head, *(f"  {failure}" for failure in self.failures)])


class Judge:
    """Kills, and looks at what is left."""

    def __init__(
        self,
        nursery: Nursery,
        path: Path,
        rng: random.Random,
        report: Report,
        durability: str = "full",
        program: str = "rows",
        most_answers: int = 60,
    ) -> None:
        self.nursery = nursery
        self.path = path
        self.rng = rng
        self.report = report
        self.durability = durability
        self.most_answers = most_answers
        self.name, self.program = program, PROGRAMS[program]

    def life_of_a_store(self, kills: int) -> None:
        """Make a store, kill those who work on it; somebody removes it."""
        raise TypeError("a judge is one of a form")

    def _start(self, role: str, number: int = 0) -> int:
        return self.nursery.start(
            role, self.path, durability=self.durability, program=self.name, number=number
        )

    def _hear(self, line: Line) -> None:
        demand(line.word != "broken", f"{self.nursery.alive.get(line.pid)} {line.pid}: {line.rest}")

    def _kill_after(self, answers: int, pid: int, role: str) -> None:
        for _ in range(answers):
            self._hear(self.nursery.line())
        for _ in range(self.rng.randrange(self.rng.choice((1, 1000, 10_000, 40_000, 160_000)))):
            pass
        self.nursery.kill(pid)
        self.report.killed[role] += 1
        for line in self.nursery.lines():  # what it said before it died counts
            self._hear(line)

    def _open(self) -> kist.Store | None:
        """Open a store of which it is not sure that it was finished."""
        try:
            return kist.open(self.path, **self.program.options)
        except (kist.StoreNotFoundError, kist.NotAStoreError):
            return None

    def _take(self, take: Callable[[kist.Store], object]) -> kist.Store:
        """Take a step at once, without waiting for a lock; returns the store."""
        options: dict[str, Any] = {**self.program.options, "durability": self.durability}
        store = kist.open(self.path, "r+", timeout=0, **options)
        try:
            take(store)
        except kist.StoreLockedError as error:
            store.close()
            raise BrokenError(f"a lock is left: {error}") from error
        except BaseException:
            store.close()
            raise
        return store


def check(store: kist.Store) -> None:
    """Demand that nothing is wrong with a store."""
    problems = store.check().problems
    demand(not problems, f"check: {problems[:1]}")


class Alone(Judge):
    """One writer at a time, and a reader that keeps a snapshot across their deaths."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.model: Any = None  # None: no finished store yet
        self.seen = STARTED

    def life_of_a_store(self, kills: int) -> None:
        keeper, snapshot = 0, ""
        for _ in range(kills):
            self._kill()
            if self.model is None:
                continue
            if not keeper:
                keeper = self._start("keeper")
                snapshot = self.nursery.ask(keeper, "look")
            shown = self.nursery.ask(keeper, "look")
            demand(shown == snapshot, "an open reader sees its snapshot changed")
            self.report.looks += 1
            if self.rng.random() < 0.3:
                snapshot = self.nursery.ask(keeper, "refresh")
        self.nursery.kill_all()

    def _hear(self, line: Line) -> None:
        super()._hear(line)
        self.seen = line.number

    def _kill(self) -> None:
        answers = self.rng.choice((0, 0, 1, 2, self.rng.randrange(self.most_answers)))
        self.seen = STARTED
        pid = self._start("loner", 0 if self.model is None else self.model.step)
        self._kill_after(answers + 1, pid, "loner")
        self.judge(self.seen)

    def judge(self, seen: int) -> None:
        """Look at what is there after `seen` was answered for."""
        before = self.model
        store = self._open()
        if before is None and store is not None and not self.program.is_ready(store):
            store.close()
            store = None
        if store is None:
            demand(
                before is None and seen == STARTED,
                f"step {seen} was acknowledged, and the store is gone",
            )
            self.report.unborn += 1
            return
        with store:
            before = self.program.first() if before is None else before
            found = self.found(store, before, max(seen, before.step))
            check(store)
        if self.rng.random() < 0.5:
            # Otherwise the next writer takes over from the dead one.
            found = self.go_on(found)
        self.model = found

    def found(self, store: kist.Store, model: Any, acknowledged: int) -> Any:
        """Return the model that the store shows: all that was acknowledged, or one step more."""
        self.report.acknowledged += acknowledged - model.step
        while model.step < acknowledged:
            model = model.next()
        if model.is_shown_by(store):
            return model
        model = model.next()
        demand(
            model.is_shown_by(store),
            f"step {acknowledged} was acknowledged; what is there is neither the content after "
            "that step nor that after the next one",
        )
        self.report.in_flight += 1
        return model

    def go_on(self, model: Any) -> Any:
        """Take the step after a model; returns the next one."""
        with self._take(lambda store: self.program.take(store, model)) as store:
            model = model.next()
            demand(model.is_shown_by(store), f"step {model.step} shows something else")
            check(store)
        return model


class Among(Judge):
    """Writers, readers and a compactor at once."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.model = self.program.first()
        self.done: set[int] = set()  # steps that somebody answered for
        self.known = 0  # newest step that was answered for or seen
        self.dead_writers = 0

    def life_of_a_store(self, kills: int) -> None:
        roles = ["writer"] * self.rng.choice((1, 2, 3)) + ["reader"] * self.rng.choice((1, 2))
        roles += ["compactor"] * self.rng.choice((0, 1, 1))
        self.rng.shuffle(roles)
        for left in range(kills, 0, -1):
            if left == kills and self.rng.random() < 0.4:
                roles.append("writer")
                self._start("writer")  # to die while it makes the store
            elif roles:
                for role in roles:
                    self._start(role, self.rng.randrange(1 << 30))
                roles = []
            elif not self.nursery.alive:
                self._start("writer")
            pid, role = self.rng.choice(sorted(self.nursery.alive.items()))
            answers = self.rng.choice((0, 0, 1, 2, self.rng.randrange(self.most_answers)))
            # Nobody but writers has anything to say before there is a store.
            self._kill_after(answers if self._can_go_on() else 0, pid, role)
            self.dead_writers += role == "writer"
            self.judge()
            if left > len(self.nursery.alive) and self.rng.random() < 0.7:
                self._start(role, self.rng.randrange(1 << 30))
        self.dead_writers += list(self.nursery.alive.values()).count("writer")
        self.nursery.kill_all()
        for line in self.nursery.lines():
            self._hear(line)
        self.judge()
        self.report.acknowledged += len(self.done)
        self.report.in_flight += self.model.step - len(self.done)

    def _can_go_on(self) -> bool:
        return "writer" in self.nursery.alive.values() or self.known > 0

    def _hear(self, line: Line) -> None:
        super()._hear(line)
        if line.word == "did":
            demand(line.number not in self.done, f"step {line.number} was done twice")
            self.done.add(line.number)
            self.known = max(self.known, line.number)
        elif line.word == "saw":
            self.report.looks += 1
            self.known = max(self.known, line.number)
        elif line.word == "compacted":
            self.report.compactions += 1

    def judge(self) -> None:
        """Look at what is there, while those who are alive go on."""
        known = self.known
        store = self._open()
        if store is None:
            demand(known == 0, f"step {known} was acknowledged, and the store is gone")
            self.report.unborn += 1
            return
        with store:
            self.model = advanced(store, self.program, self.model)
            demand(
                self.model.step >= known,
                f"step {known} was acknowledged or seen, and step {self.model.step} is shown",
            )
            check(store)
        alive = set(self.nursery.alive.values())
        if "writer" in alive:
            self._wait_for("did")  # nobody keeps it from its turn
        elif "compactor" in alive:
            self._wait_for("compacted")
        else:
            self._go_on()

    def _wait_for(self, word: str) -> None:
        while True:
            line = self.nursery.line()
            self._hear(line)
            if line.word == word and line.pid in self.nursery.alive:
                return

    def _go_on(self) -> None:
        missing = self.model.step - len(self.done)
        demand(
            0 <= missing <= self.dead_writers,
            f"{missing} steps that nobody answered for, of {self.dead_writers} dead writers",
        )
        model = self.model

        def take(store: kist.Store) -> None:
            with store.transaction():
                take_counted(store, self.program, model)

        with self._take(take) as store:
            self.model = model.next()
            demand(shows(store, self.program, self.model), f"step {self.model.step}: other content")
            check(store)
            if not self.nursery.alive:
                pins = [pin for pin in store.info.pins if pin["pid"] not in (None, os.getpid())]
                demand(not pins, f"commits of the dead are pinned: {pins}")
        self.done.add(self.model.step)
        self.known = self.model.step
