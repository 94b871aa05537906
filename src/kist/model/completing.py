"""Names that IPython offers inside ``[...]``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

import numpy as np

from kist.errors import KistError

__all__ = ["MOST", "column_names", "completions"]

T = TypeVar("T")

MOST: Final = 1000
"""Names offered at most."""


def completions(names: Callable[[], Iterable[T]]) -> list[T]:
    """Return names, none when the handle cannot be read: pressing a key must not raise."""
    try:
        return list(islice(names(), MOST))
    except (KistError, OSError):
        return []


def column_names(dtype: np.dtype[Any], before: str = "") -> list[str]:
    """Return the names of the fields of a dtype, and with dots those of nested fields.

    >>> column_names(np.dtype([("a", "i4"), ("n", [("x", "f8"), ("y", "f8")])]))
    ['a', 'n', 'n.x', 'n.y']
    """
    found = []
    fields: Mapping[str, Any] = dtype.fields or {}
    for name in dtype.names or ():
        found.append(before + name)
        found += column_names(fields[name][0].base, f"{before}{name}.")
    return found
