"""NumPy's own files: ``np.save`` of the records, ``np.savez_compressed`` of the columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.engines.base import sync_file
from bench.engines.table import Array, ColumnEngine, Some
from bench.records import Columns, split
from bench.workloads import TABLE_DTYPE, Records


class Npy(ColumnEngine):
    """The records as they are; parts are read through a memory map. It cannot grow."""

    name = "npy"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._path = self.folder / "table.npy"
        self._rows: Records = np.empty(0, TABLE_DTYPE)

    def names(self) -> list[str]:
        return list(TABLE_DTYPE.names or ())

    def write(self, rows: Records) -> None:
        np.save(self._path, rows)
        sync_file(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._rows = np.load(self._path, mmap_mode="r")

    def close(self) -> None:
        self._rows = np.empty(0, TABLE_DTYPE)

    def read_all(self) -> Records:
        rows: Records = np.load(self._path)
        return rows

    def read_columns(self) -> Columns:
        return split(self.read_all())

    def read_field(self, field: str) -> Array:
        return np.ascontiguousarray(self._rows[field])

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        return {name: self._rows[name][start:stop].copy() for name in fields}

    def take(self, fields: list[str], indices: Array) -> Some:
        return {name: self._rows[name][indices] for name in fields}

    def row(self, index: int) -> Any:
        return self._rows[index].copy()

    def value(self, field: str, row: int) -> Any:
        return self._rows[field][row]


class Npz(ColumnEngine):
    """One compressed member per column, each read whole."""

    name = "npz"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._path = self.folder / "table.npz"
        self._file: Any = None

    def names(self) -> list[str]:
        return list(TABLE_DTYPE.names or ())

    def write(self, rows: Records) -> None:
        np.savez_compressed(self._path, **split(rows))
        sync_file(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._file = np.load(self._path)

    def close(self) -> None:
        self._file.close()

    def read_field(self, field: str) -> Array:
        values: Array = self._file[field]
        return values
