"""Pages of one column read together, no further than a query needs them.

What `kist.engine.pages` does page by page costs Python, system calls and hand-overs between
threads for each. Here some pages are read into one buffer, verified, and unpacked by one call for
each thread; of the encodings only what is asked for is undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from kist._kernels.scratch import scratch
from kist.codecs.registry import DICTIONARY
from kist.codecs.stage import Scattered, Span, StoredBlocks
from kist.codecs.taking import Taken, likeness, take_together, take_values
from kist.codecs.together import Part, unpack
from kist.codecs.values import is_stored_order
from kist.engine.layouts import Layout, known_layouts, layout_of, layout_of_numbers
from kist.engine.pages import MAX_BLOCK_BYTES, undecoded, verify_sectors
from kist.engine.parallel import run
from kist.engine.view import View
from kist.errors import CodecError
from kist.format.checksum import sum64
from kist.format.dtypes import is_string_dtype
from kist.format.leaves import is_loose
from kist.format.values import Pointer

if TYPE_CHECKING:
    from kist.codecs.narrow import Narrow
    from kist.codecs.stringpages import Texts

__all__ = ["Pick", "read_narrow_pages", "take_pages"]

Array = npt.NDArray[Any]

BATCH_BYTES: Final = 2 << 20
"""Bytes of a batch, stored or unpacked: more would leave the caches, and scratch memory."""

MANY: Final = 8
"""With more positions a block than this all blocks are unpacked: nearly all hold one."""

_ALIGNED: Final = 64
_BYTES: Final = np.dtype(np.uint8)


class Pick(NamedTuple):
    """Values of a page that are wanted.

    Attributes
    ----------
    pointer : Pointer
        The page.
    n_values : int
        What it must hold.
    positions : ndarray of int64
        Which values: ascending, each once, at least one.
    out : ndarray, 1-d, contiguous
        Where they go.
    """

    pointer: Pointer
    n_values: int
    positions: npt.NDArray[np.int64]
    out: Array


class _Blocks(NamedTuple):
    """Blocks of a page that hold some positions.

    Attributes
    ----------
    span : Span
        From the first to the last.
    places : ndarray of int64
        Where the positions stand in these.
    scattered : Scattered or None
        Those that hold any, where that is not all of them.
    scattered_places : ndarray of int64
        Where the positions stand in those.
    """

    span: Span
    places: npt.NDArray[np.int64]
    scattered: Scattered | None
    scattered_places: npt.NDArray[np.int64]


class _Page(NamedTuple):
    """Blocks of a page that are to be read.

    Attributes
    ----------
    number : int
        Of the page among those that are asked for.
    pointer : Pointer
        The page.
    layout : Layout
        What is known of it.
    span : Span
        Which blocks.
    numbers : ndarray of int64, or None
        Which blocks, unless they follow each other.
    sectors : sequence of int
        What is verified: the others hold nothing that is wanted.
    """

    number: int
    pointer: Pointer
    layout: Layout
    span: Span
    numbers: npt.NDArray[np.int64] | None
    sectors: Sequence[int]

    @property
    def nbytes(self) -> int:
        """Bytes of the items of these blocks."""
        return self.span.size * self.layout.form.itemsize


def read_narrow_pages(
    view: View,
    pages: Sequence[tuple[Pointer, int]],
    dtype: np.dtype[np.generic],
    *,
    items: bool = False,
) -> Iterator[tuple[int, Narrow | Texts | None]]:
    """Yield pages as the narrow integers that they hold instead of values.

    Parameters
    ----------
    pages : sequence of (Pointer, int)
        With the values that each must hold, at least one.
    dtype : dtype
        Of the column.
    items : bool
        Only pages with a dictionary.

    Yields
    ------
    number : int
        Of the page.
    narrow : Narrow, Texts or None
        Texts of strings with a dictionary. Valid until the next one is asked for, or this thread
        reads anything else. None for pages that are encoded otherwise.

    Raises
    ------
    CorruptDataError
        A page fails a checksum or does not decode.
    """
    if is_string_dtype(dtype):
        yield from _read_texts(view, pages, dtype)
        return
    from kist.codecs.narrow import Narrow, has_exceptions, may_be_narrow

    if not is_stored_order(dtype):
        yield from ((number, None) for number in range(len(pages)))
        return
    wanted = []
    known = known_layouts(dtype)
    for number, (pointer, n_values) in enumerate(pages):
        layout = layout_of(view, pointer, dtype, n_values, known)
        if layout.is_narrow is None:
            layout.is_narrow = may_be_narrow(layout.stages) and not has_exceptions(layout.steps)
        if not layout.is_narrow or (items and layout.stages[0].id != DICTIONARY):
            yield number, None
        else:
            wanted.append(_Page(number, pointer, layout, layout.whole, None, layout.every))
    for batch in _batches(wanted):
        for page, numbers in _unpacked(view, batch):
            try:
                found = Narrow(dtype, numbers, page.layout.steps, page.layout.encodings)
            except CodecError as error:
                raise undecoded(page.pointer, error) from error
            yield page.number, found


def _read_texts(
    view: View, pages: Sequence[tuple[Pointer, int]], dtype: np.dtype[np.generic]
) -> Iterator[tuple[int, Texts | None]]:
    """Yield pages of strings as the numbers of items, None for those without a dictionary."""
    from kist.codecs.stringpages import texts_of

    wanted = []
    known = known_layouts(dtype)
    for number, (pointer, n_values) in enumerate(pages):
        layout = layout_of_numbers(view, pointer, n_values, known)
        if layout is None:
            yield number, None
        else:
            wanted.append(_Page(number, pointer, layout, layout.whole, None, layout.every))
    for batch in _batches(wanted):
        for page, numbers in _unpacked(view, batch):
            try:
                found = texts_of(page.layout.items, dtype, numbers)
            except CodecError as error:
                raise undecoded(page.pointer, error) from error
            yield page.number, found


def take_pages(
    view: View,
    dtype: np.dtype[np.generic],
    picks: Sequence[Pick],
    known_blocks: dict[tuple[int, int, int], _Blocks] | None = None,
) -> list[Pick]:
    """Fill in values at some positions of pages; return the picks that this cannot be done for.

    Parameters
    ----------
    known_blocks : dict, optional
        What one call says of positions to the next, which asks for the same ones of another
        column. The arrays of positions must stay in memory as long.

    Raises
    ------
    CorruptDataError
        A page fails a checksum or does not decode.
    """
    if is_loose(dtype) or not is_stored_order(dtype) or not dtype.itemsize:
        return list(picks)
    wanted, left = [], []
    where: dict[int, npt.NDArray[np.int64]] = {}
    known = known_layouts(dtype)
    blocks = {} if known_blocks is None else known_blocks
    for number, pick in enumerate(picks):
        pointer, n_values, positions, _ = pick
        layout = layout_of(view, pointer, dtype, n_values, known)
        if not layout.gives_single or not 0 <= positions[0] <= positions[-1] < n_values:
            left.append(pick)
            continue
        page, where[number] = _some_blocks(number, pointer, layout, positions, blocks)
        if page.nbytes > MAX_BLOCK_BYTES:
            left.append(pick)
        else:
            wanted.append(page)
    for batch in _batches(wanted):
        alike: dict[tuple[Any, ...], list[tuple[_Page, Taken]]] = {}
        for page, items in _unpacked(view, batch):
            positions, out = picks[page.number][2:]
            places, layout = where[page.number], page.layout
            one = Taken(layout.steps, items, page.span, positions, places, out)
            if layout.likeness is None:
                layout.likeness = likeness(layout.steps, layout.form)
            alike.setdefault(layout.likeness or (page.number,), []).append((page, one))
        for some in alike.values():
            try:
                take_together(dtype, [one for _, one in some])
            except CodecError:
                for page, one in some:
                    try:
                        take_values(dtype, one)
                    except CodecError as error:
                        raise undecoded(page.pointer, error) from error
                raise
    return left


def _some_blocks(
    number: int,
    pointer: Pointer,
    layout: Layout,
    positions: npt.NDArray[np.int64],
    known: dict[tuple[int, int, int], _Blocks],
) -> tuple[_Page, npt.NDArray[np.int64]]:
    """Return the blocks that hold some positions, and the places where these stand in them."""
    head = layout.head
    key = (id(positions), head.block_values, head.n_values)
    blocks = known.get(key)
    if blocks is None:
        blocks = known[key] = _blocks_of(positions, head.block_values, head.n_values)
    span, scattered = blocks.span, blocks.scattered
    if scattered is None:
        sectors = head.sectors_of(span.first_block, span.first_block + span.n_blocks - 1)
        return _Page(number, pointer, layout, span, None, sectors), blocks.places
    numbers, size = scattered.numbers, head.sector_blocks
    chosen = numbers.tolist() if size == 1 else sorted({at // size for at in numbers.tolist()})
    # What is stored as it is needs no decoding: the blocks between cost nothing.
    if layout.is_plain:
        return _Page(number, pointer, layout, span, None, chosen), blocks.places
    return _Page(number, pointer, layout, scattered, numbers, chosen), blocks.scattered_places


def _blocks_of(positions: npt.NDArray[np.int64], size: int, n_values: int) -> _Blocks:
    """Return which blocks of `size` values hold some positions of a page."""
    first, last = int(positions[0]) // size, int(positions[-1]) // size
    n = last - first + 1
    start, stop = first * size, min((last + 1) * size, n_values)
    span = Span(first, n, start, stop)
    places = positions - start if start else positions
    if n > 2 and len(positions) <= MANY * n:
        edges = positions.searchsorted(np.arange(first, last + 2) * size)
        counts = edges[1:] - edges[:-1]
        numbers = counts.nonzero()[0]
        if len(numbers) < n:
            gaps = (numbers + first - np.arange(len(numbers))) * size
            numbers = numbers + first
            scattered = Scattered(first, len(numbers), start, stop, numbers, size)
            nearer = positions - gaps.repeat(counts[numbers - first])
            return _Blocks(span, places, scattered, nearer)
    return _Blocks(span, places, None, places)


def _batches(pages: Sequence[_Page]) -> Iterator[list[_Page]]:
    batch: list[_Page] = []
    stored = unpacked = 0
    for page in pages:
        nbytes, length = page.nbytes, page.pointer.length
        if batch and max(stored + length, unpacked + nbytes) > BATCH_BYTES:
            yield batch
            batch, stored, unpacked = [], 0, 0
        batch.append(page)
        stored, unpacked = stored + length, unpacked + nbytes
    if batch:
        yield batch


def _unpacked(view: View, batch: Sequence[_Page]) -> Iterator[tuple[_Page, Array]]:
    """Yield pages with what their codecs hold of their blocks; for reading, until the next call."""
    room = StoredBlocks.room_for(sum(page.span.n_blocks for page in batch))
    room += -room % _ALIGNED
    total = sum(room + page.pointer.length + _ALIGNED for page in batch)
    buffer = scratch("stored", total, _BYTES)
    data = buffer.data
    read_into = view.reader.read_into
    parts: dict[int, Part] = {}
    found: dict[int, Array] = {}
    at = 0
    for place, page in enumerate(batch):
        at += room
        _, pointer, layout, span, numbers, sectors = page
        known = layout.sectors
        a, b = known[sectors[0]][0], known[sectors[-1]][1]
        read_into(pointer, layout.head.size + a, data[at : at + b - a])
        shift = at - a
        if sectors is layout.every:
            # All of the page, which is most of what is read: as few steps as can be.
            body = data[at : at + b]
            for part, wanted in layout.slices:
                if sum64(body[part]) != wanted:
                    verify_sectors(pointer, layout.head, body, a, sectors)  # for the message
        else:
            for sector in sectors:
                begin, end, wanted = known[sector]
                if sum64(data[begin + shift : end + shift]) != wanted:
                    verify_sectors(pointer, layout.head, data[at : at + b - a], a, [sector])
        first, last = span.first_block, span.first_block + span.n_blocks
        if layout.is_plain:
            begin, end = int(layout.edges[first]) + shift, int(layout.edges[last]) + shift
            found[place] = buffer[begin:end].view(layout.form)
        else:
            which: Any = slice(first, last) if numbers is None else numbers
            starts, stops = layout.edges[:-1][which] + shift, layout.edges[1:][which] + shift
            blocks = StoredBlocks(buffer, starts, stops)
            parts[place] = Part(layout.codec, layout.form, span, blocks)
        at += b - a
        at += -at % _ALIGNED
    if parts:
        try:
            found |= zip(parts, unpack(list(parts.values()), run), strict=True)
        except CodecError:
            _blame(batch, parts)
            raise
    for place, page in enumerate(batch):
        yield page, found[place]


def _blame(batch: Sequence[_Page], parts: Mapping[int, Part]) -> None:
    """Unpack the pages of a batch one by one, to tell which of them does not decode."""
    for place, part in parts.items():
        try:
            unpack([part], run)
        except CodecError as error:
            raise undecoded(batch[place].pointer, error) from error
