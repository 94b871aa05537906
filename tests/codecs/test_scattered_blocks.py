"""Blocks that do not follow each other decode together, as they would one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.codecs.choose import choose
from kist.codecs.pipeline import decode, encode
from kist.codecs.recipe import Recipe
from kist.codecs.stage import Neighbours
from kist.errors import CodecError

Array = np.ndarray[Any, Any]


def _kinds(rng: np.random.Generator, n: int) -> dict[str, Array]:
    walk = np.round(np.cumsum(rng.normal(size=n)), 2)
    odd = walk.copy()
    odd[rng.integers(0, n, max(1, n // 50))] = np.pi
    missing = walk.copy()
    missing[rng.random(n) < 0.4] = np.nan
    return {
        "decimals": walk,
        "exceptions": odd,
        "bitmap": missing,
        "noise": rng.normal(size=n),
        "steps": np.cumsum(rng.integers(0, 3, n)),
        "few": rng.choice(np.array([b"ab", b"xyz"]), n),
        "runs": np.repeat(np.arange(n // 40 + 1), 40)[:n].astype("f4"),
        "constant": np.full(n, 7, "i2"),
    }


@given(
    st.integers(0, 2**32),
    st.sampled_from(sorted(_kinds(np.random.default_rng(0), 1))),
    st.integers(1, 3000),
    st.integers(1, 400),
    st.sampled_from(["fast", "balanced", "small", "none", "runs"]),
)
def test_scattered_blocks_decode_as_one_by_one(
    seed: int, kind: str, n: int, size: int, preset: str
) -> None:
    rng = np.random.default_rng(seed)
    values = _kinds(rng, n)[kind]
    recipe = Recipe("balanced", ((2,),)) if preset == "runs" else choose(values, preset)
    page = encode(values, recipe, block_values=size)
    n_blocks = len(page.blocks)
    which = np.flatnonzero(rng.random(n_blocks) < 0.5).tolist()
    wanted = [values[i * size : (i + 1) * size] for i in which]
    expected = np.concatenate([values[:0], *wanted])
    out = np.empty_like(expected)
    blocks = [page.blocks[i] for i in which]
    decode(page.stages, values.dtype, n, size, which, blocks, out)
    assert out.tobytes() == expected.tobytes()


@pytest.mark.parametrize("which", [[1, 0, 3], [0, 0, 2], [0, 2, 9], [-1, 2, 3], [0, 2]])
def test_numbers_that_are_no_ascending_blocks_are_refused(which: list[int]) -> None:
    values = np.arange(400.0)
    page = encode(values, choose(values), block_values=100)
    out = np.empty(300)
    with pytest.raises(CodecError):
        decode(page.stages, values.dtype, 400, 100, which, page.blocks[:3], out)


@given(
    st.integers(0, 2**32),
    st.sampled_from(sorted(_kinds(np.random.default_rng(0), 1))),
    st.integers(1, 3000),
    st.integers(1, 400),
    st.sampled_from(["balanced", "none"]),
)
def test_blocks_that_follow_each_other_decode_as_others(
    seed: int, kind: str, n: int, size: int, preset: str
) -> None:
    rng = np.random.default_rng(seed)
    values = _kinds(rng, n)[kind]
    page = encode(values, choose(values, preset), block_values=size)
    first, last = sorted(rng.integers(0, len(page.blocks), 2).tolist())
    stored = [bytes(block) for block in page.blocks[first : last + 1]]
    whole = b"".join(stored)
    blocks = Neighbours(memoryview(whole), np.cumsum(list(map(len, stored))).tolist())
    assert [bytes(block) for block in blocks] == stored
    expected = values[first * size : (last + 1) * size]
    out = np.empty_like(expected)
    decode(page.stages, values.dtype, n, size, first, blocks, out)
    assert out.tobytes() == expected.tobytes()
    assert b"".join(stored) == whole


def test_plain_neighbours_of_other_lengths_are_refused() -> None:
    values = np.round(np.random.default_rng(0).normal(size=900), 2)
    page = encode(values, Recipe("balanced", ((7, 2, 4), (4, 1), (16,))), block_values=300)
    assert [stage.id for stage in page.stages] == [7, 4, 16]
    whole = b"".join(bytes(block) for block in page.blocks)
    third = len(whole) // 3
    for ends in ([third - 2, 2 * third, 3 * third], [third, 2 * third, 3 * third - 2]):
        with pytest.raises(CodecError, match="a plain block holds"):
            blocks = Neighbours(memoryview(whole)[: ends[-1]], ends)
            decode(page.stages, values.dtype, 900, 300, 0, blocks, np.empty(900))
