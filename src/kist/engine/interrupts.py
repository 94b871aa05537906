"""Hold Ctrl-C and friends while the outcome of a commit is not known."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the module signal costs 60 us more a commit
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

Handler = Callable[[int, FrameType | None], object]
_SIGNALS = (int(signal.SIGINT), int(signal.SIGTERM))


class hold_interrupts:  # used as a statement: with hold_interrupts():
    """Context: signals with handlers in Python run when it ends, not within.

    Only the main thread runs such handlers, so elsewhere there is nothing to do. A signal that
    arrives within is remembered, and its handler is called at the end: a KeyboardInterrupt
    then rises with the outcome known.
    """

    def __enter__(self) -> None:
        self._old: list[tuple[int, Handler]] = []
        self._arrived: list[tuple[int, FrameType | None]] = []
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in _SIGNALS:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._old.append((number, handler))
                    _signal.signal(number, self._remember)
        except BaseException:  # the handler of one that is not held yet
            self.__exit__(None, None, None)
            raise

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append((number, frame))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old:
            _signal.signal(number, handler)
        if self._arrived:
            handlers = dict(self._old)
            for number, frame in self._arrived:
                handlers[number](number, frame)


def persistently(end: Callable[[], object]) -> None:
    """Call what ends something, again where memory runs out: what it holds would stay held."""
    for _ in range(50):
        try:
            end()
            return
        except MemoryError:
            continue
    end()
