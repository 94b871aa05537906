"""What users hand to tables: schemas found in data, rows in blocks, values for assignment.

The casts themselves, checked value by value, are in `kist.model.casts`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from kist.codecs.choose import parse_codec
from kist.errors import CodecError, ColumnNotFoundError, DTypeError, SecretError, ShapeError
from kist.format.categorical import values_dtype
from kist.format.nullable import is_nullable
from kist.format.plain import pack_value
from kist.format.schema import Leaf, Schema
from kist.model.cast_ragged import is_cell
from kist.model.casts import cast_values, iter_blocks, same_dtype, to_records
from kist.model.frames.exports import Exports
from kist.model.frames.incoming import Incoming
from kist.model.tables.input.dtype import RowDtype, dtype_by_name, row_dtype
from kist.model.tables.input.infer import dtype_of
from kist.model.tables.stored.batch import Batch, Rows, joined
from kist.model.tables.stored.computed import sealed_sources
from kist.model.tables.stored.fields import Fields
from kist.model.tables.stored.records import GROUP_ROWS
from kist.model.tables.stored.schema import facts_of

__all__ = [
    "as_items",
    "as_rows",
    "as_values",
    "blocks_of",
    "check_codec",
    "refuse_column_in_clear",
    "refuse_in_clear",
    "schema_for",
]

Array = np.ndarray[Any, Any]


def schema_for(
    data: Any,
    dtype: Any,
    fill_value: Mapping[str, Any] | None,
    codec: str | Mapping[str, str],
    label: str,
) -> tuple[Schema, Iterable[Rows]]:
    """Return the schema of a new table, and its first rows in blocks.

    Raises
    ------
    DTypeError
        There is no dtype, or one that a table cannot have, or the data do not fit it.
    CodecError
        There is no such codec.
    ColumnNotFoundError
        A fill value or a codec for a column that does not exist.
    """
    what = f"create {label!r}"
    row: RowDtype
    if dtype is not None:
        row = row_dtype(dtype, what)
    elif isinstance(data, Incoming):
        row = data.fields
    elif data is not None:
        row, data = dtype_of(data, what)
    else:
        raise DTypeError(f"{what}: give data, or dtype= with the fields of a row")
    if isinstance(row, np.dtype) and row.names is None:
        raise DTypeError(f"{what}: a table needs named fields, not {row}")
    dtypes = dtype_by_name(row)
    check_codec(codec, dtypes, what)
    defaults = {}
    for name, value in (fill_value or {}).items():
        if name not in dtypes:
            raise ColumnNotFoundError(f"{what}: fill_value for {name!r}, which is no column")
        cast = cast_values(
            [value], values_dtype(dtypes[name]), column=name, what=f"{what}: fill_value"
        )
        defaults[name] = pack_value(cast[0])
    if isinstance(row, np.dtype):
        schema = Schema.from_dtype(row, codec=codec, defaults=defaults)
    else:
        schema = Schema.from_columns(row, codec=codec, defaults=defaults)
    return schema, () if data is None else blocks_of(data, schema, label, what)


def refuse_in_clear(data: Any, schema: Schema, what: str) -> None:
    """Raise where rows of another table would put what is sealed there into an open column.

    Raises
    ------
    SecretError
        Says how to seal it, and how to store it in clear if that is meant.
    """
    if not isinstance(data, Exports):
        return
    source: Any = data
    state = source._state()
    if not state.schema.sealed:
        return
    columns, facts = state.schema.columns, state.facts
    told: dict[str, list[Leaf]] = {}
    for leaf in source._fields(state.schema).leaves:
        told.setdefault(columns[leaf.column].name, []).append(leaf)
    for column in schema.columns:
        if column.name in told and not column.field and sealed_sources(facts, told[column.name]):
            raise SecretError(
                f"{what}: column {column.name!r} is sealed in {state.path!r}, or computed from what"
                " is, and would come to stand in clear: make the new table with encrypt=; or read"
                " the rows yourself, [:] or blocks(), if that is meant"
            )


def refuse_column_in_clear(data: Any, what: str) -> None:
    """Raise where values of a sealed column of a table would become a column in clear.

    Raises
    ------
    SecretError
        Says what to do.
    """
    if not isinstance(data, Exports):
        return
    source: Any = data
    state = source._state()
    sealed = sealed_sources(state.facts, source._fields(state.schema).leaves)
    if sealed:
        raise SecretError(
            f"{what}: column {sealed[0]!r} is sealed in {state.path!r}, and its values would come"
            " to stand in clear; give the values themselves, [:], if that is meant"
        )


def check_codec(codec: Any, names: Container[str], what: str) -> None:
    """Raise when a codec is none, or is for a column that does not exist."""
    if isinstance(codec, Mapping):
        for name in codec:
            if name not in names:
                raise ColumnNotFoundError(f"{what}: a codec for {name!r}, which is no column")
    for one in codec.values() if isinstance(codec, Mapping) else (codec,):
        try:
            parse_codec(one)
        except CodecError as error:
            raise CodecError(f"{what}: {error}") from None


def blocks_of(data: Any, schema: Schema, label: str, what: str | None = None) -> Iterable[Rows]:
    """Cast rows to the dtype of a table, block by block.

    Parameters
    ----------
    data
        What `Table.append` takes.

    Returns
    -------
    iterable of structured ndarray, or of Batch for a table with strings or cells
        Of the table's dtype, without computed columns. An array that has it already comes whole
        and is not copied.
    """
    if type(data) is np.ndarray and data.ndim == 1:
        given = schema.given
        if same_dtype(data.dtype, given.dtype) and not facts_of(given).loose:
            return (data,)
    return _cast_blocks(data, schema, what or f"append to {label!r}")


def _cast_blocks(data: Any, schema: Schema, what: str) -> Iterator[Rows]:
    with explained(schema):
        yield from _blocks_of(data, schema.given, what)


def _blocks_of(data: Any, schema: Schema, what: str) -> Iterator[Rows]:
    dtype = schema.dtype
    facts = facts_of(schema)
    defaults, loose = facts.defaults, facts.loose
    if isinstance(data, np.ndarray):
        if (data.dtype == dtype and not loose) or data.dtype.names is None or data.ndim != 1:
            yield to_records(data, dtype, defaults, what=what, loose=loose)
            return
        n_rows = facts.group_rows
        for start in range(0, len(data), n_rows):
            part = data[start : start + n_rows]
            yield to_records(part, dtype, defaults, what=what, first_row=start, loose=loose)
    elif isinstance(data, Incoming):
        first = 0
        for block in data.blocks(facts.group_rows):
            rows = to_records(block, dtype, defaults, what=what, first_row=first, loose=loose)
            first += len(rows)
            yield rows
    elif _is_rows(data):
        yield to_records(data, dtype, defaults, what=what, loose=loose)
    else:
        source = data.blocks(facts.group_rows) if hasattr(data, "blocks") else data
        yield from iter_blocks(
            source, dtype, defaults, n_rows=facts.group_rows, what=what, loose=loose
        )


def _is_rows(data: Any) -> bool:
    """Tell whether all rows are there at once, or `data` is nothing that has any."""
    if isinstance(data, tuple | dict | np.void | str | bytes) or data is None:
        return True
    if isinstance(data, list):
        return len(data) <= GROUP_ROWS
    if hasattr(data, "blocks"):
        return False
    return not _iterates(data)


def _iterates(data: Any) -> bool:
    return hasattr(data, "__iter__") or hasattr(data, "__next__")


def as_rows(data: Any, schema: Schema, label: str) -> Rows:
    """Cast one row or several that are all there."""
    if isinstance(data, Incoming):
        parts = list(blocks_of(data, schema, label))
        rows: Rows = joined(parts)
        return rows
    facts = facts_of(schema.given)
    what = f"append to {label!r}"
    with explained(schema):
        rows = to_records(data, facts.schema.dtype, facts.defaults, what=what, loose=facts.loose)
    return rows


@contextmanager
def explained(schema: Schema) -> Iterator[None]:
    """Say of a field that rows must not give that it is computed."""
    try:
        yield
    except DTypeError as error:
        for column in schema.columns:
            if column.name == error.column and column.expression is not None:
                raise DTypeError(
                    f"column {column.name!r} is computed from {column.expression!r}; leave it "
                    "out, its values cannot be given",
                    column=column.name,
                ) from error
        raise


def as_values(
    values: Any, schema: Schema, fields: Fields, shape: tuple[int, ...], label: str
) -> Any:
    """Cast values for an assignment, and stretch one value over all rows.

    Parameters
    ----------
    fields : Fields
        What is assigned to.
    shape : tuple of int
        Of the part that is assigned to: rows, then `fields.item_shape`.

    Returns
    -------
    ndarray of that shape, or Batch of rows with strings or cells
        May be read-only and share memory with `values`.

    Raises
    ------
    DTypeError
        A value would lose something, or a field is missing or unknown.
    ShapeError
        The number of values does not fit.
    """
    array = as_items(values, schema, fields, label)
    rows = shape[: len(shape) - len(fields.item_shape)]
    n_rows = int(np.prod(rows, dtype=np.int64))
    if len(array) not in (1, n_rows):
        raise ShapeError(
            f"assign to {label}: {len(array)} values for {n_rows} rows; nothing was changed"
        )
    if isinstance(array, Batch):
        return array.broadcast(n_rows) if len(array) == 1 else array
    if len(array) == 1:
        return np.broadcast_to(array.reshape(fields.item_shape), shape)
    return array.reshape(shape)


def as_items(values: Any, schema: Schema, fields: Fields, label: str, *, first_row: int = 0) -> Any:
    """Cast values to one item a row; one row for a single value.

    Returns
    -------
    ndarray of shape (n, ...), or Batch of rows with strings or cells
    """
    what = f"assign to {label}"
    if fields.is_structured and not fields.item_shape and not is_nullable(fields.dtype):
        if isinstance(values, np.ndarray) and values.ndim != 1:
            values = values.reshape(-1)
        with explained(schema):
            rows: Rows = to_records(
                values, fields.dtype, what=what, first_row=first_row, loose=fields.loose
            )
        return rows
    return _cast_items(values, fields, label, what, first_row)


def _cast_items(values: Any, fields: Fields, label: str, what: str, first_row: int) -> Array:
    """Cast to one item a row, shape ``(n, *fields.item_shape)``; one row for one value."""
    shape = fields.item_shape
    name = label.split("'")[1] if "'" in label else label
    if fields.is_ragged:
        one = is_cell(values, fields.dtype) in (True, None)
        values = [values] if one else values
        return cast_values(values, fields.dtype, column=name, first_row=first_row, what=what)
    dtype = np.dtype((fields.dtype, shape)) if shape else fields.dtype
    single = isinstance(values, str | bytes | tuple | np.void) if not shape else False
    if single or np.ndim(values) <= len(shape):
        if shape and np.ndim(values) < len(shape):
            values = np.broadcast_to(np.asarray(values), shape)
        values = [values]
        if shape:
            values = np.asarray(values)
    elif isinstance(values, np.ndarray) and not shape:
        values = values.reshape(-1)
    return cast_values(values, dtype, column=name, first_row=first_row, what=what)
