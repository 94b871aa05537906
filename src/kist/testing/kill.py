"""Writers that are killed for real: a process with an open store gets SIGKILL at some moment.

A *writer* makes a store and takes numbered steps: appends of 3, 10 and 600 rows, assignments,
deletions, and rows with an attribute in one transaction. After each it says so on a pipe. The
judge kills it after a random number of answers (and some turns of an empty loop, so that all parts
of a commit are met), and demands:

1. the file opens, and shows all that was answered for, or one step more, and nothing in between;
2. `check` finds nothing;
3. no lock is left: the next commit gets its turn at once, whether another process makes it or
   this one;
4. a reader with an open snapshot, in a process of its own, reads the same as before.

This holds in every durability: the death of a process loses nothing that was written. The long
run, in a temporary directory::

    python -m kist.testing.kill --kills 1000
    python -m kist.testing.kill --kills 1000 --durability relaxed --seed 3
    python -m kist.testing.kill --kills 1000 --program objects

The program ``objects`` takes the steps of `kist.testing.programs` instead: arrays, tables, key
stores and attributes, made, changed, moved and deleted.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

import kist
from kist.testing import programs

__all__ = ["DTYPE", "Model", "Report", "run_kills", "take_step"]

DTYPE = np.dtype([("step", "i8"), ("n", "i4"), ("value", "f8"), ("text", "S6")])
MOST_ROWS = 4000
"""A deletion halves the table from here on: verifying must not become slower and slower."""

FRESH_EVERY = 8
"""So many kills until a new file is begun: creation is under fire too."""

_STARTED = -1


def _rows(step: int, n: int) -> np.ndarray[Any, Any]:
    rows = np.zeros(n, DTYPE)
    rows["step"], rows["n"] = step, np.arange(n)
    rows["value"] = step + rows["n"] / 100
    rows["text"] = f"s{step % 1000}".encode()
    return rows


def _picked(step: int, n: int) -> np.ndarray[Any, Any]:
    """Positions that a step touches, different from step to step."""
    return np.unique((np.arange(20) * 7919 + step * 104729) % n)


class Model:
    """What a store must hold after each step, in plain NumPy.

    Attributes
    ----------
    step : int
        Last step taken; 0 is a new store.
    rows : ndarray, shape (n,), dtype `DTYPE`
        Rows of the table.
    noted : int
        Value of the store's attribute ``step``; 0 when it is not there.
    """

    def __init__(self) -> None:
        self.step = 0
        self.rows = np.zeros(0, DTYPE)
        self.noted = 0

    def next(self) -> Model:
        """Return the model after one more step; this one stays."""
        new = Model()
        new.step, step = self.step + 1, self.step + 1
        rows, new.noted = self.rows.copy(), self.noted
        kind = step % 10
        if kind == 8:
            rows["value"][_picked(step, len(rows))] = -step
        elif kind == 9:
            gone = slice(0, len(rows) // 2) if len(rows) > MOST_ROWS else _picked(step, len(rows))
            rows = np.delete(rows, gone)
        else:
            rows = np.concatenate([rows, _rows(step, {6: 3, 7: 600}.get(kind, 10))])
        if kind == 6:
            new.noted = step
        new.rows = rows
        return new

    def is_shown_by(self, store: kist.Store) -> bool:
        """Tell whether the store holds exactly this."""
        with store.read():
            noted = store.attrs.get("step", 0)
            return bool(store["rows"][:].tobytes() == self.rows.tobytes() and noted == self.noted)


def take_step(store: kist.Store, step: int) -> None:
    """Do step number `step` to a store, in one commit; `Model.next` says what it is."""
    table = store["rows"]
    kind = step % 10
    if kind == 6:
        with store.transaction(f"step {step}"):
            table.append(_rows(step, 3))
            store.attrs["step"] = step
    elif kind == 8:
        table["value"][_picked(step, len(table))] = -step
    elif kind == 9:
        n = len(table)
        table.delete(slice(0, n // 2) if n > MOST_ROWS else _picked(step, n))
    else:
        table.append(_rows(step, 600 if kind == 7 else 10))


class Program(NamedTuple):
    """What writers do. A model has ``step``, ``next()`` and ``is_shown_by(store)``."""

    first: Callable[[], Any]
    """The model of a store before the first step."""
    prepare: Callable[[kist.Store], object]
    """Makes a new store ready for the first step, in one commit at most."""
    is_ready: Callable[[kist.Store], bool]
    """Whether that was done."""
    take: Callable[[kist.Store, Any], None]
    """Does to a store what ``next()`` does to the model."""


PROGRAMS = {
    "rows": Program(
        Model,
        lambda store: store.require_table("rows", dtype=DTYPE),
        lambda store: "rows" in store,
        lambda store, model: take_step(store, model.step + 1),
    ),
    "objects": Program(
        lambda: programs.World(0), lambda store: None, lambda store: True, programs.take_step
    ),
}


@dataclass
class Report:
    """What came of a run.

    Attributes
    ----------
    kills : int
        Writers killed.
    acknowledged : int
        Steps that writers had answered for.
    in_flight : int
        Kills after which one more step was there, committed but not yet answered for.
    unborn : int
        Kills that came before the store was finished.
    failures : list of str
        Broken promises; the run ends at the first.
    """

    kills: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    unborn: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = (
            f"{self.kills} kills, {self.acknowledged} steps acknowledged, {self.in_flight} more "
            f"in flight, {self.unborn} during creation, {len(self.failures)} failures"
        )
        return "\n".join([head, *(f"  {failure}" for failure in self.failures)])


def run_kills(
    folder: str | os.PathLike[str],
    kills: int,
    *,
    seed: int = 0,
    durability: str = "full",
    most_steps: int = 60,
    program: str = "rows",
) -> Report:
    """Kill writers of a store, and look at it after each.

    Parameters
    ----------
    folder : path
        Where the stores are made. They are removed, unless something was wrong.
    kills : int
        How many writers.
    seed : int
        Decides after how many answers each is killed.
    durability : {"full", "relaxed", "none"}
        Of the writers.
    most_steps : int
        A writer is killed after at most so many answers.
    program : {"rows", "objects"}
        What they do.

    Returns
    -------
    Report
        Empty ``failures`` when every promise held.
    """
    nursery = _Nursery()
    try:
        judge = _Judge(nursery, Path(folder), random.Random(seed), durability, most_steps, program)
        while judge.report.kills < kills and not judge.report.failures:
            judge.life_of_a_store(min(FRESH_EVERY, kills - judge.report.kills))
        return judge.report
    finally:
        nursery.close()


class _BrokenError(Exception):
    """A promise was broken."""


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _BrokenError(otherwise)


class _Judge:
    def __init__(
        self,
        nursery: _Nursery,
        folder: Path,
        rng: random.Random,
        durability: str,
        most_steps: int,
        program: str = "rows",
    ) -> None:
        self.nursery = nursery
        self.folder = folder
        self.rng = rng
        self.durability = durability
        self.most_steps = most_steps
        self.name, self.program = program, PROGRAMS[program]
        self.report = Report()
        self.model: Any = None  # None: no finished store yet

    def life_of_a_store(self, kills: int) -> None:
        """Make a store, kill its writers, remove it."""
        path = self.folder / f"{self.durability}-{self.report.kills}.kist"
        self.model = None
        reader: _Reader | None = None
        try:
            for _ in range(kills):
                self.report.kills += 1
                self._kill(path)
                if self.model is None:
                    continue
                if reader is None:
                    reader = _Reader(path, self.name)
                reader.look()
                if self.rng.random() < 0.3:
                    reader.refresh()
        except _BrokenError as failure:
            self.report.failures.append(
                f"{path}, kill {self.report.kills}, {self.durability}: {failure}"
            )
            return
        finally:
            if reader is not None:
                reader.close()
        path.unlink(missing_ok=True)

    def _kill(self, path: Path) -> None:
        answers = self.rng.choice((0, 0, 1, 2, self.rng.randrange(self.most_steps)))
        turns = self.rng.choice((0, 1000, 10_000, 40_000, 160_000))
        step = 0 if self.model is None else self.model.step
        writer = self.nursery.writer(path, step, self.durability, self.name)
        seen = _STARTED
        for _ in range(answers + 1):
            line = self.nursery.answer()
            _demand(not line.startswith(b"dead"), "the writer ended by itself")
            seen = int(line)
        for _ in range(self.rng.randrange(turns + 1)):
            pass
        os.kill(writer, signal.SIGKILL)
        # What it said before it died counts.
        while not (line := self.nursery.answer()).startswith(b"dead"):
            seen = int(line)
        _demand(line == b"dead %d\n" % signal.SIGKILL, f"the writer did not wait: {line!r}")
        self._judge(path, seen)

    def _judge(self, path: Path, seen: int) -> None:
        before = self.model
        if before is None:
            store = _open_new(path, self.program)
            if store is None:
                _demand(seen == _STARTED, f"step {seen} was acknowledged, and the store is gone")
                self.report.unborn += 1
                return
            before = self.program.first()
        else:
            store = kist.open(path)
        with store:
            found = self._found(store, before, max(seen, before.step))
            _check(store)
        if self.rng.random() < 0.5:
            # Otherwise the next writer takes over from the dead one.
            found = self._go_on(path, found)
        self.model = found

    def _found(self, store: kist.Store, model: Any, acknowledged: int) -> Any:
        """Return the model that the store shows: all that was acknowledged, or one step more."""
        self.report.acknowledged += acknowledged - model.step
        while model.step < acknowledged:
            model = model.next()
        if model.is_shown_by(store):
            return model
        model = model.next()
        _demand(
            model.is_shown_by(store),
            f"step {acknowledged} was acknowledged; what is there is neither the content after "
            "that step nor that after the next one",
        )
        self.report.in_flight += 1
        return model

    def _go_on(self, path: Path, model: Any) -> Any:
        with kist.open(path, "r+", timeout=0, durability=self.durability) as store:  # type: ignore[arg-type]
            try:
                self.program.take(store, model)
            except kist.StoreLockedError as error:
                raise _BrokenError(f"a lock is left: {error}") from error
            model = model.next()
            _demand(model.is_shown_by(store), f"step {model.step} shows something else")
            _check(store)
        return model


def _check(store: kist.Store) -> None:
    problems = store.check().problems
    _demand(not problems, f"check: {problems[:1]}")


def _open_new(path: Path, program: Program) -> kist.Store | None:
    """Open a store of which it is not sure that it was finished."""
    try:
        store = kist.open(path)
    except (kist.StoreNotFoundError, kist.NotAStoreError):
        return None
    if program.is_ready(store):
        return store
    store.close()
    return None


class _Process:
    """A process of this module that answers on its output."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "kist.testing.kill", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # They are pipes because we asked for them.
        self._in: IO[bytes] = self._process.stdin  # type: ignore[assignment]
        self._out: IO[bytes] = self._process.stdout  # type: ignore[assignment]

    def ask(self, question: bytes) -> bytes:
        """Say something and return the answer, a line."""
        self._in.write(question)
        self._in.flush()
        return self.answer()

    def answer(self) -> bytes:
        """Return the next line."""
        line = self._out.readline()
        _demand(bool(line), "a process of this test died")
        return line

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()


class _Nursery(_Process):
    """A process that has imported all it takes, and forks the writers: importing takes longer."""

    def __init__(self) -> None:
        super().__init__("--nursery")

    def writer(self, path: Path, step: int, durability: str, program: str) -> int:
        """Start a writer; return its process id."""
        return int(self.ask(f"{step} {durability} {program} {path}\n".encode()))


class _Reader(_Process):
    """A process that reads one snapshot again and again."""

    def __init__(self, path: Path, program: str) -> None:
        super().__init__("--read", str(path), "--program", program)
        self._seen = self.ask(b"look\n")

    def look(self) -> None:
        """Read everything once more."""
        seen = self.ask(b"look\n")
        _demand(seen == self._seen, "an open reader sees its snapshot changed")

    def refresh(self) -> None:
        """Go to the newest commit."""
        self._seen = self.ask(b"refresh\n")


# The processes


def _say(number: int) -> None:
    os.write(1, b"%d\n" % number)


def _raise_writers(orders: IO[bytes]) -> None:
    for program in PROGRAMS.values():
        with kist.open(":memory:") as store:  # loads all modules
            program.prepare(store)
            program.take(store, program.first())
    for order in orders:
        step, durability, name, path = order.decode().rstrip("\n").split(" ", 3)
        child = os.fork()
        if child == 0:
            _say(os.getpid())
            _write(path, int(step), durability, PROGRAMS[name])  # until it is killed, or raises
        _, status = os.waitpid(child, 0)
        os.write(1, b"dead %d\n" % (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0))


def _write(path: str, step: int, durability: str, program: Program) -> None:
    model = program.first()
    while model.step < step:
        model = model.next()
    _say(_STARTED)
    store = kist.open(path, "a", durability=durability)  # type: ignore[arg-type]
    program.prepare(store)
    while True:
        _say(model.step)
        program.take(store, model)
        model = model.next()


def _fingerprint(store: kist.Store, program: str) -> str:
    seen = hashlib.blake2b(digest_size=16)
    with store.read():
        if program == "rows":
            seen.update(store["rows"][:].tobytes())
            seen.update(str(store.attrs.get("step")).encode())
        else:
            store.visititems(lambda path, node: seen.update(_content(path, node)))  # gives None
    return seen.hexdigest()


def _content(path: str, node: Any) -> bytes:
    parts = [path.encode(), _bytes(dict(node.attrs))]
    if node.kind == "key store":
        parts.append(_bytes(dict(node.items())))
    elif not isinstance(node, kist.Group):
        parts.append(_bytes(node[...] if node.kind == "array" else node[:]))
    return b"\n".join(parts)


def _bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.tobytes()  # repr leaves out the middle
    if isinstance(value, dict):
        return b"\n".join(repr(key).encode() + _bytes(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return b"\n".join(map(_bytes, value))
    return repr(value).encode()


def _read(path: str, program: str, questions: IO[bytes], answers: IO[bytes]) -> None:
    with kist.open(path) as store:
        for question in questions:
            if question == b"refresh\n":
                store.refresh()
            answers.write(f"{store.commit_id} {_fingerprint(store, program)}\n".encode())
            answers.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill writers in a temporary directory; gives 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m kist.testing.kill", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--durability", choices=("full", "relaxed", "none"), default="full")
    parser.add_argument("--program", choices=tuple(PROGRAMS), default="rows")
    parser.add_argument("--folder", help="where to make the stores")
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.nursery:
        _raise_writers(sys.stdin.buffer)
        return 0
    if options.read:
        _read(options.read, options.program, sys.stdin.buffer, sys.stdout.buffer)
        return 0
    started = time.monotonic()
    folder = tempfile.mkdtemp(dir=options.folder)
    report = run_kills(
        folder,
        options.kills,
        seed=options.seed,
        durability=options.durability,
        program=options.program,
    )
    print(
        f"{options.durability}, seed {options.seed}, {time.monotonic() - started:.0f} s: {report}"
    )
    if not report.failures:
        os.rmdir(folder)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
