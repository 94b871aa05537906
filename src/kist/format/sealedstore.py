"""Pointers, pages and slots of a sealed store, in which every extent is a sealed body.

A pointer there says of the plaintext what a pointer of an open store says, and in the place of a
sum has random bytes, of which the key of the body follows: only the body that was sealed for this
pointer opens under it. docs/format.md, "Sealed stores".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple, Protocol

from kist.errors import CorruptDataError
from kist.format.checksum import sum128
from kist.format.layout import (
    BLOCK,
    FRAME,
    POINTER,
    SLOT,
    SLOT_SEAL_MAGIC,
    SLOT_SEAL_OFFSET,
    FieldTable,
)
from kist.format.sealed import MAX_BODY, SealedHead
from kist.format.superblock import Slot
from kist.format.values import Pointer, extent_length

__all__ = [
    "MAX_LOCK",
    "RANDOM_BYTES",
    "SLOT_SEAL",
    "UNIT",
    "SealedExtent",
    "SealedPage",
    "SlotSeal",
    "is_torn",
    "marked",
    "pack_references",
    "unpack_references",
    "unpack_slot_seal",
]

UNIT: Final = 15
RANDOM_BYTES: Final = 16

SLOT_SEAL: Final = FieldTable(
    "Slot seal",
    (
        ("magic", "4s", "LOCK"),
        ("length", "I", "bytes of the lock, which follows"),
        ("checkpoint", "Q", "as in the slot"),
        ("tag", "32s", "HMAC-SHA256 of the first 148 bytes of the slot, then the lock"),
        ("sum", "16s", "XXH3-128 of the fields before, then the lock"),
    ),
)

MAX_LOCK: Final = BLOCK - SLOT_SEAL_OFFSET - SLOT_SEAL.size


class Unsealing(Protocol):
    """What opens the extents of a sealed store: `kist.engine.view.Reader`."""

    def unsealed(self, pointer: SealedExtent, start: int, length: int) -> bytes:
        """Bytes of the plaintext of an extent."""

    def read_part(self, pointer: Pointer, start: int, length: int) -> bytes:
        """Bytes of a body."""


class SealedExtent(Pointer):
    """A pointer of a sealed store: length and head are those of the plaintext, `sum` is random."""

    __slots__ = ()

    MARK: ClassVar[int] = 1

    def pack(self) -> bytes:
        """The 44 bytes of the pointer, marked in its offset."""
        offset, length, head, birth, random = self
        return POINTER.struct.pack(offset | self.MARK, length, head, birth, random)

    @property
    def is_vouched(self) -> bool:
        """Whether what is read through it was opened by its tags, and has no sum."""
        return True

    @property
    def n_references(self) -> int:
        """Pointers in clear that stand before the sealed body."""
        return 0

    def sealed_head(self, key: bytes) -> SealedHead:
        """Return the head of the only body that opens here, given the name of its data key.

        Raises
        ------
        CorruptDataError
            The pointer is one that no writer makes.
        """
        _, length, head, birth, random = self
        if length >= MAX_BODY:
            raise CorruptDataError(f"a sealed extent of {length:,} bytes", offset=self.offset)
        salt = random + birth.to_bytes(8, "little") + head.to_bytes(4, "little") + bytes(4)
        return SealedHead(UNIT, length, key, salt)

    @property
    def nbytes(self) -> int:
        """Bytes of the body as it stands in the file."""
        return self.sealed_head(b"").total + self.n_references * POINTER.size

    @property
    def extent(self) -> tuple[int, int]:
        """(offset, bytes) of the space it takes in the file, header and padding included."""
        return self.offset, extent_length(self.nbytes)

    @property
    def body(self) -> tuple[int, int]:
        """First byte of the body in the file, and its end."""
        begin = self.offset + FRAME.size
        return begin, begin + self.nbytes

    @property
    def units_at(self) -> int:
        """Byte of the file from which spans of the sealed body are counted."""
        return self.offset + FRAME.size + self.n_references * POINTER.size

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of the file with the units of some bytes of the plaintext."""
        first, last = start >> UNIT, max(start, stop - 1) >> UNIT
        begin, end = self.sealed_head(b"").span(first, last)
        return self.units_at + begin, self.units_at + end

    def within(self, at: int, length: int, head: int, checksum: bytes) -> Pointer:
        """Return a pointer to a part of the plaintext that is read as a body of its own."""
        part = Part(self.offset + at, length, head, self.birth, checksum)
        part.whole, part.at = self, at
        return part

    def read_part(self, reader: Unsealing, start: int, length: int) -> bytes:
        """Return bytes of the plaintext; `Reader.read_part` comes here."""
        return reader.unsealed(self, start, length)

    def read_into(self, reader: Unsealing, start: int, out: memoryview) -> None:
        """Fill `out` with the plaintext from byte `start` on."""
        out[:] = reader.unsealed(self, start, len(out))


class SealedPage(SealedExtent):
    """A pointer to a tree page of a sealed store; `head` is the number of its references."""

    __slots__ = ()

    MARK: ClassVar[int] = 3

    @property
    def is_whole(self) -> bool:
        """Whether it is read at once: always."""
        return True

    @property
    def n_references(self) -> int:
        """Pointers in clear that stand before the sealed body."""
        return self.head


class Part(Pointer):
    """A part of a sealed extent: its sum is of the plaintext, as in open stores.

    Attributes
    ----------
    whole : SealedExtent
        The extent.
    at : int
        Where in its plaintext the part begins.
    """

    whole: SealedExtent
    at: int

    @property
    def body(self) -> tuple[int, int]:
        """First byte of its units in the file, and their end."""
        return self.span(0, self.length)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of the file with the units of some bytes of the part."""
        return self.whole.span(self.at + start, self.at + stop)

    def read_part(self, reader: Unsealing, start: int, length: int) -> bytes:
        """Return bytes of the part."""
        return reader.read_part(self.whole, self.at + start, length)

    def read_into(self, reader: Unsealing, start: int, out: memoryview) -> None:
        """Fill `out` with bytes of the part from byte `start` on."""
        out[:] = reader.read_part(self.whole, self.at + start, len(out))


def marked(pointer: Pointer) -> Pointer:
    """Return the pointer of a sealed store for the fields of one, whose offset is marked.

    A mark that is none is left, and refused with the pointer.
    """
    mark = pointer.offset & 63
    for kind in (SealedExtent, SealedPage):
        if mark == kind.MARK:
            return kind(pointer.offset - mark, *pointer[1:])
    return pointer


def pack_references(pointers: Sequence[bytes]) -> bytes:
    """Return packed pointers as they stand before the sealed body of a page."""
    return b"".join(pointers)


def unpack_references(data: bytes | memoryview, count: int) -> list[bytes]:
    """Return the packed pointers that stand at the start of some bytes."""
    size = POINTER.size
    return [bytes(data[at : at + size]) for at in range(0, count * size, size)]


class SlotSeal(NamedTuple):
    """What a slot of a sealed store has beside its fields.

    Attributes
    ----------
    tag : bytes
        By which holders know that one of them wrote slot and lock.
    lock : bytes
        What opens the store.
    checkpoint : int
        Of the slot: a write that was torn between them is told from a change by somebody.
    """

    tag: bytes
    lock: bytes
    checkpoint: int

    def pack(self) -> bytes:
        """Return the bytes that stand at 512 in the block of the slot."""
        fixed = SLOT_SEAL.pack(
            magic=SLOT_SEAL_MAGIC,
            length=len(self.lock),
            checkpoint=self.checkpoint,
            tag=self.tag,
            sum=bytes(16),
        )[:-16]
        return fixed + sum128(fixed + self.lock) + self.lock


def signed_part(block: bytes) -> bytes:
    """Return the bytes of a slot that its tag vouches for, beside the lock."""
    return block[: SLOT.size - 16]


def unpack_slot_seal(block: bytes) -> SlotSeal | None:
    """Return the seal in the block of a slot, None where no whole one is."""
    data = block[SLOT_SEAL_OFFSET:]
    if len(data) < SLOT_SEAL.size:
        return None
    fields = SLOT_SEAL.unpack(data)
    if fields["magic"] != SLOT_SEAL_MAGIC or fields["length"] > MAX_LOCK:
        return None
    lock = data[SLOT_SEAL.size : SLOT_SEAL.size + fields["length"]]
    if fields["sum"] != sum128(data[: SLOT_SEAL.size - 16] + lock):
        return None
    return SlotSeal(fields["tag"], lock, fields["checkpoint"])


def is_torn(slot: Slot, seal: SlotSeal) -> bool:
    """Tell whether a crash cut the write of a slot off before its seal: the other one counts."""
    return slot.checkpoint != seal.checkpoint
