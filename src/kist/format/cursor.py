"""Reading little-endian records that nobody vouches for: every step is checked against the end.

`Cursor` walks over bytes and raises `CorruptDataError` instead of running past them; the small
`pack_*` functions are its counterparts. Nothing here allocates more than it was given.
"""

from __future__ import annotations

import struct

from kist.errors import CorruptDataError

__all__ = ["Cursor", "pack_blob", "pack_text", "pack_varint"]

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_I64 = struct.Struct("<q")

MAX_VARINT_BYTES = 10
"""Bytes of the longest LEB128 number: 64 bits in groups of seven."""


class Cursor:
    """A position in some bytes.

    Parameters
    ----------
    data : bytes
        What is read.
    what : str
        What the bytes are, for messages ("dtype description").
    """

    __slots__ = ("data", "pos", "what")

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.pos = 0
        self.what = what

    def corrupt(self, why: str) -> CorruptDataError:
        """Return (not raise) the error that names this position."""
        return CorruptDataError(f"{self.what}, byte {self.pos} of {len(self.data)}: {why}")

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.pos

    def take(self, n: int) -> bytes:
        """Return the next `n` bytes, a copy."""
        start = self.pos
        if n > len(self.data) - start:
            raise self.corrupt(f"{n} bytes expected, {len(self.data) - start} left")
        self.pos = start + n
        return self.data[start : start + n]

    def unpack(self, table: struct.Struct) -> tuple[int, ...]:
        """Return the fields of one fixed table."""
        start = self.pos
        if table.size > len(self.data) - start:
            raise self.corrupt(f"{table.size} bytes expected, {len(self.data) - start} left")
        self.pos = start + table.size
        return table.unpack_from(self.data, start)

    def u8(self) -> int:
        """Return one unsigned byte."""
        start = self.pos
        if start >= len(self.data):
            raise self.corrupt("1 byte expected, 0 left")
        self.pos = start + 1
        return self.data[start]

    def u16(self) -> int:
        """Return an unsigned 16-bit number."""
        return self.unpack(_U16)[0]

    def u32(self) -> int:
        """Return an unsigned 32-bit number."""
        return self.unpack(_U32)[0]

    def u64(self) -> int:
        """Return an unsigned 64-bit number."""
        return self.unpack(_U64)[0]

    def i64(self) -> int:
        """Return a signed 64-bit number."""
        return self.unpack(_I64)[0]

    def varint(self) -> int:
        """Return an unsigned LEB128 number below 2**64."""
        data, start = self.data, self.pos
        if start < len(data) and data[start] < 0x80:  # nearly all
            self.pos = start + 1
            return data[start]
        value = shift = 0
        for byte in data[start : start + MAX_VARINT_BYTES]:
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                self.pos = start + shift // 7
                if value >> 64:
                    break
                return value
        else:
            self.pos = start + shift // 7
            if shift < 7 * MAX_VARINT_BYTES:
                raise self.corrupt("1 byte expected, 0 left")
        raise self.corrupt("a number of more than 64 bits")

    def count(self) -> int:
        """Return a LEB128 count of things that take at least one byte each."""
        data, start = self.data, self.pos
        if start < len(data) and data[start] < 0x80:  # nearly all
            n = data[start]
            self.pos = start + 1
        else:
            n = self.varint()
        if n > len(data) - self.pos:
            raise self.corrupt(f"{n} items announced, {self.left} bytes left")
        return n

    def blob(self) -> bytes:
        """Return bytes preceded by their LEB128 length."""
        data, start = self.data, self.pos
        n = data[start] if start < len(data) else 0x80
        stop = start + 1 + n
        if n < 0x80 and stop <= len(data):  # nearly all
            self.pos = stop
            return data[start + 1 : stop]
        return self.take(self.varint())

    def text(self) -> str:
        """Return a string stored as a blob of UTF-8; lone surrogates are kept."""
        raw = self.blob()
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise self.corrupt(f"not UTF-8: {error.reason}") from None

    def end(self) -> None:
        """Check that everything was read."""
        if self.left:
            raise self.corrupt(f"{self.left} bytes too many")


def pack_varint(n: int) -> bytes:
    """Return an unsigned number below 2**64 as LEB128."""
    if n < 0x80:
        return bytes((n,))
    if n < 0x4000:
        return bytes((n & 0x7F | 0x80, n >> 7))
    if n < 0x20_0000:
        return bytes((n & 0x7F | 0x80, n >> 7 & 0x7F | 0x80, n >> 14))
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def pack_blob(raw: bytes) -> bytes:
    """Return bytes preceded by their LEB128 length."""
    n = len(raw)
    if 0x80 <= n < 0x4000:  # as `pack_varint`, in one step
        return bytes((n & 0x7F | 0x80, n >> 7)) + raw
    return pack_varint(n) + raw


def pack_text(text: str) -> bytes:
    """Return a string as a blob of UTF-8; lone surrogates are kept."""
    return pack_blob(text.encode("utf-8", "surrogatepass"))
