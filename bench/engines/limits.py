"""What the machine allows: copies, the transpose alone, a codec alone, writes with one sync."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from bench.engines.base import load
from bench.engines.table import Array, TableEngine
from bench.records import Columns, join_into, split
from bench.workloads import TABLE_DTYPE, Records


class _InMemory(TableEngine):
    """Keeps the rows in memory; offers the steps named in ``steps`` only."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._rows: Records = np.empty(0, TABLE_DTYPE)
        self._columns: Columns = {}

    def write(self, rows: Records) -> None:
        self._rows = rows
        self._columns = split(rows)

    def open(self, *, writable: bool = False) -> None:
        pass

    def close(self) -> None:
        pass

    def read_all(self) -> Records:
        # As bytes: NumPy copies records field by field, which is no memcpy.
        return self._rows.view(np.uint8).copy().view(TABLE_DTYPE)

    def read_columns(self) -> Columns:
        return {name: column.copy() for name, column in self._columns.items()}

    def read_field(self, field: str) -> Array:
        return self._columns[field].copy()


class Memcpy(_InMemory):
    """Reads that are one copy into fresh memory."""

    name = "limit:memcpy"
    steps = frozenset({"read_all", "read_columns", "read_field"})


class Transpose(_InMemory):
    """Records to columns and back, in blocks, without any codec or file."""

    name = "limit:transpose"
    steps = frozenset({"write", "read_all"})

    def read_all(self) -> Records:
        out = np.empty(len(self._rows), TABLE_DTYPE)
        join_into(out, self._columns)
        return out


class Codec(_InMemory):
    """Blosc2's LZ4 with shuffle on raw columns, a megabyte at a time, without any file."""

    name = "limit:codec"
    modules = ("blosc2",)
    steps = frozenset({"write", "read_columns", "read_field"})
    piece = 1 << 20

    def write(self, rows: Records) -> None:
        blosc2 = load("blosc2")
        blosc2.set_nthreads(self.threads)
        self._columns = split(rows)
        self._packed: dict[str, list[bytes]] = {}
        for name, column in self._columns.items():
            data, size = column.view(np.uint8), column.dtype.itemsize
            self._packed[name] = [
                blosc2.compress2(data[at : at + self.piece], codec=blosc2.Codec.LZ4, typesize=size)
                for at in range(0, len(data), self.piece)
            ]

    def read_columns(self) -> Columns:
        return {name: self.read_field(name) for name in self._packed}

    def read_field(self, field: str) -> Array:
        blosc2 = load("blosc2")
        out = np.empty_like(self._columns[field])
        data, at = out.view(np.uint8), 0
        for packed in self._packed[field]:
            size = min(self.piece, len(data) - at)
            blosc2.decompress2(packed, dst=data[at : at + size])
            at += size
        return out


class Disk(TableEngine):
    """The raw bytes of the rows in one file, with one ``fdatasync`` per change."""

    name = "limit:disk-raw"
    steps = frozenset({"append", "first_value"})

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._path = self.folder / "rows.bin"
        self._fd = -1

    def _bytes_of(self, rows: Records) -> memoryview:
        return rows.view(np.uint8).data  # memoryview itself refuses datetime64

    def write(self, rows: Records) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.append(rows)
        self.close()

    def open(self, *, writable: bool = False) -> None:
        self._fd = os.open(self._path, os.O_RDWR if writable else os.O_RDONLY)
        os.lseek(self._fd, 0, os.SEEK_END)

    def close(self) -> None:
        os.close(self._fd)

    def append(self, rows: Records) -> None:
        data = self._bytes_of(rows)
        while data:
            data = data[os.write(self._fd, data) :]
        os.fdatasync(self._fd)

    def read_all(self) -> Records:
        return np.fromfile(self._path, TABLE_DTYPE)

    def read_columns(self) -> Columns:
        return split(self.read_all())

    def read_field(self, field: str) -> Array:
        return np.ascontiguousarray(self.read_all()[field])

    def value(self, field: str, row: int) -> Any:
        assert TABLE_DTYPE.fields is not None
        dtype, offset = TABLE_DTYPE.fields[field][:2]
        data = os.pread(self._fd, dtype.itemsize, row * TABLE_DTYPE.itemsize + offset)
        return np.frombuffer(data, dtype)[0]


class DiskAsSmall(Disk):
    """As many bytes as kist stores, with one sync: ``pwrite`` and ``fdatasync`` alone.

    What is written is the head of the rows: only the amount matters here.
    """

    name = "limit:disk-stored"
    steps = frozenset({"write"})

    def _bytes_of(self, rows: Records) -> memoryview:
        data = super()._bytes_of(rows)
        return data[: self.like_bytes or len(data)]
