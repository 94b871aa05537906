"""Frame headers: what stands before every body, for check, salvage and people."""

from __future__ import annotations

from dataclasses import dataclass

from kist.format.checksum import sum64
from kist.format.layout import FRAME


@dataclass(frozen=True, slots=True)
class FrameHeader:
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
        data = FRAME.pack(
            type=self.type,
            version=1,
            flags=self.flags,
            offset=self.offset,
            uuid=self.uuid,
            node=self.node,
            column=self.column,
            head=self.head,
            row=self.row,
            birth=self.birth,
            length=self.length,
            body_sum=self.body_sum,
            sum=bytes(8),
        )
        return data[:-8] + sum64(data[:-8]).to_bytes(8, "little")


def unpack_frame(data: bytes) -> FrameHeader | None:
    """Header from its 128 bytes, or None when they are not one."""
    if len(data) < FRAME.size:
        return None
    fields = FRAME.unpack(data)
    before = data[: FRAME.size - 8]
    if fields.pop("sum") != sum64(before).to_bytes(8, "little") or fields.pop("version") != 1:
        return None
    return FrameHeader(**fields)
