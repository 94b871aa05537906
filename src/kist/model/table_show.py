"""What tables and columns say about themselves: sizes, encodings, `repr`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.codecs.recipe import Recipe
from kist.errors import CodecError, SnapshotError
from kist.format import keys
from kist.format.schema import Leaf
from kist.model.info import Info, format_bytes, node_info
from kist.model.positions import Positions
from kist.model.table_fields import all_fields, read_fields
from kist.model.table_layout import Group
from kist.model.table_records import GROUP_RECORD_BYTES
from kist.model.table_state import TableState

if TYPE_CHECKING:
    from kist.model.column import Column, Columns
    from kist.model.table import Table

__all__ = [
    "column_info",
    "column_repr",
    "columns_repr",
    "stored_bytes",
    "table_html",
    "table_info",
    "table_repr",
]

Array = np.ndarray[Any, Any]

SHOWN_ROWS: Final = 5
"""Rows of a repr from each end."""
SHOWN_WIDTH: Final = 100
"""Characters of a line of a repr; columns beyond are left out."""


def stored_bytes(state: TableState, leaves: Sequence[Leaf]) -> int:
    """Return the bytes that leaves take in the file; of pieces their share by width."""
    total = 0
    for leaf in leaves:
        if leaf.nbytes:
            pages = state.list_pages(leaf)
            total += sum(page[0].length for key, page in pages.items() if key[0] == leaf.id)
    every = sum(leaf.nbytes for leaf in state.schema.leaves) or 1
    return total + _piece_bytes(state) * sum(leaf.nbytes for leaf in leaves) // every


def _piece_bytes(state: TableState) -> int:
    total = 0
    for group in state.layout.groups:
        if group.body is not None:
            total += len(group.body.data) or _outside_bytes(state, group)
        for patch in group.patches:
            if patch.inline is not None:
                total += len(patch.inline)
            else:
                key = keys.patch(state.node, group.first, patch.seq)
                total += sum(pointer.length for pointer in state.pointers(key))
        total += GROUP_RECORD_BYTES
    return total


def _outside_bytes(state: TableState, group: Group) -> int:
    key = keys.group(state.node, group.first)
    return sum(pointer.length for pointer in state.pointers(key))


def _recipe(state: TableState, leaf: Leaf) -> str:
    """Return how the last page of a leaf is encoded."""
    found = next(state.view.scan(*keys.pages(state.node, leaf.id), reverse=True), None)
    if found is None:
        return "small pieces only" if leaf.nbytes and state.n_rows else "-"
    pages = state.list_pages(leaf)
    record = pages[leaf.id, keys.row_of(found[0])][1]
    try:
        return Recipe.unpack(record.recipe).describe()
    except CodecError:
        return "chosen by a newer kist"


def _recipes(state: TableState, leaves: Sequence[Leaf]) -> str:
    return "; ".join(dict.fromkeys(_recipe(state, leaf) for leaf in leaves))


def table_info(table: Table) -> Info:
    """Return what is known about a table, column by column."""
    state = table._state()
    schema = state.schema
    groups = state.layout.groups
    columns = {}
    for column in schema.columns:
        leaves = schema.leaves_of(column.name)
        stored = stored_bytes(state, leaves)
        nbytes = state.n_rows * column.dtype.itemsize
        columns[column.name] = {
            "dtype": str(column.dtype),
            "codec": column.codec,
            "encoding": _recipes(state, leaves),
            "stored_bytes": stored,
            "ratio": nbytes / max(1, stored),
        }
    nbytes = state.n_rows * schema.dtype.itemsize
    stored = stored_bytes(state, schema.leaves)
    facts = {
        **node_info(table),
        "n_rows": state.n_rows,
        "n_columns": len(schema.columns),
        "memory_bytes": nbytes,
        "stored_bytes": stored,
        "ratio": nbytes / max(1, stored),
        "row_groups": sum(1 for group in groups if group.is_pages),
        "pieces": sum(1 for group in groups if not group.is_pages),
        "patches": sum(len(group.patches) for group in groups),
        "deleted_rows": sum(group.n_rows - group.n_live for group in groups),
        "columns": columns,
    }
    return Info(f"Table {facts['name']!r}", facts)


def column_info(column: Column) -> Info:
    """Return what is known about one column."""
    state, fields = column._now()
    stored = stored_bytes(state, fields.stored)
    nbytes = state.n_rows * fields.row_nbytes
    facts = {
        "name": column.name,
        "table": column.table._path,
        "title": column.title,
        "dtype": str(fields.dtype),
        "shape": (state.n_rows, *fields.item_shape),
        "encoding": _recipes(state, fields.stored),
        "memory_bytes": nbytes,
        "stored_bytes": stored,
        "ratio": nbytes / max(1, stored),
        "n_attributes": len(column.attrs),
    }
    return Info(f"Column {column.name!r}", facts)


def _ends(state: TableState, n: int) -> tuple[Array, list[int]]:
    """Return the first and last rows, and their positions."""
    rows = [*range(min(n, SHOWN_ROWS)), *range(max(n - SHOWN_ROWS, SHOWN_ROWS), n)]
    wanted = Positions(np.array(rows, np.int64), (len(rows),))
    return read_fields(state, all_fields(state.schema), wanted), rows


def _cells(state: TableState) -> tuple[list[str], list[list[str]], list[int]]:
    records, rows = _ends(state, state.n_rows)
    names = list(state.schema.dtype.names or ())
    cells = [[_cell(value) for value in row] for row in (tuple(r) for r in records)]
    return names, cells, rows


def _cell(value: Any) -> str:
    text = str(value).replace("\n", " ")
    return text if len(text) <= 24 else text[:21] + "..."


def _head(table: Table, state: TableState) -> str:
    n = state.n_rows
    title = table.title
    stored = stored_bytes(state, state.schema.leaves)
    return (
        f"<kist.Table {table._path!r}{f' ({title})' if title else ''}, "
        f"{n:,} row{'' if n == 1 else 's'} x {len(state.schema.columns)} columns, "
        f"{format_bytes(n * state.schema.dtype.itemsize)} in {format_bytes(stored)}>"
    )


def table_repr(table: Table) -> str:
    """Return a line about a table, then its first and last rows."""
    try:
        state = table._state()
    except SnapshotError as error:
        return f"<kist.Table {table._path!r}: {error}>"
    names, cells, rows = _cells(state)
    lines = [_head(table, state)]
    if not cells:
        return "\n".join([lines[0], "  columns: " + ", ".join(names[:20])])
    dtype = state.schema.dtype
    kinds = [str(dtype[name]) for name in names]
    label = max(len(str(row)) for row in rows)
    columns: list[list[str]] = []
    width = label
    for at, name in enumerate(names):
        column = [name, _cell(kinds[at]), *(row[at] for row in cells)]
        wide = max(map(len, column))
        if width + wide + 2 > SHOWN_WIDTH and columns:
            columns.append(["...", *[""] * (len(cells) + 1)])
            break
        width += wide + 2
        columns.append([text.rjust(wide) for text in column])
    labels = [" " * label, " " * label, *(str(row).rjust(label) for row in rows)]
    table_lines = ["  ".join(line).rstrip() for line in zip(labels, *columns, strict=True)]
    if state.n_rows > len(rows):
        table_lines.insert(2 + SHOWN_ROWS, "...".rjust(label))
    return "\n".join(lines + table_lines)


def table_html(table: Table) -> str:
    """Return the same for notebooks."""
    state = table._state()
    names, cells, rows = _cells(state)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = [
        f"<tr><th>{row}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>"
        for row, line in zip(rows, cells, strict=True)
    ]
    if state.n_rows > len(rows):
        lines.insert(SHOWN_ROWS, f"<tr><th>...</th><td colspan={len(names)}></td></tr>")
    return (
        f"<p>{escape(_head(table, state))}</p>"
        f"<table><tr><th></th>{head}</tr>{''.join(lines)}</table>"
    )


def column_repr(column: Column) -> str:
    """Return a line about a column and its first values."""
    try:
        state, fields = column._now()
    except SnapshotError as error:
        return f"<kist.Column {column.name!r} of {column.table._path!r}: {error}>"
    n = state.n_rows
    rows = np.arange(min(n, SHOWN_ROWS))
    values = read_fields(state, fields, Positions(rows, rows.shape))
    shown = ", ".join(_cell(value) for value in values)
    more = ", ..." if n > len(rows) else ""
    shape = f" x {fields.item_shape}" if fields.item_shape else ""
    return (
        f"<kist.Column {column.name!r} of {column.table._path!r}, {n:,} x {fields.dtype}{shape}: "
        f"[{shown}{more}]>"
    )


def columns_repr(columns: Columns) -> str:
    """Return a line about some columns."""
    names = ", ".join(map(repr, columns.names))
    return f"<kist.Columns {names} of {columns._of()._path!r}, {len(columns):,} rows>"
