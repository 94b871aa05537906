"""The KeyStore demo (``seeds``, 2016): keys of two arrays each, built, then read in any order."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from bench.engines.base import load, sync_path, sync_tree
from bench.objects.steps import Steps, Store, equal

N_KEYS, MAX_VALUES, N_READS = 1_000, 100_000, 100

Pair = tuple[Any, Any]


def pair(index: int, max_values: int = MAX_VALUES) -> Pair:
    """The two arrays of one key: times in milliseconds, and what was measured then."""
    rng = np.random.default_rng((20160101, index))
    n = int(rng.integers(1, max_values + 1))
    x = np.arange(n) * 0.001 + index
    y = np.round(np.sin(x * 7) + rng.normal(0, 0.05, n), 3)
    return x, y


class KeyEngine(Store):
    """Pairs of arrays by key."""

    @abstractmethod
    def build(self, pairs: dict[str, Pair]) -> None:
        """Store all; durable on return."""

    @abstractmethod
    def open(self) -> None:
        """Open what ``build`` made."""

    @abstractmethod
    def get(self, key: str) -> Pair:
        """The two arrays of a key."""

    def close(self) -> None:
        """Close what ``open`` opened."""


class Kist(KeyEngine):
    """One key store in one file."""

    name = "kist"
    modules: ClassVar[tuple[str, ...]] = ("kist",)

    def build(self, pairs: dict[str, Pair]) -> None:
        with load("kist").open(self.folder / "keys.kist", "w") as store:
            store.create_keystore("runs").update(pairs)

    def open(self) -> None:
        self._store = load("kist").open(self.folder / "keys.kist")
        self._runs = self._store["runs"]

    def get(self, key: str) -> Pair:
        value: Pair = self._runs[key]
        return value

    def close(self) -> None:
        self._store.close()


class Npz(KeyEngine):
    """One file a key."""

    name = "npz"
    save = staticmethod(np.savez)

    def build(self, pairs: dict[str, Pair]) -> None:
        for key, (x, y) in pairs.items():
            self.save(self.folder / f"{key}.npz", x=x, y=y)
        sync_tree(self.folder)

    def open(self) -> None:
        pass

    def get(self, key: str) -> Pair:
        with np.load(self.folder / f"{key}.npz") as file:
            return file["x"], file["y"]


class NpzZlib(Npz):
    """The same, compressed."""

    name = "npz-zlib"
    save = staticmethod(np.savez_compressed)


class H5py(KeyEngine):
    """A group a key, two datasets in it, chunked and compressed with LZF, as its users do."""

    name = "h5py"
    modules: ClassVar[tuple[str, ...]] = ("h5py",)
    options: ClassVar[dict[str, Any]] = {"compression": "lzf", "shuffle": True}

    def build(self, pairs: dict[str, Pair]) -> None:
        path = self.folder / "keys.h5"
        with load("h5py").File(path, "w") as file:
            for key, (x, y) in pairs.items():
                group = file.create_group(key)
                group.create_dataset("x", data=x, **self.options)
                group.create_dataset("y", data=y, **self.options)
        sync_path(path)

    def open(self) -> None:
        self._file = load("h5py").File(self.folder / "keys.h5")

    def get(self, key: str) -> Pair:
        group = self._file[key]
        return group["x"][:], group["y"][:]

    def close(self) -> None:
        self._file.close()


class H5pyPlain(H5py):
    """The same, without compression."""

    name = "h5py-plain"
    options: ClassVar[dict[str, Any]] = {}


ENGINES: dict[str, type[KeyEngine]] = {e.name: e for e in (Kist, Npz, NpzZlib, H5py, H5pyPlain)}


def run(engine: KeyEngine, steps: Steps, scale: float) -> None:
    """Build, then read 100 keys at random, in parts so that memory stays small."""
    n = max(10, int(N_KEYS * scale))
    pairs = {f"run-{i:04d}": pair(i) for i in range(n)}
    raw = sum(x.nbytes + y.nbytes for x, y in pairs.values())
    steps.time("build", lambda: engine.build(pairs))
    steps.note("raw_bytes", raw)
    rng = np.random.default_rng(steps.turn)
    keys = [f"run-{i:04d}" for i in rng.integers(0, n, N_READS)]
    engine.open()

    def read() -> list[Pair]:
        return [engine.get(key) for key in keys]

    def right(found: list[Pair]) -> bool:
        return all(
            equal(a, b)
            for key, got in zip(keys, found, strict=True)
            for a, b in zip(got, pairs[key], strict=True)
        )

    for _ in range(3):
        steps.time("100 reads", read, right)
    engine.close()
    if "100 reads" in steps.wrong:
        steps.wrong.append("build")
