"""What tests of random programs on tables share: short row groups, random rows, indices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from kist.model.tables.changes import change as table_change
from kist.model.tables.changes import fold as table_fold
from kist.model.tables.changes import write as table_write
from kist.model.tables.stored import read as table_read
from kist.model.tables.stored import schema as table_schema
from kist.testing.strategies import random_array

__all__ = ["indices", "rows_of", "same", "small_groups"]

Array = np.ndarray[Any, Any]


@contextlib.contextmanager
def small_groups() -> Iterator[None]:
    """Row groups of 64 rows, so that a few hundred rows have all that a million has."""
    # What is derived from schemas is kept, also how large their groups are.
    table_schema._facts.clear()
    with pytest.MonkeyPatch.context() as patch:
        for module in (table_schema, table_read):
            patch.setattr(module, "GROUP_ROWS", 64)
            patch.setattr(module, "BLOCK_ROWS", 8)
        patch.setattr(table_schema, "PIECE_ROWS", 16)
        patch.setattr(table_fold, "FAN_IN", 3)
        patch.setattr(table_fold, "MAX_GAP", 16)
        patch.setattr(table_fold, "LOOSE_PATCHES", 2)
        patch.setattr(table_change, "PATCH_SHARE", 8)
        patch.setattr(table_write, "MAX_LOOSE", 12)
        patch.setattr(table_read, "JOIN_BYTES", 1000)
        try:
            yield
        finally:
            table_schema._facts.clear()


def same(found: Array, expected: Array) -> bool:
    """Whether two arrays hold the same values bit by bit; gaps between fields do not count."""
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    if found.dtype.names is not None:
        return all(same(found[name], expected[name]) for name in found.dtype.names)
    if found.dtype.kind in "fc" and found.dtype.itemsize in (16, 32) and found.dtype.char in "gG":
        # The padding of long doubles is not part of their value.
        return bool(np.array_equal(found, expected, equal_nan=True))
    return found.tobytes() == expected.tobytes()


def rows_of(dtype: np.dtype[Any], n: int, seed: int) -> Array:
    """Random rows: of few distinct values, so that all encodings occur."""
    array = random_array(np.dtype(dtype), n, seed)
    clean(array)
    return array


def clean(array: Array) -> None:
    """Make text that is text, and long doubles that are numbers."""
    for name in array.dtype.names or ():
        clean(array[name])
    if array.dtype.kind == "U" and array.dtype.itemsize:
        words = np.array(["", "a", "zz", "h\u00e4", "\u20ac", "\U0001f40d"])
        array[...] = words[np.arange(array.size).reshape(array.shape) % len(words)]
    if array.dtype.char in "gG":
        array[...] = np.arange(array.size).reshape(array.shape) / 3


@st.composite
def indices(draw: st.DrawFn, n: int) -> Any:
    kind = draw(st.sampled_from(["slice", "list", "mask"]))
    if kind == "slice":
        a, b = sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n))))
        return slice(a, b, draw(st.integers(1, 5)))
    if kind == "list":
        size = draw(st.integers(0, min(n, 9)))
        picks = draw(st.lists(st.integers(0, n - 1), min_size=size, max_size=size, unique=True))
        return np.array(picks, np.int64)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.random(n) < draw(st.sampled_from([0.02, 0.3, 0.9]))
