"""Timing of steps whose results are verified outside the time."""

from __future__ import annotations

import time
from abc import ABC
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

T = TypeVar("T")


class Store(ABC):
    """One way to store things, in a folder of its own."""

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def missing(cls) -> str | None:
        """Why this engine cannot run here, or None when it can."""
        for name in cls.modules:
            try:
                import_module(name)
            except ImportError as error:
                return f"{name} is not installed ({error})"
        return None

    def stored_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


class Steps:
    """Seconds by step, further figures, and the steps that gave a wrong result."""

    def __init__(self, turn: int = 0) -> None:
        self.turn = turn
        self.seconds: dict[str, list[float]] = {}
        self.figures: dict[str, float] = {}
        self.wrong: list[str] = []

    def time(
        self, step: str, call: Callable[[], T], check: Callable[[T], bool] = lambda _: True
    ) -> T:
        """Take one sample of a step, and verify its result."""
        start = time.perf_counter()
        result = call()
        self.seconds.setdefault(step, []).append(time.perf_counter() - start)
        if not check(result) and step not in self.wrong:
            self.wrong.append(step)
        return result

    def note(self, figure: str, value: float) -> None:
        """Keep a figure that is not a time."""
        self.figures[figure] = value


def equal(found: Any, wanted: Any) -> bool:
    """Whether two arrays have the same dtype, shape and bytes."""
    found = np.asarray(found)
    return (
        found.dtype == wanted.dtype
        and found.shape == wanted.shape
        and np.ascontiguousarray(found).tobytes() == np.ascontiguousarray(wanted).tobytes()
    )
