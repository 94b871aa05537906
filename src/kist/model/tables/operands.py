"""What rows are sorted, grouped and added up by: a column, or an expression of columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import DTypeError, QueryError
from kist.format.schema import Leaf, Schema
from kist.model.tables.fields import field_at, parse_path
from kist.model.tables.query import check_sources
from kist.model.tables.schema import facts_of
from kist.query import Bound, Expr, as_expr, parse
from kist.query.expression import Name

if TYPE_CHECKING:
    from kist.model.tables.table import Table

__all__ = ["Key", "Operand", "all_leaves", "operand_of"]

Array = np.ndarray[Any, Any]
Columns = Mapping[int, Array]


@dataclass(frozen=True)
class Operand:
    """A value of each row.

    Attributes
    ----------
    name : str
        How it was named.
    dtype : dtype
        Of the values; no sub-array, no fields.
    leaves : tuple of Leaf
        What it is made of.
    bound : Bound or None
        How; None for a column.
    """

    name: str
    dtype: np.dtype[Any]
    leaves: tuple[Leaf, ...]
    bound: Bound | None = None

    def of(self, columns: Columns, n: int) -> Array:
        """Return the values of some rows.

        Parameters
        ----------
        columns : mapping of int to ndarray
            Values of `leaves`, by the id of the leaf, and perhaps others.
        n : int
            Number of rows.
        """
        if self.bound is None:
            return columns[self.leaves[0].id]
        named = {".".join(leaf.path): columns[leaf.id] for leaf in self.leaves}
        return self.bound.value(named, n)


@dataclass(frozen=True)
class Key:
    """An operand that rows are sorted by."""

    operand: Operand
    descending: bool = False


def operand_of(schema: Schema, what: Any, table: Table, params: Mapping[str, Any]) -> Operand:
    """Return what a column's name, a column or an expression stands for.

    Parameters
    ----------
    what : str, Column or Expr
        A str is always the name of a column.
    params : mapping
        Values of names in the expression that are not columns.

    Raises
    ------
    ColumnNotFoundError
        There is no such column; says which name is nearest.
    DTypeError
        The column has fields, or several values a row.
    QueryError
        The expression does not fit, or `what` is nothing of the kind.
    """
    if isinstance(what, Expr) or hasattr(what, "__kist_expr__"):
        tree = as_expr(what)
        check_sources(tree, table)
        if not isinstance(tree, Name) or tree.name in params:
            facts = facts_of(schema)
            bound = parse(tree, facts.columns, params, condition=False)
            leaves = tuple(facts.by_name[name] for name in bound.columns)
            return Operand(repr(tree), bound.dtype, leaves, bound)
        what = tree.name
    if not isinstance(what, str):
        raise QueryError(
            f"{what!r} names no column; give a name, or an expression as in kist.expr('a + b')"
        )
    path = parse_path(schema, what)
    fields = field_at(schema, path)
    if len(fields.stored) != 1 or fields.is_structured or fields.item_shape:
        more = (
            f"name one of its fields, as in {what + '.' + fields.dtype.names[0]!r}"
            if fields.dtype.names
            else "it has several values a row"
        )
        raise DTypeError(f"column {what!r} cannot be compared as a whole: {more}", column=what)
    return Operand(what, fields.dtype, fields.stored)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint at a similar name, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def all_leaves(operands: Iterable[Operand], more: Sequence[Leaf] = ()) -> list[Leaf]:
    """Return the leaves of some operands, and others, each once."""
    every = [leaf for operand in operands for leaf in operand.leaves]
    return list({leaf.id: leaf for leaf in [*more, *every]}.values())
