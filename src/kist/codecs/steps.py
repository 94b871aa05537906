"""The steps of a recipe, run over values: what both a page and a trial on a sample need."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from kist.codecs.registry import CONSTANT, DECIMAL, DICTIONARY, PLAIN, codec, encoding
from kist.codecs.stage import Block, Stage

Steps = tuple[tuple[int, ...], ...]

# Without these, the rest of a recipe has nothing to hold on to.
_MUST_FIT = frozenset((DECIMAL, DICTIONARY))


def run_encodings(
    form: NDArray[Any], steps: Steps, block_values: int
) -> tuple[list[Stage], NDArray[Any]] | None:
    """Apply array -> array steps in turn, leaving out those that do not suit the values.

    Returns
    -------
    (stages, narrowed values), or None
        None when a step that carries the others does not suit them.
    """
    stages: list[Stage] = []
    rest = form
    for number, *options in steps:
        narrowed = encoding(number).encode(rest, block_values, tuple(options))
        if narrowed is not None:
            params, rest = narrowed
            stages.append(Stage(number, params))
        elif number in _MUST_FIT:
            return None
    return stages, rest


def constant(rest: NDArray[Any], block_values: int) -> tuple[Stage, list[Block]] | None:
    """The stage and blocks of values that are all the same, else None."""
    if rest[:1].tobytes() != rest[-1:].tobytes():  # as nearly always where values grow or walk
        return None
    found = codec(CONSTANT).encode(rest, block_values, ())
    return None if found is None else (Stage(CONSTANT, found[0]), found[1])


def run_codec(
    rest: NDArray[Any], step: tuple[int, ...], fallback: tuple[int, ...], block_values: int
) -> tuple[Stage, list[Block]]:
    """Apply the codec, or the fallback where it does not suit, or store plainly."""
    for number, *options in (step, fallback):
        found = codec(number).encode(rest, block_values, tuple(options))
        if found is not None:
            return Stage(number, found[0]), found[1]
    found = codec(PLAIN).encode(rest, block_values, ())
    assert found is not None  # plain suits everything
    return Stage(PLAIN, found[0]), found[1]
