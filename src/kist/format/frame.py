"""Frame headers: what stands before every body, for check, salvage and people."""

from __future__ import annotations

from typing import NamedTuple

from kist.format.checksum import sum64
from kist.format.layout import FRAME


class FrameHeader(NamedTuple):
    """Fields of a frame header (docs/format.md, "Frames")."""

    type: bytes
    offset: int
    uuid: bytes
    node: int
    column: int
    row: int
    birth: int
    length: int
    head: int
    body_sum: bytes
    flags: int = 0

    def pack(self) -> bytes:
        """The 128 bytes of the header."""
        return pack_header(*self)


def pack_header(
    type: bytes,
    offset: int,
    uuid: bytes,
    node: int,
    column: int,
    row: int,
    birth: int,
    length: int,
    head: int,
    body_sum: bytes,
    flags: int = 0,
) -> bytes:
    """Return the 128 bytes of a header; parameters as the fields of `FrameHeader`."""
    # In the order of the fields: by name it takes twice as long, for every page written.
    data = FRAME.struct.pack(
        type, 1, flags, offset, uuid, node, column, head, row, birth, length, body_sum, b""
    )[:-8]
    return data + sum64(data).to_bytes(8, "little")


def unpack_frame(data: bytes) -> FrameHeader | None:
    """Header from its 128 bytes, or None when they are not one."""
    if len(data) < FRAME.size:
        return None
    fields = FRAME.unpack(data)
    before = data[: FRAME.size - 8]
    if fields.pop("sum") != sum64(before).to_bytes(8, "little") or fields.pop("version") != 1:
        return None
    return FrameHeader(**fields)
