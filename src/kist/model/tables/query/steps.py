"""Steps of a selection: what each does with the rows before it, and how it reads.

A step is what the user said; `bind` checks it against the columns, and returns what makes a row
set of a row set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import ColumnNotFoundError, SelectionError
from kist.format.ragged import item_text
from kist.format.schema import Leaf, Schema
from kist.model.tables.query.find import check_sources
from kist.model.tables.query.operands import Key, by_place, operand_of
from kist.model.tables.query.rowset import RowSet
from kist.model.tables.stored.fields import Fields, field_at, parse_path
from kist.model.tables.stored.schema import facts_of
from kist.model.text import cell
from kist.query import Bound, Expr, as_expr, parse

if TYPE_CHECKING:
    from kist.model.tables.table import Table

__all__ = ["Apply", "Distinct", "Limit", "Sample", "SortBy", "Step", "Tail", "Where", "sort_keys"]

Apply = Callable[[RowSet], RowSet]


class Step(ABC):
    """Something that makes fewer rows of rows, or another order."""

    @abstractmethod
    def bind(self, schema: Schema, table: Table) -> Apply:
        """Return what the step does with the rows of a table of this schema.

        Raises
        ------
        KistError
            A column is not there, or does not fit.
        """

    @abstractmethod
    def text(self) -> str:
        """Return how the step reads."""


@dataclass(frozen=True)
class Where(Step):
    """Rows where a condition holds."""

    condition: str | Expr
    params: Mapping[str, Any] = field(default_factory=dict)

    def bind(self, schema: Schema, table: Table) -> Apply:
        bound = self.bound(schema, table)
        return lambda rows: rows.where(bound)

    def bound(self, schema: Schema, table: Table) -> Bound:
        """Return the condition, bound to the columns."""
        for tree in (self.condition, *self.params.values()):
            if hasattr(tree, "__kist_expr__"):  # parameters may be columns
                check_sources(as_expr(tree), table)
        return parse(self.condition, facts_of(schema).columns, self.params)

    def text(self) -> str:
        condition = self.condition if isinstance(self.condition, str) else repr(self.condition)
        params = "".join(f", {name}={cell(repr(v), 40)}" for name, v in self.params.items())
        return f"where {condition}{params}"


@dataclass(frozen=True)
class SortBy(Step):
    """Rows in the order of some keys."""

    keys: tuple[tuple[Any, bool], ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    def bind(self, schema: Schema, table: Table) -> Apply:
        keys = self.bound(schema, table)
        return lambda rows: rows.sort(keys)

    def bound(self, schema: Schema, table: Table) -> list[Key]:
        """Return the keys, bound to the columns."""
        keys = []
        for what, descending in self.keys:
            try:
                operand = operand_of(schema, what, table, self.params)
            except ColumnNotFoundError as error:
                if not isinstance(what, str) or not what.startswith("-"):
                    raise
                more = (
                    f"sort_by({what[1:]!r}, descending=True), of several descending=[True, False]"
                )
                raise ColumnNotFoundError(f"{error}; the other way round is {more}") from None
            keys.append(Key(by_place(schema, operand), descending))
        return keys

    def text(self) -> str:
        keys = [
            f"{what if isinstance(what, str) else repr(what)}{' descending' if down else ''}"
            for what, down in self.keys
        ]
        return f"sort by {', '.join(keys)}"


@dataclass(frozen=True)
class Limit(Step):
    """Some rows from a place on."""

    n: int
    offset: int = 0

    def bind(self, schema: Schema, table: Table) -> Apply:
        return lambda rows: rows.cut(self.offset, self.offset + self.n)

    def text(self) -> str:
        return f"limit {self.n:,}" + (f" offset {self.offset:,}" if self.offset else "")


@dataclass(frozen=True)
class Tail(Step):
    """The last rows."""

    n: int

    def bind(self, schema: Schema, table: Table) -> Apply:
        return lambda rows: rows.cut(max(0, rows.count() - self.n), None)

    def text(self) -> str:
        return f"tail {self.n:,}"


@dataclass(frozen=True)
class Sample(Step):
    """Rows drawn at random, each at most once, in their order."""

    n: int
    seed: int

    def bind(self, schema: Schema, table: Table) -> Apply:
        def draw(rows: RowSet) -> RowSet:
            count = rows.count()
            if self.n >= count:
                return rows
            random = np.random.default_rng(self.seed)
            ranks = random.choice(count, self.n, replace=False, shuffle=False)
            ranks.sort()
            return rows.pick(ranks)

        return draw

    def text(self) -> str:
        return f"sample {self.n:,}"


@dataclass(frozen=True)
class Distinct(Step):
    """The first row with each combination of values of some columns."""

    names: tuple[str, ...]

    def bind(self, schema: Schema, table: Table) -> Apply:
        from kist.model.tables.groupby import first_ranks

        every = [field_at(schema, parse_path(schema, name)) for name in self.names]
        leaves = [
            leaf
            for fields in every
            for leaf in (
                _comparable(fields)
                if fields.sort is None
                else schema.stored_of(fields.stored[0].path[0])  # codes are equal where values are
            )
        ]
        what = f"distinct rows of {table._path!r}"
        return lambda rows: rows.pick(first_ranks(rows, leaves, what))

    def text(self) -> str:
        return f"distinct {', '.join(self.names)}"


def _comparable(fields: Fields) -> tuple[Leaf, ...]:
    if not fields.stored:
        raise SelectionError(f"{fields.label} has no values to compare")
    if fields.is_ragged:
        raise SelectionError(
            f"{fields.label} holds {item_text(fields.dtype)}, which is not compared"
        )
    return fields.stored


def sort_keys(by: tuple[Any, ...], descending: Any) -> tuple[tuple[Any, bool], ...]:
    """Return pairs of key and direction.

    Raises
    ------
    SelectionError
        There is no key, or `descending` fits neither all nor each of them.
    """
    if len(by) == 1 and isinstance(by[0], list | tuple):
        by = tuple(by[0])
    if not by:
        raise SelectionError("sort_by needs at least one column")
    if isinstance(descending, bool | np.bool):
        return tuple((what, bool(descending)) for what in by)
    if not isinstance(descending, list | tuple) or not all(
        isinstance(one, bool | np.bool) for one in descending
    ):
        raise SelectionError(f"descending={descending!r} is neither a bool nor a list of them")
    if len(descending) != len(by):
        raise SelectionError(f"descending has {len(descending)} items for {len(by)} columns")
    return tuple((what, bool(down)) for what, down in zip(by, descending, strict=True))
