"""Values at some positions of a page, without making all of its blocks.

What stands for each value by itself is undone for those that are wanted only. A value behind
differences is the first of its block and the sum of what lies between: few sums of long runs
take one pass over narrow integers, where a running sum of all takes three over wide ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.bits import signed, unsigned, unzigzag
from kist._kernels.scratch import scratch
from kist.codecs.decimals import Decimals, LoadedDecimals
from kist.codecs.delta import Delta, LoadedDelta
from kist.codecs.dictionary import Dictionary
from kist.codecs.reference import LoadedReference, Reference
from kist.codecs.stage import LoadedEncoding, Span, Stage
from kist.codecs.values import as_words, form_of
from kist.codecs.zigzag import LoadedZigzag, Zigzag
from kist.errors import CodecError

__all__ = ["may_take", "take_values"]

Array = NDArray[Any]

_SINGLE: Final = {Reference.id, Zigzag.id, Decimals.id, Dictionary.id}
"""Encodings that stand for each value by itself."""

_LINEAR: Final = [[], [Reference.id], [Zigzag.id], [Reference.id, Zigzag.id]]
"""What may stand behind a delta: sums of differences are then sums of what is stored."""

_FEW: Final = 12
"""Below one value in `_FEW`, sums of runs are faster than running sums of all (measured)."""


def may_take(stages: Sequence[Stage]) -> bool:
    """Tell whether the encodings of a page are such that `take_values` can undo them."""
    ids = [stage.id for stage in stages[:-1]]
    if Delta.id not in ids:
        return _SINGLE.issuperset(ids)
    at = ids.index(Delta.id)
    # The order of a delta stands first in its parameters.
    return (
        _SINGLE.issuperset(ids[:at]) and ids[at + 1 :] in _LINEAR and stages[at].params[:1] == b"\1"
    )


def take_values(
    steps: Sequence[LoadedEncoding],
    dtype: np.dtype[Any],
    items: Array,
    span: Span,
    positions: NDArray[np.int64],
    places: NDArray[np.int64],
    out: Array,
) -> None:
    """Fill `out` with the values at some positions of a page.

    Parameters
    ----------
    steps : sequence of LoadedEncoding
        The encodings of a page that `may_take` likes.
    items : ndarray, of `span.size` items
        What the codec made of some blocks. Not changed.
    span : Span
        Which blocks these are.
    positions : ndarray of int64
        Of the page, ascending, each once, all in these blocks.
    places : ndarray of int64
        Where in `items` these are.
    out : ndarray of `dtype`, contiguous
        As many values as positions.

    Raises
    ------
    CodecError
        The items are not what the parameters call for.
    """
    deltas = [at for at, step in enumerate(steps) if isinstance(step, LoadedDelta)]
    at = deltas[0] if deltas else None
    if at is None:
        words = as_words(items)
        values = (items if words is None else words).take(places).view(items.dtype)
        left = list(steps)
    else:
        delta = steps[at]
        assert isinstance(delta, LoadedDelta)
        values = _summed(delta, steps[at + 1 :], items, span, places)
        left = list(steps[:at])
    form = form_of(dtype)
    target = out.view(form)
    if not left:
        target[...] = values.view(form)
        if dtype.kind == "b" and target.max() > 1:
            raise CodecError("a page of bool holds other bytes than 0 and 1")
        return
    whole = Span(0, 0, 0, len(places))
    for place in reversed(range(len(left))):
        step = left[place]
        if place:
            target = np.empty(len(values), left[place - 1].form)
        else:
            target = out.view(form)
        if isinstance(step, LoadedDecimals):
            step.decode_at(values, target, positions)
        else:
            step.decode(values, target, whole)
        values = target


def _summed(
    delta: LoadedDelta,
    inner: Sequence[LoadedEncoding],
    items: Array,
    span: Span,
    places: NDArray[np.int64],
) -> Array:
    """Return what differences add up to at some places, of the form of the delta."""
    if len(places) == 1:
        return _summed_at(delta, inner, items, span, int(places[0]))
    form, size = delta.form, delta.block_values
    starts = delta.starts[0][span.blocks]
    base: Any = 0
    step: Any = 1
    for loaded in reversed(inner):
        if isinstance(loaded, LoadedZigzag):
            wide = np.empty(len(items), signed(items.itemsize))
            unzigzag(items, wide)
            items = wide
        elif isinstance(loaded, LoadedReference):
            base, step = loaded.base or 0, loaded.step or 1
    if len(places) * _FEW >= len(items):
        return _running(delta, inner, items, span).take(places)
    # Sums up to but without each place; those of blocks begin with the item of their start.
    blocks = places // size
    edges = np.concatenate((np.arange(len(starts)) * size, places))
    order = np.argsort(edges, kind="stable")
    edges = edges[order]
    fresh = np.empty(len(edges), bool)
    fresh[0] = True
    np.not_equal(edges[1:], edges[:-1], out=fresh[1:])
    sums = np.add.reduceat(items, edges[fresh], dtype=signed(8))
    before = np.empty(len(sums) + 1, sums.dtype)
    before[0] = 0
    np.cumsum(sums, out=before[1:])
    upto = np.empty(len(edges), sums.dtype)
    upto[order] = before[np.cumsum(fresh) - 1]
    first, last = upto[: len(starts)][blocks], upto[len(starts) :]
    heads = items[::size]
    bits = unsigned(8)
    total = (last - first).view(bits)
    total += items.take(places).astype(signed(8)).view(bits)
    total -= heads.take(blocks).astype(signed(8)).view(bits)
    if step != 1:
        total *= bits.type(step)
    if base:
        total += (places - blocks * size).view(bits) * bits.type(base)
    total += starts[blocks].astype(signed(8)).view(bits)
    return total.astype(unsigned(form.itemsize)).view(form)


def _summed_at(
    delta: LoadedDelta, inner: Sequence[LoadedEncoding], items: Array, span: Span, place: int
) -> Array:
    """Return what differences add up to at one place: one sum over its block up to there."""
    block, at = divmod(place, delta.block_values)
    items = items[place - at + 1 : place + 1]
    base = step = None
    for loaded in reversed(inner):
        if isinstance(loaded, LoadedZigzag):
            wide = np.empty(len(items), signed(items.itemsize))
            unzigzag(items, wide)
            items = wide
        elif isinstance(loaded, LoadedReference):
            base, step = loaded.base, loaded.step
    total = int(np.add.reduce(items, dtype=signed(8)))
    if step is not None:
        total *= int(step)
    if base is not None:
        total += at * int(base)
    total += int(delta.starts[0][span.blocks][block])
    width = delta.form.itemsize
    bits = unsigned(width)
    return np.array([total % (1 << 8 * width)], bits).view(delta.form)


def _running(
    delta: LoadedDelta, inner: Sequence[LoadedEncoding], items: Array, span: Span
) -> Array:
    """Return all values behind the differences; memory of this thread."""
    work = scratch("sums", len(items), delta.form)
    if inner and isinstance(inner[0], LoadedReference):
        inner[0].decode(items, work, span)
    else:
        work[...] = items
    delta.decode(work, work, span)
    return work
