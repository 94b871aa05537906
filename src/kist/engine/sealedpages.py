"""Many sealed pages read at once: neighbours with one call, their heads first, then unit by unit.

A decoder leaves nothing in the caches of the processor, and what a body costs beside its cipher is
many small steps that take eight times as long then. So all heads of a run are opened together, and
the pages of a piece are unsealed before the first of them is decoded. Nothing of them is kept: who
reads whole pages again opens their heads again, which costs less than to keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Final

import numpy as np

from kist import options
from kist._kernels.scratch import KEPT_BYTES, scratch
from kist.engine.pages import READ_GAP, READ_RUN, Request, decode_request
from kist.engine.parallel import run
from kist.engine.sealed import whole_body
from kist.engine.sealedrecords import SealedPointer
from kist.engine.view import View
from kist.errors import CorruptDataError, TamperedDataError
from kist.format.leaves import is_loose

__all__ = ["read_sealed_pages"]

FEW: Final = 4
"""Pages for each thread that are one piece: smaller ones would be opened with cold caches. Of more
there are two for each thread, so that one can take from the other."""

PIECE_BYTES: Final = 512 * 1024
"""That are read and unsealed before they are decoded: more would leave the caches again."""

_BYTES: Final = np.dtype(np.uint8)
_END: Final = itemgetter(2)


def read_sealed_pages(view: View, requests: Sequence[Request]) -> None:
    """Fill arrays from sealed pages; `kist.engine.pages.read_pages` does it for open ones.

    Raises
    ------
    TamperedDataError
        Somebody without the keys wrote what stands there.
    CorruptDataError
        A page is damaged, or does not decode.
    """
    ordered = sorted(requests, key=itemgetter(0))  # a pointer begins with its offset
    run([partial(_fill, view, piece) for piece in _pieces(ordered)])


def _pieces(requests: Sequence[Request]) -> list[list[Request]]:
    pieces: list[list[Request]] = []
    parts = options.n_threads * (1 if len(requests) <= FEW * options.n_threads else 2)
    most = -(-len(requests) // parts)
    size = 0
    for request in requests:
        length = request[0].length
        if not pieces or len(pieces[-1]) == most or size + length > PIECE_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(request)
        size += length
    return pieces


Place = tuple[SealedPointer, int, int]
"""Of a page: its pointer, the first byte of its body in the file, and the end of that."""


def _read(view: View, near: Sequence[Sequence[Place]]) -> list[tuple[SealedPointer, memoryview]]:
    """Return pages with their bodies, neighbours read together, in memory of this thread."""
    spans = [(places[0][1], max(map(_END, places))) for places in near]
    total = sum(end - begin for begin, end in spans)
    # More may be more than the file has: no memory for that before it is read.
    room = scratch("sealed", total, _BYTES).data if total <= KEPT_BYTES else None
    backend = view.reader.backend
    found = []
    for places, (begin, end) in zip(near, spans, strict=True):
        if room is None:
            data = memoryview(backend.read(begin, end - begin))
            got = len(data)
        else:
            data, room = room[: end - begin], room[end - begin :]
            got = backend.read_into(begin, data)
        if got != end - begin:
            raise CorruptDataError(
                f"byte {begin}: the file ends within the pages up to byte {end}", offset=begin
            )
        for pointer, start, stop in places:
            stored = data[start - begin : stop - begin]
            if view.reader.sealing is not None:
                stored = view.reader.body(pointer.stored, stored)
            found.append((pointer, stored))
    return found


def _fill(view: View, requests: Sequence[Request]) -> None:
    """Read pages, unseal them, then decode them."""
    # Few calls for each page: what is not in the caches takes eight times as long.
    check_range = view.reader.check_range
    near: list[list[Place]] = []
    size = last = 0
    for request in requests:
        pointer = request[0]
        assert isinstance(pointer, SealedPointer)
        check_range(pointer)
        begin, end = pointer.stored.body
        if near and begin - last <= READ_GAP and end - near[-1][0][1] <= READ_RUN:
            near[-1].append((pointer, begin, end))
        else:
            near.append([(pointer, begin, end)])
        last = end
    found = []
    for pointer, stored in _read(view, near):
        body = whole_body(stored, pointer.salt, pointer.length, pointer.keys)
        found.append((body, pointer, stored))
        if body is not None:  # its bytes are there: the length that its record has is no lie
            size += pointer.length
    room = scratch("opened", size, _BYTES).data
    plain = []
    for request, (body, pointer, stored) in zip(requests, found, strict=True):
        if body is None:
            plain.append(_unsealed(view, pointer, stored))
            continue
        out, room = room[: pointer.length], room[pointer.length :]
        if is_loose(request[1].dtype):  # cells may stay views of what they were made of
            out = np.empty(pointer.length, np.uint8).data
        plain.append(out if body.unseal(out) else _unsealed(view, pointer, stored))
    for request, opened in zip(requests, plain, strict=True):
        decode_request(view, request, opened, vouched=True)


def _unsealed(view: View, pointer: SealedPointer, stored: memoryview) -> memoryview:
    """Return the plaintext of a body that is not as usual, or say what is wrong with it."""
    try:
        return pointer.opened(view.reader, stored).whole(stored)
    except TamperedDataError as error:
        raise pointer.named(error) from None
