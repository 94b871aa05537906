"""Nodes of a store as tables of an SQLite database."""

from __future__ import annotations

import datetime
import sqlite3
from typing import Any, Final

import numpy as np

import kist
from kist.bridges.base import BLOCK_ROWS, Job
from kist.bridges.categories import sort_of
from kist.bridges.nulls import is_ragged, value_of
from kist.bridges.plain import to_json
from kist.bridges.sqlite_schema import (
    ATTRIBUTES,
    create_as_before,
    create_indexes,
    has_more_than_columns,
    insertion,
    quoted,
)

__all__ = ["created", "write_attributes", "write_node"]

Array = np.ndarray[Any, Any]

_BATCH: Final = BLOCK_ROWS


def created(target: str) -> sqlite3.Connection:
    """Return a new database."""
    database = sqlite3.connect(target)
    # The file has no name yet: what is half written is thrown away, not rolled back.
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    # A database without tables is a database too, and not a file of no bytes.
    database.execute("PRAGMA user_version = 0")
    return database


def write_node(job: Job, database: sqlite3.Connection, name: str, node: Any) -> None:
    """Write a table, array or key store as a table."""
    if node.kind == "table":
        _write_table(job, database, name, node)
    elif node.kind == "key store":
        job.note("sqlite.keystore", node.name)
        database.execute(f"CREATE TABLE {quoted(name)} (key TEXT PRIMARY KEY, value TEXT)")
        pairs = ((to_json(key), to_json(value)) for key, value in node.items())
        database.executemany(f"INSERT INTO {quoted(name)} VALUES (?, ?)", pairs)
        job.report.count_keystore(node)
    else:
        job.note("sqlite.array", node.name)
        kept = _Values(job, node.dtype, node.name)
        database.execute(f"CREATE TABLE {quoted(name)} (value {kept.affinity})")
        # Rows of whole chunks one after the other: the order is that of the array.
        cut = (node.chunks[0], *node.shape[1:]) if node.ndim else ()
        for _, values in job.array_parts(node, cut):
            rows = zip(kept.of(values.reshape(-1)), strict=True)
            database.executemany(f"INSERT INTO {quoted(name)} VALUES (?)", rows)
    write_attributes(database, name, node)


def _write_table(job: Job, database: sqlite3.Connection, name: str, table: Any) -> None:
    found = {name: table[name] for name in table.columns}
    columns = {
        name: _Values(job, np.dtype((column.dtype, column.shape[1:])), f"{table.name}.{name}")
        for name, column in found.items()
    }
    for name_, column in found.items():
        if sort_of(column) is not None:
            job.note("sqlite.categories", f"{table.name}.{name_}")
    facts = table.attrs.get("SQLITE")
    facts = facts if isinstance(facts, dict) else {}
    names = list(columns)
    given = create_as_before(database, name, names, facts)
    if given is None:
        if has_more_than_columns(facts):
            job.note("sqlite.changed", table.name)
        fields = ", ".join(f"{quoted(c)} {values.affinity}" for c, values in columns.items())
        database.execute(f"CREATE TABLE {quoted(name)} ({fields})")
    used = {c: columns[c] for c in (names if given is None else given)}
    insert = insertion(name, list(used))
    for arrays in zip(*(found[column].blocks(_BATCH) for column in used), strict=True):
        parts = [values.of(part) for values, part in zip(used.values(), arrays, strict=True)]
        database.executemany(insert, zip(*parts, strict=True))
        job.report.n_rows += len(arrays[0])
        job.advance(sum(part.nbytes for part in arrays))
    for sql in create_indexes(database, name, facts) if given is not None else ():
        job.note("sqlite.index", f"{table.name} ({sql})")
    job.report.n_tables += 1


def write_attributes(database: sqlite3.Connection, name: str, node: Any) -> None:
    """Keep attributes as JSON in a table of their own."""
    rows = [(name, "", key, to_json(value)) for key, value in node.attrs.items() if key != "SQLITE"]
    if node.kind == "table":
        rows += [
            (name, column, key, to_json(value))
            for column in node.columns
            for key, value in node[column].attrs.items()
        ]
    if rows:
        database.execute(
            f"CREATE TABLE IF NOT EXISTS {ATTRIBUTES} (node TEXT, column TEXT, name TEXT, "
            "value TEXT)"
        )
        database.executemany(f"INSERT INTO {ATTRIBUTES} VALUES (?, ?, ?, ?)", rows)


class _Values:
    """Values of one dtype as SQLite takes them."""

    def __init__(self, job: Job, dtype: np.dtype[Any], place: str) -> None:
        bytes_too = (kist.ragged(bytes), kist.nullable(kist.ragged(bytes)))
        dtype = np.dtype("V1") if dtype in bytes_too else value_of(dtype)
        self.plain = dtype.subdtype is None and dtype.names is None
        kind = dtype.kind if self.plain else "?json"
        self.kind = "T" if dtype.char == "T" else kind
        if kind in "biu" and (kind, dtype.itemsize) != ("u", 8):  # of either byte order
            self.affinity = "INTEGER"
        elif kind == "f" and dtype.itemsize <= 8:
            self.affinity = "REAL"
        elif kind == "V":
            self.affinity = "BLOB"
        else:
            self.affinity = "BLOB" if kind == "S" else "TEXT"
            if kind not in "UST":
                found = "arrays of different lengths" if is_ragged(dtype) else dtype
                job.note("sqlite.dtype", f"{place} ({found})")

    def of(self, values: Any) -> list[Any]:
        """Return a list of Python values; NaN, NaT and missing text are null."""
        if isinstance(values, np.ma.MaskedArray):  # of a nullable column
            gone = np.ma.getmaskarray(values).tolist()
            found = self.of(values.data)
            return [None if no else value for value, no in zip(found, gone, strict=True)]
        if isinstance(values, kist.Ragged):
            cells = values.to_list()
            if self.affinity == "BLOB":
                return cells
            return [None if cell is None else to_json(_listed(cell)) for cell in cells]
        values = np.asarray(values)
        if self.affinity in ("INTEGER", "BLOB"):
            return list(values.tolist())
        if self.affinity == "REAL":
            return [None if v != v else v for v in values.tolist()]
        if self.kind == "T":
            return [v if type(v) is str else None for v in values.astype(object).tolist()]
        if self.kind in "Mm" and self.plain:
            texts = np.datetime_as_string(values) if self.kind == "M" else values.astype(str)
            return [None if nat else str(t) for t, nat in zip(texts, np.isnat(values), strict=True)]
        if self.kind == "U":
            return list(values.tolist())
        if self.plain:
            return [str(v) for v in values.tolist()]
        return [to_json(_listed(v)) for v in values.tolist()]


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _listed(value.tolist())
    if isinstance(value, tuple | list):
        return [_listed(item) for item in value]
    if isinstance(value, datetime.date | datetime.timedelta):
        return str(value)
    return value
