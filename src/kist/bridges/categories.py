"""Categories of columns, as bridges need them: whether there are any, and of which sort."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import kist
from kist.errors import DTypeError

__all__ = ["Sort", "enum_dtype", "sort_of"]

Array = np.ndarray[Any, Any]


class Sort(NamedTuple):
    """What a categorical column is.

    Attributes
    ----------
    values : ndarray
        The categories, in the order of their codes.
    fixed : bool
        It is an enumeration.
    ordered : bool
        They are compared in the order of the list.
    numbers : dict of str to int, or None
        Of its names.
    """

    values: Array
    fixed: bool
    ordered: bool
    numbers: dict[str, int] | None

    @property
    def is_text(self) -> bool:
        """Whether the categories are text of any length."""
        return bool(self.values.dtype.char == "T")

    @property
    def names(self) -> dict[str, int]:
        """Names with their numbers; those that have none are counted."""
        return self.numbers or {name: at for at, name in enumerate(self.values.tolist())}


def sort_of(column: Any) -> Sort | None:
    """Return what a categorical column is, None for another."""
    dtype = column.dtype
    if dtype.char != "T" and dtype.names != ("value", "valid"):
        return None  # the usual case, without a look into the store
    try:
        values = column.categories
    except DTypeError:
        return None
    words = str(column.info["dtype"]).split()  # as in "ordered categorical str"
    fixed = "enum" in words[:2]
    ordered = words[0] == "ordered" or words[0] == "enum"
    return Sort(values, fixed, ordered, column.numbers)


def enum_dtype(names: Any, *, ordered: bool = True) -> Any:
    """Return the dtype of an enumeration that a file names; None where it names none.

    Parameters
    ----------
    names
        List of names, or dict of name and number.
    """
    try:
        return kist.enum(names, ordered=ordered)
    except (DTypeError, TypeError, AttributeError):
        return None
