"""Selections: the rows of a table where a condition holds, found when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import SelectionError, ShapeError
from kist.format.schema import Schema
from kist.model.completing import column_names, completions
from kist.model.frames.exports import Exports
from kist.model.positions import as_positions
from kist.model.tables import aggregates
from kist.model.tables.base import check_load, read_only, to_array
from kist.model.tables.fields import (
    Fields,
    all_fields,
    block_rows,
    field_at,
    named_fields,
    parse_path,
    read_spans,
)
from kist.model.tables.query import (
    Found,
    check_sources,
    cut,
    find_rows,
    positions_of,
    spans_of,
)
from kist.model.tables.read import Span
from kist.model.tables.repr import selection_html, selection_repr
from kist.model.tables.row import Row
from kist.model.tables.row_loop import iter_rows
from kist.model.tables.schema import FULL_TIER, facts_of
from kist.model.tables.state import TableState, state_of
from kist.model.tables.update import delete_found, update_found
from kist.query import Bound, Expr, parse

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.tables.table import Table

__all__ = ["Row", "Selection"]

Array = np.ndarray[Any, Any]


class Selection(Exports):
    """Rows of a table where a condition holds, or one or some of their columns.

    Comes from ``table.where(...)`` or ``table[table["a"] > 1]``. Nothing is read until rows or
    numbers are asked for; each such call looks at the newest state that the table's handle sees,
    and at one state only.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["t"] = np.array([(1, 2.5), (2, 3.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
    ...     hits = store["t"].where("a > low", low=1)
    ...     hits.count(), hits["b"][:], hits["b"].mean(), hits.indices()
    (2, array([3.5, 4.5]), np.float64(4.0), array([1, 2]))
    """

    __slots__ = ("_bound", "_condition", "_names", "_params", "_path", "_schema", "_table")

    def __init__(
        self,
        table: Table,
        condition: str | Expr,
        params: Mapping[str, Any],
        *,
        path: tuple[str, ...] | None = None,
        names: Sequence[str] | None = None,
        bound: tuple[Schema, Bound] | None = None,
    ) -> None:
        self._table = table
        self._condition = condition
        self._params = dict(params)
        self._path = path
        self._names = None if names is None else tuple(names)
        self._schema: Schema | None = None
        self._bound: Bound | None = None
        if bound is not None:
            self._schema, self._bound = bound
        else:
            if not isinstance(condition, str):
                check_sources(condition, table)
            self._bind(self._state().schema)  # errors of the condition come now

    # What is meant

    def _state(self, view: View | None = None) -> TableState:
        table = self._table
        return state_of(table._view() if view is None else view, table._id, table._path)

    def _bind(self, schema: Schema) -> Bound:
        if self._bound is None or self._schema is not schema:
            self._bound = parse(self._condition, facts_of(schema).columns, self._params)
            self._schema = schema
        return self._bound

    def _fields(self, schema: Schema) -> Fields:
        if self._path is not None:
            return field_at(schema, self._path)
        return all_fields(schema) if self._names is None else named_fields(schema, self._names)

    def _label(self) -> str:
        what = "" if self._path is None else f"column {'.'.join(self._path)!r} of "
        return f"{what}{self._table._path!r} where {self._condition_text()}"

    def _of(self) -> Table:
        return self._table

    def _is_part(self) -> bool:
        return self._path is not None

    def _condition_text(self) -> str:
        return self._condition if isinstance(self._condition, str) else repr(self._condition)

    @property
    def table(self) -> Table:
        """Table that the rows belong to."""
        return self._table

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of one row of what is read."""
        return self._fields(self._state().schema).dtype

    # Finding

    def _found(self, state: TableState, limit: int | None = None) -> Iterator[list[Found]]:
        return find_rows(state, self._bind(state.schema), limit)

    def _spans(self, state: TableState, limit: int | None = None) -> tuple[list[Span], int]:
        return spans_of(self._found(state, limit))

    def count(self) -> int:
        """Return the number of rows; reads only the columns of the condition."""
        return self._spans(self._state())[1]

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:
        raise ShapeError("a selection is neither true nor false; use count() or len()")

    def indices(self) -> Array:
        """Return the positions of the rows in the table, ascending, as int64."""
        return self._indices(self._state())

    def _indices(self, state: TableState) -> Array:
        parts = [positions_of(state, found) for some in self._found(state) for found in some]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    # Reading

    def __getitem__(self, index: Any) -> Any:
        """Return rows by their place among the hits, or a selection of fewer columns.

        Raises
        ------
        SelectionError
            There are not so many hits.
        ColumnNotFoundError
            There is no such column.
        """
        if isinstance(index, str):
            return self._with_path(index)
        if isinstance(index, list) and index and all(isinstance(name, str) for name in index):
            return self._with_names(index)
        state = self._state()
        fields = self._fields(state.schema)
        spans, n = self._spans(state, _limit(index))
        positions = as_positions(index, n, self._label())
        rows, back = positions.ascending()
        out = read_spans(state, fields, cut(spans, rows), len(rows))
        out = out.take(back, axis=0) if not isinstance(back, slice) else out[back]
        out = out.reshape((*positions.shape, *fields.item_shape))
        return self._given(out)

    def _given(self, out: Array) -> Any:
        if self._path is None:
            out = read_only(out)
        return out[()] if out.ndim == 0 else out

    def _with_path(self, name: str) -> Selection:
        schema = self._state().schema
        base = () if self._path is None else self._path
        path = (*base, *name.split(".")) if base else parse_path(schema, name)
        field_at(schema, path)
        self._check_shown(path[0])
        return self._narrowed(path=path)

    def _with_names(self, names: list[str]) -> Selection:
        if self._path is not None:
            raise SelectionError(f"{self._label()} is one column; take its fields one by one")
        named_fields(self._state().schema, names)
        for name in names:
            self._check_shown(name.split(".")[0])
        return self._narrowed(names=names)

    def _check_shown(self, name: str) -> None:
        if self._names is not None and name not in {n.split(".")[0] for n in self._names}:
            raise SelectionError(f"{name!r} is not among {', '.join(self._names)}")

    def _narrowed(self, **shown: Any) -> Selection:
        assert self._schema is not None and self._bound is not None
        bound = self._schema, self._bound
        return Selection(self._table, self._condition, self._params, bound=bound, **shown)

    def blocks(self, n_rows: int | None = None) -> Iterator[Array]:
        """Iterate over the rows in arrays of `n_rows` rows, the last one shorter.

        All come from the state that the table had at the first block.
        """
        size = block_rows(self._state().schema, n_rows)
        return self._iter_blocks(size, fewer=n_rows is None)

    def _iter_blocks(self, size: int, *, fewer: bool) -> Iterator[Array]:
        with self._table._hold() as view:
            state = self._state(view)
            fields = self._fields(state.schema)
            for spans in _batches(self._found(state), size, fewer=fewer):
                out = read_spans(state, fields, spans, spans[-1].at + spans[-1].n)
                yield out if self._path is not None else read_only(out)

    def __iter__(self) -> Iterator[Any]:
        if self._path is None:
            return iter_rows(self)
        return (value for block in self.blocks() for value in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        state = self._state()
        fields = self._fields(state.schema)
        spans, n = self._spans(state)
        check_load(n * fields.row_nbytes, self._label())
        return to_array(read_spans(state, fields, spans, n), dtype, copy, self._label())

    def _all_spans(self, state: TableState) -> tuple[Sequence[Span], int]:
        return self._spans(state)

    def _span_blocks(self, state: TableState, size: int) -> Iterator[tuple[Sequence[Span], int]]:
        for spans in _batches(self._found(state), size, fewer=True):
            yield spans, spans[-1].at + spans[-1].n

    def _positions(self, state: TableState) -> Array:
        return self._indices(state)

    # Numbers

    def sum(self) -> Any:
        """Return the sum of the column, of NumPy's dtype for it; 0 when there is no row."""
        return aggregates.total(self._values())

    def mean(self) -> Any:
        """Return the mean of the column; nan when there is no row."""
        return aggregates.mean(self._values())

    def min(self) -> Any:
        """Return the smallest value; raises `ValueError` when there is no row."""
        return aggregates.smallest(self._values())

    def max(self) -> Any:
        """Return the largest value; raises `ValueError` when there is no row."""
        return aggregates.largest(self._values())

    def _values(self) -> tuple[np.dtype[Any], str, Iterator[Array]]:
        if self._path is None:
            raise SelectionError(
                f'{self._label()} has several columns; take one, as in hits["size"].sum()'
            )
        fields = self._fields(self._state().schema)
        return fields.dtype, self._label(), self.blocks()

    # Changing

    def delete(self) -> int:
        """Delete the rows; return their number. A column of the selection makes no difference."""
        table = self._table
        with table._write() as txn:
            state = self._state(txn)
            return delete_found(txn, state, self._found(state))

    def update(self, values: Mapping[str, Any], /, **params: Any) -> int:
        """Give the rows new values in some columns; return the number of rows.

        Parameters
        ----------
        values : mapping of str to value
            Column -> one value for all rows, an array with one value a row, or an expression
            from `kist.expr`, computed from the values before the update. A str is a value.
        **params
            Values of names in those expressions that are not columns, beside the parameters of
            the condition.

        Raises
        ------
        DTypeError
            A value would lose something; nothing is changed.
        ShapeError
            There is neither one value nor one for each row; nothing is changed.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = np.array([(1, 2.5), (2, 3.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
        ...     store["t"].where("a > 1").update({"a": 0, "b": kist.expr("b * k")}, k=2)
        ...     store["t"]["b"][:]
        2
        array([2.5, 7. , 9. ])
        """
        table = self._table
        with table._write() as txn:
            state = self._state(txn)
            found = self._found(state)
            return update_found(txn, table, state, found, values, {**self._params, **params})

    def __reduce__(self) -> tuple[Any, ...]:
        shown = self._path, self._names
        return _again, (self._table, self._condition, self._params, *shown)

    def __repr__(self) -> str:
        return selection_repr(self)

    def _repr_html_(self) -> str:
        return selection_html(self)

    def _paths(self, schema: Schema) -> list[tuple[str, ...]]:
        """Return the names that lead to each column shown."""
        if self._path is not None:
            return [self._path]
        if self._names is not None:
            return [parse_path(schema, name) for name in self._names]
        return [(column.name,) for column in schema.columns]

    def _ipython_key_completions_(self) -> list[str]:
        return completions(lambda: column_names(self._fields(self._state().schema).dtype))


def _again(
    table: Table,
    condition: str | Expr,
    params: Mapping[str, Any],
    path: tuple[str, ...] | None,
    names: tuple[str, ...] | None,
) -> Selection:
    """Return a selection that was pickled; its table is that of the same commit."""
    return Selection(table, condition, params, path=path, names=names)


def _limit(index: Any) -> int | None:
    """Return how many hits are enough for an index, None for all."""
    if isinstance(index, slice):
        parts = index.start, index.stop, index.step
        if not all(part is None or hasattr(part, "__index__") for part in parts):
            return None  # no slice at all: said where the hits are indexed
        if (index.step is None or index.step > 0) and (index.start or 0) >= 0:
            return index.stop if index.stop is not None and index.stop >= 0 else None
    elif isinstance(index, int | np.integer) and not isinstance(index, bool) and index >= 0:
        return int(index) + 1
    return None


def _batches(found: Iterator[list[Found]], size: int, *, fewer: bool) -> Iterator[list[Span]]:
    """Cut what is found into runs of `size` rows, or of fewer where strings are long."""
    spans: list[Span] = []
    n = 0
    for some in found:
        for hit in some:
            low = 0
            while low < len(hit.ordinals):
                take = min(len(hit.ordinals) - low, size - n)
                spans.append(Span(hit.group, hit.ordinals[low : low + take], n))
                n, low = n + take, low + take
                long = fewer and hit.group.record.tier == FULL_TIER
                if n == size or (long and low == len(hit.ordinals)):
                    yield spans
                    spans, n = [], 0
    if spans:
        yield spans
