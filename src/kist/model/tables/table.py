"""Tables: rows of named fields, stored by column.

`Table` is what users hold; `create_table` fills a node that the group has just made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.format.node import NodeKind
from kist.format.schema import Schema
from kist.model import completing, frames, tables
from kist.model.later import note_append
from kist.model.node import Node
from kist.model.tables.altering import Altering
from kist.model.tables.base import read_only
from kist.model.tables.changing import Changing
from kist.model.tables.indexed import Indexed
from kist.model.tables.queries import Queries
from kist.model.tables.secrets import Secrets
from kist.query import Operators

if TYPE_CHECKING:
    from kist.engine import Transaction, View
    from kist.model.frames.incoming import Target
    from kist.model.info import Info
    from kist.model.tables.appender import Appender
    from kist.model.tables.changes.few import End
    from kist.model.tables.input.encrypt import Encrypt
    from kist.model.tables.query.steps import Step
    from kist.model.tables.row import Row
    from kist.model.tables.selection import Selection
    from kist.model.tables.stored.batch import Rows
    from kist.model.tables.stored.fields import Fields

__all__ = ["Table", "create_table"]

Array = np.ndarray[Any, Any]


def create_table(
    table: Table,
    txn: Transaction,
    data: Any = None,
    *,
    dtype: Any = None,
    fill_value: Mapping[str, Any] | None = None,
    codec: str | Mapping[str, str] = "auto",
    encrypt: Encrypt | None = None,
) -> None:
    """Put schema and rows of a table whose node was made in this transaction.

    Parameters
    ----------
    table : Table
        Handle of the new node.
    txn : Transaction
        Open; the caller commits, or rolls back when this raises.
    data, dtype, fill_value, codec
        As for `Group.create_table`.
    encrypt : Encrypt, optional
        Which columns are sealed.
    """
    what = f"create {table._path!r}"
    given = data
    data = frames.incoming.adopt(
        data, what, None if dtype is None else partial(_target_of, dtype, what)
    )
    schema, blocks = tables.input.values.schema_for(data, dtype, fill_value, codec, table._path)
    tables.changes.column_checks.check_names(schema, what)
    locks = None
    if encrypt is not None:
        schema, locks = tables.changes.secrets.new_locks(table, schema, encrypt, what)
    tables.input.values.refuse_in_clear(given, schema, what)
    for column in tables.stored.schema.facts_of(schema).categorical:
        opened = None if locks is None else tables.changes.secrets.opened_by(txn, locks, column)
        tables.stored.categories.put_new_categories(txn, table._id, column, opened)
    if isinstance(data, frames.incoming.Incoming):
        frames.notes.put_notes(txn, table._id, data.notes)
    tables.changes.write.put_table_of(txn, table._id, table._path, schema, blocks, locks)


def _target_of(dtype: Any, what: str) -> Target:
    """Return what frames are matched to where the user says which dtype a row has."""
    return frames.incoming.Target(
        tuple(tables.input.dtype.dtype_by_name(tables.input.dtype.row_dtype(dtype, what)))
    )


class Table(Altering, Indexed, Queries, Changing, Secrets, Node):
    """A table: rows of named fields, kept in the order in which they were appended.

    Rows are indexed as in NumPy. A name gives a `Column`, a list of names `Columns`, a condition
    a `Selection`, all of them lazy. Structured results are read-only copies: assign to the table
    to change it.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["t"] = np.array([(1, 2.5), (2, 3.5)], [("a", "i4"), ("b", "f8")])
    ...     t = store["t"]
    ...     t.append((3, 4.5)), t.append([(4, 5.5), (5, 6.5)])
    ...     t[0] = (10, 0.5)
    ...     t["b"][1:3] = 0.25
    ...     t.delete(3)
    ...     t[:]
    (1, 2)
    1
    array([(10, 0.5 ), ( 2, 0.25), ( 3, 0.25), ( 5, 6.5 )],
          dtype=[('a', '<i4'), ('b', '<f8')])
    """

    kind = "table"
    _kind = NodeKind.TABLE

    def _of(self) -> Table:
        return self

    def _fields(self, schema: Schema) -> Fields:
        return tables.stored.fields.all_fields(schema)

    def _label(self) -> str:
        return repr(self._path)

    # About the table

    @property
    def colnames(self) -> tuple[str, ...]:
        """Names of the columns; PyTables' name for `columns`."""
        return self.columns

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self._state().schema.columns)

    def keys(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.columns

    @property
    def nbytes_stored(self) -> int:
        """Bytes that the rows take in the file."""
        state = self._state()
        return tables.show.stored_bytes(state, state.schema.leaves)

    @property
    def ratio(self) -> float:
        """Bytes in memory by bytes in the file."""
        return self.nbytes / max(1, self.nbytes_stored)

    @property
    def info(self) -> Info:
        """What is known about the table, and dtype, encoding and size of each column."""
        return tables.show.table_info(self)

    def _listing(self, view: View) -> dict[str, Any]:
        state = self._state(view)
        return {"rows": state.n_rows, "columns": len(state.schema.columns)}

    def _words(self, listing: Mapping[str, Any]) -> str:
        n = listing["rows"]
        return f"table of {n:,} row{'' if n == 1 else 's'} x {listing['columns']} columns"

    def _check_records(self, view: View) -> Iterator[str]:
        """Yield what is wrong in the records of the table."""
        yield from tables.check.check_records(self._state(view))

    def _check_notes(self, view: View) -> Iterator[str]:
        """Yield which sealed columns could not be looked into."""
        state = self._state(view)
        return tables.check.unchecked(state) if state.schema.sealed else iter(())

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a column of that name."""
        if not isinstance(name, str):
            raise TypeError("`in` looks for the name of a column; use where() to look for rows")
        dtype = self._state().schema.dtype
        return name in (dtype.fields or {})

    # Reading

    def __getitem__(self, index: Any) -> Any:
        """Return rows, a column by name, columns by a list of names, or a selection.

        Raises
        ------
        SelectionError
            A row is out of range, a mask has another length, or the index is none.
        ColumnNotFoundError
            There is no such column.
        QueryError
            The condition does not fit the columns.
        """
        if isinstance(index, str):
            schema = self._state().schema
            path = tables.stored.fields.parse_path(schema, index)
            tables.stored.fields.field_at(schema, path)
            return tables.column.Column(self, path)
        if isinstance(index, list) and index and all(isinstance(name, str) for name in index):
            tables.stored.fields.named_fields(self._state().schema, index)
            return tables.column.Columns(self, index)
        if isinstance(index, Operators):
            return self.where(index)
        return read_only(self._read(index))[()]

    def blocks(self, n_rows: int | None = None) -> Iterator[Array]:
        """Iterate over structured arrays of `n_rows` rows, the last one shorter.

        All come from the state that the table had at the first block. Without `n_rows` a block
        has 65,536 rows, or fewer when those take more than 32 MiB.
        """
        return (read_only(block) for block in self._blocks(n_rows))

    def __iter__(self) -> Iterator[Row]:
        return tables.row_loop.iter_rows(self)

    def _then(self, *steps: Step) -> Selection:
        return tables.selection.Selection(self, steps)

    def _shown(self) -> list[str]:
        return list(self.columns)

    # Changing

    def append(self, data: Any) -> int:
        """Add rows at the end, and return their number.

        Parameters
        ----------
        data
            A tuple, a dict of scalars or an `np.void` is one row. A structured array, a list of
            rows, a dict of columns, a DataFrame, an Arrow table or an iterator of rows or of
            structured arrays are several; an iterator is read in blocks, and may fill the same
            arrays again for the next one. Fields are matched by name, tuples by position.

        Raises
        ------
        DTypeError
            A field is missing or unknown, or a value would lose something; nothing is added.
        """
        left = self._left
        end: End | None = left[1]
        few = None if end is None else end.taken(data)
        if end and few is not None and self._at_once(left, partial(end.append, piece=few)):
            return few[0]
        step = self._write()
        with step as txn:
            if step.is_inside:
                note_append(txn, self._id)
            end = step.left
            if end is None:
                state = self._state(txn)
                end = tables.changes.few.end_of(state)
            few = None if end is None else end.taken(data, txn.cheap_room())
            if end is not None and few is not None:
                step.leaves = end.append(txn, few)
                return few[0]
            state = self._state(txn)
            what = f"append to {self._path!r}"
            tables.input.values.refuse_in_clear(data, state.schema, what)
            rows = frames.incoming.adopt(
                data,
                what,
                partial(frames.incoming.Target.of, txn, self._id, state.schema),
            )
            return tables.changes.write.append_blocks(
                txn, state, tables.input.values.blocks_of(rows, state.schema, self._path)
            )

    def _append_array(self, rows: Rows) -> int:
        """Append rows of exactly the dtype in which rows are given."""
        step = self._write()
        with step as txn:
            if step.is_inside:
                note_append(txn, self._id)
            return tables.changes.write.append_blocks(txn, self._state(txn), (rows,))

    def appender(
        self, rows: int = 10_000, seconds: float = 1.0, *, timer: bool = False
    ) -> Appender:
        """Return a context manager that takes rows one by one and commits them in batches.

        Parameters
        ----------
        rows : int
            Commit when so many rows wait.
        seconds : float
            Commit when a row comes and the first that waits has waited for so long.
        timer : bool
            Let a thread look at the time, for rows that come slowly.
        """
        return tables.appender.Appender(self, rows, seconds, timer)

    def __repr__(self) -> str:
        return tables.repr.table_repr(self)

    def _repr_html_(self) -> str:
        return tables.repr.table_html(self)

    def _ipython_key_completions_(self) -> list[str]:
        return completing.completions(lambda: completing.column_names(self.dtype))
