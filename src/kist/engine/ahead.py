"""Reading pages over a network: what many reads will need, brought near in two round trips.

The first brings heads, and pages that are wanted whole; the second the sectors that hold the
values. The reads that follow find all of it near, and verify it as ever. Without a network nothing
of this happens: callers ask `StorageBackend.remote` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from kist.engine.pages import Request, kept_head, load_head, read_page
from kist.engine.parallel import run
from kist.engine.view import View
from kist.format.page import PageHead
from kist.format.values import Pointer

__all__ = ["BATCH_BYTES", "Wanted", "bring_bodies", "bring_pages", "read_pages_afar"]

# All values of a page, a run of them, or the places of single ones, ascending.
Values = tuple[int, int] | npt.NDArray[np.int64] | None
Wanted = tuple[Pointer, Values]

SMALL_PAGE: Final = 8 * 1024
"""Pages that come whole with their heads: a round trip costs what some of them do."""

BATCH_BYTES: Final = 16 << 20
"""Of pages brought near before they are decoded: a quarter of what a backend keeps."""


def bring_pages(view: View, wanted: Iterable[Wanted]) -> None:
    """Bring near what reading these values of pages takes.

    Parameters
    ----------
    wanted : iterable of (Pointer, None or (start, stop) or ndarray of int64)
        No run is empty, nor any array.

    Raises
    ------
    CorruptDataError
        A head fails its checksum.
    """
    backend = view.reader.backend
    unknown: list[Wanted] = []
    first: list[tuple[int, int]] = []
    known: list[tuple[PageHead, Wanted]] = []
    for pointer, values in wanted:
        view.reader.check_range(pointer)
        if pointer.__class__ is not Pointer and not pointer.is_vouched:
            first.append(pointer.body)  # where its values stand is sealed
            continue
        head = kept_head(pointer)
        if head is not None:
            known.append((head, (pointer, values)))
            continue
        whole = values is None or pointer.length <= SMALL_PAGE
        first.append(pointer.span(0, pointer.length if whole else pointer.head))
        if not whole:
            unknown.append((pointer, values))
    # What is known already travels with the heads of the rest.
    backend.prefetch(first + [span for head, one in known for span in _spans(head, *one)])
    heads = [(load_head(view, one[0])[0], one) for one in unknown]
    backend.prefetch([span for head, one in heads for span in _spans(head, *one)])


def bring_bodies(view: View, pointers: Sequence[Pointer]) -> None:
    """Bring whole bodies near with one round trip, `BATCH_BYTES` at most."""
    ranges = []
    room = BATCH_BYTES
    for pointer in pointers:
        view.reader.check_range(pointer)
        room -= pointer.length
        if room < 0:
            break
        ranges.append(pointer.span(0, pointer.length))
    view.reader.backend.prefetch(ranges)


def read_pages_afar(view: View, requests: Sequence[Request]) -> None:
    """Read many pages, a batch at a time: near first, then decoded on threads."""
    for batch in _batches(requests):
        bring_pages(view, [(request[0], values_of(request)) for request in batch])
        run([lambda one=one: read_page(view, *one) for one in batch])  # type: ignore[misc]


def values_of(request: Request) -> Values:
    """Return what a request wants of its page."""
    _, out, start, n_values = request
    return None if len(out) == n_values else (start, start + len(out))


def _batches(requests: Sequence[Request]) -> Iterator[list[Request]]:
    batch: list[Request] = []
    size = 0
    for request in requests:
        pointer, out, _, n_values = request
        part = pointer.length * min(1.0, len(out) / max(1, n_values))
        if batch and size + part > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += int(part)
    if batch:
        yield batch


def _spans(head: PageHead, pointer: Pointer, values: Values) -> list[tuple[int, int]]:
    """Return the bytes of the file that hold the values of a page."""
    if values is None:
        values = 0, head.n_values
    if isinstance(values, tuple):
        start, stop = values
        if not 0 <= start < stop <= head.n_values:
            return []  # whoever reads it will say what is wrong
        size = head.block_values
        numbers = head.sectors_of(start // size, (stop - 1) // size)
        runs = [(numbers[0], numbers[-1])]
    else:
        if values[0] < 0 or values[-1] >= head.n_values:
            return []
        sectors = np.unique(values // (head.block_values * head.sector_blocks))
        cuts = np.flatnonzero(np.diff(sectors) > 1)
        lows = sectors[np.concatenate(([0], cuts + 1))].tolist()
        highs = sectors[np.concatenate((cuts, [-1]))].tolist()
        runs = list(zip(lows, highs, strict=True))
    size = head.size
    spans = [(head.sector_span(a)[0], head.sector_span(b)[1]) for a, b in runs]
    return [pointer.span(size + begin, size + end) for begin, end in spans]
