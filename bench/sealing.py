"""What sealing costs: columns written and read, sealed and not, in turns.

    python -m bench.sealing [--rows 2000000] [--rounds 15] [--codec fast|balanced|small]

Four columns that compress to different degrees, and the archive's table of 50 fields, a quarter of
the rows, read field by field. The file is opened, written or read, and closed; and read again by a
handle that stays open. Prints the fastest of all rounds in milliseconds, of wall time and of
processor time, and the median of what the sealed run of a round took in terms of the open one: they
take turns, so that both see the same machine. Beside it the floor: what the cipher alone takes for
the stored bytes, in units that are in the caches and one after the other, over the processor time
of the open run.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import kist
from bench.workloads import table
from kist.crypto.aead import Units
from kist.crypto.hidden import Hidden

__all__ = ["main"]

KEY = os.urandom(32)
STEP = 1 << 15

Columns = Mapping[str, np.ndarray[Any, Any]]


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


def _write(path: Path, values: Any, codec: str, sealed: bool) -> None:
    with kist.open(path, "w") as store:
        store.create_table("t", values, codec=codec, encrypt=KEY if sealed else None)


def _read(path: Path) -> None:
    with kist.open(path, secrets=KEY) as store:
        _read_again(store)


def _read_again(store: kist.Store) -> None:
    held = store["t"]
    for name in held.columns:
        held[name][:]


def _cipher_ms(n_bytes: int) -> float:
    """Milliseconds of opening so many bytes in units, without anything around it."""
    n = 8
    units = Units.under(Hidden(KEY), bytes(64))
    plain = memoryview(bytearray(STEP * n))
    sealed = memoryview(bytearray((STEP + 16) * n))
    units.seal(STEP, plain, sealed)
    fastest = min(_timed(lambda: units.unseal(STEP, 0, sealed, plain))[1] for _ in range(99))
    return fastest * n_bytes / len(plain)


def _measure(name: str, values: Any, codec: str, rounds: int, folder: Path) -> None:
    taken: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for sealed in (False, True):
            path = folder / f"{sealed}.kist"
            path.unlink(missing_ok=True)  # else which of them also tidies up hangs on their sizes
            write = _timed(lambda p=path, s=sealed: _write(p, values, codec, s))  # type: ignore[misc]
            taken.setdefault(("write", sealed), []).append(write)
            taken.setdefault(("read", sealed), []).append(_timed(lambda p=path: _read(p)))  # type: ignore[misc]
            with kist.open(path, secrets=KEY) as store:
                _read_again(store)
                again = _timed(lambda s=store: _read_again(s))  # type: ignore[misc]
                taken.setdefault(("again", sealed), []).append(again)
    with kist.open(folder / "False.kist") as store:
        stored = store["t"].nbytes_stored
    parts = []
    for what in ("write", "read", "again"):
        plain, own = np.array(taken[what, False]), np.array(taken[what, True])
        (wall, cpu), (wall_s, cpu_s) = plain.min(0), own.min(0)
        ratio, cpu_ratio = np.median(own / plain, 0)
        parts.append(
            f"{wall:.1f} {wall_s:.1f} {ratio:.2f}x (cpu {cpu:.1f} {cpu_s:.1f} {cpu_ratio:.2f}x,"
            f" floor {1 + _cipher_ms(stored) / cpu:.2f}x)"
        )
    print(f"{name}, {stored / 1e6:.1f} MB | {' | '.join(parts)}", flush=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--codec", default="auto")
    parser.add_argument("--only", default="", help="columns whose names begin so")
    given = parser.parse_args()
    print(f"AES-256-GCM, units of 32 KiB: {1e-6 / _cipher_ms(1):.2f} GB/s in the caches")
    print("column, stored | write: open, sealed, ratio (processor time) | read | read, file open")
    found: dict[str, Any] = {name: {"v": v} for name, v in columns(given.rows).items()}
    if "archive".startswith(given.only):
        found["archive"] = table(given.rows // 4)
    with tempfile.TemporaryDirectory() as folder:
        for name, values in found.items():
            if name.startswith(given.only):
                _measure(name, values, given.codec, given.rounds, Path(folder))


if __name__ == "__main__":
    main()
