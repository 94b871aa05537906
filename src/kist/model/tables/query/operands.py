"""What rows are sorted, grouped and added up by: a column, or an expression of columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import CorruptDataError, DTypeError, QueryError
from kist.format.nullable import is_masked_array, nullable, pairs
from kist.format.ragged import item_text
from kist.format.schema import Leaf, Schema
from kist.model.tables.query.find import check_sources
from kist.model.tables.stored.fields import field_at, parse_path
from kist.model.tables.stored.schema import facts_of
from kist.query import Bound, Expr, as_expr, column, parse
from kist.query.expression import Name
from kist.query.nodes import Column

if TYPE_CHECKING:
    from kist.model.tables.stored.state import TableState
    from kist.model.tables.table import Table

__all__ = [
    "Coded",
    "Filled",
    "IsNull",
    "Key",
    "Operand",
    "Ranked",
    "all_leaves",
    "by_place",
    "coded",
    "nearest",
    "operand_of",
    "ranked",
]

Array = np.ndarray[Any, Any]
Columns = Mapping[int, Array]


@dataclass(frozen=True)
class Operand:
    """A value of each row, which may be null.

    Attributes
    ----------
    name : str
        How it was named.
    dtype : dtype
        Of the values; no sub-array, no fields.
    leaves : tuple of Leaf
        What it is made of.
    bound : Bound or None
        How; None for a column that has no nulls of a mask.
    valid : mapping of str to int
        Nullable columns among those of `bound`, and the ids of the leaves that say what is there.
    """

    name: str
    dtype: np.dtype[Any]
    leaves: tuple[Leaf, ...]
    bound: Bound | None = None
    valid: Mapping[str, int] = field(default_factory=dict)

    @property
    def may_be_null(self) -> bool:
        """Whether `of` gives values of a nullable dtype."""
        if self.dtype.kind == "T":
            return False
        return bool(self.valid) or (self.bound is not None and self.bound.may_be_null)

    @property
    def is_seldom_null(self) -> bool:
        """Whether only what is computed may be null, as the year of NaT, and no column says so.

        Results are of a nullable dtype where some are null, and only there.
        """
        return self.may_be_null and not self.valid and self.bound is not None

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
        values, valid = self.parts(columns, n)
        if not self.may_be_null:
            return values
        return pairs(values, np.True_ if valid is None else valid, nullable(values.dtype))

    def parts(self, columns: Columns, n: int) -> tuple[Array, Array | None]:
        """Return the values of some rows, and where there are any: None for everywhere."""
        if self.bound is None:
            return columns[self.leaves[0].id], None
        if self.column is not None:
            valid = columns[self.leaves[1].id]
            return columns[self.column.id], None if valid.all() else valid
        found = self.bound.value(self._named(self.bound, columns), n, self._valid(columns))
        if not is_masked_array(found):
            return found, None
        return np.ma.getdata(found), ~np.ma.getmaskarray(found)

    def _named(self, bound: Bound, columns: Columns) -> dict[str, Array]:
        # The leaves that say what is there stand behind those of the values.
        return {
            name: columns[leaf.id] for name, leaf in zip(bound.columns, self.leaves, strict=False)
        }

    def _valid(self, columns: Columns) -> dict[str, Array]:
        return {name: columns[number] for name, number in self.valid.items()}

    def sorted_by(self, state: TableState, values: Array) -> Array:
        """Return what groups with these keys are sorted by."""
        return values

    @property
    def column(self) -> Leaf | None:
        """The leaf of the values, where it is a column as it is stored, nullable or not."""
        if self.bound is None or (self.valid and isinstance(self.bound.node, Column)):
            return self.leaves[0]
        return None


class Coded(Operand):
    """The codes of a categorical column, null where there is no value."""

    @classmethod
    def of_column(cls, schema: Schema, leaf: Leaf) -> Coded:
        """Return it for a column of which one leaf is given."""
        column = schema.columns[leaf.column]
        (codes,) = schema.stored_of(column.name)
        return cls(column.name, codes.dtype, (codes,))

    @property
    def may_be_null(self) -> bool:
        return True

    def of(self, columns: Columns, n: int) -> Array:
        codes, valid = self.parts(columns, n)
        return pairs(codes, np.True_ if valid is None else valid, nullable(codes.dtype))

    def parts(self, columns: Columns, n: int) -> tuple[Array, Array | None]:
        codes = columns[self.leaves[0].id]
        valid = codes != 0
        return codes, None if valid.all() else valid

    @property
    def column(self) -> Leaf | None:
        return None  # its statistics count what is no value


@dataclass(frozen=True)
class Ranked(Coded):
    """The ranks of a categorical column's values in their own order, null where there is none.

    Attributes
    ----------
    ranks : ndarray of uint32
        By code.
    """

    ranks: Array = field(default_factory=lambda: np.zeros(1, np.uint32))

    @classmethod
    def of_codes(cls, codes: Coded, ranks: Array) -> Ranked:
        """Return it for the codes of a column."""
        return cls(codes.name, ranks.dtype, codes.leaves, ranks=ranks)

    def parts(self, columns: Columns, n: int) -> tuple[Array, Array | None]:
        codes, valid = super().parts(columns, n)
        if int(codes.max(initial=0)) >= len(self.ranks):
            raise CorruptDataError(
                f"column {self.name!r}: code {int(codes.max())}, and there are "
                f"{len(self.ranks) - 1} categories"
            )
        return self.ranks.take(codes), valid


def ranked(state: TableState, keys: Sequence[Key]) -> list[Key]:
    """Return keys with ranks in place of the values of categories, which sort like them."""
    found = []
    for key in keys:
        codes = None if isinstance(key.operand, Coded) else coded(state.schema, key.operand)
        if codes is not None:
            column = state.schema.columns[codes.leaves[0].column]
            known = state.categories(column)
            key = Key(Ranked.of_codes(codes, known.ranks), key.descending)
        found.append(key)
    return found


def coded(schema: Schema, operand: Operand) -> Coded | None:
    """Return the codes of a whole categorical column, None for other operands."""
    leaf = operand.leaves[0] if operand.leaves else None
    if leaf is None or leaf.codes is None or operand.column is not leaf:
        return None
    return Coded.of_column(schema, leaf)


def by_place(schema: Schema, operand: Operand) -> Operand:
    """Return what a column is sorted by: of ordered categories the codes."""
    found = coded(schema, operand)
    if found is None:
        return operand
    return found if found.name in facts_of(schema).ordered else operand


class IsNull(Operand):
    """Whether an operand is null."""

    @classmethod
    def of_operand(cls, other: Operand) -> IsNull:
        """Return it for an operand that may be null."""
        leaves = other.leaves if other.column is None else other.leaves[1:]
        return cls(other.name, np.dtype("?"), leaves, other.bound, other.valid)

    def of(self, columns: Columns, n: int) -> Array:
        if self.column is not None:
            return np.logical_not(columns[self.leaves[0].id])
        valid = None
        if self.bound is not None:
            valid = self.bound.known(self._named(self.bound, columns), n, self._valid(columns))
        return np.zeros(n, bool) if valid is None else ~valid


class Filled(Operand):
    """The values of an operand, zero where it is null."""

    @classmethod
    def of_operand(cls, other: Operand) -> Filled:
        """Return it for an operand that may be null."""
        return cls(other.name, other.dtype, other.leaves, other.bound, other.valid)

    def of(self, columns: Columns, n: int) -> Array:
        values, valid = self.parts(columns, n)
        # What stands under nulls differs, and they are equal.
        return values if valid is None else np.where(valid, values, np.zeros((), values.dtype))


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
            bound = parse(tree, facts_of(schema).columns, params, condition=False)
            return _computed(schema, repr(tree), bound)
        what = tree.name
    if not isinstance(what, str):
        raise QueryError(
            f"{what!r} names no column; give a name, or an expression as in kist.expr('a + b')"
        )
    path = parse_path(schema, what)
    fields = field_at(schema, path)
    if fields.is_nullable and len(path) == 1:
        return _computed(
            schema, what, parse(column(path[0]), facts_of(schema).columns, {}, condition=False)
        )
    if fields.is_ragged:
        raise DTypeError(
            f"column {what!r} holds {item_text(fields.dtype)}, which has no order and is not "
            f"compared; kist.expr('len({what})') is the number of items",
            column=what,
        )
    if len(fields.stored) != 1 or fields.is_structured or fields.item_shape:
        more = (
            f"name one of its fields, as in {what + '.' + fields.dtype.names[0]!r}"
            if fields.dtype.names
            else "it has several values a row"
        )
        raise DTypeError(f"column {what!r} cannot be compared as a whole: {more}", column=what)
    return Operand(what, fields.dtype, fields.stored)


def _computed(schema: Schema, name: str, bound: Bound) -> Operand:
    facts = facts_of(schema)
    leaves = tuple(facts.by_name[need] for need in facts.needs(bound.columns))
    valid = {
        column: facts.by_name[facts.nullable[column]].id
        for column in bound.columns
        if column in facts.nullable
    }
    return Operand(name, bound.dtype, leaves, bound, valid)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint at a similar name, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def all_leaves(operands: Iterable[Operand], more: Sequence[Leaf] = ()) -> list[Leaf]:
    """Return the leaves of some operands, and others, each once."""
    every = [leaf for operand in operands for leaf in operand.leaves]
    return list({leaf.id: leaf for leaf in [*more, *every]}.values())
