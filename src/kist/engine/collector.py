"""Python's cyclic collector, kept from visiting what is made by the thousand and stays.

It looks at all that has come whenever enough has; where nothing of it is garbage, that is in vain.
"""

from __future__ import annotations

import gc
import os
import threading

__all__ = ["Pause", "pause"]


class Pause:
    """The collector's pause. Threads that commit to several stores at once share one."""

    def __init__(self) -> None:
        self._users = 0
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """Begin it; false where a program runs without the collector, as it shall go on doing."""
        with self._lock:
            if not self._users and not gc.isenabled():
                return False
            self._users += 1
            gc.disable()
            return True

    def end(self) -> None:
        """End it, if nobody else needs it."""
        with self._lock:
            self._users -= 1
            if not self._users:
                gc.enable()

    def after_fork_in_child(self) -> None:
        """The threads that paused it do not exist here."""
        self._lock = threading.Lock()
        if self._users:
            self._users = 0
            gc.enable()


pause = Pause()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pause.after_fork_in_child)
