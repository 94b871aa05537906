"""The next schema of a table: columns that come, go, and change their names, places and dtypes.

Ids are given once. What ends leaves an entry in `Schema.gone`, by which pieces and patches of
earlier versions are read; docs/design/0007-schema-changes.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kist.errors import DTypeError
from kist.format.dtypes import pack_dtype
from kist.format.leaves import walk_leaves
from kist.format.schema import (
    VIRTUAL,
    ColumnSpec,
    Gone,
    Schema,
    layout_for,
    refuse_inner_strings,
    usable,
)

__all__ = [
    "pruned",
    "with_cast",
    "with_changed",
    "with_column",
    "with_initial",
    "with_order",
    "with_renamed",
    "without_column",
]


def with_column(
    schema: Schema,
    name: str,
    dtype: np.dtype[Any],
    *,
    position: int | None = None,
    title: str | None = None,
    codec: str = "auto",
    default: bytes | None = None,
    initial: bytes | None = None,
    expression: str | None = None,
    virtual: bool = False,
) -> Schema:
    """Return the next schema, with one more column.

    Parameters
    ----------
    position : int, optional
        Its place among the columns; the last one by default.
    initial : bytes, optional
        Packed value of the rows that are there; without it every row group gets a page.
    title, codec, default, expression
        As in `ColumnSpec`.
    virtual : bool
        Nothing is stored of it.

    Raises
    ------
    DTypeError
        The name is taken, or the dtype cannot be stored.
    """
    dtype = np.dtype(dtype)
    pack_dtype(dtype)
    refuse_inner_strings(name, dtype)
    if any(column.name == name for column in schema.columns):
        raise DTypeError(f"there is already a column {name!r}", column=name)
    column = ColumnSpec(
        id=schema.next_column_id,
        name=name,
        dtype=dtype,
        title=title,
        default=default,
        codec=codec,
        flags=VIRTUAL * virtual,
        first_leaf=schema.next_leaf_id,
        since=schema.version + 1,
        initial=initial,
        expression=expression,
    )
    at = len(schema.columns) if position is None else position
    columns = (*schema.columns[:at], column, *schema.columns[at:])
    return _next(
        schema,
        columns,
        next_column_id=schema.next_column_id + 1,
        next_leaf_id=schema.next_leaf_id + _n_leaves(dtype),
    )


def without_column(schema: Schema, name: str) -> Schema:
    """Return the next schema, without one column; its ids are not used again."""
    index = schema.index(name)
    columns = schema.columns[:index] + schema.columns[index + 1 :]
    if not columns:
        raise DTypeError(f"{name!r} is the only column, and a table needs one", column=name)
    return _next(schema, columns, gone=_ended(schema, schema.columns[index]))


def with_cast(
    schema: Schema,
    name: str,
    dtype: np.dtype[Any],
    *,
    default: bytes | None = None,
    initial: bytes | None = None,
) -> Schema:
    """Return the next schema, in which a column has new leaves of another dtype."""
    pack_dtype(dtype)
    refuse_inner_strings(name, dtype)
    index = schema.index(name)
    before = schema.columns[index]
    after = replace(
        before,
        dtype=dtype,
        default=default,
        initial=initial,
        first_leaf=schema.next_leaf_id,
        since=schema.version + 1,
    )
    columns = (*schema.columns[:index], after, *schema.columns[index + 1 :])
    return _next(
        schema,
        columns,
        next_leaf_id=schema.next_leaf_id + _n_leaves(dtype),
        gone=_ended(schema, before),
    )


def with_renamed(schema: Schema, name: str, new_name: str) -> Schema:
    """Return the next schema, with another name for one column; its ids and its place stay."""
    index = schema.index(name)
    if new_name != name and any(column.name == new_name for column in schema.columns):
        raise DTypeError(f"there is already a column {new_name!r}", column=new_name)
    columns = list(schema.columns)
    columns[index] = replace(columns[index], name=new_name)
    return usable(replace(schema, version=schema.version + 1, columns=tuple(columns)))


def with_order(schema: Schema, names: Sequence[str]) -> Schema:
    """Return the next schema, with the columns in another order: all names, each once."""
    by_name = {column.name: column for column in schema.columns}
    return _next(schema, tuple(by_name[name] for name in names))


def with_changed(
    schema: Schema, name: str, *, default: bytes | None, expression: str | None
) -> Schema:
    """Return the next schema, with another default or expression of one column."""
    index = schema.index(name)
    columns = list(schema.columns)
    columns[index] = replace(columns[index], default=default, expression=expression)
    return replace(schema, version=schema.version + 1, columns=tuple(columns))


def with_initial(schema: Schema, name: str, initial: bytes | None) -> Schema:
    """Return the same schema with another initial value of a column that has just come."""
    index = schema.index(name)
    columns = list(schema.columns)
    columns[index] = replace(columns[index], initial=initial)
    return replace(schema, columns=tuple(columns))


def pruned(schema: Schema, needed: Callable[[Gone], bool]) -> Schema:
    """Return the schema without entries of gone leaves that nothing needs."""
    gone = tuple(entry for entry in schema.gone if needed(entry))
    return schema if len(gone) == len(schema.gone) else replace(schema, gone=gone)


def _ended(schema: Schema, column: ColumnSpec) -> tuple[Gone, ...]:
    if column.is_virtual:
        return schema.gone
    entry = Gone(column.first_leaf, column.since, schema.version + 1, column.dtype)
    return (*schema.gone, entry)


def _next(schema: Schema, columns: tuple[ColumnSpec, ...], **changes: Any) -> Schema:
    layout = layout_for(schema.layout, columns)
    return usable(
        replace(schema, version=schema.version + 1, columns=columns, layout=layout, **changes)
    )


def _n_leaves(dtype: np.dtype[Any]) -> int:
    return sum(1 for _ in walk_leaves(dtype, (), ()))
