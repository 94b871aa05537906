"""kist itself, through its public API, with its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy.typing as npt

from bench.engines.base import TableEngine, load
from bench.workloads import Records, small_table


class Kist(TableEngine):
    """One table in one store. ``durability="full"`` is the default: it syncs by itself."""

    name = "kist"
    modules: ClassVar[tuple[str, ...]] = ("kist",)
    codec: ClassVar[str] = "auto"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._kist: Any = load("kist")
        self._path = self.folder / "table.kist"
        self._store: Any = None
        self._table: Any = None

    @classmethod
    def missing(cls) -> str | None:
        try:
            load("kist").open(":memory:").close()
        except (ImportError, AttributeError) as error:
            return f"kist cannot be used: {error}"
        return None

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

    def read_field(self, field: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = self._table[field][:]
        return values

    def value(self, field: str, row: int) -> Any:
        return self._table[field][row]

    def append(self, rows: Records) -> None:
        self._table.append(rows)

    def build_listing(self, names: Sequence[str]) -> None:
        with self._kist.open(self.folder / "listing.kist", "w") as store, store.transaction():
            for i, name in enumerate(names):
                store.create_table(name, small_table(i))

    def open_and_list(self) -> list[str]:
        with self._kist.open(self.folder / "listing.kist") as store:
            return list(store)


class KistFast(Kist):
    """The preset that favours speed."""

    name = "kist-fast"
    codec = "fast"


class KistSmall(Kist):
    """The preset that favours size."""

    name = "kist-small"
    codec = "small"
