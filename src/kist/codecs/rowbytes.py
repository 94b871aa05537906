"""Header and payload of a piece: written, and opened with every size checked.

docs/format.md, "Pieces", gives the bytes; `kist.codecs.rows` says what they mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.matrix_decimals import MAX_EXPONENT, RAW
from kist._kernels.words import DELTA, WIDTH_MASK, ZIGZAG
from kist.codecs.blosc import LZ4, NO_FILTER, ZSTD, BloscParams, compress, decompress_into
from kist.codecs.rawrows import HEAD, MAX_NBYTES, MAX_ROWS, PACKED, VERSION, pack_rows, raw_rows
from kist.codecs.rowplan import RowPlan
from kist.errors import CodecError

__all__ = [
    "HEAD_BYTES",
    "MAX_NBYTES",
    "MAX_ROWS",
    "Parts",
    "byte_planes",
    "is_packed",
    "open_piece",
    "pack_piece",
    "pack_rows",
    "read_header",
]

Array = NDArray[Any]

HEAD_BYTES: Final = HEAD.size
_STORED, _LZ4, _ZSTD = range(3)
_PARAMS: Final = {
    _LZ4: BloscParams(LZ4, 5, NO_FILTER, 1),
    _ZSTD: BloscParams(ZSTD, 1, NO_FILTER, 1),
}
_SMALL: Final = 8192
"""Payloads up to here go through LZ4: 9 us instead of 25, for 15 % more bytes."""

# Tables for `bytes.translate`, which looks at some fifty columns ten times faster than NumPy.
_MODES: Final = bytes(mode for mode in range(ZIGZAG | DELTA | WIDTH_MASK) if mode & WIDTH_MASK <= 8)
_EXPONENTS: Final = bytes([*range(MAX_EXPONENT + 1), RAW])
_IS_DELTA: Final = bytes(bool(mode & DELTA) for mode in range(256))
_WIDTH: Final = bytes(mode & WIDTH_MASK for mode in range(256))


class Parts(NamedTuple):
    """A piece taken apart, nothing of it decoded but the codec."""

    n_rows: int
    modes: NDArray[np.uint8]
    exponents: NDArray[np.uint8]
    firsts: NDArray[np.int64]
    planes: NDArray[np.uint8]
    places: NDArray[np.intp]
    bits: NDArray[np.uint64]
    rest: NDArray[np.uint8]


def pack_piece(n_rows: int, n_exceptions: int, parts: Sequence[Any]) -> bytes:
    """Return a piece: its header, and the parts behind one another, compressed if that helps."""
    payload = b"".join(parts)
    codec = _LZ4 if len(payload) <= _SMALL else _ZSTD
    body = compress(payload, _PARAMS[codec])
    if len(body) >= len(payload):
        codec, body = _STORED, payload
    return HEAD.pack(VERSION, codec, 0, n_rows, len(payload), n_exceptions) + body


def is_packed(data: bytes) -> bool:
    """Tell whether a piece is its packed rows; from its header, which is to be read first."""
    return data[1] == PACKED


def read_header(data: bytes, plan: RowPlan) -> tuple[int, int, int, int]:
    """Return codec, number of rows, bytes of the payload and number of exceptions."""
    if len(data) < HEAD.size:
        raise CodecError(f"a piece of {len(data)} bytes, its header has {HEAD.size}")
    version, codec, spare, n_rows, n_payload, n_exceptions = HEAD.unpack_from(data)
    if version != VERSION or spare or codec > PACKED:
        raise CodecError(f"piece of version {version}, codec {codec}: use a newer kist")
    if (
        n_rows > MAX_ROWS
        or n_rows * plan.itemsize > MAX_NBYTES
        or n_exceptions > n_rows * plan.n_floats
    ):
        raise CodecError(f"a piece of {n_rows} rows with {n_exceptions} exceptions")
    if codec == PACKED:
        raw_rows(data, plan.itemsize)
        return codec, n_rows, n_payload, 0
    head = plan.n_words + plan.n_floats + 12 * n_exceptions + plan.bytes_size * n_rows
    if not head <= n_payload <= head + 8 * plan.n_words * (n_rows + 1):
        raise CodecError(f"a payload of {n_payload} bytes for {n_rows} rows")
    return codec, n_rows, n_payload, n_exceptions


def open_piece(data: bytes, plan: RowPlan) -> Parts:
    """Undo the codec and find the parts, every size checked."""
    codec, n_rows, n_payload, n_exceptions = read_header(data, plan)
    body = data[HEAD.size :]
    if codec == _STORED:
        payload = np.frombuffer(body, np.uint8)
        if len(payload) != n_payload:
            raise CodecError(f"{len(payload)} bytes of payload, {n_payload} expected")
    else:
        payload = np.empty(n_payload, np.uint8)
        decompress_into(body, payload, _PARAMS[codec])
    n_words, n_floats = plan.n_words, plan.n_floats
    modes = payload[:n_words]
    marks = modes.tobytes()
    exponents = payload[n_words : n_words + n_floats]
    if marks.translate(None, _MODES) or exponents.tobytes().translate(None, _EXPONENTS):
        raise CodecError("a column mode or a decimal exponent that does not exist")
    n_firsts = sum(marks.translate(_IS_DELTA))
    n_planes = sum(marks.translate(_WIDTH))
    at_firsts = n_words + n_floats
    at_planes = at_firsts + 8 * n_firsts
    at_places = at_planes + n_planes * n_rows
    at_bits = at_places + 4 * n_exceptions
    at_rest = at_bits + 8 * n_exceptions
    expected = at_rest + plan.bytes_size * n_rows
    if expected != n_payload:
        raise CodecError(f"a payload of {n_payload} bytes, {expected} expected")
    firsts = byte_planes(payload[at_firsts:at_planes].reshape(8, n_firsts))
    places = payload[at_places:at_bits].view("<u4").astype(np.intp)
    if n_exceptions and int(places.max()) >= n_floats * n_rows:
        raise CodecError("an exception outside the columns")
    return Parts(
        n_rows,
        modes,
        exponents,
        firsts.view("<i8").ravel(),
        payload[at_planes:at_places].reshape(n_planes, n_rows),
        places,
        payload[at_bits:at_rest].view("<u8"),
        payload[at_rest:],
    )


def byte_planes(items: Array) -> Array:
    """Return bytes of shape (n, width) as (width, n), contiguous."""
    return np.ascontiguousarray(items.T)
