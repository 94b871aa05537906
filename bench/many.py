"""``python -m bench.many``: many arrays, tables or appends in few commits, beside h5py and NumPy.

Frames of a camera appended one by one; a checkpoint of 220 arrays, written again and again in one
transaction; tables of 5,000 rows and 50 fields; appends that share a transaction, and what reading
costs after them. Every write is on the disk before its time ends: h5py's file is flushed and
synced, NumPy's are written beside, synced and renamed. What was written is compared before it
counts. Times are medians, and the worst, in ms.

``python -m bench.many FOLDER 0.1`` names a folder and takes a tenth of each.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import kist
from bench.engines.base import sync_file, sync_path
from bench.records import same_bits
from bench.workloads import TABLE_DTYPE, table

Array = np.ndarray[Any, Any]
Row = tuple[str, str, list[float], Path | None]

FRAME, FRAMES = 2048, 64
ROUNDS = 8
TABLES, TABLE_ROWS = 10, 5_000
APPENDS, APPEND_ROWS = 200, 1_000
ARRAY_APPENDS = 5_000
READS = 5
PLAIN = np.dtype(
    [(n, str(TABLE_DTYPE[n]).replace("datetime64[ns]", "i8")) for n in TABLE_DTYPE.names or ()]
)
"""The rows as HDF5 has them: it knows no dates."""


def times_of(calls: Iterable[Callable[[], Any]]) -> list[float]:
    """Milliseconds of each call."""
    times = []
    for call in calls:
        begun = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begun))
    return times


def demand(right: bool, what: str) -> None:
    """Stop when something else was read than was written."""
    if not right:
        raise AssertionError(f"{what}: other values were read than were written")


def frames(folder: Path, part: float) -> Iterator[Row]:
    """Append camera frames of 8 MB one by one, each synced; then read one of them."""
    n, side = max(3, int(FRAMES * part)), max(64, int(FRAME * min(1.0, part * 4)))
    y, x = np.mgrid[:side, :side]
    first = (
        np.random.default_rng(0).poisson(100 + 50 * np.sin(y / 50) * np.cos(x / 80)).astype("u2")
    )
    made = [np.roll(first, i * 37, axis=0) for i in range(8)]
    what = f"{n} frames of {side} x {side} u2"
    wanted = made[(n // 2) % 8]

    with kist.open(folder / "frames.kist", "w") as store:
        stack = store.create_array("frames", shape=(0, side, side), dtype="u2")
        yield (
            what,
            "append, kist",
            times_of(partial(stack.append, made[i % 8][None]) for i in range(n)),
            folder / "frames.kist",
        )
    with h5py.File(folder / "frames.h5", "w") as file:
        data = file.create_dataset(
            "frames", (0, side, side), "u2", maxshape=(None, side, side), chunks=(1, side, side)
        )

        def append(frame: Array) -> None:
            data.resize(len(data) + 1, axis=0)
            data[-1] = frame
            file.flush()
            sync_path(folder / "frames.h5")

        yield (
            what,
            "append, h5py",
            times_of(partial(append, made[i % 8]) for i in range(n)),
            folder / "frames.h5",
        )
    with kist.open(folder / "frames.kist") as store:
        demand(np.array_equal(store["frames"][n // 2], wanted), "frames, kist")
    with h5py.File(folder / "frames.h5") as file:
        demand(np.array_equal(file["frames"][n // 2], wanted), "frames, h5py")

    def one_of_kist() -> None:
        with kist.open(folder / "frames.kist") as store:
            store["frames"][n // 2]

    def one_of_h5py() -> None:
        with h5py.File(folder / "frames.h5") as file:
            file["frames"][n // 2]

    yield what, "open and read one, kist", times_of([one_of_kist] * READS), None
    yield what, "open and read one, h5py", times_of([one_of_h5py] * READS), None


def state_of(part: float) -> dict[str, Array]:
    """What a simulation or a network keeps: 120 matrices of f4 and 100 vectors of f8."""
    rng = np.random.default_rng(0)
    side = max(8, int(256 * min(1.0, part * 4)))
    state = {
        f"layer{i}/w": rng.normal(size=(side, 64 * (1 + i % 7))).astype("f4") for i in range(120)
    }
    return state | {f"moment/{i}": rng.normal(size=1000) for i in range(100)}


def checkpoints(folder: Path, part: float) -> Iterator[Row]:
    """Replace all arrays of a state, round for round, as one commit or one file."""
    rounds = max(2, int(ROUNDS * part))
    states = [state_of(part)]
    for _ in range(rounds - 1):
        states.append(
            {name: values + values.dtype.type(0.001) for name, values in states[-1].items()}
        )
    n_bytes = sum(values.nbytes for values in states[0].values())
    what = f"checkpoint of {len(states[0])} arrays, {n_bytes / 1e6:.0f} MB"

    def in_npz(state: dict[str, Array]) -> None:
        np.savez(folder / "part.npz", **state)
        sync_path(folder / "part.npz")
        (folder / "part.npz").replace(folder / "state.npz")
        sync_path(folder)

    def in_h5py(state: dict[str, Array]) -> None:
        with h5py.File(folder / "part.h5", "w") as file:
            for name, values in state.items():
                file[name] = values
        sync_path(folder / "part.h5")
        (folder / "part.h5").replace(folder / "state.h5")
        sync_path(folder)

    with kist.open(folder / "state.kist", "w") as store:

        def in_kist(state: dict[str, Array]) -> None:
            with store.transaction():
                for name, values in state.items():
                    store[name] = values

        for engine, save, file in (
            ("kist", in_kist, "state.kist"),
            ("npz", in_npz, "state.npz"),
            ("h5py", in_h5py, "state.h5"),
        ):
            yield what, engine, times_of(partial(save, state) for state in states), folder / file
        demand(all(same_bits(store[n][:], v) for n, v in states[-1].items()), "checkpoint, kist")
    with np.load(folder / "state.npz") as saved:
        demand(all(same_bits(saved[n], v) for n, v in states[-1].items()), "checkpoint, npz")


def tables(folder: Path, part: float) -> Iterator[Row]:
    """Write tables of 5,000 rows one by one, each a commit or a file."""
    n_rows = max(10, int(TABLE_ROWS * part))
    made = [table(n_rows, seed=i) for i in range(TABLES)]
    what = f"{TABLES} tables of {n_rows:,} rows, 50 fields"
    with kist.open(folder / "tables.kist", "w") as store:

        def to_kist(i: int) -> None:
            store[f"t{i}"] = made[i]

        yield (
            what,
            "each, kist",
            times_of(partial(to_kist, i) for i in range(TABLES)),
            folder / "tables.kist",
        )
        demand(all(same_bits(store[f"t{i}"][:], made[i]) for i in range(TABLES)), "tables, kist")

    def to_npy(i: int) -> None:
        np.save(folder / f"t{i}.npy", made[i])
        sync_file(folder / f"t{i}.npy")

    with h5py.File(folder / "tables.h5", "w") as file:

        def to_h5py(i: int) -> None:
            file[f"t{i}"] = made[i].view(PLAIN)
            file.flush()
            sync_path(folder / "tables.h5")

        yield what, "each, npy", times_of(partial(to_npy, i) for i in range(TABLES)), None
        yield (
            what,
            "each, h5py",
            times_of(partial(to_h5py, i) for i in range(TABLES)),
            folder / "tables.h5",
        )


def appends(folder: Path, part: float) -> Iterator[Row]:
    """Append many times in one transaction; then read, beside what was written at once."""
    n, n_arrays = max(8, int(APPENDS * part)), max(8, int(ARRAY_APPENDS * part))
    rows = table(APPEND_ROWS)
    what = f"{n} appends of {APPEND_ROWS:,} rows in a transaction"
    with kist.open(folder / "appends.kist", "w") as store:
        many = store.create_table("many", dtype=TABLE_DTYPE)
        store["once"] = np.tile(rows, n)

        def grow() -> None:
            with store.transaction():
                for _ in range(n):
                    many.append(rows)

        yield what, "all, kist", times_of([grow]), None
        values = rows["price0"][:10].copy()
        line = store.create_array("line", shape=(0,), dtype=values.dtype)

        def lengthen() -> None:
            with store.transaction():
                for _ in range(n_arrays):
                    line.append(values)

        grown = times_of([lengthen])
        demand(np.array_equal(line[:], np.tile(values, n_arrays)), "appends to an array")
    with kist.open(folder / "appends.kist") as store:
        demand(same_bits(store["many"][:], store["once"][:]), "appends")
        for name, told in (("many", "a column afterwards"), ("once", "a column written at once")):
            column = store[name]["price0"]
            yield (
                what,
                f"{told}, kist",
                times_of([partial(column.__getitem__, slice(None))] * READS),
                None,
            )
    yield f"{n_arrays:,} appends of 10 values in a transaction", "all, kist", grown, None


def main(folder: Path, part: float = 1.0) -> None:
    """Print one table, line by line as it is measured."""
    kist.options.n_threads = 2
    print("| what | step | median ms | worst ms | MB of the file |\n|---|---|---:|---:|---:|")
    for measure in (frames, checkpoints, tables, appends):
        with tempfile.TemporaryDirectory(dir=folder) as made:
            for what, step, times, path in measure(Path(made), part):
                middle, worst = statistics.median(times), max(times)
                size = "" if path is None else f"{path.stat().st_size / 1e6:,.1f}"
                print(f"| {what} | {step} | {middle:,.4g} | {worst:,.4g} | {size} |", flush=True)


if __name__ == "__main__":
    place = sys.argv[1] if sys.argv[1:] else None
    with tempfile.TemporaryDirectory(dir=place) as own:
        main(Path(own), float(sys.argv[2]) if sys.argv[2:] else 1.0)
