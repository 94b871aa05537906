"""Parquet through pyarrow: one file, and one more file per append, as its datasets grow."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.engines.base import TableEngine, load, sync_path
from bench.records import Columns, field_names, join_into, split
from bench.workloads import TABLE_DTYPE, Records


class Parquet(TableEngine):
    """LZ4, with dictionaries for the strings only: the fastest of the settings tried here.

    pyarrow's default tries a dictionary on every column: slower to write, smaller on disk. It is
    ``ParquetDefault`` below. Reads use its threads; files are synced after each write.
    """

    name = "parquet-lz4"
    modules: ClassVar[tuple[str, ...]] = ("pyarrow", "pyarrow.parquet")
    dictionary: ClassVar[bool | list[str]] = [
        name for name in field_names(TABLE_DTYPE) if TABLE_DTYPE[name].kind == "S"
    ]
    compression: ClassVar[str] = "lz4"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pa = load("pyarrow")
        self._pq = load("pyarrow.parquet")
        self._pa.set_cpu_count(self.threads)
        self._pa.set_io_thread_count(self.threads)
        self._table: Any = None

    def _to_arrow(self, column: npt.NDArray[Any]) -> Any:
        if column.dtype.kind != "S":
            return self._pa.array(column)
        # Fixed-size binary shares NumPy's memory both ways and keeps the padding.
        kind = self._pa.binary(column.dtype.itemsize)
        buffers = [None, self._pa.py_buffer(column)]
        return self._pa.FixedSizeBinaryArray.from_buffers(kind, len(column), buffers)

    def _to_numpy(self, array: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        if dtype.kind != "S":
            column: npt.NDArray[Any] = array.to_numpy(zero_copy_only=True)
            return column
        values = np.frombuffer(array.buffers()[1], dtype)
        return values[array.offset : array.offset + len(array)]

    def _write_file(self, rows: Records) -> None:
        number = len(list(self.folder.glob("*.parquet")))
        path = self.folder / f"part-{number:04d}.parquet"
        columns: Columns = split(rows)
        table = self._pa.table({name: self._to_arrow(column) for name, column in columns.items()})
        self._pq.write_table(
            table, path, compression=self.compression, use_dictionary=self.dictionary
        )
        sync_path(path)
        sync_path(self.folder)

    def write(self, rows: Records) -> None:
        self._write_file(rows)

    def append(self, rows: Records) -> None:
        self._write_file(rows)

    def open(self, *, writable: bool = False) -> None:
        if not writable:
            self._table = self._pq.ParquetDataset(self.folder)

    def close(self) -> None:
        self._table = None

    def read_all(self) -> Records:
        table = self._table.read(use_threads=True)
        out = np.empty(len(table), TABLE_DTYPE)
        start = 0
        for batch in table.to_batches():
            part = out[start : start + len(batch)]
            names = batch.schema.names
            join_into(
                part,
                {
                    name: self._to_numpy(array, TABLE_DTYPE[name])
                    for name, array in zip(names, batch.columns, strict=True)
                },
            )
            start += len(batch)
        return out

    def read_field(self, field: str) -> npt.NDArray[Any]:
        column: npt.NDArray[Any] = self._table.read(columns=[field]).column(field).to_numpy()
        return column

    def value(self, field: str, row: int) -> Any:
        return self.read_field(field)[row]


class ParquetDefault(Parquet):
    """LZ4 with pyarrow's default dictionaries."""

    name = "parquet-lz4-default"
    dictionary = True


class ParquetZstd(ParquetDefault):
    """Zstd with pyarrow's default dictionaries."""

    name = "parquet-zstd"
    compression = "zstd"
