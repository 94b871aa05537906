"""What is fuzzed: one function for each parser, which takes any bytes.

A target returns, or raises an error of kist; anything else is a finding. Where bytes stand behind
a checksum, the target makes the sum right: a fuzzer would never guess it. Where a parser has a
counterpart that packs, what was unpacked is packed and unpacked again, and must be the same.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any

import decoders
import numpy as np
from feed import Feed

from kist.crypto.hidden import Hidden
from kist.crypto.secret import Secret
from kist.engine.fieldkeys import open_lock
from kist.engine.sealed import DataKey, seal_body, unseal_body
from kist.errors import KistError
from kist.format import keys, layout, sealed
from kist.format.array import ArraySchema, SegmentRecord, unpack_bounds
from kist.format.bundle import bundle_damage, unpack_bundle_head
from kist.format.checksum import sum64, sum128
from kist.format.dtypes import pack_dtype, unpack_dtype
from kist.format.frame import unpack_frame
from kist.format.index import IndexRecord, IndexState, RunRecord
from kist.format.keystore import Counts, pack_key, sizes_of, unpack_key
from kist.format.link import LinkRecord
from kist.format.log import unpack_record_at
from kist.format.node import Child, NodeRecord, a_kind
from kist.format.packed import PackedKind, PackedRecord, pack_head, pack_record
from kist.format.page import unpack_page_head
from kist.format.plain import pack_value, unpack_value
from kist.format.schema import Schema
from kist.format.sealedstore import SlotSeal, unpack_slot_seal
from kist.format.superblock import damaged_supers, has_super, unpack_slot, unpack_super
from kist.format.tree import PackedPage, unpack_tree_page
from kist.format.values import (
    KeptVersion,
    pointer_bytes,
    unpack_free,
    unpack_record,
    unpack_waiting,
)
from kist.indexes.statistics import Bounds, Statistics, bound_dtype
from kist.model import html
from kist.model.packing import unpack
from kist.model.paths import check_name, nfc, split
from kist.model.tables.stored import records as tables
from kist.model.text import pad, shorten, visible, width
from kist.query import parse

Target = Callable[[bytes], object]

UUID = bytes(range(16))
DTYPES = [
    np.dtype(text)
    for text in ("u1", "<i2", "<u4", ">i8", "<f8", "<f2", "?", "S3", "S40", "<U2", "V5", "<M8[s]")
] + [np.dtypes.StringDType(), np.dtype("<c16"), np.dtype("<m8[D]"), np.dtype("<g")]


def refusing(call: Callable[..., Any], *args: Any) -> Any:
    """The result of a call, None when it raises an error of kist."""
    with contextlib.suppress(KistError):
        return call(*args)
    return None


# The head of the file and the log


def superblock(data: bytes) -> None:
    """Super and its copy; the sums of both are right."""
    feed = Feed(data)
    head = bytearray(layout.HEAD_BYTES)
    for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        kind, fields = feed.number(), bytearray(feed.take(layout.SUPER.size - 16))
        if kind % 4:
            fields[:8] = layout.SUPER_MAGIC
        if kind % 8 > 1:
            fields[8:10] = layout.FORMAT_VERSION.to_bytes(2, "little")
        head[at : at + layout.SUPER.size] = fields + sum128(fields)
    block = bytes(head)
    has_super(block)
    refusing(damaged_supers, block)
    refusing(unpack_super, data, "x")
    unpack_super(block, "x")


def slot(data: bytes) -> None:
    """A slot with its magic, uuid and sum."""
    fields = bytearray(data[: layout.SLOT.size - 16].ljust(layout.SLOT.size - 16, b"\0"))
    fields[:8] = layout.SLOT_MAGIC + bytes(4)
    fields[8:24] = UUID
    unpack_slot(data, UUID)
    found = unpack_slot(bytes(fields + sum128(fields)), UUID)
    if found is not None:
        assert unpack_slot(found.pack(UUID), UUID) == found


def log(data: bytes) -> None:
    """A record of the ring with its magic, uuid, position, length and sum."""
    size = layout.RECORD.size
    header = bytearray(data[: size - 16].ljust(size - 16, b"\0"))
    payload = data[size - 16 :]
    offset = layout.RECORD.offset
    header[:4] = layout.COMMIT_MAGIC
    header[offset("uuid") : offset("uuid") + 16] = UUID
    position = layout.RING_OFFSET
    header[offset("position") : offset("position") + 8] = position.to_bytes(8, "little")
    struct.pack_into("<I", header, offset("length"), len(payload))
    sealed = bytes(header) + sum128(bytes(header) + payload) + payload
    unpack_record_at(data, 0, position, UUID)
    found = unpack_record_at(sealed, 0, position, UUID)
    assert found is not None, "its sum was made right"
    again = found.pack(UUID)
    assert unpack_record_at(again, 0, position, UUID) == found


def frame(data: bytes) -> None:
    """The header of a frame, with its sum."""
    fields = bytearray(data[: layout.FRAME.size - 8].ljust(layout.FRAME.size - 8, b"\0"))
    unpack_frame(data)
    found = unpack_frame(bytes(fields) + sum64(fields).to_bytes(8, "little"))
    if found is not None:
        assert unpack_frame(found.pack()) == found


# The map


def tree(data: bytes) -> None:
    """A page of the tree, whole and key by key."""
    page = refusing(PackedPage, data)
    level, names, values = unpack_tree_page(data)
    assert len(names) == len(values) and level <= layout.MAX_TREE_DEPTH
    assert page is not None and page.level == level, "a page that reads as a whole"
    look_up = page.child if level else page.get
    for name, value in zip(names, values, strict=True):
        assert look_up(name) == value
        look_up(name + b"\0")


def leaf(data: bytes) -> None:
    """Look-ups in a page of which nothing else was checked."""
    feed = Feed(data)
    key = feed.blob()
    page = PackedPage(feed.rest())
    refusing(page.child, key)
    page.get(key)


def record(data: bytes) -> None:
    """A value of the map, and the records of the store itself."""
    for call in (pointer_bytes, unpack_free, unpack_waiting, KeptVersion.unpack):
        refusing(call, data)
    pointers, _ = unpack_record(data)
    assert len(pointer_bytes(data)) == len(pointers)


def key(data: bytes) -> None:
    """Keys of the map, of any kind."""
    calls = (keys.name_of, keys.node_of, keys.kind_of, keys.row_of, keys.leaf_of, keys.patch_of)
    for call in (*calls, keys.chunk_place, keys.tag_of, keys.two_of):
        refusing(call, data)
    for ndim in (0, 1, 3, 64):
        refusing(keys.chunk_of, data, ndim)


# Records of objects


def node(data: bytes) -> None:
    """Nodes, and the entries of groups."""
    found = refusing(Child.unpack, "name", data)
    if found is not None:
        a_kind(found.kind)
        assert Child.unpack("name", found.pack("name")) == found
    one = NodeRecord.unpack(data)
    assert NodeRecord.unpack(one.pack()) == one
    one.check_readable("/x")


def schema(data: bytes) -> None:
    """The schema of a table, and all that is derived from it."""
    found = Schema.unpack(data)
    assert Schema.unpack(found.pack()) == found
    assert found.dtype.names is not None
    assert len(found.leaves) >= len(found.columns)
    for derived in (found.leaf_dtype(), found.is_flat, found.byte_index):
        del derived
    for column in found.columns:
        if column.default is not None:
            refusing(unpack_value, column.default)


def statistics(data: bytes) -> None:
    """Statistics of a page, and what a condition makes of them."""
    feed = Feed(data)
    dtype = DTYPES[feed.below(len(DTYPES))]
    packed = feed.rest()
    found = refusing(Statistics.unpack, packed, dtype)
    if found is not None:
        Statistics.unpack(found.pack(), dtype)
    bounds = Bounds.from_packed([packed, None], dtype)
    text = {"S": "x > b'a'", "U": "x > 'a'", "T": "x > 'a'", "M": "x > date('2026-01-01')"}
    if bound_dtype(dtype) is not None and dtype.kind not in "mV":
        condition = parse(text.get(dtype.kind, "(x > 1) | (x * 2 == 3)"), {"x": dtype})
        with np.errstate(all="ignore"):
            condition.prune({"x": bounds}, 2)


def array(data: bytes) -> None:
    """Schema, bounds and segments of an array."""
    feed = Feed(data)
    ndim = feed.below(66)
    rest = feed.rest()
    refusing(unpack_bounds, rest, ndim)
    found = refusing(SegmentRecord.unpack, rest, ndim)
    if found is not None:
        again = SegmentRecord.unpack(found.pack(), ndim)
        assert again.stored == found.stored and again.data == found.data
    one = ArraySchema.unpack(rest)
    assert ArraySchema.unpack(one.pack()).pack() == one.pack()


def keystore(data: bytes) -> None:
    """Keys, counts and sizes of a key store."""
    refusing(Counts.unpack, data)
    refusing(sizes_of, b"k", data)
    assert pack_key(unpack_key(data)) == data, "one way to write a key"


def rows(data: bytes) -> None:
    """Row groups, tails, pages, deletions and patches of a table."""
    for call in (tables.GroupRecord.unpack, tables.Tail.unpack, tables.PageRecord.unpack):
        found = refusing(call, data)
        if found is not None:
            # Not compared: NaN in a field of floats.
            assert call(found.pack()).pack() == found.pack()
    for n_rows in (1, 9, 65_536):
        dead = refusing(tables.unpack_dead, data, n_rows)
        assert dead is None or dead.shape == (n_rows,)
    refusing(tables.unpack_ordinals, data)
    for part in tables.unpack_patch(data):
        assert part.ordinals[-1] < tables.GROUP_ROWS


def plain(data: bytes) -> None:
    """A plain value: attributes, defaults, values of key stores."""
    refusing(unpack_value, data, lambda number: number)
    value = unpack_value(data)
    packed = pack_value(value)
    assert pack_value(unpack_value(packed)) == packed


def dtype(data: bytes) -> None:
    """The description of a dtype."""
    found = unpack_dtype(data)
    packed = pack_dtype(found)
    assert pack_dtype(unpack_dtype(packed)) == packed


def link(data: bytes) -> None:
    """Where a link leads."""
    found = LinkRecord.unpack(data)
    again = LinkRecord.unpack(found.pack())
    assert again.form == found.form and again.pack() == found.pack()


def index(data: bytes) -> None:
    """Indexes of a table, and their runs."""
    refusing(IndexState.unpack, data)
    for first in (0, 1 << 40):
        refusing(RunRecord.unpack, data, first)
    found = IndexRecord.unpack(data)
    assert IndexRecord.unpack(found.pack()) == found


# What is sealed

SECRETS = (Secret(bytes(32)), Secret("a passphrase of some words"))


def lock(data: bytes) -> None:
    """The lock of a field, the sums of its slots right; secrets are tried where it is cheap."""
    refusing(sealed.Lock.unpack, data)
    feed = Feed(data)
    slots = []
    for _ in range(feed.below(4)):
        body = feed.blob()
        slots.append(body + sum64(body).to_bytes(8, "little"))
    head = struct.pack("<BBH", 1, len(slots), feed.below(4)) + feed.take(32)
    parts = [len(one).to_bytes(2, "little") + one for one in slots]
    found = sealed.Lock.unpack(b"".join((head, *parts, feed.rest())))
    assert sealed.Lock.unpack(found.pack()) == found or found.damaged
    if all(slot.log_n < 8 or slot.log_n > 30 for slot in found.slots):
        open_lock(found, SECRETS)


DATA_KEY = DataKey(bytes(16), Hidden(bytes(32)))


def body(data: bytes) -> None:
    """A sealed body: of any bytes, and a real one with a change."""
    refusing(sealed.unpack_sealed_head, data, len(data))
    refusing(unseal_body, data, {DATA_KEY.name: DATA_KEY.key})
    feed = Feed(data)
    at, change, plain = feed.number(2), feed.number(), feed.rest()
    head, units = seal_body(DATA_KEY, [plain], 12)
    whole = bytearray(head + units)
    whole[at % len(whole)] ^= change
    found = refusing(unseal_body, bytes(whole), {DATA_KEY.name: DATA_KEY.key})
    # Reserved bytes of the head may be anything.
    assert found == plain if found is not None else change


def seal(data: bytes) -> None:
    """What stands behind a slot of a sealed store, with its sum."""
    unpack_slot_seal(data)
    feed = Feed(data)
    found = SlotSeal(feed.take(32), feed.blob(), feed.number(8))
    block = bytes(layout.SLOT_SEAL_OFFSET) + found.pack()
    again = unpack_slot_seal(block.ljust(layout.BLOCK, b"\0"))
    assert again is None or again == found
    if again is not None:
        refusing(sealed.Lock.unpack, again.lock)


def packed(data: bytes) -> None:
    """Packed data: a value, or pages of bytes, with right sums."""
    refusing(unpack, data)
    feed = Feed(data)
    whole, start = [pack_head(PackedKind(1 + feed.below(2)))], 0
    for _ in range(feed.below(4)):
        kind = (b"PAGE", b"VALU", b"DONE")[feed.below(3)]
        head, dtype = feed.blob(), ("|u1", "<i4", ">f8", "", "|V7", "|O")[feed.below(6)]
        rest = b"" if kind == b"DONE" else feed.blob()
        one = PackedRecord(
            kind, len(head), len(head) + len(rest), start, feed.number(3), dtype, sum128(head)
        )
        whole += [pack_record(one), head, rest]
        with contextlib.suppress(TypeError, ValueError):  # a dtype that is none
            start += one.nbytes
    unpack(b"".join(whole))


# Heads


def page(data: bytes) -> None:
    """The head of a page."""
    feed = Feed(data)
    n_stored, head = feed.number(3), feed.rest()
    found = unpack_page_head(head, len(head) + n_stored)
    for sector in range(min(len(found.sums), 4)):
        start, stop = found.sector_span(sector)
        assert 0 <= start <= stop <= n_stored


def bundle(data: bytes) -> None:
    """The head of a bundle, and the search for damage in it."""
    feed = Feed(data)
    head, body = feed.blob(), feed.rest()
    whole = head + body
    refusing(bundle_damage, memoryview(whole), len(head))
    for length in (len(whole), len(head) + feed.number(2)):
        found = refusing(unpack_bundle_head, head, length)
        for part in found.parts if found else ():
            for at, entry in part.places():
                assert len(head) <= at <= at + entry.length <= length


# Texts


COLUMNS = {"a": "<i8", "b": "<f8", "s": "S4", "u": "<U3", "t": "<M8[s]", "f": "?", "x.y": "u1"}


def query(data: bytes) -> None:
    """An expression: read, bound, evaluated, held against bounds."""
    text = data.decode("utf-8", "surrogateescape")
    columns = {name: np.dtype(code) for name, code in COLUMNS.items()}
    columns["w"] = np.dtypes.StringDType()
    blocks = {name: np.zeros(3, dtype) for name, dtype in columns.items()}
    params = {"p": 5, "q": [1, 2]}
    computed = parse(text, columns, params, condition=False)
    condition = refusing(parse, text, columns, params)
    with np.errstate(all="ignore"):
        assert computed.value(blocks, 3).shape == (3,)
        if condition is not None:
            assert condition.evaluate(blocks, 3).dtype == bool
            bounds = {name: Bounds.from_packed([None], dtype) for name, dtype in columns.items()}
            condition.prune(bounds, 1)


def path(data: bytes) -> None:
    """Paths and names, and how they are shown."""
    text = data.decode("utf-8", "surrogateescape" if data[:1] == b"\1" else "replace")
    shown = visible(text)
    assert shown.isprintable()
    assert html.text(text).isprintable() and not set("<>\"'") & set(html.text(text))
    assert width(shorten(shown, 20)) <= 20
    pad(shown, 9)
    for what in ("node", "attribute"):
        refusing(check_name, text, what)
    _, names = split(text)
    for name in names:
        assert nfc(name) and "/" not in name and name not in (".", "..")


TARGETS: dict[str, Target] = {
    call.__name__: call
    for call in (
        superblock, slot, log, frame, tree, leaf, record, key, node, schema, statistics, array,
        keystore, rows, plain, dtype, link, index, lock, body, seal, packed, page, bundle, query,
        path,
    )
} | decoders.TARGETS  # fmt: skip


def run(name: str, data: bytes) -> KistError | None:
    """Give bytes to a target; returns the error of kist, raises what is a finding."""
    try:
        TARGETS[name](data)
    except KistError as error:
        return error
    return None
