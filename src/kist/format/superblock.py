"""Super and slots: the first 16 KiB of a file."""

from __future__ import annotations

from typing import NamedTuple

from kist.errors import CorruptDataError, NotAStoreError, UnsupportedVersionError
from kist.format import layout
from kist.format.checksum import sum128
from kist.format.layout import CLOSING, SLOT, SUPER
from kist.format.values import NO_POINTER, Pointer


class Super(NamedTuple):
    """Identity and geometry of a store."""

    uuid: bytes
    created_ns: int
    features_read: int = 0
    features_write: int = 0
    features_ignorable: int = 0
    ring_offset: int = layout.RING_OFFSET
    ring_half: int = layout.RING_HALF
    data_offset: int = layout.DATA_OFFSET

    @property
    def is_sealed(self) -> bool:
        """Whether the whole store is sealed."""
        return bool(self.features_read & layout.FEATURE_SEALED)

    def pack(self) -> bytes:
        """One block of 4 KiB."""
        data = SUPER.pack(
            magic=layout.SUPER_MAGIC,
            version=layout.FORMAT_VERSION,
            uuid=self.uuid,
            created_ns=self.created_ns,
            features_read=self.features_read,
            features_write=self.features_write,
            features_ignorable=self.features_ignorable,
            ring_offset=self.ring_offset,
            ring_half=self.ring_half,
            data_offset=self.data_offset,
            sum=bytes(16),
        )[:-16]
        return (data + sum128(data)).ljust(layout.BLOCK, b"\0")


# What else a path may hold; the answer names it (design.md, "Citizens").
_FOREIGN = (
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "an Arrow file"),
    (b"\x93NUMPY", "NPY"),
    (b"PK\x03\x04", "a zip archive (NPZ?)"),
    (b"CDF\x01", "NetCDF 3"),
    (b"CDF\x02", "NetCDF 3"),
    (b"CDF\x05", "NetCDF 3"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
)


def describe_foreign(data: bytes) -> str | None:
    """What the first bytes of a file that is not kist's say it is."""
    for magic, what in _FOREIGN:
        if data.startswith(magic):
            return what
    return None


def _unpack_one(data: bytes) -> Super | None:
    if len(data) < SUPER.size:
        return None
    fields = SUPER.unpack(data)
    if fields.pop("magic") != layout.SUPER_MAGIC:
        return None
    if fields["version"] > layout.FORMAT_VERSION:
        # Said before the sum is looked at: a newer version may sum its super otherwise.
        raise UnsupportedVersionError(
            f"format version {fields['version']}; this kist reads up to"
            f" {layout.FORMAT_VERSION}: install a newer kist"
        )
    if fields.pop("sum") != sum128(data[: SUPER.size - 16]):
        return None
    fields.pop("version")
    return Super(**fields)


def _whole(data: bytes) -> Super | None:
    """A copy of this version, also where the other copy is, or says that it is, of a newer one."""
    try:
        return _unpack_one(data)
    except UnsupportedVersionError:
        return None


def has_super(head: bytes) -> bool:
    """Whether anything was ever written where the super and its copy stand."""
    return any(
        head[at : at + SUPER.size].strip(b"\0")
        for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET)
    )


def damaged_supers(head: bytes) -> list[int]:
    """Offsets of the copies of the super that are not whole, in the first 16 KiB."""
    places = (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET)
    return [at for at in places if _whole(head[at : at + layout.BLOCK]) is None]


def unpack_super(head: bytes, path: str) -> Super:
    """Super from the first 16 KiB, or from its copy.

    Raises
    ------
    NotAStoreError
        Neither place holds the magic; the message names what the file is, if known.
    UnsupportedVersionError
        The version or a read feature is not known.
    CorruptDataError
        The magic is there, and both copies fail their sum.
    """
    first = head[layout.SUPER_OFFSET : layout.SUPER_OFFSET + layout.BLOCK]
    second = head[layout.SUPER_COPY_OFFSET : layout.SUPER_COPY_OFFSET + layout.BLOCK]
    try:
        found = _unpack_one(first) or _unpack_one(second)
    except UnsupportedVersionError as error:
        # Damage to the number of the version: the other copy knows it.
        found = _whole(first) or _whole(second)
        if found is None:
            raise type(error)(f"{path}: {error}") from None
    if found is None:
        if head[:8] == layout.SUPER_MAGIC or second[:8] == layout.SUPER_MAGIC:
            raise CorruptDataError(
                f"{path}: the header and its copy at {layout.SUPER_COPY_OFFSET:#x} fail their"
                " checksums: restore the file from a backup",
                offset=0,
            )
        if not head:
            raise NotAStoreError(f"{path}: the file is empty, so not a finished kist store")
        if not has_super(head):
            raise NotAStoreError(
                f"{path}: not a finished kist store: its creation was cut off; mode 'a' begins"
                " it again"
            )
        what = describe_foreign(head)
        hint = f"this is {what}: see 'kist convert'" if what else "it has another signature"
        raise NotAStoreError(f"{path}: not a kist store; {hint}")
    unknown = found.features_read & ~layout.KNOWN_STORE_FEATURES
    if unknown:
        raise UnsupportedVersionError(
            f"{path}: read features {unknown:#x} are not known here: install a newer kist"
        )
    geometry = (found.ring_offset, found.data_offset)
    if (
        found.ring_half % layout.BLOCK
        or not layout.BLOCK * 4 <= found.ring_half <= 1 << 24
        or geometry != (layout.HEAD_BYTES, layout.HEAD_BYTES + 2 * found.ring_half)
    ):
        raise CorruptDataError(f"{path}: the header names an impossible geometry", offset=0)
    return found


class Slot(NamedTuple):
    """Where to start: a root, and where the log goes on from there."""

    checkpoint: int
    commit: int
    time_ns: int
    position: int
    end: int
    next_node: int
    root: Pointer | None
    chain: bytes
    spare: tuple[int, int] = (0, 0)

    def pack(self, uuid: bytes) -> bytes:
        """One block of 4 KiB."""
        data = SLOT.pack(
            magic=layout.SLOT_MAGIC,
            flags=0,
            uuid=uuid,
            checkpoint=self.checkpoint,
            commit=self.commit,
            time_ns=self.time_ns,
            position=self.position,
            end=self.end,
            next_node=self.next_node,
            root=self.root.pack() if self.root else NO_POINTER,
            spare_offset=self.spare[0],
            spare_length=self.spare[1],
            chain=self.chain,
            sum=bytes(16),
        )[:-16]
        return (data + sum128(data)).ljust(layout.BLOCK, b"\0")


def unpack_slot(data: bytes, uuid: bytes) -> Slot | None:
    """Slot from its block, or None when it is not whole or of another store."""
    if len(data) < SLOT.size:
        return None
    # Not `SLOT.unpack`, which makes a dict: it is done twice for each file of a union.
    (
        magic,
        flags,
        named,
        checkpoint,
        commit,
        time_ns,
        position,
        end,
        next_node,
        root,
        spare_offset,
        spare_length,
        chain,
        total,
    ) = SLOT.struct.unpack_from(data)
    if magic != layout.SLOT_MAGIC or named != uuid or flags:
        return None
    if total != sum128(data[: SLOT.size - 16]):
        return None
    if (
        max(checkpoint, commit) > layout.MAX_COMMIT
        or max(position, end, spare_offset + spare_length) > layout.MAX_OFFSET
        or next_node > layout.MAX_NODE
    ):
        return None
    return Slot(
        checkpoint,
        commit,
        time_ns,
        position,
        end,
        next_node,
        None if root == NO_POINTER else Pointer.unpack(root),
        chain,
        (spare_offset, spare_length),
    )


def pack_closing(uuid: bytes, commit: int) -> bytes:
    """Note that a commit is durable: a sector of its own."""
    data = CLOSING.struct.pack(layout.CLOSING_MAGIC, 0, uuid, commit, bytes(16))[:-16]
    return (data + sum128(data)).ljust(layout.SECTOR, b"\0")


def unpack_closing(data: bytes, uuid: bytes) -> int | None:
    """Commit of a closing note; 0 where none was ever written, None where it is not whole."""
    data = data[: CLOSING.size]
    if not data.strip(b"\0"):
        return 0
    if len(data) < CLOSING.size:
        return None
    f = CLOSING.unpack(data)
    if f["magic"] != layout.CLOSING_MAGIC or f["flags"] or f["uuid"] != uuid:
        return None
    if f["sum"] != sum128(data[:-16]) or f["commit"] > layout.MAX_COMMIT:
        return None
    return int(f["commit"])
