"""Dtypes of columns of which Arrow has one type for several: kept beside it, and given again."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np

import kist
from kist.bridges.categories import sort_of
from kist.bridges.nulls import is_nullable

__all__ = ["dtypes_again", "dtypes_beside", "holds_nat"]

_UNITS: Final = ("ms", "us", "ns")
"""Of times, in all of Arrow's formats."""


def dtypes_beside(table: Any, names: list[str], before: Collection[str]) -> dict[str, str]:
    """Return the dtypes of columns that would come back as others; nullable ones with a mark.

    Parameters
    ----------
    names : list of str
        Of the columns that go out.
    before : collection of str
        Columns that get the type again that they had in another file.
    """
    found = {}
    for name in names:
        column = table[name]
        if name in before or column.shape[1:] or sort_of(column) is not None:
            continue
        dtype, nullable = np.dtype(column.dtype), False
        if is_nullable(dtype):
            dtype, nullable = dtype["value"], True
        if dtype.names is None and _is_lost(dtype, nullable):
            found[name] = f"?{dtype.str}" if nullable else dtype.str
    return found


def _is_lost(dtype: np.dtype[Any], nullable: bool) -> bool:
    kind = dtype.kind
    if kind in "SU" and dtype.char != "T":
        return dtype.itemsize > 0
    if kind in "Mm":
        # A time that is not there, and a null, are one in a column that is not nullable.
        unit, step = np.datetime_data(dtype)
        usual = unit in _UNITS or (kind, unit) in (("M", "D"), ("m", "s"))
        return nullable or not usual or step != 1 or not dtype.isnative
    if kind == "V":
        return nullable
    return kind in "biuf" and (not dtype.isnative or (nullable and kind == "f"))


def holds_nat(column: Any) -> bool:
    """Tell whether a nullable column of times holds NaT beside nulls; Arrow has but one word."""
    if not is_nullable(column.dtype) or column.dtype["value"].kind not in "Mm":
        return False
    return any(
        bool(np.isnat(np.ma.MaskedArray(block).compressed()).any()) for block in column.blocks()
    )


def dtypes_again(entries: Any, schema: Any) -> dict[str, Any]:
    """Return column -> dtype, of what a file tells of itself; it may tell anything."""
    found: dict[str, Any] = {}
    for name, text in entries.items() if isinstance(entries, dict) else ():
        if type(text) is not str or schema.names.count(name) != 1:
            continue
        if getattr(schema.field(name).type, "tz", None) is not None:
            continue
        try:
            dtype = np.dtype(text.removeprefix("?"))
        except (TypeError, ValueError):
            continue
        if dtype.kind in "biufSUMmV" and dtype.itemsize and dtype.names is None:
            found[name] = kist.nullable(dtype) if text.startswith("?") else dtype
    return found
