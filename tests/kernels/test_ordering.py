"""Keys as words: they sort as the values do, and are equal where the values are."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kist._kernels.numbering import Numbering, TupleNumbering, key_words
from kist._kernels.ordering import ranges_of, smallest, sortable, stable_order

Array = np.ndarray[Any, Any]

WORDS = st.one_of(
    st.integers(0, 3), st.integers(0, 2**20), st.integers(0, 2**64 - 1), st.just(2**64 - 1)
)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=60), st.integers(0, 70))
def test_words_sort_like_lexsort(rows: list[tuple[int, int, int]], k: int) -> None:
    words = [np.array([row[at] for row in rows], np.uint64) for at in range(3)]
    expected = np.lexsort(words[::-1])
    assert stable_order(words).tolist() == expected.tolist()
    assert smallest(words, k).tolist() == expected[:k].tolist()


@given(
    st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=60),
    st.sets(st.integers(0, 59), max_size=20),
)
def test_rows_lie_behind_the_splitters_that_are_not_above(
    rows: list[tuple[int, int, int]], picked: set[int]
) -> None:
    splitters = sorted({rows[at % len(rows)] for at in picked})
    every = [*splitters, *rows]
    words = [np.array([row[at] for row in every], np.uint64) for at in range(3)]
    expected = [sum(splitter <= row for splitter in splitters) for row in rows]
    assert ranges_of(words, len(splitters)).tolist() == expected


@pytest.mark.parametrize("n_splitters", [1, 22, 255])
@pytest.mark.parametrize("kind", ["even", "few", "skewed", "near", "high"])
def test_ranges_of_many_rows_are_those_that_a_search_finds(kind: str, n_splitters: int) -> None:
    rng = np.random.default_rng(n_splitters)
    n = 20_000
    words = {
        "even": rng.integers(0, 2**64, n, np.uint64),
        "few": rng.integers(0, 40, n, np.uint64),
        "skewed": np.exp(rng.normal(20, 9, n)).clip(0, 2**62).astype(np.uint64),
        "near": np.uint64(2**63) + rng.integers(0, 5_000, n, np.uint64),
        "high": np.uint64(2**64 - 1) - rng.integers(0, 300, n, np.uint64),
    }[kind]
    # Of a few values many rows are equal to a splitter: the second word decides.
    second = rng.integers(0, 2**40, n, np.uint64)
    at = rng.choice(n, n_splitters, replace=False)
    at = at[np.lexsort((second[at], words[at]))]
    both = [np.concatenate([word[at], word]) for word in (words, second)]
    pairs = list(zip(words.tolist(), second.tolist(), strict=True))
    splitters = [pairs[one] for one in at.tolist()]
    expected = [bisect_right(splitters, pair) for pair in pairs]
    assert ranges_of(both, n_splitters).tolist() == expected
    alone = np.searchsorted(np.sort(words[at]), words, "right")
    assert np.array_equal(ranges_of(both[:1], n_splitters), alone)


@pytest.mark.parametrize("n", [100_000, 65_536, 65_537])
def test_words_with_no_room_for_a_position_are_sorted_stably(n: int) -> None:
    rng = np.random.default_rng(n)
    word = rng.integers(0, 1000, n).astype(np.uint64) << np.uint64(54)
    word |= rng.integers(0, 2, n).astype(np.uint64)
    assert np.array_equal(stable_order([word]), np.argsort(word, kind="stable"))


def plain_order(values: list[Any], missing: list[bool], descending: bool) -> list[int]:
    """Return the order that is meant, with Python's own sort."""
    there = [at for at in range(len(values)) if not missing[at]]
    there.sort(key=lambda at: values[at], reverse=descending)
    if descending:  # Python keeps equal values in order under `reverse` too
        assert there == sorted(there, key=lambda at: values[at], reverse=True)
    return there + [at for at in range(len(values)) if missing[at]]


DTYPES = st.sampled_from(
    ["b1", "i1", "u2", "i4", ">i4", "u8", "i8", "f2", ">f4", "f8", "g", "M8[us]", "m8[D]", "S1",
     "S3", "S8", "S11", "U1", "U3", ">U4"]
)  # fmt: skip


@st.composite
def columns(draw: st.DrawFn) -> Array:
    dtype = np.dtype(draw(DTYPES))
    elements = hnp.from_dtype(dtype) if dtype.kind != "f" or dtype.itemsize <= 8 else st.floats()
    few = draw(st.lists(elements, min_size=1, max_size=5))
    picks = draw(st.lists(st.sampled_from(few), max_size=30))
    out = np.empty(len(picks), dtype)
    for at, value in enumerate(picks):
        out[at] = value
    return out


@given(columns(), st.booleans())
def test_any_key_sorts_as_its_values_with_the_missing_last(values: Array, descending: bool) -> None:
    missing = values != values
    listed = [value.item() if value.dtype.kind in "SU" else value for value in values]
    if values.dtype.kind == "g":
        listed = list(values)
    found = stable_order(sortable(values, descending=descending)).tolist()
    assert found == plain_order(listed, missing.tolist(), descending)


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "g", "c8", "c16", "M8[s]", "m8[D]"])
@pytest.mark.parametrize("descending", [False, True])
def test_what_is_missing_is_last_either_way(dtype: str, descending: bool) -> None:
    missing = "NaT" if dtype[0] in "mM" else -np.float64("nan")
    values = np.zeros(5, dtype)
    values[[0, 3]] = missing
    values[1], values[2], values[4] = 1, 3, 2
    found = stable_order(sortable(values, descending=descending)).tolist()
    assert found == [*([2, 4, 1] if descending else [1, 4, 2]), 0, 3]


def test_strings_sort_by_code_points_with_the_missing_last() -> None:
    texts = ["b", None, "a\0", "", "a", "ä" * 300, "b", "\U0001f600"]
    values = np.array(texts, np.dtypes.StringDType(na_object=None))
    there = [text for text in texts if text is not None]
    for descending in (False, True):
        order = stable_order(sortable(values, descending=descending))
        expected = [*sorted(there, reverse=descending), None]
        assert values[order].tolist() == expected


@given(columns())
def test_key_words_are_equal_where_values_are(values: Array) -> None:
    words = key_words(values)
    found = TupleNumbering(len(words)).number(words)
    for i in range(len(values)):
        for j in range(len(values)):
            both_missing = values[i] != values[i] and values[j] != values[j]
            assert (found[i] == found[j]) == bool(values[i] == values[j] or both_missing)


@given(st.lists(st.lists(WORDS, max_size=40), max_size=5))
def test_numbers_stay_with_their_keys(blocks: list[list[int]]) -> None:
    table = Numbering()
    first: dict[int, int] = {}
    for block in blocks:
        found = table.number(np.array(block, np.uint64)).tolist()
        for key, number in zip(block, found, strict=True):
            assert first.setdefault(key, number) == number
    assert len(set(first.values())) == len(first)
    assert table.keys[list(first.values())].tolist() == list(first)


def back(table: Numbering, keys: Array) -> Array:
    """Return the keys of the numbers of some keys."""
    numbers = table.number(keys)
    return table.keys[numbers]


def test_a_table_grows_with_many_keys_in_many_blocks() -> None:
    rng = np.random.default_rng(1)
    table = Numbering()
    for _ in range(6):
        keys = rng.integers(0, 50_000, 30_000).astype(np.uint64) << np.uint64(40)
        assert np.array_equal(back(table, keys), keys)
    assert len(np.unique(table.keys)) == table.count
    few = rng.integers(0, 3, 30_000).astype(np.uint64)
    assert np.array_equal(back(table, few), few)


def test_keys_that_all_hash_to_one_slot_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Numbering()
    monkeypatch.setattr(
        Numbering, "_hash", lambda self, keys: np.full(len(keys), len(self._slots) - 1, np.intp)
    )
    table = Numbering()
    keys = np.arange(1, 400, dtype=np.uint64)
    for part in (keys[:50], keys, keys[::-1]):
        assert np.array_equal(back(table, part), part)


@pytest.mark.parametrize("low_bits", [0, 1, 13])
@pytest.mark.parametrize("n_high", [1, 20, 2_000])
def test_words_that_differ_in_their_last_bits_alone_are_sorted_stably(
    low_bits: int, n_high: int
) -> None:
    rng = np.random.default_rng(low_bits)
    high = rng.integers(0, 2**63, n_high).astype(np.uint64)
    low = rng.integers(0, 1 << low_bits, 3_000).astype(np.uint64)
    word = high[rng.integers(0, n_high, 3_000)] ^ low
    word[0], word[-1] = 2**64 - 1, 0
    assert np.array_equal(stable_order([word]), np.argsort(word, kind="stable"))
