"""Many sealed pages read at once: neighbours with one call, their heads first, then unit by unit.

A decoder leaves nothing in the caches of the processor, and what a body costs beside its cipher is
many small steps that take eight times as long then. So all heads of a run are opened together, and
the pages of a piece are unsealed before the first of them is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from kist._kernels.scratch import KEPT_BYTES, scratch
from kist.engine.pages import Request, decode_request, neighbours
from kist.engine.parallel import run
from kist.engine.sealedrecords import SealedPointer
from kist.engine.view import View
from kist.errors import CorruptDataError, TamperedDataError
from kist.format.leaves import is_loose

__all__ = ["read_sealed_pages"]

PIECES: Final = 8
"""Of a run, so that threads which decode have something to take from each other."""

PIECE_BYTES: Final = 512 * 1024
"""That are read and unsealed before they are decoded: more would leave the caches again."""

_BYTES: Final = np.dtype(np.uint8)


def read_sealed_pages(view: View, requests: Sequence[Request]) -> None:
    """Fill arrays from sealed pages; `kist.engine.pages.read_pages` does it for open ones.

    Raises
    ------
    TamperedDataError
        Somebody without the keys wrote what stands there.
    CorruptDataError
        A page is damaged, or does not decode.
    """
    run([partial(_fill, view, piece) for near in neighbours(requests) for piece in _pieces(near)])


def _pieces(requests: Sequence[Request]) -> list[list[Request]]:
    pieces: list[list[Request]] = []
    most = -(-len(requests) // PIECES)
    size = 0
    for request in requests:
        length = request[0].length
        if not pieces or len(pieces[-1]) == most or size + length > PIECE_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(request)
        size += length
    return pieces


def _read(view: View, begin: int, n: int) -> memoryview:
    """Return bytes of the file, in memory of this thread."""
    backend = view.reader.backend
    if n > KEPT_BYTES:  # which may be more than the file has: no memory for that
        data = memoryview(backend.read(begin, n))
        got = len(data)
    else:
        data = scratch("sealed", n, _BYTES).data
        got = backend.read_into(begin, data)
    if got != n:
        raise CorruptDataError(
            f"byte {begin}: the file ends within the pages up to byte {begin + n}", offset=begin
        )
    return data


def _fill(view: View, requests: Sequence[Request]) -> None:
    """Read neighbouring pages, unseal them, then decode them."""
    pointers = [request[0] for request in requests]
    for pointer in pointers:
        view.reader.check_range(pointer)
    begin, end = pointers[0].body[0], max(pointer.body[1] for pointer in pointers)
    data = _read(view, begin, end - begin)
    bodies = []
    for pointer in pointers:
        assert isinstance(pointer, SealedPointer)
        start, stop = pointer.body
        stored = view.reader.body(pointer.stored, data[start - begin : stop - begin])
        try:
            bodies.append((pointer.opened(view.reader, stored), stored))
        except TamperedDataError as error:
            raise pointer.named(error) from None
    room = scratch("opened", sum(body.head.length for body, _ in bodies), _BYTES).data
    plain = []
    for (pointer, out, _, _), (body, stored) in zip(requests, bodies, strict=True):
        length = body.head.length
        # Cells may stay views of what they were made of.
        target = None if is_loose(out.dtype) else room[:length]
        room = room[length:]
        try:
            plain.append(body.whole(stored, target))
        except TamperedDataError as error:
            assert isinstance(pointer, SealedPointer)
            raise pointer.named(error) from None
    for request, opened in zip(requests, plain, strict=True):
        decode_request(view, request, opened)
