"""Parquet and Arrow IPC through pyarrow: one file, and one more per append."""

from __future__ import annotations

import functools
import operator
from abc import abstractmethod
from typing import Any, ClassVar

from bench.engines.arrow import ArrowEngine
from bench.engines.base import load, sync_file
from bench.engines.table import COMPARE, Array, Some, Where
from bench.records import field_names
from bench.workloads import TABLE_DTYPE, Records

STRINGS = [name for name in field_names(TABLE_DTYPE) if TABLE_DTYPE[name].kind == "S"]
FLOATS = [name for name in field_names(TABLE_DTYPE) if TABLE_DTYPE[name].kind == "f"]


class _Dataset(ArrowEngine):
    """Files in one folder read through ``pyarrow.dataset``; an append is one more file."""

    modules = ("pyarrow", "pyarrow.dataset")
    suffix: ClassVar[str]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._dataset: Any = None

    @abstractmethod
    def _write_file(self, table: Any, path: str) -> None:
        """Write one file; the caller syncs it."""

    def write(self, rows: Records) -> None:
        number = len(list(self.folder.glob(f"*.{self.suffix}")))
        path = self.folder / f"part-{number:04d}.{self.suffix}"
        self._write_file(self.to_arrow(rows), str(path))
        sync_file(path)

    def append(self, rows: Records) -> None:
        self.write(rows)

    def open(self, *, writable: bool = False) -> None:
        if not writable:
            name = "ipc" if self.suffix == "arrow" else self.suffix
            self._dataset = load("pyarrow.dataset").dataset(str(self.folder), format=name)

    def close(self) -> None:
        self._dataset = None

    def _filter(self, where: Where) -> Any:
        field = self._compute.field
        parts = [COMPARE[c.operator](field(c.field), c.value) for c in where]
        return functools.reduce(operator.and_, parts) if parts else None

    def _read(
        self, fields: list[str] | None = None, where: Where = (), indices: Array | None = None
    ) -> Any:
        if indices is not None:
            return self._dataset.take(self._pa.array(indices), columns=fields)
        return self._dataset.to_table(columns=fields, filter=self._filter(where))

    def count_where(self, where: Where) -> int:
        return int(self._dataset.count_rows(filter=self._filter(where)))


class ArrowIPC(_Dataset):
    """Arrow's own file format: LZ4, batches of 65,536 rows (Feather's default), memory-mapped."""

    name = "arrow-ipc"
    suffix = "arrow"
    batch_rows: ClassVar[int] = 65_536

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._files: list[Any] = []

    def _write_file(self, table: Any, path: str) -> None:
        options = self._pa.ipc.IpcWriteOptions(compression="lz4")
        with self._pa.ipc.new_file(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=self.batch_rows)

    def open(self, *, writable: bool = False) -> None:
        super().open(writable=writable)
        self._paths = [str(p) for p in sorted(self.folder.glob("*.arrow"))]

    def _reader(self, path: str, fields: list[str] | None) -> Any:
        source = self._pa.memory_map(path)
        if fields is None:
            return self._pa.ipc.open_file(source)
        names = field_names(TABLE_DTYPE)
        included = sorted(names.index(name) for name in fields)
        options = self._pa.ipc.IpcReadOptions(included_fields=included)
        return self._pa.ipc.open_file(source, options=options)

    def _read(
        self, fields: list[str] | None = None, where: Where = (), indices: Array | None = None
    ) -> Any:
        if where or indices is not None:
            return super()._read(fields, where, indices)
        tables = [self._reader(path, fields).read_all() for path in self._paths]
        table = tables[0] if len(tables) == 1 else self._pa.concat_tables(tables)
        return table if fields is None else table.select(fields)

    def _batches(self, fields: list[str] | None, start: int, stop: int) -> Any:
        """Rows of the first file, reading only the batches that hold them."""
        reader = self._reader(self._paths[0], fields)
        first, last = start // self.batch_rows, (stop - 1) // self.batch_rows
        batches = [reader.get_batch(i) for i in range(first, last + 1)]
        at = start - first * self.batch_rows
        return self._pa.Table.from_batches(batches).slice(at, stop - start)

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        return self.to_columns(self._batches(fields, start, stop).select(fields))

    def row(self, index: int) -> Any:
        return self._batches(None, index, index + 1)


class Parquet(_Dataset):
    """LZ4, floats with byte-stream split, dictionaries for the strings only.

    pyarrow's default tries a dictionary on every column: slower to write, smaller on disk. It is
    ``ParquetDefault`` and ``ParquetZstd`` below.
    """

    name = "parquet-lz4"
    modules = ("pyarrow", "pyarrow.parquet", "pyarrow.dataset")
    suffix = "parquet"
    options: ClassVar[dict[str, Any]] = {
        "compression": "lz4",
        "use_dictionary": STRINGS,
        "use_byte_stream_split": FLOATS,
    }

    def _write_file(self, table: Any, path: str) -> None:
        load("pyarrow.parquet").write_table(table, path, **self.options)


class ParquetPlain(Parquet):
    """The same without byte-stream split: quicker, and larger."""

    name = "parquet-lz4-plain"
    options: ClassVar[dict[str, Any]] = {"compression": "lz4", "use_dictionary": STRINGS}


class ParquetDefault(Parquet):
    """LZ4 with pyarrow's default dictionaries."""

    name = "parquet-lz4-default"
    options: ClassVar[dict[str, Any]] = {"compression": "lz4"}


class ParquetZstd(Parquet):
    """Zstd with pyarrow's default dictionaries."""

    name = "parquet-zstd"
    options: ClassVar[dict[str, Any]] = {"compression": "zstd"}
