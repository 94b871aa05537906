"""SQLite databases: every table and view as a table, and a store as a database."""

from __future__ import annotations

import contextlib
import datetime
import math
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

import kist
from kist.bridges.base import BLOCK_ROWS, PART_BYTES, TEXT, Bridge, Job, as_dtype
from kist.bridges.categories import sort_of
from kist.bridges.nulls import is_nullable, value_of
from kist.bridges.plain import from_json, to_json
from kist.bridges.report import Loss
from kist.errors import ConversionError

__all__ = ["Sqlite"]

Array = np.ndarray[Any, Any]

LOSSES: Final = {
    "sqlite.nan": Loss("changed", "nulls among reals", "NaN"),
    "sqlite.mixed": Loss("changed", "column with values of several types", "text"),
    "sqlite.blob": Loss("changed", "blobs of any length", "bytes as wide as the longest (S)"),
    "sqlite.long_blob": Loss(
        "changed", "blobs, some of which end with a zero byte", "text of hexadecimal digits"
    ),
    "sqlite.schema": Loss(
        "changed", "keys, references and indexes", "entry of attribute SQLITE of the table"
    ),
    "sqlite.view": Loss("changed", "view", "table of its rows"),
    "sqlite.trigger": Loss("not kept", "trigger", "nothing"),
    "sqlite.virtual": Loss("not kept", "virtual table of a module that is missing", "nothing"),
    "sqlite.array": Loss("changed", "array", "table of its values in order, one a row"),
    "sqlite.keystore": Loss("changed", "key store", "table of keys and values in JSON"),
    "sqlite.categories": Loss("changed", "categories of a column", "their values"),
    "sqlite.link": Loss("not kept", "link", "nothing"),
    "sqlite.dtype": Loss("changed", "dtype that SQLite lacks", "text"),
}

_BATCH: Final = BLOCK_ROWS
_ATTRIBUTES: Final = "kist_attributes"
_INEXACT: Final = 2**53


class Sqlite(Bridge):
    """SQLite databases. Groups become parts of names: ``group/table``."""

    name: ClassVar[str] = "sqlite"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True
    errors: ClassVar[tuple[type[Exception], ...]] = (OSError, sqlite3.Error)

    def read(self, job: Job, source: str) -> None:
        address = Path(source).absolute().as_uri() + "?mode=ro"
        # The blocks of a table are read in another thread, one at a time.
        connect = sqlite3.connect(address, uri=True, check_same_thread=False)
        with job.reading(source), contextlib.closing(connect) as database:
            database.execute("BEGIN")  # one state for all tables
            job.group(job.base)
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
                if kind not in ("table", "view") or name.startswith(("sqlite_", _ATTRIBUTES)):
                    continue
                if kind == "view":
                    job.note("sqlite.view", f"{source}:{name}")
                with job.reading(f"{source}:{name}"):
                    _read_table(job, database, source, name, sql, indexes.get(name, []))
            if any(name == _ATTRIBUTES for _, name, _, _ in rows):
                _restore_attributes(job, database)

    def write(self, job: Job, node: Any, target: str) -> None:
        with job.writing(), contextlib.closing(_created(target)) as database:
            if node.kind == "group":
                found: list[tuple[str, Any]] = []
                node.visititems(lambda name, child: found.append((name, child)))
                for name, child in found:
                    if child.kind == "group":
                        job.report.n_groups += 1
                    elif child.kind == "link":
                        job.note("sqlite.link", child.name)
                    else:
                        _write_node(job, database, name, child)
            else:
                _write_node(job, database, node.name.rsplit("/", 1)[1], node)
            database.commit()


def _created(target: str) -> sqlite3.Connection:
    database = sqlite3.connect(target)
    # The file has no name yet: what is half written is thrown away, not rolled back.
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    return database


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# Reading


def _read_table(
    job: Job, database: sqlite3.Connection, source: str, name: str, sql: str, indexes: list[str]
) -> None:
    place = f"{source}:{name}"
    try:
        cursor = database.execute(f"SELECT * FROM {_quoted(name)} LIMIT 0")
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        job.note("sqlite.virtual", place)
        return
    names = [column[0] for column in cursor.description]
    if len(set(names)) < len(names):
        raise ConversionError(f"{place}: two columns have one name")
    dtypes, widest = {}, 0
    for column in names:
        dtypes[column], width = _dtype(job, database, name, column, f"{place}.{column}")
        widest += width
    facts: dict[str, Any] = {"sql": sql}
    if indexes:
        facts["indexes"] = indexes
    if indexes or re.search(r"\b(PRIMARY|UNIQUE|REFERENCES|CHECK)\b", sql or "", re.IGNORECASE):
        job.note("sqlite.schema", place)

    def blocks() -> Iterator[dict[str, Array]]:
        rows = database.execute(f"SELECT * FROM {_quoted(name)}")
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
    job: Job, database: sqlite3.Connection, table: str, column: str, place: str
) -> tuple[np.dtype[Any], int]:
    """Return the dtype that holds all values of a column, and how long one may be; note changes."""
    c = _quoted(column)
    found = database.execute(
        "SELECT kind, max(n), min(number), max(number), max(zero) FROM ("
        f"SELECT typeof({c}) AS kind, length({c}) AS n, "
        f"CASE WHEN typeof({c}) = 'integer' THEN {c} END AS number, "
        f"typeof({c}) = 'blob' AND substr({c}, -1) = x'00' AS zero "
        # With a limit it is not merged with what is around it, which would sort long values.
        f"FROM {_quoted(table)} LIMIT -1) GROUP BY kind"
    )
    kinds = {kind: rest for kind, *rest in found}
    width = max((rest[0] or 0 for rest in kinds.values()), default=0)
    return _dtype_of(job, kinds, place), width


def _dtype_of(job: Job, kinds: dict[str, list[Any]], place: str) -> np.dtype[Any]:
    missing = kinds.pop("null", None) is not None
    _, least, most, _ = kinds.get("integer", (0, 0, 0, 0))
    large = max(-least, most)
    if not kinds or set(kinds) == {"text"}:
        return as_dtype(TEXT)
    if set(kinds) == {"integer"}:
        return kist.nullable(np.int64) if missing else as_dtype(np.int64)
    if set(kinds) <= {"integer", "real"} and large <= _INEXACT:
        if missing:
            job.note("sqlite.nan", place)
        return as_dtype(np.float64)
    if set(kinds) == {"blob"}:
        longest, _, _, zero = kinds["blob"]
        if zero or missing:
            job.note("sqlite.long_blob", place)
            return as_dtype(TEXT)
        job.note("sqlite.blob", place)
        return as_dtype(f"S{max(1, longest)}")
    job.note("sqlite.mixed", place)
    return as_dtype(TEXT)


def _array(values: tuple[Any, ...], dtype: np.dtype[Any]) -> Array:
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
    rows = database.execute(f"SELECT node, column, name, value FROM {_ATTRIBUTES}").fetchall()
    for node, column, name, value in rows:
        path = job.path(*filter(None, str(node).split("/")))
        if path in job.store:
            found = job.store[path]
            if column and column not in getattr(found, "columns", ()):
                continue
            (found[column] if column else found).attrs[name] = from_json(value)


# Writing


def _write_node(job: Job, database: sqlite3.Connection, name: str, node: Any) -> None:
    if node.kind == "table":
        _write_table(job, database, name, node)
    elif node.kind == "key store":
        job.note("sqlite.keystore", node.name)
        database.execute(f"CREATE TABLE {_quoted(name)} (key TEXT PRIMARY KEY, value TEXT)")
        pairs = ((to_json(key), to_json(value)) for key, value in node.items())
        database.executemany(f"INSERT INTO {_quoted(name)} VALUES (?, ?)", pairs)
        job.report.n_keystores += 1
    else:
        job.note("sqlite.array", node.name)
        kept = _Values(job, node.dtype, node.name)
        database.execute(f"CREATE TABLE {_quoted(name)} (value {kept.affinity})")
        # Rows of whole chunks one after the other: the order is that of the array.
        cut = (node.chunks[0], *node.shape[1:]) if node.ndim else ()
        for _, values in job.array_parts(node, cut):
            rows = zip(kept.of(values.reshape(-1)), strict=True)
            database.executemany(f"INSERT INTO {_quoted(name)} VALUES (?)", rows)
    _write_attributes(database, name, node)


def _write_table(job: Job, database: sqlite3.Connection, name: str, table: Any) -> None:
    columns = {
        column: _Values(
            job, np.dtype((table[column].dtype, table[column].shape[1:])),
            f"{table.name}.{column}",
        )
        for column in table.columns
    }  # fmt: skip
    for column in table.columns:
        if sort_of(table[column]) is not None:
            job.note("sqlite.categories", f"{table.name}.{column}")
    facts = table.attrs.get("SQLITE")
    facts = facts if isinstance(facts, dict) else {}
    made = _create_as_before(database, name, table, facts)
    if not made:
        fields = ", ".join(f"{_quoted(c)} {values.affinity}" for c, values in columns.items())
        database.execute(f"CREATE TABLE {_quoted(name)} ({fields})")
    marks = ", ".join("?" * len(columns))
    insert = f"INSERT INTO {_quoted(name)} VALUES ({marks})"
    for arrays in zip(*(table[column].blocks(_BATCH) for column in columns), strict=True):
        parts = [values.of(part) for values, part in zip(columns.values(), arrays, strict=True)]
        database.executemany(insert, zip(*parts, strict=True))
        job.report.n_rows += len(arrays[0])
        job.advance(sum(part.nbytes for part in arrays))
    for sql in facts.get("indexes", ()) if made else ():
        if isinstance(sql, str) and re.match(r"\s*CREATE\s+(UNIQUE\s+)?INDEX\b", sql, re.I):
            database.execute(sql)
    job.report.n_tables += 1


def _create_as_before(
    database: sqlite3.Connection, name: str, table: Any, facts: Mapping[str, Any]
) -> bool:
    """Make a table by the statement that made it once, if it still has these columns.

    The statement comes from a file, and may say anything: what it made is looked at, and only a
    single ``CREATE TABLE`` is run at all.
    """
    sql = facts.get("sql")
    if not isinstance(sql, str) or not re.match(r"\s*CREATE\s+TABLE\b", sql, re.IGNORECASE):
        return False
    scratch = sqlite3.connect(":memory:")
    with contextlib.closing(scratch):
        try:
            scratch.execute(sql)
            found = scratch.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table'"
            ).fetchall()
            names = [row[1] for row in scratch.execute(f"PRAGMA table_info({_quoted(name)})")]
        except sqlite3.Error:
            return False  # not as SQLite has it: plain columns do
    if (name,) not in found or names != list(table.columns):
        return False
    database.execute(sql)
    return True


def _write_attributes(database: sqlite3.Connection, name: str, node: Any) -> None:
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
            f"CREATE TABLE IF NOT EXISTS {_ATTRIBUTES} (node TEXT, column TEXT, name TEXT, "
            "value TEXT)"
        )
        database.executemany(f"INSERT INTO {_ATTRIBUTES} VALUES (?, ?, ?, ?)", rows)


class _Values:
    """Values of one dtype as SQLite takes them."""

    def __init__(self, job: Job, dtype: np.dtype[Any], place: str) -> None:
        bytes_too = (kist.ragged(bytes), kist.nullable(kist.ragged(bytes)))
        dtype = np.dtype("V1") if dtype in bytes_too else value_of(dtype)
        self.plain = dtype.subdtype is None and dtype.names is None
        kind = dtype.kind if self.plain else "?json"
        self.kind = "T" if dtype.char == "T" else kind
        if kind in "biu" and dtype != np.uint64:
            self.affinity = "INTEGER"
        elif kind == "f" and dtype.itemsize <= 8:
            self.affinity = "REAL"
        elif kind == "V":
            self.affinity = "BLOB"
        else:
            self.affinity = "BLOB" if kind == "S" else "TEXT"
            if kind not in "UST":
                job.note("sqlite.dtype", f"{place} ({dtype})")

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
