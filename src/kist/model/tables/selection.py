"""Selections: rows of a table by condition, order or chance, found when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kist.errors import SelectionError, ShapeError
from kist.format.nullable import is_nullable
from kist.format.ragged import is_nullable_ragged
from kist.format.schema import Schema
from kist.model.completing import column_names, completions
from kist.model.frames.exports import Exports
from kist.model.positions import Positions, as_positions
from kist.model.tables.base import check_load, read_only, scalar_of, to_array
from kist.model.tables.changes.update import delete_found, is_expression, update_found
from kist.model.tables.queries import Queries
from kist.model.tables.query import aggregates
from kist.model.tables.query.aggregates import Values, values_of
from kist.model.tables.query.explain import Explanation, explain
from kist.model.tables.query.find import Found, cut
from kist.model.tables.query.operands import Operand, operand_of
from kist.model.tables.query.rowset import Ordered, Part, RowSet, joined, resized, span_batches
from kist.model.tables.query.steps import Apply, SortBy, Step, Where
from kist.model.tables.reductions import Reductions
from kist.model.tables.repr import selection_html, selection_repr
from kist.model.tables.row import Row
from kist.model.tables.row_loop import iter_rows
from kist.model.tables.stored.fields import (
    Fields,
    all_fields,
    block_rows,
    field_at,
    named_fields,
    parse_path,
    read_fields,
    read_spans,
)
from kist.model.tables.stored.read import Span, plan
from kist.model.tables.stored.state import TableState, state_of
from kist.model.tables.stored.weight import LooseBytes
from kist.query import Operators
from kist.query.expression import column

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.tables.table import Table

__all__ = ["Row", "Selection"]

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class Selection(Queries, Reductions, Exports):
    """Rows of a table by condition, order or chance, or one or some of their columns.

    Comes from ``table.where(...)``, ``table[table["a"] > 1]``, ``table.sort_by(...)`` and the like,
    and has the same methods itself: each returns a new selection of fewer rows, or of another
    order. Nothing is read until rows or numbers are asked for; each such call looks at the newest
    state that the table's handle sees, and at one state only.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["t"] = np.array([(1, 2.5), (2, 3.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
    ...     hits = store["t"].where("a > low", low=1)
    ...     hits.count(), hits["b"][:], hits["b"].mean(), hits.indices()
    ...     hits[["b"]].sort_by("b", descending=True).limit(1)[:]
    (2, array([3.5, 4.5]), np.float64(4.0), array([1, 2]))
    array([(4.5,)], dtype=[('b', '<f8')])
    """

    __slots__ = ("_bound", "_names", "_path", "_schema", "_steps", "_table")

    def __init__(
        self,
        table: Table,
        steps: Sequence[Step],
        *,
        path: tuple[str, ...] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self._table = table
        self._steps = tuple(steps)
        self._path = path
        self._names = None if names is None else tuple(names)
        self._schema: Schema | None = None
        self._bound: list[Apply] = []
        self._bind(self._state().schema)  # errors of the steps come now

    # What is meant

    def _state(self, view: View | None = None) -> TableState:
        table = self._table
        return state_of(table._view() if view is None else view, table._id, table._path)

    def _bind(self, schema: Schema) -> list[Apply]:
        if self._schema is not schema:
            self._bound = [step.bind(schema, self._table) for step in self._steps]
            self._schema = schema
        return self._bound

    def _rows(self, state: TableState) -> RowSet:
        """Return what the steps make of all rows of the table."""
        rows: RowSet = Ordered(state)
        for apply in self._bind(state.schema):
            rows = apply(rows)
        return rows

    def _fields(self, schema: Schema) -> Fields:
        if self._path is not None:
            return field_at(schema, self._path)
        return all_fields(schema) if self._names is None else named_fields(schema, self._names)

    def _label(self) -> str:
        what = "" if self._path is None else f"column {'.'.join(self._path)!r} of "
        return f"{what}{self._table._path!r} {self._plan()}".rstrip()

    def _plan(self) -> str:
        return ", ".join(step.text() for step in self._steps)

    def _of(self) -> Table:
        return self._table

    def _is_part(self) -> bool:
        return self._path is not None

    def _then(self, *steps: Step) -> Selection:
        every = (*self._steps, *steps)
        return Selection(self._table, every, path=self._path, names=self._names)

    def _shown(self) -> list[str]:
        return [".".join(path) for path in self._paths(self._state().schema)]

    def _all_params(self) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for step in self._steps:
            if isinstance(step, Where):
                params |= step.params
        return params

    def _operand(self, schema: Schema, what: Any) -> Operand:
        return operand_of(schema, what, self._table, self._all_params())

    @property
    def table(self) -> Table:
        """Table that the rows belong to."""
        return self._table

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of one row of what is read."""
        return self._fields(self._state().schema).dtype

    # Finding

    def count(self) -> int:
        """Return the number of rows; of one column the number of values that are not null.

        Reads only the columns of the conditions, and a column only where it can have nulls.
        """
        if self._path is not None and (self.dtype.kind == "T" or is_nullable(self.dtype)):
            return self._reduce(aggregates.count)
        if self._path is not None and is_nullable_ragged(self.dtype):
            return len(self.where(~column(self._path[0]).isnull()))
        return len(self)

    def __len__(self) -> int:
        with self._table._hold() as view:
            return self._rows(self._state(view)).count(keep=False)

    def __bool__(self) -> bool:
        raise ShapeError("a selection is neither true nor false; use count() or len()")

    def indices(self) -> Array:
        """Return the positions of the rows in the table, as int64, in the order of the rows."""
        with self._table._hold() as view:
            return self._positions(self._state(view))

    def _positions(self, state: TableState) -> Array:
        return self._rows(state).positions()

    def _found(self, state: TableState) -> Iterator[list[Found]]:
        """Find the rows, in the order of the table whatever that of the selection."""
        return self._ordered(state).found()

    def _ordered(self, state: TableState) -> Ordered:
        rows = self._rows(state)
        if isinstance(rows, Ordered):
            return rows
        return Ordered(state).pick(np.sort(rows.positions()))

    def explain(self) -> Explanation:
        """Return how the rows of the conditions are found: what is ruled out, and what is read.

        Steps from the first ``limit``, ``sample`` or ``distinct`` on are left out.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = np.array([(n % 7, n) for n in range(20_000)], "i4,i8")
        ...     print(store["t"].where("f1 > 20_000").explain())
        where f1 > 20_000
        groups: 0 of 1 scanned, 1 settled by statistics (1 without a match)
        reads: at most 0 pages, 0 bytes (0 B)
        """
        first = list(takewhile(lambda step: isinstance(step, Where | SortBy), self._steps))
        conditions = [step for step in first if isinstance(step, Where)]
        with self._table._hold() as view:
            state = self._state(view)
            bounds = [step.bound(state.schema, self._table) for step in conditions]
            keys = [
                key
                for step in reversed(first)
                if isinstance(step, SortBy)
                for key in step.bound(state.schema, self._table)
            ]
            return explain(state, bounds, ", ".join(step.text() for step in conditions), keys)

    # Reading

    def __getitem__(self, index: Any) -> Any:
        """Return rows by their place in the selection, or a selection of fewer columns or rows.

        Raises
        ------
        SelectionError
            There are not so many rows.
        ColumnNotFoundError
            There is no such column.
        """
        if isinstance(index, str):
            return self._with_path(index)
        if isinstance(index, list) and index and all(isinstance(name, str) for name in index):
            return self._with_names(index)
        if isinstance(index, Operators):
            return self.where(index)
        with self._table._hold() as view:
            return self._given(self._read(self._state(view), index))

    def _read(self, state: TableState, index: Any) -> Any:
        fields = self._fields(state.schema)
        rows = self._rows(state)
        if isinstance(index, slice) and index == slice(None):
            return _read_all(rows, fields)
        limit = _limit(index)
        if isinstance(rows, Ordered):
            spans, n = rows.spans(limit)
            positions = as_positions(index, n, self._label())
            wanted, back = positions.ascending()
            some = cut(spans, wanted)
            n = len(wanted)

            def read(part: Fields) -> Array:
                return shaped(read_spans(state, part, some, n)[back], part)

        else:
            places = (rows if limit is None else rows.cut(0, limit)).positions()
            positions = as_positions(index, len(places), self._label())
            at = places[np.asarray(positions.rows, np.int64)]

            def read(part: Fields) -> Array:
                return shaped(read_fields(state, part, Positions(at, at.shape)), part)

        def shaped(out: Array, part: Fields) -> Array:
            return out.reshape((*positions.shape, *part.item_shape))

        return fields.given(read)

    def _given(self, out: Array) -> Any:
        if self._path is None:
            out = read_only(out)
        return scalar_of(out)

    def _with_path(self, name: str) -> Selection:
        schema = self._state().schema
        base = () if self._path is None else self._path
        path = (*base, *name.split(".")) if base else parse_path(schema, name)
        field_at(schema, path)
        self._check_shown(path[0])
        return self._showing(path=path)

    def _with_names(self, names: list[str]) -> Selection:
        if self._path is not None:
            raise SelectionError(f"{self._label()} is one column; take its fields one by one")
        named_fields(self._state().schema, names)
        for name in names:
            self._check_shown(name.split(".")[0])
        return self._showing(names=tuple(names))

    def _showing(
        self, path: tuple[str, ...] | None = None, names: tuple[str, ...] | None = None
    ) -> Selection:
        """Return the same rows with other columns; the steps are bound already."""
        found = Selection.__new__(Selection)
        found._table, found._steps, found._path, found._names = (
            self._table,
            self._steps,
            path,
            names,
        )
        found._schema, found._bound = self._schema, self._bound
        return found

    def _check_shown(self, name: str) -> None:
        if self._names is not None and name not in {n.split(".")[0] for n in self._names}:
            raise SelectionError(f"{name!r} is not among {', '.join(self._names)}")

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
            rows = self._rows(state)
            blocks: Iterator[Array]
            if isinstance(rows, Ordered):
                weight = LooseBytes(state, fields.stored) if fewer else None
                batches = span_batches(rows.found(), size, weight)
                blocks = (_of_spans(state, fields, spans, n) for spans, n in batches)
            else:
                parts = resized(rows.parts(fields.stored), fields.stored, size)
                blocks = (_of_columns(fields, columns, n) for columns, n in parts)
            for block in blocks:
                yield block if self._path is not None else read_only(block)

    def __iter__(self) -> Iterator[Any]:
        if self._path is None:
            return iter_rows(self)
        return (value for block in self.blocks() for value in block)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        with self._table._hold() as view:
            state = self._state(view)
            fields = self._fields(state.schema)
            rows = self._rows(state)
            check_load(rows.count() * fields.row_nbytes, self._label())
            return to_array(_read_all(rows, fields), dtype, copy, self._label())

    def _array(self, state: TableState, fields: Fields) -> Array:
        return _read_all(self._rows(state), fields)

    def _columns(self, state: TableState, fields: Fields) -> Part:
        return self._rows(state).columns(fields.stored)

    def _column_blocks(self, state: TableState, fields: Fields, size: int) -> Iterator[Part]:
        rows = self._rows(state)
        if isinstance(rows, Ordered):
            return rows.blocks(fields.stored, size)
        return resized(rows.parts(fields.stored), fields.stored, size)

    def _row_blocks(
        self, state: TableState, size: int
    ) -> Iterator[tuple[Sequence[Span], int, Sequence[int]]]:
        rows = self._rows(state)
        if isinstance(rows, Ordered):
            weight = LooseBytes(state, self._fields(state.schema).stored)
            for spans, n in span_batches(rows.found(), size, weight):
                yield spans, n, range(n)
            return
        positions = rows.positions()
        for start in range(0, len(positions), size):
            some = positions[start : start + size]
            order = np.argsort(some)
            places = np.empty_like(order)
            places[order] = np.arange(len(some))
            yield plan(state, some[order]), len(some), places.tolist()

    # Numbers

    def _reduce(
        self, work: Callable[[Values], T], *, skipna: bool = False, by_place: bool = False
    ) -> T:
        if self._path is None:
            raise SelectionError(
                f'{self._label()} has several columns; take one, as in hits["size"].sum()'
            )
        with self._table._hold() as view:
            state = self._state(view)
            fields = self._fields(state.schema)
            rows = self._rows(state)
            return work(values_of(rows, state, fields, self._label(), skipna, by_place))

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
            rows = self._rows(state)
            if isinstance(rows, Ordered):
                found = rows.found()
            else:
                positions = rows.positions()
                order = np.argsort(positions)
                values = _reordered(values, order)
                found = Ordered(state).pick(positions[order]).found()
            return update_found(txn, table, state, found, values, {**self._all_params(), **params})

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._table, self._steps, self._path, self._names)

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
    steps: tuple[Step, ...],
    path: tuple[str, ...] | None,
    names: tuple[str, ...] | None,
) -> Selection:
    """Return a selection that was pickled; its table is that of the same commit."""
    return Selection(table, steps, path=path, names=names)


def _read_all(rows: RowSet, fields: Fields) -> Array:
    if isinstance(rows, Ordered):
        return _of_spans(rows.state, fields, *rows.spans())
    return _of_columns(fields, *rows.columns(fields.stored))


def _of_spans(state: TableState, fields: Fields, spans: Sequence[Span], n: int) -> Array:
    found: Array = fields.given(lambda part: read_spans(state, part, spans, n))
    return found


def _of_columns(fields: Fields, columns: Sequence[Array], n: int) -> Array:
    by_id = {leaf.id: column for leaf, column in zip(fields.stored, columns, strict=True)}
    found: Array = fields.given(
        lambda part: joined(part, [by_id[leaf.id] for leaf in part.stored], n)
    )
    return found


def _reordered(values: Any, order: Array) -> Any:
    """Return the values of an update in the order of the table, those that are one a row."""
    if not isinstance(values, Mapping) or len(order) < 2:
        return values
    out = {}
    for name, value in values.items():
        if isinstance(value, list) and len(value) == len(order):
            value = [value[at] for at in order.tolist()]
        elif not isinstance(value, str | bytes | tuple) and not is_expression(value):
            array = np.asarray(value) if hasattr(value, "__array__") else None
            if array is not None and array.ndim and len(array) == len(order):
                value = array[order]
        out[name] = value
    return out


def _limit(index: Any) -> int | None:
    """Return how many rows are enough for an index, None for all."""
    if isinstance(index, slice):
        parts = index.start, index.stop, index.step
        if not all(part is None or hasattr(part, "__index__") for part in parts):
            return None  # no slice at all: said where the hits are indexed
        if (index.step is None or index.step > 0) and (index.start or 0) >= 0:
            return index.stop if index.stop is not None and index.stop >= 0 else None
    elif isinstance(index, int | np.integer) and not isinstance(index, bool) and index >= 0:
        return int(index) + 1
    return None
