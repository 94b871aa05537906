"""Threads for work on pages: codecs and checksums let the interpreter go."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kist import options

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_key: tuple[int, int] = (0, 0)
_inside = threading.local()


def run(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Results of the tasks, in order; run on `options.n_threads` threads.

    A single task, a single thread, a call from within a task, or at the end of the program, runs in
    place.
    """
    if len(tasks) < 2:
        return [task() for task in tasks]
    threads = options.n_threads
    if threads < 2 or getattr(_inside, "task", False) or _is_ending():
        return [task() for task in tasks]
    # The calling thread works too; taking tasks one by one evens out unequal ones.
    job = _Job(tasks)
    team = _Team(min(threads, len(tasks)))

    def work() -> None:
        _inside.task, _inside.team = True, team
        try:
            job.work()
            team.help()
        finally:
            _inside.task, _inside.team = False, None

    others = [executor(threads).submit(work) for _ in range(team.n_busy - 1)]
    work()
    for other in others:
        other.result()
    return job.found()


def share(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Results of the tasks, in order; within a task of `run`, its threads that are idle help.

    For tasks of a millisecond and more: of unequal columns, the longest is done by all.
    """
    team: _Team | None = getattr(_inside, "team", None)
    if team is None or len(tasks) < 2:
        return run(tasks)
    job = _Job(tasks)
    team.offer(job)
    job.work()
    team.finish(job)
    return job.found()


class _Job(Generic[T]):
    """Tasks that several threads take one by one."""

    def __init__(self, tasks: Sequence[Callable[[], T]]) -> None:
        self.tasks = tasks
        self.order = iter(range(len(tasks)))
        self.results: list[Any] = [None] * len(tasks)
        self.errors: list[BaseException] = []
        self.n_helpers = 0

    def work(self) -> None:
        """Do what nobody has taken."""
        try:
            for at in self.order:
                if self.errors:
                    return
                self.results[at] = self.tasks[at]()
        except BaseException as error:
            self.errors.append(error)

    def found(self) -> list[T]:
        """Return the results; call it when all threads are done."""
        if self.errors:
            raise self.errors[0]
        return self.results


class _Team:
    """The threads of one `run`: who is idle takes part in jobs that others offer."""

    def __init__(self, n_threads: int) -> None:
        self.n_busy = n_threads
        self._change = threading.Condition()
        self._offered: list[_Job[Any]] = []

    def offer(self, job: _Job[Any]) -> None:
        with self._change:
            self._offered.append(job)
            self._change.notify_all()

    def finish(self, job: _Job[Any]) -> None:
        """Wait for those who help with a job of which every task is taken."""
        with self._change:
            self._offered.remove(job)
            while job.n_helpers:
                self._change.wait()

    def help(self) -> None:
        """Take part in jobs until no thread works on tasks of its own."""
        with self._change:
            self.n_busy -= 1
            self._change.notify_all()
        while (job := self._next()) is not None:
            job.work()
            with self._change:
                job.n_helpers -= 1
                self._change.notify_all()

    def _next(self) -> _Job[Any] | None:
        with self._change:
            while True:
                for job in self._offered:
                    if length_hint(job.order) and not job.errors:
                        job.n_helpers += 1
                        return job
                if not self.n_busy:
                    return None
                self._change.wait()


def run_ahead(tasks: Iterable[Callable[[], T]], ahead: int) -> Iterator[T]:
    """Give the results of the tasks, in order; up to `ahead` later ones run meanwhile.

    Tasks are taken from `tasks` by the caller's thread, which works on none of them: it may read
    what they need and write what they gave. With a single thread each runs when it is asked for.
    Who stops early waits for those that run.
    """
    if works_in_place():
        for task in tasks:
            yield task()
        return
    some = iter(tasks)
    waiting: deque[Future[T]] = deque()
    try:
        while True:
            for task in islice(some, ahead + 1 - len(waiting)):
                waiting.append(executor(options.n_threads).submit(alone, task))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            if not future.cancel():
                future.exception()


def begin(task: Callable[[], T]) -> Callable[[], T]:
    """Let another thread begin with a task; what this returns waits for it, and gives its result.

    Where `run` would work in place, the task is done when it is asked for.
    """
    if works_in_place():
        return task
    return executor(options.n_threads).submit(alone, task).result


def works_in_place() -> bool:
    """Tell whether this thread does all itself: it is the only one, or one of those that help."""
    return options.n_threads < 2 or getattr(_inside, "task", False) or _is_ending()


def _is_ending() -> bool:
    """Tell whether the interpreter ends: what is open is closed then, and no thread begins."""
    return not threading.main_thread().is_alive()


def alone(task: Callable[[], T]) -> T:
    """Do a task, which begins no threads of its own."""
    _inside.task = True
    try:
        return task()
    finally:
        _inside.task = False


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # its holder does not exist here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def executor(threads: int) -> ThreadPoolExecutor:
    """Return the threads of this process, which are kept."""
    from concurrent.futures import ThreadPoolExecutor  # 5 ms, with the logging that it loads

    global _pool, _pool_key
    key = (os.getpid(), threads)  # a forked child has none of its parent's threads
    with _lock:
        if _pool is None or _pool_key != key:
            _pool = ThreadPoolExecutor(threads, thread_name_prefix="kist")
            _pool_key = key
        return _pool
