"""PyTables: one HDF5 table, by rows."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.engines.base import TableEngine, load, sync_path
from bench.records import field_names
from bench.workloads import TABLE_DTYPE, Records

CHUNK_ROWS = 1_024
"""312 KB a chunk: of 512 to 65,536 rows the quickest to write, read, append to and open for one
value. Left to itself PyTables takes the chunk from the size of the L3 cache that the machine
reports, up to the whole table in one."""

# HDF5 has no datetime64: the same eight bytes go in as int64, and come out as a view.
_STORED_DTYPE = np.dtype(
    [
        (name, "<i8" if TABLE_DTYPE[name].kind == "M" else TABLE_DTYPE[name])
        for name in field_names(TABLE_DTYPE)
    ]
)


class PyTables(TableEngine):
    """Blosc2 with LZ4 and shuffle, size announced. ``flush`` does not sync; the file is synced."""

    name = "pytables-lz4"
    modules: ClassVar[tuple[str, ...]] = ("tables",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._tables = load("tables")
        self._tables.set_blosc_max_threads(self.threads)
        self._path = self.folder / "table.h5"
        self._file: Any = None

    def write(self, rows: Records) -> None:
        filters = self._tables.Filters(complevel=5, complib="blosc2:lz4", shuffle=True)
        with self._tables.open_file(self._path, "w") as file:
            table = file.create_table(
                "/",
                "table",
                description=_STORED_DTYPE,
                filters=filters,
                chunkshape=(CHUNK_ROWS,),
                expectedrows=len(rows),
            )
            table.append(rows.view(_STORED_DTYPE))
        sync_path(self._path)
        sync_path(self.folder)

    def open(self, *, writable: bool = False) -> None:
        self._file = self._tables.open_file(self._path, "a" if writable else "r")

    def close(self) -> None:
        self._file.close()
        self._file = None

    def read_all(self) -> Records:
        rows: Records = self._file.root.table.read()
        return rows.view(TABLE_DTYPE)

    def read_field(self, field: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = self._file.root.table.read(field=field)
        return values.view(TABLE_DTYPE[field])

    def value(self, field: str, row: int) -> Any:
        return self._file.root.table.read(row, row + 1, field=field).view(TABLE_DTYPE[field])[0]

    def append(self, rows: Records) -> None:
        table = self._file.root.table
        table.append(rows.view(_STORED_DTYPE))
        table.flush()
        sync_path(self._path)
