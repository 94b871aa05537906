"""Recipes stand in files: whatever one says, a page is stored rightly or refused, in no time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist.codecs import pipeline
from kist.codecs.recipe import _OPTIONS, Recipe
from kist.codecs.registry import CODECS, ENCODINGS
from kist.codecs.stringpages import decode_strings, encode_strings
from kist.errors import CodecError

EXTREMES = (0, 1, 2, 5, 9, 16, 63, 64, 255, 256, 2**31, 2**32 - 1, 2**32, 2**40, 2**63, 2**64 - 1)
VALUES = {
    "i8": np.arange(500),
    "f8": np.round(np.linspace(0, 9, 500), 2),
    "u1": np.arange(500).astype("u1"),
    "u4": np.arange(500, dtype="u4") * 7,
    "S2": np.array([b"ab", b"c"] * 250),
    "T": np.array(["a", "bb"] * 250, np.dtypes.StringDType()),
}


def step(number: int) -> st.SearchStrategy[tuple[int, ...]]:
    low, high = _OPTIONS[number]
    options = st.lists(st.sampled_from(EXTREMES), min_size=low, max_size=high)
    return options.map(lambda found: (number, *found))


ENCODING = st.sampled_from(sorted(ENCODINGS)).flatmap(step)
CODEC = st.sampled_from(sorted(CODECS)).flatmap(step)


@settings(max_examples=300)
@given(st.lists(ENCODING, max_size=2), CODEC, st.sampled_from(sorted(VALUES)))
def test_a_page_of_any_recipe_reads_back(encodings: Any, codec: Any, name: str) -> None:
    values = VALUES[name]
    out = np.empty_like(values)
    try:
        recipe = Recipe("fast", (*encodings, codec))
        if name == "T":
            page = encode_strings(values, recipe, block_values=200)
            decode_strings(page.stages, 500, 200, 0, page.blocks, out, slice(0, 500))
        else:
            page = pipeline.encode(values, recipe, block_values=200)
            pipeline.decode(page.stages, values.dtype, 500, 200, 0, page.blocks, out)
    except CodecError:
        return
    assert out.tolist() == values.tolist()


@pytest.mark.parametrize(
    "step", [(5, 0), (5, 2**31), (7, 2**20, 8), (17, 1, 200, 0, 0), (18, 99), (19, 1, 300)]
)
def test_options_that_no_kist_writes_are_refused(step: tuple[int, ...]) -> None:
    steps = (step,) if step[0] in CODECS else (step, (16,))
    with pytest.raises(CodecError, match="no recipe"):
        Recipe("fast", steps)
