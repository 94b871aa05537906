"""A million web addresses: written, read as NumPy, found by equality and by a part, taken.

"Read as NumPy" is the array that an engine hands to NumPy by itself: ``StringDType`` for kist,
objects for those that go through Arrow. The addresses are compared one by one in both cases.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import make_dataclass
from typing import Any

import numpy as np

from bench.engines.base import Engine, load, sync_file, sync_tree
from bench.engines.kist_store import KistEngine
from bench.steps import Steps
from bench.worker import Job

TITLE = "A million strings: web addresses"
N, N_TAKE, PART = 1_000_000, 1_000, "/basket"

_HOSTS = [f"https://{word}.example.org" for word in ("shop", "news", "mail", "maps", "data")]
_PLACES = ["/item", "/article", "/basket", "/user/profile", "/search/results", "/static/img"]


def addresses(n: int) -> list[str]:
    """Addresses as logs hold them: few hosts and places, many numbers."""
    rng = np.random.default_rng(20261105)
    hosts = rng.geometric(0.35, n) % len(_HOSTS)
    places = rng.geometric(0.3, n) % len(_PLACES)
    numbers = rng.integers(0, 10**9, n)
    pages = rng.integers(0, 40, n)
    return [
        f"{_HOSTS[h]}{_PLACES[p]}/{number:x}?page={page}"
        for h, p, number, page in zip(hosts, places, numbers.tolist(), pages.tolist(), strict=True)
    ]


class StringEngine(Engine):
    """One column of strings."""

    @abstractmethod
    def write(self, values: list[str]) -> None:
        """Store them; durable on return."""

    @abstractmethod
    def open(self) -> None:
        """Open what ``write`` made."""

    @abstractmethod
    def read(self) -> Any:
        """All as an array."""

    @abstractmethod
    def count_equal(self, value: str) -> int:
        """How many equal a value."""

    @abstractmethod
    def count_containing(self, part: str) -> int:
        """How many contain a part."""

    @abstractmethod
    def take(self, indices: Any) -> Any:
        """Those at positions, as an array or a list."""

    def incoming(self, values: list[str]) -> Any:
        """What the engine is given, made outside the timing."""
        return values

    def close(self) -> None:
        """Close what ``open`` opened."""


class Kist(KistEngine, StringEngine):
    """A table with one column of StringDType."""

    def incoming(self, values: list[str]) -> Any:
        return {"url": np.array(values, np.dtypes.StringDType())}

    def write(self, values: Any) -> None:
        with load("kist").open(self.folder / "s.kist", "w") as store:
            store.create_table("t", values)

    def open(self) -> None:
        self._store = load("kist").open(self.folder / "s.kist")
        self._table = self._store["t"]

    def read(self) -> Any:
        return self._table["url"][:]

    def count_equal(self, value: str) -> int:
        return int(self._table.where("url == value", value=value).count())

    def count_containing(self, part: str) -> int:
        return int(self._table.where(self._table["url"].contains(part)).count())

    def take(self, indices: Any) -> Any:
        return self._table["url"][indices]

    def close(self) -> None:
        self._store.close()


class _Arrow(StringEngine):
    """Engines that are given an Arrow table."""

    def incoming(self, values: list[str]) -> Any:
        pa = load("pyarrow")
        pa.set_cpu_count(self.threads)
        return pa.table({"url": pa.array(values)})


class ParquetZstd(_Arrow):
    """Zstd, pyarrow's defaults; conditions through ``pyarrow.dataset``."""

    name = "parquet-zstd"
    modules = ("pyarrow", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.compute")

    def write(self, values: Any) -> None:
        path = self.folder / "s.parquet"
        load("pyarrow.parquet").write_table(values, path, compression="zstd")
        sync_file(path)

    def open(self) -> None:
        self._compute = load("pyarrow.compute")
        path = self.folder / "s.parquet"
        self._dataset = load("pyarrow.dataset").dataset(path, format="parquet")

    def read(self) -> Any:
        return self._dataset.to_table()["url"].to_numpy()

    def count_equal(self, value: str) -> int:
        return int(self._dataset.count_rows(filter=self._compute.field("url") == value))

    def count_containing(self, part: str) -> int:
        found = self._compute.match_substring(self._compute.field("url"), part)
        return int(self._dataset.count_rows(filter=found))

    def take(self, indices: Any) -> Any:
        return self._dataset.take(load("pyarrow").array(indices))["url"].to_numpy()


class Vortex(_Arrow):
    """Its defaults; conditions are scans of its own."""

    name = "vortex"
    modules = ("vortex", "pyarrow")

    def write(self, values: Any) -> None:
        path = self.folder / "s.vortex"
        load("vortex").io.write(values, str(path))
        sync_file(path)

    def open(self) -> None:
        self._expr = load("vortex.expr")
        self._vortex = load("vortex")
        self._vortex.set_worker_threads(self.threads)
        self._file = self._vortex.open(str(self.folder / "s.vortex"))

    def _read(self, **how: Any) -> Any:
        found = self._file.to_arrow(["url"], **how).read_all()["url"]
        return found.cast(load("pyarrow").string()).to_numpy()

    def read(self) -> Any:
        return self._read()

    def _count(self, condition: Any) -> int:
        return int(self._file.to_arrow(["url"], expr=condition).read_all().num_rows)

    def count_equal(self, value: str) -> int:
        return self._count(self._expr.column("url") == value)

    def count_containing(self, part: str) -> int:
        return self._count(self._expr.like(self._expr.column("url"), self._pattern(part)))

    def _pattern(self, part: str) -> Any:
        return self._expr.literal(self._vortex.utf8(), f"%{part}%")

    def take(self, indices: Any) -> Any:
        pa = load("pyarrow")
        return self._read(indices=self._vortex.array(pa.array(indices, pa.uint64())))


class DuckDB(_Arrow):
    """One table of one column."""

    name = "duckdb"
    modules = ("duckdb", "pyarrow")

    def write(self, values: Any) -> None:
        with load("duckdb").connect(str(self.folder / "s.duckdb")) as db:
            db.register("incoming", values)
            db.execute("CREATE TABLE t AS SELECT * FROM incoming")

    def open(self) -> None:
        path = str(self.folder / "s.duckdb")
        config = {"threads": self.threads}
        self._db = load("duckdb").connect(path, read_only=True, config=config)

    def _column(self, condition: str = "") -> Any:
        return self._db.sql(f"SELECT url FROM t {condition}").to_arrow_table()["url"].to_numpy()

    def read(self) -> Any:
        return self._column()

    def _count(self, condition: str, value: str) -> int:
        query = f"SELECT count(*) FROM t WHERE {condition}"
        return int(self._db.execute(query, [value]).fetchall()[0][0])

    def count_equal(self, value: str) -> int:
        return self._count("url = ?", value)

    def count_containing(self, part: str) -> int:
        return self._count("contains(url, ?)", part)

    def take(self, indices: Any) -> Any:
        self._db.register("wanted", load("pyarrow").table({"place": indices}))
        return self._column("WHERE rowid IN (SELECT place FROM wanted) ORDER BY rowid")

    def close(self) -> None:
        self._db.close()


class CTable(StringEngine):
    """Blosc2's CTable with a column of ``utf8``, the smallest of its kinds for this."""

    name = "ctable"
    modules = ("blosc2",)

    def write(self, values: list[str]) -> None:
        blosc2 = load("blosc2")
        blosc2.set_nthreads(self.threads)
        path = self.folder / "s.b2d"
        row = make_dataclass("Row", [("url", str, blosc2.field(blosc2.utf8()))])
        table = blosc2.CTable(
            row, urlpath=str(path), mode="w", expected_size=len(values), validate=False
        )
        table.extend({"url": values})
        table.close()
        sync_tree(path)

    def open(self) -> None:
        self._blosc2 = load("blosc2")
        self._table = self._blosc2.CTable.open(str(self.folder / "s.b2d"), mode="r")

    def read(self) -> Any:
        return self._table["url"][:]

    def count_equal(self, value: str) -> int:
        return len(self._table.where(self._table["url"] == value))

    def count_containing(self, part: str) -> int:
        return len(self._table.where(self._blosc2.contains(self._table["url"], part)))

    def take(self, indices: Any) -> Any:
        return self._table["url"][indices]

    def close(self) -> None:
        self._table.close()


ENGINES: dict[str, type[StringEngine]] = {
    e.name: e for e in (Kist, ParquetZstd, Vortex, DuckDB, CTable)
}


def run(engine: StringEngine, steps: Steps, job: Job) -> None:
    """Write, read, find, take."""
    values = addresses(max(1_000, int(N * job.scale)))
    steps.note("raw bytes", sum(map(len, values)))
    incoming = engine.incoming(values)
    if not steps.time("write", lambda: engine.write(incoming)):
        return
    steps.note("stored bytes", engine.stored_bytes())
    engine.open()
    steps.time("read as NumPy", engine.read, lambda found: _same(found, values), repeat=3)
    wanted = values[len(values) // 3]
    n_equal = sum(value == wanted for value in values)
    n_containing = sum(PART in value for value in values)
    steps.time("count equal", lambda: engine.count_equal(wanted), lambda n: n == n_equal, repeat=5)
    steps.time(
        "count containing",
        lambda: engine.count_containing(PART),
        lambda n: n == n_containing,
        repeat=5,
    )
    rng = np.random.default_rng(steps.turn)
    places = np.sort(rng.choice(len(values), min(N_TAKE, len(values) // 2), replace=False))
    taken = [values[i] for i in places]
    steps.time(
        "take 1,000", lambda: engine.take(places), lambda found: _same(found, taken), repeat=5
    )
    engine.close()
    if not steps.right("read as NumPy"):
        steps.wrong("write")


def _same(found: Any, wanted: list[str]) -> bool:
    pairs: Iterator[tuple[Any, str]] = zip(found, wanted, strict=True)
    return all(a == b for a, b in pairs)
