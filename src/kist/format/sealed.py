"""Sealed bodies, key slots and key rings as bytes; nothing here encrypts.

A *sealed body* is a head, the sums of its units, and the units. A *lock* is what opens a field:
its key slots, each with the field key under the key of one secret, and its ring, the data keys
under the field key. docs/format.md, "Sealed bodies".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from kist.errors import CorruptDataError, UnsupportedVersionError
from kist.format.checksum import Buffer, sum64
from kist.format.cursor import Cursor
from kist.format.layout import FieldTable

__all__ = [
    "MAX_KEYS",
    "MAX_LABEL",
    "MAX_SLOTS",
    "SEALED_HEAD",
    "SEALED_MAGIC",
    "SEALED_VERSIONS",
    "SLOT_HEAD",
    "TAG_BYTES",
    "Lock",
    "SealedHead",
    "SlotRecord",
    "unpack_sealed_head",
]

TAG_BYTES: Final = 16
NAME_BYTES: Final = 16
MIN_UNIT, MAX_UNIT = 12, 20  # binary logarithms: 4 KiB to 1 MiB
MAX_BODY: Final = 1 << 36
MAX_SLOTS: Final = 16
MAX_KEYS: Final = 1024
MAX_LABEL: Final = 255
_MAX_NOTE: Final = 1024
_VERSION: Final = 1
SEALED_VERSIONS: Final = (1, 2)
SEALED_MAGIC: Final = b"KS"
_WRAPPED: Final = 32 + TAG_BYTES

SEALED_HEAD: Final = FieldTable(
    "Sealed head",
    (
        ("magic", "2s", "KS"),
        ("version", "B", "1, or 2: of a batch"),
        ("unit", "B", "binary logarithm of the plaintext bytes of a unit, 12 to 20"),
        ("reserved0", "4x", "zeros"),
        ("length", "Q", "bytes of the plaintext, below 2^36"),
        ("key", "16s", "name of the data key"),
        ("salt", "32s", "random; no two bodies have the same"),
    ),
)

_HEAD: Final = SEALED_HEAD.struct

SLOT_HEAD: Final = FieldTable(
    "Key slot head",
    (
        ("kind", "B", "1 raw key, 2 passphrase by scrypt, 4 key service"),
        ("log_n", "B", "scrypt: binary logarithm of n; else 0"),
        ("r", "B", "scrypt: r; else 0"),
        ("p", "B", "scrypt: p; else 0"),
        ("work_salt", "16s", "scrypt: its salt; else zeros"),
        ("salt", "32s", "random; no two slots have the same"),
    ),
)

_LOCK: Final = struct.Struct("<BBH32s")  # version, slots, data keys, salt of the ring
_RING_KEY: Final = NAME_BYTES + 32


class SealedHead(NamedTuple):
    """The fixed part of a sealed body, and where its units stand.

    Attributes
    ----------
    unit : int
        Binary logarithm of the plaintext bytes of a unit.
    length : int
        Bytes of the plaintext.
    key : bytes
        Name of the data key.
    salt : bytes
        What the key of this body follows from, all of it or the common part.
    version : int
        1, a body that has its key for itself; 2, one of a batch.
    """

    unit: int
    length: int
    key: bytes
    salt: bytes
    version: int = 1

    @property
    def n_units(self) -> int:
        """Units; an empty body has one, whose tag says that it is empty."""
        return max(1, -(-self.length >> self.unit))

    @property
    def size(self) -> int:
        """Bytes before the first unit: the verified head of the frame."""
        return _HEAD.size + 8 * self.n_units

    @property
    def total(self) -> int:
        """Bytes of the whole."""
        return _HEAD.size + self.length + (8 + TAG_BYTES) * self.n_units

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return where units ``first .. last`` begin and end in the body."""
        step = (1 << self.unit) + TAG_BYTES
        return self.size + first * step, min(self.size + (last + 1) * step, self.total)

    def pack(self) -> bytes:
        """Return the fixed part: what each unit is bound to."""
        return _HEAD.pack(SEALED_MAGIC, self.version, *self[:4])


def pack_sums(units: Sequence[Buffer]) -> bytes:
    """Return the sums of sealed units, which stand behind the fixed part of the head."""
    return _sums(len(units)).pack(*map(sum64, units))


def unpack_sealed_head(data: Buffer, total: int) -> tuple[SealedHead, tuple[int, ...]]:
    """Return the head of a sealed body and the sums of its units.

    Parameters
    ----------
    data : bytes
        From the start of the body; at least the head.
    total : int
        Bytes of the whole body.

    Raises
    ------
    CorruptDataError
        Numbers that cannot be, or another size than they call for.
    UnsupportedVersionError
        A later version.
    """
    if len(data) < _HEAD.size or data[:2] != SEALED_MAGIC:
        raise CorruptDataError(f"{total} bytes are not a sealed body")
    _, version, unit, length, key, salt = _HEAD.unpack_from(data)
    if version not in SEALED_VERSIONS:
        raise UnsupportedVersionError(f"sealed body of version {version}: use a newer kist")
    # Sizes before memory is taken: the sums are as many as the length calls for. Written out, not
    # asked of the head: it is done for each page and record.
    n_units = -(-length >> unit) or 1
    size = _HEAD.size + 8 * n_units
    if (
        not MIN_UNIT <= unit <= MAX_UNIT
        or length >= MAX_BODY
        or size + length + TAG_BYTES * n_units != total
    ):
        raise CorruptDataError(
            f"a sealed body of {total} bytes says {length} bytes in units of 2**{unit}"
        )
    if len(data) < size:
        raise CorruptDataError(f"the head of a sealed body ends after {len(data)} bytes")
    sums = _sums(n_units).unpack_from(data, _HEAD.size)
    return SealedHead(unit, length, key, salt, version), sums


@lru_cache(128)
def _sums(n_units: int) -> struct.Struct:
    return struct.Struct(f"<{n_units}Q")


class SlotRecord(NamedTuple):
    """One way to open a field.

    Attributes
    ----------
    kind : int
        What the secret is.
    log_n, r, p : int
        Work of scrypt, not checked here.
    work_salt, salt : bytes
        Of scrypt, and of the slot.
    label : str
        For people.
    note : bytes
        Of a key service.
    wrapped : bytes
        The field key under the key of the secret; 48 bytes.
    """

    kind: int
    log_n: int
    r: int
    p: int
    work_salt: bytes
    salt: bytes
    label: str
    note: bytes
    wrapped: bytes = b""

    def terms(self) -> bytes:
        """Return everything but the wrapped key: what that is bound to."""
        label = self.label.encode()
        fixed = SLOT_HEAD.pack(
            kind=self.kind,
            log_n=self.log_n,
            r=self.r,
            p=self.p,
            work_salt=self.work_salt,
            salt=self.salt,
        )
        lengths = struct.pack("<BH", len(label), len(self.note))
        return b"".join((fixed, lengths, label, self.note))

    def pack(self) -> bytes:
        """Return the bytes of the slot, with their sum."""
        body = self.terms() + self.wrapped
        return body + struct.pack("<Q", sum64(body))


class Lock(NamedTuple):
    """What opens a field.

    Attributes
    ----------
    slots : tuple of SlotRecord
        One for each secret.
    names : tuple of bytes
        Names of the data keys; the last one is for writing.
    salt : bytes
        What the key of the ring follows from.
    ring : bytes
        The data keys in that order, sealed under the field key.
    damaged : int
        Slots whose sum fails; the others open the field as well.
    """

    slots: tuple[SlotRecord, ...]
    names: tuple[bytes, ...]
    salt: bytes
    ring: bytes
    damaged: int = 0

    def pack(self) -> bytes:
        """Return the payload of the record."""
        parts = [_LOCK.pack(_VERSION, len(self.slots), len(self.names), self.salt)]
        for slot in self.slots:
            packed = slot.pack()
            parts += [struct.pack("<H", len(packed)), packed]
        return b"".join((*parts, *self.names, self.ring))

    @classmethod
    def unpack(cls, data: bytes) -> Lock:
        """Return the lock of a record.

        Raises
        ------
        CorruptDataError
            The bytes are not a lock, or there are more slots or keys than writers make.
        UnsupportedVersionError
            A later version.
        """
        cursor = Cursor(data, "lock of a sealed field")
        version, n_slots, n_keys, salt = _LOCK.unpack(cursor.take(_LOCK.size))
        if version != _VERSION:
            raise UnsupportedVersionError(f"lock of version {version}: use a newer kist")
        if not 0 < n_slots <= MAX_SLOTS or not 0 < n_keys <= MAX_KEYS:
            raise cursor.corrupt(f"{n_slots} key slots and {n_keys} data keys")
        slots = []
        for _ in range(n_slots):
            slot = _unpack_slot(cursor.take(cursor.u16()))
            if slot is not None:
                slots.append(slot)
        names = tuple(cursor.take(NAME_BYTES) for _ in range(n_keys))
        ring = cursor.take(n_keys * 32 + TAG_BYTES)
        cursor.end()
        if len(set(names)) != n_keys:
            raise cursor.corrupt("two data keys of one name")
        return cls(tuple(slots), names, salt, ring, n_slots - len(slots))


def _unpack_slot(data: bytes) -> SlotRecord | None:
    """Return a slot, None for one whose sum fails: the others may open the field."""
    if len(data) < 8 or struct.pack("<Q", sum64(data[:-8])) != data[-8:]:
        return None
    cursor = Cursor(data[:-8], "key slot")
    fields = SLOT_HEAD.unpack(cursor.take(SLOT_HEAD.size))
    n_label, n_note = cursor.u8(), cursor.u16()
    if n_note > _MAX_NOTE:
        raise cursor.corrupt(f"a note of {n_note} bytes")
    try:
        label = cursor.take(n_label).decode()
    except UnicodeDecodeError:
        raise cursor.corrupt("a label that is no text") from None
    slot = SlotRecord(
        fields["kind"],
        fields["log_n"],
        fields["r"],
        fields["p"],
        fields["work_salt"],
        fields["salt"],
        label,
        cursor.take(n_note),
        cursor.take(_WRAPPED),
    )
    cursor.end()
    return slot
