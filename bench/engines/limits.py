"""What the machine allows: copies, the transpose alone, and plain writes with one sync."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.engines.base import TableEngine
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

    def read_field(self, field: str) -> npt.NDArray[Any]:
        return self._columns[field].copy()

    def value(self, field: str, row: int) -> Any:
        return self._columns[field][row]

    def append(self, rows: Records) -> None:
        self._rows = np.concatenate([self._rows, rows])


class Memcpy(_InMemory):
    """Reads that are one copy into fresh memory."""

    name = "limit:memcpy"
    steps = frozenset({"read_all", "read_field"})

    def read_all(self) -> Records:
        # As bytes: NumPy copies records field by field, which is no memcpy.
        return self._rows.view(np.uint8).copy().view(TABLE_DTYPE)


class Transpose(_InMemory):
    """Records to columns and back, in blocks, without any codec or file."""

    name = "limit:transpose"
    steps = frozenset({"write", "read_all"})

    def read_all(self) -> Records:
        out = np.empty(len(self._rows), TABLE_DTYPE)
        join_into(out, self._columns)
        return out


class Disk(TableEngine):
    """The raw bytes of the rows in one file, with one ``fdatasync`` per change."""

    name = "limit:disk-raw"
    steps = frozenset({"write", "append", "first_value"})

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

    def read_field(self, field: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = self.read_all()[field]
        return values

    def value(self, field: str, row: int) -> Any:
        assert TABLE_DTYPE.fields is not None
        dtype, offset = TABLE_DTYPE.fields[field][:2]
        data = os.pread(self._fd, dtype.itemsize, row * TABLE_DTYPE.itemsize + offset)
        return np.frombuffer(data, dtype)[0]


class DiskAsSmall(Disk):
    """As many bytes as the smallest engine stores (kist's, when it runs), with one sync.

    What is written is the head of the rows: only the amount matters here.
    """

    name = "limit:disk-stored"
    steps: ClassVar[frozenset[str]] = frozenset({"write"})

    def _bytes_of(self, rows: Records) -> memoryview:
        data = super()._bytes_of(rows)
        return data[: self.like_bytes or len(data)]
