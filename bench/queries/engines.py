"""kist, and peers that keep a table of their own: PyTables, CTable, h5py."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import make_dataclass
from typing import Any, ClassVar

import numpy as np

from bench.engines.base import Engine, NotOffered, load, sync_file, sync_path, sync_tree
from bench.engines.kist_store import kist_missing, warm_kist
from bench.queries.data import DTYPE, Array, Columns, Where, wheres

Blocks = Iterable[tuple[Array, Array]]
"""Rows, and which values of nullable twins are null."""
NAMES = list(DTYPE.names or ())


class QueryEngine(Engine):
    """An engine that answers questions to the table."""

    @abstractmethod
    def write(self, blocks: Blocks, n_rows: int) -> None:
        """Make the table; durable on return."""

    @abstractmethod
    def open(self, *, writable: bool = False) -> None:
        """Open it."""

    @abstractmethod
    def close(self) -> None:
        """Close it."""

    @abstractmethod
    def rows(self, where: Where, fields: list[str]) -> Mapping[str, Array]:
        """Some fields of the rows that match, in order."""

    @abstractmethod
    def count(self, where: Where | None) -> int:
        """How many match."""

    @abstractmethod
    def sum(self, where: Where | None) -> float:
        """The sum of ``price`` of those that match."""

    def means(self, key: str) -> dict[str, float]:
        """The mean of ``price`` for each value of a short string."""
        raise NotOffered

    def sorted_prices(self) -> Array:
        """``price`` of all rows read in its order, ``serial`` beside it."""
        raise NotOffered

    def create_indexes(self) -> None:
        """Index ``code`` and ``key``; durable on return."""
        raise NotOffered

    def find(self, key: int) -> int:
        """The number of rows with a key; reads their price."""
        raise NotOffered

    def update(self, where: Where) -> None:
        """Add 1 to ``price`` where a condition holds; durable on return."""
        raise NotOffered

    def delete(self, where: Where) -> None:
        """Delete the rows where a condition holds; durable on return."""
        raise NotOffered


class Kist(QueryEngine):
    """One table with its defaults; the columns of other kinds in one of their own."""

    name = "kist"
    modules = ("kist",)
    codes: ClassVar[dict[str, str]] = {"no null": "code_full", "nulls": "code_null"}
    symbols: ClassVar[dict[str, str]] = {"nullable": "symbol_full", "text": "symbol_text"}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kist: Any = load("kist")
        self._path = self.folder / "table.kist"
        self._store: Any = None
        self._n_rows = 0

    @classmethod
    def missing(cls) -> str | None:
        return kist_missing()

    @classmethod
    def warm(cls) -> None:
        warm_kist()

    def write(self, blocks: Blocks, n_rows: int) -> None:
        self._n_rows = n_rows
        with self._kist.open(self._path, "w") as store, store.transaction():
            table = store.create_table("table", dtype=DTYPE)
            for block, _ in blocks:
                table.append(block)

    def write_twins(self, blocks: Blocks) -> None:
        """Make the columns of other kinds; not timed."""
        text = np.dtypes.StringDType()
        nullable = self._kist.nullable
        dtype = {"code_full": nullable("i4"), "code_null": nullable("i4"), "price": "f8"}
        dtype |= {"symbol_full": nullable("S8"), "symbol_text": text}
        with self._kist.open(self._path, "r+") as store, store.transaction():
            empty = {
                name: np.zeros(0, kind if kind is text else np.dtype(kind))
                for name, kind in dtype.items()
            }
            table = store.create_table("twins", empty)
            for block, null in blocks:
                plain = np.zeros(len(block), bool)
                table.append(
                    {
                        "code_full": np.ma.MaskedArray(block["code"], plain),
                        "code_null": np.ma.MaskedArray(block["code"], null),
                        "price": block["price"],
                        "symbol_full": np.ma.MaskedArray(block["symbol"], plain),
                        "symbol_text": block["symbol"].astype("U8").astype(text),
                    }
                )

    @property
    def unclustered(self) -> dict[str, Where]:
        """The conditions on ``code``."""
        return {k: where for k, where in wheres(self._n_rows).items() if where.field == "code"}

    def open(self, *, writable: bool = False) -> None:
        self._store = self._kist.open(self._path, "r+" if writable else "r")

    def close(self) -> None:
        self._store.close()
        self._store = None

    def _table(self, field: str) -> Any:
        return self._store["table" if field in NAMES else "twins"]

    def _where(self, where: Where | None) -> Any:
        if where is None:
            return self._store["table"]
        return self._table(where.field).where(where.text())

    def rows(self, where: Where, fields: list[str]) -> Mapping[str, Array]:
        rows: Array = self._where(where)[fields][:]
        return {name: rows[name] for name in fields}

    def count(self, where: Where | None) -> int:
        return len(self._where(where))

    def sum(self, where: Where | None) -> float:
        return float(self._where(where)["price"].sum())

    def means(self, key: str) -> dict[str, float]:
        found = self._table(key).group_by(key).agg(mean=("price", "mean"))
        words = found[key]["value"] if found[key].dtype.names else found[key]
        texts = [word if isinstance(word, str) else word.decode() for word in words.tolist()]
        return dict(zip(texts, found["mean"].tolist(), strict=True))

    def sorted_prices(self) -> Array:
        found = self._store["table"].sort_by("price")[["price", "serial"]]
        parts: list[Array] = [block["price"].copy() for block in found.blocks()]
        return np.concatenate(parts)

    def create_indexes(self) -> None:
        with self._kist.open(self._path, "r+") as store:
            store["table"].create_index("code")
            store["table"].create_index("key")

    def find(self, key: int) -> int:
        return len(self._store["table"].where("key == key_", key_=key)["price"][:])

    def update(self, where: Where) -> None:
        self._where(where).update({"price": self._kist.expr("price + 1")})

    def delete(self, where: Where) -> None:
        self._where(where).delete()


class PyTables(QueryEngine):
    """Blosc2 with LZ4 and shuffle, size announced; indexes are full ones (CSI)."""

    name = "pytables"
    modules = ("tables",)
    # HDF5 has no datetime64.
    stored: ClassVar[np.dtype[Any]] = np.dtype(
        [(name, "<i8" if DTYPE[name].kind == "M" else DTYPE[name]) for name in NAMES]
    )

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

    def write(self, blocks: Blocks, n_rows: int) -> None:
        filters = self._tables.Filters(complevel=5, complib="blosc2:lz4", shuffle=True)
        with self._tables.open_file(self._path, "w") as file:
            table = file.create_table(
                *("/", "table", self.stored),
                filters=filters,
                chunkshape=(8_192,),
                expectedrows=n_rows,
            )
            for block, _ in blocks:
                table.append(block.view(self.stored))
        sync_file(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._file = self._tables.open_file(self._path, "a" if writable else "r")

    def close(self) -> None:
        self._file.close()

    def rows(self, where: Where, fields: list[str]) -> Mapping[str, Array]:
        found = self._table.read_where(where.text()).view(DTYPE)
        return {name: found[name] for name in fields}

    def count(self, where: Where | None) -> int:
        if where is None:
            return int(self._table.nrows)
        return len(self._table.get_where_list(where.text()))

    def sum(self, where: Where | None) -> float:
        if where is None:
            return float(self._table.read(field="price").sum())
        return float(self._table.read_where(where.text(), field="price").sum())

    def create_indexes(self) -> None:
        self.open(writable=True)
        for name in ("code", "key"):
            getattr(self._table.cols, name).create_csindex()
        self.close()
        sync_path(self._path)

    def find(self, key: int) -> int:
        return len(self._table.read_where(f"key == {key}", field="price"))

    def update(self, where: Where) -> None:
        places = self._table.get_where_list(where.text(), sort=True)
        rows = self._table.read_coordinates(places)
        rows["price"] += 1
        self._table.modify_coordinates(places, rows)
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        sync_path(self._path)


class CTable(QueryEngine):
    """Blosc2's CTable, LZ4, size announced, no row validation; its indexes are full ones."""

    name = "ctable"
    modules = ("blosc2",)
    indexed: ClassVar[bool] = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._blosc2 = load("blosc2")
        self._blosc2.set_nthreads(self.threads)
        self._path = self.folder / "table.b2d"
        self._table: Any = None

    def _row_class(self) -> type:
        b2 = self._blosc2
        specs = {"f": b2.float64, "i8": b2.int64, "i4": b2.int32}
        fields: list[Any] = []
        for name in NAMES:
            dtype = DTYPE[name]
            if dtype.kind == "S":
                fields.append((name, bytes, b2.field(b2.bytes(max_length=dtype.itemsize))))
            elif dtype.kind == "M":
                fields.append((name, object, b2.field(b2.timestamp(unit="ns"))))
            elif dtype.kind == "f":
                fields.append((name, float, b2.field(specs["f"]())))
            else:
                fields.append((name, int, b2.field(specs[dtype.str[1:]]())))
        return make_dataclass("Row", fields)

    def write(self, blocks: Blocks, n_rows: int) -> None:
        self._table = self._blosc2.CTable(
            self._row_class(),
            urlpath=str(self._path),
            mode="w",
            expected_size=n_rows,
            validate=False,
            cparams={"codec": self._blosc2.Codec.LZ4},
            create_summary_index=self.indexed,
        )
        for block, _ in blocks:
            self._table.extend({name: np.ascontiguousarray(block[name]) for name in NAMES})
        self.close()
        sync_tree(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._table = self._blosc2.CTable.open(str(self._path), mode="a" if writable else "r")

    def close(self) -> None:
        self._table.close()
        self._table = None

    def rows(self, where: Where, fields: list[str]) -> Mapping[str, Array]:
        found = self._table.where(where.text(), columns=fields)
        return {name: found[name][:].astype(DTYPE[name], copy=False) for name in fields}

    def count(self, where: Where | None) -> int:
        return len(self._table if where is None else self._table.where(where.text()))

    def sum(self, where: Where | None) -> float:
        found = self._table if where is None else self._table.where(where.text())
        return float(found["price"].sum())

    def means(self, key: str) -> dict[str, float]:
        found = self._table.group_by(key).mean("price")
        pairs = zip(found[key][:], found["price_mean"][:], strict=True)
        return {bytes(word).decode(): float(mean) for word, mean in pairs}

    def sorted_prices(self) -> Array:
        found = self._table.sort_by("price")
        prices: Array = found["price"][:]
        found["serial"][:]
        return prices

    def create_indexes(self) -> None:
        if not self.indexed:
            raise NotOffered
        self.open(writable=True)
        for name in ("code", "key"):
            if name in self._indexed_columns():
                self._table.drop_index(name)  # its summaries
            self._table.create_index(name, kind=self._blosc2.IndexKind.FULL)
        self.close()
        sync_tree(self._path)

    def _indexed_columns(self) -> set[str]:
        return {str(index.col_name) for index in self._table.indexes}

    def find(self, key: int) -> int:
        return len(self._table.where(f"key == {key}")["price"][:])

    def update(self, where: Where) -> None:
        column = self._table["price"]
        mask = where.mask({where.field: self._table[where.field][:]})
        column[mask] = column[mask] + 1
        sync_tree(self._path)

    def delete(self, where: Where) -> None:
        mask = where.mask({where.field: self._table[where.field][:]})
        self._table.delete(np.flatnonzero(mask).tolist())
        self._table.compact()
        sync_tree(self._path)


class CTablePlain(CTable):
    """The same without any index."""

    name = "ctable-plain"
    indexed = False


class H5pyColumns(QueryEngine):
    """One dataset a column, LZ4 and shuffle through hdf5plugin; the rest is NumPy on columns."""

    name = "h5py"
    modules = ("h5py", "hdf5plugin")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        plugin = load("hdf5plugin")
        self._codec = plugin.Blosc2(cname="lz4", clevel=5, filters=plugin.Blosc2.SHUFFLE)
        self._path = self.folder / "table.h5"
        self._file: Any = None

    def write(self, blocks: Blocks, n_rows: int) -> None:
        with load("h5py").File(self._path, "w", libver="latest") as file:
            at = 0
            for block, _ in blocks:
                for name in NAMES:
                    values = np.ascontiguousarray(block[name])
                    values = values.view("i8") if values.dtype.kind == "M" else values
                    if name not in file:
                        file.create_dataset(
                            name,
                            (n_rows,),
                            values.dtype,
                            chunks=(min(65_536, n_rows),),
                            compression=self._codec,
                        )
                    file[name][at : at + len(values)] = values
                at += len(block)
        sync_file(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._file = load("h5py").File(self._path, "r+" if writable else "r")

    def close(self) -> None:
        self._file.close()

    def _mask(self, where: Where) -> Array:
        return where.mask({where.field: self._file[where.field][:]})

    def rows(self, where: Where, fields: list[str]) -> Mapping[str, Array]:
        mask = self._mask(where)
        found: Columns = {name: self._file[name][:][mask].view(DTYPE[name]) for name in fields}
        return found

    def count(self, where: Where | None) -> int:
        if where is None:
            return len(self._file["price"])
        return int(np.count_nonzero(self._mask(where)))

    def sum(self, where: Where | None) -> float:
        prices = self._file["price"][:]
        return float(prices.sum() if where is None else prices[self._mask(where)].sum())

    def update(self, where: Where) -> None:
        prices = self._file["price"][:]
        prices[self._mask(where)] += 1
        self._file["price"][:] = prices
        self._file.flush()
        sync_path(self._path)


TABLE_ENGINES: tuple[type[QueryEngine], ...] = (Kist, PyTables, CTable, CTablePlain, H5pyColumns)
