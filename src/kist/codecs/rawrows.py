"""Pieces that are their packed rows, as they are: what small ones are, and read without a codec.

docs/format.md, "Pieces", gives the bytes; `kist.codecs.rows` makes and reads the other ones.
"""

from __future__ import annotations

import struct
from typing import Final

from kist.errors import CodecError

__all__ = [
    "HEAD",
    "MAX_NBYTES",
    "MAX_ROWS",
    "PACKED",
    "VERSION",
    "are_kept",
    "pack_rows",
    "raw_rows",
]

VERSION: Final = 1
HEAD: Final = struct.Struct("<BBHIII")
"""Version, codec, zeros, rows, bytes of the payload, exceptions."""

PACKED: Final = 3
"""The codec of these pieces."""

MAX_ROWS: Final = 65_536
"""Most rows of a piece."""
MAX_NBYTES: Final = 1 << 28
"""Most bytes of the packed rows of a piece, and so of what decoding one may allocate."""

_TINY_BYTES: Final = 256


def are_kept(n_bytes: int, room: int) -> bool:
    """Tell whether rows of so many bytes are kept as they are.

    Rows that fit into `room`, which costs next to nothing, are; and tiny ones, for encoding takes
    100 us and would save half of 256 bytes.
    """
    return HEAD.size + n_bytes <= max(room, _TINY_BYTES)


def pack_rows(n_rows: int, rows: bytes) -> bytes:
    """Return a piece that is its packed rows, as they are."""
    return HEAD.pack(VERSION, PACKED, 0, n_rows, len(rows), 0) + rows


def raw_rows(data: bytes, itemsize: int) -> int | None:
    """Return the number of rows of such a piece; None for another one.

    Raises
    ------
    CodecError
        It is one, and its sizes do not fit.
    """
    if len(data) < HEAD.size or data[0] != VERSION or data[1] != PACKED:
        return None
    n_rows: int
    _, _, spare, n_rows, n_payload, n_exceptions = HEAD.unpack_from(data)
    n_bytes = n_rows * itemsize
    if (
        spare
        or n_rows > MAX_ROWS
        or n_bytes > MAX_NBYTES
        or n_exceptions
        or n_payload != n_bytes
        or len(data) != HEAD.size + n_bytes
    ):
        raise CodecError(f"{len(data)} bytes for {n_rows} rows of {itemsize}")
    return n_rows
