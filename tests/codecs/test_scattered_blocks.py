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
