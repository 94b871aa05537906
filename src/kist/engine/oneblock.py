"""One block of a page: what a single value, or a search in an index, needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kist._kernels.scratch import scratch
from kist.codecs.blosc import LoadedBlosc2, decompress_block
from kist.codecs.delta import LoadedDelta
from kist.codecs.reference import LoadedReference
from kist.codecs.stage import Block, Span
from kist.codecs.taking import Taken, take_values
from kist.codecs.values import is_stored_order
from kist.engine.layouts import Layout, known_layouts, layout_of
from kist.engine.pages import MAX_BLOCK_BYTES, read_page, undecoded, verify_sectors
from kist.engine.view import View
from kist.errors import CodecError
from kist.format.checksum import sum64
from kist.format.leaves import is_loose
from kist.format.values import Pointer

__all__ = ["read_block", "read_blocks", "take_page_value"]

Array = npt.NDArray[Any]

_WORD: Final = np.dtype(np.uint64)
_MOST: Final = 1 << 16
"""Values of longer blocks are added up page by page."""


def take_page_value(
    view: View,
    pointer: Pointer,
    n_values: int,
    position: int,
    out: Array,
    layout: Layout | None = None,
) -> bool:
    """Fill `out` with the one value at a position of a page; tell whether this can be done.

    A row of many columns is read so: of its block only what must be is decoded.

    Parameters
    ----------
    layout : Layout, optional
        Of this page, where the caller keeps it.

    Raises
    ------
    CorruptDataError
        The page fails a checksum or does not decode.
    """
    dtype = out.dtype
    if is_loose(dtype) or not is_stored_order(dtype) or not dtype.itemsize:
        return False
    if layout is None:
        layout = layout_of(view, pointer, dtype, n_values, known_layouts(dtype))
    if not layout.gives_single or not 0 <= position < n_values:
        return False
    head = layout.head
    block, at = divmod(position, head.block_values)
    span = Span(block, 1, position - at, min(position - at + head.block_values, n_values))
    if span.size * layout.form.itemsize > MAX_BLOCK_BYTES:
        return False
    stored = _stored_block(view, pointer, layout, block)
    try:
        if layout.is_plain:
            items = np.frombuffer(stored, layout.form)
        else:
            items = scratch("items", span.size, layout.form)
            _decode_block(layout, stored, items, span)
        one = Taken(layout.steps, items, span, np.array([position]), np.array([at]), out)
        take_values(dtype, one)
    except CodecError as error:
        raise undecoded(pointer, error) from error
    return True


def read_block(
    view: View,
    pointer: Pointer,
    dtype: np.dtype[Any],
    n_values: int,
    block: int,
    layout: Layout | None = None,
) -> Array:
    """Return the values of one block of a page, as a search in an index needs them.

    Parameters
    ----------
    layout : Layout, optional
        Of this page, where the caller keeps it.

    Raises
    ------
    CorruptDataError
        The page fails a checksum or does not decode.
    """
    if layout is None:
        layout = layout_of(view, pointer, dtype, n_values, known_layouts(dtype))
    head, steps = layout.head, layout.steps
    start = block * head.block_values
    span = Span(block, 1, start, min(start + head.block_values, n_values))
    if not is_stored_order(dtype) or span.size * dtype.itemsize > MAX_BLOCK_BYTES:
        out = np.empty(span.size, dtype)
        read_page(view, pointer, out, start, n_values)
        return out
    stored = _stored_block(view, pointer, layout, block)
    # As `pipeline.decode` has it: what keeps the width is undone in place.
    out = np.empty(span.size, dtype)
    buffers = [out]
    for place, step in enumerate(steps):
        if step.form.itemsize == buffers[-1].itemsize:
            buffers.append(buffers[-1].view(step.form))
        else:
            buffers.append(scratch(f"decode{place}", span.size, step.form))
    try:
        _decode_block(layout, stored, buffers[-1], span)
        for place in range(len(steps) - 1, -1, -1):
            steps[place].decode(buffers[place + 1], buffers[place], span)
    except CodecError as error:
        raise undecoded(pointer, error) from error
    return out


def read_blocks(view: View, wanted: Sequence[tuple[Pointer, Layout, int]]) -> list[Array]:
    """Return one block of words of each of several pages, such as the keys of runs of an index.

    Differences are added up for all of them by one call.

    Parameters
    ----------
    wanted : sequence of (Pointer, Layout, int)
        Pages of uint64, what is known of each, and which of its blocks.

    Raises
    ------
    CorruptDataError
        A page fails a checksum or does not decode.
    """
    sizes = {_summed_size(layout) for _, layout, _ in wanted}
    if len(wanted) < 2 or len(sizes) > 1 or 0 in sizes:
        return [
            read_block(view, pointer, _WORD, layout.head.n_values, block, layout)
            for pointer, layout, block in wanted
        ]
    (size,) = sizes
    words = np.empty((len(wanted), size), _WORD)
    lengths = []
    for row, (pointer, layout, block) in zip(words, wanted, strict=True):
        start = block * size
        span = Span(block, 1, start, min(start + size, layout.head.n_values))
        target = row[: span.size]
        stored = _stored_block(view, pointer, layout, block)
        try:
            if len(layout.steps) == 1:
                _decode_block(layout, stored, target, span)
            else:
                items = scratch("items", span.size, layout.form)
                _decode_block(layout, stored, items, span)
                layout.steps[1].decode(items, target, span)
        except CodecError as error:
            raise undecoded(pointer, error) from error
        row[0] = layout.steps[0].starts[0].view(_WORD)[block]  # type: ignore[attr-defined]
        row[span.size :] = 0
        lengths.append(span.size)
    np.add.accumulate(words, axis=1, out=words)
    return [row[:length] for row, length in zip(words, lengths, strict=True)]


def _summed_size(layout: Layout) -> int:
    """Return the words of a block that are differences of neighbours, perhaps in fewer bytes.

    0 where they are anything else.
    """
    size = layout.summed_size
    if size is None:
        steps = layout.steps
        is_summed = (
            0 < len(steps) < 3
            and isinstance(steps[0], LoadedDelta)
            and len(steps[0].starts) == 1
            and (len(steps) == 1 or isinstance(steps[1], LoadedReference))
            and layout.head.block_values <= _MOST
        )
        size = layout.summed_size = layout.head.block_values if is_summed else 0
    return size


def _stored_block(view: View, pointer: Pointer, layout: Layout, block: int) -> Block:
    """Return one block of a page as it is stored, its sector verified."""
    head = layout.head
    number = block // head.sector_blocks
    begin, end, wanted = layout.sectors[number]
    data = view.reader.read_part(pointer, head.size + begin, end - begin)
    if sum64(data) != wanted:
        verify_sectors(pointer, head, memoryview(data), begin, [number])  # for the message
    return data[(head.ends[block - 1] if block else 0) - begin : head.ends[block] - begin]


def _decode_block(layout: Layout, stored: Block, items: Array, span: Span) -> None:
    """Fill `items` with what the codec of a page makes of one block."""
    codec = layout.codec
    if isinstance(codec, LoadedBlosc2):
        decompress_block(stored, items, codec.params)
    else:
        codec.decode([stored], items, span)
