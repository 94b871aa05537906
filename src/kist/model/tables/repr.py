"""Reprs of tables, columns and selections: a line, what each column is, first and last rows.

They read a bounded number of rows, columns and page records, whatever the table has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.errors import KistError
from kist.format.nullable import dtype_text
from kist.format.schema import Leaf
from kist.model import html
from kist.model.positions import Positions
from kist.model.preview import SHOWN_COLUMNS, Preview, ends
from kist.model.tables.query.rowset import Ordered, RowSet, joined
from kist.model.tables.show import IN_PIECES, Sizes, recipes
from kist.model.tables.stored.fields import Fields, field_at, parse_path, read_fields
from kist.model.tables.stored.state import TableState
from kist.model.text import (
    CELL,
    brief,
    cell,
    format_bytes,
    guarded,
    newer,
    ratio,
    shorten,
    visible,
    wrapped,
)

if TYPE_CHECKING:
    from kist.model.tables.column import Column, Columns
    from kist.model.tables.selection import Selection
    from kist.model.tables.table import Table

__all__ = [
    "column_html",
    "column_repr",
    "columns_html",
    "columns_repr",
    "selection_html",
    "selection_repr",
    "table_html",
    "table_repr",
]

Array = np.ndarray[Any, Any]
Head = tuple[str, str, list[str]]
Path = tuple[str, ...]

_TIME: Final = 29
"""Characters of a time to the nanosecond: cut ones look the same, row after row."""
_SEARCHED_ROWS: Final = 1 << 20
"""A selection of a table of so many rows is counted for its repr; in a longer one only the first
groups are searched."""


def _rows(n: int, what: str = "row") -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


# Columns


def _dtype(fields: Fields) -> str:
    text = dtype_text(fields.dtype, fields.sort)
    if fields.dtype.kind == "T" and fields.sort is None:
        text = "StringDType"  # what stands for missing text has its place in `info`
    return f"{text} {fields.item_shape}" if fields.item_shape else text


def _cells(fields: Fields, values: Sequence[Any] | Array) -> list[str]:
    dtype = fields.dtype["value"] if fields.is_nullable else fields.dtype
    most = _TIME if dtype.kind == "M" else CELL
    if fields.is_nullable:
        return [cell(pair["value"], most) if pair["valid"] else "null" for pair in values]
    return [cell(value, most) for value in values]


def _brief(encoding: str) -> str:
    return "pieces" if encoding == IN_PIECES else brief(encoding)


def _notes(state: TableState, shown: Sequence[Fields]) -> list[tuple[str, list[str]]]:
    """Return dtype, codec and ratio of columns."""
    sizes = Sizes(state, sum(len(fields.stored) for fields in shown))
    about = "" if sizes.exact else "~"
    return [
        ("dtype", [_dtype(fields) for fields in shown]),
        ("codec", [_brief(recipes(state, fields.stored)) for fields in shown]),
        ("ratio", [about + _ratio(state, fields, sizes) for fields in shown]),
    ]


def _ratio(state: TableState, fields: Fields, sizes: Sizes) -> str:
    return ratio(state.n_rows * fields.row_nbytes, sizes.of(fields.stored))


def _shown(state: TableState, paths: Sequence[Path]) -> tuple[list[str], list[Fields]]:
    """Return the columns that fit: their names, fit to print, and what they are."""
    first = paths[:SHOWN_COLUMNS]
    names = [shorten(visible(".".join(path)), 40) for path in first]
    return names, [field_at(state.schema, path) for path in first]


def _read(state: TableState, shown: Sequence[Fields], rows: Sequence[int]) -> list[list[str]]:
    """Return values as texts, a list for each row; of damaged columns why they cannot be read."""
    wanted = Positions(np.array(rows, np.int64), (len(rows),))
    columns = []
    for fields in shown:
        try:
            columns.append(_cells(fields, read_fields(state, fields, wanted)))
        except KistError as error:
            columns.append([cell(f"({type(error).__name__})")] * len(rows))
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in rows]


def _preview(state: TableState, paths: Sequence[Path]) -> Preview:
    names, shown = _shown(state, paths)
    rows = ends(state.n_rows, sum(fields.row_nbytes for fields in shown))
    cells = _read(state, shown, rows)
    more = bool(state.n_rows) and not rows
    return Preview(names, len(paths), _notes(state, shown), rows, cells, more)


def _every(state: TableState) -> list[Path]:
    return [(column.name,) for column in state.schema.columns]


# Tables


def _size(state: TableState, leaves: Sequence[Leaf], row_nbytes: int) -> str:
    memory = state.n_rows * row_nbytes
    sizes = Sizes(state, len(leaves))
    stored = sizes.of(leaves)
    about = "" if sizes.exact else "about "
    text = f"{format_bytes(memory)} in {about}{format_bytes(stored)}"
    return f"{text} ({ratio(memory, stored)})" if memory else text


def _table_head(table: Table, state: TableState) -> Head:
    schema = state.schema
    n = len(schema.columns)
    notes = [
        f"{_rows(state.n_rows)} x {_rows(n, 'column')}",
        _size(state, schema.leaves, schema.dtype.itemsize),
        newer(table._store, state.view),
    ]
    return "Table", table._path, notes


def _line(kind: str, name: str, title: str | None, notes: Sequence[str | None]) -> str:
    named = f"<kist.{kind} {name!r}" + (f" ({title})" if title else "")
    return ", ".join([named, *(note for note in notes if note)]) + ">"


def table_repr(table: Table) -> str:
    """Return a line about a table, what its columns are, then its first and last rows."""

    def draw() -> str:
        state = table._state()
        kind, name, notes = _table_head(table, state)
        title = table.attrs._title_in(state.view)
        preview = _preview(state, _every(state))
        return "\n".join([_line(kind, name, title, notes), preview.text()])

    return guarded(f"kist.Table {table._path!r}", draw)


def table_html(table: Table) -> str:
    """Return the same for notebooks."""

    def draw() -> str:
        state = table._state()
        kind, name, notes = _table_head(table, state)
        title = table.attrs._title_in(state.view)
        preview = _preview(state, _every(state))
        attributes = table.attrs._html_in(state.view)
        return html.document(html.heading(kind, name, title, *notes), preview.html(), attributes)

    return html.guarded_html(f"Table {table._path!r}", draw)


def _columns_head(columns: Columns, state: TableState, fields: Fields) -> Head:
    size = _size(state, fields.stored, fields.row_nbytes)
    notes = [_rows(state.n_rows), size, newer(columns._of()._store, state.view)]
    return "Columns", columns._of()._path, notes


def _paths(columns: Columns, state: TableState) -> list[Path]:
    return [parse_path(state.schema, name) for name in columns.names]


def columns_repr(columns: Columns) -> str:
    """Return a line about some columns, then their first and last rows."""

    def draw() -> str:
        state, fields = columns._now()
        kind, name, notes = _columns_head(columns, state, fields)
        preview = _preview(state, _paths(columns, state))
        return "\n".join([_line(f"{kind} of", name, None, notes), preview.text()])

    names = ", ".join(map(repr, columns.names[:SHOWN_COLUMNS]))
    return guarded(f"kist.Columns {names} of {columns._of()._path!r}", draw)


def columns_html(columns: Columns) -> str:
    """Return the same for notebooks."""

    def draw() -> str:
        state, fields = columns._now()
        kind, name, notes = _columns_head(columns, state, fields)
        head = html.heading(f"{kind} of", name, *notes)
        return html.document(head, _preview(state, _paths(columns, state)).html())

    return html.guarded_html(f"Columns of {columns._of()._path!r}", draw)


# One column


def _values(state: TableState, fields: Fields) -> tuple[list[int], list[str]]:
    rows = ends(state.n_rows, fields.row_nbytes)
    return rows, [row[0] for row in _read(state, [fields], rows)]


def _column_notes(column: Column, state: TableState, fields: Fields) -> list[str]:
    return [
        f"{state.n_rows:,} x {_dtype(fields)}",
        _brief(recipes(state, fields.stored)),
        _size(state, fields.stored, fields.row_nbytes),
        newer(column.table._store, state.view),
    ]


def column_repr(column: Column) -> str:
    """Return a line about a column, and its first and last values."""

    def draw() -> str:
        state, fields = column._now()
        rows, values = _values(state, fields)
        half = len(values) // 2
        if len(rows) < state.n_rows:
            values = [*values[:half], "...", *values[half:]]
        notes = [note for note in _column_notes(column, state, fields) if note]
        title = column.attrs._title_in(state.view) or column.title
        named = f"<kist.Column {column.name!r} of {column.table._path!r}"
        head = ", ".join([named + (f" ({cell(title, 80)})" if title else ""), *notes]) + ">"
        return f"{head}\n{wrapped(values)}"

    return guarded(f"kist.Column {column.name!r} of {column.table._path!r}", draw)


def column_html(column: Column) -> str:
    """Return the same for notebooks."""

    def draw() -> str:
        state, fields = column._now()
        rows, values = _values(state, fields)
        cells = [[value] for value in values]
        more = bool(state.n_rows) and not rows
        preview = Preview([column.name], 1, [], rows, cells, more)
        title = column.attrs._title_in(state.view) or column.title
        head = html.heading(
            "Column",
            column.name,
            f"of {column.table._path}",
            title,
            *_column_notes(column, state, fields),
        )
        return html.document(head, preview.html(), column.attrs._html_in(state.view))

    return html.guarded_html(f"Column {column.name!r} of {column.table._path!r}", draw)


# Selections


def _search(selection: Selection, state: TableState) -> tuple[RowSet, int, bool]:
    """Return rows of a selection, their number, and whether these are all."""
    rows = selection._rows(state)
    if state.n_rows <= _SEARCHED_ROWS:
        return rows, rows.count(), True
    if not isinstance(rows, Ordered):
        # To sort or to draw from so many rows takes as long as reading them.
        return Ordered(state).cut(0, 0), 0, False
    if rows.is_whole:
        return rows, state.n_rows, True
    some = next(rows.found(), None)
    first = Ordered(state, (), lambda limit: iter(() if some is None else (some,)))
    return first, first.count(), some is None


def _selection(selection: Selection) -> tuple[list[str], Preview]:
    """Return notes about a selection, and some of its rows."""
    state = selection._state()
    found, n, complete = _search(selection, state)
    paths = selection._paths(state.schema)
    texts, shown = _shown(state, paths)
    size = sum(fields.row_nbytes for fields in shown)
    rows = ends(n, size) if complete else [row for row in ends(n, size) if row < n // 2 or n < 5]
    picked = found.pick(np.array(rows, np.int64))
    columns = []
    for fields in shown:
        try:
            values = joined(fields, *picked.columns(fields.stored)) if rows else ()
            columns.append(_cells(fields, values))
        except KistError as error:
            columns.append([cell(f"({type(error).__name__})")] * len(rows))
    notes = [
        _rows(n, "hit") + f" in {_rows(state.n_rows)}" if complete else "not counted",
        newer(selection.table._store, state.view),
    ]
    cells = [list(row) for row in zip(*columns, strict=True)]
    more = not complete or (n > 0 and not rows)
    dtypes = [("dtype", [_dtype(fields) for fields in shown])]
    return notes, Preview(texts, len(paths), dtypes, rows, cells, more)


def _meant(selection: Selection) -> str:
    """Return the steps of a selection; one that is only a condition reads as that."""
    return selection._plan().removeprefix("where ")


def selection_repr(selection: Selection) -> str:
    """Return the condition, how many rows it has, and the first and last of them."""
    head = f"kist.Selection of {selection.table._path!r}: {_meant(selection) or 'all rows'}"

    def draw() -> str:
        notes, preview = _selection(selection)
        line = ", ".join([f"<{head}", *(note for note in notes if note)])
        return f"{line}>\n{preview.text()}"

    return guarded(head, draw)


def selection_html(selection: Selection) -> str:
    """Return the same for notebooks."""

    def draw() -> str:
        notes, preview = _selection(selection)
        head = html.heading("Selection of", selection.table._path, selection._plan(), *notes)
        return html.document(head, preview.html())

    return html.guarded_html(f"Selection of {selection.table._path!r}", draw)
