"""One column of a schema, and its bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kist.errors import UnsupportedVersionError
from kist.format.categorical import is_categorical, values_dtype
from kist.format.cursor import Cursor, pack_blob, pack_text
from kist.format.dtypes import pack_dtype, unpack_dtype
from kist.format.ragged import is_nullable_ragged, is_ragged, is_ragged_text

__all__ = [
    "CATEGORICAL",
    "NULLABLE",
    "RAGGED",
    "SEALED",
    "SUPPORTED_FLAGS",
    "TEXT",
    "VIRTUAL",
    "ColumnSpec",
    "Gone",
    "Layout",
    "pack_column",
    "pack_gone",
    "unpack_column",
    "unpack_gone",
]

NULLABLE: Final = 0x01
CATEGORICAL: Final = 0x02
RAGGED: Final = 0x04
SEALED: Final = 0x08
VIRTUAL: Final = 0x10
TEXT: Final = 0x20
SUPPORTED_FLAGS: Final = VIRTUAL | RAGGED | SEALED | NULLABLE | TEXT
"""Flags that this version acts on; `NULLABLE` only beside `RAGGED`. A reserved flag changes what
the stored bytes mean, so that reading a column without knowing it would give wrong values."""
_FLAG_NAMES: Final = {
    NULLABLE: "nullable", CATEGORICAL: "categorical", RAGGED: "ragged", SEALED: "sealed",
    VIRTUAL: "virtual", TEXT: "of text",
}  # fmt: skip

_HAS_TITLE, _HAS_DEFAULT, _HAS_SINCE, _HAS_INITIAL, _HAS_EXPRESSION = 0x01, 0x02, 0x04, 0x08, 0x10
_COLUMN = struct.Struct("<IIIB")
_SINCE = struct.Struct("<I")
_FIELD = struct.Struct("<I")
_GONE = struct.Struct("<III")


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
        `CATEGORICAL`, `VIRTUAL`. The record has `RAGGED` and `NULLABLE` too, which the dtype
        says, and `SEALED`, which `field` says.
    first_leaf : int
        Id of the first leaf; the others of the column follow it without a gap.
    since : int
        Version of the schema in which its leaves came.
    initial : bytes or None
        Value of rows in groups of earlier versions that have no page of it, packed.
    expression : str or None
        What the column is computed from. Nothing is stored of a `VIRTUAL` one.
    field : int
        Number of the sealed field that it belongs to; 0 for none.
    """

    id: int
    name: str
    dtype: np.dtype[Any]
    title: str | None = None
    default: bytes | None = None
    codec: str = "auto"
    flags: int = 0
    first_leaf: int = 0
    since: int = 1
    initial: bytes | None = None
    expression: str | None = None
    field: int = 0

    @property
    def is_virtual(self) -> bool:
        """Whether it is evaluated where it is read."""
        return bool(self.flags & VIRTUAL)

    @property
    def is_categorical(self) -> bool:
        """Whether codes are stored, and users see the values that they stand for."""
        return self.expression is None and is_categorical(self.dtype)

    @property
    def shown(self) -> np.dtype[Any]:
        """The dtype in which users see the column."""
        return values_dtype(self.dtype) if self.is_categorical else self.dtype

    @property
    def is_plain(self) -> bool:
        """Whether a schema record of version 1 can hold it."""
        return not (self.field or self.expression) and self.since == 1 and self.initial is None


@dataclass(frozen=True, slots=True)
class Gone:
    """Leaves that were dropped: pieces and patches of versions since .. until may hold them.

    Attributes
    ----------
    first_leaf : int
        Id of the first leaf; the others of `dtype` follow it without a gap.
    since, until : int
        Versions of the schema: the first that had them, the first that has not.
    dtype : dtype
        Of the column that they were.
    """

    first_leaf: int
    since: int
    until: int
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where NumPy keeps the fields of a row, when that is not simply one after the other."""

    offsets: tuple[int, ...]
    itemsize: int
    aligned: bool = False
    record: bool = False


def pack_column(column: ColumnSpec) -> bytes:
    """Return one column of a schema record."""
    has = (
        _HAS_TITLE * (column.title is not None)
        | _HAS_DEFAULT * (column.default is not None)
        | _HAS_SINCE * (column.since != 1)
        | _HAS_INITIAL * (column.initial is not None)
        | _HAS_EXPRESSION * (column.expression is not None)
    )
    flags = column.flags | SEALED * bool(column.field)
    flags |= _ragged_flags(column.dtype)
    parts = [
        _COLUMN.pack(column.id, column.first_leaf, flags, has),
        pack_text(column.name),
        pack_text(column.codec),
        pack_blob(pack_dtype(column.dtype)),
    ]
    if column.title is not None:
        parts.append(pack_text(column.title))
    if column.default is not None:
        parts.append(pack_blob(column.default))
    if column.since != 1:
        parts.append(_SINCE.pack(column.since))
    if column.initial is not None:
        parts.append(pack_blob(column.initial))
    if column.expression is not None:
        parts.append(pack_text(column.expression))
    if column.field:
        parts.append(_FIELD.pack(column.field))
    return b"".join(parts)


def unpack_column(cursor: Cursor, record_version: int) -> ColumnSpec:
    """Return the next column of a schema record of a version; raises as `Schema.unpack`."""
    number, first_leaf, flags, has = cursor.unpack(_COLUMN)
    name, codec = cursor.text(), cursor.text()
    if flags & ~SUPPORTED_FLAGS or flags & (NULLABLE | RAGGED) == NULLABLE:
        known = [text for bit, text in _FLAG_NAMES.items() if flags & bit]
        raise UnsupportedVersionError(
            f"column {name!r} is {' and '.join(known) or 'of an unknown sort'} "
            f"(flags {flags:#x}), which this kist cannot read: use a newer one"
        )
    if has & ~(0x1F if record_version > 1 else _HAS_TITLE | _HAS_DEFAULT):
        raise cursor.corrupt(f"unknown parts {has:#04x} of column {name!r}")
    dtype = unpack_dtype(cursor.blob())
    title = cursor.text() if has & _HAS_TITLE else None
    default = cursor.blob() if has & _HAS_DEFAULT else None
    since = cursor.unpack(_SINCE)[0] if has & _HAS_SINCE else 1
    initial = cursor.blob() if has & _HAS_INITIAL else None
    expression = cursor.text() if has & _HAS_EXPRESSION else None
    field = cursor.unpack(_FIELD)[0] if flags & SEALED else 0
    if flags & SEALED and (not field or record_version == 1):
        raise cursor.corrupt(f"sealed column {name!r} of no field")
    if flags & VIRTUAL and expression is None:
        raise cursor.corrupt(f"virtual column {name!r} without an expression")
    if bool(flags & RAGGED) != is_ragged(dtype):
        raise cursor.corrupt(f"ragged column {name!r} of the dtype {dtype}")
    if flags & (RAGGED | NULLABLE | TEXT) != _ragged_flags(dtype):
        raise cursor.corrupt(f"ragged column {name!r} of another dtype than its flags say: {dtype}")
    return ColumnSpec(
        number,
        name,
        dtype,
        title,
        default,
        codec,
        flags & ~(RAGGED | NULLABLE | SEALED | TEXT),
        first_leaf,
        since,
        initial,
        expression,
        field,
    )


def _ragged_flags(dtype: np.dtype[Any]) -> int:
    """Return the flags that come with a dtype, none but with a ragged one."""
    if not is_ragged(dtype):
        return 0
    return RAGGED | NULLABLE * is_nullable_ragged(dtype) | TEXT * is_ragged_text(dtype)


def pack_gone(gone: Gone) -> bytes:
    """Return one entry of the list of leaves that are gone."""
    head = _GONE.pack(gone.first_leaf, gone.since, gone.until)
    return head + pack_blob(pack_dtype(gone.dtype))


def unpack_gone(cursor: Cursor) -> Gone:
    """Return the next entry of the list of leaves that are gone."""
    first_leaf, since, until = cursor.unpack(_GONE)
    return Gone(first_leaf, since, until, unpack_dtype(cursor.blob()))
