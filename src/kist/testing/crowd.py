"""A crowd of processes on one store: writers, readers, backups and sudden deaths at once.

Each *writer* commits transactions that append a batch of rows to a table, add to counters in a
key store, write a row of an array and set an attribute; what a batch holds follows from the
writer's number and the batch's. Each *reader* looks at all of it, again and again. It is demanded
that

1. every batch that was acknowledged arrives exactly once, whole, in order; no counter loses;
2. every look shows one commit: rows, counters, array and attributes agree;
3. no reader goes backwards;
4. no writer starves: each gets a share of the turns (``--fair``), and the longest wait is told;
5. each backup taken meanwhile is whole, and not older than what was acknowledged before it;
6. in the end `check` finds nothing.

The long run prints what each writer got, and ends with exit code 1 on any failure::

    python -m kist.testing.crowd --writers 8 --readers 4 --seconds 60
    python -m kist.testing.crowd --writers 4 --threads 3 --seconds 60 --backups --kills 30
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kist
from kist.testing.batches import demand, look, prepare, write_batch

__all__ = ["Report", "run_crowd"]

# What the processes do


def _write(options: argparse.Namespace) -> None:
    lock, stopping = threading.Lock(), threading.Event()
    store = kist.open(options.path, "r+", timeout=120, durability=options.durability)
    numbers = [int(n) for n in options.numbers.split(",")]
    _say(word="ready")
    sys.stdin.readline()
    end = time.monotonic() + options.seconds

    def work(number: int) -> None:
        left = options.batches
        try:
            while left and time.monotonic() < end and not stopping.is_set():
                batch, waited = write_batch(store, number)
                left -= 1
                with lock:
                    _say(word="done", writer=number, batch=batch, waited=waited)
        except BaseException as error:
            stopping.set()
            with lock:
                _say(word="broken", writer=number, error=f"{type(error).__name__}: {error}")
            raise

    threads = [threading.Thread(target=work, args=(n,)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    _say(word="end")


def _read(options: argparse.Namespace) -> None:
    mode = "r" if int(options.numbers) % 2 else "r+"
    looks, last, commit = 0, None, -1
    _say(word="ready")
    sys.stdin.readline()
    over = threading.Event()  # nobody writes any more

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    with kist.open(options.path, mode) as store:
        while not over.is_set():
            if mode == "r":
                store.refresh()
            before = store.commit_id
            found = look(store)
            demand(before >= commit, f"commit {before} was shown after {commit}")
            demand(last is None or bool((found >= last).all()), f"{found} came after {last}")
            last, commit, looks = found, before, looks + 1
            time.sleep(0.002)  # the writers need processors too
    _say(word="end", looks=looks)


def _say(**what: Any) -> None:
    # One call for each line: whoever is killed has said all of it, or nothing.
    os.write(1, json.dumps(what).encode() + b"\n")


# The judge


@dataclass
class Report:
    """What came of a run.

    Attributes
    ----------
    commits : dict of int to int
        Writer -> batches acknowledged.
    longest_wait : dict of int to float
        Writer -> seconds.
    looks, backups, kills : int
        How many there were.
    failures : list of str
        Broken promises.
    """

    commits: dict[int, int] = field(default_factory=dict)
    longest_wait: dict[int, float] = field(default_factory=dict)
    looks: int = 0
    backups: int = 0
    kills: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def fairness(self) -> float:
        """The fewest commits of a writer for each of the most; 1 is as fair as can be."""
        most = max(self.commits.values(), default=0)
        return min(self.commits.values(), default=0) / most if most else 0.0

    def __str__(self) -> str:
        lines = [
            f"writer {w}: {n} commits, longest wait {self.longest_wait.get(w, 0):.3f} s"
            for w, n in sorted(self.commits.items())
        ]
        lines.append(
            f"{sum(self.commits.values())} commits, fairness (min/max) {self.fairness:.2f}, "
            f"longest wait {max(self.longest_wait.values(), default=0):.3f} s; {self.looks} looks, "
            f"{self.backups} backups, {self.kills} kills, {len(self.failures)} failures"
        )
        return "\n".join([*lines, *(f"  {failure}" for failure in self.failures)])


class _Member:
    """A process of the crowd, and the thread that hears it."""

    def __init__(self, crowd: _Crowd, role: str, numbers: Sequence[int], seconds: float) -> None:
        command = [sys.executable, "-m", "kist.testing.crowd", "--role", role]
        command += ["--path", str(crowd.path), "--numbers", ",".join(map(str, numbers))]
        command += ["--seconds", str(seconds), "--batches", str(crowd.batches)]
        command += ["--durability", crowd.durability]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.role, self.numbers, self.killed, self.ended = role, numbers, False, False
        self.ready = threading.Event()
        self.errors = b""
        self._crowd = crowd
        self._threads = [threading.Thread(target=t) for t in (self._hear, self._hear_errors)]
        for thread in self._threads:
            thread.start()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if said["word"] == "ready":
                self.ready.set()
            self.ended = said["word"] == "end"
            self._crowd.hear(said)
        self.ready.set()  # it died before

    def _hear_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read()

    def go(self) -> None:
        self.ready.wait()
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # it died before; `end` says so

    def kill(self) -> None:
        self.killed = True
        self.process.kill()
        self.end()

    def end(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class _Crowd:
    def __init__(self, path: Path, batches: int, durability: str) -> None:
        self.path, self.batches, self.durability = path, batches, durability
        self.report = Report()
        self._lock = threading.Lock()

    def hear(self, said: dict[str, Any]) -> None:
        report = self.report
        with self._lock:
            if said["word"] == "done":
                writer = said["writer"]
                report.commits[writer] = report.commits.get(writer, 0) + 1
                report.longest_wait[writer] = max(
                    report.longest_wait.get(writer, 0.0), said["waited"]
                )
            elif said["word"] == "broken":
                report.failures.append(f"writer {said['writer']}: {said['error']}")
            report.looks += said.get("looks", 0)

    def acknowledged(self) -> dict[int, int]:
        with self._lock:
            return dict(self.report.commits)

    def compare(self, what: str, store: kist.Store, before: dict[int, int], exact: bool) -> None:
        """Note what a store shows otherwise than it must."""
        try:
            last = look(store)
            report = store.check()
            demand(report.ok, f"check: {report.problems[:1]}")
            for writer, n in before.items():
                # A writer that was killed may have committed without saying so.
                fine = last[writer] == n if exact else last[writer] >= n
                demand(fine, f"writer {writer} has {last[writer]} batches, {n} were acknowledged")
        except (AssertionError, kist.KistError) as error:
            self.report.failures.append(f"{what}: {error}")


def run_crowd(
    folder: str | os.PathLike[str],
    *,
    writers: int = 4,
    readers: int = 2,
    threads: int = 1,
    seconds: float = 60.0,
    batches: int = -1,
    fair: float = 0.0,
    backups: bool = False,
    kills: int = 0,
    durability: str = "full",
    seed: int = 0,
) -> Report:
    """Let a crowd loose on a new store in a folder, and judge.

    Parameters
    ----------
    writers, readers : int
        Processes of each kind.
    threads : int
        Writers within each writing process, which share its store.
    seconds, batches : float, int
        A writer ends after so long, or after so many batches when that is not -1.
    fair : float
        Demand so many commits of the slowest for each of the fastest.
    backups : bool
        Take one after the other, all the time.
    kills : int
        Kill so many writers at most, and start others in their places.
    """
    rng = random.Random(seed)
    path = Path(folder) / "crowd.kist"
    with kist.open(path, "x") as store:
        prepare(store, writers * threads)
    crowd = _Crowd(path, batches, durability)
    report = crowd.report
    started = time.monotonic()

    def join(role: str, numbers: Sequence[int]) -> _Member:
        left = max(0.1, seconds - (time.monotonic() - started))
        return _Member(crowd, role, numbers, left)

    members = [join("write", range(w * threads, (w + 1) * threads)) for w in range(writers)]
    members += [join("read", [r]) for r in range(readers)]
    for member in members:
        member.ready.wait()
    started = time.monotonic()
    try:
        for member in members:
            member.go()
        target = Path(folder) / "copy.kist"
        while any(m.process.poll() is None for m in members if m.role == "write"):
            time.sleep(0.05)
            more = report.kills < kills and time.monotonic() - started < seconds - 0.5
            if more and rng.random() < 0.2:
                place = rng.randrange(writers)
                if members[place].process.poll() is None:
                    members[place].kill()
                    report.kills += 1
                    members.append(members[place])
                    members[place] = join("write", members[place].numbers)
                    members[place].go()
            if backups:
                before = crowd.acknowledged()
                with kist.open(path) as store:
                    store.backup(target, compact=rng.random() < 0.3, overwrite=True)
                with kist.open(target) as copy:
                    crowd.compare(f"backup {report.backups}", copy, before, exact=False)
                report.backups += 1
    finally:
        for member in members:
            if report.failures:
                member.process.kill()
            member.end()
    for member in members:
        if not member.killed and (member.process.returncode or not member.ended):
            words = member.errors.decode(errors="replace").strip().splitlines()[-3:]
            report.failures.append(f"{member.role} {list(member.numbers)}: {' | '.join(words)}")
    with kist.open(path, "r+", timeout=0) as store:
        crowd.compare("in the end", store, crowd.acknowledged(), exact=not kills)
        store.attrs["open"] = True  # nobody has left a lock
    if report.fairness < fair:
        report.failures.append(f"fairness {report.fairness:.2f} is below {fair}")
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kist.testing.crowd")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--batches", type=int, default=-1)
    parser.add_argument("--fair", type=float, default=0.5)
    parser.add_argument("--backups", action="store_true")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--durability", choices=("full", "relaxed", "none"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("--role", "--path", "--numbers"):  # for the processes that it starts
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.role:
        (_write if options.role == "write" else _read)(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = run_crowd(
            folder,
            writers=options.writers,
            readers=options.readers,
            threads=options.threads,
            seconds=options.seconds,
            batches=options.batches,
            fair=options.fair,
            backups=options.backups,
            kills=options.kills,
            durability=options.durability,
            seed=options.seed,
        )
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
