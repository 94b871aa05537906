"""`Utf8` stands for an array of `StringDType`: what is made of both is the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.codecs.choose import parse_codec
from kist.codecs.stringpages import choose_strings, encode_strings
from kist.codecs.utf8 import STRINGS, Utf8
from kist.errors import CodecError
from kist.indexes.statistics import compute

PARTS = ["", "a", "b", "ä", "\U0001f600", "abcdefgh", "abcdefghijklmnop", "z" * 40, "\0", "\x7f"]
TEXTS = st.none() | st.lists(st.sampled_from(PARTS), max_size=3).map("".join)


def packed(values: list[str | None], before: bytes = b"", behind: bytes = b"") -> Utf8:
    """Return strings as Arrow keeps them, within a longer buffer."""
    raw = [(value or "").encode() for value in values]
    ends = np.cumsum([len(before), *map(len, raw)]).astype("i4")
    missing = np.array([value is None for value in values], bool)
    text = np.frombuffer(before + b"".join(raw) + behind, np.uint8)
    return Utf8.of(ends, missing if missing.any() else None, text)


@given(st.lists(TEXTS, min_size=1, max_size=30), st.data())
def test_it_is_the_array_and_so_are_its_parts(
    values: list[str | None], data: st.DataObject
) -> None:
    found = packed(values, b"xy", data.draw(st.sampled_from([b"", b"\xc3", b"0123456789"])))
    cut = data.draw(st.slices(len(values)))
    assert found.tolist() == values and len(found) == len(values)
    assert found[cut].tolist() == values[cut]
    assert Utf8.join([found, packed(values)]).tolist() == values + values


@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_statistics_are_those_of_the_array(values: list[str | None]) -> None:
    own, other = compute(packed(values)), compute(np.array(values, STRINGS))
    assert own is not None and other is not None and own.pack() == other.pack()


@pytest.mark.parametrize("codec", ["balanced", "fast", "none"])
@pytest.mark.parametrize("n_different", [3, 5000])
def test_pages_are_those_of_the_array(codec: str, n_different: int) -> None:
    rng = np.random.default_rng(n_different)
    drawn = rng.integers(0, n_different, 6000).tolist()
    values = [None if k % 7 == 0 else f"text {k} ä" for k in drawn]
    own, other = packed(values), np.array(values, STRINGS)
    recipe = choose_strings(other, codec)
    assert choose_strings(own, codec) == recipe and recipe.preset == parse_codec(codec)
    found, wanted = (encode_strings(v, recipe, block_values=1024) for v in (own, other))
    assert found.stages == wanted.stages
    assert list(map(bytes, found.blocks)) == list(map(bytes, wanted.blocks))


@pytest.mark.parametrize(
    ("ends", "missing", "text"),
    [
        ([0, 1, 2], None, b"\xc3\xa4"),  # cut within a character
        ([0, 1], None, b"\xff"),
        ([0, 3], None, b"ab"),
        ([0, 2, 1], None, b"ab"),
        ([-1, 1], None, b"ab"),
        ([0, 1], [True], b"a"),
    ],
)
def test_what_is_no_text_is_refused(ends: list[int], missing: object, text: bytes) -> None:
    with pytest.raises(CodecError):
        Utf8.of(
            np.array(ends, "i4"),
            None if missing is None else np.array(missing),
            np.frombuffer(text, np.uint8),
        )
