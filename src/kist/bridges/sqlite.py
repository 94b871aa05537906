"""SQLite databases: every table and view as a table, and a store as a database."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

import kist
from kist.bridges.base import BLOCK_ROWS, PART_BYTES, TEXT, Bridge, Job, as_dtype
from kist.bridges.nodes import paths_above
from kist.bridges.nulls import holds_nulls, is_nullable
from kist.bridges.plain import from_json
from kist.bridges.report import Loss
from kist.bridges.sqlite_out import created, write_attributes, write_node
from kist.bridges.sqlite_schema import (
    ATTRIBUTES,
    affinities,
    facts_of_database,
    has_more_than_columns,
    quoted,
    restore_database,
    sequence_of,
)
from kist.errors import ConversionError, CorruptDataError

__all__ = ["Sqlite"]

Array = np.ndarray[Any, Any]

LOSSES: Final = {
    "sqlite.nan": Loss("changed", "nulls among reals", "NaN"),
    "sqlite.mixed": Loss("changed", "column with values of several types", "text"),
    "sqlite.untyped": Loss(
        "changed",
        "column without values, whose declared type SQLite does not know",
        "text, all missing",
    ),
    "sqlite.schema": Loss(
        "changed",
        "keys, references, checks, defaults, collations, computed columns, indexes",
        "entry of attribute SQLITE of the table",
    ),
    "sqlite.changed": Loss(
        "not kept",
        "keys and all else of a table that has other columns now, or needs functions or "
        "collations of a program",
        "nothing",
    ),
    "sqlite.index": Loss("not kept", "index that does not fit what is in the table now", "nothing"),
    "sqlite.group": Loss("not kept", "group in which there is no table", "nothing"),
    "sqlite.view": Loss("changed", "view", "table of its rows"),
    "sqlite.trigger": Loss("not kept", "trigger", "nothing"),
    "sqlite.virtual": Loss("not kept", "virtual table of a module that is missing", "nothing"),
    "sqlite.virtual_rows": Loss("changed", "virtual table", "table of its rows"),
    "sqlite.array": Loss("changed", "array", "table of its values in order, one a row"),
    "sqlite.keystore": Loss("changed", "key store", "table of keys and values in JSON"),
    "sqlite.categories": Loss("changed", "categories of a column", "their values"),
    "sqlite.link": Loss("not kept", "link", "nothing"),
    "sqlite.dtype": Loss("changed", "dtype that SQLite lacks", "text"),
}

_BATCH: Final = BLOCK_ROWS
_INEXACT: Final = 2**53


class Sqlite(Bridge):
    """SQLite databases. Groups become parts of names: ``group/table``."""

    name: ClassVar[str] = "sqlite"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True
    errors: ClassVar[tuple[type[Exception], ...]] = (OSError, sqlite3.Error)

    def read(self, job: Job, source: str) -> None:
        _check_file(source)
        address = Path(source).absolute().as_uri() + "?mode=ro"
        # The blocks of a table are read in another thread, one at a time.
        connect = sqlite3.connect(address, uri=True, check_same_thread=False)
        with job.reading(source), contextlib.closing(connect) as database:
            database.execute("BEGIN")  # one state for all tables
            known = facts_of_database(database)
            job.group(job.base, {"SQLITE": known} if known else None)
            rows = database.execute(
                "SELECT type, name, tbl_name, sql FROM sqlite_schema"
            ).fetchall()
            indexes: dict[str, list[str]] = {}
            for kind, _, table, sql in rows:
                if kind == "index" and sql:
                    indexes.setdefault(table, []).append(sql)
            for kind, name, _, sql in rows:
                if kind == "trigger":
                    job.note("sqlite.trigger", f"{source}:{name}")
                if kind not in ("table", "view") or name.startswith(("sqlite_", ATTRIBUTES)):
                    continue
                if kind == "view":
                    job.note("sqlite.view", f"{source}:{name}")
                elif (sql or "")[:14].upper() == "CREATE VIRTUAL":
                    job.note("sqlite.virtual_rows", f"{source}:{name}")
                with job.reading(f"{source}:{name}"):
                    _read_table(job, database, source, name, sql, indexes.get(name, []))
            if any(name == ATTRIBUTES for _, name, _, _ in rows):
                _restore_attributes(job, database)

    def write(self, job: Job, node: Any, target: str) -> None:
        with job.writing(), contextlib.closing(created(target)) as database:
            if node.kind == "group":
                restore_database(database, node.attrs.get("SQLITE"))
                write_attributes(database, "", node)
                _write_group(job, database, node)
            else:
                write_node(job, database, node.name.rsplit("/", 1)[1], node)
            database.commit()


def _write_group(job: Job, database: sqlite3.Connection, group: Any) -> None:
    found: list[tuple[str, Any]] = []
    group.visititems(lambda name, child: found.append((name, child)))
    full = paths_above(name for name, child in found if child.kind not in ("group", "link"))
    for name, child in found:
        if child.kind == "link":
            job.note("sqlite.link", child.name)
        elif child.kind != "group":
            write_node(job, database, name, child)
        elif name in full:
            job.report.n_groups += 1
            write_attributes(database, name, child)
        else:
            job.note("sqlite.group", child.name)


# Reading


def _check_file(source: str) -> None:
    """Raise for what SQLite would take for a database with less in it.

    Raises
    ------
    CorruptDataError
        It has another beginning, or ends before the pages that it says it has.
    """
    with open(source, "rb") as data:
        head, size = data.read(100), data.seek(0, os.SEEK_END)
    if head[:16] != b"SQLite format 3\0":
        raise CorruptDataError(f"{source}: does not begin as a database of SQLite")
    page = int.from_bytes(head[16:18], "big")
    n_pages = int.from_bytes(head[28:32], "big")
    # The number of pages holds where it was written by the newest change.
    holds = head[24:28] == head[92:96] and not os.path.exists(f"{source}-wal")
    if holds and size < n_pages * (65_536 if page == 1 else page):
        raise CorruptDataError(f"{source}: ends after {size:,} bytes, before its {n_pages:,} pages")


def _read_table(
    job: Job, database: sqlite3.Connection, source: str, name: str, sql: str, indexes: list[str]
) -> None:
    place = f"{source}:{name}"
    try:
        cursor = database.execute(f"SELECT * FROM {quoted(name)} LIMIT 0")
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        job.note("sqlite.virtual", place)
        return
    names = [column[0] for column in cursor.description]
    if len(set(names)) < len(names):
        raise ConversionError(f"{place}: two columns have one name")
    if not all(names):
        raise ConversionError(f"{place}: a column has no name; give it one")
    declared = affinities(database, name)
    dtypes, widest = {}, 0
    for column in names:
        dtypes[column], width = _dtype(
            job, database, name, column, f"{place}.{column}", declared.get(column, "")
        )
        widest += width
    facts: dict[str, Any] = {"sql": sql}
    if indexes:
        facts["indexes"] = indexes
    sequence = sequence_of(database, name)
    if sequence is not None:
        facts["sequence"] = sequence
    if has_more_than_columns(facts):
        job.note("sqlite.schema", place)

    def blocks() -> Iterator[dict[str, Any]]:
        rows = database.execute(f"SELECT * FROM {quoted(name)}")
        for batch in _batches(rows, widest):
            columns = zip(names, zip(*batch, strict=True), strict=True)
            yield {column: _array(values, dtypes[column]) for column, values in columns}

    job.table(job.path(name), dtypes, blocks(), attrs={"SQLITE": facts})


def _batches(rows: sqlite3.Cursor, widest: int) -> Iterator[list[Any]]:
    """Yield rows of so many bytes at most, where they may have `widest` each."""
    few = max(1, min(_BATCH, PART_BYTES // max(1, widest)))
    waiting: list[Any] = []
    n_bytes = 0
    while some := rows.fetchmany(few):
        waiting += some
        if few < _BATCH:
            n_bytes += sum(len(v) for row in some for v in row if isinstance(v, str | bytes))
        if len(waiting) >= _BATCH or n_bytes >= PART_BYTES:
            yield waiting
            waiting, n_bytes = [], 0
    if waiting:
        yield waiting


def _dtype(
    job: Job, database: sqlite3.Connection, table: str, column: str, place: str, declared: str
) -> tuple[np.dtype[Any], int]:
    """Return the dtype that holds all values of a column, and how long one may be; note changes."""
    c = quoted(column)
    found = database.execute(
        "SELECT kind, max(n), min(number), max(number) FROM ("
        f"SELECT typeof({c}) AS kind, length({c}) AS n, "
        f"CASE WHEN typeof({c}) = 'integer' THEN {c} END AS number "
        # With a limit it is not merged with what is around it, which would sort long values.
        f"FROM {quoted(table)} LIMIT -1) GROUP BY kind"
    )
    kinds = {kind: rest for kind, *rest in found}
    width = max((rest[0] or 0 for rest in kinds.values()), default=0)
    return _dtype_of(job, kinds, place, declared), width


def _dtype_of(job: Job, kinds: dict[str, list[Any]], place: str, declared: str) -> np.dtype[Any]:
    missing = kinds.pop("null", None) is not None
    if not kinds and not declared:
        job.note("sqlite.untyped", place)
    if not kinds:
        kinds = {(declared or "TEXT").lower(): [0, 0, 0]}
    _, least, most = kinds.get("integer", (0, 0, 0))
    large = max(-least, most)
    if set(kinds) == {"text"}:
        return as_dtype(TEXT)
    if set(kinds) == {"integer"}:
        return kist.nullable(np.int64) if missing else as_dtype(np.int64)
    if set(kinds) <= {"integer", "real"} and large <= _INEXACT:
        if missing:
            job.note("sqlite.nan", place)
        return as_dtype(np.float64)
    if set(kinds) == {"blob"}:
        return kist.nullable(kist.ragged(bytes)) if missing else kist.ragged(bytes)
    job.note("sqlite.mixed", place)
    return as_dtype(TEXT)


def _array(values: tuple[Any, ...], dtype: np.dtype[Any]) -> Any:
    if dtype in (kist.ragged(bytes), kist.nullable(kist.ragged(bytes))):
        ends = np.zeros(len(values) + 1, np.int64)
        np.cumsum([len(v or b"") for v in values], out=ends[1:])
        gone = [v is None for v in values] if holds_nulls(dtype) else None
        return kist.Ragged(b"".join(filter(None, values)), ends, gone)
    if dtype.char == "T":
        return np.array([v if type(v) is str or v is None else _text(v) for v in values], dtype)
    if is_nullable(dtype):
        gone = [v is None for v in values]
        return np.ma.array([0 if v is None else v for v in values], dtype["value"], mask=gone)
    if dtype.kind == "f":
        return np.array([math.nan if v is None else v for v in values], dtype)
    return np.array(values, dtype)


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _restore_attributes(job: Job, database: sqlite3.Connection) -> None:
    """Give nodes back the attributes that kist wrote beside them."""
    rows = database.execute(f"SELECT node, column, name, value FROM {ATTRIBUTES}").fetchall()
    for node, column, name, value in rows:
        path = job.path(*filter(None, str(node).split("/")))
        if path in job.store:
            found = job.store[path]
            if column and column not in getattr(found, "columns", ()):
                continue
            (found[column] if column else found).attrs[name] = from_json(value)
