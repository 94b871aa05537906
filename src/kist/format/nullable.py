"""Nullable columns: values that may be missing, of any dtype of fixed width.

A nullable column is a structured column of two fields: `value`, which has the title ``nullable``,
and `valid`, a bool. Its dtype alone says so; what is stored are the two leaves of any structured
column. docs/design/0009-column-kinds.md says why.
"""

from __future__ import annotations

import sys
from typing import Any, Final, TypeGuard

import numpy as np

from kist.errors import DTypeError
from kist.format.ragged import as_nullable, is_ragged, item_text

__all__ = [
    "as_pairs",
    "dtype_text",
    "has_masked",
    "is_masked_array",
    "is_nullable",
    "nullable",
    "pairs",
    "parts",
]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]

TITLE: Final = "nullable"
_KINDS: Final = "biufcmMSUV"


def nullable(dtype: Any) -> np.dtype[Any]:
    """Return the dtype of a column whose values may be missing.

    Parameters
    ----------
    dtype : dtype-like
        Of the values: numbers, times, text or bytes of fixed width, or `kist.ragged`.
        `StringDType` has nulls of its own, by ``na_object=None``.

    Returns
    -------
    dtype
        Structured: the fields `value` and `valid`. Rows hold both; a column that is read by
        itself is a masked array of the values. Of ragged cells the ragged dtype that has room
        for nulls: rows hold None, `Ragged.mask` tells where.

    Raises
    ------
    DTypeError
        The dtype has fields, sub-arrays or no fixed width.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     t = store.create_table("t", dtype=[("id", "i4"), ("x", kist.nullable("i4"))])
    ...     t.append([(1, 10), (2, None), (3, 30)])
    ...     t["x"][:].tolist(), t["x"].sum(), t.where("isnull(x)")["id"][:]
    3
    ([10, None, 30], np.int64(40), array([2], dtype=int32))
    """
    try:
        found: DType = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        raise DTypeError(f"nullable: {dtype!r} is no dtype: {error}") from error
    if is_nullable(found):
        return found
    if is_ragged(found):
        return as_nullable(found)
    if found.kind == "T":
        raise DTypeError(
            "nullable: StringDType has nulls of its own: np.dtypes.StringDType(na_object=None)"
        )
    if found.names is not None or found.subdtype is not None or found.kind not in _KINDS:
        raise DTypeError(
            f"nullable: values of {found} have several parts or no fixed width; nullable are "
            "numbers, times, text and bytes of fixed width, and kist.ragged(...)"
        )
    return np.dtype([((TITLE, "value"), found), ("valid", "?")])


def is_nullable(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is that of a nullable column."""
    if dtype.names != ("value", "valid") or dtype.fields is None:
        return False
    value = dtype.fields["value"]
    return len(value) > 2 and value[2] == TITLE and dtype.fields["valid"][0] == np.bool_


def dtype_text(dtype: np.dtype[Any], sort: object = None) -> str:
    """Return a dtype as listings show it; `sort` is what a categorical one says of itself."""
    if sort is not None:
        return str(sort)
    if is_ragged(dtype):
        return item_text(dtype)
    return f"nullable {dtype['value']}" if is_nullable(dtype) else str(dtype)


def pairs(values: Array, valid: Array | np.bool_, dtype: np.dtype[Any]) -> Array:
    """Return values of a nullable dtype; zeros stand where none is valid."""
    out: Array = np.zeros(len(values), dtype)
    np.copyto(out["value"], values, where=valid, casting="unsafe")
    out["valid"] = valid
    return out


def as_pairs(values: Array) -> Array:
    """Return a masked array as values of a nullable dtype; other arrays as they are."""
    found = parts(values)
    if found is None or values.dtype.names is not None:
        return values
    return pairs(*found, nullable(values.dtype))


def is_masked_array(values: object) -> TypeGuard[np.ma.MaskedArray[Any, Any]]:
    """Return whether values are a masked array: without `numpy.ma`, of 10 ms, there are none."""
    # Another thread may be loading it.
    kind = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return kind is not None and isinstance(values, kind)


def has_masked(values: Any) -> bool:
    """Tell whether anything is masked in an array, fields too; nothing is in other arrays."""
    if not is_masked_array(values):
        return False
    return bool(np.ma.flatten_mask(np.ma.getmaskarray(values)).any())


def parts(values: Array) -> tuple[Array, Array] | None:
    """Return values, and which of them are there, of an array that can say; else None."""
    if values.dtype.names is not None and is_nullable(values.dtype):
        return values["value"], values["valid"]
    if is_masked_array(values) and values.dtype.names is None:
        return values.data, ~np.ma.getmaskarray(values)
    return None
