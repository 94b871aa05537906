"""One column of a schema, and its bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kist.errors import UnsupportedVersionError
from kist.format.cursor import Cursor, pack_blob, pack_text
from kist.format.dtypes import pack_dtype, unpack_dtype

__all__ = [
    "CATEGORICAL",
    "NULLABLE",
    "RAGGED",
    "SEALED",
    "SUPPORTED_FLAGS",
    "VIRTUAL",
    "ColumnSpec",
    "Layout",
    "pack_column",
    "unpack_column",
]

NULLABLE: Final = 0x01
CATEGORICAL: Final = 0x02
RAGGED: Final = 0x04
SEALED: Final = 0x08
VIRTUAL: Final = 0x10
SUPPORTED_FLAGS: Final = 0x00
"""Flags that this version acts on. A reserved flag changes what the stored bytes mean, so that
reading a column without knowing it would give wrong values."""
_FLAG_NAMES: Final = {
    NULLABLE: "nullable", CATEGORICAL: "categorical", RAGGED: "ragged", SEALED: "sealed",
    VIRTUAL: "virtual",
}  # fmt: skip

_HAS_TITLE, _HAS_DEFAULT = 0x01, 0x02
_COLUMN = struct.Struct("<IIIB")


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column of a table.

    Attributes
    ----------
    id : int
        Number of the column, never used again in this table.
    name : str
        Name of the field.
    dtype : dtype
        Dtype of the field: scalar, structured, sub-array, or `StringDType`.
    title : str or None
        NumPy's title of the field.
    default : bytes or None
        Value for rows that do not give one, as `kist.format.plain` packs it.
    codec : str
        Preset or explicit choice, as text.
    flags : int
        `NULLABLE`, `CATEGORICAL`, `RAGGED`, `SEALED`, `VIRTUAL`.
    first_leaf : int
        Id of the first leaf; the others of the column follow it without a gap.
    """

    id: int
    name: str
    dtype: np.dtype[Any]
    title: str | None = None
    default: bytes | None = None
    codec: str = "auto"
    flags: int = 0
    first_leaf: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where NumPy keeps the fields of a row, when that is not simply one after the other."""

    offsets: tuple[int, ...]
    itemsize: int
    aligned: bool = False
    record: bool = False


def pack_column(column: ColumnSpec) -> bytes:
    """Return one column of a schema record."""
    has = _HAS_TITLE * (column.title is not None) | _HAS_DEFAULT * (column.default is not None)
    parts = [
        _COLUMN.pack(column.id, column.first_leaf, column.flags, has),
        pack_text(column.name),
        pack_text(column.codec),
        pack_blob(pack_dtype(column.dtype)),
    ]
    if column.title is not None:
        parts.append(pack_text(column.title))
    if column.default is not None:
        parts.append(pack_blob(column.default))
    return b"".join(parts)


def unpack_column(cursor: Cursor) -> ColumnSpec:
    """Return the next column of a schema record; raises as `Schema.unpack`."""
    number, first_leaf, flags, has = cursor.unpack(_COLUMN)
    name, codec = cursor.text(), cursor.text()
    if flags & ~SUPPORTED_FLAGS:
        known = [text for bit, text in _FLAG_NAMES.items() if flags & bit]
        raise UnsupportedVersionError(
            f"column {name!r} is {' and '.join(known) or 'of an unknown sort'} "
            f"(flags {flags:#x}), which this kist cannot read: use a newer one"
        )
    if has & ~(_HAS_TITLE | _HAS_DEFAULT):
        raise cursor.corrupt(f"unknown parts {has:#04x} of column {name!r}")
    dtype = unpack_dtype(cursor.blob())
    title = cursor.text() if has & _HAS_TITLE else None
    default = cursor.blob() if has & _HAS_DEFAULT else None
    return ColumnSpec(number, name, dtype, title, default, codec, flags, first_leaf)
