"""Appending rows that come one by one: collected, and committed in batches."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from kist.errors import TransactionClosedError, TransactionError
from kist.model.frames.incoming import Target, adopt
from kist.model.tables.input.quick import packer_of
from kist.model.tables.input.values import as_rows
from kist.model.tables.stored.batch import Rows, joined, owned
from kist.model.tables.stored.schema import facts_of

if TYPE_CHECKING:
    from kist.format.schema import Schema
    from kist.model.tables.table import Table

__all__ = ["Appender"]

Array = np.ndarray[Any, Any]

_forks = 0
"""Of this process since the module was imported, its parents' too."""


def _after_fork_in_child() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Appender:
    """Takes rows and commits them when enough have come, or when the oldest has waited enough.

    Comes from `Table.appender`. Calling it adds one row or several; what has not been committed
    when the process dies is lost, at most `rows` rows or what came in `seconds`. Leaving the
    ``with`` block commits the rest; leaving it by an exception does too, for they were measured.
    A process that is forked meanwhile cannot use it, and commits nothing of what waits.

    Attributes
    ----------
    n_rows : int
        Rows added so far.
    n_waiting : int
        Rows that are not committed yet.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     table = store.create_table("t", dtype="i4,f8")
    ...     with table.appender(rows=100) as add:
    ...         for i in range(250):
    ...             add((i, i / 2))
    ...     len(table), add.n_rows
    (250, 250)
    """

    def __init__(self, table: Table, rows: int, seconds: float, timer: bool) -> None:
        if isinstance(rows, bool) or not hasattr(rows, "__index__"):
            raise TypeError(f"rows is an int, not {type(rows).__name__}")
        if rows < 1:
            raise ValueError(f"a batch has at least one row, not {rows}")
        if not seconds > 0:
            raise ValueError(f"seconds is above 0, not {seconds}")
        self._table = table
        self._rows = int(rows)
        self._seconds = float(seconds)
        self._timer = timer
        self._take(table._state().schema)
        self._waiting: list[Rows] = []
        self._packed: list[bytes] = []  # rows that came after those
        self.n_waiting = 0
        self.n_rows = 0
        self._oldest = 0.0
        self._entered = False
        self._born = _forks
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def _take(self, schema: Schema) -> None:
        self._schema = schema
        self._packer = packer_of(facts_of(schema.given))

    def __enter__(self) -> Appender:
        self._table.store._session.check_writable()  # not after an hour of rows
        self._entered = True
        if self._timer:
            self._thread = threading.Thread(target=self._tick, name="kist-appender", daemon=True)
            self._thread.start()
        return self

    def __call__(self, rows: Any) -> None:
        """Add one row or several, as `Table.append` takes them.

        Raises
        ------
        DTypeError
            They do not fit; none of them is added, earlier rows stay.
        TransactionClosedError
            This process was forked since.
        """
        if self._born != _forks:
            self._raise_inherited()
        if not self._entered:
            raise TransactionError("an appender is used in a with block, so that its end commits")
        if self._error is not None:
            self._raise_from_timer()
        if type(rows) is tuple and self._add_packed(rows):
            return
        self._follow()
        given = adopt(rows, f"append to {self._table._path!r}", self._target)
        array = as_rows(given, self._schema, self._table._path)
        if type(rows) is not tuple:
            array = owned(array)  # a loop may fill the same arrays again
        with self._lock:
            if not len(array):
                return
            self._unpack()
            self._waiting.append(array)
            self._count(len(array))

    add = __call__

    def _add_packed(self, row: tuple[Any, ...]) -> bool:
        """Take a row of plain values; returns False where it is to be looked at more closely.

        So is the first one of a batch: whether the columns have changed is looked up with it.
        """
        with self._lock:
            if not self.n_waiting or self._packer is None:
                return False
            packed = self._packer.pack(row)
            if packed is None:
                return False
            self._packed.append(packed)
            self._count(1)
            return True

    def _count(self, n: int) -> None:
        """Count rows that wait since now, and commit what waits when it is time to."""
        now = time.monotonic()
        if not self.n_waiting:
            self._oldest = now
        self.n_waiting += n
        self.n_rows += n
        if self.n_waiting >= self._rows or now - self._oldest >= self._seconds:
            self.flush()

    def _unpack(self) -> None:
        """Put rows that were packed one by one behind the others that wait."""
        if self._packed and self._packer is not None:
            packed = self._packer.rows(self._packed)
            self._waiting.append(as_rows(packed, self._schema, self._table._path))
            self._packed.clear()

    def _follow(self) -> None:
        """Commit what waits when columns have changed since: it was matched to the old ones."""
        schema = self._table._state().schema
        with self._lock:
            if schema is not self._schema:
                self.flush()
                self._take(schema)

    def _target(self) -> Target:
        return Target.of(self._table._view(), self._table._id, self._schema)

    def flush(self) -> int:
        """Commit what waits; return its number of rows."""
        if self._born != _forks:
            self._raise_inherited()
        with self._lock:
            if not self.n_waiting:
                return 0
            self._unpack()
            rows = joined(self._waiting)
            n = self._append(rows)
            self._waiting.clear()
            self.n_waiting = 0
            return n

    def _append(self, rows: Rows) -> int:
        table = self._table
        with table._write() as txn:  # so that nobody changes the columns in between
            if table._state(txn).schema is self._schema:
                return table._append_array(rows)
            columns = self._schema.given.columns
            return table.append({column.name: rows[column.name] for column in columns})

    def _tick(self) -> None:
        # Wakes four times in `seconds`: a row waits for at most a quarter longer.
        while not self._stop.wait(self._seconds / 4):
            with self._lock:
                if self.n_waiting and time.monotonic() - self._oldest >= self._seconds:
                    try:
                        self.flush()
                    except BaseException as error:
                        self._error = error  # raised where the next row is added
                        return

    def _raise_inherited(self) -> NoReturn:
        raise TransactionClosedError(
            "this appender belongs to the process that was forked, and so do the rows that wait in"
            " it; make another one here"
        )

    def _raise_from_timer(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered = False
        if self._born != _forks:
            if error is not None:
                return  # which says more than another error
            self._raise_inherited()
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._raise_from_timer()
        self.flush()

    def __repr__(self) -> str:
        return (
            f"<kist.Appender of {self._table._path!r}, {self.n_rows:,} rows added, "
            f"{self.n_waiting:,} not committed yet>"
        )
