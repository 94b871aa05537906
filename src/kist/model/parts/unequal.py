"""What tells two schemas apart, and which leaves of one stand for those of the other."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from kist.errors import DTypeError
from kist.format.array import ArraySchema
from kist.format.categorical import sort_of
from kist.format.nullable import dtype_text
from kist.format.schema import ColumnSpec, Leaf, Schema

__all__ = ["Fit", "array_difference", "fit_of", "table_difference", "unequal"]


class Fit(NamedTuple):
    """How the rows of one table stand for rows of another with the same columns.

    Attributes
    ----------
    is_same : bool
        Ids and versions are equal too, so that patches need not be taken apart.
    leaves : dict of int to Leaf
        Leaf id of the new table -> leaf of the old one.
    """

    is_same: bool
    leaves: dict[int, Leaf]


def fit_of(old: Schema, new: Schema) -> Fit:
    """Return how rows of `old` stand in a table of `new`, which has the same columns."""
    is_same = (
        old.version == new.version
        and old.gone == new.gone
        and list(map(_stored, old.columns)) == list(map(_stored, new.columns))
    )
    # Codes of categories are leaves that are stored, and not shown.
    by_path = {leaf.path: leaf for leaf in (*old.leaves, *old.stored)}
    every = (*new.leaves, *new.stored)
    return Fit(is_same, {leaf.id: by_path[leaf.path] for leaf in every})


def _stored(column: ColumnSpec) -> ColumnSpec:
    """Return a column without what says nothing about its stored values."""
    return replace(column, codec="auto", title=None, default=None)


def table_difference(a: Schema, b: Schema) -> list[str]:
    """Return what differs between the columns of two tables, a line for each difference.

    The order of columns, their codecs, titles and defaults are no difference.
    """
    mine = {column.name: column for column in a.columns}
    others = {column.name: column for column in b.columns}
    lines = [f"- {name}: {_said(column)}" for name, column in mine.items() if name not in others]
    lines += [f"+ {name}: {_said(column)}" for name, column in others.items() if name not in mine]
    for name, column in mine.items():
        if name in others and _kind(column) != _kind(others[name]):
            lines.append(f"~ {name}: {_said(column)} -> {_said(others[name])}")
    return lines


def _kind(column: ColumnSpec) -> tuple[object, ...]:
    dtype = column.dtype
    return dtype, dtype.names, column.flags, column.expression, column.field


def _said(column: ColumnSpec) -> str:
    said = dtype_text(column.dtype, sort_of(column.dtype))
    said += f", sealed (field {column.field})" if column.field else ""
    return said if column.expression is None else f"{said} = {column.expression}"


def array_difference(a: ArraySchema, b: ArraySchema) -> list[str]:
    """Return what keeps two arrays from being one along their first axis."""
    lines = []
    if a.dtype != b.dtype:
        lines.append(f"~ dtype: {a.dtype} -> {b.dtype}")
    if a.ndim != b.ndim:
        lines.append(f"~ axes: {a.ndim} -> {b.ndim}")
    return lines


def unequal(
    where: str, lines: list[str], first: str, hint: str, what: str = "the schema"
) -> DTypeError:
    """Return the error for parts that cannot be one as they are."""
    shown = "".join(f"\n  {line}" for line in lines[:40])
    more = f"\n  and {len(lines) - 40} more" if len(lines) > 40 else ""
    return DTypeError(f"{where} does not have {what} of {first}:{shown}{more}\n{hint}")
