"""Tasks for one file that another thread does, while this one goes on."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kist import options
from kist.engine.parallel import alone, executor, works_in_place

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class Lane:
    """Tasks that another thread begins in the order in which they came, while this one goes on.

    Parameters
    ----------
    shared : bool
        Who waits for a task does others meanwhile: two are done at once. Else one after the other.
    """

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._process = os.getpid()
        self._change = threading.Condition()
        self._tasks: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._is_busy = False

    def begin(self, task: Callable[[], T]) -> Callable[[], T]:
        """Let another thread do a task; what this returns waits for it, and gives its result.

        Where `run` would work in place, the task is done when it is asked for.
        """
        if works_in_place():
            return task
        pool = executor(options.n_threads)
        from concurrent.futures import Future

        future: Future[T] = Future()
        with self._change:
            self._tasks.append((future, task))
            if not self._is_busy:
                self._is_busy = True
                try:
                    pool.submit(self._work)
                except BaseException:
                    self._is_busy = False
                    self._tasks.clear()
                    raise
        return partial(self._wait, future)

    def _wait(self, future: Future[T]) -> T:
        while self._shared and not future.done():
            with self._change:
                if not self._tasks:
                    break
                some = self._tasks.popleft()
            _do(*some)
            error = some[0].exception()
            if error is not None and not isinstance(error, Exception):
                raise error  # Ctrl-C
        return future.result()

    def _work(self) -> None:
        while True:
            with self._change:
                if not self._tasks:
                    self._is_busy = False
                    self._change.notify_all()
                    return
                some = self._tasks.popleft()
            _do(*some)
            del some  # and what it holds, while this waits

    def settle(self, *, cancel: bool = False) -> None:
        """Wait until all are done, with or without an error.

        Parameters
        ----------
        cancel : bool
            What has not begun is not done at all.
        """
        if os.getpid() != self._process:
            return  # the thread that did them does not exist here
        with self._change:
            while cancel and self._tasks:
                self._tasks.popleft()[0].cancel()
            while self._is_busy:
                self._change.wait()


def _do(future: Future[T], task: Callable[[], T]) -> None:
    try:
        future.set_result(alone(task))
    except BaseException as error:
        future.set_exception(error)
