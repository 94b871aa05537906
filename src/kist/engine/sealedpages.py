"""Many sealed pages read at once: neighbours with one call, their heads first, then unit by unit.

A decoder leaves nothing in the caches of the processor, and what a body costs beside its cipher is
many small steps that take eight times as long then. So all heads of a run are opened together, and
the pages of a piece are unsealed before the first of them is decoded. Nothing of them is kept: who
reads whole pages again opens their heads again, which costs less than to keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from kist import options
from kist._kernels.scratch import KEPT_BYTES, scratch
from kist.engine.pages import Request, decode_request, neighbours
from kist.engine.parallel import run
from kist.engine.sealedrecords import SealedPointer
from kist.engine.view import View
from kist.errors import CorruptDataError, TamperedDataError
from kist.format.leaves import is_loose

__all__ = ["read_sealed_pages"]

PIECES: Final = 2
"""Of a run, for each thread, so that one can take from the other; more are colder each."""

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
    most = -(-len(requests) // (PIECES * options.n_threads))
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
    reader = view.reader
    places: list[tuple[SealedPointer, int, int]] = []
    for request in requests:
        pointer = request[0]
        assert isinstance(pointer, SealedPointer)
        reader.check_range(pointer)
        places.append((pointer, *pointer.body))
    begin, end = places[0][1], max(place[2] for place in places)
    data = _read(view, begin, end - begin)
    bodies = []
    size = 0
    for pointer, start, stop in places:
        stored = reader.body(pointer.stored, data[start - begin : stop - begin])
        body = pointer.complete(stored)
        size += 0 if body is None else pointer.length
        bodies.append((body, pointer, stored))
    room = scratch("opened", size, _BYTES).data
    plain = []
    for (body, pointer, stored), request in zip(bodies, requests, strict=True):
        out = None
        if body is not None:
            out, room = room[: pointer.length], room[pointer.length :]
            if is_loose(request[1].dtype):  # cells may stay views of what they were made of
                out = np.empty(pointer.length, np.uint8).data
            if not body.unseal(out):
                out = None
        plain.append(_unsealed(view, pointer, stored) if out is None else out)
    for request, opened in zip(requests, plain, strict=True):
        decode_request(view, request, opened, vouched=True)


def _unsealed(view: View, pointer: SealedPointer, stored: memoryview) -> memoryview:
    """Return the plaintext of a body that is not as usual, or say what is wrong with it."""
    try:
        return pointer.opened(view.reader, stored).whole(stored)
    except TamperedDataError as error:
        raise pointer.named(error) from None
