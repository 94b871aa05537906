"""Whose line a warning is about."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["user_level"]


def user_level() -> int:
    """Return the stack level of the first caller outside kist, counted from our caller."""
    level = 1
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "kist":
        frame = frame.f_back
        level += 1
    return level
