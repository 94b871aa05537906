"""Lists of text in HDF5: JSON, one string of any length each.

HDF5 has sequences of strings, h5py no way to write them. The attribute KIST says which columns of
text are such lists, so that these come back, nulls among them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

import kist
from kist.bridges.base import TEXT
from kist.bridges.nulls import holds_nulls
from kist.errors import ConversionError

__all__ = ["are_lists", "known_lists", "lists_on_disk", "restore_lists"]

Array = np.ndarray[Any, Any]


def are_lists(column: Any) -> bool:
    """Tell whether the rows of a ragged column are lists of text of any length."""
    return bool(column[:0].values.dtype.char == "T")


def known_lists(column: Any) -> dict[str, bool]:
    """Return what kist alone knows of a column of lists of text."""
    items = column[:0].values.dtype
    return {"missing": hasattr(items, "na_object"), "nullable": holds_nulls(column.dtype)}


def lists_on_disk(values: Any) -> Array:
    """Return lists of text as JSON, an array of objects."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    return np.array([encode(cell) for cell in values.to_list()], object)


def restore_lists(
    entries: dict[str, Any], columns: dict[str, Any], place: str
) -> dict[str, Callable[[Array], Any]]:
    """Put lists into the columns of a plan in place of the text that kist wrote for them.

    Parameters
    ----------
    entries : dict
        What the file says of columns; it may say anything.
    columns : dict
        The columns of the plan, which get other dtypes.

    Returns
    -------
    dict
        What makes lists of text as h5py reads it, by column.
    """
    found: dict[str, Callable[[Array], Any]] = {}
    for name, entry in entries.items():
        if columns.get(name) != TEXT:
            continue  # it was changed since kist wrote it: it comes over as what it is
        items = TEXT if entry.get("missing") is True else np.dtypes.StringDType()
        dtype = kist.ragged(items)
        columns[name] = kist.nullable(dtype) if entry.get("nullable") is True else dtype
        found[name] = _reader(columns[name], f"{place}.{name}")
    return found


def _reader(dtype: Any, place: str) -> Callable[[Array], Any]:
    def lists(values: Array) -> Any:
        texts = [text.decode() if isinstance(text, bytes) else text for text in values.tolist()]
        try:
            return kist.Ragged.from_list([json.loads(text or "[]") for text in texts], dtype)
        except (ValueError, TypeError, RecursionError) as error:
            raise ConversionError(
                f"{place}: text that is no list of text, as KIST says that all of it is: {error}"
            ) from error

    return lists
