"""h5py: one dataset per column, chunked, Blosc2 through hdf5plugin."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bench.engines.base import load, sync_file, sync_path
from bench.engines.table import Array, ColumnEngine, Some, Where
from bench.records import split
from bench.workloads import TABLE_DTYPE, Records


class H5pyColumns(ColumnEngine):
    """LZ4 and shuffle, chunks of 65,536 values, resizable; HDF5 syncs nothing, so files are.

    Positions anywhere are read by reading the column: HDF5's own selection of points takes
    seconds for what that does in milliseconds.
    """

    name = "h5py"
    modules = ("h5py", "hdf5plugin")
    chunk: ClassVar[int] = 65_536

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._h5py = load("h5py")
        plugin = load("hdf5plugin")
        self._codec = plugin.Blosc2(cname="lz4", clevel=5, filters=plugin.Blosc2.SHUFFLE)
        self._path = self.folder / "table.h5"
        self._file: Any = None

    def names(self) -> list[str]:
        return list(TABLE_DTYPE.names or ())

    def write(self, rows: Records) -> None:
        with self._h5py.File(self._path, "w", libver="latest") as file:
            for name, column in split(rows).items():
                file.create_dataset(
                    name,
                    data=_as_stored(column),
                    chunks=(min(self.chunk, max(1, len(column))),),
                    maxshape=(None,),
                    compression=self._codec,
                )
        sync_file(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._file = self._h5py.File(self._path, "r+" if writable else "r")

    def close(self) -> None:
        self._file.close()
        self._file = None

    def _slice(self, field: str, key: Any) -> Array:
        values: Array = self._file[field][key]
        return values.view(TABLE_DTYPE[field])

    def read_field(self, field: str) -> Array:
        return self._slice(field, slice(None))

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        return {name: self._slice(name, slice(start, stop)) for name in fields}

    def row(self, index: int) -> Any:
        return [self._slice(name, slice(index, index + 1))[0] for name in self.names()]

    def value(self, field: str, row: int) -> Any:
        return self._slice(field, slice(row, row + 1))[0]

    def append(self, rows: Records) -> None:
        for name, column in split(rows).items():
            dataset = self._file[name]
            n = len(dataset)
            dataset.resize(n + len(column), axis=0)
            dataset[n:] = _as_stored(column)
        self._sync()

    def update(self, where: Where, field: str, plus: float) -> None:
        values = self.read_field(field)
        values[self._mask(where)] += plus
        self._file[field][:] = values
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        sync_path(self._path)


def _as_stored(column: Array) -> Array:
    # HDF5 has no datetime64: the same eight bytes go in as int64, and come out as a view.
    return column.view(np.int64) if column.dtype.kind == "M" else column
