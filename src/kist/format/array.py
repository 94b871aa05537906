"""Records of an array: its schema (S), its bounds (B), the segments of its chunks (C).

Pure functions between payloads and values; docs/format.md, "Arrays", gives the field tables.
An array is cut into chunks by a regular grid; a chunk is stored as segments, slabs along axis 0.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError, UnsupportedVersionError
from kist.format.cursor import Cursor, pack_blob, pack_text
from kist.format.dtypes import is_string_dtype, pack_dtype, unpack_dtype
from kist.format.layout import FieldTable

__all__ = [
    "ARRAY",
    "MAX_CHUNK_BYTES",
    "MAX_NDIM",
    "SEGMENT",
    "STRING_BYTES",
    "ArraySchema",
    "SegmentRecord",
    "pack_bounds",
    "unpack_bounds",
]

MAX_NDIM: Final = 64
"""Most axes of an array, as in NumPy."""
MAX_CHUNK_BYTES: Final = 1 << 30
"""Bytes of the values of the largest chunk, and values of a chunk of narrower ones."""
MAX_BLOCK_BYTES: Final = 64 << 20
"""Most bytes of a block of more than one value: a single value costs its block."""
MAX_VALUES: Final = 1 << 40
MAX_AXIS: Final = (1 << 63) - 1
STRING_BYTES: Final = 16
"""Bytes that a value of StringDType counts for where shapes are chosen and limited."""

VERSION: Final = 1

ARRAY: Final = FieldTable(
    "Array schema",
    (
        ("version", "B", "1"),
        ("flags", "B", "1: the array is sealed"),
        ("ndim", "B", "number of axes, up to 64"),
        ("reserved0", "5x", "zeros"),
    ),
)

SEGMENT: Final = FieldTable(
    "Segment record",
    (
        ("form", "B", "0 the values stand at the end of the record, 1 they are a page"),
        ("flags", "B", "1: a valid shape follows the stored shape"),
        ("recipe", "H", "bytes of the recipe"),
        ("bits", "f", "stored bits a value of the page that the recipe was chosen for"),
    ),
)

INLINE: Final = 0
PAGE: Final = 1
_HAS_VALID: Final = 1
_SEALED: Final = 1

Shape = tuple[int, ...]


class ArraySchema(NamedTuple):
    """What does not change while an array grows.

    Attributes
    ----------
    dtype : dtype
        Of the values.
    chunks, blocks : tuple of int, length ``ndim``
        Shape of a chunk, and of a block of it.
    fill : bytes
        The value of what was never written: its item, or for StringDType 1 and a text, or 0.
        Of a sealed array its manifest has it, and the record has none.
    codec : str
        What the user asked for.
    sealed : bool
        Whether the array is sealed.
    """

    dtype: np.dtype[Any]
    chunks: Shape
    blocks: Shape
    fill: bytes
    codec: str
    sealed: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.chunks)

    def pack(self) -> bytes:
        """Bytes of the payload."""
        fill = b"" if self.sealed else self.fill
        return _pack_schema(
            pack_dtype(self.dtype), self.chunks, self.blocks, fill, self.codec, self.sealed
        )

    @staticmethod
    def unpack(payload: bytes) -> ArraySchema:
        """Schema from its payload; the last ones are kept.

        Raises
        ------
        CorruptDataError
            Shapes that cannot be, or bytes that are no schema.
        UnsupportedVersionError
            A newer kist wrote it.
        """
        return _unpack_schema(payload)

    def fill_value(self) -> np.ndarray[Any, Any]:
        """The fill value as a 0-d array, read-only."""
        return _fill_of(self.dtype, self.fill)


@lru_cache(maxsize=256)
def _pack_schema(
    dtype: bytes, chunks: Shape, blocks: Shape, fill: bytes, codec: str, sealed: bool
) -> bytes:
    n = len(chunks)
    return b"".join(
        [
            ARRAY.pack(version=VERSION, flags=_SEALED * sealed, ndim=n),
            struct.pack(f"<{2 * n}Q", *chunks, *blocks),
            pack_blob(dtype),
            pack_blob(fill),
            pack_text(codec),
        ]
    )


@lru_cache(maxsize=256)
def _unpack_schema(payload: bytes) -> ArraySchema:
    cursor = Cursor(payload, "array schema")
    version, flags, ndim = cursor.unpack(ARRAY.struct)
    if version != VERSION or flags & ~_SEALED:
        raise UnsupportedVersionError(
            f"array schema version {version} with flags {flags:#x}, this kist knows version "
            f"{VERSION} with flags up to {_SEALED}: use a newer kist"
        )
    if ndim > MAX_NDIM:
        raise cursor.corrupt(f"{ndim} axes")
    numbers = cursor.unpack(struct.Struct(f"<{2 * ndim}Q"))
    chunks, blocks = tuple(numbers[:ndim]), tuple(numbers[ndim:])
    dtype = unpack_dtype(cursor.blob())
    fill, codec = cursor.blob(), cursor.text()
    cursor.end()
    if any(not 0 < b <= c for b, c in zip(blocks, chunks, strict=True)):
        raise cursor.corrupt(f"blocks of shape {blocks} in chunks of shape {chunks}")
    if math.prod(chunks) * item_bytes(dtype) > MAX_CHUNK_BYTES:
        raise cursor.corrupt(f"chunks of shape {chunks} and dtype {dtype}")
    n_values = math.prod(blocks)
    if n_values > 1 and n_values * item_bytes(dtype) > MAX_BLOCK_BYTES:
        raise cursor.corrupt(f"blocks of shape {blocks} and dtype {dtype}")
    schema = ArraySchema(dtype, chunks, blocks, fill, codec, bool(flags))
    if not schema.sealed:
        schema.fill_value()
    elif fill:
        raise cursor.corrupt("a sealed array with a fill value in clear")
    return schema


def item_bytes(dtype: np.dtype[Any]) -> int:
    """Bytes that a value counts for where shapes are chosen and limited; at least 1."""
    return STRING_BYTES if is_string_dtype(dtype) else max(dtype.itemsize, 1)


@lru_cache(maxsize=256)
def _fill_of(dtype: np.dtype[Any], fill: bytes) -> np.ndarray[Any, Any]:
    if is_string_dtype(dtype):
        cursor = Cursor(fill, "fill value")
        out = np.empty((), dtype)
        out[()] = cursor.text() if cursor.u8() else getattr(dtype, "na_object", "")
        cursor.end()
    else:
        if len(fill) != dtype.itemsize:
            raise CorruptDataError(f"a fill value of {len(fill)} bytes for dtype {dtype}")
        out = np.ndarray((), dtype, fill)
    out.flags.writeable = False
    return out


def pack_fill(value: np.ndarray[Any, Any]) -> bytes:
    """Bytes of a fill value, a 0-d array."""
    if is_string_dtype(value.dtype):
        item = value.item()
        missing = item is getattr(value.dtype, "na_object", None) or not isinstance(item, str)
        return b"\0" if missing else b"\1" + pack_text(item)
    return value.tobytes()


def pack_bounds(shape: Shape) -> bytes:
    """Payload of the ``B`` record."""
    return struct.pack(f"<{len(shape)}Q", *shape)


def unpack_bounds(payload: bytes, ndim: int) -> Shape:
    """Shape from the ``B`` record.

    Raises
    ------
    CorruptDataError
        It has another number of axes, or one that no array can have.
    """
    if len(payload) != 8 * ndim:
        raise CorruptDataError(f"bounds of {len(payload)} bytes for {ndim} axes")
    shape = struct.unpack(f"<{ndim}Q", payload)
    if any(n > MAX_AXIS for n in shape):
        raise CorruptDataError(f"an array of shape {shape}")
    return shape


class SegmentRecord(NamedTuple):
    """Payload of a ``C`` record.

    Attributes
    ----------
    stored : tuple of int
        Shape of what is stored.
    valid : tuple of int
        How much of it counts, from its first corner.
    recipe : bytes
        Of a page: what it was encoded with.
    bits : float
        Stored bits a value of the page that the recipe was chosen for.
    data : bytes or None
        The values, where they stand in the record; None for a page.
    """

    stored: Shape
    valid: Shape
    recipe: bytes = b""
    bits: float = 0.0
    data: bytes | None = None

    def pack(self) -> bytes:
        """Bytes of the payload."""
        n = len(self.stored)
        cut = self.valid != self.stored
        shapes = (*self.stored, *self.valid) if cut else self.stored
        form = PAGE if self.data is None else INLINE
        head = SEGMENT.struct.pack(form, _HAS_VALID * cut, len(self.recipe), self.bits)
        return b"".join(
            [head, struct.pack(f"<{n << cut}I", *shapes), self.recipe, self.data or b""]
        )

    @classmethod
    def unpack(cls, payload: bytes, ndim: int) -> SegmentRecord:
        """Segment from a payload.

        Raises
        ------
        CorruptDataError
            The record is too short, or its shapes cannot be.
        """
        try:
            form, flags, n_recipe, bits = SEGMENT.struct.unpack_from(payload)
            at = SEGMENT.size
            stored: Shape = struct.unpack_from(f"<{ndim}I", payload, at)
            at += 4 * ndim
            valid = stored
            if flags & _HAS_VALID:
                valid = struct.unpack_from(f"<{ndim}I", payload, at)
                at += 4 * ndim
        except struct.error:
            raise CorruptDataError(f"a segment of {len(payload)} bytes is cut off") from None
        if form > PAGE or flags > _HAS_VALID or at + n_recipe > len(payload):
            raise CorruptDataError(f"a segment of form {form} with flags {flags:#x}")
        if any(not 0 < v <= s for v, s in zip(valid, stored, strict=True)):
            raise CorruptDataError(f"a segment of shape {stored}, of which {valid} counts")
        if math.prod(stored) > MAX_VALUES:
            raise CorruptDataError(f"a segment of shape {stored}")
        recipe = payload[at : at + n_recipe]
        data = payload[at + n_recipe :] if form == INLINE else None
        if form == PAGE and len(payload) != at + n_recipe:
            raise CorruptDataError(f"{len(payload) - at - n_recipe} bytes behind a segment")
        return cls(stored, valid, recipe, bits, data)
