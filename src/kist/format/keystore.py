"""Key stores: keys as bytes that sort as the keys do, and the records beside the values.

An entry has the key of the map ``K`` and the packed key. Its payload is a form byte, then a plain
value (form 0) or the size of the value, which stands as a bundle in an extent (form 1). See
docs/format.md, "Key stores".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError, DTypeError, NodeNameError
from kist.format.layout import MAX_INLINE, FieldTable
from kist.format.values import unpack_record

__all__ = [
    "COUNTS",
    "FORM_BUNDLE",
    "FORM_PLAIN",
    "MAX_KEY_BYTES",
    "MAX_PLAIN",
    "Counts",
    "Key",
    "pack_bundle_payload",
    "pack_key",
    "pack_limit",
    "pack_texts",
    "sizes_of",
    "unpack_key",
]

Key = str | bytes | int

MAX_KEY_BYTES: Final = 1000
MAX_PLAIN: Final = MAX_INLINE - 1
"""Bytes of a packed value that stands in its record, behind the form byte."""

FORM_PLAIN: Final = 0
FORM_BUNDLE: Final = 1

_NEGATIVE, _POSITIVE, _BYTES, _STR = 0x1F, 0x20, 0x40, 0x50
_MOST = 16  # bytes of an int
_MAX_COUNT: Final = (1 << 64) - 1
_SIZE: Final = struct.Struct("<BQ")  # form, bytes of the value before it is compressed

COUNTS: Final = FieldTable(
    "Key store counts",
    (
        ("n_keys", "Q", "number of keys"),
        ("nbytes", "Q", "bytes of the values before they are compressed"),
        ("stored", "Q", "bytes of keys, records and bundles; the codec follows in UTF-8"),
    ),
)


_PACK_COUNTS = COUNTS.struct.pack


class Counts(NamedTuple):
    """The ``B`` record of a key store."""

    n_keys: int
    nbytes: int
    stored: int
    codec: str

    def pack(self) -> bytes:
        """Value of the record; numbers that a damaged one has led astray are cut to what fits."""
        n_keys, nbytes, stored, codec = self
        try:
            numbers = _PACK_COUNTS(n_keys, nbytes, stored)
        except struct.error:
            cut = [min(max(number, 0), _MAX_COUNT) for number in (n_keys, nbytes, stored)]
            numbers = _PACK_COUNTS(*cut)
        return b"\0" + numbers + codec.encode()  # a record without pointers

    @classmethod
    def unpack(cls, value: bytes | None) -> Counts:
        """Counts from the record.

        Raises
        ------
        CorruptDataError
            There is none, or it is too short.
        """
        payload = b"" if value is None else unpack_record(value)[1]
        if len(payload) < COUNTS.size:
            raise CorruptDataError(f"the counts of a key store have {len(payload)} bytes")
        codec = payload[COUNTS.size :].decode("utf-8", "replace")
        n_keys, nbytes, stored = COUNTS.struct.unpack_from(payload)
        return cls(n_keys, nbytes, stored, codec)


def pack_key(key: object) -> bytes:
    """Bytes of a key: one of type, then the key; in the order int < bytes < str.

    Raises
    ------
    DTypeError
        It is no str, bytes or int.
    NodeNameError
        It is empty, too long or too large, or no Unicode text.
    """
    if isinstance(key, str):
        try:
            if 0 < len(raw := key.encode()) <= MAX_KEY_BYTES:
                return b"\x50" + raw
        except UnicodeEncodeError:
            raise NodeNameError(
                f"{key!r} is no key: it holds half of a surrogate pair, which is no character"
            ) from None
        kind = b"\x50"
    elif isinstance(key, bytes):
        raw, kind = key, b"\x40"
    elif isinstance(key, int | np.integer) and not isinstance(key, bool):
        return _pack_int(int(key))
    else:
        raise DTypeError(
            f"a key is a str, bytes or int, not {type(key).__name__} ({_short(key)}){_hint(key)}"
        )
    if not 0 < len(raw) <= MAX_KEY_BYTES:
        raise NodeNameError(
            f"a key of {len(raw):,} bytes ({_short(key)}); keys have 1 to {MAX_KEY_BYTES:,}"
        )
    return kind + raw


def pack_texts(texts: Sequence[str], before: bytes) -> list[bytes]:
    """Bytes of keys that are str, each behind the bytes `before`; raises as `pack_key` does."""
    start = before + b"\x50"
    try:
        packed = [start + text.encode() for text in texts]
    except UnicodeEncodeError:
        packed = [start]
    lengths = set(map(len, packed))
    if not lengths or (min(lengths) > len(start) and max(lengths) <= len(start) + MAX_KEY_BYTES):
        return packed
    return [before + pack_key(text) for text in texts]


def _hint(key: object) -> str:
    if isinstance(key, bool | np.bool_):
        return ": a bool would be equal to 0 or 1; use int(key)"
    if isinstance(key, float | np.floating):
        return ": floats that look the same differ; use a str or an int"
    if isinstance(key, tuple):
        return ": join its parts to a str, as in '/'.join(map(str, key))"
    if isinstance(key, slice):
        return ": range(first, stop) gives the keys of a range, and get_many their values"
    return ""


def _short(key: object) -> str:
    text = repr(key)
    return text if len(text) <= 60 else text[:56] + " ..."


def _pack_int(key: int) -> bytes:
    size = ((key if key >= 0 else -key - 1).bit_length() + 7) // 8
    if size > _MOST:
        raise NodeNameError(
            f"the key {key:#x} takes {8 * size} bits; int keys have at most {8 * _MOST}"
        )
    if key >= 0:
        return bytes((_POSITIVE + size,)) + key.to_bytes(size, "big")
    # The bits of -key - 1 inverted: those of key itself in `size` bytes.
    return bytes((_NEGATIVE - size,)) + (key + (1 << 8 * size)).to_bytes(size, "big")


def pack_limit(key: object) -> bytes:
    """Bytes of the end of a range, which need not be a possible key.

    Raises
    ------
    DTypeError
        It is no str, bytes or int.
    """
    if isinstance(key, str):
        return b"\x50" + key.encode("utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return b"\x40" + key
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        number = int(key)
        if (number if number >= 0 else -number - 1) >> 8 * _MOST:
            return b"\x31" if number > 0 else b"\x0e"
    return pack_key(key)


def unpack_key(packed: bytes) -> Key:
    """Key from its bytes.

    Raises
    ------
    CorruptDataError
        They are no key, or not the one way to write it.
    """
    kind = packed[0] if packed else 0
    rest = packed[1:]
    if kind == _STR and rest:
        try:
            return rest.decode()
        except UnicodeDecodeError as error:
            raise CorruptDataError(f"a key is not UTF-8: {error.reason}") from None
    if kind == _BYTES and rest:
        return rest
    if _POSITIVE <= kind <= _POSITIVE + _MOST and len(rest) == kind - _POSITIVE:
        if rest[:1] != b"\0":
            return int.from_bytes(rest, "big")
    elif (
        _NEGATIVE - _MOST <= kind <= _NEGATIVE
        and len(rest) == _NEGATIVE - kind
        and rest[:1] != b"\xff"
    ):
        return int.from_bytes(rest, "big") - (1 << 8 * len(rest))
    raise CorruptDataError(f"a key of a key store begins with {packed[:8].hex()}")


def pack_bundle_payload(nbytes: int) -> bytes:
    """Payload of an entry whose value is a bundle."""
    return _SIZE.pack(FORM_BUNDLE, nbytes)


def sizes_of(key: bytes, value: bytes) -> tuple[int, int]:
    """(bytes before compression, stored bytes) of an entry, for the counts.

    Raises
    ------
    CorruptDataError
        It is none.
    """
    if value[:2] == b"\0\0":
        return len(value) - 2, len(key) + len(value)
    pointers, payload = unpack_record(value)
    if len(pointers) != 1 or len(payload) != _SIZE.size or payload[0] != FORM_BUNDLE:
        raise CorruptDataError(f"an entry of a key store begins with {value[:4].hex()}")
    return _SIZE.unpack(payload)[1], len(key) + len(value) + pointers[0].length
