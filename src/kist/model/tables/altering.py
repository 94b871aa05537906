"""Changing the columns of a table: what `Table` offers, and what it does to the records.

docs/design/0007-schema-changes.md says what each change costs, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import DTypeError
from kist.format import altering, keys
from kist.model.attributes import Attributes
from kist.model.cast_values import cast_values
from kist.model.frames.notes import rename_in_notes
from kist.model.tables.base import RowSource
from kist.model.tables.changes.column_checks import (
    check_computed,
    check_names,
    check_new_name,
    find_column,
    place_of,
    refuse_dependents,
)
from kist.model.tables.changes.column_values import (
    cast_all,
    is_initial,
    packed,
    split_column,
    unpacked,
    values_at,
)
from kist.model.tables.changes.rewrite import put_altered, put_leaves
from kist.model.tables.input.column import NOT_GIVEN, new_column
from kist.model.tables.input.dtype import as_dtype
from kist.model.tables.input.values import check_codec
from kist.model.tables.stored.computed import followers
from kist.model.tables.stored.fields import field_at, read_spans
from kist.model.tables.stored.read import Span
from kist.model.tables.stored.schema import facts_of
from kist.query.parser import read_text
from kist.query.renaming import renamed

if TYPE_CHECKING:
    from kist.model.tables.column import Column
    from kist.model.tables.table import Table

__all__ = ["Altering", "drop_expression", "set_default"]

Array = np.ndarray[Any, Any]


class Altering(RowSource):
    """Mixin of `Table`: its columns come, go and change.

    Each call is one commit, or one step of the open transaction; when it raises nothing is changed.
    """

    __slots__ = ()

    def add_column(
        self,
        name: str,
        data: Any = None,
        dtype: Any = None,
        *,
        virtual: bool = False,
        position: int | None = None,
        fill_value: Any = NOT_GIVEN,
        codec: str = "auto",
        attrs: Mapping[str, Any] | None = None,
    ) -> Column:
        """Add a column, and return it.

        Parameters
        ----------
        name : str
            Its name.
        data : optional
            One value for all rows: nothing is written for them, however many there are. Or a
            value for each: an array, a list, a column, or an iterator of arrays, which is read in
            blocks. Or an expression, ``kist.expr("bid + ask")`` or ``t["bid"] + t["ask"]``: the
            column is computed, and stays current when rows are appended or changed.
        dtype : dtype-like, optional
            Needed for text as a constant. A dtype in second place, with nothing behind it, counts
            as this: ``add_column("mid", "f8", fill_value=0)``.
        virtual : bool, default False
            Store nothing: evaluate the expression, which may be given as text, on each reading.
        position : int, optional
            Place among the columns, as in `list.insert`; the last one by default.
        fill_value : optional
            Value for new rows that do not give one; for the rows that are there too if `data` is
            not given. By default the constant.
        codec : str, default "auto"
            As in `create_table`.
        attrs : mapping, optional
            Attributes of the column.

        Raises
        ------
        DTypeError
            The name is taken, or a value does not fit the dtype.
        QueryError
            The expression names what is no column, or none.
        ShapeError
            The number of values is not that of the rows.

        Examples
        --------
        >>> import kist, numpy as np
        >>> with kist.open(":memory:") as store:
        ...     t = store.create_table("t", np.array([(1, 2.0), (3, 5.0)], "i4,f8"))
        ...     _ = t.add_column("flag", False)
        ...     _ = t.add_column("sum", kist.expr("f0 + f1"), virtual=True)
        ...     t.append((5, 6.0, True))
        ...     t[:]
        1
        array([(1, 2., False,  3.), (3, 5., False,  8.), (5, 6.,  True, 11.)],
              dtype=[('f0', '<i4'), ('f1', '<f8'), ('flag', '?'), ('sum', '<f8')])
        """
        table = self._of()
        what = f"add column {name!r} to {table._path!r}"
        with table._write() as txn:
            state = self._state(txn)
            old = state.schema
            check_new_name(old, name, what)
            check_codec(codec, (name,), what)
            new = new_column(
                table, state.facts, state.n_rows, name, data, dtype, virtual, fill_value, what
            )
            schema = altering.with_column(
                old,
                name,
                new.dtype,
                position=place_of(position, len(old.columns), what),
                codec=codec,
                default=packed(new.default),
                initial=packed(new.initial),
                expression=new.expression,
                virtual=virtual,
            )
            check_names(schema, what)
            leaves = schema.leaves_of(name)
            if virtual or new.initial is not None or not state.n_rows:
                put_altered(txn, state, schema)
            elif new.source is not None:
                source = new.source

                def taken(span: Span, at: int) -> list[Array]:
                    values = source.take(span.n)
                    array = cast_values(values, new.dtype, column=name, first_row=at, what=what)
                    return split_column(array, leaves)

                put_leaves(txn, state, schema, leaves, taken)
                source.end()
            else:

                def computed(span: Span, at: int) -> list[Array]:
                    values = values_at(state, facts_of(schema), span)
                    return [values.compute(leaf, what, at) for leaf in leaves]

                put_leaves(txn, state, schema, leaves, computed)
            column: Column = table[name]
            if attrs:
                column.attrs.update(attrs)
            return column

    def drop_column(self, name: str) -> None:
        """Remove a column with its values and attributes.

        Its space comes back once no older version or tag shows it.

        Raises
        ------
        ColumnNotFoundError
            There is no such column.
        DTypeError
            It is the last one, or others are computed from it.
        """
        table = self._of()
        what = f"drop column {name!r} of {table._path!r}"
        with table._write() as txn:
            state = self._state(txn)
            column = find_column(state.schema, name, what)
            refuse_dependents(state, column, what)
            schema = altering.without_column(state.schema, name)
            for leaf in state.schema.leaves_of(name):
                if leaf.is_stored:
                    txn.delete_range(*keys.pages(table._id, leaf.id))
            Attributes(table, column.id + 1).clear()
            rename_in_notes(txn, table._id, name, None)
            put_altered(txn, state, schema)

    def rename_column(self, name: str, new_name: str) -> None:
        """Give a column another name; its attributes, and what is computed from it, follow.

        Raises
        ------
        ColumnNotFoundError
            There is no such column.
        DTypeError
            The new name is taken.
        """
        table = self._of()
        what = f"rename column {name!r} of {table._path!r}"
        with table._write() as txn:
            state = self._state(txn)
            find_column(state.schema, name, what)
            if new_name == name:
                return
            check_new_name(state.schema, new_name, what)
            schema = altering.with_renamed(state.schema, name, new_name)
            for column in schema.columns:
                if column.expression is not None:
                    tree = renamed(read_text(column.expression), name, new_name)
                    schema = altering.with_changed(
                        schema, column.name, default=column.default, expression=repr(tree)
                    )
            check_names(schema, what)
            check_computed(schema, what)
            rename_in_notes(txn, table._id, name, new_name)
            put_altered(txn, state, schema)

    def cast_column(self, name: str, dtype: Any, *, unsafe: bool = False) -> None:
        """Give a column another dtype; all its values are written again.

        Parameters
        ----------
        unsafe : bool, default False
            Cast as NumPy's ``astype`` does: cut text, drop fractions, wrap integers.

        Raises
        ------
        DTypeError
            A value would lose something, or what is computed from the column no longer fits.
        """
        table = self._of()
        what = f"cast column {name!r} of {table._path!r}"
        with table._write() as txn:
            state = self._state(txn)
            column = find_column(state.schema, name, what)
            wanted = as_dtype(dtype, what)
            if wanted == column.dtype:
                return

            def cast(values: Array, at: int = 0) -> Array:
                return cast_all(values, wanted, name, what, at, unsafe)

            default = None if column.default is None else cast(unpacked(column, column.default))
            initial = None if column.initial is None else cast(unpacked(column, column.initial))
            schema = altering.with_cast(
                state.schema, name, wanted, default=packed(default), initial=packed(initial)
            )
            check_computed(schema, what)
            if column.is_virtual:
                put_altered(txn, state, schema)
                return
            facts = facts_of(schema)
            leaves = schema.leaves_of(name)
            others = followers(facts, [leaf.id for leaf in leaves])
            before = state.schema.leaves_of(name)
            fields = field_at(state.schema, (name,))

            def made(span: Span, at: int) -> list[Array] | None:
                group = span.group
                if not others and is_initial(state, group, before):
                    return None  # the initial value says it all
                rows = read_spans(state, fields, [span._replace(at=0)], span.n)
                columns = split_column(cast(rows, at), leaves)
                known = {leaf.id: new for leaf, new in zip(leaves, columns, strict=True)}
                values = values_at(state, facts, span, known)
                return columns + [values.compute(leaf, what, at) for leaf in others]

            put_leaves(txn, state, schema, [*leaves, *others], made)
            for leaf in before:
                if leaf.is_stored:
                    txn.delete_range(*keys.pages(table._id, leaf.id))

    def reorder(self, names: Sequence[str]) -> None:
        """Put the columns into another order; only the schema is written.

        Parameters
        ----------
        names : sequence of str
            All columns, each once.

        Raises
        ------
        ColumnNotFoundError
            There is no such column.
        DTypeError
            A column is missing or named twice.
        """
        table = self._of()
        what = f"reorder columns of {table._path!r}"
        if isinstance(names, str):
            raise DTypeError(f"{what}: give a list of names")
        names = list(names)
        with table._write() as txn:
            state = self._state(txn)
            for name in names:
                find_column(state.schema, name, what)
            missing = [c.name for c in state.schema.columns if c.name not in names]
            if missing or len(set(names)) < len(names):
                why = f"{missing[0]!r} is missing" if missing else "a column is named twice"
                raise DTypeError(f"{what}: {why}; name every column once")
            put_altered(txn, state, altering.with_order(state.schema, names))


# Single columns


def set_default(table: Table, name: str, value: Any) -> None:
    """Change the value of new rows that do not give one; `NOT_GIVEN` for none."""
    what = f"fill_value of column {name!r} of {table._path!r}"
    with table._write() as txn:
        state = table._state(txn)
        column = find_column(state.schema, name, what)
        if column.expression is not None:
            raise DTypeError(f"{what}: it is computed from {column.expression!r}", column=name)
        default = None
        if value is not NOT_GIVEN:
            values: Any = [value]
            if column.dtype.subdtype is not None:
                values = np.broadcast_to(np.asarray(value), (1, *column.dtype.shape))
            default = packed(cast_values(values, column.dtype, column=name, what=what))
        schema = altering.with_changed(state.schema, name, default=default, expression=None)
        put_altered(txn, state, schema)


def drop_expression(table: Table, name: str) -> None:
    """Make a stored computed column an ordinary one, with the values that it has."""
    what = f"expression of column {name!r} of {table._path!r}"
    with table._write() as txn:
        state = table._state(txn)
        column = find_column(state.schema, name, what)
        if column.expression is None:
            raise DTypeError(f"{what}: it has none", column=name)
        if column.is_virtual:
            raise DTypeError(f"{what}: a virtual column has no values of its own", column=name)
        schema = altering.with_changed(state.schema, name, default=None, expression=None)
        put_altered(txn, state, schema)
