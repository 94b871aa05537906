"""The processes of `kist.testing.kill`: writers, readers and compactors, and who starts them.

A *nursery* has imported all it takes, and forks the others: importing takes much longer than what
they live. They say what they do on one pipe, line by line, each in one write: process id, a word,
a number. ``did 7``: the commit of step 7 has returned. ``saw 7``: a snapshot shows what stands
after step 7. ``shows``: a fingerprint of what a keeper sees, which looks when it is asked.
``compacted``. ``dead 9``: ended by that signal, the last that is heard of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import select
import signal
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import kist
from kist.testing import workload
from kist.testing.kill_programs import PROGRAMS, Program

__all__ = ["BrokenError", "Line", "Nursery", "demand"]

STEPS = "steps"
"""Attribute of the store in which writers that share it count their steps."""

STARTED = -1
"""What a lone writer did before it has opened the store."""

PATIENCE_S = 120.0
"""When nobody has said anything for so long, something hangs; nothing is decided by it."""


_KINDS = 12
"""Of so many steps in a row each is of another kind, at most."""


class BrokenError(Exception):
    """A promise was broken."""


def demand(holds: bool, otherwise: str) -> None:
    """Raise `BrokenError` unless it holds."""
    if not holds:
        raise BrokenError(otherwise)


class Line(NamedTuple):
    """What a process said."""

    pid: int
    word: str
    rest: str

    @property
    def number(self) -> int:
        """Its number."""
        return int(self.rest)


class Nursery:
    """Forks processes, and hears what they say.

    Attributes
    ----------
    alive : dict of int to str
        Process id -> role, of those that were not killed yet.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-m", "kist.testing.kill_processes"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # They are pipes because we asked for them.
        self._in: IO[bytes] = self._process.stdin  # type: ignore[assignment]
        self._out: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        self.alive: dict[int, str] = {}
        self._heard = b""
        self._lines: deque[Line] = deque()

    def start(
        self, role: str, path: Path, *, durability: str, program: str, number: int = 0
    ) -> int:
        """Start a process of a role of `ROLES`; returns its id."""
        self._tell(f"start {role} {number} {durability} {program} {path}\n")
        line = self._until("born")
        self.alive[line.pid] = role
        return line.pid

    def kill(self, pid: int) -> None:
        """Kill a process; all that it said is there when this returns."""
        role = self.alive.pop(pid)
        os.kill(pid, signal.SIGKILL)
        self._tell(f"bury {pid}\n")
        line = self._until("dead")
        # It has not been waiting to be killed if it was dead already.
        ended = (
            f"{role} {pid} ended by itself: {[one.rest for one in self._lines if one.pid == pid]}"
        )
        demand(line.rest == str(int(signal.SIGKILL)), ended)

    def kill_all(self) -> None:
        """Kill all who are alive."""
        for pid in list(self.alive):
            self.kill(pid)

    def ask(self, pid: int, what: str) -> str:
        """Have a keeper ``look`` or ``refresh``; returns what it sees then."""
        self._tell(f"ask {pid} {what}\n")
        return self._until("shows").rest

    def line(self) -> Line:
        """Return what was said next."""
        while not self._lines:
            self._listen()
        return self._lines.popleft()

    def lines(self) -> list[Line]:
        """Return what has been said so far."""
        lines, self._lines = list(self._lines), deque()
        return lines

    def _tell(self, order: str) -> None:
        self._in.write(order.encode())
        self._in.flush()

    def _until(self, word: str) -> Line:
        while True:
            for line in self._lines:
                if line.word == word:
                    self._lines.remove(line)
                    return line
            self._listen()

    def _listen(self) -> None:
        ready = select.select([self._out], [], [], PATIENCE_S)[0]
        demand(bool(ready), f"nothing happens any more; alive: {self.alive}")
        heard = os.read(self._out.fileno(), 1 << 16)
        demand(bool(heard), "the process that starts the others died")
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            pid, word, rest = line.decode().split(" ", 2)
            self._lines.append(Line(int(pid), word, rest))

    def close(self) -> None:
        """End all processes."""
        for pid in self.alive:
            os.kill(pid, signal.SIGKILL)
        self.alive = {}
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()


# What runs in them


def _say(word: str, number: int | str = "", pid: int = 0) -> None:
    os.write(1, f"{pid or os.getpid()} {word} {number}\n".encode())


def _nurse(orders: IO[bytes]) -> None:
    sealing = importlib.util.find_spec("cryptography") is not None
    for program in PROGRAMS.values():
        if program.options and not sealing:
            continue  # nobody can be asked to play it
        # Loads all modules.
        with kist.open(":memory:", "a", **program.options, **program.making) as store:
            program.prepare(store)
            model = program.first()
            for _ in range(_KINDS):
                program.take(store, model)
                model = model.next()
            model.is_shown_by(store)
            store.check()
    asked: dict[int, int] = {}  # where questions to each go
    for order in orders:
        what, rest = order.decode().rstrip("\n").split(" ", 1)
        if what == "ask":
            pid, question = rest.split(" ")
            os.write(asked[int(pid)], f"{question}\n".encode())
        elif what == "bury":
            _, status = os.waitpid(int(rest), 0)
            os.close(asked.pop(int(rest)))
            _say("dead", os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, int(rest))
        else:
            ears, mouth = os.pipe()
            child = os.fork()
            if child == 0:
                os.dup2(ears, 0)
                _live(*rest.split(" ", 4))
            os.close(ears)
            asked[child] = mouth
            _say("born", "", child)


def _live(role: str, number: str, durability: str, program: str, path: str) -> None:
    """Play a role until killed; never returns."""
    try:
        ROLES[role](path, int(number), durability, PROGRAMS[program])
    except BrokenError as error:
        _say("broken", str(error))
    except BrokenPipeError:
        os._exit(2)  # the judge is gone: there is nobody to tell
    except BaseException as error:
        traceback.print_exc()
        _say("broken", f"{type(error).__name__}: {error}".replace("\n", " "))
    os._exit(1)


def _open_or_make(path: str, durability: str, program: Program) -> kist.Store:
    options: dict[str, Any] = {**program.options, **program.making, "durability": durability}
    return kist.open(path, "a", timeout=PATIENCE_S, **options)


def write_alone(path: str, step: int, durability: str, program: Program) -> None:
    """Take steps, each of which is one call or one transaction; nobody else writes."""
    model = program.first()
    while model.step < step:
        model = model.next()
    _say("did", STARTED)
    store = _open_or_make(path, durability, program)
    program.prepare(store)
    while True:
        _say("did", model.step)
        program.take(store, model)
        model = model.next()


def write_among_others(path: str, seed: int, durability: str, program: Program) -> None:
    """Take steps, each of which is a transaction that counts it; others do the same."""
    store = _open_or_make(path, durability, program)
    model = program.first()
    while True:
        with store.transaction():
            step = store.attrs.get(STEPS, 0)
            while model.step < step:
                model = model.next()
            demand(model.step == step, f"step {model.step} was seen, and step {step} stands there")
            take_counted(store, program, model)
        model = model.next()
        _say("did", model.step)


def take_counted(store: kist.Store, program: Program, model: Any) -> None:
    """Do what comes after a model, and count it, within a transaction."""
    if model.step == 0:
        program.prepare(store)
    program.take(store, model)
    store.attrs[STEPS] = model.step + 1


def read_among_others(path: str, seed: int, durability: str, program: Program) -> None:
    """Look at one snapshot after the other, each twice; none may be older than the one before."""
    rng, model, store = random.Random(seed), program.first(), _open_when_there(path, program)
    while True:
        if rng.random() < 0.1:
            store.close()
            store = _open_when_there(path, program)
        store.refresh()
        model = advanced(store, program, model)
        time.sleep(rng.choice((0, 0, 0.001, 0.01)))
        demand(shows(store, program, model), f"the snapshot of step {model.step} has changed")
        _say("saw", model.step)


def _open_when_there(path: str, program: Program) -> kist.Store:
    while True:
        try:
            return kist.open(path, **program.options)
        except (kist.StoreNotFoundError, kist.NotAStoreError):
            time.sleep(0.001)


def advanced(store: kist.Store, program: Program, model: Any) -> Any:
    """Return the model that a store shows, which must not be older than another."""
    with store.read():
        step = store.attrs.get(STEPS, 0)
        demand(step >= model.step, f"step {model.step} was seen, and now step {step} is shown")
        while model.step < step:
            model = model.next()
        demand(shows(store, program, model), f"what is shown is not what stands after step {step}")
    return model


def shows(store: kist.Store, program: Program, model: Any) -> bool:
    """Whether a store holds exactly what stands after a step."""
    with store.read():
        if model.step == 0:
            return len(store) == 0 and not store.attrs
        return store.attrs[STEPS] == model.step and bool(model.is_shown_by(store))


def compact_among_others(path: str, seed: int, durability: str, program: Program) -> None:
    """Make the file small again and again, with pauses."""
    rng = random.Random(seed)
    _open_when_there(path, program).close()
    options: dict[str, Any] = {**program.options, "durability": durability}
    store = kist.open(path, "r+", timeout=PATIENCE_S, **options)
    while True:
        store.compact()
        _say("compacted")
        time.sleep(rng.choice((0, 0.002, 0.02)))


def keep_a_snapshot(path: str, seed: int, durability: str, program: Program) -> None:
    """Look at one snapshot again and again, when asked to."""
    with (
        kist.open(path, **program.options) as store,
        open(0, "rb", buffering=0) as questions,
    ):
        for question in questions:
            if question == b"refresh\n":
                store.refresh()
            _say("shows", f"{store.commit_id} {_fingerprint(store)}")


def _fingerprint(store: kist.Store) -> str:
    return hashlib.blake2b(repr(workload.shown(store)).encode(), digest_size=16).hexdigest()


ROLES: dict[str, Callable[[str, int, str, Program], None]] = {
    "loner": write_alone,
    "writer": write_among_others,
    "reader": read_among_others,
    "compactor": compact_among_others,
    "keeper": keep_a_snapshot,
}


if __name__ == "__main__":
    _nurse(sys.stdin.buffer)
