"""Strings as words, beside Python's own strings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist._kernels.ordering import stable_order
from kist._kernels.textwords import TextNumbering, equal_words, sorting_words

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
