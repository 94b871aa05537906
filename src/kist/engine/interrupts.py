"""Hold Ctrl-C and friends while the outcome of a commit is not known."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the module signal costs 60 us more a commit
import os
import signal
import threading
from collections.abc import Callable
from threading import get_ident
from types import FrameType, TracebackType
from typing import Final

Handler = Callable[[int, FrameType | None], object]
_SIGINT, _SIGTERM = int(signal.SIGINT), int(signal.SIGTERM)
_main = threading.main_thread().ident  # the only thread in which handlers run
_holding: list[hold_interrupts] = []  # the outermost one, while it holds


class hold_interrupts:  # used as a statement: with hold_interrupts():
    """Context: signals with handlers in Python run when it ends, not within.

    Only the main thread runs such handlers, so elsewhere there is nothing to do. A signal that
    arrives within is remembered, and its handler is called at the end: a KeyboardInterrupt
    then rises with the outcome known. Of nested ones the outermost holds.
    """

    __slots__ = ("_arrived", "_old")

    def __enter__(self) -> None:
        self._old: tuple[tuple[int, Handler], ...] = ()
        if _holding or get_ident() != _main:
            return
        self._arrived: list[tuple[int, FrameType | None]] = []
        # Each is noted before it is held: putting back one that was not does no harm. No loop:
        # this is a part of every small commit.
        try:
            if callable(handler := _signal.getsignal(_SIGINT)):
                self._old = ((_SIGINT, handler),)
                _signal.signal(_SIGINT, self._remember)
            if callable(handler := _signal.getsignal(_SIGTERM)):
                self._old += ((_SIGTERM, handler),)
                _signal.signal(_SIGTERM, self._remember)
            _holding.append(self)
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
        if not self._old:
            return
        _holding.clear()
        for number, handler in self._old:
            _signal.signal(number, handler)
        if self._arrived:
            handlers = dict(self._old)
            for number, frame in self._arrived:
                handlers[number](number, frame)


STORMS: Final = range(20)
"""How often is tried again to do what must be done, where more signals arrive before they are held.

A second Ctrl-C may come within the microseconds that `hold_interrupts` takes to begin. What ends
something is written out as a loop, because each call is a place where a signal may be noticed::

    for _ in STORMS:
        try:
            if not ended:
                with hold_interrupts():
                    end()
                    ended = True
            break
        except (KeyboardInterrupt, SystemExit) as error:
            arrived = error
    if arrived is not None:
        raise arrived
"""


def persistently(end: Callable[[], object]) -> None:
    """Call what ends something, again where memory runs out: what it holds would stay held."""
    for _ in range(50):
        try:
            end()
            return
        except MemoryError:
            continue
    end()


def _after_fork_in_child() -> None:
    # The thread that forked is the main one now; what held in another one will never end.
    global _main
    _main = threading.get_ident()
    for holder in _holding.copy():
        holder._arrived = []
        holder.__exit__(None, None, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
