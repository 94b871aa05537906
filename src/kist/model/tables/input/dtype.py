"""What users give for the dtype of a table: NumPy's own, or names with dtypes.

NumPy has no structured dtype with `StringDType` fields, and ragged columns hold arrays of any
length, so a table that has such columns is described by a dict, or by a list of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kist.errors import DTypeError
from kist.format.categorical import is_categorical
from kist.format.dtypes import is_string_dtype
from kist.format.leaves import is_loose
from kist.format.schema import Schema

__all__ = ["RowDtype", "as_dtype", "dtype_by_name", "row_dtype", "schema_has"]

DType = np.dtype[Any]
RowDtype = DType | list[tuple[str, DType]]
"""Structured; or names and dtypes, when one of them is a `StringDType`, ragged or categorical."""


def as_dtype(dtype: Any, what: str) -> DType:
    """Return what NumPy takes for a dtype, or raise `DTypeError`."""
    try:
        found: DType = np.dtype(dtype)
        return found
    except (TypeError, ValueError, SyntaxError) as error:
        raise DTypeError(f"{what}: {dtype!r} is no dtype: {error}") from error


def row_dtype(dtype: Any, what: str) -> RowDtype:
    """Return the dtype of a row.

    Parameters
    ----------
    dtype : dtype-like, dict of str to dtype-like, or list of (str, dtype-like)
        A dict with the keys ``names`` and ``formats`` is NumPy's own.
    what : str
        The operation, for messages.

    Raises
    ------
    DTypeError
        It is none, or has strings of any length inside a column.
    """
    if isinstance(dtype, Mapping) and not {"names", "formats"} <= dtype.keys():
        pairs = list(dtype.items())
        if not pairs:
            raise DTypeError(f"{what}: a table needs at least one column")
        return _of_pairs(pairs, what)
    if isinstance(dtype, list) and _names_strings(dtype):
        return _of_pairs(dtype, what)
    found = as_dtype(dtype, what)
    if found.fields and any(_stands_alone(found[name].base) for name in found.names or ()):
        # NumPy 2.4 takes strings in a dict of names and formats, and then cannot make arrays.
        return [(name, found[name]) for name in found.names or ()]
    return found


def _stands_alone(dtype: DType) -> bool:
    """Tell whether a dtype can be that of a column, but of no field of NumPy's rows."""
    return is_loose(dtype) or is_categorical(dtype)


def _names_strings(fields: Sequence[Any]) -> bool:
    return any(
        isinstance(field, tuple) and len(field) > 1 and _is_strings(field[1]) for field in fields
    )


def _is_strings(spec: Any) -> bool:
    """Tell whether something that stands for a dtype holds a `StringDType`, or is categorical."""
    if isinstance(spec, np.dtype):
        return is_string_dtype(spec.base) or is_categorical(spec.base)
    if isinstance(spec, list):
        return _names_strings(spec)
    if isinstance(spec, tuple) and spec:
        return _is_strings(spec[0])
    return spec is np.dtypes.StringDType or (isinstance(spec, str) and spec == "T")


def _of_pairs(pairs: Sequence[Any], what: str) -> RowDtype:
    fields: list[tuple[str, DType]] = []
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) < 2 or not isinstance(pair[0], str):
            raise DTypeError(
                f"{what}: {pair!r} is no column: give pairs of a name and a dtype, or a dict"
            )
        name, spec, *shape = pair
        if _is_strings(spec) and (shape or isinstance(spec, (list, tuple))):
            raise DTypeError(
                f"{what}: column {name!r}: StringDType can be a column, not a field or a sub-array"
                " inside one: give the strings a column of their own, or a fixed width such as"
                " 'U20'",
                column=name,
            )
        if spec is np.dtypes.StringDType:
            spec = np.dtypes.StringDType()
        fields.append((name, as_dtype((spec, *shape) if shape else spec, what)))
    if any(_stands_alone(dtype) for _, dtype in fields):
        return fields
    return as_dtype(fields, what)


def dtype_by_name(row: RowDtype) -> dict[str, DType]:
    """Return the dtypes of the columns."""
    if isinstance(row, np.dtype):
        return {name: row[name] for name in row.names or ()}
    return dict(row)


def schema_has(schema: Schema, row: RowDtype) -> bool:
    """Tell whether a table has exactly these columns."""
    if isinstance(row, np.dtype):
        alone = any(_stands_alone(column.dtype) for column in schema.columns)
        return not alone and bool(schema.dtype == row)
    return [(column.name, column.dtype) for column in schema.columns] == row
