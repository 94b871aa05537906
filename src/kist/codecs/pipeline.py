"""A page through its stages: values into parameters and blocks, and back.

Encoding runs each stage once over the whole page; only the codec works block by block.
Decoding does the same with the part of the page that is wanted: all blocks, or one.

What comes from a file is never trusted: sizes are compared before anything is allocated, at
most a few times the wanted values is, and nothing outside `out` is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kist._kernels.scratch import scratch
from kist.codecs.registry import DECIMAL, PLAIN, REFERENCE, codec, encoding
from kist.codecs.stage import (
    MAX_STEPS,
    Block,
    Encoded,
    LoadedCodec,
    LoadedEncoding,
    Scattered,
    Shape,
    Span,
    Stage,
)
from kist.codecs.values import form_of, store, target_of, to_form
from kist.errors import CodecError

if TYPE_CHECKING:
    from kist.codecs.recipe import Recipe

__all__ = [
    "BLOCK_VALUES",
    "Encoded",
    "Stage",
    "decode",
    "decode_alone",
    "encode",
    "load",
    "span_of",
]

BLOCK_VALUES = 8192
"""Values of a block unless told otherwise."""

_NO_BOOL = "a page of bool holds other bytes than 0 and 1"

_LOADED_PAGES = 512


def encode(values: NDArray[Any], recipe: Recipe, *, block_values: int = BLOCK_VALUES) -> Encoded:
    """Encode one page.

    Parameters
    ----------
    values : ndarray, 1-d
        Any dtype of fixed size without objects, any strides, any byte order.
    recipe : Recipe
        From `choose`. A page that it does not suit is stored otherwise, never wrongly.

    Returns
    -------
    Encoded
        Its blocks may show `values` itself: write them out before it changes.

    Raises
    ------
    CodecError
        The dtype or the shape cannot be stored.
    """
    if block_values < 1:
        raise CodecError(f"a block of {block_values} values holds nothing")
    form = to_form(values)
    stages, blocks = _encode(form, recipe, block_values, may_choose=True)
    return Encoded(tuple(stages), blocks, values.size, block_values)


def _encode(
    form: NDArray[Any], recipe: Recipe, block_values: int, *, may_choose: bool
) -> tuple[list[Stage], list[Block]]:
    # Reading needs none of it.
    from kist.codecs.choose import choose, fallback_of
    from kist.codecs.steps import constant, run_codec, run_encodings

    last, fallback = recipe.steps[-1], fallback_of(recipe.preset)
    if not form.size or not form.itemsize or recipe.steps == ((PLAIN,),):
        stage, blocks = run_codec(form, (PLAIN,), fallback, block_values)
        return [stage], blocks
    if found := constant(form, block_values):
        return [found[0]], found[1]
    encoded = run_encodings(form, recipe.steps[:-1], block_values)
    if encoded is None and may_choose:
        return _encode(form, choose(form, recipe.preset), block_values, may_choose=False)
    # A sample can promise what the page does not keep: then the codec alone.
    stages, rest = encoded or ([], form)
    found = (stages and constant(rest, block_values)) or run_codec(
        rest, last, fallback, block_values
    )
    return [*stages, found[0]], found[1]


def decode(
    stages: Sequence[Stage],
    dtype: np.dtype[Any],
    n_values: int,
    block_values: int,
    which: int | Sequence[int] | NDArray[np.int64],
    blocks: Sequence[Block],
    out: NDArray[Any],
) -> None:
    """Decode blocks of a page into `out`, one behind the other.

    Parameters
    ----------
    stages, n_values, block_values
        As `encode` gave them for the page.
    dtype : dtype
        Of the values that were encoded, in any byte order.
    which : int or sequence of int
        Number of ``blocks[0]`` in the page, when the others follow it; or the numbers of all of
        them, ascending.
    out : ndarray, 1-d
        Exactly the values of these blocks; `dtype`, in any byte order and with any strides.
        Contiguous little-endian arrays are written to without a copy.

    Raises
    ------
    CodecError
        The stages, parameters or blocks are not what `encode` makes of such a page. `out` may
        then hold anything.
    UnknownCodecError
        A newer kist wrote the page.
    """
    if n_values < 0 or block_values < 1:
        raise CodecError(f"no page: {n_values} values, {block_values} in a block")
    shape = Shape(n_values, block_values)
    if isinstance(which, int):
        span = span_of(shape, which, len(blocks))
    else:
        span = _scattered(shape, which, len(blocks))
    if out.ndim != 1 or out.size != span.size:
        raise CodecError(f"{span.size} values do not fit into shape {out.shape}")
    form = form_of(dtype)
    if form_of(out.dtype) != form or out.dtype.kind != dtype.kind:
        raise CodecError(f"a page of {dtype} cannot be decoded into {out.dtype}")
    if not out.size:
        return
    if not form.itemsize:
        from kist.codecs.constant import require_empty

        require_empty(blocks, str(dtype))
        return
    target = target_of(out)
    result = np.empty(out.size, form) if target is None else target
    loaded, last = load(tuple(stages), form, shape)
    buffers = [result]
    shown: NDArray[Any] | None = None
    for number, step in enumerate(loaded):
        buffer = buffers[-1]
        same = step.form.itemsize == buffer.itemsize
        if not same and step is loaded[-1] and stages[-1].id == PLAIN:
            plain: Any = last
            shown = plain.view(blocks, step.form, span)
        if shown is not None:
            buffers.append(shown)
        elif same:
            buffers.append(buffer.view(step.form))
        else:
            buffers.append(scratch(f"decode{number}", out.size, step.form))
    if shown is None:
        last.decode(blocks, buffers[-1], span)
    for place in reversed(range(len(loaded))):
        loaded[place].decode(buffers[place + 1], buffers[place], span)
    if dtype.kind == "b" and result.max() > 1:
        raise CodecError(_NO_BOOL)
    if target is None:
        store(result, out)


def decode_alone(
    stages: Sequence[Stage],
    dtype: np.dtype[Any],
    block_values: int,
    blocks: Sequence[Block],
    out: NDArray[Any],
) -> None:
    """Decode whole blocks of pages without encodings into contiguous `out` of `dtype`.

    What `decode` does, for values that stand in memory as they were stored, with less around it.

    Raises
    ------
    CodecError
        The stage or the blocks are not what `encode` makes of such pages.
    """
    n_values = len(blocks) * block_values
    form = form_of(dtype)
    _, last = load(tuple(stages), form, Shape(block_values, block_values))
    last.decode(blocks, out, Span(0, len(blocks), 0, n_values))
    if dtype.kind == "b" and out.view(np.uint8).max() > 1:
        raise CodecError(_NO_BOOL)


def span_of(shape: Shape, first_block: int, n_blocks: int) -> Span:
    """Return the values of consecutive blocks of a page."""
    n_values, block_values = shape
    total = -(-n_values // block_values)
    if first_block < 0 or first_block + n_blocks > total:
        raise CodecError(
            f"blocks {first_block} to {first_block + n_blocks - 1} of a page of {total}"
        )
    start = min(first_block * block_values, n_values)
    return Span(first_block, n_blocks, start, min(start + n_blocks * block_values, n_values))


def _scattered(shape: Shape, which: Sequence[int] | NDArray[np.int64], n_blocks: int) -> Span:
    if n_blocks != len(which):
        raise CodecError(f"{n_blocks} blocks, {len(which)} numbers of blocks")
    if not n_blocks:
        return span_of(shape, 0, 0)
    numbers = np.asarray(which, np.int64)
    first, last = int(numbers[0]), int(numbers[-1])
    if first < 0 or last >= shape.n_blocks or (numbers[1:] <= numbers[:-1]).any():
        raise CodecError(f"blocks {first} to {last} of a page of {shape.n_blocks}")
    if last - first == n_blocks - 1:
        return span_of(shape, first, n_blocks)
    size = shape.block_values
    stop = min((last + 1) * size, shape.n_values)
    return Scattered(first, n_blocks, first * size, stop, numbers, size)


@lru_cache(maxsize=_LOADED_PAGES)
def load(
    stages: tuple[Stage, ...], form: np.dtype[Any], shape: Shape
) -> tuple[tuple[LoadedEncoding, ...], LoadedCodec]:
    """The stages of a page with their parameters checked: single blocks use them many times."""
    if not 0 < len(stages) <= MAX_STEPS:
        raise CodecError(f"a page has 1 to {MAX_STEPS} stages, not {len(stages)}")
    steps: list[Any] = []
    for stage in stages[:-1]:
        step: Any = encoding(stage.id).load(stage.params, form, shape)
        form = step.form
        if len(steps) == 1 and stage.id == REFERENCE and stages[0].id == DECIMAL and step.widens:
            steps = [steps[0]._replace(form=form)]  # it takes integers of any width: a pass less
            continue
        steps.append(step)
    return tuple(steps), codec(stages[-1].id).load(stages[-1].params, form, shape)
