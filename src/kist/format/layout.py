"""Every magic, offset, size and field table of a kist file, each written once.

The normative text is ``docs/format.md``; ``tests/format/test_layout.py`` holds the page and
this module together. A :class:`FieldTable` lists the fields of one fixed structure in order;
packing, unpacking and the tables of the page all come from it. All integers are little-endian,
except inside keys of the map (see :mod:`kist.format.keys`).
"""

from __future__ import annotations

import struct
from typing import Any, Final

FORMAT_VERSION: Final = 1
BLOCK: Final = 4096
SECTOR: Final = 512  # what a disk writes at least
ALIGNMENT: Final = 64

SUPER_MAGIC: Final = b"\x89KIST\r\n\x1a"  # as PNG: shows 7-bit and line-end damage at once
CLOSING_MAGIC: Final = b"DONE"
SLOT_SEAL_MAGIC: Final = b"LOCK"
SLOT_MAGIC: Final = b"SLOT"
COMMIT_MAGIC: Final = b"CMIT"
PAGE_MAGIC: Final = b"KP"
BUNDLE_MAGIC: Final = b"KV"
PACKED_MAGIC: Final = b"\x89KPACK\r\n"

SUPER_OFFSET: Final = 0x0000
SLOT_OFFSETS: Final = (0x1000, 0x2000)
SUPER_COPY_OFFSET: Final = 0x3000
CLOSING_OFFSET: Final = 0x3800  # in the block of the copy, and a sector of its own
SLOT_SEAL_OFFSET: Final = 512  # in the block of a slot, where the store is sealed
HEAD_BYTES: Final = 0x4000
RING_OFFSET: Final = 0x4000
RING_HALF: Final = 128 * 1024
DATA_OFFSET: Final = RING_OFFSET + 2 * RING_HALF

MAX_INLINE: Final = 4096  # payload bytes of a record; larger ones go to an extent
MAX_KEY: Final = 1024
MAX_VALUE: Final = 1 << 18  # bytes of a value: a page of the tree holds at least one
MAX_POINTERS: Final = 255
MAX_RECORD: Final = 32 * 1024  # bytes of a small commit; larger ones become root commits
MAX_TREE_PAGE: Final = 1 << 20  # bytes a reader accepts for one tree page
MAX_TREE_DEPTH: Final = 16
# Extent bytes that may share the one sync of a commit: a megabyte of values with its heads.
UNSYNCED_FULL: Final = (1 << 20) + (64 << 10)
UNSYNCED_RELAXED: Final = 4 << 20
# What readers accept: whatever names more was made to hurt. File systems end at 2**63 bytes, and
# the bytes that stand for commits in locks end with them.
MAX_OFFSET: Final = 1 << 62
MAX_COMMIT: Final = (1 << 61) - 1
MAX_NODE: Final = 1 << 56

# Feature masks of the super, of node records and of frames.
FEATURE_SEALED: Final = 1  # of the super, to read: the whole store is sealed
KNOWN_STORE_FEATURES: Final = FEATURE_SEALED
KNOWN_READ_FEATURES: Final = 0
KNOWN_WRITE_FEATURES: Final = 0
NODE_SEALED: Final = 1  # to be read, of a key store: it is sealed as a whole

# Kinds of log record.
COMMIT_CHANGES: Final = 1  # puts and deletes
COMMIT_ROOT: Final = 2  # a new tree root holds everything
COMMIT_MARK: Final = 3  # no commit: vouches for the one before it
# Flags of a commit.
FLAG_MAINTENANCE: Final = 1  # nothing of the user changed: not shown in the history
FLAG_SEALED: Final = 2  # message and operations are sealed

# Operations in the payload of a COMMIT_CHANGES record.
OP_PUT: Final = 0
OP_DELETE: Final = 1
OP_DELETE_RANGE: Final = 2

# Frame types.
FRAME_TREE: Final = b"TREE"
FRAME_PAGE: Final = b"NPAG"
FRAME_ROWS: Final = b"ROWS"
FRAME_BLOB: Final = b"BLOB"
FRAME_BUNDLE: Final = b"KVAL"
FRAME_SEALED: Final = b"SEAL"


class FieldTable:
    """The fields of one fixed little-endian structure.

    Parameters
    ----------
    name : str
        Title of its table in ``docs/format.md``.
    fields : sequence of (name, struct code, meaning)
        In order of the bytes; ``"16s"`` is 16 bytes, ``"x"`` codes are reserved zeros.
    """

    def __init__(self, name: str, fields: tuple[tuple[str, str, str], ...]) -> None:
        self.name = name
        self.fields = fields
        self.struct = struct.Struct("<" + "".join(code for _, code, _ in fields))
        self.size = self.struct.size
        self.names = tuple(n for n, code, _ in fields if not code.endswith("x"))
        self._offsets: dict[str, int] = {}
        at = 0
        for field, code, _ in fields:
            self._offsets[field] = at
            at += struct.calcsize("<" + code)

    def offset(self, field: str) -> int:
        """Byte offset of `field` in the structure."""
        return self._offsets[field]

    def rows(self) -> list[tuple[int, int, str, str]]:
        """(offset, size, name, meaning) of every field, for the format page and its test."""
        return [
            (self._offsets[n], struct.calcsize("<" + c), n, meaning)
            for n, c, meaning in self.fields
        ]

    def pack(self, **values: Any) -> bytes:
        """Bytes of the structure; every field must be given."""
        return self.struct.pack(*[values[name] for name in self.names])

    def unpack(self, data: bytes | memoryview, offset: int = 0) -> dict[str, Any]:
        """Field values of the structure at `offset` of `data`."""
        return dict(zip(self.names, self.struct.unpack_from(data, offset), strict=True))


SUPER: Final = FieldTable(
    "Super",
    (
        ("magic", "8s", "89 4B 49 53 54 0D 0A 1A"),
        ("version", "H", "format version, 1"),
        ("reserved0", "6x", "zeros"),
        ("uuid", "16s", "random identity of the store"),
        ("created_ns", "q", "time of creation, ns since 1970 UTC"),
        ("features_read", "Q", "a reader must know every bit"),
        ("features_write", "Q", "a writer must know every bit"),
        ("features_ignorable", "Q", "bits that may be unknown"),
        ("ring_offset", "Q", "first byte of the ring"),
        ("ring_half", "Q", "bytes of one half of the ring"),
        ("data_offset", "Q", "first byte of the extents"),
        ("sum", "16s", "XXH3-128 of all bytes before"),
    ),
)

POINTER: Final = FieldTable(
    "Pointer",
    (
        ("offset", "Q", "file offset of the frame's header"),
        ("length", "Q", "bytes of the body"),
        ("head", "I", "bytes of the verified head of the body"),
        ("birth", "Q", "commit that wrote it"),
        ("sum", "16s", "XXH3-128 of the head"),
    ),
)

CLOSING: Final = FieldTable(
    "Closing note",
    (
        ("magic", "4s", "DONE"),
        ("flags", "I", "zero"),
        ("uuid", "16s", "as in the super"),
        ("commit", "Q", "a commit that was durable when this was written"),
        ("sum", "16s", "XXH3-128 of all bytes before"),
    ),
)

SLOT: Final = FieldTable(
    "Slot",
    (
        ("magic", "4s", "SLOT"),
        ("flags", "I", "zero"),
        ("uuid", "16s", "as in the super"),
        ("checkpoint", "Q", "number of the checkpoint; the higher slot is the newer"),
        ("commit", "Q", "commit that the root shows"),
        ("time_ns", "q", "time of that commit"),
        ("position", "Q", "file offset where the next record stands"),
        ("end", "Q", "end of the used part of the file"),
        ("next_node", "Q", "first node id not given yet"),
        ("root", "44s", "pointer to the root page; zeros when the map is empty"),
        ("spare_offset", "Q", "unused rest of the last run"),
        ("spare_length", "Q", "its bytes; zero when there is none"),
        ("chain", "16s", "sum of the record of that commit; zeros before the first"),
        ("sum", "16s", "XXH3-128 of all bytes before"),
    ),
)

RECORD: Final = FieldTable(
    "Log record",
    (
        ("magic", "4s", "CMIT"),
        ("kind", "H", "1 changes, 2 root, 3 mark"),
        ("flags", "H", "1: maintenance, not part of the history; 2: sealed"),
        ("uuid", "16s", "as in the super"),
        ("commit", "Q", "id; one more than that of the record before. A mark repeats it"),
        ("position", "Q", "file offset of this record"),
        ("time_ns", "q", "time of the commit"),
        ("horizon", "Q", "newest commit known to be durable when this was written"),
        ("end", "Q", "end of the used part of the file"),
        ("next_node", "Q", "first node id not given yet"),
        ("length", "I", "bytes of the payload"),
        ("reserved0", "4x", "zeros"),
        ("parent", "16s", "sum of the record before; the slot's chain for the first"),
        ("reserved1", "16x", "zeros"),
        ("sum", "16s", "XXH3-128 of the header before this field, then the payload"),
    ),
)

FRAME: Final = FieldTable(
    "Frame header",
    (
        ("type", "4s", "TREE, NPAG, ROWS, BLOB, KVAL or SEAL"),
        ("version", "H", "1"),
        ("flags", "H", "zero; bits 8 to 15: must be known to read"),
        ("offset", "Q", "file offset of this header"),
        ("uuid", "16s", "as in the super"),
        ("node", "Q", "node it was written for; 0 the store itself"),
        ("column", "I", "leaf of a table, level of a tree page; else 0"),
        ("head", "I", "bytes of the verified head of the body"),
        ("row", "Q", "first row id; else 0"),
        ("birth", "Q", "commit that wrote it"),
        ("length", "Q", "bytes of the body"),
        ("body_sum", "16s", "XXH3-128 of the head, as in the pointer"),
        ("reserved0", "32x", "zeros"),
        ("sum", "8s", "XXH3-64 of all bytes before, little-endian"),
    ),
)

TREE_PAGE: Final = FieldTable(
    "Tree page head",
    (
        ("level", "B", "0 a leaf; else one more than its children"),
        ("flags", "B", "zero"),
        ("prefix", "H", "bytes that all keys begin with"),
        ("count", "I", "number of entries"),
    ),
)

PAGE_HEAD: Final = FieldTable(
    "Page head",
    (
        ("magic", "2s", "KP"),
        ("version", "B", "1"),
        ("n_stages", "B", "stages of the pipeline"),
        ("n_values", "Q", "values in the page"),
        ("block_values", "I", "values of a block; the last may hold fewer"),
        ("n_blocks", "I", "blocks"),
        ("sector_blocks", "I", "blocks of a sector; the last may hold fewer"),
        ("n_sectors", "I", "sectors"),
    ),
)

BUNDLE_HEAD: Final = FieldTable(
    "Bundle head",
    (
        ("magic", "2s", "KV"),
        ("version", "B", "1"),
        ("reserved0", "x", "zero"),
        ("n_parts", "I", "parts"),
        ("value_length", "I", "bytes of the plain value; zero when it is the last part"),
    ),
)

PACKED_HEAD: Final = FieldTable(
    "Packed head",
    (
        ("magic", "8s", "89 4B 50 41 43 4B 0D 0A"),
        ("version", "B", "1"),
        ("kind", "B", "1 bytes of a file or stream, 2 a value"),
        ("reserved0", "6x", "zeros"),
        ("sum", "Q", "XXH3-64 of all bytes before"),
    ),
)

PACKED_RECORD: Final = FieldTable(
    "Packed record",
    (
        ("type", "4s", "PAGE, VALU or DONE"),
        ("head", "I", "bytes of the body that `head_sum` covers"),
        ("length", "Q", "bytes of the body, which follows"),
        ("start", "Q", "bytes of what was packed that stand before this record"),
        ("n_values", "I", "values of a page, else 0"),
        ("dtype", "12s", "their dtype as NumPy writes it, such as <f8, then zeros"),
        ("head_sum", "16s", "XXH3-128 of the first `head` bytes of the body"),
        ("sum", "Q", "XXH3-64 of all bytes of the record before"),
    ),
)
