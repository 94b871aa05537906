"""Short strings written as NumPy keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kist._kernels import strings
from kist._kernels.ordering import sortable, stable_order

TEXT = np.dtypes.StringDType(na_object=None)
TEXTS = ["", "a", "a\0", "\0", "ä", "x" * 15, "\U0001f600", None]


def _texts(n: int, longest: int = 15) -> list[str | None]:
    rng = np.random.default_rng(n)
    letters = ["a", "b", "\0", "ä", "\U0001f600", ""]
    found: list[str | None] = []
    while len(found) < n:
        text = "".join(rng.choice(letters, rng.integers(0, 6)))
        if len(text.encode()) <= longest:
            found.append(text if rng.random() > 0.1 else None)
    return found


def test_words_of_short_strings_give_these_strings() -> None:
    values = np.array(TEXTS + _texts(500), TEXT)
    words = strings.words_of(values)
    assert words is not None
    out = np.empty(len(values), TEXT)
    assert strings.put_words(words, out)
    assert out.tolist() == values.tolist()
    where = np.arange(len(values))[::-1].copy()
    back = np.empty(len(values), TEXT)
    assert strings.put_words(words, back, where)
    assert back.tolist() == values[::-1].tolist()


def test_strings_written_as_words_can_be_changed_and_copied() -> None:
    words = strings.words_of(np.array(["a", "b", None], TEXT))
    assert words is not None
    out = np.empty(3, TEXT)
    assert strings.put_words(words, out)
    out[0], out[1], out[2] = "longer than fifteen bytes", None, "c"
    assert out.tolist() == ["longer than fifteen bytes", None, "c"]
    assert out.copy()[::-1].tolist() == ["c", None, "longer than fifteen bytes"]


def test_bytes_and_lengths_become_words() -> None:
    texts = [text.encode() for text in TEXTS[:-1] if text is not None]
    rows = np.full((len(texts), 16), 0x41, np.uint8)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = list(text)
    words = strings.short_words(rows, np.array([len(text) for text in texts]))
    assert words is not None
    out = np.empty(len(texts), TEXT)
    assert strings.put_words(words, out)
    assert [text.encode() for text in out.tolist()] == texts


def test_long_strings_have_no_words() -> None:
    assert strings.words_of(np.array(["short", "x" * 16], TEXT)) is None
    assert strings.words_of(np.array(["x" * 300], TEXT)) is None


def test_words_never_go_over_other_strings() -> None:
    words = strings.words_of(np.array(["a"], TEXT))
    assert words is not None
    out = np.array(["a string of NumPy's own, which has memory elsewhere"], TEXT)
    assert not strings.put_words(words, out)
    assert out[0].startswith("a string")
    strided = np.empty(4, TEXT)[::2]
    assert not strings.put_words(words, strided, np.zeros(2, int))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("longest", [15, 1_000])
def test_strings_sort_by_their_bytes(descending: bool, longest: int) -> None:
    listed: list[Any] = [*_texts(400), *(["z" * 31, "z" * 32, "z" * 33] if longest > 15 else [])]
    order = stable_order(sortable(np.array(listed, TEXT), descending=descending))
    there = [at for at, text in enumerate(listed) if text is not None]
    right = sorted(there, key=lambda at: listed[at], reverse=descending)
    right += [at for at, text in enumerate(listed) if text is None]
    assert order.tolist() == right
