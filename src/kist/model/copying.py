"""Copying nodes: records get another node id, extents are copied as bytes, nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.bundle import bundle_damage
from kist.format.checksum import sum64
from kist.format.layout import FRAME_BLOB, FRAME_BUNDLE, FRAME_PAGE, FRAME_ROWS
from kist.format.node import NodeKind, NodeRecord
from kist.format.page import unpack_page_head
from kist.format.values import Pointer, pack_record, unpack_record
from kist.model import directory
from kist.model.paths import join

if TYPE_CHECKING:
    from kist.engine import Frame, Transaction, View

__all__ = ["copied_frame", "copy_node"]

_NODE_ID = struct.Struct(">Q")
_FRAME_TYPES = {
    b"K": FRAME_BUNDLE,
    b"P": FRAME_PAGE,
    b"C": FRAME_PAGE,
    b"I": FRAME_PAGE,
    b"G": FRAME_ROWS,
    b"U": FRAME_ROWS,
}
# Extents are written in runs of about this many bytes: large enough for one write each, small
# enough that copying a large table takes little memory.
_RUN_BYTES = 16 << 20


def copy_node(source: View, txn: Transaction, node: int, target: int, name: str, base: str) -> int:
    """Copy a node and everything below it into a group, and return the new node id.

    Parameters
    ----------
    source : View
        Where the node is read; of any store.
    txn : Transaction
        Where it is written.
    node, target : int
        Node ids of what is copied and of the group that gets it.
    name, base : str
        Name there, and path of that group.

    Raises
    ------
    NodeExistsError
        The name is taken.
    CorruptDataError
        A copied extent does not match its sum.
    """
    # Listed before anything is written: the target may lie inside what is copied.
    return _copy_listed(source, txn, _list(source, node), target, name, base)


class _Listed(NamedTuple):
    """A node and what stands below it."""

    node: int
    record: NodeRecord
    below: list[tuple[str, _Listed]]


def _list(source: View, node: int, depth: int = 0) -> _Listed:
    found = directory.record(source, node)
    if found is None or depth > directory.MAX_DEPTH:
        raise CorruptDataError(f"node {node} is listed, but has no record of its own")
    children = directory.children(source, node) if found.kind == NodeKind.GROUP else []
    return _Listed(
        node, found, [(entry.name, _list(source, entry.node, depth + 1)) for entry in children]
    )


def _copy_listed(
    source: View, txn: Transaction, listed: _Listed, target: int, name: str, base: str
) -> int:
    new = directory.add(txn, target, name, listed.record.kind, base)
    record = directory.record(txn, new)
    assert record is not None
    features = {
        mask: getattr(listed.record, mask)
        for mask in ("features_read", "features_write", "features_ignorable")
    }
    txn.put(keys.node(new), replace(record, **features).pack())
    _copy_records(source, txn, listed.node, new)
    path = join(base, name)
    for child_name, below in listed.below:
        _copy_listed(source, txn, below, new, child_name, path)
    return new


def _copy_records(source: View, txn: Transaction, node: int, new: int) -> None:
    prefix = _NODE_ID.pack(new)
    waiting: list[tuple[bytes, bytes, list[Frame]]] = []
    size = 0
    for key, value in source.scan(*keys.whole_node(node)):
        if keys.kind_of(key) in (b"N", b"D"):
            continue  # its place, and its children, which have ids of their own
        pointers, payload = unpack_record(value)
        if not pointers:
            txn.put(prefix + key[8:], value)
            continue
        waiting.append(
            (prefix + key[8:], payload, [copied_frame(source, key, p, new) for p in pointers])
        )
        size += sum(p.length for p in pointers)
        if size >= _RUN_BYTES:
            _put_all(txn, waiting)
            waiting, size = [], 0
    _put_all(txn, waiting)


def _put_all(txn: Transaction, entries: list[tuple[bytes, bytes, list[Frame]]]) -> None:
    pointers = iter(txn.write([frame for _, _, frames in entries for frame in frames]))
    for key, payload, frames in entries:
        txn.put(key, pack_record(payload, [next(pointers) for _ in frames]))


def copied_frame(source: View, key: bytes, pointer: Pointer, new: int) -> Frame:
    """Return the extent of a record as a frame of node `new`; every byte of it is verified.

    Raises
    ------
    CorruptDataError
        A checksum does not match.
    """
    from kist.engine import Frame

    kind = keys.kind_of(key)
    column = keys.leaf_of(key) if kind in (b"P", b"A") else 0
    row = keys.row_of(key) if kind in (b"P", b"G", b"U", b"I") else 0
    frame_type = _FRAME_TYPES.get(kind, FRAME_BLOB)
    if pointer.head == pointer.length:
        return Frame(frame_type, new, column, row, source.read(pointer))
    body = source.reader.read_part(pointer, 0, pointer.length)
    head = body[: pointer.head]
    source.reader.verify(pointer, head)
    if frame_type == FRAME_BUNDLE:
        damage = bundle_damage(memoryview(body), pointer.head)
        if damage:
            raise CorruptDataError(f"byte {pointer.offset}: {damage}", offset=pointer.offset)
        return Frame(frame_type, new, column, row, head, (memoryview(body)[pointer.head :],))
    # A damaged sector must not get a place in a second table: verified here as for reading.
    page = unpack_page_head(head, pointer.length)
    rest = memoryview(body)[page.size :]
    for sector, expected in enumerate(page.sums):
        start, stop = page.sector_span(sector)
        if sum64(rest[start:stop]) != expected:
            at = pointer.offset + page.size + start
            raise CorruptDataError(f"byte {at}: the checksum of a sector does not match", offset=at)
    return Frame(frame_type, new, column, row, head, (rest,))
