"""How the process ends when nobody reads its output, its output is full, or it is interrupted.

Python would print a traceback then, and end with a code that means something else here. What is
under way is taken back first, files beside their places too: the error passes through all that is
open. Only then the process ends by the signal, which shells and scripts look for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from typing import Final, NoReturn

__all__ = [
    "UNREADABLE", "by_signal", "interrupted", "is_closed_pipe", "on_signals", "streams_there",
    "without_output",
]  # fmt: skip

UNREADABLE: Final = 3

_ENDING: Final = {"SIGTERM": "terminated", "SIGHUP": "hung up"}
"""Signals that end a program as Ctrl-C does, and what is said then."""

_received: list[int] = []

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def is_closed_pipe(error: BaseException) -> bool:
    """Tell whether this, or what led to it, says that nobody reads what is written."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BrokenPipeError) or getattr(seen, "errno", None) == errno.EPIPE:
            return True
        seen = seen.__cause__
    return False


def on_signals() -> None:
    """Let SIGTERM and SIGHUP take back what is under way, as Ctrl-C does.

    Else `timeout`, batch systems and services that stop would leave files beside their places. A
    second one ends the process at once; what whoever started it had ignored, as `nohup` does, stays
    so.
    """
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # only the main thread may
                signal.signal(number, _receive)


def _receive(number: int, frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    _received.append(number)
    raise KeyboardInterrupt


def interrupted() -> tuple[int, str]:
    """Return the signal that interrupted the process, and what is said of it."""
    number = _received[0] if _received else signal.SIGINT
    return number, _ENDING.get(signal.Signals(number).name, "interrupted")


def by_signal(number: int | None) -> NoReturn:
    """End the process by a signal, as if there were nobody who catches it."""
    if os.name != "nt" and number is not None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(128 + (number or 13))  # where signals end nothing


def streams_there() -> None:
    """Put the null device where a stream was closed by whoever started the process.

    Else the first file that is opened would get its number, and what libraries print to
    standard error would be written into a store.
    """
    for name, mode in _STREAMS:
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(handle, mode, closefd=False))


def without_output(error: OSError) -> int:
    """Return the exit code when standard output takes no more, and say so.

    When nobody reads it, there is nobody to tell: other programs end without a word then, by the
    signal.
    """
    if is_closed_pipe(error):
        by_signal(getattr(signal, "SIGPIPE", None))
    with contextlib.suppress(OSError):
        sys.stderr.write(f"kist: standard output: {error.strerror}\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python tries again at exit
    return UNREADABLE
