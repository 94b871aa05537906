"""Numbering items: every known item gets its own number."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels.lookup import distinct, keys_of, number


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
