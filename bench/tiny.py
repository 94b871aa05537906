"""``python -m bench.tiny``: very many tiny datasets out to other formats and in again.

10,000 arrays of four integers, a thousand in each group (SQLite: tables of three rows), go from a
store into each format and from a file of it into a store. Beside each step stands what the other
library takes alone for the same: to write the file that is read, and to read all its values. Each
step runs in a process of its own; processor time is of all its threads, without what it imports,
and memory what it holds at most above what it had then. What was written is looked at before it
counts.

    python -m bench.tiny                      # 10,000 of each, minutes
    python -m bench.tiny 100000 hdf5 npz      # so many, and these formats
    python -m bench.tiny 10000 hdf5 --flat    # all in one group
    python -m bench.tiny --functions          # Python functions for each, by their number
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from bench.engines.base import load
from bench.measure import measure

FILES = {
    "kist": "b.kist", "hdf5": "b.h5", "pytables": "p.h5", "npz": "b.npz", "zarr": "b.zarr",
    "zarr2": "b2.zarr", "sqlite": "b.sqlite", "netcdf": "b.nc",
}  # fmt: skip
IMPORTS = {
    "hdf5": "h5py", "pytables": "tables", "zarr": "zarr", "zarr2": "zarr", "sqlite": "sqlite3",
    "netcdf": "netCDF4",
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "pytables": {"flavour": "pytables"}, "zarr2": {"zarr_format": 2},
}  # fmt: skip
STEPS = ("out", "out alone", "in", "in alone")
ROWS = np.dtype([("a", "i8"), ("b", "f8")])


def values(k: int, rows: bool = False) -> Any:
    """Return what dataset `k` holds."""
    if not rows:
        return np.arange(k, k + 4)
    found = np.zeros(3, ROWS)
    found["a"], found["b"] = range(k, k + 3), k / 2
    return found


def paths(n: int, flat: bool) -> Iterator[tuple[int, str]]:
    """Yield the number and the path of each dataset."""
    for k in range(n):
        yield k, f"d{k}" if flat else f"g{k // 1000}/d{k}"


def fill(file: Path, n: int, flat: bool, rows: bool) -> None:
    """Make the store that goes out."""
    kist = load("kist")
    with kist.open(file, "w") as store, store.transaction():
        for k, path in paths(n, flat):
            store[path] = values(k, rows)


def look(file: Path, n: int, flat: bool, rows: bool) -> None:
    """See that a store holds what it should."""
    with load("kist").open(file) as store:
        places = list(paths(n, flat))
        for k, path in places[:: max(1, n // 50)]:
            if not np.array_equal(store[path][:], values(k, rows)):
                raise AssertionError(f"{file}: {path} has other values")
        groups = [store] if flat else [store[f"g{k}"] for k in range(-(-n // 1000))]
        if sum(len(group) for group in groups) != n:
            raise AssertionError(f"{file}: not all is there")


# What the other libraries take alone


def hdf5_out(file: Path, n: int, flat: bool) -> None:
    with load("h5py").File(file, "w", libver=("v108", "latest")) as out:
        for k, path in paths(n, flat):
            out[path] = values(k)


def hdf5_in(file: Path) -> None:
    def read(_: str, node: Any) -> None:
        if hasattr(node, "shape"):
            node[()]

    with load("h5py").File(file) as found:
        found.visititems(read)


def pytables_out(file: Path, n: int, flat: bool) -> None:
    with load("tables").open_file(file, "w") as out:
        for k, path in paths(n, flat):
            group, _, name = ("/" + path).rpartition("/")
            out.create_array(group or "/", name, values(k), createparents=True)


def pytables_in(file: Path) -> None:
    with load("tables").open_file(file) as found:
        for node in found.walk_nodes("/", "Array"):
            node.read()


def npz_out(file: Path, n: int, flat: bool) -> None:
    np.savez(file, **{path: values(k) for k, path in paths(n, flat)})


def npz_in(file: Path) -> None:
    with np.load(file) as found:
        for name in found.files:
            found[name]


def zarr_out(file: Path, n: int, flat: bool, version: int = 3) -> None:
    top = load("zarr").open_group(file, mode="w", zarr_format=version)
    for k, path in paths(n, flat):
        data = values(k)
        top.create_array(path, shape=data.shape, dtype=data.dtype, chunks=data.shape)[:] = data


def zarr_in(file: Path) -> None:
    zarr = load("zarr")
    waiting = [zarr.open_group(file, mode="r")]
    while waiting:
        for _, node in waiting.pop().members():
            if isinstance(node, zarr.Group):
                waiting.append(node)
            else:
                node[:]


def zarr2_out(file: Path, n: int, flat: bool) -> None:
    zarr_out(file, n, flat, version=2)


zarr2_in = zarr_in


def sqlite_out(file: Path, n: int, flat: bool) -> None:
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("begin")
    for k, path in paths(n, flat):
        database.execute(f'create table "{path}" (a integer, b real)')
        database.executemany(f'insert into "{path}" values (?, ?)', values(k, rows=True).tolist())
    database.execute("commit")
    database.close()


def sqlite_in(file: Path) -> None:
    database = sqlite3.connect(file)
    names = database.execute("select name from sqlite_master where type = 'table'").fetchall()
    for (name,) in names:
        database.execute(f'select * from "{name}"').fetchall()
    database.close()


def netcdf_out(file: Path, n: int, flat: bool) -> None:
    with load("netCDF4").Dataset(file, "w") as out:
        out.createDimension("x", 4)
        for k, path in paths(n, flat):
            out.createVariable(path, "i8", ("x",))[:] = values(k)


def netcdf_in(file: Path) -> None:
    with load("netCDF4").Dataset(file) as found:
        for group in (found, *found.groups.values()):
            for variable in group.variables.values():
                variable[:]


# kist from store to store: alone it is the store that is made


def kist_out(file: Path, n: int, flat: bool) -> None:
    fill(file, n, flat, rows=False)


def kist_in(file: Path) -> None:
    with load("kist").open(file) as store:
        for group in store.values():
            if group.kind == "group":
                for node in group.values():
                    node[:]
            else:
                group[:]


def step_of(step: str, name: str, folder: Path, n: int, flat: bool) -> Callable[[], object]:
    """Return what a step does; it is called once."""
    source = folder / ("rows.kist" if name == "sqlite" else "arrays.kist")
    file = folder / FILES[name]
    out = file.with_name("out-" + file.name)
    if step == "out":
        return lambda: load("kist").convert(source, out, **OPTIONS.get(name, {}))
    if step == "in":
        return lambda: load("kist").convert(file, folder / f"{name}-in.kist")
    if step == "out alone":
        return lambda: globals()[f"{name}_out"](file, n, flat)
    return lambda: globals()[f"{name}_in"](file)


def functions(call: Callable[[], object]) -> int:
    """Return how many Python functions this thread calls: a machine that is busy calls no more."""
    n = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal n
        n += event == "call"

    old = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(old)
    return n


def per_dataset(name: str, step: str, n: int, flat: bool, place: str | None = None) -> float:
    """Return the functions that a step out or in takes for each dataset, the first time apart."""
    with tempfile.TemporaryDirectory(dir=place) as made:
        for k in (n // 8, n):
            folder = Path(made) / str(k)
            folder.mkdir()
            source = "rows.kist" if name == "sqlite" else "arrays.kist"
            fill(folder / source, k, flat, rows=name == "sqlite")
            if step == "in":
                step_of("out alone", name, folder, k, flat)()
            found = functions(step_of(step, name, folder, k, flat))
    return found / n


def child(step: str, name: str, folder: Path, n: int, flat: bool) -> None:
    """Do one step, and print its cost as JSON."""
    load("kist")
    load(IMPORTS.get(name, "zipfile"))
    fill(folder / "warm.kist", 1, flat, rows=name == "sqlite")  # loads what is needed
    call = step_of(step, name, folder, n, flat)
    _, sample = measure(call)
    if step == "in" or (step == "out" and name == "kist"):
        place = folder / (f"{name}-in.kist" if step == "in" else "out-b.kist")
        look(place, n, flat, name == "sqlite")
    print(json.dumps([sample.cpu_s, sample.seconds, sample.peak_bytes]))


def main(n: int, names: list[str], flat: bool, place: str | None) -> None:
    """Print a table, line by line as it is measured."""
    print(
        f"| {n:,} datasets | step | processor s | ms each | elapsed s | peak MB |\n"
        "|---|---|---:|---:|---:|---:|"
    )
    with tempfile.TemporaryDirectory(dir=place) as made:
        folder = Path(made)
        fill(folder / "arrays.kist", n, flat, rows=False)
        if "sqlite" in names:
            fill(folder / "rows.kist", n, flat, rows=True)
        for name in names:
            for step in STEPS:
                command = [sys.executable, "-m", "bench.tiny", str(n), name, "--step", step]
                command += ["--folder", str(folder), *(["--flat"] if flat else [])]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                cpu, seconds, peak = json.loads(done.stdout.splitlines()[-1])
                told = f"{cpu:.2f} | {1e3 * cpu / n:.2f} | {seconds:.2f} | {peak / 1e6:.0f} |"
                print(f"| {name} | {step} | {told}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.tiny")
    parser.add_argument("n", type=int, nargs="?", default=10_000)
    parser.add_argument("names", nargs="*", help=", ".join(FILES))
    parser.add_argument("--flat", action="store_true", help="all in one group")
    parser.add_argument("--folder", help="where files are made")
    parser.add_argument("--functions", action="store_true", help="for 200 and 1,600 datasets")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.functions:
        for one in asked.names or FILES:
            for way in ("out", "in"):
                counts = (per_dataset(one, way, n, asked.flat, asked.folder) for n in (200, 1600))
                print(one, way, *(f"{found:.0f}" for found in counts), flush=True)
    elif asked.step:
        child(asked.step, asked.names[0], Path(asked.folder), asked.n, asked.flat)
    else:
        main(asked.n, asked.names or list(FILES), asked.flat, asked.folder)
