"""What users give for the values of an array: into its dtype, checked by value."""

from __future__ import annotations

from typing import Any

import numpy as np

from kist.errors import DTypeError, ShapeError
from kist.format.leaves import is_loose
from kist.format.nullable import is_masked_array
from kist.format.ragged import item_text
from kist.model.cast_values import Cast
from kist.model.casts import to_records

__all__ = ["as_array_dtype", "as_item", "cast_array", "is_sliceable"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]


def as_array_dtype(dtype: Any, what: str) -> DType:
    """Return the dtype of an array from what a user gives.

    Raises
    ------
    DTypeError
        It is none, or its items are Python objects.
    """
    try:
        found: DType = np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{what}: {dtype!r} is no dtype: {error}") from None
    if is_loose(found) and found.kind != "T":
        raise DTypeError(
            f"{what}: arrays hold values of one width, not {item_text(found)}: make a table with a"
            " ragged column, or a key store"
        )
    if found.hasobject and found.kind != "T":
        raise DTypeError(
            f"{what}: dtype {found} holds Python objects; convert it: numbers with "
            "x.astype(float), text with x.astype(np.dtypes.StringDType()); arrays of different "
            "shapes have their place in a key store"
        )
    return found


def is_sliceable(data: Any) -> bool:
    """Tell whether something holds an array that need not be in memory: it is read by slices."""
    return (
        not isinstance(data, np.ndarray | np.generic)
        and isinstance(getattr(data, "shape", None), tuple)
        and isinstance(getattr(data, "dtype", None), np.dtype)
        and hasattr(data, "__getitem__")
        and not hasattr(data, "iloc")  # pandas indexes by label
    )


class _ArrayCast(Cast):
    """A cast of values that are named by their place in an n-d array."""

    def __init__(self, dtype: DType, path: str, shape: tuple[int, ...], what: str) -> None:
        super().__init__(dtype, path, 0, what)
        self.shape = shape
        self.holders = "arrays"

    def place(self, row: int | None = None) -> str:
        if row is None or not self.shape:
            return f"{self.column!r}"
        index = np.unravel_index(row, self.shape)
        shown = ", ".join(str(int(k)) for k in index)
        return f"value [{shown}] for {self.column!r}"


def cast_array(values: Any, dtype: DType, path: str, what: str = "assign") -> Array:
    """Return values as an array of a dtype.

    Parameters
    ----------
    values : array-like
        Of any shape: an array, a scalar, nested lists.
    dtype : dtype
        Of the array that they are for.
    path, what : str
        Of the array, and the operation, for messages.

    Returns
    -------
    ndarray, of `dtype`
        `values` itself when it is that already.

    Raises
    ------
    DTypeError
        A value would change: cut string, overflow, lost fraction or precision, missing value.
    ShapeError
        Nested lists of different lengths.
    """
    if is_masked_array(values):
        if np.ma.getmaskarray(values).any():
            raise DTypeError(
                f"{what}: {path!r} takes no masked values; fill them first: x.filled(...)"
            )
        values = values.data
    if not isinstance(values, np.ndarray) and hasattr(values, "__array__"):
        values = np.asarray(values)
    if isinstance(values, np.ndarray):
        source = values.view(np.ndarray) if type(values) is not np.ndarray else values
        # NumPy 2.4 finds timedelta64 of either byte order equal.
        if source.dtype == dtype and source.dtype.byteorder == dtype.byteorder:
            return source
        if dtype.names is not None:
            return _records(source.reshape(-1), dtype, path, what).reshape(source.shape)
        cast = _ArrayCast(dtype, path, source.shape, what)
        return cast.flat(cast.as_array(source.reshape(-1))).reshape(source.shape)
    if dtype.names is not None:
        rows, shape = _nested(values, dtype, path, what)
        return _records(rows, dtype, path, what).reshape(shape)
    if not isinstance(values, list | tuple | range):
        cast = _ArrayCast(dtype, path, (), what)
        return cast.flat(cast.as_array([values])).reshape(())
    try:
        items = np.array(values, dtype=object)
    except ValueError as error:
        raise ShapeError(f"{what}: {path!r}: lists of different lengths: {error}") from None
    flat = items.reshape(-1).tolist()
    if any(isinstance(item, list | tuple) for item in flat):
        raise ShapeError(f"{what}: {path!r}: lists of different lengths")
    cast = _ArrayCast(dtype, path, items.shape, what)
    if not flat:
        return np.empty(items.shape, dtype)
    return cast.flat(cast.as_array(flat)).reshape(items.shape)


def _nested(values: Any, dtype: DType, path: str, what: str) -> tuple[Any, tuple[int, ...]]:
    """Return the records of nested lists one after the other, and the shape."""
    shape: list[int] = []
    level = [values]
    while level and all(isinstance(item, list) for item in level):
        lengths = {len(item) for item in level}
        if len(lengths) > 1:
            raise ShapeError(f"{what}: {path!r}: lists of different lengths")
        shape.append(lengths.pop())
        level = [item for part in level for item in part]
    return level, tuple(shape)


def _records(rows: Any, dtype: DType, path: str, what: str) -> Array:
    try:
        found: Array = to_records(rows, dtype, what=f"{what} to {path!r}")
        return found
    except DTypeError as error:
        text = str(error).replace("the table has no field", "the array has no field")
        raise DTypeError(text, row=error.row, column=error.column) from None


def as_item(value: Any, dtype: DType, path: str) -> Array:
    """Return a fill value as a 0-d array of a dtype; 0 is the zero, or empty text, of any.

    Raises
    ------
    DTypeError
        The value does not fit the dtype.
    ShapeError
        It is no single value.
    """
    if not dtype.itemsize:
        return np.ndarray((), dtype, b"")
    missing = value is None and getattr(dtype, "na_object", "") is not None
    if missing or (type(value) is int and value == 0):
        return np.zeros((), dtype)
    item = cast_array(value, dtype, path, "fill_value")
    if item.size != 1:
        raise ShapeError(f"fill_value of {path!r} is one value, not shape {item.shape}")
    return item.reshape(())
