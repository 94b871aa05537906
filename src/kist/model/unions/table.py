"""Unions: several tables read and queried as one, without a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from kist.engine import Transaction
from kist.errors import ReadOnlyError, SelectionError
from kist.format import keys
from kist.format.node import NodeKind, a_kind
from kist.format.nullable import dtype_text
from kist.format.schema import Schema
from kist.model.attributes import Attributes
from kist.model.completing import column_names, completions
from kist.model.handles import make_handle
from kist.model.info import Info
from kist.model.parts.unequal import fit_of, table_difference, unequal
from kist.model.session import Held
from kist.model.tables.base import RowSource, read_only
from kist.model.tables.column import Column, Columns
from kist.model.tables.queries import Queries
from kist.model.tables.repr import table_html, table_repr
from kist.model.tables.row import Row
from kist.model.tables.row_loop import iter_rows
from kist.model.tables.selection import Selection
from kist.model.tables.stored.fields import Fields, all_fields, field_at, named_fields, parse_path
from kist.model.tables.stored.joined import JoinedView
from kist.model.tables.stored.state import TableState, state_of
from kist.model.unions.categories import MergedLists
from kist.model.unions.members import find_members
from kist.model.unions.state import Joined, JoinedState, Member
from kist.query import Operators

if TYPE_CHECKING:
    from kist.engine import View
    from kist.model.group import Group
    from kist.model.store import Store
    from kist.model.tables.query.steps import Step
    from kist.model.tables.table import Table

__all__ = ["JoinedTable", "Union", "join_tables", "members_of"]

Array = np.ndarray[Any, Any]


class JoinedTable(Queries, RowSource):
    """What unions of every sort have in common: the manners of a table that is only read."""

    kind = "table"

    _store: Store
    _path: str
    _id = 0

    # What columns, selections and groups ask of a table

    def _view(self) -> View:
        raise TypeError(f"{type(self).__name__} is not made of anything")

    def _hold(self) -> Held:
        raise TypeError(f"{type(self).__name__} is not made of anything")

    def _write(self, message: str = "") -> Any:
        raise ReadOnlyError(f"the {self._path} cannot be changed: change the tables that it is of")

    def _check_written(self, *arguments: Any, **more: Any) -> Any:
        return self._write()

    append = delete = update = upsert = insert = truncate = add_column = _check_written
    drop_column = create_index = rename_column = cast = __setitem__ = _check_written

    def _of(self) -> Table:
        table: Any = self
        return table  # type: ignore[no-any-return]

    def _fields(self, schema: Schema) -> Fields:
        return all_fields(schema)

    def _label(self) -> str:
        return self._path

    def _is_part(self) -> bool:
        return False

    def _then(self, *steps: Step) -> Selection:
        return Selection(self._of(), steps)

    def _shown(self) -> list[str]:
        return list(self.columns)

    # For users

    @property
    def name(self) -> str:
        """What it is a union of."""
        return self._path

    @property
    def store(self) -> Store:
        """The open file."""
        return self._store

    @property
    def attrs(self) -> Attributes:
        """No attributes: those of the tables stay with them."""
        node: Any = self
        return Attributes(node)

    @property
    def title(self) -> Any:
        """No title."""
        return None

    @property
    def info(self) -> Info:
        """What is known about it, and the dtype of each column; opens nothing."""
        dtypes = {name: {"dtype": dtype_text(self[name].dtype)} for name in self.columns}
        facts = {
            "name": self.name,
            "kind": self.kind,
            "title": self.title,
            "n_rows": len(self),
            "n_columns": len(dtypes),
            **self._more_facts(),
            "columns": dtypes,
        }
        return Info(f"Table {self.name!r}", facts)

    def _more_facts(self) -> dict[str, Any]:
        return {"n_parts": len(self.parts)}

    @property
    def parts(self) -> list[Table]:
        """The tables, in order."""
        raise TypeError(f"{type(self).__name__} is not made of anything")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self._state().schema.columns)

    colnames = columns

    def keys(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.columns

    @property
    def nbytes_stored(self) -> int:
        """Bytes that the rows take in the file."""
        return sum(part.nbytes_stored for part in self.parts)

    @property
    def ratio(self) -> float:
        """Bytes in memory by bytes in the file."""
        return self.nbytes / max(1, self.nbytes_stored)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a column of that name."""
        return name in self.columns

    def __getitem__(self, index: Any) -> Any:
        """Return rows, a column, columns, or a selection, as tables do."""
        if isinstance(index, str):
            schema = self._state().schema
            path = parse_path(schema, index)
            field_at(schema, path)
            return Column(self._of(), path)
        if isinstance(index, list) and index and all(isinstance(name, str) for name in index):
            named_fields(self._state().schema, index)
            return Columns(self._of(), index)
        if isinstance(index, Operators):
            return self.where(index)
        return read_only(self._read(index))[()]

    def blocks(self, n_rows: int | None = None) -> Iterator[Array]:
        """Iterate over structured arrays of `n_rows` rows, the last one shorter."""
        return (read_only(block) for block in self._blocks(n_rows))

    def __iter__(self) -> Iterator[Row]:
        return iter_rows(self)

    def __repr__(self) -> str:
        return table_repr(self._of()).replace("kist.Table", "kist.Union", 1)

    def _repr_html_(self) -> str:
        return (
            table_html(self._of()).replace(">Table<", ">Union<", 1).replace("Table ", "Union ", 1)
        )

    def _ipython_key_completions_(self) -> list[str]:
        return completions(lambda: column_names(self.dtype))


class Union(JoinedTable):
    """Several tables of one store as one: read, queried and converted like a table, not changed.

    Comes from ``group.union("trades/*")``. The tables follow each other in the order of their
    names; columns are matched by name and have one dtype. Each call looks them up in the state that
    the store's handle sees then, all of them in one commit, so that tables which have come since
    take part. What a condition rules out by statistics is not read, in whatever table it stands.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     for day in (1, 2, 3):
    ...         store[f"trades/day{day}"] = np.array([(day, 2.5 * day)], "i4,f8")
    ...     trades = store.union("trades/*")
    ...     len(trades), trades.where("f0 > 1")["f1"].sum(), trades["f0"][-2:]
    (3, np.float64(12.5), array([2, 3], dtype=int32))
    """

    def __init__(self, group: Group, patterns: Sequence[str]) -> None:
        self._store = group._store
        self._group = group
        self._patterns = tuple(patterns)
        self._path = f"union of {', '.join(patterns)}"
        self._known: WeakKeyDictionary[View, Joined] = WeakKeyDictionary()
        self._view()  # what is wrong is said now

    # What columns, selections and groups ask of a table

    def _joined(self, view: View) -> JoinedView:
        found = self._known.get(view)
        if found is None or isinstance(view, Transaction):
            found = self._known[view] = self._join(view)
        joined = JoinedView([view] * len(found.members), view.reader)
        joined.table = JoinedState(joined, self._path, found)
        return joined

    def _join(self, view: View) -> Joined:
        if self._group._id != keys.ROOT:
            self._group._check(view)
        base = self._group._base(view)
        states = []
        for path, node, kind in find_members(view, self._group._id, base, self._patterns):
            if kind != NodeKind.TABLE:
                raise SelectionError(f"a union is of tables, and {path!r} is {a_kind(kind)}")
            states.append((repr(path), state_of(view, node, path), 0))
        return join_tables(states)

    def _view(self) -> JoinedView:
        return self._joined(self._store._session.view())

    def _hold(self) -> Held:
        held = self._store._session.hold()
        try:
            held.view = self._joined(held.view)
        except BaseException:
            held.release()
            raise
        return held

    def _moved(self, to: Callable[[Store], Store]) -> Union:
        return Union(self._group._moved(to), self._patterns)

    def __reduce__(self) -> tuple[Any, ...]:
        # The group is pickled with its commit: another process sees the same tables.
        return Union, (self._group, self._patterns)

    def is_same(self, other: object) -> bool:
        """Tell whether `other` is a union of the same tables of the same open store."""
        return (
            isinstance(other, Union)
            and self._group.is_same(other._group)
            and self._patterns == other._patterns
        )

    @property
    def parts(self) -> list[Table]:
        """The tables, in order."""
        return members_of(self._group, self._patterns)


def members_of(group: Group, patterns: Sequence[str]) -> list[Any]:
    """Return the handles of the datasets that paths and patterns name in a group."""
    view = group._view()
    found = find_members(view, group._id, group._base(view), patterns)
    return [make_handle(group._store, view, entry.node, entry.path) for entry in found]


def join_tables(states: Sequence[tuple[str, TableState, int]]) -> Joined:
    """Return what is known of tables as one.

    Parameters
    ----------
    states : sequence of (str, TableState, int)
        What messages call each, the table, and the number of its file.

    Raises
    ------
    DTypeError
        The columns of one are not those of the first, or categories do not fit.
    """
    first, state, _ = states[0]
    schema = state.schema
    members = []
    lists = MergedLists(schema)
    fits = {id(schema): fit_of(schema, schema)}  # most have one schema
    for name, state, tag in states:
        if id(state.schema) not in fits and (lines := table_difference(schema, state.schema)):
            hint = "cast() gives columns other dtypes, add_column() adds some"
            raise unequal(f"table {name}", lines, first, hint)
        fit = fits.get(id(state.schema)) or fit_of(state.schema, schema)
        fits[id(state.schema)] = fit
        members.append((Member(state.node, state.path, fit, tag), state))
        lists.add(name, state)
    return Joined(schema, members, lists)
