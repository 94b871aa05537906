"""Files of other formats into a store, beside what reads or repacks them.

Every engine has its own way for a step, or none: "HDF5 in" is `kist.convert` for kist, `ptrepack`
and h5py for those who repack with the same codec (Blosc's LZ4 with shuffle); "Parquet in" and
"CSV in" are into a store for kist, into memory for pyarrow and pandas; "text CSV in" and "text
Parquet in" have three columns of text beside three of numbers. "columns in memory" is what
kist takes to store the values of the Parquet file once they are NumPy arrays: the limit of writing;
"text columns in memory" the same of text.
"NPY pack" is `kist pack` beside Blosc2 over the raw buffer, both into a file. Stored bytes are of
what "HDF5 in" left. Memory is measured apart: "npy, peak bytes" is what a process that does
nothing but convert holds above what it held when its libraries were imported. From scale 1 on the
values are about 300 MB, which is what a conversion may take whatever the size; with --scale 4 the
figures should not grow.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.engines.base import Engine, NotOffered, load, sync_file
from bench.engines.kist_store import kist_missing, warm_kist
from bench.steps import Steps
from bench.worker import Job

TITLE = "Bridges: other formats into a store"
N_ROWS, N_LINES, N_VALUES, N_TINY = 8_000_000, 2_000_000, 40_000_000, 10_000
N_TEXT = 1_000_000
MEMORY = {"npy": "a.npy", "hdf5": "a.h5", "parquet": "t.parquet", "csv": "long.csv"}
"""Sources whose conversion is measured for memory, by format."""
STEPS = (
    "HDF5 in",
    "Parquet in",
    "columns in memory",
    "CSV in",
    "text Parquet in",
    "text columns in memory",
    "text CSV in",
    "NPY in",
    "NPY pack",
    "tiny HDF5 in",
)


def _values(n: int) -> Any:
    """Measurements: a walk of three decimals."""
    return np.random.default_rng(1).normal(0, 0.01, n).cumsum().round(3)


def _columns(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        "id": np.arange(n),
        "time": np.datetime64("2024-01-01", "us") + rng.integers(0, 10**6, n).cumsum(),
        "price": _values(n),
        "size": rng.integers(1, 1000, n, "i4"),
        "flag": rng.random(n) < 0.1,
    }


def _texts(n: int) -> dict[str, Any]:
    """Orders: few distinct texts, thousands of them, and one that is another in each row."""
    rng = np.random.default_rng(3)
    letters = rng.integers(ord("A"), ord("Z") + 1, (3000, 4)).astype("u1")
    words = ["alpha", "beta", "gamma", "delta", "order", "client", "desk", "late", "für", "x"]
    notes = rng.integers(0, len(words), (n, 3)).tolist()
    return {
        "side": np.array(["buy", "sell", "hold", "cancel", "replace"])[rng.integers(0, 5, n)],
        "symbol": letters.view("S4")[:, 0].astype("U4")[rng.integers(0, 3000, n)],
        "note": [f"{words[a]} {words[b]} {words[c]} {k}" for k, (a, b, c) in enumerate(notes)],
        "id": np.arange(n),
        "price": _values(n),
        "size": rng.integers(1, 1000, n, "i4"),
    }


def prepare(folder: Path, job: Job) -> None:
    """Make the sources."""
    pa, h5py = load("pyarrow"), load("h5py")
    values = _values(max(10_000, int(N_VALUES * job.scale)))
    np.save(folder / "a.npy", values)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("g/a", data=values, chunks=(min(1 << 16, len(values)),),
                            compression="gzip", compression_opts=1, shuffle=True)  # fmt: skip
    with h5py.File(folder / "tiny.h5", "w") as file:
        for k in range(max(100, int(N_TINY * job.scale))):
            file[f"g{k // 1000}/d{k}"] = np.arange(5)
    table = pa.table(_columns(max(10_000, int(N_ROWS * job.scale))))
    load("pyarrow.parquet").write_table(table, folder / "t.parquet", compression="zstd")
    lines = table.slice(0, max(10_000, int(N_LINES * job.scale)))
    load("pyarrow.csv").write_csv(lines, folder / "t.csv")
    load("pyarrow.csv").write_csv(table, folder / MEMORY["csv"])
    texts = pa.table(_texts(max(10_000, int(N_TEXT * job.scale))))
    load("pyarrow.parquet").write_table(texts, folder / "s.parquet", compression="zstd")
    load("pyarrow.csv").write_csv(texts, folder / "s.csv")


_CHILD = """
import importlib.util, sys
import h5py, kist, numpy, pyarrow, pyarrow.csv, pyarrow.parquet
if importlib.util.find_spec("hdf5plugin"):
    import hdf5plugin
from bench.measure import measure
source, target = sys.argv[1:]
print(measure(lambda: kist.convert(source, target))[1].peak_bytes)
"""


def peak_bytes(source: Path, target: Path) -> int:
    """Return what a conversion holds at most, in a process that does nothing else."""
    target.unlink(missing_ok=True)
    command = [sys.executable, "-c", _CHILD, str(source), str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


class BridgeEngine(Engine):
    """What an engine does with the sources: a method for each step that it offers."""

    shared: Path

    def step(self, name: str) -> Callable[[], Any]:
        """Return what to time."""
        found: Callable[[], Any] | None = getattr(self, name.lower().replace(" ", "_"), None)
        if found is None:
            raise NotOffered
        return found

    def is_right(self, name: str) -> bool:
        """Whether what a step made holds what its source does."""
        return True


class Kist(BridgeEngine):
    """`kist.convert`, durable on return."""

    name = "kist"
    modules = ("kist", "h5py", "pyarrow")
    codec: ClassVar[str] = "lz4+shuffle"
    columns: dict[str, Any]
    texts: dict[str, Any]

    @classmethod
    def missing(cls) -> str | None:
        return kist_missing() or super().missing()

    @classmethod
    def warm(cls) -> None:
        super().warm()
        warm_kist()

    def load_columns(self) -> None:
        """Take the columns of the Parquet files into memory."""
        self.columns, self.texts = self._columns("t.parquet"), self._columns("s.parquet")

    def _columns(self, source: str) -> dict[str, Any]:
        kist, path = load("kist"), self.folder / "c.kist"
        kist.convert(self.shared / source, f"{path}:t")
        with kist.open(path) as store:
            found = {name: store["t"][name][:] for name in store["t"].columns}
        path.unlink()
        return found

    def _convert(self, source: str, codec: str = "auto") -> None:
        target = self.folder / "a.kist"
        target.unlink(missing_ok=True)
        load("kist").convert(self.shared / source, target, codec=codec)

    def is_right(self, name: str) -> bool:
        if name in ("columns in memory", "text columns in memory", "NPY pack"):
            return True
        with load("kist").open(self.folder / "a.kist") as store:
            if name in ("HDF5 in", "NPY in"):
                found = store["g/a" if name == "HDF5 in" else "a"]
                wanted = np.load(self.shared / "a.npy", mmap_mode="r")
                return bool(found.dtype == wanted.dtype and np.array_equal(found[:], wanted))
            if name == "tiny HDF5 in":
                return bool(store["g0/d7"][:].tolist() == list(range(5)))
            if name.startswith("text"):
                wanted = load("pyarrow.parquet").read_table(self.shared / "s.parquet")
                found = store["s"]
                return all(found[c][:].tolist() == wanted[c].to_pylist() for c in found.columns)
            price = self.columns["price"][: len(store["t"])]
            return bool(np.array_equal(store["t"]["price"][:], price))

    def hdf5_in(self) -> None:
        self._convert("a.h5", self.codec)

    def tiny_hdf5_in(self) -> None:
        self._convert("tiny.h5")

    def parquet_in(self) -> None:
        self._convert("t.parquet")

    def csv_in(self) -> None:
        self._convert("t.csv")

    def text_parquet_in(self) -> None:
        self._convert("s.parquet")

    def text_csv_in(self) -> None:
        self._convert("s.csv")

    def npy_in(self) -> None:
        self._convert("a.npy")

    def columns_in_memory(self) -> None:
        self._create(self.columns)

    def text_columns_in_memory(self) -> None:
        self._create(self.texts)

    def _create(self, columns: dict[str, Any]) -> None:
        with load("kist").open(self.folder / "b.kist", "w", overwrite=True) as store:
            store.create_table("t", columns)

    def npy_pack(self) -> None:
        packing = load("kist.model.packing")
        with (self.shared / "a.npy").open("rb") as source, (self.folder / "a").open("wb") as target:
            packing.pack_stream(source, target, "fast", None, None)


class PtRepack(BridgeEngine):
    """PyTables' command, with the codec that kist is told to use."""

    name = "ptrepack"
    modules = ("tables",)

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (None if cls._command() else "there is no ptrepack")

    @staticmethod
    def _command() -> str | None:
        beside = Path(sys.executable).with_name("ptrepack")
        return str(beside) if beside.exists() else shutil.which("ptrepack")

    def _repack(self, source: str) -> None:
        how = ["--complevel=5", "--complib=blosc:lz4", "--shuffle=1", "--overwrite-nodes"]
        places = [f"{self.shared / source}:/", f"{self.folder / 'a.h5'}:/"]
        (self.folder / "a.h5").unlink(missing_ok=True)
        subprocess.run([str(self._command()), *how, *places], check=True, capture_output=True)
        sync_file(self.folder / "a.h5")

    def hdf5_in(self) -> None:
        self._repack("a.h5")

    def tiny_hdf5_in(self) -> None:
        self._repack("tiny.h5")


class H5py(BridgeEngine):
    """Read with h5py, written with hdf5plugin's Blosc."""

    name = "h5py"
    modules = ("h5py", "hdf5plugin")

    def hdf5_in(self) -> None:
        h5py, codec = load("h5py"), load("hdf5plugin").Blosc("lz4", 5, 1)
        with (
            h5py.File(self.shared / "a.h5") as source,
            h5py.File(self.folder / "a.h5", "w") as target,
        ):
            values = source["g/a"]
            chunks = (min(1 << 17, len(values)),)
            made = target.create_dataset("g/a", values.shape, values.dtype, chunks=chunks,
                                         **codec)  # fmt: skip
            for start in range(0, len(values), 1 << 20):
                made[start : start + (1 << 20)] = values[start : start + (1 << 20)]
        sync_file(self.folder / "a.h5")


class PyArrow(BridgeEngine):
    """Into memory."""

    name = "pyarrow"
    modules = ("pyarrow", "pyarrow.parquet", "pyarrow.csv")

    def parquet_in(self) -> Any:
        return load("pyarrow.parquet").read_table(self.shared / "t.parquet")

    def csv_in(self) -> Any:
        return load("pyarrow.csv").read_csv(self.shared / "t.csv")

    def text_parquet_in(self) -> Any:
        return load("pyarrow.parquet").read_table(self.shared / "s.parquet")

    def text_csv_in(self) -> Any:
        return load("pyarrow.csv").read_csv(self.shared / "s.csv")


class Pandas(BridgeEngine):
    """Into memory, with the engine of pyarrow."""

    name = "pandas"
    modules = ("pandas", "pyarrow")

    def csv_in(self) -> Any:
        return load("pandas").read_csv(self.shared / "t.csv", engine="pyarrow")

    def text_csv_in(self) -> Any:
        return load("pandas").read_csv(self.shared / "s.csv", engine="pyarrow")


class Blosc2(BridgeEngine):
    """LZ4 with shuffle over the raw buffer, which is in memory, into a file."""

    name = "blosc2"
    modules = ("blosc2",)

    def npy_pack(self) -> None:
        blosc2 = load("blosc2")
        blosc2.set_nthreads(self.threads)
        values = np.load(self.shared / "a.npy", mmap_mode="r")
        params = {"codec": blosc2.Codec.LZ4, "clevel": 5, "typesize": 8}
        with (self.folder / "a").open("wb") as target:
            for start in range(0, len(values), 1 << 20):
                target.write(blosc2.compress2(values[start : start + (1 << 20)], **params))


ENGINES: dict[str, type[BridgeEngine]] = {
    e.name: e for e in (Kist, PtRepack, H5py, PyArrow, Pandas, Blosc2)
}


def run(engine: BridgeEngine, steps: Steps, job: Job) -> None:
    """Every step that the engine offers."""
    engine.shared = Path(job.shared)
    if isinstance(engine, Kist):
        engine.load_columns()
    for name in STEPS:
        try:
            call = engine.step(name)
        except NotOffered:
            steps.not_offered.append(name)
            continue
        steps.time(name, call, lambda _, name=name: engine.is_right(name), repeat=3)
        if name == "HDF5 in":
            steps.note("stored bytes", engine.stored_bytes())
    if isinstance(engine, Kist):
        for name, source in MEMORY.items():
            found = peak_bytes(engine.shared / source, engine.folder / "a.kist")
            steps.note(f"{name}, peak bytes", found)
