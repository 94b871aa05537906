"""What users give for a new column: one value for all rows, values for each, or an expression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kist.errors import DTypeError, QueryError, ShapeError
from kist.format.categorical import is_categorical, values_dtype
from kist.format.nullable import as_pairs
from kist.format.ragged import is_ragged
from kist.model.cast_ragged import is_cell
from kist.model.cast_values import cast_values
from kist.model.ragged import Ragged
from kist.model.tables.input.dtype import as_dtype
from kist.model.tables.input.given import NOT_GIVEN
from kist.model.tables.input.infer import as_column
from kist.model.tables.query.find import check_sources
from kist.model.tables.stored.computed import MAX_LEVELS, computed_of, holds_all
from kist.model.tables.stored.schema import SchemaFacts
from kist.query import Expr, as_expr, parse
from kist.query.parser import read_text

if TYPE_CHECKING:
    from kist.model.tables.table import Table

__all__ = ["NewColumn", "Source", "new_column"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]


class NewColumn(NamedTuple):
    """A new column, understood.

    Attributes
    ----------
    dtype : dtype
        Of the column.
    initial : value or None
        One value for all rows that are there.
    source : Source or None
        A value for each of them.
    expression : str or None
        What it is computed from. One of the three, or none where there are no rows.
    default : value or None
        For rows to come.
    """

    dtype: DType
    initial: Any = None
    source: Source | None = None
    expression: str | None = None
    default: Any = None


class Source:
    """Values of a column, taken in order and a few rows at a time.

    Parameters
    ----------
    data
        An array, a list, anything that gives its values by ``blocks()``, or an iterator of arrays.
    n_rows : int
        How many there must be.
    """

    def __init__(self, data: Any, n_rows: int, what: str) -> None:
        self._what = what
        self._n_rows = n_rows
        self._taken = 0
        self._blocks: Iterator[Any] | None = None
        self._rest: list[Array] = []
        self._data = data
        if hasattr(data, "blocks"):
            self._blocks = data.blocks()
        elif hasattr(data, "__next__"):
            self._blocks = data
        elif len(data) != n_rows:
            raise ShapeError(f"{what}: {len(data):,} values for {n_rows:,} rows")

    def take(self, n: int) -> Any:
        """Return the next `n` values."""
        start = self._taken
        self._taken += n
        if self._blocks is None:
            return self._data[start : start + n]
        while sum(map(len, self._rest)) < n:
            block = next(self._blocks, None)
            if block is None:
                n_found = start + sum(map(len, self._rest))
                raise ShapeError(f"{self._what}: {n_found:,} values for {self._n_rows:,} rows")
            self._rest.append(as_pairs(np.asanyarray(block)))
        joined = np.concatenate(self._rest) if len(self._rest) > 1 else self._rest[0]
        self._rest = [joined[n:]]
        return joined[:n]

    def end(self) -> None:
        """Raise `ShapeError` when there are more values than rows."""
        left = sum(map(len, self._rest))
        while not left and self._blocks is not None:
            block = next(self._blocks, None)
            if block is None:
                return
            left = len(np.asarray(block))
        if left:
            raise ShapeError(f"{self._what}: more than {self._n_rows:,} values for as many rows")


def new_column(
    table: Table,
    facts: SchemaFacts,
    n_rows: int,
    name: str,
    data: Any,
    dtype: Any,
    virtual: bool,
    fill_value: Any,
    what: str,
) -> NewColumn:
    """Return what is meant by the arguments of `add_column`.

    Raises
    ------
    DTypeError, QueryError, ShapeError
        They do not fit each other, or the table.
    """
    if dtype is None and not virtual and isinstance(data, str | np.dtype | type):
        # Text as a constant needs a dtype anyway: that of one value would be too narrow for others.
        hint = f"; for the text {data!r} in all rows give dtype= too" * isinstance(data, str)
        try:
            data, dtype = None, as_dtype(data, what)
        except DTypeError as error:
            raise DTypeError(f"{error}{hint}") from error
    if dtype is np.dtypes.StringDType:
        dtype = np.dtypes.StringDType()
    wanted = None if dtype is None else as_dtype(dtype, what)
    if virtual or isinstance(data, Expr):
        if wanted is not None and is_categorical(wanted):
            raise DTypeError(
                f"{what}: a computed column has no categories; add it as text, and cast it",
                column=name,
            )
        if fill_value is not NOT_GIVEN:
            raise DTypeError(f"{what}: a computed column takes no fill_value", column=name)
        return _computed(table, facts, name, data, wanted, virtual, what)
    if data is None:
        if wanted is None:
            raise DTypeError(f"{what}: give values, a constant, an expression, or dtype=")
        if fill_value is NOT_GIVEN and n_rows:
            raise DTypeError(
                f"{what}: the {n_rows:,} rows that are there need a value: give data or fill_value",
                column=name,
            )
        default = _one(fill_value, wanted, name, what)
        return NewColumn(wanted, initial=default, default=default)
    if _is_constant(data, wanted):
        wanted = _dtype_of_constant(data, name, what) if wanted is None else wanted
        initial = _one(data, wanted, name, what)
        default = initial if fill_value is NOT_GIVEN else _one(fill_value, wanted, name, what)
        return NewColumn(wanted, initial=initial, default=default)
    data, wanted = _rows(data, wanted, name, what)
    default = _one(fill_value, wanted, name, what)
    return NewColumn(wanted, source=Source(data, n_rows, what), default=default)


def _one(value: Any, dtype: DType, name: str, what: str) -> Any:
    """Return one value in the dtype of the column, None when it was not given."""
    if value is NOT_GIVEN:
        return None
    values: Any = [value]
    if dtype.subdtype is not None:
        values = np.broadcast_to(np.asarray(value), (1, *dtype.shape))
    return cast_values(values, values_dtype(dtype), column=name, what=what)[:1]


def _is_constant(data: Any, dtype: DType | None) -> bool:
    if isinstance(data, str | bytes | tuple | np.void | Mapping):
        return True
    if hasattr(data, "blocks") or hasattr(data, "__next__") or isinstance(data, Ragged):
        return False
    if dtype is not None and is_ragged(dtype):
        return is_cell(data, dtype) is not False
    return np.ndim(data) <= (0 if dtype is None else len(dtype.shape))


def _dtype_of_constant(value: Any, name: str, what: str) -> DType:
    found = np.asarray(value).dtype if not isinstance(value, tuple | Mapping) else np.dtype("O")
    if found.kind in "OSUV" and not isinstance(value, np.void):
        raise DTypeError(
            f"{what}: give dtype= with the constant {value!r}; that of one value would be too "
            "narrow for others",
            column=name,
        )
    return found


def _rows(data: Any, dtype: DType | None, name: str, what: str) -> tuple[Any, DType]:
    """Return values for each row, and the dtype of the column."""
    if hasattr(data, "blocks"):
        shape = tuple(getattr(data, "shape", (0,)))[1:]
        if dtype is None:
            dtype = np.dtype((data.dtype, shape)) if shape else data.dtype
        return data, dtype
    if hasattr(data, "__next__"):
        if dtype is None:
            raise DTypeError(f"{what}: give dtype= with an iterator of values", column=name)
        return data, dtype
    if dtype is not None and (isinstance(data, list) or dtype.names is not None):
        return data, dtype
    if isinstance(data, Ragged):
        return data, data.dtype if dtype is None else dtype
    array = as_column(data, name, what)
    if dtype is None:
        shape = array.shape[1:]
        dtype = np.dtype((array.dtype, shape)) if shape else array.dtype
    return array, dtype


def _computed(
    table: Table,
    facts: SchemaFacts,
    name: str,
    data: Any,
    dtype: DType | None,
    virtual: bool,
    what: str,
) -> NewColumn:
    if not (isinstance(data, str | Expr) or hasattr(data, "__kist_expr__")):
        raise QueryError(f"{what}: a virtual column is computed from an expression, not {data!r}")
    tree = read_text(data) if isinstance(data, str) else as_expr(data)
    check_sources(tree, table)
    bound = parse(data if isinstance(data, str) else tree, facts.dtypes, condition=False)
    if not bound.columns:
        raise QueryError(f"{what}: {tree!r} names no column; give its value as a constant")
    text = repr(tree)
    if not read_text(text).same_as(tree):
        raise QueryError(f"{what}: {tree!r} has no text that could be kept in the file")
    needs = [facts.by_name[need] for need in bound.columns]
    below = [computed_of(facts, leaf).level for leaf in needs if leaf.id in facts.computed_ids]
    if max(below, default=0) >= MAX_LEVELS:
        raise QueryError(f"{what}: it would be computed over more than {MAX_LEVELS} columns")
    if dtype is None:
        dtype = bound.dtype
    elif virtual and not holds_all(dtype, bound.dtype):
        raise DTypeError(
            f"{what}: {dtype} does not hold every value of {text}, which gives {bound.dtype}; a "
            "virtual column cannot check them",
            column=name,
        )
    return NewColumn(dtype, expression=text)
