"""What sealing costs: a column written and read, sealed and not, in turns.

    python -m bench.sealing [--rows 2000000] [--rounds 15]

Prints the fastest of all rounds in milliseconds, of wall time and of processor time, and the median
of what the sealed run of a round took in terms of the open one: they take turns, so that both see
the same machine. And how fast the cipher alone is, in one thread: it holds the interpreter, so that
two threads are no faster.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import kist
from kist.crypto.aead import Units
from kist.crypto.hidden import Hidden

__all__ = ["main"]

KEY = os.urandom(32)


def columns(n: int) -> dict[str, np.ndarray[Any, Any]]:
    """Columns that compress to different degrees."""
    rng = np.random.default_rng(1)
    return {
        "prices f8": np.round(100 + np.cumsum(rng.normal(0, 0.05, n)), 2),
        "codes S4": rng.choice(np.array([b"AAPL", b"MSFT", b"X", b"GOOG"]), n),
        "integers i4": rng.integers(0, 1000, n, dtype="i4"),
        "noise f8": rng.normal(size=n),
    }


def _timed(what: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    what()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def _write(path: Path, values: np.ndarray[Any, Any], sealed: bool) -> None:
    encrypt = {"v": KEY} if sealed else None
    with kist.open(path, "w") as store:
        store.create_table("t", {"v": values}, encrypt=encrypt)


def _read(path: Path) -> None:
    with kist.open(path, secrets=KEY) as store:
        store["t"]["v"][:]


def _cipher_speed() -> float:
    """GB/s of opening 16 MiB in units, without anything around it."""
    step, n = 1 << 15, 512
    units = Units(Hidden(KEY), bytes(64))
    plain = memoryview(bytearray(step * n))
    sealed = memoryview(bytearray((step + 16) * n))
    units.seal(step, plain, sealed)
    fastest = min(_timed(lambda: units.unseal(step, 0, sealed, plain))[1] for _ in range(9))
    return len(plain) / fastest / 1e6


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    print(f"AES-256-GCM, units of 32 KiB: {_cipher_speed():.2f} GB/s")
    print("column | write: open, sealed, ratio | read: open, sealed, ratio (processor time)")
    with tempfile.TemporaryDirectory() as folder:
        for name, values in columns(given.rows).items():
            taken: dict[tuple[str, bool], list[tuple[float, float]]] = {}
            for _ in range(given.rounds):
                for sealed in (False, True):
                    path = Path(folder) / f"{sealed}.kist"
                    for what, run in (
                        ("write", lambda p=path, v=values, s=sealed: _write(p, v, s)),
                        ("read", lambda p=path: _read(p)),
                    ):
                        taken.setdefault((what, sealed), []).append(_timed(run))
            parts = []
            for what in ("write", "read"):
                plain, own = np.array(taken[what, False]), np.array(taken[what, True])
                (wall, cpu), (wall_s, cpu_s) = plain.min(0), own.min(0)
                ratio, cpu_ratio = np.median(own / plain, 0)
                parts.append(
                    f"{wall:.1f} {wall_s:.1f} {ratio:.2f}x"
                    f" (cpu {cpu:.1f} {cpu_s:.1f} {cpu_ratio:.2f}x)"
                )
            print(f"{name} | {' | '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
