"""Nullable columns where a format has none: pairs of a value and whether it is one, or two columns.

A column that is read by itself is a masked array; assigned to a field of pairs, NumPy would make
both of them from the values alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import kist

__all__ = [
    "free_name", "holds_nulls", "is_nullable", "is_ragged", "paired", "restored", "split_nulls",
    "value_of", "with_nulls",
]  # fmt: skip

Array = np.ndarray[Any, Any]


def is_nullable(dtype: Any) -> bool:
    """Tell whether a dtype is that of a nullable column."""
    if dtype.names != ("value", "valid") or dtype["value"].names or dtype["value"].subdtype:
        return False
    return bool(dtype == kist.nullable(dtype["value"]))


def is_ragged(dtype: Any) -> bool:
    """Tell whether a dtype is that of a ragged column."""
    return dtype.names is not None and "ragged" in dtype.fields and len(dtype.names) == 3


def holds_nulls(dtype: Any) -> bool:
    """Tell whether a column of a dtype may have nulls, ragged ones among them."""
    return is_nullable(dtype) or (is_ragged(dtype) and bool(kist.nullable(dtype) == dtype))


def value_of(dtype: Any) -> Any:
    """Return the dtype of the values of a column."""
    return dtype["value"] if is_nullable(dtype) else dtype


def paired(values: Any) -> Array:
    """Return a masked array as pairs, zero where there is no value; another array as it is."""
    if not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    found, valid = split_nulls(values)
    out = np.zeros(found.shape, kist.nullable(found.dtype))
    out["value"], out["valid"] = found, valid
    return out


def split_nulls(values: Any) -> tuple[Array, Array]:
    """Return values with zeros in place of nulls, and which of them are values."""
    valid = ~np.ma.getmaskarray(values)
    found = np.array(values.data if isinstance(values, np.ma.MaskedArray) else values)
    found[~valid] = np.zeros((), found.dtype)
    return found, valid


def restored(dtype: Any, names: Any) -> Any:
    """Return a dtype of rows in which the pairs of some fields are nullable values again.

    A file may name any fields: those that are no pairs stay.
    """
    found = [(name, dtype[name]) for name in dtype.names]
    return np.dtype([(n, _nullable(d) if n in names else d) for n, d in found])


def _nullable(dtype: Any) -> Any:
    is_pair = dtype.names == ("value", "valid") and dtype["valid"] == "?"
    return kist.nullable(dtype["value"]) if is_pair and not dtype["value"].names else dtype


def with_nulls(read: Callable[[Any], Any], valid: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that reads values as a masked array, by two that read them and the mask."""
    return lambda where: np.ma.array(read(where), mask=~np.asarray(valid(where), bool))


def free_name(name: str, taken: Any) -> str:
    """Return a name for the column that tells which values of another are there."""
    found = f"{name}_valid"
    while found in taken:
        found += "_"
    return found
