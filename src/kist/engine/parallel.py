"""Threads for work on pages: codecs and checksums let the interpreter go."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

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

    A single task, a single thread, or a call from within a task runs in place.
    """
    threads = options.n_threads
    if len(tasks) < 2 or threads < 2 or getattr(_inside, "task", False):
        return [task() for task in tasks]
    # The calling thread works too; taking tasks one by one evens out unequal ones.
    results: list[T | None] = [None] * len(tasks)
    errors: list[BaseException] = []
    order = iter(range(len(tasks)))

    def work() -> None:
        _inside.task = True
        try:
            for i in order:
                if errors:
                    return
                results[i] = tasks[i]()
        except BaseException as error:
            errors.append(error)
        finally:
            _inside.task = False

    others = [_executor(threads).submit(work) for _ in range(min(threads, len(tasks)) - 1)]
    work()
    for other in others:
        other.result()
    if errors:
        raise errors[0]
    return results  # type: ignore[return-value]


def run_ahead(tasks: Iterable[Callable[[], T]], ahead: int) -> Iterator[T]:
    """Give the results of the tasks, in order; up to `ahead` later ones run meanwhile.

    Tasks are taken from `tasks` by the caller's thread, which works on none of them: it may read
    what they need and write what they gave. With a single thread each runs when it is asked for.
    Who stops early waits for those that run.
    """
    if options.n_threads < 2 or getattr(_inside, "task", False):
        for task in tasks:
            yield task()
        return
    some = iter(tasks)
    waiting: deque[Future[T]] = deque()
    try:
        while True:
            for task in islice(some, ahead + 1 - len(waiting)):
                waiting.append(_executor(options.n_threads).submit(_alone, task))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            if not future.cancel():
                future.exception()


def _alone(task: Callable[[], T]) -> T:
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


def _executor(threads: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # 5 ms, with the logging that it loads

    global _pool, _pool_key
    key = (os.getpid(), threads)  # a forked child has none of its parent's threads
    with _lock:
        if _pool is None or _pool_key != key:
            _pool = ThreadPoolExecutor(threads, thread_name_prefix="kist")
            _pool_key = key
        return _pool
