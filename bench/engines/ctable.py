"""Blosc2's CTable: one compressed array per column in a folder (``.b2d``)."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any, ClassVar

import numpy as np

from bench.engines.base import load, sync_tree
from bench.engines.table import Array, Some, TableEngine, Where, mask_of, text_of
from bench.records import Columns, field_names, join_into, split
from bench.workloads import TABLE_DTYPE, Records

NAMES = field_names(TABLE_DTYPE)


class CTable(TableEngine):
    """LZ4, its default level, size announced, no row validation, its default summary indexes.

    Columns are handed over and joined in blocks here: ``extend(records)`` and ``np.asarray(table)``
    give the same bytes and take 1.3 and 2.5 times as long. CTable syncs nothing by itself; its
    files are synced after each change.
    """

    name = "ctable-lz4"
    modules = ("blosc2",)
    codec: ClassVar[str] = "LZ4"
    summaries: ClassVar[bool] = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._blosc2 = load("blosc2")
        self._blosc2.set_nthreads(self.threads)
        self._path = self.folder / "table.b2d"
        self._table: Any = None

    def _row_class(self) -> type:
        b2 = self._blosc2
        specs = {
            "f8": b2.float64,
            "f4": b2.float32,
            "i8": b2.int64,
            "i4": b2.int32,
            "u1": b2.uint8,
        }
        python = {"f": float, "i": int, "u": int, "S": bytes, "M": object}
        fields = []
        for name in NAMES:
            dtype = TABLE_DTYPE[name]
            if dtype.kind == "S":
                spec = b2.bytes(max_length=dtype.itemsize)
            elif dtype.kind == "M":
                spec = b2.timestamp(unit="ns")
            else:
                spec = specs[dtype.str[1:]]()
            fields.append((name, python[dtype.kind], b2.field(spec)))
        return make_dataclass("Row", fields)

    def write(self, rows: Records) -> None:
        self._table = self._blosc2.CTable(
            self._row_class(),
            urlpath=str(self._path),
            mode="w",
            expected_size=len(rows),
            validate=False,
            cparams={"codec": getattr(self._blosc2.Codec, self.codec)},
            create_summary_index=self.summaries,
        )
        self._table.extend(split(rows))
        self.close()
        sync_tree(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._table = self._blosc2.CTable.open(str(self._path), mode="a" if writable else "r")

    def close(self) -> None:
        self._table.close()
        self._table = None

    def _column(self, field: str) -> Array:
        values: Array = self._table[field][:]
        return values

    def read_columns(self) -> Columns:
        return {name: self._column(name) for name in NAMES}

    def read_all(self) -> Records:
        out = np.empty(len(self._table), TABLE_DTYPE)
        join_into(out, self.read_columns())
        return out

    def read_field(self, field: str) -> Array:
        return self._column(field)

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        return {name: self._table[name][start:stop] for name in fields}

    def take(self, fields: list[str], indices: Array) -> Some:
        return {name: self._table[name][indices] for name in fields}

    def row(self, index: int) -> Any:
        return self._table[index]

    def record(self, found: Any, dtype: np.dtype[Any]) -> Records:
        out = np.empty(1, dtype)
        for name in NAMES:
            out[name] = getattr(found, name)
        return out

    def value(self, field: str, row: int) -> Any:
        return self._table[field][row]

    def append(self, rows: Records) -> None:
        self._table.extend(split(rows), validate=False)
        sync_tree(self._path)

    def rows_where(self, where: Where, fields: list[str]) -> Some:
        found = self._table.where(text_of(where), columns=fields)
        # Of no rows at all it gives columns without their dtypes.
        return {name: found[name][:].astype(TABLE_DTYPE[name], copy=False) for name in fields}

    def count_where(self, where: Where) -> int:
        return len(self._table.where(text_of(where)))

    def sum_where(self, where: Where, field: str) -> float:
        return float(self._table.where(text_of(where))[field].sum())

    def mean_by(self, key: str, field: str) -> dict[bytes, float]:
        found = self._table.group_by(key).mean(field)
        pairs = zip(found[key][:], found[f"{field}_mean"][:], strict=True)
        return {bytes(word): float(mean) for word, mean in pairs}

    def update(self, where: Where, field: str, plus: float) -> None:
        mask = mask_of(where, {c.field: self._column(c.field) for c in where})
        column = self._table[field]
        column[mask] = column[mask] + plus
        sync_tree(self._path)


class CTablePlain(CTable):
    """The same without summary indexes: quicker to write, nothing to prune by."""

    name = "ctable-lz4-plain"
    summaries = False


class CTableZstd(CTable):
    """Blosc2's default codec."""

    name = "ctable-zstd"
    codec = "ZSTD"
