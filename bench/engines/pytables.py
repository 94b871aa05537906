"""PyTables: one HDF5 table, by rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.engines.base import load, sync_file, sync_path
from bench.engines.table import Array, Some, TableEngine, Where, means, text_of
from bench.records import Columns, field_names, split
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
    """Blosc2 with LZ4 and shuffle, size announced. ``flush`` does not sync; the file is synced.

    It keeps rows together: what names some fields reads the rows, then picks.
    """

    name = "pytables-lz4"
    modules = ("tables",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._tables = load("tables")
        self._tables.set_blosc_max_threads(self.threads)
        self._tables.parameters.MAX_NUMEXPR_THREADS = self.threads
        self._path = self.folder / "table.h5"
        self._file: Any = None

    @property
    def _table(self) -> Any:
        return self._file.root.table

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
        sync_file(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._file = self._tables.open_file(self._path, "a" if writable else "r")

    def close(self) -> None:
        self._file.close()
        self._file = None

    def read_all(self) -> Records:
        rows: Records = self._table.read()
        return rows.view(TABLE_DTYPE)

    def read_columns(self) -> Columns:
        return split(self.read_all())

    def read_field(self, field: str) -> Array:
        values: Array = self._table.read(field=field)
        return values.view(TABLE_DTYPE[field])

    def _pick(self, rows: Records, fields: list[str]) -> Some:
        rows = rows.view(TABLE_DTYPE)
        return {name: np.ascontiguousarray(rows[name]) for name in fields}

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        return self._pick(self._table.read(start, stop), fields)

    def take(self, fields: list[str], indices: Array) -> Some:
        return self._pick(self._table.read_coordinates(indices), fields)

    def row(self, index: int) -> Any:
        return self._table[index]

    def record(self, found: Any, dtype: np.dtype[Any]) -> Records:
        return np.array([found], _STORED_DTYPE).view(dtype)

    def value(self, field: str, row: int) -> Any:
        return self._table.read(row, row + 1, field=field).view(TABLE_DTYPE[field])[0]

    def append(self, rows: Records) -> None:
        self._table.append(rows.view(_STORED_DTYPE))
        self._sync()

    def rows_where(self, where: Where, fields: list[str]) -> Some:
        return self._pick(self._table.read_where(text_of(where)), fields)

    def count_where(self, where: Where) -> int:
        return len(self._table.get_where_list(text_of(where)))

    def sum_where(self, where: Where, field: str) -> float:
        return float(self._table.read_where(text_of(where), field=field).sum())

    def mean_by(self, key: str, field: str) -> dict[bytes, float]:
        rows = self.read_all()
        return means(np.ascontiguousarray(rows[key]), np.ascontiguousarray(rows[field]))

    def update(self, where: Where, field: str, plus: float) -> None:
        places = self._table.get_where_list(text_of(where))
        rows = self._table.read_coordinates(places)
        rows[field] += plus
        self._table.modify_coordinates(places, rows)
        self._sync()

    def _sync(self) -> None:
        self._table.flush()
        sync_path(self._path)
