"""What tables, columns and groups of columns have in common: rows that can be read and assigned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from kist import options
from kist.errors import DTypeError, ShapeError, TooLargeError
from kist.format.nullable import is_masked_array
from kist.format.schema import Schema
from kist.model.damage import check_errors, warn_of_damage
from kist.model.frames.exports import Exports
from kist.model.positions import Positions, as_positions
from kist.model.tables import changes, input, query
from kist.model.tables.stored.batch import Batch, Rows, values_of
from kist.model.tables.stored.fields import (
    Fields,
    assignable,
    block_rows,
    read_fields,
    read_spans,
    row_blocks,
)
from kist.model.tables.stored.read import Span, plan
from kist.model.tables.stored.state import TableState, state_of

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.tables.query.rowset import Part
    from kist.model.tables.table import Table

__all__ = ["RowSource", "read_only", "to_array"]

Array = np.ndarray[Any, Any]


def read_only(array: Array) -> Array:
    """Return the array, no longer writable: it is a copy, and writing to it would be lost."""
    array.flags.writeable = False
    return array


def to_array(array: Any, dtype: Any, copy: bool | None, what: str) -> Array:
    """Finish an ``__array__`` call as NumPy 2 asks for it."""
    if copy is False:
        raise ValueError(f"{what} cannot become an array without a copy")
    if not isinstance(array, np.ndarray):  # a Ragged
        cells: Array = array.__array__(dtype)
        return cells
    if is_masked_array(array):
        if np.ma.is_masked(array):
            raise DTypeError(
                f"{what} has nulls, which an array cannot hold; [:] gives a masked array"
            )
        array = array.data
    found: Array = array if dtype is None else array.astype(dtype, copy=False)
    return found


def _with_nulls(pairs: np.ma.MaskedArray[Any, Any]) -> np.ma.MaskedArray[Any, Any]:
    """Return what was read of a nullable column around damage, nulls masked too."""
    values: Array = pairs.data
    mask: Array = np.ma.getmaskarray(pairs)
    hidden = mask["value"] | mask["valid"] | ~values["valid"]
    return np.ma.MaskedArray(np.array(values["value"]), mask=hidden)


def scalar_of(values: Any) -> Any:
    """Return an array of no dimensions as a scalar, and whatever else as it is."""
    return values[()] if getattr(values, "ndim", None) == 0 else values


def check_load(nbytes: int, what: str) -> None:
    """Raise `TooLargeError` when so many bytes would be loaded without being asked for."""
    if nbytes > options.max_load:
        raise TooLargeError(
            f"{what} takes {nbytes:,} bytes, more than kist.options.max_load = "
            f"{options.max_load:,}; read it in slices or blocks(), or raise the limit"
        )


class RowSource(Exports):
    """Rows of a table, or part of them; reads from one snapshot at each call."""

    __slots__ = ()

    # Each class below says which table it belongs to, and which fields it shows.

    def _of(self) -> Table:
        raise TypeError(f"{type(self).__name__} belongs to no table")

    def _fields(self, schema: Schema) -> Fields:
        raise TypeError(f"{type(self).__name__} shows no fields")

    def _label(self) -> str:
        """Return how messages call it."""
        raise TypeError(f"{type(self).__name__} has no name")

    def _state(self, view: View | None = None) -> TableState:
        table = self._of()
        return state_of(table._view() if view is None else view, table._id, table._path)

    def _now(self) -> tuple[TableState, Fields]:
        state = self._state()
        return state, self._fields(state.schema)

    # Size

    def __len__(self) -> int:
        return self._state().n_rows

    @property
    def nrows(self) -> int:
        """Number of rows; PyTables' name for ``len``."""
        return len(self)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of one row."""
        return self._now()[1].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, then the shape of a sub-array field."""
        state, fields = self._now()
        return (state.n_rows, *fields.item_shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of items, as in NumPy."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def itemsize(self) -> int:
        """Bytes of one item in memory."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes that all rows take in memory."""
        state, fields = self._now()
        return state.n_rows * fields.row_nbytes

    # Reading

    def read(self, index: Any = slice(None), *, errors: Literal["raise", "mask"] = "raise") -> Any:
        """Read rows as ``[index]`` does, or around damage.

        Parameters
        ----------
        index : int, slice, sequence of int or of bool
            Which rows; all by default.
        errors : {"raise", "mask"}
            ``mask``: what stands in pages that are damaged is masked, and a `DamageWarning` says
            which rows of which columns. A page is a column of up to 65,536 rows.

        Returns
        -------
        ndarray, or MaskedArray
            With ``errors="mask"`` always the latter, of the same shape; zeros under the mask.

        Raises
        ------
        CorruptDataError
            Something is damaged; with ``mask``, something that is no page: `kist.salvage` goes on
            from there.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = np.array([(1, 2.5), (2, 3.5)], [("a", "i4"), ("b", "f8")])
        ...     store["t"]["a"].read(errors="mask").sum()
        np.int64(3)
        """
        if check_errors(errors) == "raise":
            values = self._read(index)
            return scalar_of(values if self._is_part() else read_only(values))
        from kist.model.tables.stored.masked import read_masked

        state, fields = self._now()
        found, told = read_masked(state, fields, as_positions(index, state.n_rows, self._label()))
        warn_of_damage(self._label(), told)
        return _with_nulls(found) if fields.is_nullable else found

    def _read(self, index: Any) -> Any:
        state, fields = self._now()
        positions = as_positions(index, state.n_rows, self._label())
        return fields.given(lambda part: read_fields(state, part, positions))

    def _blocks(self, n_rows: int | None) -> Iterator[Array]:
        # Checked here, not when the first block is asked for.
        rows = block_rows(self._state().schema, n_rows)

        def blocks() -> Iterator[Array]:
            with self._of()._hold() as view:
                state = self._state(view)
                fields = self._fields(state.schema)
                leaves = fields.stored if n_rows is None else None
                for some in row_blocks(state, rows, leaves):
                    spans = plan(state, some)
                    yield fields.given(partial(read_spans, state, spans=spans, n_rows=len(some)))

        return blocks()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        state, fields = self._now()
        check_load(state.n_rows * fields.row_nbytes, self._label())
        return to_array(self._array(state, fields), dtype, copy, self._label())

    def _array(self, state: TableState, fields: Fields) -> Array:
        spans, n = plan(state, range(state.n_rows)), state.n_rows
        found: Array = fields.given(lambda part: read_spans(state, part, spans, n))
        return found

    def _columns(self, state: TableState, fields: Fields) -> Part:
        return query.rowset.Ordered(state).columns(fields.stored)

    def _column_blocks(self, state: TableState, fields: Fields, size: int) -> Iterator[Part]:
        return query.rowset.Ordered(state).blocks(fields.stored, size)

    def _row_blocks(
        self, state: TableState, size: int
    ) -> Iterator[tuple[Sequence[Span], int, Sequence[int]]]:
        """Yield rows of the table, and in which order they come."""
        for rows in row_blocks(state, size, self._fields(state.schema).stored):
            yield plan(state, rows), len(rows), range(len(rows))

    def __bool__(self) -> bool:
        n_rows = len(self)
        if n_rows > 1:
            raise ShapeError(
                f"{self._label()} has {n_rows} rows and is neither true nor false; use len()"
            )
        return n_rows == 1

    # Changing

    def _assign(self, index: Any, values: Any) -> None:
        table = self._of()
        with table._write() as txn:
            state = self._state(txn)
            fields = assignable(state.schema, self._fields(state.schema))
            positions = as_positions(index, state.n_rows, self._label())
            n = len(positions.rows)
            if positions.is_single and fields.is_structured:
                shape = fields.item_shape
            else:
                shape = (*positions.shape, *fields.item_shape)
            array = input.values.as_values(values, state.schema, fields, shape, self._label())
            if not isinstance(array, Batch):
                array = array.reshape(n, *fields.item_shape)
            self._put(txn, fields, positions, array)

    def _put(self, txn: Transaction, fields: Fields, positions: Positions, values: Rows) -> None:
        rows, pick = _for_writing(positions)
        if pick is not None:
            values = values[pick]
        if fields.is_structured:
            columns = values_of(values, fields.leaves)
        else:
            columns = [cast(Array, values)]
        table = self._of()
        changes.change.assign_rows(txn, table._id, table._path, rows, fields.stored, columns)


def _for_writing(positions: Positions) -> tuple[range | Array, Array | slice | None]:
    """Return ascending rows, each once, and which of the values each gets: the last one given."""
    rows = positions.rows
    if isinstance(rows, range):
        return (rows, None) if rows.step > 0 else (rows[::-1], slice(None, None, -1))
    if len(rows) < 2 or bool((rows[1:] > rows[:-1]).all()):
        return rows, None
    unique, first = np.unique(rows[::-1], return_index=True)
    return unique, len(rows) - 1 - first
