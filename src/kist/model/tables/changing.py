"""What tables offer for changing their rows: by position, by condition, by key.

`Changing` is the part of `Table` that does so; `append` stands with the table itself. Each call
is one step: a commit of its own, or part of the caller's transaction, and nothing when it raises.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import ColumnNotFoundError, SelectionError
from kist.model import frames
from kist.model.positions import as_positions
from kist.model.tables import changes, query
from kist.model.tables.base import RowSource
from kist.model.tables.stored.state import TableState
from kist.query import Operators

if TYPE_CHECKING:
    from kist.model.tables.changes.upsert import Upserted
    from kist.query import Expr

__all__ = ["Changing"]


class Changing(RowSource):
    """Rows of a table, to be changed in place."""

    __slots__ = ()

    _id: int
    _path: str

    def update(
        self, values: Mapping[str, Any], params: Mapping[str, Any] | None = None, /, **more: Any
    ) -> int:
        """Give all rows new values in some columns; return the number of rows.

        Parameters
        ----------
        values : mapping of str to value
            Column -> one value for all rows, an array with one value a row, or an expression
            from `kist.expr`, computed from the values before the update. A str is a value.
        params, **more
            Values of names in those expressions that are not columns.

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
        ...     store["t"] = np.array([(1, 2.5), (2, 3.5)], [("a", "i4"), ("b", "f8")])
        ...     store["t"].update({"a": 7, "b": kist.expr("a * b")})
        ...     store["t"][:]
        2
        array([(7, 2.5), (7, 7. )], dtype=[('a', '<i4'), ('b', '<f8')])
        """
        table = self._of()
        with table._write() as txn:
            state = self._state(txn)
            given = {**(params or {}), **more}
            return changes.update.update_found(
                txn, table, state, changes.update.all_found(state), values, given
            )

    def delete(self, index: Any) -> int:
        """Delete rows by position or condition, and return their number; later rows move up.

        Raises
        ------
        SelectionError
            A row is out of range, or the index is none. Nothing is deleted.
        """
        if isinstance(index, Operators):
            found: int = self._of()[index].delete()
            return found
        with self._of()._write() as txn:
            state = self._state(txn)
            rows, _ = as_positions(index, state.n_rows, self._label()).ascending()
            return changes.change.delete_rows(txn, self._id, self._path, rows)

    def insert(self, position: int, data: Any) -> int:
        """Put rows in front of the row at a position, and return their number.

        The rows behind are written anew, as if they were deleted and appended: that takes as
        long as appending them does. At the end it is `append`.

        Parameters
        ----------
        position : int
            From 0 to the number of rows; negative ones count from the end.
        data
            Rows, as `append` takes them.

        Raises
        ------
        SelectionError
            The position is out of range.
        DTypeError
            A field is missing or unknown, or a value would lose something; nothing is changed.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = np.array([(1, 2.5), (2, 3.5)], [("a", "i4"), ("b", "f8")])
        ...     store["t"].insert(1, [(7, 0.5), (8, 1.5)])
        ...     store["t"]["a"][:]
        2
        array([1, 7, 8, 2], dtype=int32)
        """
        with self._of()._write() as txn:
            state = self._state(txn)
            at = _position(position, state.n_rows, self._label())
            return changes.insert.insert_rows(txn, self._of(), state, at, data)

    def upsert(self, data: Any, on: str | Sequence[str]) -> Upserted:
        """Update the rows that have the key of a row that is given, and append the other ones.

        Rows count as given one after the other: of several with one key the last one stays. Where
        several rows of the table have the key, all are updated. Columns that the data do
        not bring keep their values in rows that are there; in new ones they take the `fill_value`.

        Parameters
        ----------
        data
            Rows, as `append` takes them.
        on : str or sequence of str
            The key: one column, or several together. NaN and NaT are equal to themselves here.

        Returns
        -------
        Upserted
            ``(n_updated, n_appended)``: rows of the table that had one of the keys, and new rows.

        Raises
        ------
        DTypeError
            A value would lose something, a field is missing, or a column cannot be a key.
        ConstraintError
            A key is missing (null). Nothing is changed in both cases.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = np.array([(1, 2.5), (2, 3.5)], [("a", "i4"), ("b", "f8")])
        ...     store["t"].upsert([(2, 0.5), (3, 1.5)], on="a")
        ...     store["t"][:]
        Upserted(n_updated=1, n_appended=1)
        array([(1, 2.5), (2, 0.5), (3, 1.5)], dtype=[('a', '<i4'), ('b', '<f8')])
        """
        with self._of()._write() as txn:
            state = self._state(txn)
            target = partial(frames.incoming.Target.of, txn, self._id, state.schema)
            rows = frames.incoming.adopt(data, f"upsert into {self._path!r}", target)
            return changes.upsert.upsert_rows(txn, state, rows, on)

    def truncate(self, n: int) -> int:
        """Keep the first `n` rows, and return the number of rows deleted; 0 if there are fewer."""
        with self._of()._write() as txn:
            n_rows = self._state(txn).n_rows
            rows = range(min(_count(n, "truncate"), n_rows), n_rows)
            return changes.change.delete_rows(txn, self._id, self._path, rows)

    def drop_before(
        self, row: int | str | Expr, params: Mapping[str, Any] | None = None, /, **more: Any
    ) -> int:
        """Delete the old end of a stream, and return the number of rows deleted.

        Row groups that go whole cost no more than their records.

        Parameters
        ----------
        row : int, str or expression
            The first `row` rows go. Or a condition: the rows in front of the first one where it
            holds go, none if it holds nowhere.
        params, **more
            Values of the names in the condition that are not columns.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     store["t"] = np.array([(1, 2.5), (2, 3.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
        ...     store["t"].drop_before("a >= oldest", oldest=2), store["t"].drop_before(1)
        ...     store["t"]["a"][:]
        (1, 1)
        array([3], dtype=int32)
        """
        with self._of()._write() as txn:
            state = self._state(txn)
            if isinstance(row, str | Operators):
                n = self._first_where(state, row, {**(params or {}), **more})
            elif params or more:
                raise SelectionError("drop_before: a number of rows takes no parameters")
            else:
                n = min(_count(row, "drop_before"), state.n_rows)
            return changes.change.delete_rows(txn, self._id, self._path, range(n))

    def _first_where(self, state: TableState, condition: Any, params: Mapping[str, Any]) -> int:
        """Return the position of the first row where a condition holds, 0 if there is none."""
        from kist.query import as_expr, parse

        if not isinstance(condition, str):
            condition = as_expr(condition)
            query.find.check_sources(condition, self._of())
        bound = parse(condition, state.facts.columns, params)
        for some in query.find.find_rows(state, bound, limit=1):
            return int(query.find.positions_of(state, some[0])[0])
        return 0

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, str):
            raise SelectionError(f"del table[{index!r}] deletes no column; delete() deletes rows")
        self.delete(index)

    def __setitem__(self, index: Any, values: Any) -> None:
        """Give rows new values: ``t[0] = row``, ``t[[1, 3]] = rows``, ``t["a"] = values``.

        An index may be a condition, as in ``t[t["a"] > 5] = row``. The values of a column may be
        an expression: ``t["a"] = t["a"] * 2``.

        Raises
        ------
        SelectionError
            A row is out of range, or the index is none.
        DTypeError
            A value would lose something, or a field is missing. Nothing is changed.
        ShapeError
            The number of rows does not fit.
        """
        table = self._of()
        if isinstance(index, str):
            self._assign_column(index, values)
        elif isinstance(index, list) and index and isinstance(index[0], str):
            table[index][:] = values
        elif isinstance(index, Operators):
            with table._write():
                # Found and assigned in one step, so that nobody comes between.
                rows = table[index].indices()
                self._assign(rows, values)
        else:
            self._assign(index, values)

    def _assign_column(self, name: str, values: Any) -> None:
        try:
            if changes.update.is_expression(values):
                self.update({name: values})
            else:
                self._of()[name][:] = values
        except ColumnNotFoundError as error:
            # pandas makes a column of this; here only `add_column` changes the schema.
            raise ColumnNotFoundError(
                f"{error}; add_column({name!r}, values) makes a new column"
            ) from None


def _position(position: Any, n: int, what: str) -> int:
    at = _index(position, f"{what}: a position")
    at = at + n if at < 0 else at
    if not 0 <= at <= n:
        raise SelectionError(f"{what}: position {position} is out of range, there are {n} rows")
    return at


def _count(n: Any, verb: str) -> int:
    count = _index(n, f"{verb} takes a number of rows, which")
    if count < 0:
        raise SelectionError(f"{verb} takes a number of rows from 0 on, not {n}")
    return count


def _index(number: Any, what: str) -> int:
    if isinstance(number, bool | np.bool) or not hasattr(number, "__index__"):
        raise SelectionError(f"{what} is an int, not {number!r}")
    return operator.index(number)
