"""Leaves: what is stored of a column that has inner structure.

A dtype without fields is one leaf; each innermost field of a structured dtype is one; a sub-array
is one leaf with several values a row. Leaves are numbered depth first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from kist.format.dtypes import is_string_dtype
from kist.format.ragged import is_ragged

__all__ = ["STRING_BYTES", "Leaf", "byte_places", "is_loose", "walk_leaves"]

STRING_BYTES: Final = 40
"""What a string is taken for where memory is planned: 16 bytes that NumPy keeps for each, and a
short text. Writers count what strings really have. Cells are taken for as much."""


def is_loose(dtype: np.dtype[Any]) -> bool:
    """Tell whether values have no fixed width: strings, and cells of ragged columns.

    NumPy keeps neither in structured arrays; there they stand as objects.
    """
    return dtype.kind in "TV" and (is_string_dtype(dtype) or is_ragged(dtype))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One stored column.

    Attributes
    ----------
    id : int
        Stable number, unique in the table, never used again.
    path : tuple of str
        Field names from the top-level column inwards.
    dtype : dtype
        Dtype of one value, without fields or sub-arrays.
    shape : tuple of int
        Shape of the values of one row: the sub-array shapes on the path, outermost first.
    offset : int
        Byte offset in the packed row (`Schema.leaf_dtype`). A loose leaf takes no room.
    n_values : int
        Values per row: the product of `shape`.
    column : int
        Position of its top-level column in `Schema.columns`.
    is_virtual : bool
        It is computed where it is read.
    codes : int or None
        Of a categorical column, whose values are virtual: id of the leaf that holds the codes.
    is_string, is_ragged, is_loose : bool
        Whether the values are strings of any length, cells of any number of items, either.
    nbytes : int
        Bytes in the packed row.
    is_stored : bool
        Whether there is anything to store: nothing is of values without width.
    memory : int
        Bytes in memory of the values of a row; of a string or a cell a guess.
    """

    id: int
    path: tuple[str, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    n_values: int
    column: int
    is_virtual: bool = False
    codes: int | None = None

    # What follows from these is asked for each page that is read, so it is kept.
    is_string: bool = field(init=False, repr=False, compare=False)
    is_ragged: bool = field(init=False, repr=False, compare=False)
    is_loose: bool = field(init=False, repr=False, compare=False)
    nbytes: int = field(init=False, repr=False, compare=False)
    is_stored: bool = field(init=False, repr=False, compare=False)
    memory: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        string, ragged = is_string_dtype(self.dtype), is_ragged(self.dtype)
        nbytes = 0 if string or ragged else self.n_values * self.dtype.itemsize
        set_(self, "is_string", string)
        set_(self, "is_ragged", ragged)
        set_(self, "is_loose", string or ragged)
        set_(self, "nbytes", nbytes)
        set_(self, "is_stored", not self.is_virtual and (string or ragged or nbytes > 0))
        set_(self, "memory", STRING_BYTES if string or ragged else nbytes)


def walk_leaves(
    dtype: np.dtype[Any], path: tuple[str, ...], shape: tuple[int, ...]
) -> Iterator[tuple[tuple[str, ...], np.dtype[Any], tuple[int, ...]]]:
    """Yield path, dtype and shape of every leaf below a dtype, depth first."""
    while dtype.subdtype is not None:
        dtype, inner = dtype.subdtype
        shape += inner
    if dtype.names is None or dtype.fields is None or is_ragged(dtype):
        yield path, dtype, shape
        return
    for name in dtype.names:
        yield from walk_leaves(dtype.fields[name][0], (*path, name), shape)


def byte_places(dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return for each byte of the packed leaves its offset in one item of `dtype`."""
    parts = [
        (places[..., None] + np.arange(base.itemsize)).ravel()
        for places, base in _leaf_places(dtype, np.zeros((), np.intp))
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.intp)


def _leaf_places(
    dtype: np.dtype[Any], places: np.ndarray[Any, Any]
) -> Iterator[tuple[np.ndarray[Any, Any], np.dtype[Any]]]:
    """Yield the offsets of all values of every leaf, in the order of `walk_leaves`."""
    while dtype.subdtype is not None:
        dtype, shape = dtype.subdtype
        steps = np.arange(math.prod(shape), dtype=np.intp) * dtype.itemsize
        places = (places[..., None] + steps).reshape(*places.shape, *shape)
    if dtype.names is None or dtype.fields is None:
        yield places, dtype
        return
    for name in dtype.names:
        base, offset = dtype.fields[name][:2]
        yield from _leaf_places(base, places + offset)
