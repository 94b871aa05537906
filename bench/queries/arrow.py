"""Peers that speak Arrow: DuckDB on its own file and on Parquet, pyarrow, Vortex, Lance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.engines.base import NotOffered, load, sync_file, sync_tree
from bench.queries.data import DTYPE, Array, Where
from bench.queries.engines import NAMES, Blocks, QueryEngine


class _Arrow(QueryEngine):
    """An engine that is given Arrow tables and gives them back; short strings are text there."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pa = load("pyarrow")
        self._compute = load("pyarrow.compute")
        self._pa.set_cpu_count(self.threads)
        self._pa.set_io_thread_count(self.threads)

    def to_arrow(self, block: Array) -> Any:
        """Records as an Arrow table."""

        def column(name: str) -> Any:
            values = np.ascontiguousarray(block[name])
            return values.astype("U8") if values.dtype.kind == "S" else values

        return self._pa.table({name: column(name) for name in NAMES})

    def to_columns(self, table: Any) -> Mapping[str, Array]:
        """Fields of numbers and times as NumPy arrays."""
        return {
            name: table[name].to_numpy().astype(DTYPE[name], copy=False)
            for name in table.column_names
        }

    def _read(self, fields: list[str], where: Where | None) -> Any:
        """An Arrow table of some fields of the rows that match."""
        raise NotOffered

    def rows(self, where: Where, fields: list[str]) -> Mapping[str, Array]:
        return self.to_columns(self._read(fields, where))

    def count(self, where: Where | None) -> int:
        return int(self._read(["serial" if where is None else where.field], where).num_rows)

    def sum(self, where: Where | None) -> float:
        return float(self._compute.sum(self._read(["price"], where)["price"]).as_py() or 0)

    def means(self, key: str) -> dict[str, float]:
        found = self._read([key, "price"], None).group_by(key).aggregate([("price", "mean")])
        return dict(zip(found[key].to_pylist(), found["price_mean"].to_pylist(), strict=True))

    def sorted_prices(self) -> Array:
        found = self._read(["price", "serial"], None).sort_by("price")
        prices: Array = found["price"].to_numpy()
        return prices


class _SQL(_Arrow):
    """DuckDB, whatever it reads from."""

    source = "t"
    _db: Any

    def _connect(self, path: str, *, read_only: bool) -> None:
        config = {"threads": self.threads}
        self._db = load("duckdb").connect(path, read_only=read_only, config=config)

    def close(self) -> None:
        self._db.close()

    def _sql(self, what: str, where: Where | None, more: str = "") -> Any:
        condition = f" WHERE {where.text('AND')}" if where is not None else ""
        return self._db.sql(f"SELECT {what} FROM {self.source}{condition}{more}")

    def _read(self, fields: list[str], where: Where | None) -> Any:
        return self._sql(", ".join(fields), where).to_arrow_table()

    def count(self, where: Where | None) -> int:
        return int(self._sql("count(*)", where).fetchall()[0][0])

    def sum(self, where: Where | None) -> float:
        return float(self._sql("sum(price)", where).fetchall()[0][0] or 0)

    def means(self, key: str) -> dict[str, float]:
        return dict(self._sql(f"{key}, avg(price)", None, f" GROUP BY {key}").fetchall())

    def sorted_prices(self) -> Array:
        found = self._sql("price, serial", None, " ORDER BY price").to_arrow_table()
        prices: Array = found["price"].to_numpy()
        return prices


class DuckDB(_SQL):
    """One table; its indexes are radix trees (ART), made by ``CREATE INDEX``."""

    name = "duckdb"
    modules = ("duckdb", "pyarrow")

    @property
    def _path(self) -> str:
        return str(self.folder / "table.duckdb")

    def write(self, blocks: Blocks, n_rows: int) -> None:
        self._connect(self._path, read_only=False)
        for number, (block, _) in enumerate(blocks):
            self._db.register("incoming", self.to_arrow(block))
            verb = "INSERT INTO t" if number else "CREATE TABLE t AS"
            self._db.execute(f"{verb} SELECT * FROM incoming")
        self.close()

    def open(self, *, writable: bool = False) -> None:
        self._connect(self._path, read_only=not writable)

    def create_indexes(self) -> None:
        self.open(writable=True)
        for name in ("code", "key"):
            self._db.execute(f"CREATE INDEX by_{name} ON t ({name})")
        self.close()

    def find(self, key: int) -> int:
        return len(self._db.sql(f"SELECT price FROM t WHERE key = {key}").fetchall())

    def update(self, where: Where) -> None:
        self._db.execute(f"UPDATE t SET price = price + 1 WHERE {where.text('AND')}")

    def delete(self, where: Where) -> None:
        self._db.execute(f"DELETE FROM t WHERE {where.text('AND')}")


class ParquetDuckDB(_SQL):
    """Parquet (Zstd) written by pyarrow, asked by DuckDB."""

    name = "parquet-duckdb"
    modules = ("duckdb", "pyarrow", "pyarrow.parquet")

    def write(self, blocks: Blocks, n_rows: int) -> None:
        path, parquet, writer = self.folder / "t.parquet", load("pyarrow.parquet"), None
        for block, _ in blocks:
            table = self.to_arrow(block)
            writer = writer or parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()
        sync_file(path)

    def open(self, *, writable: bool = False) -> None:
        if writable:
            raise NotOffered
        self._connect(":memory:", read_only=False)
        self.source = f"'{self.folder / 't.parquet'}'"


class Parquet(ParquetDuckDB):
    """The same file asked through ``pyarrow.dataset``."""

    name = "parquet"
    modules = ("pyarrow", "pyarrow.parquet", "pyarrow.dataset")
    _data: Any = None

    def open(self, *, writable: bool = False) -> None:
        if writable:
            raise NotOffered
        self._data = load("pyarrow.dataset").dataset(str(self.folder / "t.parquet"))

    def close(self) -> None:
        self._data = None

    def _filter(self, where: Where | None) -> Any:
        if where is None:
            return None
        field = self._compute.field(where.field)
        return (field >= where.low) & (field < where.high)

    def _read(self, fields: list[str], where: Where | None) -> Any:
        return self._data.to_table(columns=fields, filter=self._filter(where))

    def count(self, where: Where | None) -> int:
        return int(self._data.count_rows(filter=self._filter(where)))

    sum, means, sorted_prices = _Arrow.sum, _Arrow.means, _Arrow.sorted_prices


class Vortex(_Arrow):
    """Vortex with its defaults; scans that compare encoded values."""

    name = "vortex"
    modules = ("vortex", "pyarrow")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._vortex, self._expr = load("vortex"), load("vortex.expr")
        self._vortex.set_worker_threads(self.threads)
        self._files: list[Any] = []

    def write(self, blocks: Blocks, n_rows: int) -> None:
        for number, (block, _) in enumerate(blocks):
            path = self.folder / f"part-{number:03d}.vortex"
            self._vortex.io.write(self.to_arrow(block), str(path))
            sync_file(path)

    def open(self, *, writable: bool = False) -> None:
        if writable:
            raise NotOffered
        self._files = [self._vortex.open(str(p)) for p in sorted(self.folder.glob("*.vortex"))]

    def close(self) -> None:
        self._files = []

    def _read(self, fields: list[str], where: Where | None) -> Any:
        condition = None
        if where is not None:
            dtype = self._vortex.int_(8 * DTYPE[where.field].itemsize)
            low, high = (self._expr.literal(dtype, end) for end in (where.low, where.high))
            column = self._expr.column(where.field)
            condition = (column >= low) & (column < high)
        tables = [file.to_arrow(fields, expr=condition).read_all() for file in self._files]
        return tables[0] if len(tables) == 1 else self._pa.concat_tables(tables)


class Lance(_Arrow):
    """Lance with its defaults; its index is a B-tree."""

    name = "lance"
    modules = ("lance", "pyarrow")
    _data: Any = None

    @property
    def _path(self) -> str:
        return str(self.folder / "table.lance")

    def write(self, blocks: Blocks, n_rows: int) -> None:
        for number, (block, _) in enumerate(blocks):
            mode = "append" if number else "create"
            load("lance").write_dataset(self.to_arrow(block), self._path, mode=mode)
        sync_tree(self.folder / "table.lance")

    def open(self, *, writable: bool = False) -> None:
        self._data = load("lance").dataset(self._path)

    def close(self) -> None:
        self._data = None

    def _read(self, fields: list[str], where: Where | None) -> Any:
        text = None if where is None else where.text("AND")
        return self._data.to_table(columns=fields, filter=text)

    def count(self, where: Where | None) -> int:
        return int(self._data.count_rows(filter=None if where is None else where.text("AND")))

    def create_indexes(self) -> None:
        self.open()
        for name in ("code", "key"):
            self._data.create_scalar_index(name, "BTREE")
        self.close()
        sync_tree(self.folder / "table.lance")

    def find(self, key: int) -> int:
        return int(self._data.to_table(columns=["price"], filter=f"key = {key}").num_rows)

    def update(self, where: Where) -> None:
        self._data.update({"price": "price + 1"}, where=where.text("AND"))
        sync_tree(self.folder / "table.lance")

    def delete(self, where: Where) -> None:
        self._data.delete(where.text("AND"))
        sync_tree(self.folder / "table.lance")


ARROW_ENGINES: tuple[type[QueryEngine], ...] = (*(DuckDB, Parquet, ParquetDuckDB, Vortex, Lance),)
