"""Blocks of cells as bytes: what they promise is checked before anything is done with it."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist._kernels.cells import Cells
from kist.codecs.raggedpages import open_cells, pack_cells
from kist.codecs.registry import PLAIN, RAGGED, STRING_DICTIONARY, STRINGS
from kist.codecs.strings import MAX_CONTENT
from kist.errors import CodecError, UnknownCodecError
from kist.format.ragged import ragged

Array = np.ndarray[Any, Any]


def inner(values: Array, stage: int = PLAIN) -> bytes:
    """An inner page as docs/format.md has it, of one stage without parameters."""
    return struct.pack("<BHI", 1, stage, 0) + values.tobytes()


def block(lengths: Any, items: Array, stage: int = PLAIN) -> bytes:
    first = inner(np.array(lengths, "<u4"))
    return struct.pack("<I", len(first)) + first + inner(items, stage)


def peak_of(data: bytes, n: int, dtype: np.dtype[Any], message: str) -> int:
    """Bytes that are taken until a block is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match=message):
            open_cells(data, n, dtype)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_block_as_the_format_says_opens() -> None:
    lengths, items, _ = open_cells(block([2, 0, 1], np.arange(3, dtype="<i2")), 3, ragged("i2"))
    assert lengths.tolist() == [2, 0, 1] and items.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", ["u1", "f8", [("a", "i4"), ("b", "S9")]], ids=str)
@pytest.mark.parametrize("n", [1, 100])
def test_lengths_beyond_the_limit_are_refused_before_memory_is_taken(n: int, dtype: Any) -> None:
    wide = ragged(dtype)
    most = MAX_CONTENT // np.dtype(dtype).itemsize
    for lengths in ([2**32 - 1] * n, [0] * (n - 1) + [most + 1]):
        data = block(lengths, np.zeros(4, "u1"))
        assert peak_of(data, n, wide, "items of .* in a block") < 1 << 20


def test_the_shape_of_items_counts_towards_the_limit() -> None:
    data = block([2**16], np.zeros(4, "f8"))
    assert peak_of(data, 1, ragged("f8", (100, 100)), "items of") < 1 << 20


@pytest.mark.parametrize("lengths", [[1, 1], [4, 0], [0, 0]])
def test_lengths_that_are_not_those_of_the_items_are_refused(lengths: list[int]) -> None:
    with pytest.raises(CodecError):
        open_cells(block(lengths, np.arange(3, dtype="<i2")), 2, ragged("i2"))


@pytest.mark.parametrize("stage", [STRINGS, STRING_DICTIONARY, RAGGED, 99])
def test_stages_that_are_not_for_items_are_refused(stage: int) -> None:
    with pytest.raises((CodecError, UnknownCodecError)):
        open_cells(block([3], np.arange(3, dtype="<i2"), stage), 1, ragged("i2"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bytes_that_are_no_block_raise_nothing_else(data: st.DataObject) -> None:
    cells = Cells.of(np.array([700, 0, 41]), np.arange(741, dtype="<f4"), ragged("f4"))
    raw = bytearray(pack_cells(cells))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        raw[data.draw(st.integers(0, min(120, len(raw) - 1)))] = data.draw(st.integers(0, 255))
    try:
        lengths, items, _ = open_cells(bytes(raw), 3, ragged("f4"))
    except (CodecError, UnknownCodecError):
        return
    assert int(lengths.sum()) == len(items)
