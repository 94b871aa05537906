"""Lance: a folder of versions, made for random access."""

from __future__ import annotations

from typing import Any

from bench.engines.arrow import ArrowEngine
from bench.engines.base import NotOffered, load, sync_tree
from bench.engines.table import Array, Some, Where, text_of
from bench.workloads import Records


class Lance(ArrowEngine):
    """Lance with its defaults; its files are synced here, as it does not."""

    name = "lance"
    modules = ("lance", "pyarrow")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._path = self.folder / "table.lance"
        self._data: Any = None

    def write(self, rows: Records) -> None:
        load("lance").write_dataset(self.to_arrow(rows), str(self._path), mode="create")
        sync_tree(self._path)

    def append(self, rows: Records) -> None:
        self._data = load("lance").write_dataset(self.to_arrow(rows), self._data, mode="append")
        sync_tree(self._path)

    def open(self, *, writable: bool = False) -> None:
        self._data = load("lance").dataset(str(self._path))

    def close(self) -> None:
        self._data = None

    def _read(
        self, fields: list[str] | None = None, where: Where = (), indices: Array | None = None
    ) -> Any:
        if indices is not None:
            return self._data.take(indices.tolist(), columns=fields)
        return self._data.to_table(columns=fields, filter=self._sql(where))

    def _sql(self, where: Where) -> str | None:
        return text_of(where, "AND") or None

    def read_range(self, fields: list[str], start: int, stop: int) -> Some:
        table = self._data.to_table(columns=fields, offset=start, limit=stop - start)
        return self.to_columns(table)

    def count_where(self, where: Where) -> int:
        return int(self._data.count_rows(filter=self._sql(where)))

    def update(self, where: Where, field: str, plus: float) -> None:
        # Updated rows move to the end: another order than the one that the step asks for.
        raise NotOffered
