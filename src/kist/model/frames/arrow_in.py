"""Arrow data as columns of a table: tables, batches, streams, and whatever speaks Arrow.

A stream is read batch by batch, so that memory stays bounded. Numbers and times become NumPy
arrays over Arrow's own memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np

from kist.engine.parallel import run
from kist.errors import DTypeError
from kist.extras import need
from kist.format.categorical import categorical, enum, is_categorical, sort_of
from kist.format.dtypes import is_string_dtype
from kist.format.nullable import nullable, pairs
from kist.format.ragged import is_ragged
from kist.model.frames.arrow_text import STRINGS, text_values, utf8_of
from kist.model.frames.incoming import Incoming, Target, comes_from
from kist.model.frames.notes import ZONES

__all__ = ["column_values", "field_dtype", "from_arrow", "is_text"]

Array = np.ndarray[Any, Any]

_NULLABLE = "biufSV"
"""Kinds of columns that become nullable where there are nulls; text and times have their own."""

_NUMBERS = {
    "bool": "?", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1",
    "uint16": "u2", "uint32": "u4", "uint64": "u8", "halffloat": "f2", "float": "f4",
    "double": "f8", "date32[day]": "M8[D]", "date64[ms]": "M8[ms]",
}  # fmt: skip
"""Arrow's names of types, and the dtypes of their columns."""

_THREAD_ROWS: Final = 32_768
"""Shorter blocks are converted in the calling thread."""

_REFUSED = (
    ("is_map", "nested columns are not there yet; store the parts in a table of their own"),
    ("is_union", "a column holds one type; split it"),
    ("is_decimal", "decimals cannot be kept yet; cast it to float64, or to integers"),
    ("is_time", "times of day cannot be kept yet; cast it to a duration since midnight"),
    ("is_null", "it has no type; cast it to one"),
    ("is_run_end_encoded", "decode it first, as by pyarrow.compute.run_end_decode"),
)


def from_arrow(data: Any, what: str, target: Target | None = None) -> Incoming:
    """Return Arrow data as fields, blocks and notes.

    Parameters
    ----------
    data
        What has ``__arrow_c_stream__`` or ``__arrow_c_array__``, of a struct for each row.
    what : str
        The operation, for messages.
    target : Target, optional
        What it is appended to.

    Raises
    ------
    DTypeError
        A column that a table cannot keep, by name; or nulls inside its values.
    ImportError
        pyarrow is missing.
    """
    pa = need("pyarrow", "arrow", what)
    from kist.model.frames.arrow_ragged import is_binary

    _refuse_objects(data, what)
    reader = _reader(pa, data, what)
    names = list(reader.schema.names)
    for name in names:
        if not name:
            raise DTypeError(f"{what}: a column has no name; give it one")
        if names.count(name) > 1:
            raise DTypeError(f"{what}: two columns are called {name!r}", column=name)
    if not names:
        raise DTypeError(f"{what}: there are no columns, and a table needs one")
    widths = {}
    binary = any(is_binary(field.type) for field in reader.schema)
    # A stream does not say how long bytes get: they are taken as bytes of any length.
    if target is None and binary and not isinstance(data, pa.RecordBatchReader):
        table = reader.read_all()
        widths = {
            field.name: _width(table.column(field.name))
            for field in table.schema
            if is_binary(field.type)
        }
        reader = table.to_reader()
    # A stream tells what is null only as it is read.
    first = next(iter(reader), None)
    batches = reader if first is None else itertools.chain((first,), reader)
    nulls = _with_nulls(data, first) if target is None else set()
    fields = []
    zones: dict[str, str] = {}
    for field in reader.schema:
        if widths.get(field.name):
            dtype = np.dtype(f"S{widths[field.name]}")
        else:
            dtype = field_dtype(field, what)
            if is_categorical(dtype):
                dtype = _with_categories(dtype, field, data, first, what)
        plain = dtype.kind in _NULLABLE and dtype.names is None
        if field.name in nulls and (plain or is_ragged(dtype)):
            dtype = nullable(dtype)
        fields.append((field.name, dtype))
        _find_zones(field, field.name, zones)
    if target is not None:
        for name, dtype in fields:
            if dtype.kind == "M" and name in target.names:
                _check_zone(name, name in zones, target, what)

    nullables = frozenset() if target is None else target.nullable

    def blocks(n_rows: int) -> Iterator[dict[str, Array]]:
        done = 0
        for batch in batches:
            for start in range(0, batch.num_rows, n_rows):
                part = batch.slice(start, n_rows)
                tasks = [
                    partial(_block_values, part.column(at), name, what, done, name in nullables)
                    for at, name in enumerate(names)
                ]
                # Arrow looks at text without the interpreter: two columns at a time.
                threads = part.num_rows >= _THREAD_ROWS
                values = run(tasks) if threads else [task() for task in tasks]
                yield dict(zip(names, values, strict=True))
                done += part.num_rows

    return Incoming(fields, blocks, {ZONES: zones} if target is None else {})


def _block_values(array: Any, name: str, what: str, first_row: int, is_nullable: bool) -> Any:
    if is_text(array.type):
        return utf8_of(array)
    values = column_values(array, name, what, first_row)
    if is_nullable and array.null_count and values.dtype.kind in "Mm":
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        return pairs(values, valid, nullable(values.dtype))
    return values


def _with_nulls(data: Any, first: Any) -> set[str]:
    """Return the columns that have nulls, as far as data that are there, or a first batch, tell."""
    whole = data if hasattr(data, "column_names") and hasattr(data, "column") else first
    if comes_from(data, "polars", "DataFrame"):
        return {name for name in data.columns if data[name].null_count()}
    if whole is None:
        return set()
    names = whole.schema.names
    return {name for at, name in enumerate(names) if whole.column(at).null_count}


def _reader(pa: Any, data: Any, what: str) -> Any:
    try:
        if not hasattr(type(data), "__arrow_c_stream__"):
            data = pa.record_batch(data)
        return pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowInvalid, TypeError) as error:
        raise DTypeError(
            f"{what}: {type(data).__name__} is no table of Arrow columns ({error}); give a table, "
            "record batch or DataFrame"
        ) from error


def _refuse_objects(data: Any, what: str) -> None:
    # polars exports Python objects as their addresses.
    if comes_from(data, "polars", "DataFrame"):
        for name, dtype in data.schema.items():
            if type(dtype).__name__ == "Object" or getattr(dtype, "__name__", "") == "Object":
                raise DTypeError(
                    f"{what}: column {name!r} holds Python objects, which cannot be kept; "
                    "convert it to text or numbers",
                    column=name,
                )


def _check_zone(name: str, zoned: bool, target: Target, what: str) -> None:
    if zoned != (name in target.zones):
        has, lacks = ("data", "table") if zoned else ("table", "data")
        raise DTypeError(
            f"{what}: column {name!r} has a time zone in the {has}, not in the {lacks}; "
            "cast it; nothing was changed",
            column=name,
        )


def _find_zones(field: Any, path: str, zones: dict[str, str]) -> None:
    zone = getattr(field.type, "tz", None)
    if zone:
        zones[path] = zone
    for at in range(field.type.num_fields):
        inner = field.type.field(at)
        _find_zones(inner, f"{path}.{inner.name}", zones)


# Types


def _width(column: Any) -> int | None:
    """Return the bytes of the longest value, for an 'S' that keeps all of them.

    None where bytes of any length suit them better: NumPy drops zeros at the end.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    column = column.cast(pa.large_binary())  # views cannot say their lengths
    lengths = compute.binary_length(column)
    longest, total = compute.max(lengths).as_py() or 0, compute.sum(lengths).as_py() or 0
    n = len(column)
    if longest * n > 4 * total + 64 * n:
        return None
    values = (value for chunk in column.chunks for value in chunk.to_pylist() if value)
    return None if any(value.endswith(b"\0") for value in values) else max(longest, 1)


def field_dtype(field: Any, what: str, path: str = "", *, inside: bool = False) -> np.dtype[Any]:
    """Return the dtype of the column for an Arrow field.

    Parameters
    ----------
    path : str
        Names that lead to a field of a struct.
    inside : bool
        It is what lists hold.

    Raises
    ------
    DTypeError
        There is none; says what to do.
    """
    import pyarrow.types as types

    from kist.model.frames.arrow_ragged import is_binary, is_list, list_dtype

    kind = field.type
    name = f"{path}.{field.name}" if path else field.name
    known = _NUMBERS.get(str(kind))
    if known is not None:
        return np.dtype(known)
    if types.is_timestamp(kind):
        return np.dtype(f"M8[{kind.unit}]")
    if types.is_duration(kind):
        return np.dtype(f"m8[{kind.unit}]")
    if is_text(kind):
        if path:
            raise _no_type(name, kind, "text inside a struct is not there yet", what)
        return STRINGS
    if types.is_dictionary(kind):
        if path:
            raise _no_type(name, kind, "categories inside a struct cannot be kept", what)
        if is_binary(kind.value_type):
            raise _no_type(name, kind, "categories have a width; cast it to binary", what)
        base = field_dtype(field.with_type(kind.value_type), what)
        return categorical(base, ordered=kind.ordered)
    if types.is_fixed_size_binary(kind) and kind.byte_width:
        return np.dtype(f"V{kind.byte_width}")
    if is_binary(kind) or is_list(kind):
        if path or inside:
            raise _no_type(name, kind, "lists and bytes within others are not there yet", what)
        return list_dtype(field, what)
    if types.is_fixed_size_list(kind):
        inner = field_dtype(kind.value_field.with_name(field.name), what, path, inside=True)
        if is_string_dtype(inner):
            if inside:
                raise _no_type(name, kind, "lists of texts within others are not there yet", what)
            return list_dtype(field, what)
        return np.dtype((inner.base, (kind.list_size, *inner.shape)))
    if types.is_struct(kind) and kind.num_fields:
        inner_fields = [kind.field(at) for at in range(kind.num_fields)]
        if len({inner.name for inner in inner_fields}) < len(inner_fields):
            raise _no_type(name, kind, "two of its fields have one name", what)
        spec: Any = [
            (inner.name, field_dtype(inner, what, name, inside=True)) for inner in inner_fields
        ]
        rows: np.dtype[Any] = np.dtype(spec)
        return rows
    for check, why in _REFUSED:
        if getattr(types, check, lambda _: False)(kind):
            raise _no_type(name, kind, why, what)
    raise _no_type(name, kind, "tables have no such type; cast it to another", what)


def _no_type(name: str, kind: Any, why: str, what: str) -> DTypeError:
    return DTypeError(f"{what}: column {name!r} is {kind}: {why}", column=name)


# Values


def column_values(array: Any, name: str, what: str, first_row: int = 0) -> Array:
    """Return an Arrow array as a NumPy array of the dtype that `field_dtype` says.

    Returns
    -------
    ndarray, shape (n, ...), or Cells
        Over Arrow's memory where the layouts agree; may be read-only. NaT stands for null times.

    Raises
    ------
    DTypeError
        A null inside the values of a row. Others make an array of a nullable dtype, but for text
        and times, which have nulls of their own.
    """
    import pyarrow as pa
    import pyarrow.types as types

    from kist.model.frames.arrow_ragged import cells_of, is_binary, is_list

    kind = array.type
    if types.is_dictionary(kind):
        return _of_dictionary(array, name, what, first_row)
    if types.is_fixed_size_list(kind) and is_text(kind.value_type):
        return cells_of(array.cast(pa.large_list(pa.string())), name, what, first_row)
    if is_list(kind) or is_binary(kind):
        return cells_of(array, name, what, first_row)
    nested = types.is_nested(kind) or is_text(kind) or types.is_temporal(kind)
    if not array.null_count or nested:
        return _values(array, name, what, first_row)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    filler: Any = False if types.is_boolean(kind) else 0
    if types.is_fixed_size_binary(kind):
        filler = bytes(kind.byte_width)
    found = _values(array.fill_null(filler), name, what, first_row)
    if found.dtype.kind == "O":
        found = found.astype(np.bytes_)
    return pairs(found, valid, nullable(found.dtype))


def _with_categories(
    dtype: np.dtype[Any], field: Any, data: Any, first: Any, what: str
) -> np.dtype[Any]:
    """Return a categorical dtype with the categories of data, or of the first batch of them."""
    sort = sort_of(dtype)
    assert sort is not None
    if comes_from(data, "polars", "DataFrame"):
        kind = data.schema[field.name]
        if type(kind).__name__ == "Enum" and len(kind.categories):
            return enum(kind.categories.to_list())
    if first is None:
        return dtype
    dictionary = first.column(first.schema.get_field_index(field.name)).dictionary
    values = column_values(dictionary.drop_null().unique(), field.name, what)
    return categorical(sort.base, values, ordered=sort.ordered)


def _of_dictionary(array: Any, name: str, what: str, first_row: int) -> Array:
    """Return the values of a dictionary array; a null may stand in it or behind it."""
    from kist.model.frames.arrow_ragged import is_binary

    # Categories have a width: bytes come as objects, not as cells.
    read = _values if is_binary(array.type.value_type) else column_values
    values = read(array.dictionary, name, what, first_row)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    places = array.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    if not len(values):
        values, places = np.zeros(1, values.dtype), np.zeros(len(places), np.int64)
    found: Array = values[places]
    if valid.all():
        return found
    if found.dtype.kind == "O":
        found = found.astype(np.bytes_)
    if found.dtype.kind == "T":
        found = found.astype(STRINGS)
        found[~valid] = None
        return found
    if found.dtype.names is not None:
        return pairs(found["value"], found["valid"] & valid, found.dtype)
    return pairs(found, valid, nullable(found.dtype))


def is_text(kind: Any) -> bool:
    """Tell whether an Arrow type is that of text."""
    return str(kind) in ("string", "large_string", "string_view")


def _values(array: Any, name: str, what: str, first_row: int) -> Array:
    import pyarrow as pa
    import pyarrow.types as types

    from kist.model.frames.arrow_ragged import is_binary

    kind = array.type
    if is_text(kind):
        return text_values(array)
    if types.is_temporal(kind):
        # NaT is a value of NumPy's dtype, and the only way to say it in Arrow is null.
        return np.asarray(array.to_numpy(zero_copy_only=False))
    if array.null_count:
        row = first_row + int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        raise DTypeError(
            f"{what}: row {row}, column {name!r} ({kind}): one of {array.null_count} nulls inside "
            "structs or lists, which columns cannot hold: fill them first, as by fill_null(...); "
            "nothing was changed",
            row=row,
            column=name,
        )
    if is_binary(kind):
        objects: Array = array.to_numpy(zero_copy_only=False)
        return objects
    if types.is_fixed_size_binary(kind):
        width = kind.byte_width
        data = array.buffers()[1]
        start = array.offset * width
        raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
        return raw[start : start + len(array) * width].view(f"V{width}")
    if types.is_fixed_size_list(kind):
        flat = _values(array.flatten(), name, what, first_row)
        return flat.reshape(len(array), kind.list_size, *flat.shape[1:])
    if isinstance(array, pa.StructArray):
        rows = np.zeros(len(array), field_dtype(pa.field(name, kind), what))
        for at, inner in enumerate(rows.dtype.names or ()):
            rows[inner] = _values(array.field(at), f"{name}.{inner}", what, first_row)
        return rows
    return np.asarray(array.to_numpy(zero_copy_only=False))
