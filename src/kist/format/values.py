"""Values of the map: pointers first, then the payload; and the records of the store itself.

Every value begins with the pointers to the extents that it owns, so the engine can free, move
and check extents without knowing what a record means (docs/format.md, "Values").
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from kist.errors import CorruptDataError
from kist.format.layout import FRAME, MAX_INLINE, MAX_POINTERS, POINTER

__all__ = [
    "MAX_INLINE",
    "NO_POINTER",
    "KeptVersion",
    "Pointer",
    "extent_length",
    "pack_free",
    "pack_record",
    "pack_waiting",
    "payload_of",
    "pointer_bytes",
    "sealed_pointer",
    "stored_pointer",
    "unpack_free",
    "unpack_record",
    "unpack_waiting",
]

_POINTER = POINTER.struct
_named: Any = tuple.__new__  # of a named tuple, without its function in Python


class Pointer(NamedTuple):
    """Where a frame stands and what its head must sum to."""

    offset: int
    length: int
    head: int
    birth: int
    sum: bytes

    def pack(self) -> bytes:
        """The 44 bytes of the pointer."""
        return _POINTER.pack(*self)

    @classmethod
    def unpack(cls, data: bytes | memoryview, at: int = 0) -> Pointer:
        """Pointer from its 44 bytes at `at`."""
        pointer = cls(*_POINTER.unpack_from(data, at))
        return sealed_pointer(pointer) if pointer.offset & 63 else pointer

    @property
    def is_whole(self) -> bool:
        """Whether the verified head is all of the body."""
        return self.head == self.length

    @property
    def is_vouched(self) -> bool:
        """Whether what is read through it was opened by its tags, and has no sum."""
        return False

    @property
    def nbytes(self) -> int:
        """Bytes of the body as it stands in the file."""
        return self.length

    @property
    def extent(self) -> tuple[int, int]:
        """(offset, bytes) of the space it takes in the file, header and padding included."""
        return self.offset, extent_length(self.length)

    @property
    def body(self) -> tuple[int, int]:
        """First byte of the body in the file, and its end."""
        begin = self.offset + FRAME.size
        return begin, begin + self.length

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of the file that is read for bytes ``start .. stop`` of the body."""
        begin = self.offset + FRAME.size
        return begin + start, begin + stop

    def within(self, at: int, length: int, head: int, checksum: bytes) -> Pointer:
        """Return a pointer to a part of the body that is read as a body of its own."""
        found: Pointer = _named(Pointer, (self.offset + at, length, head, self.birth, checksum))
        return found


def sealed_pointer(pointer: Pointer) -> Pointer:
    """Return the pointer of a sealed store whose offset is marked as one."""
    from kist.format.sealedstore import marked  # most stores have none

    return marked(pointer)


def stored_pointer(pointer: Pointer) -> Pointer:
    """Return the pointer to an extent as it stands in the file, of one that opens itself too."""
    stored: Pointer = getattr(pointer, "stored", pointer)
    return stored


NO_POINTER = bytes(POINTER.size)


def extent_length(body: int) -> int:
    """Bytes of file space for a frame with a body of `body` bytes."""
    return (FRAME.size + body + 63) & ~63


def pack_record(payload: bytes, pointers: Sequence[Pointer] = ()) -> bytes:
    """Value of the map from its payload and the pointers it owns."""
    if not pointers:
        return b"\0" + payload
    if len(pointers) == 1:
        return b"\1" + pointers[0].pack() + payload
    if len(pointers) > MAX_POINTERS:
        raise ValueError(f"a record owns at most {MAX_POINTERS} extents, not {len(pointers)}")
    return bytes((len(pointers),)) + b"".join([p.pack() for p in pointers]) + payload


def unpack_record(value: bytes) -> tuple[tuple[Pointer, ...], bytes]:
    """(pointers, payload) of a value of the map.

    Raises
    ------
    CorruptDataError
        The value is shorter than its pointers.
    """
    if not value:
        raise CorruptDataError("a record of the map is empty: it lacks its count of pointers")
    count = value[0]
    if count == 0:
        return (), value[1:]
    end = 1 + count * POINTER.size
    if end > len(value):
        raise CorruptDataError(
            f"a record of {len(value)} bytes claims {count} pointers of {POINTER.size} bytes"
        )
    if count == 1:  # as nearly all have that have any
        only: Pointer = _named(Pointer, _POINTER.unpack_from(value, 1))
        return (sealed_pointer(only) if only.offset & 63 else only,), value[end:]
    size = POINTER.size
    found = tuple([_named(Pointer, _POINTER.unpack_from(value, at)) for at in range(1, end, size)])
    if found[0].offset & 63:
        found = tuple(map(sealed_pointer, found))
    return found, value[end:]


def payload_of(value: bytes) -> bytes:
    """Payload of a value of the map; raises as `unpack_record`."""
    count = value[0] if value else 1
    end = 1 + count * POINTER.size
    if end > len(value):
        return unpack_record(value)[1]
    return value[end:]


def pointer_bytes(value: bytes) -> tuple[bytes, ...]:
    """The packed pointers of a value, for comparing what two values own.

    Raises
    ------
    CorruptDataError
        The value is shorter than its pointers.
    """
    count = value[0] if value else 0
    size = POINTER.size
    if 1 + count * size > len(value) and count:
        raise CorruptDataError(f"a record of {len(value)} bytes claims {count} pointers")
    if count == 1:
        return (value[1 : 1 + size],)
    return tuple(value[at : at + size] for at in range(1, 1 + count * size, size))


_FREE = struct.Struct("<Q")
_WAITING = struct.Struct("<QQ")
_VERSION = struct.Struct("<QQqQQ44sB")


def _fields(table: struct.Struct, value: bytes) -> tuple[Any, ...]:
    payload = unpack_record(value)[1]
    if len(payload) < table.size:
        raise CorruptDataError(f"a record of the store has {len(payload)} bytes, not {table.size}")
    return table.unpack_from(payload)


def pack_free(length: int) -> bytes:
    """Value of an ``F`` record: bytes that may be used."""
    return pack_record(_FREE.pack(length))


def unpack_free(value: bytes) -> int:
    """Bytes of a free extent."""
    return int(_fields(_FREE, value)[0])


def pack_waiting(length: int, birth: int) -> bytes:
    """Value of a ``Q`` record: bytes that wait, and the commit that wrote them."""
    return pack_record(_WAITING.pack(length, birth))


def unpack_waiting(value: bytes) -> tuple[int, int]:
    """(bytes, birth commit) of a waiting extent."""
    length, birth = _fields(_WAITING, value)
    return int(length), int(birth)


class KeptVersion(NamedTuple):
    """A commit that stays readable: its root and what the history shows of it.

    `commit` is the one whose root it is and whose extents stay; `shown` is the commit of the
    user that it shows, which differs when the root was written by a checkpoint behind it.
    The root pointer stands in the payload, not among the owned pointers: the pages of a kept
    tree are shared with later trees, and the rules of reuse alone keep them.
    """

    commit: int
    shown: int
    time_ns: int
    end: int
    next_node: int
    root: Pointer | None
    retained: bool
    message: str

    def pack(self) -> bytes:
        """Value of the ``V`` record."""
        root = self.root.pack() if self.root else NO_POINTER
        fixed = _VERSION.pack(
            self.commit,
            self.shown,
            self.time_ns,
            self.end,
            self.next_node,
            root,
            int(self.retained),
        )
        return pack_record(fixed + self.message.encode())

    @classmethod
    def unpack(cls, value: bytes) -> KeptVersion:
        """Version from its ``V`` record."""
        commit, shown, time_ns, end, next_node, root, retained = _fields(_VERSION, value)
        return cls(
            commit,
            shown,
            time_ns,
            end,
            next_node,
            None if root == NO_POINTER else Pointer.unpack(root),
            bool(retained),
            unpack_record(value)[1][_VERSION.size :].decode(errors="replace"),
        )
