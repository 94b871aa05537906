"""Casts to nullable dtypes: which values are missing, however that is said."""

from __future__ import annotations

from typing import Any

import numpy as np

from kist.format.nullable import pairs, parts

__all__ = ["cast_nullable", "is_null", "split_missing"]

Array = np.ndarray[Any, Any]


def cast_nullable(
    values: Any, dtype: np.dtype[Any], *, column: str, first_row: int, what: str
) -> Array:
    """Return values some of which may be missing in a nullable dtype; as `cast_values`."""
    from kist.model.cast_values import cast_values

    if isinstance(values, np.ndarray) and type(values) is np.ndarray and values.dtype == dtype:
        return values
    source, valid = split_missing(values)
    if not valid.all():
        # Something that can be cast stands where nothing is.
        base = dtype["value"]
        if isinstance(source, np.ndarray):
            source = source.copy()
            source[~valid] = source[valid][0] if valid.any() else np.zeros((), source.dtype)
        elif not valid.any():
            source = np.zeros(len(valid), base)
        else:
            filler = source[int(valid.argmax())]
            source = [v if ok else filler for v, ok in zip(source, valid.tolist(), strict=True)]
    if not len(valid):
        return np.zeros(0, dtype)
    if valid.any():
        source = cast_values(source, dtype["value"], column=column, first_row=first_row, what=what)
    else:
        source = np.zeros(len(valid), dtype["value"])
    return pairs(source, valid, dtype)


def is_null(value: Any) -> bool:
    """Whether a value stands for one of a nullable column that is not there. NaN is a value."""
    return value is None or value is np.ma.masked or type(value).__name__ == "NAType"


def split_missing(values: Any) -> tuple[Any, Array]:
    """Return values, and which of them are there; anything stands in the other places.

    Items may be pairs of a value and whether it is there, as rows hold them.
    """
    if isinstance(values, np.ndarray):
        found = parts(values)
        if found is not None:
            return found
        if values.dtype.kind == "T":  # text, of which some may be missing: None or NaN stands there
            values = [item if type(item) is str else None for item in values.tolist()]
        elif values.dtype.kind == "O":
            values = values.tolist()
        else:
            return values, np.ones(len(values), bool)
    items = values if isinstance(values, list) else list(values)
    valid = np.ones(len(items), bool)
    out: list[Any] = []
    for row, item in enumerate(items):
        if isinstance(item, np.void) and item.dtype.names == ("value", "valid"):
            item = item.item()
        if isinstance(item, tuple) and len(item) == 2:
            value, there = item
            item = value if there else None
        valid[row] = not is_null(item)
        out.append(item)
    return out, valid
