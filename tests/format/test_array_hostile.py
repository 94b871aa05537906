"""Schemas of arrays that would make one value cost any amount of memory."""

from __future__ import annotations

import numpy as np
import pytest

from kist.errors import CorruptDataError
from kist.format.array import MAX_BLOCK_BYTES, ArraySchema


def schema(dtype: str, chunks: tuple[int, ...], blocks: tuple[int, ...]) -> ArraySchema:
    kind = np.dtype(dtype)
    return ArraySchema(kind, chunks, blocks, bytes(kind.itemsize), "auto")


def test_blocks_are_limited_whatever_the_chunks() -> None:
    n = MAX_BLOCK_BYTES // 8
    for good in (schema("<f8", (2 * n,), (n,)), schema("<f8", (16, n), (2, n // 2))):
        assert ArraySchema.unpack(good.pack()) == good
    for bad in (schema("<f8", (2 * n,), (n + 1,)), schema("<f8", (16, n), (3, n // 2))):
        with pytest.raises(CorruptDataError, match="blocks of shape"):
            ArraySchema.unpack(bad.pack())


def test_a_value_may_be_larger_than_a_block_of_others() -> None:
    large = schema(f"V{2 * MAX_BLOCK_BYTES}", (4,), (1,))
    assert ArraySchema.unpack(large.pack()).blocks == (1,)
