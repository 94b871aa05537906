"""kist itself, through its public API, with its defaults."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bench.engines.base import Engine, NotOffered, load
from bench.engines.table import Array, Some, TableEngine, Where, text_of
from bench.records import Columns
from bench.workloads import Records


def kist_missing() -> str | None:
    """Why kist cannot run here, or None when it can."""
    try:
        load("kist").open(":memory:").close()
    except (ImportError, AttributeError) as error:
        return f"kist cannot be used: {error}"
    return None


def warm_kist() -> None:
    """Let kist import what its first write and read import: it loads codecs when it needs them."""
    kist = load("kist")
    rows = np.zeros(100, [("a", "f8"), ("b", "i4"), ("c", "S8")])
    with kist.open(":memory:") as store:
        store["t"] = rows
        store["a"] = np.arange(100.0)
        store.create_keystore("k")["x"] = rows["a"]
        store["t"][:], store["a"][:], store["k"]["x"]


class KistEngine(Engine):
    """What kist's engines of all workloads have in common."""

    name = "kist"
    modules = ("kist",)

    @classmethod
    def missing(cls) -> str | None:
        return kist_missing()

    @classmethod
    def warm(cls) -> None:
        warm_kist()


class Kist(KistEngine, TableEngine):
    """One table in one store. ``durability="full"`` is the default: it syncs by itself."""

    codec: ClassVar[str] = "auto"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kist: Any = load("kist")
        self._path = self.folder / "table.kist"
        self._store: Any = None
        self._table: Any = None

    def write(self, rows: Records) -> None:
        with self._kist.open(self._path, "w") as store:
            store.create_table("table", rows, codec=self.codec)

    def open(self, *, writable: bool = False) -> None:
        self._store = self._kist.open(self._path, "r+" if writable else "r")
        self._table = self._store["table"]

    def close(self) -> None:
        self._store.close()
        self._store = self._table = None

    def read_all(self) -> Records:
        rows: Records = self._table[:]
        return rows

    def read_columns(self) -> Columns:
        return {name: self._table[name][:] for name in self._table.columns}

    def read_field(self, field: str) -> Array:
        values: Array = self._table[field][:]
        return values

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        rows: Records = self._table[fields][start:stop]
        return rows

    def take(self, fields: list[str], indices: Array) -> Some:
        rows: Records = self._table[fields][indices]
        return rows

    def row(self, index: int) -> Any:
        return self._table[index]

    def value(self, field: str, row: int) -> Any:
        return self._table[field][row]

    def append(self, rows: Records) -> None:
        self._table.append(rows)

    def _where(self, where: Where) -> Any:
        return self._table.where(text_of(where))

    def update(self, where: Where, field: str, plus: float) -> None:
        self._where(where).update({field: self._kist.expr(f"{field} + {plus}")})

    def rows_where(self, where: Where, fields: list[str]) -> Some:
        rows: Records = self._where(where)[fields][:]
        return rows

    def count_where(self, where: Where) -> int:
        return int(self._where(where).count())

    def sum_where(self, where: Where, field: str) -> float:
        return float(self._where(where)[field].sum())

    def mean_by(self, key: str, field: str) -> dict[bytes, float]:
        if not hasattr(self._table, "group_by"):
            raise NotOffered
        found = self._table.group_by(key).agg(mean=(field, "mean"))
        return {bytes(row[key]): float(row["mean"]) for row in found}


class KistFast(Kist):
    """The preset that favours speed."""

    name = "kist-fast"
    codec = "fast"


class KistSmall(Kist):
    """The preset that favours size."""

    name = "kist-small"
    codec = "small"
