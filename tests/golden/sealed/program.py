"""Write files of this folder anew: `python tests/golden/sealed/program.py table store`.

Each is made by the `make(path)` of the module of its name. Clock and randomness are frozen, so it
has the same bytes each time. Without a name, all are written. Those before `store` were written
when each sealed body had a key for itself: they stay, to be read.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import runpy
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import kist

FOLDER = Path(__file__).resolve().parent
NAMES = ("table", "indexed", "categories", "datasets", "groups", "store", "batches", "attacked")


@contextmanager
def frozen(name: str) -> Iterator[None]:
    """Freeze clock and randomness, by a name."""
    ticks = itertools.count(1_700_000_000_000_000_000, 1_000_000)
    draws = itertools.count()

    def urandom(n: int) -> bytes:
        return hashlib.shake_128(f"{name} {next(draws)}".encode()).digest(n)

    with (
        mock.patch.object(time, "time_ns", lambda: next(ticks)),
        mock.patch.object(os, "urandom", urandom),
    ):
        kist.options.n_threads = 1  # the order of writes follows from the program
        try:
            yield
        finally:
            kist.options.reset()


def write(name: str) -> None:
    """Write `name`.kist."""
    make = runpy.run_path(str(FOLDER / f"{name}.py"))["make"]
    path = FOLDER / f"{name}.kist"
    path.unlink(missing_ok=True)
    with frozen(name):
        make(path)


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        write(name)
