"""Columns that come, go and change: what that does to the records.

docs/design/0007-schema-changes.md says what each change costs, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.errors import DTypeError
from kist.format import altering, keys
from kist.format.categorical import is_categorical, lists_categories, values_dtype
from kist.model.attributes import Attributes
from kist.model.cast_values import cast_values
from kist.model.frames.notes import rename_in_notes
from kist.model.tables.changes.column_checks import (
    check_computed,
    check_names,
    check_new_name,
    find_column,
    place_of,
    refuse_computed_from_sealed,
    refuse_dependents,
    refuse_first_in_clear,
    refuse_in_clear,
    refuse_sealed,
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
from kist.model.tables.input.column import new_column
from kist.model.tables.input.dtype import as_dtype
from kist.model.tables.input.encrypt import no_default
from kist.model.tables.input.given import NOT_GIVEN
from kist.model.tables.input.values import check_codec, refuse_column_in_clear
from kist.model.tables.stored.categories import Vocabularies, put_new_categories
from kist.model.tables.stored.computed import followers
from kist.model.tables.stored.fields import field_at, read_spans
from kist.model.tables.stored.read import Span
from kist.model.tables.stored.schema import facts_of
from kist.query.parser import read_text
from kist.query.renaming import renamed

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.model.tables.column import Column
    from kist.model.tables.stored.state import TableState
    from kist.model.tables.table import Table

__all__ = [
    "add_column",
    "cast_column",
    "drop_column",
    "drop_expression",
    "rename_column",
    "reorder",
    "set_default",
]

Array = np.ndarray[Any, Any]


def _writable(table: Table, txn: Transaction) -> TableState:
    state = table._state(txn)
    state.check_writable()
    return state


def add_column(
    table: Table,
    name: str,
    data: Any,
    dtype: Any,
    *,
    virtual: bool,
    position: int | None,
    fill_value: Any,
    codec: str,
    attrs: Mapping[str, Any] | None,
) -> Column:
    """Add a column, and return it."""
    what = f"add column {name!r} to {table._path!r}"
    with table._write() as txn:
        state = _writable(table, txn)
        old = state.schema
        check_new_name(old, name, what)
        refuse_in_clear(table, txn, what)
        refuse_first_in_clear(old, virtual, what)
        refuse_column_in_clear(data, what)
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
            initial=None if is_categorical(new.dtype) else packed(new.initial),
            expression=new.expression,
            virtual=virtual,
        )
        check_names(schema, what)
        spec = schema.columns[schema.index(name)]
        refuse_computed_from_sealed(schema, spec, what)
        put_new_categories(txn, table._id, spec)
        vocabularies = Vocabularies(txn, table._id, schema, what)
        if new.initial is not None and spec.is_categorical:
            codes = vocabularies.of(spec).codes(new.initial)
            schema = altering.with_initial(schema, name, packed(codes.view(new.dtype)))
        leaves = schema.leaves_of(name)
        if virtual or new.initial is not None or not state.n_rows:
            put_altered(txn, state, schema)
        elif new.source is not None:
            source = new.source

            def taken(span: Span, at: int) -> list[Array]:
                values = source.take(span.n)
                array = cast_values(values, spec.shown, column=name, first_row=at, what=what)
                return [*vocabularies.encoded(leaves, split_column(array, leaves))[1]]

            put_leaves(txn, state, schema, schema.stored_of(name), taken)
            source.end()
        else:

            def computed(span: Span, at: int) -> list[Array]:
                values = values_at(state, facts_of(schema), span)
                return [values.compute(leaf, what, at) for leaf in leaves]

            put_leaves(txn, state, schema, leaves, computed)
        vocabularies.put()
        column: Column = table[name]
        if attrs:
            column.attrs.update(attrs)
        return column


def drop_column(table: Table, name: str) -> None:
    """Remove a column with its values and attributes."""
    what = f"drop column {name!r} of {table._path!r}"
    with table._write() as txn:
        state = _writable(table, txn)
        column = find_column(state.schema, name, what)
        refuse_sealed(column, what)
        refuse_dependents(state, column, what)
        schema = altering.without_column(state.schema, name)
        for leaf in state.schema.stored_of(name):
            if leaf.is_stored:
                txn.delete_range(*keys.pages(table._id, leaf.id))
            txn.delete_range(*keys.categories(table._id, leaf.id))
        Attributes(table, column.id + 1).clear()
        rename_in_notes(txn, table._id, name, None)
        put_altered(txn, state, schema)


def rename_column(table: Table, name: str, new_name: str) -> None:
    """Give a column another name; its attributes, and what is computed from it, follow."""
    what = f"rename column {name!r} of {table._path!r}"
    with table._write() as txn:
        state = _writable(table, txn)
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


def cast_column(table: Table, name: str, dtype: Any, *, unsafe: bool) -> None:
    """Give a column another dtype; all its values are written again."""
    what = f"cast column {name!r} of {table._path!r}"
    with table._write() as txn:
        state = _writable(table, txn)
        column = find_column(state.schema, name, what)
        refuse_sealed(column, what)
        wanted = as_dtype(dtype, what)
        # To NumPy dtypes are equal whatever the categories that they list.
        if wanted == column.dtype and not lists_categories(wanted):
            return

        def cast(values: Array, at: int = 0) -> Array:
            return cast_all(values, values_dtype(wanted), name, what, at, unsafe)

        default = None if column.default is None else cast(unpacked(column, column.default))
        # Codes mean nothing in another list: rows that have the initial value are written, too.
        coded = column.is_categorical or is_categorical(wanted)
        initial = None
        if column.initial is not None and not coded:
            initial = cast(unpacked(column, column.initial))
        schema = altering.with_cast(
            state.schema, name, wanted, default=packed(default), initial=packed(initial)
        )
        check_computed(schema, what)
        if column.is_virtual:
            put_altered(txn, state, schema)
            return
        facts = facts_of(schema)
        put_new_categories(txn, table._id, schema.columns[schema.index(name)])
        vocabularies = Vocabularies(txn, table._id, schema, what)
        leaves = schema.leaves_of(name)
        others = followers(facts, [leaf.id for leaf in leaves])
        before = state.schema.stored_of(name)
        fields = field_at(state.schema, (name,))

        def made(span: Span, at: int) -> list[Array] | None:
            group = span.group
            if not coded and not others and is_initial(state, group, before):
                return None  # the initial value says it all
            rows = read_spans(state, fields, [span._replace(at=0)], span.n)
            columns = split_column(cast(rows, at), leaves)
            known = {leaf.id: new for leaf, new in zip(leaves, columns, strict=True)}
            values = values_at(state, facts, span, known)
            columns = [*vocabularies.encoded(leaves, columns)[1]]
            return columns + [values.compute(leaf, what, at) for leaf in others]

        put_leaves(txn, state, schema, [*schema.stored_of(name), *others], made)
        vocabularies.put()
        for leaf in before:
            if leaf.is_stored:
                txn.delete_range(*keys.pages(table._id, leaf.id))
            txn.delete_range(*keys.categories(table._id, leaf.id))


def reorder(table: Table, names: Sequence[str]) -> None:
    """Put the columns into another order; only the schema is written."""
    what = f"reorder columns of {table._path!r}"
    if isinstance(names, str):
        raise DTypeError(f"{what}: give a list of names")
    names = list(names)
    with table._write() as txn:
        state = _writable(table, txn)
        for name in names:
            find_column(state.schema, name, what)
        missing = [c.name for c in state.schema.columns if c.name not in names]
        if missing or len(set(names)) < len(names):
            why = f"{missing[0]!r} is missing" if missing else "a column is named twice"
            raise DTypeError(f"{what}: {why}; name every column once")
        put_altered(txn, state, altering.with_order(state.schema, names))


def set_default(table: Table, name: str, value: Any) -> None:
    """Change the value of new rows that do not give one; `NOT_GIVEN` for none."""
    what = f"fill_value of column {name!r} of {table._path!r}"
    with table._write() as txn:
        state = _writable(table, txn)
        column = find_column(state.schema, name, what)
        if column.field and value is not NOT_GIVEN:
            raise no_default(name, what)
        if column.expression is not None:
            raise DTypeError(f"{what}: it is computed from {column.expression!r}", column=name)
        default = None
        if value is not NOT_GIVEN:
            values: Any = [value]
            if column.dtype.subdtype is not None:
                values = np.broadcast_to(np.asarray(value), (1, *column.dtype.shape))
            default = packed(cast_values(values, column.shown, column=name, what=what))
        schema = altering.with_changed(state.schema, name, default=default, expression=None)
        put_altered(txn, state, schema)


def drop_expression(table: Table, name: str) -> None:
    """Make a stored computed column an ordinary one, with the values that it has."""
    what = f"expression of column {name!r} of {table._path!r}"
    with table._write() as txn:
        state = _writable(table, txn)
        column = find_column(state.schema, name, what)
        if column.expression is None:
            raise DTypeError(f"{what}: it has none", column=name)
        if column.is_virtual:
            raise DTypeError(f"{what}: a virtual column has no values of its own", column=name)
        schema = altering.with_changed(state.schema, name, default=None, expression=None)
        put_altered(txn, state, schema)
