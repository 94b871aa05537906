"""The dtype of a table that is made from data without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kist.errors import DTypeError, ShapeError
from kist.format.categorical import dtype_with
from kist.format.leaves import is_loose
from kist.format.nullable import as_pairs, has_masked, is_masked_array, nullable
from kist.model.cast_items import is_missing
from kist.model.cast_nullable import is_null
from kist.model.cast_ragged import as_cells, common_dtype, have_width
from kist.model.cast_values import Array, cast_values
from kist.model.tables.input.dtype import RowDtype

__all__ = ["as_column", "as_ragged", "dtype_of"]


def dtype_of(data: Any, what: str) -> tuple[RowDtype, Any]:
    """Return the dtype of some rows, and the rows; objects that are all text become strings.

    Parameters
    ----------
    data : structured array, dict of columns, list of dicts or records
        Or anything with a structured ``dtype`` and ``blocks()``.
    what : str
        The operation, for messages.

    Raises
    ------
    DTypeError
        The rows have no names, or a column holds objects that are not all text.
    """
    if isinstance(data, np.ndarray | np.void) or hasattr(data, "blocks"):
        if data.dtype.names is None:
            raise DTypeError(
                f"{what}: {data.dtype} values have no fields; give a structured array, a dict of "
                "columns, or dtype="
            )
        if hasattr(data, "blocks"):
            return _of_source(data)
        if data.dtype.hasobject:
            return _of_objects(data, what)
        if is_masked_array(data) and data.ndim == 1:
            return _of_columns({name: _of_masked(data[name]) for name in data.dtype.names}, what)
        return data.dtype, data
    if isinstance(data, Mapping):
        return _of_columns(dict(data), what)
    if isinstance(data, list) and data:
        if isinstance(data[0], np.void) and data[0].dtype.names is not None:
            if data[0].dtype.hasobject:
                return _of_objects(np.array(data, data[0].dtype), what)
            return data[0].dtype, data
        if all(isinstance(row, dict) for row in data):
            return _of_dicts(data, what)
    raise DTypeError(
        f"{what}: {type(data).__name__} does not say which fields a row has; give dtype="
    )


def _of_source(data: Any) -> tuple[RowDtype, Any]:
    """Rows of kist: objects are strings and cells of columns, and categories come along."""
    state = data._state()
    dtypes = {column.name: column for column in state.facts.categorical}
    loose = data._fields(state.schema).loose
    if not loose and not dtypes.keys() & set(data.dtype.names):
        return data.dtype, data
    fields = []
    for name in data.dtype.names:
        dtype = loose.get(name, data.dtype[name])
        if name in dtypes:
            known = state.categories(dtypes[name])
            dtype = dtype_with(known.sort, known.values, known.numbers)
        fields.append((name, dtype))
    return fields, data


def _of_objects(data: Any, what: str) -> tuple[RowDtype, Any]:
    """Rows of which some fields are objects: strings of a table, or of Python."""
    names = data.dtype.names
    rows = np.atleast_1d(data)
    if rows.ndim > 1:
        return data.dtype, data  # refused for its shape where it is cast
    return _of_columns({name: rows[name] for name in names}, what)


def _of_dicts(rows: list[dict[str, Any]], what: str) -> tuple[RowDtype, Any]:
    names = list(rows[0])
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise DTypeError(f"{what}: row {number} has other fields than row 0", row=number)
    return _of_columns({name: [row[name] for row in rows] for name in names}, what)


def _of_columns(columns: dict[str, Any], what: str) -> tuple[RowDtype, dict[str, Any]]:
    if not columns:
        raise DTypeError(f"{what}: an empty dict has no columns")
    fields: list[Any] = []
    arrays = {}
    for name, values in columns.items():
        if not isinstance(name, str):
            raise DTypeError(f"{what}: the name of a column is a str, not {name!r}")
        array = as_column(values, name, what)
        arrays[name] = array
        fields.append((name, array.dtype, array.shape[1:]))
    if all(array.ndim == 0 for array in arrays.values()):
        arrays = {name: array.reshape(1) for name, array in arrays.items()}
        fields = [(name, array.dtype) for name, array in arrays.items()]
    lengths = {name: array.shape[:1] for name, array in arrays.items()}
    first = next(iter(lengths))
    for name, length in lengths.items():
        if length != lengths[first]:
            raise ShapeError(
                f"{what}: column {name!r} has {(*length, 'no')[0]} rows, {first!r} has "
                f"{(*lengths[first], 'no')[0]}"
            )
    if any(is_loose(array.dtype) for array in arrays.values()):
        for name, array in arrays.items():
            if array.ndim > 1 and array.dtype.kind == "T":
                raise DTypeError(
                    f"{what}: column {name!r} holds {array.shape[1:]} strings a row; give each a "
                    "column of its own, or a fixed width such as 'U20'",
                    column=name,
                )
        pairs = [(name, (array.dtype, array.shape[1:])) for name, array in arrays.items()]
        return [(name, np.dtype(dtype if dtype[1] else dtype[0])) for name, dtype in pairs], arrays
    return np.dtype(fields), arrays


def as_column(values: Any, name: str, what: str) -> np.ndarray[Any, Any]:
    """Return the values of one column as an array, or as cells.

    Objects that are all text become strings; lists and arrays of different lengths become cells.
    """
    if hasattr(values, "offsets") or _are_uneven(values):
        return as_ragged(values, name, what)
    if is_masked_array(values):
        values = _without_mask(values, name, what)
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DTypeError(f"{what}: column {name!r} is no array: {error}", column=name) from None
    if isinstance(values, list | tuple) and array.dtype.kind in "US":
        # NumPy makes text of numbers that stand beside text.
        if array.dtype.kind == "U" and _are_texts(list(values)):
            if any(not isinstance(value, str) for value in values):
                array = np.array(values, object)
            values = ()
        for row, value in enumerate(values):
            if isinstance(value, int | float | complex) and not isinstance(value, np.generic):
                raise DTypeError(
                    f"{what}: column {name!r} mixes text and numbers, first in row {row}",
                    row=row,
                    column=name,
                )
    if array.dtype.names is not None and array.dtype.hasobject:
        raise DTypeError(
            f"{what}: column {name!r} has objects among its fields; give each a column of its own",
            column=name,
        )
    return _from_objects(array, name, what) if array.dtype.kind == "O" else array


def _are_uneven(values: Any) -> bool:
    """Tell whether values are lists or arrays of different lengths."""
    if not isinstance(values, list | tuple) or not values:
        return False
    there = [value for value in values if not is_null(value)]
    if not all(isinstance(value, list | np.ndarray) and np.shape(value[:0]) for value in there):
        return False
    return len(set(map(len, there))) > 1 or 0 < len(there) < len(values)


def as_ragged(values: Any, name: str, what: str) -> np.ndarray[Any, Any]:
    """Return cells of the dtype that they have in common, as Cells."""
    dtype = values.dtype if hasattr(values, "offsets") else None
    try:
        dtype = common_dtype(values) if dtype is None else dtype
        return as_cells(values, dtype, column=name, what=what)
    except (TypeError, ValueError) as error:
        if isinstance(error, DTypeError):
            raise
        raise DTypeError(f"{what}: column {name!r} is no array: {error}", column=name) from None


def _of_masked(values: Any) -> Any:
    """Return a field of a masked array; without a mask when nothing is masked."""
    return values if has_masked(values) else values.data


def _without_mask(values: Any, name: str, what: str) -> Any:
    """Return a masked array as values of a nullable column, or as an array when it may be."""
    if values.ndim == 1 and values.dtype.names is None and values.dtype.kind in "biufcmMSUV":
        return as_pairs(values)
    if values.dtype.kind == "O":
        return values.tolist()
    if has_masked(values):
        raise DTypeError(
            f"{what}: column {name!r}: masked values in an array of {values.ndim} dimensions and "
            f"{values.dtype}; nullable are columns of single numbers, times, text and bytes",
            column=name,
        )
    return values.data


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) or is_missing(value) for value in values)


def _strings(array: Array, values: list[Any], name: str, what: str) -> Array:
    """Return text with missing values, which are among `values`, as strings of any length."""
    missing = [value for value in values if not isinstance(value, str)]
    dtype: Any = np.dtypes.StringDType()
    if missing:
        is_nan = all(isinstance(value, float) for value in missing)
        dtype = np.dtypes.StringDType(na_object=np.nan if is_nan else None)
    cast = cast_values(array.ravel(), dtype, column=name, what=what)
    return cast.reshape(array.shape)


def _from_objects(array: np.ndarray[Any, Any], name: str, what: str) -> np.ndarray[Any, Any]:
    values = array.ravel().tolist()
    kinds = set(map(type, values))
    if any(issubclass(kind, str) for kind in kinds) and (kinds <= {str} or _are_texts(values)):
        return _strings(array, [] if kinds <= {str} else values, name, what)
    if kinds <= {bytes}:
        return array.astype(np.bytes_) if have_width(values) else as_ragged(values, name, what)
    kinds_there = {type(value) for value in values if not is_null(value)}
    if array.ndim == 1 and kinds_there and kinds_there <= {list, np.ndarray}:
        return as_ragged(values, name, what)
    if array.ndim == 1 and kinds_there == {bytes}:
        return as_ragged(values, name, what)
    if kinds <= {bool} or kinds <= {int} or kinds <= {int, float}:
        found = np.array(values).reshape(array.shape)
        if found.dtype.kind in "biuf":
            return found
    there = [value for value in values if not is_null(value)]
    if array.ndim == 1 and there and len(there) < len(values):
        found = np.array(there)
        if found.ndim == 1 and found.dtype.kind in "biufc" and _are_alike(there):
            return cast_values(values, nullable(found.dtype), column=name, what=what)
    for row, value in enumerate(values):
        missing = value is None or (isinstance(value, float) and value != value)
        if missing and kinds - {float, type(None)}:
            raise DTypeError(
                f"{what}: column {name!r}, row {row}: {value!r}, and columns cannot hold nulls "
                "yet; fill them first",
                row=row,
                column=name,
            )
        if not isinstance(value, str):
            raise DTypeError(
                f"{what}: column {name!r}, row {row}: {type(value).__name__} objects cannot be "
                "stored; convert the column, or give dtype=",
                row=row,
                column=name,
            )
    raise DTypeError(f"{what}: column {name!r} mixes text with other objects", column=name)


def _are_alike(values: list[Any]) -> bool:
    """Tell whether values are all bool, or all numbers."""
    kinds = set(map(type, values))
    return kinds == {bool} or not any(issubclass(kind, bool | np.bool_ | str) for kind in kinds)
