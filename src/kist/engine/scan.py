"""Frames as they stand in a file, found without any pointer; and whether one is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from kist.engine.view import Reader
from kist.errors import CorruptDataError, TamperedDataError
from kist.format.bundle import bundle_damage
from kist.format.checksum import sum64
from kist.format.frame import FrameHeader, unpack_frame
from kist.format.layout import (
    ALIGNMENT,
    DATA_OFFSET,
    FRAME,
    FRAME_BLOB,
    FRAME_BUNDLE,
    FRAME_PAGE,
    FRAME_ROWS,
    FRAME_SEALED,
    FRAME_TREE,
)
from kist.format.page import unpack_page_head
from kist.format.values import Pointer
from kist.storage.base import StorageBackend

__all__ = ["extent_damage", "pointer_of", "scan_frames"]

Progress = Callable[[int, int], None]  # bytes done, bytes in all

_BLOCK: Final = 4 << 20
_TYPES: Final = np.frombuffer(
    b"".join((FRAME_TREE, FRAME_PAGE, FRAME_ROWS, FRAME_BLOB, FRAME_BUNDLE, FRAME_SEALED)), "<u4"
)


def scan_frames(
    backend: StorageBackend, uuid: bytes | None = None, progress: Progress | None = None
) -> Iterator[FrameHeader]:
    """Yield every frame header that is whole and stands where it says, in order of the file.

    Parameters
    ----------
    uuid : bytes, optional
        Of the store; None takes those of any.
    progress : callable, optional
        Is told bytes done and bytes in all.

    Notes
    -----
    Reads the file once, block by block. Bodies are not looked at: `extent_damage` does that.
    """
    size = backend.size()
    for start in range(DATA_OFFSET, size, _BLOCK):
        data = backend.read(start, _BLOCK + FRAME.size)
        n = min(_BLOCK, len(data)) // ALIGNMENT
        if n:
            first = np.frombuffer(data, "u1", n * ALIGNMENT).reshape(n, ALIGNMENT)[:, :4]
            types = np.ascontiguousarray(first).view("<u4")[:, 0]
            for place in np.flatnonzero(np.isin(types, _TYPES)).tolist():
                at = place * ALIGNMENT
                header = unpack_frame(data[at : at + FRAME.size])
                if (
                    header is not None
                    and header.offset == start + at
                    and (uuid is None or header.uuid == uuid)
                ):
                    yield header
        if progress is not None:
            progress(min(start + _BLOCK, size), size)


def pointer_of(header: FrameHeader) -> Pointer:
    """What a pointer to a frame would be, if there were one."""
    return Pointer(header.offset, header.length, header.head, header.birth, header.body_sum)


def extent_damage(reader: Reader, pointer: Pointer) -> str:
    """What is wrong with an extent, or nothing: header, head and sectors are read."""
    try:
        reader.check_range(pointer)
        if reader.sealing is not None:
            return _sealed_damage(reader, pointer)
        data = reader.backend.read(pointer.offset, FRAME.size + pointer.length)
        header, body = unpack_frame(data), memoryview(data)[FRAME.size :]
        if len(body) != pointer.length:
            return "the file ends within it"
        reader.verify(pointer, body[: pointer.head])
        if header is None:
            return "its header is damaged; the body is whole"
        if header.body_sum != pointer.sum or header.offset != pointer.offset:
            return "its header is that of another frame"
        if header.type == FRAME_BUNDLE:
            return bundle_damage(body, pointer.head)
        if header.type == FRAME_SEALED:
            from kist.engine.sealed import verify_body  # most stores have none

            verify_body(body)
        if header.type == FRAME_PAGE:
            head = unpack_page_head(bytes(body[: pointer.head]), pointer.length)
            for sector, expected in enumerate(head.sums):
                start, stop = head.sector_span(sector)
                if sum64(body[head.size + start : head.size + stop]) != expected:
                    return f"sector {sector} of {len(head.sums)} fails its checksum"
    except CorruptDataError as error:
        return str(error)
    return ""


def _sealed_damage(reader: Reader, pointer: Pointer) -> str:
    """What is wrong with an extent of a sealed store: sums first, then every tag."""
    from kist.engine.sealedstore import verify_frame
    from kist.format.sealedstore import SealedExtent

    if not isinstance(pointer, SealedExtent):
        return "it is not sealed, in a sealed store"
    data = reader.backend.read(pointer.offset, FRAME.size + pointer.nbytes)
    if len(data) == FRAME.size + pointer.nbytes:  # tags first: they tell damage from tampering
        try:
            reader.body(pointer, memoryview(data)[FRAME.size :])
        except TamperedDataError as error:
            return str(error)
    verify_frame(data, pointer, reader.uuid)
    return ""
