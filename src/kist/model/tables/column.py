"""Columns: one field of a table, or some of them, read without the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kist.errors import KistError, SelectionError, ShapeError
from kist.format.ragged import is_nullable_ragged, is_ragged
from kist.format.schema import Schema
from kist.model import completing, tables
from kist.model.attributes import Attributes
from kist.model.tables import changes, input
from kist.model.tables.base import RowSource, read_only, scalar_of
from kist.model.tables.queries import Queries
from kist.model.tables.reductions import Reductions
from kist.model.tables.row import Row
from kist.query import Operators
from kist.query.expression import column

if TYPE_CHECKING:
    from kist.model.info import Info
    from kist.model.tables.codes import Codes
    from kist.model.tables.query.aggregates import Values
    from kist.model.tables.query.steps import Step
    from kist.model.tables.selection import Selection
    from kist.model.tables.stored.fields import Fields
    from kist.model.tables.table import Table
    from kist.query import Expr

__all__ = ["Column", "Columns"]

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class Column(Queries, Reductions, Operators, RowSource):
    """One column of a table: read and assigned like a NumPy array, compared to build conditions.

    Comes from ``table["price"]``; ``table["n.a"]`` and ``table["n"]["a"]`` are field ``a`` of the
    structured column ``n``. Reading gives new, writable arrays.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["t"] = np.array([(1, 2.5), (2, 3.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
    ...     t = store["t"]
    ...     t["b"][1:], t["b"][-1], t[t["a"] > 1]["b"].sum()
    (array([3.5, 4.5]), np.float64(4.5), np.float64(8.0))
    """

    __slots__ = ("_path", "_table")

    def __init__(self, table: Table, path: tuple[str, ...]) -> None:
        self._table = table
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Column, (self._table, self._path)

    def _of(self) -> Table:
        return self._table

    def _fields(self, schema: Schema) -> Fields:
        return tables.stored.fields.field_at(schema, self._path)

    def _is_part(self) -> bool:
        return True

    def _label(self) -> str:
        return f"column {self.name!r} of {self._table._path!r}"

    def __kist_expr__(self) -> Expr:
        from kist.query import column

        return column(self.name, self._table)

    @property
    def name(self) -> str:
        """Name of the column, with dots between the names of nested fields."""
        return ".".join(self._path)

    @property
    def table(self) -> Table:
        """Table that it belongs to."""
        return self._table

    @property
    def title(self) -> str | None:
        """NumPy's title of the field."""
        schema = self._state().schema
        return schema.columns[schema.index(self._path[0])].title if len(self._path) == 1 else None

    @property
    def attrs(self) -> Attributes:
        """Small named values that belong to the column."""
        schema = self._state().schema
        # 0 are the attributes of the table itself.
        return Attributes(self._table, schema.columns[schema.index(self._path[0])].id + 1)

    @property
    def fill_value(self) -> Any:
        """Value of new rows that do not give one; None where they must.

        Assigning changes it, for rows to come; ``del`` takes it away.
        """
        return self._state().facts.defaults.get(self.name)

    @fill_value.setter
    def fill_value(self, value: Any) -> None:
        changes.columns.set_default(self._table, self.name, value)

    @fill_value.deleter
    def fill_value(self) -> None:
        changes.columns.set_default(self._table, self.name, input.given.NOT_GIVEN)

    @property
    def expression(self) -> Expr | None:
        """What the column is computed from; None for columns that have values of their own.

        ``del`` makes a stored computed column an ordinary one, with the values that it has.
        """
        schema = self._state().schema
        text = schema.columns[schema.index(self._path[0])].expression
        from kist.query import expr

        return None if text is None else expr(text)

    @expression.deleter
    def expression(self) -> None:
        changes.columns.drop_expression(self._table, self.name)

    @property
    def is_virtual(self) -> bool:
        """Whether nothing is stored of the column: its expression is evaluated on each reading."""
        schema = self._state().schema
        return schema.columns[schema.index(self._path[0])].is_virtual

    @property
    def categories(self) -> Array:
        """The categories of the column, in the order of their codes, as a new array.

        Raises
        ------
        DTypeError
            The column has none.
        """
        return tables.codes.categories_of(self).values.copy()

    @property
    def codes(self) -> Codes:
        """The numbers under which the column is stored: places in `categories`, -1 for no value.

        Raises
        ------
        DTypeError
            The column has none.
        """
        tables.codes.categories_of(self)
        return tables.codes.Codes(self)

    @property
    def numbers(self) -> dict[str, int] | None:
        """The numbers of the names of an enumeration, None where it was made without."""
        found = tables.codes.categories_of(self).numbers
        return None if found is None else dict(found)

    def add_categories(self, categories: Iterable[Any]) -> None:
        """Add categories behind those that are there; the rows stay as they are.

        Columns of ordered categories need this, as they take no others; the new ones are the
        highest.

        Raises
        ------
        DTypeError
            One is there already, or the column is an enumeration.
        """
        tables.codes.add_categories(self, categories)

    def rename_categories(self, names: Mapping[Any, Any]) -> None:
        """Give categories other names; codes and rows stay as they are.

        Parameters
        ----------
        names : mapping
            Old category -> new one.

        Raises
        ------
        DTypeError
            There is no such category, or there is one of the new name.
        """
        tables.codes.rename_categories(self, names)

    @property
    def nbytes_stored(self) -> int:
        """Bytes that the column takes in the file; of small pieces its share by width."""
        state, fields = self._now()
        return tables.show.stored_bytes(state, fields.stored)

    @property
    def ratio(self) -> float:
        """Bytes in memory by bytes in the file."""
        return self.nbytes / max(1, self.nbytes_stored)

    @property
    def info(self) -> Info:
        """Dtype, encoding and sizes."""
        return tables.show.column_info(self)

    def is_same(self, other: object) -> bool:
        """Tell whether `other` is the same column of the same table."""
        return (
            isinstance(other, Column)
            and self._path == other._path
            and self._table.is_same(other._table)
        )

    def __getitem__(self, index: Any) -> Any:
        """Return values by row, as NumPy does, or a field of a structured column.

        Raises
        ------
        SelectionError
            A row is out of range, or the index is none.
        ColumnNotFoundError
            There is no such field.
        """
        if isinstance(index, str):
            path = (*self._path, *index.split("."))
            tables.stored.fields.field_at(self._state().schema, path)
            return Column(self._table, path)
        if isinstance(index, tuple) and len(index) > 1 and index[0] is not Ellipsis:
            rows, *rest = index  # further axes of sub-arrays
            first = self._read(rows)
            at = 0 if isinstance(rows, int | np.integer) else 1
            try:
                return first[(slice(None),) * at + tuple(rest)]
            except IndexError as error:
                raise SelectionError(f"column {self.name!r}: {error}") from None
        values = self._read(index)
        return scalar_of(values)

    def __setitem__(self, index: Any, values: Any) -> None:
        """Give rows of the column new values, cast by value; one value may stand for all.

        An index may be a condition: ``t["price"][t["size"] > 5] = 0``.

        Raises
        ------
        SelectionError
            A row is out of range, or the index is none.
        DTypeError
            A value would lose something.
        ShapeError
            The number of values does not fit.
        """
        if isinstance(index, str):
            self[index][:] = values
        elif isinstance(index, Operators):
            self._table[index].update({self.name: values})
        else:
            self._assign(index, values)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for block in self._blocks(None):
            yield from block

    def blocks(self, n_rows: int | None = None) -> Iterator[Array]:
        """Iterate over the values in arrays of `n_rows` rows, all of one snapshot."""
        return self._blocks(n_rows)

    def count(self) -> int:
        """Return the number of values that are not null; reads only what can have nulls."""
        dtype = self._now()[1].dtype
        if is_ragged(dtype):
            whole = is_nullable_ragged(dtype)
            return len(self.where(~column(self._path[0]).isnull()) if whole else self)
        return self._reduce(tables.query.aggregates.count)

    def _reduce(
        self, work: Callable[[Values], T], *, skipna: bool = False, by_place: bool = False
    ) -> T:
        with self._table._hold() as view:
            state = self._state(view)
            fields = self._fields(state.schema)
            rows = tables.query.rowset.Ordered(state)
            values = tables.query.aggregates.values_of(
                rows, state, fields, self._label(), skipna, by_place
            )
            return work(values)

    def _then(self, *steps: Step) -> Selection:
        from kist.model.tables.selection import Selection

        return Selection(self._table, steps, path=self._path)

    def _shown(self) -> list[str]:
        return [self.name]

    def __bool__(self) -> bool:  # type: ignore[override]
        return RowSource.__bool__(self)

    def __contains__(self, value: object) -> bool:  # type: ignore[override]
        try:
            return any(bool(np.any(block == value)) for block in self._blocks(None))
        except ValueError as error:  # as NumPy says of shapes; it may be one of kist as well
            if isinstance(error, KistError):
                raise
            raise ShapeError(f"column {self.name!r}: `in` looks for one value: {error}") from None

    def __repr__(self) -> str:
        return tables.repr.column_repr(self)

    def _repr_html_(self) -> str:
        return tables.repr.column_html(self)

    def _ipython_key_completions_(self) -> list[str]:
        return completing.completions(lambda: completing.column_names(self._now()[1].dtype))


class Columns(Queries, RowSource):
    """Some columns of a table, structured when read. Comes from ``table[["time", "price"]]``."""

    __slots__ = ("_names", "_table")

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._table = table
        self._names = tuple(names)

    @property
    def table(self) -> Table:
        """Table that they belong to."""
        return self._table

    def __reduce__(self) -> tuple[Any, ...]:
        return Columns, (self._table, self._names)

    def _of(self) -> Table:
        return self._table

    def _fields(self, schema: Schema) -> Fields:
        return tables.stored.fields.named_fields(schema, self._names)

    def _then(self, *steps: Step) -> Selection:
        from kist.model.tables.selection import Selection

        return Selection(self._table, steps, names=self._names)

    def _shown(self) -> list[str]:
        return list(self._names)

    def _label(self) -> str:
        return f"columns {', '.join(self._names)} of {self._table._path!r}"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in the order asked for."""
        return self._names

    def __getitem__(self, index: Any) -> Any:
        """Return rows of these columns, one of them by name, or fewer by a list of names."""
        if isinstance(index, str) or (
            isinstance(index, list) and index and all(isinstance(name, str) for name in index)
        ):
            names = [index] if isinstance(index, str) else index
            tables.stored.fields.named_fields(self._state().schema, names)
            missing = [name for name in names if name.split(".")[0] not in self._names]
            if missing:
                from kist.errors import ColumnNotFoundError

                raise ColumnNotFoundError(f"{missing[0]!r} is not among {', '.join(self._names)}")
            return self._table[index]
        return read_only(self._read(index))[()]

    def __setitem__(self, index: Any, values: Any) -> None:
        """Give rows new values in these columns; the others stay."""
        self._assign(index, values)

    def __iter__(self) -> Iterator[Row]:
        return tables.row_loop.iter_rows(self)

    def blocks(self, n_rows: int | None = None) -> Iterator[Array]:
        """Iterate over structured arrays of `n_rows` rows, all of one snapshot."""
        return (read_only(block) for block in self._blocks(n_rows))

    def __repr__(self) -> str:
        return tables.repr.columns_repr(self)

    def _repr_html_(self) -> str:
        return tables.repr.columns_html(self)

    def _ipython_key_completions_(self) -> list[str]:
        return completing.completions(lambda: completing.column_names(self._now()[1].dtype))
