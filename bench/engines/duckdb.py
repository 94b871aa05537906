"""DuckDB on its own file, results taken out as Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.engines.arrow import ArrowEngine
from bench.engines.base import load
from bench.engines.table import Array, Some, Where, ascending, text_of
from bench.workloads import Records


class DuckDB(ArrowEngine):
    """One table; each statement is a commit that is synced, closing writes the checkpoint."""

    name = "duckdb"
    modules = ("duckdb", "pyarrow")
    fixed_size = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._path = self.folder / "table.duckdb"
        self._db: Any = None

    def _connect(self, read_only: bool) -> None:
        self._db = load("duckdb").connect(
            str(self._path), read_only=read_only, config={"threads": self.threads}
        )

    def write(self, rows: Records) -> None:
        self._connect(read_only=False)
        self._db.register("incoming", self.to_arrow(rows))
        self._db.execute("CREATE TABLE t AS SELECT * FROM incoming")
        self.close()

    def append(self, rows: Records) -> None:
        self._db.register("incoming", self.to_arrow(rows))
        self._db.execute("INSERT INTO t SELECT * FROM incoming")

    def open(self, *, writable: bool = False) -> None:
        self._connect(read_only=not writable)

    def close(self) -> None:
        self._db.close()
        self._db = None

    def _read(
        self, fields: list[str] | None = None, where: Where = (), indices: Array | None = None
    ) -> Any:
        what = "*" if fields is None else ", ".join(fields)
        if indices is None:
            condition = f" WHERE {text_of(where, 'AND')}" if where else ""
            return self._db.sql(f"SELECT {what} FROM t{condition}").to_arrow_table()
        if len(indices) == 1:
            return self._db.sql(f"SELECT {what} FROM t WHERE rowid = {indices[0]}").to_arrow_table()
        in_order, back = ascending(indices)
        self._db.register("wanted", self._pa.table({"place": self._pa.array(in_order)}))
        query = f"SELECT {what} FROM t WHERE rowid IN (SELECT place FROM wanted) ORDER BY rowid"
        found = self._db.sql(query).to_arrow_table()
        return found if back is None else found.take(self._pa.array(back))

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        query = f"SELECT {', '.join(fields)} FROM t WHERE rowid >= {start} AND rowid < {stop}"
        return self.to_columns(self._db.sql(query).to_arrow_table())

    def _one(self, query: str) -> Any:
        return self._db.sql(query).fetchall()[0][0]

    def value(self, field: str, row: int) -> Any:
        return np.float64(self._one(f"SELECT {field} FROM t WHERE rowid = {row}"))

    def count_where(self, where: Where) -> int:
        return int(self._one(f"SELECT count(*) FROM t WHERE {text_of(where, 'AND')}"))

    def sum_where(self, where: Where, field: str) -> float:
        total = self._one(f"SELECT sum({field}) FROM t WHERE {text_of(where, 'AND')}")
        return total or 0.0  # null where nothing matches

    def mean_by(self, key: str, field: str) -> dict[bytes, float]:
        found = self._db.sql(f"SELECT {key}, avg({field}) FROM t GROUP BY {key}").fetchall()
        return {word.rstrip(b"\0"): mean for word, mean in found}

    def update(self, where: Where, field: str, plus: float) -> None:
        condition = text_of(where, "AND")
        self._db.execute(
            f"UPDATE t SET {field} = {field} + CAST({plus} AS DOUBLE) WHERE {condition}"
        )
