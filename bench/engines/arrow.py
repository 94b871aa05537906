"""What engines have in common that speak Arrow: Parquet, Arrow IPC, Vortex, Lance, DuckDB.

NumPy's ``S8`` goes in as binary of fixed size, padding and all, which shares NumPy's memory both
ways; where an engine has none, as binary. Every other field of the archive is the same in both.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from bench.engines.base import load
from bench.engines.table import Array, Some, TableEngine, Where
from bench.records import Columns, join_into, split
from bench.workloads import TABLE_DTYPE, Records


class ArrowEngine(TableEngine):
    """A table that is written from an Arrow table and gives Arrow tables back."""

    fixed_size: ClassVar[bool] = True
    """Whether the engine keeps binary of fixed size."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pa = load("pyarrow")
        self._compute = load("pyarrow.compute")
        self._pa.set_cpu_count(self.threads)
        self._pa.set_io_thread_count(self.threads)

    # Between NumPy and Arrow

    def to_arrow(self, rows: Records) -> Any:
        """Records as an Arrow table that shares nothing with them but copies once."""
        return self._pa.table({name: self._array(c) for name, c in split(rows).items()})

    def _array(self, column: Array) -> Any:
        if column.dtype.kind != "S":
            return self._pa.array(column)
        kind = self._pa.binary(column.dtype.itemsize)
        buffers = [None, self._pa.py_buffer(column)]
        array = self._pa.FixedSizeBinaryArray.from_buffers(kind, len(column), buffers)
        return array if self.fixed_size else array.cast(self._pa.binary())

    def _chunk(self, array: Any, dtype: np.dtype[Any]) -> Array:
        """One Arrow array as NumPy sees it."""
        if dtype.kind != "S":
            values: Array = array.to_numpy(zero_copy_only=False)
            return values
        kind = self._pa.binary(dtype.itemsize)
        if array.type != kind:
            array = array.cast(self._pa.binary()).cast(kind)
        found = np.frombuffer(array.buffers()[1], dtype)
        return found[array.offset : array.offset + len(array)]

    def to_column(self, column: Any, dtype: np.dtype[Any]) -> Array:
        """One Arrow column as one NumPy array, without a copy where it is in one piece."""
        parts = [self._chunk(chunk, dtype) for chunk in column.chunks]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])

    def to_columns(self, table: Any) -> Columns:
        """An Arrow table as columns of the workload's dtypes."""
        return {name: self.to_column(table[name], TABLE_DTYPE[name]) for name in table.column_names}

    def to_records(self, table: Any) -> Records:
        """An Arrow table as records, one batch at a time."""
        out = np.empty(len(table), TABLE_DTYPE)
        start = 0
        for batch in table.to_batches():
            columns = {
                name: self._chunk(array, TABLE_DTYPE[name])
                for name, array in zip(batch.schema.names, batch.columns, strict=True)
            }
            join_into(out[start : start + len(batch)], columns)
            start += len(batch)
        return out

    def record(self, found: Any, dtype: np.dtype[Any]) -> Records:
        return self.to_records(found)

    # The steps, in terms of what the engine's own classes offer

    @abstractmethod
    def _read(
        self, fields: list[str] | None = None, where: Where = (), indices: Array | None = None
    ) -> Any:
        """An Arrow table of some fields of the rows that match, or of those at ``indices``."""

    def read_all(self) -> Records:
        return self.to_records(self._read())

    def read_columns(self) -> Columns:
        return self.to_columns(self._read())

    def read_field(self, field: str) -> Array:
        return self.to_columns(self._read([field]))[field]

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        return self.to_columns(self._read(fields).slice(start, stop - start))

    def take(self, fields: list[str], indices: Array) -> Some:
        return self.to_columns(self._read(fields, indices=indices))

    def row(self, index: int) -> Any:
        return self._read(indices=np.array([index]))

    def rows_where(self, where: Where, fields: list[str]) -> Some:
        return self.to_columns(self._read(fields, where))

    def count_where(self, where: Where) -> int:
        return int(self._read([where[0].field], where).num_rows)

    def sum_where(self, where: Where, field: str) -> float:
        total = self._compute.sum(self._read([field], where)[field]).as_py()
        return total or 0.0  # null where nothing matches

    def mean_by(self, key: str, field: str) -> dict[bytes, float]:
        table = self._read([key, field]).group_by(key).aggregate([(field, "mean")])
        keys = [word.rstrip(b"\0") for word in table[key].to_pylist()]
        return dict(zip(keys, table[f"{field}_mean"].to_pylist(), strict=True))
