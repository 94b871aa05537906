"""SQLite into a store and back: nothing differs of which the report does not tell."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.bridges import report

TABLES: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "plain": ("(a INTEGER, b TEXT, c REAL, d BLOB)", [(1, "é", 1.5, b"x\0"), (2, "", -0.0, b"")]),
    "nulls": ("(a INTEGER, b TEXT, c BLOB)", [(None, None, b"\0"), (2**62 + 1, "x", None)]),
    "reals": ("(a REAL)", [(1.5,), (None,)]),
    "mixed": ("(a, b NUMERIC)", [(1, 1), ("x", 2.5), (b"y", None)]),
    "empty": ("(a INTEGER, b TEXT, c REAL, d BLOB, e)", []),
    "all_null": ("(a INTEGER, b VARCHAR(5), c DOUBLE, d BLOB)", [(None,) * 4] * 2),
    "keys": ("(a INTEGER PRIMARY KEY AUTOINCREMENT, b TEXT UNIQUE NOT NULL)", [(5, "x")]),
    "refers": ("(a REFERENCES keys (a) ON DELETE CASCADE, b DEFAULT 7 CHECK (b > 0))", [(5, 1)]),
    "no_rowid": ("(a TEXT COLLATE NOCASE, b INT, PRIMARY KEY (a, b)) WITHOUT ROWID", [("x", 1)]),
    "strict": ("(a INT, b ANY) STRICT", [(1, "x"), (2, "y")]),
    "computed": (
        "(a INT, b INT GENERATED ALWAYS AS (a * 2) STORED, c TEXT AS (a || '!') VIRTUAL, d INT)",
        [(1, 5), (2, 6)],
    ),
    'odd names, "quoted"': ('("a ""b""" INT, "select" TEXT)', [(1, "x")]),
}


def write(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA encoding = 'UTF-16le'")
        for name, (columns, rows) in TABLES.items():
            quoted = '"' + name.replace('"', '""') + '"'
            base.execute(f"CREATE TABLE {quoted} {columns}")
            some = "(a, d)" if name == "computed" else ""
            for row in rows:
                marks = ", ".join("?" * len(row))
                base.execute(f"INSERT INTO {quoted} {some} VALUES ({marks})", row)
        base.execute("INSERT INTO keys VALUES (900, 'gone')")
        base.execute("DELETE FROM keys WHERE a = 900")
        base.execute("CREATE UNIQUE INDEX first ON plain (a DESC) WHERE a > 0")
        base.execute("CREATE INDEX second ON plain (lower(b), c)")
        base.execute("CREATE VIEW seen AS SELECT a, b || '?' AS q, NULL AS n FROM plain")
        base.execute("CREATE TRIGGER pulled AFTER INSERT ON plain BEGIN SELECT 1; END")
        base.execute("CREATE VIRTUAL TABLE words USING fts5(body)")
        base.execute("INSERT INTO words VALUES ('some words')")
        base.execute("PRAGMA user_version = 17")
        base.execute("PRAGMA application_id = 77")
        base.commit()


def contents(path: Path) -> dict[str, Any]:
    """Return all that a database says, by the name of what says it."""
    found: dict[str, Any] = {}
    with contextlib.closing(sqlite3.connect(path)) as base:
        for pragma in ("user_version", "application_id", "encoding"):
            found[f"pragma {pragma}"] = base.execute(f"PRAGMA {pragma}").fetchall()
        with contextlib.suppress(sqlite3.OperationalError):
            found["sequence"] = base.execute("SELECT * FROM sqlite_sequence").fetchall()
        schema = base.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
        for kind, name, sql in schema:
            found[name] = (kind, sql)
            if kind in ("table", "view"):
                quoted = name.replace('"', '""')
                rows = base.execute(f'SELECT * FROM "{quoted}"').fetchall()
                found[f"{name} rows"] = sorted(repr(row) for row in rows)
    return found


def test_nothing_of_a_database_changes_without_a_word(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(report, "_PATHS_SHOWN", 10_000)
    write(tmp_path / "a.db")
    there = kist.convert(tmp_path / "a.db", tmp_path / "a.kist")
    back = kist.convert(tmp_path / "a.kist", tmp_path / "b.db")
    assert {note.code for note in there.notes} == {
        "sqlite.schema", "sqlite.view", "sqlite.trigger", "sqlite.mixed", "sqlite.nan",
        "sqlite.untyped", "sqlite.virtual_rows",
    }  # fmt: skip
    assert {note.code for note in back.notes} == set()
    told = {
        place.rpartition(".db:")[2].partition(".")[0]
        for note in there.notes
        if note.code not in ("sqlite.schema", "sqlite.nan")  # these come back
        for place in note.places
    }
    assert told == {"seen", "pulled", "mixed", "empty", "words"}
    before, after = contents(tmp_path / "a.db"), contents(tmp_path / "b.db")
    unlike = {name for name in before if before[name] != after.get(name)}
    # Names of the tables that a virtual one uses; of `empty` no row is changed.
    assert {n for n in unlike if not n.startswith("words_")} == {
        "seen", "pulled", "mixed rows", "words", "words rows",
    } - ({"words rows"} if before["words rows"] == after["words rows"] else set())  # fmt: skip


def test_types_of_columns_without_values_are_those_declared(tmp_path: Path) -> None:
    write(tmp_path / "a.db")
    kist.convert(tmp_path / "a.db", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist") as store:
        empty, nulls = store["empty"], store["all_null"]
        assert [empty[n].dtype.kind for n in "abc"] == ["i", "T", "f"]
        assert empty["d"].dtype == kist.ragged(bytes)
        assert nulls["a"].dtype == kist.nullable("i8") and nulls["a"][:].tolist() == [None] * 2
        assert nulls["d"].dtype == kist.nullable(kist.ragged(bytes))
        assert store["nulls"]["c"][:].to_list() == [b"\0", None]
        assert store.attrs["SQLITE"]["user_version"] == 17


def test_a_table_with_other_columns_loses_its_keys_and_that_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.db")
    kist.convert(tmp_path / "a.db", tmp_path / "a.kist")
    with kist.open(tmp_path / "a.kist", "r+") as store:
        store["keys"].add_column("new", "i4", fill_value=0)
        store["plain"]["a"][:] = [1, 1]  # where an index wants them different
        store.create_group("nothing in it").attrs["x"] = 1
    report = kist.convert(tmp_path / "a.kist", tmp_path / "b.db")
    assert {note.code: [place.partition(" (")[0] for place in note.places]
            for note in report.notes} == {
        "sqlite.changed": ["/keys"], "sqlite.index": ["/plain"],
        "sqlite.group": ["/nothing in it"],
    }  # fmt: skip


def test_what_needs_a_program_of_its_own_becomes_plain_columns(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as base:
        base.create_collation("own", lambda a, b: (a > b) - (a < b))
        base.create_function("twice", 1, lambda x: 2 * x, deterministic=True)
        base.execute("CREATE TABLE t (a TEXT COLLATE own UNIQUE)")
        base.execute("CREATE TABLE u (a INT CHECK (twice(a) > 0))")
        base.execute("INSERT INTO t VALUES ('x')")
        base.execute("INSERT INTO u VALUES (1)")
        base.commit()
    kist.convert(tmp_path / "a.db", tmp_path / "a.kist")
    report = kist.convert(tmp_path / "a.kist", tmp_path / "b.db")
    assert [(note.code, note.places) for note in report.notes] == [("sqlite.changed", ["/t", "/u"])]
    with contextlib.closing(sqlite3.connect(tmp_path / "b.db")) as base:
        assert base.execute("SELECT * FROM t").fetchall() == [("x",)]


def test_attributes_of_groups_come_back(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["g/t"] = np.zeros(2, [("a", "i8")])
        store.attrs["of"], store["g"].attrs["of"] = "the root", "a group"
    assert kist.convert(tmp_path / "a.kist", tmp_path / "a.db").ok
    assert kist.convert(tmp_path / "a.db", tmp_path / "b.kist").ok
    with kist.open(tmp_path / "b.kist") as store:
        assert dict(store.attrs) == {"of": "the root"} and dict(store["g"].attrs) == {
            "of": "a group"
        }


@pytest.mark.parametrize("facts", [5, {"user_version": "x; DROP TABLE t", "encoding": "x"}])
def test_what_a_store_says_of_a_database_may_be_anything(tmp_path: Path, facts: Any) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["t"] = np.zeros(2, [("a", "i8")])
        store.attrs["SQLITE"] = facts
        store["t"].attrs["SQLITE"] = {"sql": 5, "indexes": 7, "sequence": "x"}
    assert kist.convert(tmp_path / "a.kist", tmp_path / "a.db").ok
