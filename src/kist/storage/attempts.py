"""One range of a file far away, asked for as often as it takes, and no longer than allowed.

What has come before a connection broke is not asked for again: a slow line, or a server that cuts
long answers, brings a range in pieces. Only attempts that bring nothing are counted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from kist.errors import StorageError
from kist.storage.pieces import Range
from kist.storage.transport import Transient

__all__ = ["ATTEMPTS", "LONGEST_PAUSE_S", "SLOWEST", "persist"]

ATTEMPTS: Final = 6
"""That bring nothing, one after the other."""

FIRST_PAUSE_S = 0.1
"""Before the second attempt; doubled each time, and shortened at random by up to a half."""

LONGEST_PAUSE_S: Final = 5.0

SLOWEST: Final = 16 * 1024
"""Bytes that buy a second more: so that a timeout means the same for long and short ranges."""


def persist(
    once: Callable[[int, int], bytes], wanted: Range, *, name: str, timeout_s: float
) -> bytes:
    """Return the bytes of a range.

    Parameters
    ----------
    once : callable
        Makes one request for a range; raises `Transient` where another may succeed.
    timeout_s : float
        No attempt begins later than this, and a second for each `SLOWEST` bytes that came.

    Raises
    ------
    StorageError
        Six attempts in a row brought nothing, or the time is over. A server that asks for
        patience (429, 503) gets all of the time: how long it wants us to wait, transports do not
        tell.
    """
    start, stop = wanted
    parts: list[bytes] = []
    deadline = time.monotonic() + timeout_s
    n_attempts = in_vain = 0
    while True:
        try:
            parts.append(once(start, stop))
            return parts[0] if len(parts) == 1 else b"".join(parts)
        except Transient as error:
            n_attempts += 1
            in_vain = 0 if error.data else in_vain + 1
            if error.data:
                parts.append(error.data)
                start += len(error.data)
                deadline += len(error.data) / SLOWEST
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** max(0, in_vain - 1))
            pause = longest * random.uniform(0.5, 1)
            given_up = in_vain >= ATTEMPTS and not error.is_busy
            # One attempt is no proof that the time is over: this process, too, may have slept.
            is_late = n_attempts > 1 and time.monotonic() + pause > deadline
            if given_up or is_late:
                raise StorageError(
                    f"{name!r}, bytes {start:,} to {stop:,}: {error} ({n_attempts} attempts, "
                    f"timeout {timeout_s:g} s); try again later, or open it with a longer timeout="
                ) from error
        time.sleep(pause)
