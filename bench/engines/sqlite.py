"""SQLite as the yardstick of opening and listing: one row per dataset."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import ClassVar

from bench.engines.base import Engine
from bench.workloads import small_table


class SQLite(Engine):
    """Name and rows of each dataset in one table with the name as its primary key."""

    name = "sqlite"
    modules: ClassVar[tuple[str, ...]] = ("sqlite3",)

    def build_listing(self, names: Sequence[str]) -> None:
        connection = sqlite3.connect(self.folder / "listing.sqlite")
        with connection:
            connection.execute("CREATE TABLE dataset (name TEXT PRIMARY KEY, data BLOB)")
            connection.executemany(
                "INSERT INTO dataset VALUES (?, ?)",
                ((name, small_table(i).tobytes()) for i, name in enumerate(names)),
            )
        connection.close()

    def open_and_list(self) -> list[str]:
        connection = sqlite3.connect(self.folder / "listing.sqlite")
        try:
            return [name for (name,) in connection.execute("SELECT name FROM dataset ORDER BY 1")]
        finally:
            connection.close()
