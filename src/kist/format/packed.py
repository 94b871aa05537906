"""Packed data: a head and records, for bytes of any file and for single values.

Nothing here knows what is in a record's body (docs/format.md, "Packed data").
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError, NotAStoreError, UnsupportedVersionError
from kist.format.checksum import sum64
from kist.format.layout import PACKED_HEAD, PACKED_MAGIC, PACKED_RECORD
from kist.format.page import MAX_HEAD

__all__ = [
    "DONE",
    "MAX_PAGE_BYTES",
    "PAGE",
    "VALUE",
    "PackedKind",
    "PackedRecord",
    "pack_head",
    "pack_record",
    "unpack_head",
    "unpack_record",
]

PAGE: Final = b"PAGE"
VALUE: Final = b"VALU"
DONE: Final = b"DONE"

MAX_PAGE_BYTES: Final = 64 << 20
"""What readers accept for the values of one page, and for its body beside its head."""

_VERSION: Final = 1
_DTYPE = re.compile(r"\|u1|[<>][iuf][248]|\|i1|\|V[1-9]\d{0,2}")


class PackedKind(enum.IntEnum):
    """What was packed; the numbers are frozen in the format."""

    BYTES = 1
    VALUE = 2


class PackedRecord(NamedTuple):
    """Head of a record: what its body is, and what must hold of it."""

    type: bytes
    head: int
    length: int
    start: int
    n_values: int
    dtype: str
    head_sum: bytes

    @property
    def nbytes(self) -> int:
        """Bytes of what was packed that the record stands for."""
        return self.n_values * np.dtype(self.dtype).itemsize if self.type == PAGE else 0


def pack_head(kind: PackedKind) -> bytes:
    """First bytes of packed data."""
    fields = {"magic": PACKED_MAGIC, "version": _VERSION, "kind": kind}
    data = PACKED_HEAD.pack(**fields, sum=0)
    return PACKED_HEAD.pack(**fields, sum=sum64(data[: PACKED_HEAD.offset("sum")]))


def unpack_head(data: bytes) -> PackedKind:
    """What was packed.

    Raises
    ------
    NotAStoreError
        These are no packed data.
    UnsupportedVersionError
        A newer kist packed them.
    CorruptDataError
        They are damaged.
    """
    if data[: len(PACKED_MAGIC)] != PACKED_MAGIC:
        raise NotAStoreError(f"no packed data: they begin with {data[:8]!r}")
    if len(data) < PACKED_HEAD.size:
        raise CorruptDataError(f"packed data end after {len(data)} bytes", offset=len(data))
    fields = PACKED_HEAD.unpack(data)
    if fields["sum"] != sum64(data[: PACKED_HEAD.offset("sum")]):
        raise CorruptDataError("the head of packed data fails its checksum", offset=0)
    if fields["version"] != _VERSION or fields["kind"] not in tuple(PackedKind):
        raise UnsupportedVersionError(
            f"packed data of version {fields['version']} and kind {fields['kind']}: a newer kist "
            "reads them"
        )
    return PackedKind(fields["kind"])


def pack_record(record: PackedRecord) -> bytes:
    """Bytes of a record before its body."""
    fields = record._asdict() | {"dtype": record.dtype.encode()}
    data = PACKED_RECORD.pack(**fields, sum=0)
    return PACKED_RECORD.pack(**fields, sum=sum64(data[: PACKED_RECORD.offset("sum")]))


def unpack_record(data: bytes, at: int, start: int) -> PackedRecord:
    """Head of the record at byte `at`, before which `start` bytes were unpacked.

    Raises
    ------
    CorruptDataError
        It is damaged, cut off, not the next one, or larger than any that is written.
    """
    if len(data) < PACKED_RECORD.size:
        raise CorruptDataError(f"packed data end within the record at byte {at}", offset=at)
    fields = PACKED_RECORD.unpack(data)
    own_sum = fields.pop("sum")
    if own_sum != sum64(data[: PACKED_RECORD.offset("sum")]):
        raise CorruptDataError(f"the record at byte {at} fails its checksum", offset=at)
    fields["dtype"] = fields["dtype"].rstrip(b"\0").decode("ascii", "replace")
    record = PackedRecord(**fields)
    if record.start != start:
        raise CorruptDataError(
            f"the record at byte {at} goes on at {record.start:,}, not at {start:,}: records are "
            "missing",
            offset=at,
        )
    if record.type not in (PAGE, VALUE, DONE) or not _adds_up(record):
        raise CorruptDataError(f"the record at byte {at} does not add up", offset=at)
    return record


def _adds_up(record: PackedRecord) -> bool:
    if record.head > min(record.length, MAX_HEAD):
        return False
    if record.type == PAGE:
        known = _DTYPE.fullmatch(record.dtype) is not None
        return (
            known
            and 0 < record.nbytes <= MAX_PAGE_BYTES
            and record.length - record.head <= MAX_PAGE_BYTES
        )
    return not record.n_values and not record.dtype and (record.type == VALUE or not record.length)
