"""Copying nodes: records get another node id, extents are copied as bytes, nothing is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from kist.errors import CorruptDataError
from kist.format import keys
from kist.format.node import NodeKind, NodeRecord
from kist.format.values import Pointer, unpack_record
from kist.model import directory
from kist.model.extents import Extents, frame_of, refuse_clear
from kist.model.later import settle
from kist.model.paths import join

if TYPE_CHECKING:
    from kist.engine import Frame, Transaction, View

__all__ = ["copied_frame", "copy_inside", "copy_node"]

_NODE_ID = struct.Struct(">Q")
_TOLD_BYTES: Final = 1 << 20
"""So many bytes of a node are copied before they are told."""

Progress = Callable[[int, int], None]  # bytes done, bytes in all


def copy_node(
    source: View,
    txn: Transaction,
    node: int,
    target: int,
    name: str,
    base: str,
    progress: Progress | None = None,
) -> int:
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
    progress : callable, optional
        Is told bytes of records and extents that are copied, and those in all.

    Raises
    ------
    NodeExistsError
        The name is taken.
    CorruptDataError
        A copied extent does not match its sum.
    SecretError
        The source is sealed as a whole, and the target is not.
    """
    refuse_clear(source.reader, txn.reader)
    if directory.is_marked(source, node) or directory.is_marked(txn, target):
        from kist.model.sealing.borders import check_copy

        check_copy(source, txn, node, target)
    # Listed before anything is written: the target may lie inside what is copied.
    listed = _list(source, node)
    told = None if progress is None else _Told(progress, _bytes_of(source, listed))
    return _copy_listed(source, txn, listed, target, name, base, told)


def copy_inside(
    source: View, txn: Transaction, node: int, target: int, name: str, base: str
) -> int:
    """Copy a node into a group that is sealed as the one where it stands, of any store.

    As `copy_node`; that both groups have the same keys, and the node its place, the caller knows.
    """
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


class _Told:
    """Tells how much is copied."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._done = self._last = 0

    def add(self, nbytes: int, *, at_once: bool = False) -> None:
        self._done += nbytes
        if at_once or self._done - self._last >= _TOLD_BYTES:
            self._last = self._done
            self._progress(min(self._done, self._total), self._total)


def _bytes_of(source: View, listed: _Listed) -> int:
    """Return the bytes of all records of a node and below it, with their extents."""
    settle(source, listed.node)
    own = sum(_size_of(value) for _, value in source.scan(*keys.whole_node(listed.node)))
    return own + sum(_bytes_of(source, below) for _, below in listed.below)


def _size_of(value: bytes) -> int:
    return len(value) + sum(pointer.length for pointer in unpack_record(value)[0])


def _copy_listed(
    source: View,
    txn: Transaction,
    listed: _Listed,
    target: int,
    name: str,
    base: str,
    told: _Told | None = None,
    inside: bool | None = None,
) -> int:
    record = listed.record
    features = record.features_read, record.features_write, record.features_ignorable
    new = directory.add(txn, target, name, record.kind, base, features=features, inside=inside)
    path = join(base, name)
    _copy_records(source, txn, listed, new, path, told)
    # Whether the new group is sealed is settled now, and is the same for all below.
    inside = directory.stands_inside(txn, new, path) if listed.below else None
    for child_name, below in listed.below:
        _copy_listed(source, txn, below, new, child_name, path, told, inside)
    return new


def _copy_records(
    source: View,
    txn: Transaction,
    listed: _Listed,
    new: int,
    path: str,
    told: _Told | None = None,
) -> None:
    node, kind = listed.node, listed.record.kind
    prefix = _NODE_ID.pack(new)
    extents = Extents(txn)
    sealed = next(source.scan(*keys.sealed_fields(node)), None) is not None
    whole = None
    stale: list[int] = []
    if sealed:
        # Before anything is written: without the secrets nobody can vouch for the copy.
        origin = directory.path_of(source, node) or f"node {node}"
        if kind == NodeKind.TABLE:
            from kist.model.tables.changes.secrets import hand_over

            stale = hand_over(source, node, txn, origin)
        else:
            from kist.model.sealing.copies import copied_field

            whole = copied_field(source, node, kind, origin)
    place = keys.manifest(node, keys.PLACE)
    settle(source, node)
    for key, value in source.scan(*keys.whole_node(node)):
        if told is not None:
            told.add(_size_of(value))
        if not keys.kind_of(key):
            raise CorruptDataError(
                f"node {node} has a record of no kind; 'kist check' lists all damage"
            )
        if keys.kind_of(key) in (b"N", b"D") or key == place:
            continue  # its place, and its children, which have ids of their own
        pointers, payload = unpack_record(value)
        if pointers:
            extents.add(source, prefix + key[8:], payload, pointers)
        else:
            txn.put(prefix + key[8:], value)
    extents.flush()
    if told is not None:
        told.add(0, at_once=True)
    # One of them alone: it was pasted into a sealed group, which is said here.
    if directory.is_marked(source, node) or directory.is_marked(txn, new):
        from kist.model.sealing.borders import vouch_for_copy as vouch_for_place

        vouch_for_place(source, node, txn, new, path)
    if whole is not None:
        from kist.model.sealing.copies import vouch_for_copy

        vouch_for_copy(whole, txn, new, path)
    elif sealed:
        from kist.model.tables.changes.secrets import vouch

        vouch(txn, new, path, stale)


def copied_frame(source: View, key: bytes, pointer: Pointer, new: int) -> Frame:
    """Return the extent of a record as a frame of node `new`; every byte of it is verified.

    Raises
    ------
    CorruptDataError
        A checksum does not match.
    """
    body = memoryview(source.reader.read_part(pointer, 0, pointer.length))
    return frame_of(source, _NODE_ID.pack(new) + key[8:], pointer, body)
