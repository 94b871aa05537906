"""What is checked before columns come, go or change."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from kist.errors import DTypeError, NodeNameError, QueryError
from kist.format.columns import ColumnSpec
from kist.format.schema import Schema
from kist.model import directory
from kist.model.tables.stored.computed import computed_of, holds_all, levels, sealed_sources
from kist.model.tables.stored.schema import facts_of
from kist.model.tables.stored.state import TableState
from kist.query import parse

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.tables.table import Table

__all__ = [
    "check_computed",
    "check_names",
    "check_new_name",
    "find_column",
    "place_of",
    "refuse_computed_from_sealed",
    "refuse_dependents",
    "refuse_first_in_clear",
    "refuse_in_clear",
    "refuse_sealed",
]


def check_names(schema: Schema, what: str) -> None:
    """Refuse columns whose names look the same, as groups do with their nodes."""
    seen: dict[str, str] = {}
    for column in schema.columns:
        name = column.name
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise DTypeError(
                f"{what}: the columns {other!a} and {name!a} are the same text in two Unicode "
                "forms; rename one",
                column=name,
            )


def check_new_name(schema: Schema, name: Any, what: str) -> None:
    """Raise when a column cannot have a name, or there is one of it."""
    if not isinstance(name, str):
        raise NodeNameError(f"{what}: the name of a column is a str, not {type(name).__name__}")
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= 255 or "\0" in name:
        raise NodeNameError(f"{what}: a name has 1 to 255 bytes of UTF-8 and no NUL, {name!r} not")
    if any(column.name == name for column in schema.columns):
        raise DTypeError(f"{what}: there is already a column {name!r}", column=name)
    refuse_inner(schema, name, what)


def refuse_inner(schema: Schema, name: str, what: str) -> None:
    """Raise when a name is that of a field inside a column, or would be taken for one."""
    head = name.split(".")[0]
    for column in schema.columns:
        if column.name == head and column.name != name and column.dtype.base.names is not None:
            raise DTypeError(
                f"{what}: column {head!r} has fields, and {name!r} is or would be one of them; "
                "they are part of its dtype, and only whole columns come, go or change",
                column=name,
            )


def find_column(schema: Schema, name: Any, what: str) -> ColumnSpec:
    """Return a whole column by its name."""
    if not isinstance(name, str):
        raise DTypeError(
            f"{what}: name one column as a str, not {type(name).__name__}; in a transaction several"
            " calls are one commit"
        )
    if all(column.name != name for column in schema.columns):
        refuse_inner(schema, name, what)
    return schema.columns[schema.index(name)]


def place_of(position: Any, n_columns: int, what: str) -> int:
    """Return the place of a new column among the others."""
    if position is None:
        return n_columns
    if isinstance(position, bool) or not hasattr(position, "__index__"):
        raise TypeError(f"{what}: position is an int, not {type(position).__name__}")
    at = int(position)
    if not -n_columns <= at <= n_columns:
        raise DTypeError(f"{what}: position {at}, and there are {n_columns} columns")
    return at + n_columns if at < 0 else at


def refuse_dependents(state: TableState, column: ColumnSpec, what: str) -> None:
    """Raise when others are computed from a column."""
    facts = state.facts
    mine = {leaf.id for leaf in state.schema.leaves_of(column.name)}
    names = [
        leaf.path[0]
        for leaf in levels(facts)
        if any(need.id in mine for need in computed_of(facts, leaf).needs.values())
    ]
    if names:
        raise DTypeError(
            f"{what}: {', '.join(map(repr, names))} "
            f"{'is' if len(names) == 1 else 'are'} computed from it; drop "
            f"{'that' if len(names) == 1 else 'those'} first",
            column=column.name,
        )


def refuse_sealed(column: ColumnSpec, what: str) -> None:
    """Raise for what would write or leave values of a sealed column elsewhere."""
    if column.field:
        raise DTypeError(
            f"{what}: the column is sealed, and such columns are only renamed and reordered; make "
            "a new table with create_table(..., encrypt=) and append the rows",
            column=column.name,
        )


def refuse_in_clear(table: Table, txn: Transaction, what: str) -> None:
    """Raise for a column in clear where all is sealed."""
    if directory.is_marked(txn, table._id):
        raise DTypeError(
            f"{what}: the table stands in a sealed group, and a column that is added later would "
            "be in clear; make a new table there and append the rows"
        )


def refuse_first_in_clear(schema: Schema, virtual: bool, what: str) -> None:
    """Raise for the first stored column in clear of a table of which every column is sealed."""
    stored = [column for column in schema.columns if not column.is_virtual]
    if stored and not virtual and all(column.field for column in stored):
        raise DTypeError(
            f"{what}: every column of the table is sealed, and one that is added later would be in"
            " clear; make a new table with create_table(..., encrypt=) and append the rows"
        )


def refuse_computed_from_sealed(schema: Schema, column: ColumnSpec, what: str) -> None:
    """Raise when a stored column would tell in clear what is computed from a sealed one."""
    if column.expression is None or column.is_virtual or not schema.sealed:
        return
    facts = facts_of(schema)
    mine = {leaf.id for leaf in schema.leaves_of(column.name)}
    needs = [
        need
        for leaf in levels(facts)
        if leaf.id in mine
        for need in computed_of(facts, leaf).needs.values()
    ]
    sealed = sealed_sources(facts, needs)
    if sealed:
        raise DTypeError(
            f"{what}: it would be computed from {sealed[0]!r}, which is sealed, and tell its values"
            " in clear; with virtual=True nothing is stored, and who reads it needs the secret",
            column=column.name,
        )


def check_computed(schema: Schema, what: str) -> None:
    """Raise unless every expression means something with these columns."""
    facts = facts_of(schema)
    for column in schema.columns:
        if column.expression is None:
            continue
        others = {name: dtype for name, dtype in facts.dtypes.items() if name != column.name}
        try:
            found = parse(column.expression, others, condition=False).dtype
        except QueryError as error:
            raise DTypeError(
                f"{what}: column {column.name!r} is computed from it, which would fail: {error}",
                column=column.name,
            ) from error
        if column.is_virtual and not holds_all(column.dtype, found):
            raise DTypeError(
                f"{what}: virtual column {column.name!r} of {column.dtype} does not hold every "
                f"value of {column.expression}, which would give {found}",
                column=column.name,
            )
