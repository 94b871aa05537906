"""What an SQLite database knows of its tables and kist does not: kept, and made anew.

The statements that a store brings come from a file, and may say anything: what they make is looked
at in a database in memory, and only a single ``CREATE TABLE`` or ``CREATE INDEX`` is run at all.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "ATTRIBUTES", "affinities", "create_as_before", "create_indexes", "facts_of_database",
    "has_more_than_columns", "insertion", "quoted", "restore_database", "sequence_of",
]  # fmt: skip

ATTRIBUTES: Final = "kist_attributes"
"""The table in which kist keeps attributes."""

_NUMBERS: Final = ("user_version", "application_id")
_MORE: Final = re.compile(
    r"\b(PRIMARY|UNIQUE|REFERENCES|CHECK|DEFAULT|COLLATE|GENERATED|AS|STRICT|NOT\s+NULL"
    r"|AUTOINCREMENT|WITHOUT\s+ROWID)\b",
    re.IGNORECASE,
)
_TABLE: Final = re.compile(r"\s*CREATE\s+TABLE\b", re.IGNORECASE)
_OWN_ENCODING: Final = "UTF-8"


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def facts_of_database(database: sqlite3.Connection) -> dict[str, Any]:
    """Return what a database says of itself, as far as it is not what all say."""
    found = {name: database.execute(f"PRAGMA {name}").fetchone()[0] for name in _NUMBERS}
    encoding = database.execute("PRAGMA encoding").fetchone()[0]
    facts = {name: number for name, number in found.items() if number}
    return facts | ({"encoding": encoding} if encoding != _OWN_ENCODING else {})


def restore_database(database: sqlite3.Connection, facts: Any) -> None:
    """Make a new database say what the one said from which a store came."""
    if not isinstance(facts, Mapping):
        return
    if facts.get("encoding") in ("UTF-16le", "UTF-16be"):
        database.execute(f"PRAGMA encoding = '{facts['encoding']}'")
    for name in _NUMBERS:
        number = facts.get(name)
        if type(number) is int and -(2**31) <= number < 2**31:
            database.execute(f"PRAGMA {name} = {number}")


def has_more_than_columns(facts: Mapping[str, Any]) -> bool:
    """Tell whether more is known of a table than names and types of its columns."""
    sql, indexes = facts.get("sql"), facts.get("indexes")
    if not isinstance(sql, str) or not _TABLE.match(sql):
        return False
    return _MORE.search(sql) is not None or (isinstance(indexes, list) and bool(indexes))


def affinities(database: sqlite3.Connection, name: str) -> dict[str, str]:
    """Return the types that columns are declared to have, as SQLite sees them."""
    rows = database.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
    return {row[1]: _affinity(str(row[2]).upper()) for row in rows}


def _affinity(declared: str) -> str:
    # In the order of "Determination Of Column Affinity" in the documentation of SQLite (datatype3).
    if "INT" in declared:
        return "INTEGER"
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in declared:
        return "BLOB"
    return "REAL" if any(word in declared for word in ("REAL", "FLOA", "DOUB")) else ""


def sequence_of(database: sqlite3.Connection, name: str) -> int | None:
    """Return the largest number that a table with AUTOINCREMENT ever gave to a row."""
    try:
        rows = database.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (name,))
    except sqlite3.OperationalError:  # no table of these
        return None
    found = rows.fetchone()
    return found[0] if found is not None and type(found[0]) is int else None


def create_as_before(
    database: sqlite3.Connection, name: str, columns: list[str], facts: Mapping[str, Any]
) -> list[str] | None:
    """Make a table by the statement that made it once, if it still has these columns.

    Returns
    -------
    list of str or None
        The columns that take values: those that are computed do not.
    """
    sql = facts.get("sql")
    if not isinstance(sql, str) or not _TABLE.match(sql):
        return None
    with contextlib.closing(sqlite3.connect(":memory:")) as scratch:
        try:
            scratch.execute(sql)
            made = scratch.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            rows = scratch.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
            given = [row[1] for row in rows if row[6] == 0]
            # Collations and functions that only the program had for which the table was made.
            scratch.execute(f"EXPLAIN {insertion(name, given)}", [None] * len(given))
        except sqlite3.Error:
            return None  # not as SQLite has it: plain columns do
    if (name,) not in made or [row[1] for row in rows] != columns:
        return None
    database.execute(sql)
    return given


def insertion(name: str, columns: list[str]) -> str:
    """Return the statement that inserts a row."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {quoted(name)} ({', '.join(map(quoted, columns))}) VALUES ({marks})"


def create_indexes(database: sqlite3.Connection, name: str, facts: Mapping[str, Any]) -> list[str]:
    """Make the indexes that a table had, and its sequence; return the statements that fail."""
    failed = []
    indexes = facts.get("indexes")
    for sql in indexes if isinstance(indexes, list) else ():
        if not isinstance(sql, str) or not re.match(r"\s*CREATE\s+(UNIQUE\s+)?INDEX\b", sql, re.I):
            continue
        try:
            database.execute(sql)
        except sqlite3.Error:  # of columns, values or collations that are there no more
            failed.append(sql)
    most = facts.get("sequence")
    if type(most) is int and "AUTOINCREMENT" in str(facts.get("sql")).upper():
        update = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?"
        if not database.execute(update, (most, name)).rowcount:
            database.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, most))
    return failed
