"""Ways out of tables: pandas, polars, Arrow, NumPy.

What is read is decoded column by column, without making rows of it. The libraries are imported
when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kist.errors import SelectionError
from kist.extras import integration, need
from kist.model.frames.notes import PANDAS, get_note, get_zones
from kist.model.tables.stored.fields import Fields, named_fields

if TYPE_CHECKING:
    from kist.engine import View
    from kist.format.schema import Schema
    from kist.model.tables.stored.categories import Categories
    from kist.model.tables.stored.state import TableState
    from kist.model.tables.table import Table

__all__ = ["Exports", "Outgoing", "by_codes", "read_columns", "shaped"]

Array = np.ndarray[Any, Any]


class Outgoing(NamedTuple):
    """What one call reads, and what it belongs to.

    Attributes
    ----------
    state : TableState
        The table at one time.
    fields : Fields
        What is shown of it.
    pandas : dict
        Note for `to_pandas`.
    zones : dict
        Time zones by column.
    categories : dict of str to Categories
        Of the columns of which codes are read, see `by_codes`.
    """

    state: TableState
    fields: Fields
    pandas: dict[Any, Any]
    zones: dict[str, str]
    categories: dict[str, Categories] = {}  # noqa: RUF012 - never changed


def by_codes(out: Outgoing) -> Outgoing:
    """Return the same with codes to be read of categorical columns, and what these stand for."""
    schema = out.state.schema
    codes = {leaf.id: leaf for leaf in schema.stored}
    known: dict[str, Categories] = {}
    leaves, stored = [], []
    for leaf, kept in zip(out.fields.leaves, out.fields.stored, strict=True):
        if kept.codes is None:
            leaves.append(leaf)
            stored.append(kept)
        elif kept.path[0] not in known:
            column = schema.columns[kept.column]
            known[column.name] = out.state.categories(column)
            # What says which values are there is left out: the codes do.
            inner = len(kept.path) - 1
            path = leaf.path[: len(leaf.path) - inner]
            leaves.append(replace(codes[kept.codes], path=path))
            stored.append(replace(codes[kept.codes], path=kept.path[:1]))
    if not known:
        return out
    fields = replace(out.fields, leaves=tuple(leaves), stored=tuple(stored))
    return out._replace(fields=fields, categories=known)


def read_columns(source: Exports, state: TableState, fields: Fields) -> tuple[list[Array], int]:
    """Read all rows: one new array per leaf, shape ``(n_rows, *leaf.shape)``, and their number."""
    outs, n_rows = source._columns(state, fields)
    return shaped(outs, fields, n_rows), n_rows


def shaped(columns: Sequence[Array], fields: Fields, n_rows: int) -> list[Array]:
    """Return flat arrays, one per leaf, with the shape of the leaf."""
    return [
        column.reshape(n_rows, *leaf.shape)
        for column, leaf in zip(columns, fields.stored, strict=True)
    ]


class Exports:
    """Mixin of what holds rows of a table."""

    __slots__ = ()

    # The classes say what they show, and where its rows are.

    def _of(self) -> Table:
        raise TypeError(f"{type(self).__name__} belongs to no table")

    def _fields(self, schema: Schema) -> Fields:
        raise TypeError(f"{type(self).__name__} shows no fields")

    def _label(self) -> str:
        raise TypeError(f"{type(self).__name__} has no name")

    def _state(self, view: View | None = None) -> TableState:
        raise TypeError(f"{type(self).__name__} has no rows")

    def _array(self, state: TableState, fields: Fields) -> Array:
        """Return all rows as they are read by ``[:]``."""
        raise TypeError(f"{type(self).__name__} has no rows")

    def _columns(self, state: TableState, fields: Fields) -> tuple[list[Array], int]:
        """Return the values of all rows, one flat array per leaf, and the number of rows."""
        raise TypeError(f"{type(self).__name__} has no rows")

    def _column_blocks(
        self, state: TableState, fields: Fields, size: int
    ) -> Iterator[tuple[list[Array], int]]:
        """Yield the same in blocks of `size` rows."""
        raise TypeError(f"{type(self).__name__} has no rows")

    def _positions(self, state: TableState) -> Array | None:
        """Return the positions of the rows in the table; None when all are there."""
        return None

    def _is_part(self) -> bool:
        """Tell whether this is one column, perhaps with fields in it, rather than rows."""
        return False

    # What is asked for

    def _outgoing(self, view: View, columns: Sequence[str] | None) -> Outgoing:
        state = self._state(view)
        fields = self._fields(state.schema)
        note = get_note(view, state.node, PANDAS)
        if columns is not None:
            if isinstance(columns, str) or self._is_part():
                more = "" if isinstance(columns, str) else "; this is one column"
                raise SelectionError(f"{self._label()}: columns= is a list of names{more}")
            fields = self._narrow(state, fields, list(columns))
        return Outgoing(state, fields, note, get_zones(view, state.node))

    def _narrow(self, state: TableState, fields: Fields, columns: list[str]) -> Fields:
        narrowed = named_fields(state.schema, columns)
        shown = fields.dtype.names or ()
        for name in columns:
            if name not in shown and name.split(".")[0] not in shown:
                raise SelectionError(f"{self._label()} shows no column {name!r}")
        return narrowed

    def to_pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a DataFrame, or one column as a Series.

        A table that was made from a DataFrame gives an equal one: index, labels, column order,
        dtypes and time zones. The rows of a selection keep their labels.

        Parameters
        ----------
        columns : list of str, optional
            Only these, in this order; the index comes along.

        Raises
        ------
        ImportError
            pandas is missing.
        ColumnNotFoundError
            There is no such column.

        Examples
        --------
        >>> import kist, pandas as pd
        >>> frame = pd.DataFrame({"price": [1.5, 2.5, 3.5]}, index=["a", "b", "c"])
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = frame
        ...     store["t"].to_pandas().equals(frame), store["t"].where("price > 2").to_pandas()
        (True,    price
        b    2.5
        c    3.5)
        """
        need("pandas", "pandas", "to_pandas")
        from kist.model.frames.pandas_out import to_pandas

        with self._of()._hold() as view:
            return to_pandas(self, view, columns)

    def to_dask(self, columns: Sequence[str] | None = None, *, rows: int | None = None) -> Any:
        """Return the rows as a Dask DataFrame, which workers read part by part.

        It shows the commit of now, which stays readable as long as the graph lives: by a tag where
        the file can be written, else by a pin of this process. Columns that a computation does not
        use are not read, nor are parts in which no row of the condition can be. As elsewhere in
        Dask, labels that count rows are not unique: they may begin anew with each part.

        Parameters
        ----------
        columns : list of str, optional
            Only these.
        rows : int, optional
            Of a part, at most; about a million by default. Parts end where row groups end.

        Raises
        ------
        ImportError
            Dask is missing.
        SelectionError
            The rows are sorted, limited or the like.
        TransactionError
            The store is in memory: workers could not see it.
        """
        return integration("dask").table_to_dask(self, columns, rows)

    def to_polars(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a polars DataFrame, or one column as a polars Series.

        Parameters
        ----------
        columns : list of str, optional
            Only these, in this order.

        Raises
        ------
        ImportError
            polars or pyarrow is missing.
        DTypeError
            A column has a dtype that Arrow lacks, such as complex numbers.
        """
        polars = need("polars", "polars", "to_polars")
        need("pyarrow", "polars", "to_polars")
        found = polars.from_arrow(self.to_arrow(columns))
        with self._of()._hold() as view:
            categories = by_codes(self._outgoing(view, columns)).categories
        fixed = {
            name: polars.Enum(known.values.tolist())
            for name, known in categories.items()
            if known.sort.fixed
        }
        if not fixed:
            return found
        return found.cast(next(iter(fixed.values())) if self._is_part() else fixed)

    def to_arrow(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a pyarrow Table, or one column as a ChunkedArray.

        Numbers and times stand in the memory into which they were decoded. NaT and missing
        strings are nulls; ``S`` is binary, ``U`` utf8, `StringDType` large_utf8.

        Parameters
        ----------
        columns : list of str, optional
            Only these, in this order.

        Raises
        ------
        ImportError
            pyarrow is missing.
        DTypeError
            A column has a dtype that Arrow lacks, such as complex numbers.
        """
        pa = need("pyarrow", "arrow", "to_arrow")
        from kist.model.frames.arrow_out import record_batches

        with self._of()._hold() as view:
            schema, batches = record_batches(self, view, columns)
            table = pa.Table.from_batches(batches, schema)
            if self._is_part():
                return table.column(0) if table.num_columns == 1 else table
            return table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return a stream of record batches, as the Arrow PyCapsule interface asks for it.

        The rows are those of now; they are decoded as the stream is read, a row group at a time.
        A single column is a stream of one column.
        """
        from kist.model.frames.arrow_out import to_reader

        reader = to_reader(self, self._of()._hold())
        return reader.__arrow_c_stream__(requested_schema)

    def to_numpy(self) -> Array:
        """Return all rows in one new array, structured unless this is one column."""
        with self._of()._hold() as view:
            state = self._state(view)
            fields = self._fields(state.schema)
            return self._array(state, fields)
