"""Numbering items: every known item gets its own number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels.lookup import counts_of, distinct, keys_of, number


@given(st.integers(1, 20), st.integers(1, 2000), st.integers(1, 600), st.integers(0, 2**32 - 1))
def test_known_items_are_numbered_and_equal_items_share_keys(size, n, few, seed):
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (few, size), np.uint8).view(f"V{size}").reshape(-1)
    items = pool[rng.integers(0, few, n)]
    keys = keys_of(items)
    by_item: dict[bytes, int] = {}
    for item, key in zip(items.tolist(), keys.tolist(), strict=True):
        assert by_item.setdefault(bytes(item), key) == key
    if size <= 8:
        assert len(set(by_item.values())) == len(by_item)
    examples, known = distinct(items, keys)
    assert (np.diff(known.astype(object)) > 0).all()
    numbers = number(keys, known)
    if numbers is not None:
        assert np.array_equal(known[numbers], keys)
        assert np.array_equal(keys_of(examples), known)


def test_a_few_hundred_items_find_a_table():
    rng = np.random.default_rng(2)
    for few in (1, 2, 16, 100, 256):
        known = np.unique(rng.integers(0, 2**63, few).astype("u8"))
        keys = known[rng.integers(0, known.size, 5000)]
        numbers = number(keys, known)
        assert numbers is not None and numbers.itemsize == 1
        assert np.array_equal(known[numbers], keys)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("size", [1, 3, 32, 33, 200, 256])
@pytest.mark.parametrize("n", [0, 1, 511, 512, 513, 70_001])
def test_counts_are_those_of_each_number(dtype: str, size: int, n: int) -> None:
    numbers = np.random.default_rng(n).integers(0, size, n).astype(dtype)
    numbers[: n // 2] = size - 1
    expected = [int((numbers == number).sum()) for number in range(size)]
    assert counts_of(numbers, size).tolist() == expected
