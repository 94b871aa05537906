"""Values at some positions of a page, without making all of its blocks.

What stands for each value by itself is undone for those that are wanted only. A value behind
differences is the first of its block and the sum of what lies between: few sums of long runs
take one pass over narrow integers, where a running sum of all takes three over wide ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

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

__all__ = ["Taken", "likeness", "may_take", "take_together", "take_values"]

Array = NDArray[Any]

_SINGLE: Final = {Reference.id, Zigzag.id, Decimals.id, Dictionary.id}
"""Encodings that stand for each value by itself."""

_LINEAR: Final = [[], [Reference.id], [Zigzag.id], [Reference.id, Zigzag.id]]
"""What may stand behind a delta: sums of differences are then sums of what is stored."""

_FEW: Final = 40
"""Below one value in `_FEW`, sums of runs of several pages are faster than running sums of all
(measured: those of a page take 200 us and more at one in 33, and the running sum 170)."""

_FEW_ALONE: Final = 150
"""The same of a page by itself, where the calls that sums of runs need take 100 us."""


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


class Taken(NamedTuple):
    """Values that are wanted of a page.

    Attributes
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
    out : ndarray, contiguous
        Where they go, as many values as positions.
    """

    steps: Sequence[LoadedEncoding]
    items: Array
    span: Span
    positions: NDArray[np.int64]
    places: NDArray[np.int64]
    out: Array


def likeness(steps: Sequence[LoadedEncoding], form: np.dtype[Any]) -> tuple[Any, ...]:
    """Return what is equal for pages that `take_together` does as if they were one.

    Parameters
    ----------
    form : dtype
        Of the items of the codec.

    Returns
    -------
    tuple
        Empty for pages that are like no other.
    """
    found: list[Any] = [form]
    linear = False
    for step in steps:
        found += type(step), step.form
        if isinstance(step, LoadedDelta):
            linear = True  # behind it, each page has a base and a step of its own
            found.append(step.block_values)
        elif isinstance(step, LoadedReference) and not linear:
            found += step.base, step.step
        elif isinstance(step, LoadedDecimals):
            if step.items is not None:
                return ()
            found.append(step.exponent)
        elif not isinstance(step, LoadedReference | LoadedZigzag):
            return ()
    return tuple(found)


def take_together(dtype: np.dtype[Any], pages: Sequence[Taken]) -> None:
    """Fill in the values that are wanted of pages of one `likeness`.

    Of a few rows anywhere there are a few in each page: calls for all of them take as long as
    those for one page.

    Raises
    ------
    CodecError
        The items are not what the parameters call for.
    """
    at = _delta_at(pages[0].steps)
    n_items = sum(len(page.items) for page in pages)
    n = sum(len(page.places) for page in pages)
    if len(pages) == 1 or (at is not None and n * _FEW >= n_items):
        for page in pages:
            take_values(dtype, page)
        return
    if at is None:
        parts = [_taken(page.items, page.places) for page in pages]
        values, left = np.concatenate(parts), pages[0].steps
    else:
        values, left = _summed(pages, at), pages[0].steps[:at]
    found = np.empty(n, dtype)
    _undo(left, dtype, values, None, found)
    start = 0
    for page in pages:
        stop = start + len(page.out)
        page.out[...] = found[start:stop]
        start = stop


def take_values(dtype: np.dtype[Any], page: Taken) -> None:
    """Fill in the values that are wanted of a page.

    Raises
    ------
    CodecError
        The items are not what the parameters call for.
    """
    steps, items, span, positions, places, out = page
    at = _delta_at(steps)
    if at is None:
        values, left = _taken(items, places), steps
    else:
        delta = steps[at]
        assert isinstance(delta, LoadedDelta)
        left = steps[:at]
        if len(places) == 1:
            values = _summed_at(delta, steps[at + 1 :], items, span, int(places[0]))
        elif len(places) * _FEW_ALONE >= len(items):
            values = _running(delta, steps[at + 1 :], items, span).take(places)
        else:
            values = _summed([page], at)
    _undo(left, dtype, values, positions, out)


def _delta_at(steps: Sequence[LoadedEncoding]) -> int | None:
    deltas = [at for at, step in enumerate(steps) if isinstance(step, LoadedDelta)]
    return deltas[0] if deltas else None


def _taken(items: Array, places: NDArray[np.int64]) -> Array:
    words = as_words(items)
    return (items if words is None else words).take(places).view(items.dtype)


def _undo(
    left: Sequence[LoadedEncoding],
    dtype: np.dtype[Any],
    values: Array,
    positions: NDArray[np.int64] | None,
    out: Array,
) -> None:
    """Undo encodings of values at some positions, None where these have no exceptions."""
    form = form_of(dtype)
    target = out.view(form)
    if not left:
        target[...] = values.view(form)
        if dtype.kind == "b" and target.max() > 1:
            raise CodecError("a page of bool holds other bytes than 0 and 1")
        return
    whole = Span(0, 0, 0, len(values))
    for place in reversed(range(len(left))):
        step = left[place]
        if place:
            target = np.empty(len(values), left[place - 1].form)
        else:
            target = out.view(form)
        if isinstance(step, LoadedDecimals) and positions is not None:
            step.decode_at(values, target, positions)
        else:
            step.decode(values, target, whole)
        values = target


def _summed(pages: Sequence[Taken], at: int) -> Array:
    """Return what differences add up to in pages that are alike, of the form of their delta.

    Parameters
    ----------
    at : int
        Which of the steps is the delta.
    """
    deltas = [page.steps[at] for page in pages]
    delta = deltas[0]
    assert isinstance(delta, LoadedDelta)
    form, size = delta.form, delta.block_values
    zigzag = any(isinstance(step, LoadedZigzag) for step in pages[0].steps[at + 1 :])
    # Blocks of all pages, one page behind the other; of a page only the last may be shorter.
    lengths = np.array([len(page.items) for page in pages])
    n_blocks = -(-lengths // size)
    offsets = lengths.cumsum() - lengths
    counts = np.array([len(page.places) for page in pages])
    first_blocks = n_blocks.cumsum() - n_blocks
    begins = (np.arange(n_blocks.sum()) - first_blocks.repeat(n_blocks)) * size
    begins += offsets.repeat(n_blocks)
    inside = np.concatenate([page.places for page in pages])
    places = inside + offsets.repeat(counts)
    within = inside // size
    blocks = within + first_blocks.repeat(counts)
    # Sums up to but without each place; those of blocks begin with the item of their start.
    edges = np.concatenate((begins, places))
    order = np.argsort(edges, kind="stable")
    edges = edges[order]
    fresh = np.empty(len(edges), bool)
    fresh[0] = True
    np.not_equal(edges[1:], edges[:-1], out=fresh[1:])
    edges = edges[fresh]
    # No sum reaches beyond its block: of narrow items it fits into four bytes, in half the time.
    wide = signed(8)
    short = size << 8 * pages[0].items.itemsize <= 1 << 31
    sums = np.empty(len(edges), signed(4) if short else wide)
    heads, ends = [], []
    start = 0
    for page, stop, offset in zip(
        pages, edges.searchsorted(offsets + lengths).tolist(), offsets.tolist(), strict=True
    ):
        items = page.items
        if zigzag:
            items = scratch("sums", len(items), signed(items.itemsize))
            unzigzag(page.items, items)
        np.add.reduceat(items, edges[start:stop] - offset, dtype=sums.dtype, out=sums[start:stop])
        heads.append(items[::size].astype(wide))
        ends.append(items.take(page.places).astype(wide))
        start = stop
    before = np.empty(len(sums) + 1, wide)
    before[0] = 0
    np.cumsum(sums, dtype=wide, out=before[1:])
    upto = np.empty(len(order), wide)
    upto[order] = before[np.cumsum(fresh) - 1]
    first, last = upto[: len(begins)][blocks], upto[len(begins) :]
    bits = unsigned(8)
    total = (last - first).view(bits)
    total += np.concatenate(ends).view(bits)
    total -= np.concatenate(heads)[blocks].view(bits)
    bases, factors = _linear(pages, at)
    if factors is not None:
        total *= factors.repeat(counts)
    if bases is not None:
        total += (inside - within * size).view(bits) * bases.repeat(counts)
    starts = [one.starts[0][page.span.blocks] for one, page in zip(deltas, pages, strict=True)]  # type: ignore[attr-defined]
    total += np.concatenate(starts)[blocks].astype(wide).view(bits)
    result: Array = total.astype(unsigned(form.itemsize)).view(form)
    return result


def _linear(pages: Sequence[Taken], at: int) -> tuple[Array | None, Array | None]:
    """Return base and step of the reference behind each delta; None where no page has any."""
    found = [
        next((step for step in page.steps[at + 1 :] if isinstance(step, LoadedReference)), None)
        for page in pages
    ]
    bases = [0 if one is None or one.base is None else int(one.base) for one in found]
    factors = [1 if one is None or one.step is None else int(one.step) for one in found]
    bits = unsigned(8)
    return (
        np.array(bases, bits) if any(bases) else None,
        np.array(factors, bits) if any(factor != 1 for factor in factors) else None,
    )


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
    if any(isinstance(step, LoadedZigzag) for step in inner):
        wide = np.empty(len(items), signed(items.itemsize))
        unzigzag(items, wide)
        items = wide
    work = scratch("sums", len(items), delta.form)
    if inner and isinstance(inner[0], LoadedReference):
        inner[0].decode(items, work, span)
    else:
        work[...] = items
    delta.decode(work, work, span)
    return work
