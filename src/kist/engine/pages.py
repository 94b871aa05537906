"""Column pages: read whole, in part, or many at once. `page_write` makes them.

The one place where codecs, checksums, frames and the file meet. Reads verify every byte before
a decoder sees it: the head against the pointer, each sector against the head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kist._kernels.cells import empty_values
from kist._kernels.scratch import scratch
from kist.codecs.pipeline import decode
from kist.codecs.registry import DICTIONARY, PLAIN
from kist.codecs.stage import Neighbours, Stage
from kist.codecs.values import is_stored_order
from kist.engine.parallel import run
from kist.engine.view import View
from kist.errors import CodecError, CorruptDataError
from kist.format.checksum import sum64
from kist.format.layout import FRAME
from kist.format.leaves import is_loose
from kist.format.page import MAX_HEAD, PageHead, unpack_page_head
from kist.format.ragged import is_ragged
from kist.format.values import Pointer

if TYPE_CHECKING:
    from kist.codecs.narrow import Narrow

Array = npt.NDArray[np.generic]
# Pointer, where the values go, first value, values that the page must hold.
Request = tuple[Pointer, Array, int, int]

# Reads whose gap is smaller than this are one system call: a gap of this size costs what a
# call costs (about 10 us at 10 GB/s from the page cache).
READ_GAP = 64 * 1024
READ_RUN = 8 << 20
MAX_BLOCK_BYTES = 64 << 20
"""Most bytes of a block of which only a part is wanted. Writers make far smaller ones; in
a hostile file a few bytes may stand for as many values as they like."""
_named: Any = tuple.__new__  # of a named tuple, without its function in Python
_CACHED_HEADS = 4096
_heads: OrderedDict[bytes, tuple[PageHead, tuple[Stage, ...]]] = OrderedDict()


def page_head(view: View, pointer: Pointer) -> PageHead:
    """Verified head of a page; the last 4,096 are kept."""
    return load_head(view, pointer)[0]


def load_head(
    view: View, pointer: Pointer, data: memoryview | None = None
) -> tuple[PageHead, tuple[Stage, ...]]:
    """Return the head of a page, from its bytes if they are at hand."""
    key = pointer.sum + pointer.length.to_bytes(8, "little")
    found = _heads.get(key)
    if found is None:
        if pointer.head > MAX_HEAD:
            raise CorruptDataError(f"page head of {pointer.head} bytes", offset=pointer.offset)
        raw = view.reader.read_part(pointer, 0, pointer.head) if data is None else data
        view.reader.verify(pointer, raw)
        head = unpack_page_head(bytes(raw), pointer.length)
        found = head, tuple([_named(Stage, stage) for stage in head.stages])
        _heads[key] = found
        while len(_heads) > _CACHED_HEADS:
            try:
                _heads.popitem(last=False)
            except KeyError:  # another thread was faster
                break
    return found


def kept_head(pointer: Pointer) -> PageHead | None:
    """Head of a page if it was read before."""
    found = _heads.get(pointer.sum + pointer.length.to_bytes(8, "little"))
    return None if found is None else found[0]


def read_page(view: View, pointer: Pointer, out: Array, start: int, n_values: int) -> None:
    """Decode the values ``start .. start + len(out)`` of a page into `out`.

    Parameters
    ----------
    out : ndarray, 1-d
        Of the dtype of the column; any byte order, contiguous or not.
    n_values : int
        What the page must hold: else one value could cost the memory of any number.

    Raises
    ------
    CorruptDataError
        The page fails a checksum or does not decode; `out` may be partly written.

    Notes
    -----
    Reads the head (unless kept) and the sectors that hold the values.
    """
    if len(out) == 0:
        return
    head, stages = load_head(view, pointer)
    check_size(pointer, head, n_values)
    _check_bounds(pointer, head, start, start + len(out))
    first = start // head.block_values
    last = (start + len(out) - 1) // head.block_values
    sectors = head.sectors_of(first, last)
    at = head.sector_span(sectors[0])[0]
    stop = head.sector_span(sectors[-1])[1]
    data = memoryview(view.reader.read_part(pointer, head.size + at, stop - at))
    _decode(pointer, head, stages, data, at, sectors, out, start)


def read_narrow(
    view: View,
    pointer: Pointer,
    dtype: np.dtype[np.generic],
    n_values: int,
    start: int = 0,
    stop: int | None = None,
) -> tuple[Narrow, int] | None:
    """Return values of a page as the narrow integers that it holds instead of them.

    Parameters
    ----------
    dtype : dtype
        Of the column.
    n_values : int
        What the page must hold.
    start, stop : int
        Which values, at least one; all of their blocks are decoded.

    Returns
    -------
    (narrow, first) or None
        `first` is the place in the page of the first value. None for a page that is encoded
        otherwise, see `kist.codecs.narrow`.

    Raises
    ------
    CorruptDataError
        The page fails a checksum or does not decode.
    """
    from kist.codecs.narrow import may_be_narrow, narrow

    head, stages = load_head(view, pointer)
    check_size(pointer, head, n_values)
    stop = n_values if stop is None else stop
    if not may_be_narrow(stages) or stop <= start:
        return None
    _check_bounds(pointer, head, start, stop)
    first, last = start // head.block_values, (stop - 1) // head.block_values
    blocks = read_blocks(view, pointer, head, first, last)
    try:
        found = narrow(stages, dtype, head.n_values, head.block_values, first, blocks)
    except CodecError as error:
        raise undecoded(pointer, error) from error
    return None if found is None else (found, first * head.block_values)


def read_numbered(
    view: View, pointer: Pointer, dtype: np.dtype[np.generic], n_values: int
) -> tuple[Array, Array] | None:
    """Return the items of a page with a dictionary, and the number of the item of each value.

    None for a page without a dictionary; parameters and errors as for `read_narrow`.
    """
    if load_head(view, pointer)[1][0].id != DICTIONARY:
        return None
    found = read_narrow(view, pointer, dtype, n_values)
    if found is None or found[0].items is None:
        return None
    return found[0].items, found[0].numbers


def read_blocks(
    view: View, pointer: Pointer, head: PageHead, first: int, last: int
) -> Sequence[memoryview]:
    """Return the bytes of some blocks of a page, verified."""
    sectors = head.sectors_of(first, last)
    at, end = head.sector_span(sectors[0])[0], head.sector_span(sectors[-1])[1]
    data = memoryview(view.reader.read_part(pointer, head.size + at, end - at))
    verify_sectors(pointer, head, data, at, sectors)
    return _stored_blocks(head, data, at, range(first, last + 1))


def read_body(view: View, pointer: Pointer, body: memoryview, out: Array) -> None:
    """Decode all values of a page whose bytes are at hand; its head is not kept.

    Raises
    ------
    CorruptDataError
        The page fails a checksum, holds another number of values, or does not decode.
    """
    view.reader.verify(pointer, body[: pointer.head])
    decode_body(pointer, body, out)


def decode_body(pointer: Pointer, body: memoryview, out: Array) -> None:
    """Decode all values of a page whose head is verified, as `read_body` does."""
    head = unpack_page_head(bytes(body[: pointer.head]), pointer.length)
    stages = tuple([_named(Stage, stage) for stage in head.stages])
    check_size(pointer, head, len(out))
    data = body[head.size :]
    verify_sectors(pointer, head, data, 0, range(len(head.sums)))
    _decode_verified(pointer, head, stages, data, 0, out, 0)


def check_size(pointer: Pointer, head: PageHead, n_values: int) -> None:
    if head.n_values != n_values:
        raise CorruptDataError(
            f"page at byte {pointer.offset} holds {head.n_values} values, not {n_values}",
            offset=pointer.offset,
        )


def _check_bounds(pointer: Pointer, head: PageHead, start: int, stop: int) -> None:
    if start < 0 or stop > head.n_values:
        raise CorruptDataError(
            f"page at byte {pointer.offset} holds {head.n_values} values; {start} to {stop} asked",
            offset=pointer.offset,
        )


def _decode(
    pointer: Pointer,
    head: PageHead,
    stages: tuple[Stage, ...],
    data: memoryview,
    at: int,
    sectors: range,
    out: Array,
    start: int,
) -> None:
    """Verify sectors, then decode; `data` begins at `at` behind the head."""
    verify_sectors(pointer, head, data, at, sectors)
    _decode_verified(pointer, head, stages, data, at, out, start)


def _decode_verified(
    pointer: Pointer,
    head: PageHead,
    stages: tuple[Stage, ...],
    data: memoryview,
    at: int,
    out: Array,
    start: int,
) -> None:
    """Decode a run of values out of sectors that are verified."""
    size = head.block_values
    first, last = start // size, (start + len(out) - 1) // size
    blocks = _stored_blocks(head, data, at, range(first, last + 1))
    low, high = first * size, min((last + 1) * size, head.n_values)
    whole = (low, high) == (start, start + len(out))
    try:
        if is_loose(out.dtype):
            wanted = slice(start - low, start - low + len(out))
            _decode_loose(stages, head.n_values, size, first, blocks, out, wanted)
            return
        if not whole and (high - low) * out.itemsize > MAX_BLOCK_BYTES:
            raise CodecError(f"a block of {(high - low) * out.itemsize:,} bytes")
        target = out if whole else np.empty(high - low, out.dtype)
        decode(stages, out.dtype, head.n_values, size, first, blocks, target)
    except CodecError as error:
        raise undecoded(pointer, error) from error
    if not whole:
        out[:] = target[start - low : start - low + len(out)]


def _decode_loose(
    stages: Sequence[Stage],
    n_values: int,
    block_values: int,
    first_block: int,
    blocks: Sequence[memoryview],
    out: Array,
    where: slice | npt.NDArray[np.int64],
) -> None:
    """Decode values without a fixed width, as `decode_strings` does."""
    decoding: Any
    if is_ragged(out.dtype):
        from kist.codecs.raggedpages import decode_ragged as decoding
    else:
        from kist.codecs.stringpages import decode_strings as decoding
    decoding(stages, n_values, block_values, first_block, blocks, out, where)


def undecoded(pointer: Pointer, error: CodecError) -> CorruptDataError:
    return CorruptDataError(
        f"page at byte {pointer.offset} does not decode: {error}", offset=pointer.offset
    )


def verify_sectors(
    pointer: Pointer, head: PageHead, data: memoryview, at: int, sectors: Iterable[int]
) -> None:
    """Compare sectors with their sums; `data` begins at `at` behind the head."""
    ends, sums, size = head.ends, head.sums, head.sector_blocks
    for sector in sectors:
        first = sector * size
        a = ends[first - 1] if first else 0
        b = ends[min(first + size, len(ends)) - 1]
        if sum64(data[a - at : b - at]) != sums[sector]:
            raise damaged(pointer, head, sector)


def damaged(pointer: Pointer, head: PageHead, sector: int) -> CorruptDataError:
    """Return the error for a sector that fails its checksum."""
    at = pointer.offset + FRAME.size + head.size + head.sector_span(sector)[0]
    return CorruptDataError(
        f"byte {at}: sector {sector} of {len(head.sums)} fails its checksum; 'kist check' lists "
        "all damage",
        offset=pointer.offset,
    )


def verify_page(pointer: Pointer, head: PageHead, data: memoryview) -> None:
    """Compare all sectors of a page with their sums; `data` is what follows the head.

    Raises
    ------
    CorruptDataError
        One fails, or the file ends before the page does.
    """
    if len(data) != pointer.length - head.size:
        raise CorruptDataError(
            f"byte {pointer.offset}: the file ends within a page", offset=pointer.offset
        )
    verify_sectors(pointer, head, data, 0, range(len(head.sums)))


def _stored_blocks(
    head: PageHead, data: memoryview, at: int, blocks: range
) -> Sequence[memoryview]:
    if len(blocks) == 1:  # of a single row
        begin = head.ends[blocks[0] - 1] if blocks[0] else 0
        return [data[begin - at : head.ends[blocks[0]] - at]]
    if not blocks.start and not at:
        found = head.ends[: blocks.stop]
        return Neighbours(data[: found[-1]], found)
    begin = head.ends[blocks[0] - 1] if blocks[0] else 0
    ends = [end - begin for end in head.ends[blocks.start : blocks.stop]]
    return Neighbours(data[begin - at : begin - at + ends[-1]], ends)


def gap_of(view: View) -> int:
    """Bytes that are read for nothing to save a call."""
    return 0 if view.reader.backend.remote else READ_GAP


def read_runs(
    view: View,
    pointer: Pointer,
    runs: Sequence[tuple[int, int]],
    dtype: np.dtype[np.generic],
    n_values: int,
    out: Array | None = None,
) -> Array:
    """Return several runs of values of one page, one behind the other.

    Parameters
    ----------
    runs : sequence of (start, stop)
        Ascending, none empty.
    n_values : int
        What the page must hold.
    out : ndarray, 1-d, of `dtype`, optional
        As many values as the runs together.

    Returns
    -------
    ndarray, 1-d, of `dtype`
        `out` if given. Else memory of this thread, valid until its next call, or read-only bytes
        as they were stored.

    Notes
    -----
    Sectors that lie near each other are read with one system call; each is verified once, and
    those between that hold nothing of the runs are not.
    """
    head, stages = load_head(view, pointer)
    check_size(pointer, head, n_values)
    size, ends = head.block_values, head.ends
    width = plain_width(head, stages, dtype)
    gap = gap_of(view)
    groups: list[tuple[int, int, list[tuple[range, int, int]]]] = []
    begin = end = total = 0
    for start, stop in runs:
        _check_bounds(pointer, head, start, stop)
        total += stop - start
        sectors = head.sectors_of(start // size, (stop - 1) // size)
        first = sectors[0] * head.sector_blocks
        last = min(sectors.stop * head.sector_blocks, len(ends)) - 1
        a, b = ends[first - 1] if first else 0, ends[last]
        if groups and a - end <= gap and b - begin <= READ_RUN:
            groups[-1][2].append((sectors, start, stop))
            groups[-1] = begin, b, groups[-1][2]
        else:
            begin = a
            groups.append((a, b, [(sectors, start, stop)]))
        end = b
    if out is None and (len(runs) > 1 or not width):
        out = empty_values(total, dtype) if is_loose(dtype) else scratch("runs", total, dtype)
    done, known = 0, -1
    for a, b, members in groups:
        data = memoryview(view.reader.read_part(pointer, head.size + a, b - a))
        for sectors, start, stop in members:
            fresh = sectors if sectors[0] > known else range(known + 1, sectors.stop)
            verify_sectors(pointer, head, data, a, fresh)
            known = max(known, sectors[-1])
            if width:
                raw = np.frombuffer(data[start * width - a : stop * width - a], dtype)
                if out is None:
                    return raw
                out[done : done + stop - start] = raw
            elif out is not None:
                target = out[done : done + stop - start]
                _decode_verified(pointer, head, stages, data, a, target, start)
            done += stop - start
    if out is None:
        out = empty_values(0, dtype)  # of no runs
    return out


def plain_width(head: PageHead, stages: tuple[Stage, ...], dtype: np.dtype[np.generic]) -> int:
    """Return the bytes of a value if a page holds them as they stand in memory, else 0."""
    width = dtype.itemsize
    if [stage.id for stage in stages] != [PLAIN] or dtype.kind == "b" or is_loose(dtype):
        return 0  # the bytes of bools are looked at
    if not width or not is_stored_order(dtype):
        return 0
    size, n = head.block_values, head.n_values
    # Blocks of other lengths are what the decoder refuses.
    regular = range(size * width, n * width, size * width)
    return width if head.ends == (*regular, n * width) else 0


def read_pages(view: View, requests: Sequence[Request]) -> None:
    """Many `read_page` at once: neighbours are read together, threads decode.

    Notes
    -----
    Reads whole pages where most of a page is asked for. At most 8 MiB are read ahead per
    thread.
    """
    requests = [r for r in requests if len(r[1])]
    if view.reader.backend.remote:
        from kist.engine.ahead import read_pages_afar

        read_pages_afar(view, requests)
        return
    records = [r for r in requests if r[0].__class__ is not Pointer and not r[0].is_vouched]
    if records:
        from kist.engine.sealedpages import read_sealed_pages

        read_sealed_pages(view, records)
        if len(records) == len(requests):
            return
        requests = [r for r in requests if r[0].__class__ is Pointer or r[0].is_vouched]
    if len(requests) == 1:
        read_page(view, *requests[0])
        return
    runs = neighbours(requests)
    # One long run would leave the other threads idle.
    pieces = [piece for r in runs for piece in _halves(r, len(runs))]
    run([lambda piece=piece: _read_run(view, piece) for piece in pieces])  # type: ignore[misc]


def neighbours(requests: Sequence[Request]) -> list[list[Request]]:
    """Return requests in the order of their places, those in one list that one call shall read."""
    runs: list[list[Request]] = []
    end = 0
    for request in sorted(requests, key=lambda r: r[0].offset):
        offset, length = request[0].extent
        stop = offset + length
        if runs and offset - end <= READ_GAP and stop - runs[-1][0][0].offset <= READ_RUN:
            runs[-1].append(request)
        else:
            runs.append([request])
        end = stop
    return runs


def _halves(requests: list[Request], n_runs: int) -> list[list[Request]]:
    parts = min(len(requests), max(1, 8 // n_runs))
    size = -(-len(requests) // parts)
    return [requests[i : i + size] for i in range(0, len(requests), size)]


def _read_run(view: View, requests: list[Request]) -> None:
    if len(requests) == 1:
        read_page(view, *requests[0])
        return
    first, last = requests[0][0], requests[-1][0]
    for pointer, _, _, _ in requests:
        view.reader.check_range(pointer)
    begin = first.offset
    data = memoryview(
        view.reader.backend.read(begin, last.offset + FRAME.size + last.nbytes - begin)
    )
    for request in requests:
        pointer = request[0]
        at = pointer.offset + FRAME.size - begin
        body = data[at : at + pointer.nbytes]
        if len(body) != pointer.nbytes:
            raise CorruptDataError(
                f"byte {pointer.offset}: the file ends within a page", offset=pointer.offset
            )
        decode_request(view, request, view.reader.body(pointer, body))


def decode_request(
    view: View, request: Request, body: memoryview, *, vouched: bool = False
) -> None:
    """Fill the array of a request from the bytes of its page; raises as `read_page`.

    Parameters
    ----------
    vouched : bool
        Whether a tag says already that these bytes were sealed: their sums are not made.
    """
    pointer, out, start, n_values = request
    head, stages = load_head(view, pointer, body[: pointer.head])
    check_size(pointer, head, n_values)
    _check_bounds(pointer, head, start, start + len(out))
    data = body[head.size :]
    if vouched:
        _decode_verified(pointer, head, stages, data, 0, out, start)
        return
    blocks = start // head.block_values, (start + len(out) - 1) // head.block_values
    _decode(pointer, head, stages, data, 0, head.sectors_of(*blocks), out, start)


def take_page(
    view: View,
    pointer: Pointer,
    dtype: np.dtype[np.generic],
    positions: npt.NDArray[np.int64],
    n_values: int,
) -> Array:
    """Values at ascending positions of a page of so many values; decodes the blocks with them."""
    head = page_head(view, pointer)
    check_size(pointer, head, n_values)
    out = empty_values(len(positions), dtype)
    if not len(positions):
        return out
    _check_bounds(pointer, head, int(positions[0]), int(positions[-1]) + 1)
    size = head.block_values
    blocks = positions // size
    if is_loose(dtype):
        _take_loose(view, pointer, out, positions, blocks)
        return out
    if len(positions) * 4 > head.n_values or len(head.ends) == 1:
        low, high = int(blocks[0]) * size, min((int(blocks[-1]) + 1) * size, head.n_values)
        whole = np.empty(high - low, dtype)
        read_page(view, pointer, whole, low, n_values)
        np.take(whole, positions - low, out=out)
        return out
    cuts = np.flatnonzero(np.diff(blocks)) + 1
    for a, b in zip([0, *cuts.tolist()], [*cuts.tolist(), len(positions)], strict=True):
        low = int(blocks[a]) * size
        block = np.empty(min(low + size, head.n_values) - low, dtype)
        read_page(view, pointer, block, low, n_values)
        out[a:b] = block[positions[a:b] - low]
    return out


def _take_loose(
    view: View,
    pointer: Pointer,
    out: Array,
    positions: npt.NDArray[np.int64],
    blocks: npt.NDArray[np.int64],
) -> None:
    """Make the values at some positions, and no others of their blocks."""
    head, stages = load_head(view, pointer)
    cuts = (np.flatnonzero(np.diff(blocks) > 1) + 1).tolist()
    for a, b in zip([0, *cuts], [*cuts, len(positions)], strict=True):
        first, last = int(blocks[a]), int(blocks[b - 1])
        sectors = head.sectors_of(first, last)
        at = head.sector_span(sectors[0])[0]
        stop = head.sector_span(sectors[-1])[1]
        data = memoryview(view.reader.read_part(pointer, head.size + at, stop - at))
        verify_sectors(pointer, head, data, at, sectors)
        parts = _stored_blocks(head, data, at, range(first, last + 1))
        wanted = positions[a:b] - first * head.block_values
        try:
            _decode_loose(stages, head.n_values, head.block_values, first, parts, out[a:b], wanted)
        except CodecError as error:
            raise undecoded(pointer, error) from error
