"""Engines that keep two arrays under each key."""

from __future__ import annotations

import os
import struct
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from bench.engines.base import Engine, load, sync_file, sync_path, sync_tree
from bench.engines.kist_store import KistEngine

Pair = tuple[Any, Any]
Items = Iterable[tuple[str, Pair]]


class KeyEngine(Engine):
    """Pairs of arrays by key."""

    offers: ClassVar[frozenset[str]] = frozenset({"get", "put"})

    @abstractmethod
    def build(self, items: Items) -> None:
        """Store all; durable on return."""

    @abstractmethod
    def open(self, *, writable: bool = False) -> None:
        """Open what ``build`` made."""

    @abstractmethod
    def get(self, key: str) -> Pair:
        """The two arrays of a key."""

    @abstractmethod
    def put(self, key: str, value: Pair) -> None:
        """Store one more; durable on return."""

    def close(self) -> None:
        """Close what ``open`` opened."""


class Kist(KistEngine, KeyEngine):
    """One key store in one file."""

    def build(self, items: Items) -> None:
        with load("kist").open(self.folder / "keys.kist", "w") as store:
            store.create_keystore("runs").update(items)

    def open(self, *, writable: bool = False) -> None:
        self._store = load("kist").open(self.folder / "keys.kist", "r+" if writable else "r")
        self._runs = self._store["runs"]

    def get(self, key: str) -> Pair:
        value: Pair = self._runs[key]
        return value

    def put(self, key: str, value: Pair) -> None:
        self._runs[key] = value

    def close(self) -> None:
        self._store.close()


class _Packed(KeyEngine):
    """Both arrays compressed with Blosc2 (LZ4, shuffle) in one value."""

    def pack(self, value: Pair) -> bytes:
        blosc2 = load("blosc2")
        blosc2.set_nthreads(self.threads)
        parts = [
            blosc2.compress2(array, codec=blosc2.Codec.LZ4, clevel=5, typesize=array.itemsize)
            for array in value
        ]
        return struct.pack("<Q", len(parts[0])) + b"".join(parts)

    def unpack(self, data: Any) -> Pair:
        blosc2 = load("blosc2")
        blosc2.set_nthreads(self.threads)
        (n,) = struct.unpack_from("<Q", data)
        parts = data[8 : 8 + n], data[8 + n :]
        x, y = (np.frombuffer(blosc2.decompress2(part), "<f8") for part in parts)
        return x, y


class LMDB(_Packed):
    """LMDB with Blosc2 values; it syncs at every commit by itself."""

    name = "lmdb-blosc2"
    modules = ("lmdb", "blosc2")

    def _open(self) -> None:
        self._db = load("lmdb").open(str(self.folder / "keys.lmdb"), map_size=1 << 37)

    def build(self, items: Items) -> None:
        self._open()
        with self._db.begin(write=True) as transaction:
            for key, value in items:
                transaction.put(key.encode(), self.pack(value))
        self.close()

    def open(self, *, writable: bool = False) -> None:
        self._open()

    def get(self, key: str) -> Pair:
        with self._db.begin(buffers=True) as transaction:
            return self.unpack(transaction.get(key.encode()))

    def put(self, key: str, value: Pair) -> None:
        with self._db.begin(write=True) as transaction:
            transaction.put(key.encode(), self.pack(value))

    def close(self) -> None:
        self._db.close()


class Npz(KeyEngine):
    """One file a key."""

    name = "npz"
    save = staticmethod(np.savez)

    def build(self, items: Items) -> None:
        for key, (x, y) in items:
            self.save(self.folder / f"{key}.npz", x=x, y=y)
        sync_tree(self.folder)

    def open(self, *, writable: bool = False) -> None:
        pass

    def get(self, key: str) -> Pair:
        with np.load(self.folder / f"{key}.npz") as file:
            return file["x"], file["y"]

    def put(self, key: str, value: Pair) -> None:
        path = self.folder / f"{key}.npz"
        self.save(path, x=value[0], y=value[1])
        sync_file(path)


class NpzZlib(Npz):
    """The same, compressed."""

    name = "npz-zlib"
    save = staticmethod(np.savez_compressed)


class H5py(KeyEngine):
    """A group a key, two datasets in it, chunked and compressed with LZF, as its users do."""

    name = "h5py"
    modules = ("h5py",)
    options: ClassVar[dict[str, Any]] = {"compression": "lzf", "shuffle": True}

    def _create(self, key: str, value: Pair) -> None:
        group = self._file.create_group(key)
        group.create_dataset("x", data=value[0], **self.options)
        group.create_dataset("y", data=value[1], **self.options)

    def build(self, items: Items) -> None:
        path = self.folder / "keys.h5"
        with load("h5py").File(path, "w") as self._file:
            for key, value in items:
                self._create(key, value)
        sync_file(path)

    def open(self, *, writable: bool = False) -> None:
        self._file = load("h5py").File(self.folder / "keys.h5", "r+" if writable else "r")

    def get(self, key: str) -> Pair:
        group = self._file[key]
        return group["x"][:], group["y"][:]

    def put(self, key: str, value: Pair) -> None:
        self._create(key, value)
        self._file.flush()
        sync_path(self.folder / "keys.h5")

    def close(self) -> None:
        self._file.close()


class Append(_Packed):
    """What a durable put cannot avoid: compress, append, ``fdatasync``."""

    name = "limit:append"
    modules = ("blosc2",)
    offers = frozenset({"put"})

    def open(self, *, writable: bool = False) -> None:
        self._fd = os.open(self.folder / "keys.bin", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def build(self, items: Items) -> None:
        self.open()
        for _, value in items:
            self._append(self.pack(value))
        os.fdatasync(self._fd)
        self.close()

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def get(self, key: str) -> Pair:
        raise KeyError(key)  # it keeps no index; ``offers`` says so

    def put(self, key: str, value: Pair) -> None:
        self._append(self.pack(value))
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


ENGINES: dict[str, type[KeyEngine]] = {e.name: e for e in (Kist, LMDB, Npz, NpzZlib, H5py, Append)}
