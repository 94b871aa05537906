"""Strings as words, beside Python's own strings."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels import textwords
from kist._kernels.ordering import stable_order
from kist._kernels.textwords import (
    TextMembers,
    TextNumbering,
    equal_words,
    extreme_row,
    sorting_words,
)

WORDS = ["", "a", "a\0", "\0", "\0\0\0\0\0\0\0\0", "\0\0\0\0\0\0\0\0a", "a\x01", "ä", "\U0001f600"]
WORDS += ["seven..", "eight...", "nine.....", "eight...\0", "x" * 63, "x" * 64, "x" * 65, "y" * 300]

strings = st.lists(
    st.one_of(
        st.none(), st.sampled_from(WORDS), st.text(st.characters(codec="utf-8"), max_size=20)
    ),
    max_size=60,
)


def packed(texts: list[str | None]) -> tuple[Any, Any, Any, Any]:
    """Return starts, lengths, missing and text, with bytes before and between that are no part."""
    parts, starts, lengths = [b"\xffno part\0"], [], []
    at = len(parts[0])
    for text in texts:
        own = (text or "").encode()
        parts += [own, b"\x01"]
        starts.append(at)
        lengths.append(len(own))
        at += len(own) + 1
    missing = np.array([text is None for text in texts], bool)
    return (
        np.array(starts, np.int64),
        np.array(lengths, np.int64),
        missing if missing.any() else None,
        np.frombuffer(b"".join(parts), np.uint8),
    )


@given(strings)
def test_words_sort_as_python_sorts_strings(texts: list[str | None]) -> None:
    there = [text for text in texts if text is not None]
    starts, lengths, _, text = packed(there)
    words = [*sorting_words(starts, lengths, text), lengths.view(np.uint64)]
    order = stable_order(words) if there else np.zeros(0, int)
    assert order.tolist() == sorted(range(len(there)), key=lambda at: there[at].encode())


@given(strings)
def test_words_are_equal_where_strings_are(texts: list[str | None]) -> None:
    words = equal_words(*packed(texts))
    keys = [tuple(word[at] for word in words) for at in range(len(texts))]
    for key, one in zip(keys, texts, strict=True):
        assert [other == key for other in keys] == [other == one for other in texts]


@given(st.lists(strings, max_size=4))
def test_strings_keep_their_numbers_from_call_to_call(calls: list[list[str | None]]) -> None:
    table = TextNumbering()
    known: dict[str | None, int] = {}
    for texts in calls:
        found = table.number(*packed(texts))
        assert found.dtype == np.uint64
        for text, number in zip(texts, found.tolist(), strict=True):
            assert known.setdefault(text, number) == number
    assert len(set(known.values())) == len(known)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 40])
def test_many_strings_have_many_numbers(width: int) -> None:
    rng = np.random.default_rng(width)
    texts = ["".join(map(chr, row)) for row in rng.integers(97, 123, (5_000, width))]
    table = TextNumbering()
    before = table.nbytes
    found = table.number(*packed(texts))
    again = table.number(*packed(texts[::-1]))
    assert found.tolist() == again.tolist()[::-1]
    assert len(set(found.tolist())) == len(set(texts))
    assert table.nbytes >= before


def test_long_strings_are_counted_in_bytes() -> None:
    table = TextNumbering()
    before = table.nbytes
    table.number(*packed(["z" * 5_000, "z" * 5_000, "short"]))
    assert 5_000 < table.nbytes - before < 6_000


def many(seed: int, n: int) -> list[str]:
    """Return strings of all lengths, in which few letters repeat."""
    rng = np.random.default_rng(seed)
    lengths = rng.choice([0, 1, 7, 8, 9, 15, 16, 17, 40, 63, 64, 65, 200, 511, 512, 900], n)
    texts = ["".join(map(chr, rng.integers(97, 99, k))) for k in lengths]
    return [text + "x" * int(k) for text, k in zip(texts, rng.integers(0, 4, n), strict=True)]


@pytest.mark.parametrize("n", [50, 20_000])
def test_strings_of_all_lengths_keep_their_numbers(n: int) -> None:
    texts = many(n, n)
    table = TextNumbering()
    known: dict[str, int] = {}
    for part in (texts[: n // 2], texts[n // 3 :], texts[::-1]):
        for text, number in zip(part, table.number(*packed(list(part))).tolist(), strict=True):
            assert known.setdefault(text, number) == number
    assert len(set(known.values())) == len(known)


def test_strings_that_share_a_key_have_numbers_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if the multipliers had been guessed: eight keys for all strings of several words.
    monkeypatch.setattr(textwords, "_mixed", lambda words, _: (words[0] & np.uint64(7)) | 1)
    test_strings_of_all_lengths_keep_their_numbers(50)
    table = TextNumbering()
    texts = [f"{at:020d}" for at in range(300)]
    found = table.number(*packed([*texts, *texts])).tolist()
    assert found[:300] == found[300:] and len(set(found)) == 300


def test_a_shared_key_makes_no_string_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textwords, "_mixed", lambda words, _: words[0] * np.uint64(0) + 1)
    # The words of the first are those with which the second one begins.
    texts = ["12345678abc", "12345678abc\x01\0\0\0\0more", "another string"]
    for order in permutations(texts):
        table = TextNumbering()
        found = [int(table.number(*packed([text]))[0]) for text in [*order, *order]]
        assert len(set(found)) == 3 and found[:3] == found[3:]
    for known in texts:
        starts, lengths, _, text = packed([known])
        members = TextMembers(starts, lengths, text)
        for one in texts:
            starts, lengths, _, text = packed([one])
            assert members.holds(starts, lengths, text).tolist() == [one == known]


def test_growth_is_asked_for_before_it_is_taken() -> None:
    asked: list[int] = []
    table = TextNumbering(asked.append)
    before = table.nbytes
    table.number(*packed([f"{at:030d}" for at in range(30_000)]))
    assert table.nbytes - before > 30_000 * (30 + 8)
    # What is asked for is what the tables grow by, and the keys by number that they keep.
    assert sum(asked) > 0.7 * (table.nbytes - before)


@given(st.lists(st.text("ab\0é", max_size=20), min_size=1, max_size=40, unique=True), st.data())
def test_members_are_those_of_a_set(known: list[str], data: Any) -> None:
    others = data.draw(st.lists(st.one_of(st.sampled_from(known), st.text("ab\0é", max_size=30))))
    starts, lengths, _, text = packed(known)
    members = TextMembers(starts, lengths, text)
    assert members.has_nuls  # there is one in front of all
    starts, lengths, _, text = packed(others)
    assert members.holds(starts, lengths, text).tolist() == [one in known for one in others]


def test_many_members_among_many_strings() -> None:
    texts = many(5, 30_000)
    known = sorted({*texts[:40], *many(6, 3_000)})
    starts, lengths, _, text = packed(list(known))
    members = TextMembers(starts, lengths, text)
    found = members.holds(*(packed(list(texts))[at] for at in (0, 1, 3)))
    every = set(known)
    assert found.tolist() == [one in every for one in texts]


@given(st.lists(st.text("ab\0é", max_size=20), min_size=1, max_size=40), st.booleans())
def test_the_first_extreme_is_that_of_bytes(texts: list[str], largest: bool) -> None:
    starts, lengths, _, text = packed(list(texts))
    place = extreme_row(starts, lengths, text, largest=largest)
    best = (max if largest else min)(one.encode() for one in texts)
    assert place == [one.encode() for one in texts].index(best)
