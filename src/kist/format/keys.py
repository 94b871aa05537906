"""Keys of the map: node id, kind, rest (docs/format.md, "Keys").

Keys sort as bytes, so the integers in them are big-endian, and all records of one node are
neighbours. A range is half-open: (start, stop).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kist.errors import CorruptDataError

STORE = 0  # the store's own records
ROOT = 1  # the root group
FIRST_NODE = 2

PLACE = 0
"""Number of the field by which a node stands in a sealed group: its attributes and its place."""

Range = tuple[bytes, bytes]

_Q = struct.Struct(">Q")
_QQ = struct.Struct(">QQ")
_NODE = struct.Struct(">Qc")
_NODE_ROW = struct.Struct(">QcQ")
_NODE_COLUMN = struct.Struct(">QcI")
_PAGE = struct.Struct(">QcIQ")
_PATCH = struct.Struct(">QcQQ")


_LAST_NODE = (1 << 64) - 1


def after_prefix(prefix: bytes) -> bytes:
    """First key behind all that begin with `prefix`."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else b"\xff" * 1025


def prefix_range(prefix: bytes) -> Range:
    """Range of all keys that begin with `prefix`."""
    return prefix, after_prefix(prefix)


def whole_node(node: int) -> Range:
    """All records of one node."""
    if node == _LAST_NODE:  # as a forged record may say
        return prefix_range(_Q.pack(node))
    return _Q.pack(node), _Q.pack(node + 1)


def _kind(node: int, kind: bytes) -> Range:
    return prefix_range(_NODE.pack(node, kind))


def node(node: int) -> bytes:
    """The record of the node itself."""
    return _NODE.pack(node, b"N")


def child(node: int, name: str) -> bytes:
    """Entry of a group for the child called `name`."""
    return _NODE.pack(node, b"D") + name.encode()


def children(node: int) -> Range:
    """All entries of a group, sorted by code point."""
    return _kind(node, b"D")


def attribute(node: int, column: int, name: str) -> bytes:
    """An attribute of a node (column 0) or of one of its columns."""
    return _NODE_COLUMN.pack(node, b"A", column) + name.encode()


def note(node: int, name: str) -> bytes:
    """What the bridge of that name must know to give an object back as it was."""
    return _NODE.pack(node, b"M") + name.encode()


def link(node: int) -> bytes:
    """Where a link leads."""
    return _NODE.pack(node, b"L")


def attributes(node: int, column: int) -> Range:
    """All attributes of a node (column 0) or of one of its columns."""
    return prefix_range(_NODE_COLUMN.pack(node, b"A", column))


def all_attributes(node: int) -> Range:
    """All attributes of a node and of its columns."""
    return _kind(node, b"A")


def schema(node: int) -> bytes:
    """The schema of a table."""
    return _NODE.pack(node, b"S")


def group(node: int, row: int) -> bytes:
    """The row group or piece that begins at a row id."""
    return _NODE_ROW.pack(node, b"G", row)


def groups(node: int) -> Range:
    """All row groups and pieces of a table, in order of their rows."""
    return _kind(node, b"G")


def page(node: int, leaf: int, row: int) -> bytes:
    """One page: a leaf column of the row group that begins at a row id."""
    return _PAGE.pack(node, b"P", leaf, row)


def pages(node: int, leaf: int) -> Range:
    """All pages of a leaf column."""
    return prefix_range(_NODE_COLUMN.pack(node, b"P", leaf))


def patch(node: int, row: int, seq: int) -> bytes:
    """A patch of the row group that begins at a row id; later `seq` win."""
    return _PATCH.pack(node, b"U", row, seq)


def patches(node: int, row: int | None = None) -> Range:
    """All patches of a table, or those of one row group."""
    return _kind(node, b"U") if row is None else prefix_range(_NODE_ROW.pack(node, b"U", row))


def deletion(node: int, row: int) -> bytes:
    """The set of deleted rows of the row group that begins at a row id."""
    return _NODE_ROW.pack(node, b"X", row)


def deletions(node: int) -> Range:
    """All sets of deleted rows of a table."""
    return _kind(node, b"X")


def indexes(node: int) -> Range:
    """All records of the indexes of a table: the state, then each index and its runs."""
    return _kind(node, b"I")


def index_state(node: int) -> bytes:
    """What all indexes of a table have in common."""
    return _NODE_COLUMN.pack(node, b"I", 0)


def index(node: int, number: int) -> bytes:
    """What an index is; numbers begin at 1."""
    return _NODE_COLUMN.pack(node, b"I", number)


def index_records(node: int, number: int) -> Range:
    """An index and its runs."""
    return prefix_range(_NODE_COLUMN.pack(node, b"I", number))


def index_run(node: int, number: int, row: int) -> bytes:
    """The run of an index that begins at a row id."""
    return _PAGE.pack(node, b"I", number, row)


def index_runs(node: int, number: int) -> Range:
    """All runs of an index, in order of their rows."""
    start = _NODE_COLUMN.pack(node, b"I", number)
    return start + b"\0", after_prefix(start)


def categories(node: int, leaf: int) -> Range:
    """All runs of the categories of a column, by the leaf that holds its codes."""
    return prefix_range(_NODE_COLUMN.pack(node, b"Y", leaf))


def category_run(node: int, leaf: int, code: int) -> bytes:
    """The run of categories that begins with the one of a code."""
    return _PAGE.pack(node, b"Y", leaf, code)


def lock(node: int, field: int) -> bytes:
    """What opens a sealed field of a table."""
    return _NODE_COLUMN.pack(node, b"E", field) + b"L"


def manifest(node: int, field: int) -> bytes:
    """Which records make up a sealed field of a table."""
    return _NODE_COLUMN.pack(node, b"E", field) + b"M"


def index_manifest(node: int, field: int) -> bytes:
    """What vouches for the indexes of a sealed field of a table."""
    return _NODE_COLUMN.pack(node, b"E", field) + b"I"


def sealed_field(node: int, field: int) -> Range:
    """Lock and manifest of a sealed field."""
    return prefix_range(_NODE_COLUMN.pack(node, b"E", field))


def sealed_fields(node: int) -> Range:
    """Locks and manifests of all sealed fields of a dataset, but not those of `PLACE`."""
    return _NODE_COLUMN.pack(node, b"E", PLACE + 1), after_prefix(_NODE.pack(node, b"E"))


def bounds(node: int) -> bytes:
    """How far an array reaches, or how much a key store holds."""
    return _NODE.pack(node, b"B")


def item(node: int, packed: bytes) -> bytes:
    """Entry of a key store, under its packed key."""
    return _NODE.pack(node, b"K") + packed


def items(node: int) -> Range:
    """All entries of a key store, in order of their keys."""
    return _kind(node, b"K")


def other_form(node: int, key: str) -> bytes:
    """Which key of a key store is, in Unicode's form NFC, this one, without being it."""
    return _NODE.pack(node, b"Z") + key.encode()


def other_forms(node: int) -> Range:
    """All keys of a key store that are not in Unicode's form NFC."""
    return _kind(node, b"Z")


def chunk(node: int, index: Sequence[int]) -> bytes:
    """What the keys of all segments of a chunk begin with, by its place in the grid."""
    return struct.pack(f">Qc{len(index)}Q", node, b"C", *index)


def segment(node: int, index: Sequence[int], start: int) -> bytes:
    """The segment of a chunk that begins at a row of it."""
    return struct.pack(f">Qc{len(index)}QI", node, b"C", *index, start)


def segments(node: int, index: Sequence[int] = ()) -> Range:
    """All segments of the chunks whose index begins like that."""
    return prefix_range(chunk(node, index))


def chunk_of(rest: bytes, ndim: int) -> tuple[tuple[int, ...], int]:
    """(chunk index, start) from what follows the kind in the key of a segment.

    Raises
    ------
    CorruptDataError
        The key has another length.
    """
    if len(rest) != 4 + 8 * ndim:
        raise CorruptDataError(f"the key of a segment in {ndim} axes has {9 + len(rest)} bytes")
    *index, start = struct.unpack(f">{ndim}QI", rest)
    return tuple(index), start


def chunk_place(key: bytes) -> str:
    """Place of a segment, for messages, of an array with any number of axes."""
    ndim, odd = divmod(len(key) - 13, 8)
    if odd or ndim < 0:
        return key[9:].hex()
    index, start = chunk_of(key[9:], ndim)
    return f"{index}, row {start}" if start else f"{index}"


def name_of(key: bytes) -> str:
    """Name in the key of a child or an attribute.

    Raises
    ------
    CorruptDataError
        It is not UTF-8.
    """
    try:
        return key[9:].decode() if key[8:9] == b"D" else key[13:].decode()
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"a name in the key {key.hex()} is not UTF-8: {error}") from None


def node_of(key: bytes) -> int:
    """Node id of any key.

    Raises
    ------
    CorruptDataError
        The key is too short.
    """
    try:
        return int(_Q.unpack_from(key)[0])
    except struct.error:
        raise CorruptDataError(f"the key {key.hex()} has no node id") from None


def kind_of(key: bytes) -> bytes:
    """Kind letter of any key."""
    return key[8:9]


def row_of(key: bytes) -> int:
    """Row id in the key of a row group, page, run, deletion set or patch (there: of its group).

    Of a run of categories the code of the first.

    Raises
    ------
    CorruptDataError
        The key is too short.
    """
    try:
        return int(_Q.unpack_from(key, 13 if key[8:9] in b"PIY" else 9)[0])
    except struct.error:
        raise CorruptDataError(f"the key {key.hex()} of a table is cut off") from None


def leaf_of(key: bytes) -> int:
    """Leaf id in the key of a page, column id in that of an attribute, number of an index or of a
    sealed field."""
    return int.from_bytes(key[9:13], "big")


def place_of(key: bytes) -> tuple[int, bytes, int, int]:
    """(node id, kind letter, leaf id, row id) of the key of a page.

    Raises
    ------
    CorruptDataError
        The key is too short.
    """
    try:
        return _PAGE.unpack_from(key)
    except struct.error:
        raise CorruptDataError(f"the key {key.hex()} of a table is cut off") from None


def patch_of(key: bytes) -> tuple[int, int]:
    """(row id of the group, sequence) in the key of a patch.

    Raises
    ------
    CorruptDataError
        The key is too short.
    """
    try:
        row, seq = _QQ.unpack_from(key, 9)
    except struct.error:
        raise CorruptDataError(f"the key {key.hex()} is cut off") from None
    return int(row), int(seq)


# The store's own records, all under node 0.


def free(offset: int) -> bytes:
    """Free space that begins at a file offset."""
    return _NODE_ROW.pack(STORE, b"F", offset)


FREE: Range = _kind(STORE, b"F")


def waiting(freed: int, offset: int) -> bytes:
    """Space at a file offset that a commit freed and that is not to be used yet."""
    return _PATCH.pack(STORE, b"Q", freed, offset)


WAITING: Range = _kind(STORE, b"Q")


def version(commit: int) -> bytes:
    """A kept commit."""
    return _NODE_ROW.pack(STORE, b"V", commit)


VERSIONS: Range = _kind(STORE, b"V")


def tag(name: str) -> bytes:
    """A tag."""
    return _NODE.pack(STORE, b"T") + name.encode()


TAGS: Range = _kind(STORE, b"T")


def tag_of(key: bytes) -> str:
    """Name in the key of a tag."""
    try:
        return key[9:].decode()
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"a tag is not UTF-8: {error}") from None


def two_of(key: bytes) -> tuple[int, int]:
    """(freed commit, offset) in the key of waiting space."""
    return patch_of(key)
