"""Copying records: extents are verified and copied as bytes, nothing is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from kist.engine.salvage import Remains
from kist.errors import FormatError
from kist.format import keys
from kist.format.values import MAX_INLINE, pack_record, unpack_record
from kist.model import directory
from kist.model.copying import copied_frame
from kist.model.salvage.report import Loss, SalvageReport

if TYPE_CHECKING:
    from kist.engine import Frame, Transaction
    from kist.model.group import Group
    from kist.model.store import Store

__all__ = ["NOTE", "NO_SCHEMA", "Rescue", "Writer", "notes_of", "put_note"]

Progress = Callable[[int, int], None]

_RUN_BYTES: Final = 16 << 20
_NODE_ID: Final = struct.Struct(">Q")
_MOST_NOTED: Final = 1000

NOTE: Final = "SALVAGE"
"""Attribute that says what is missing in a dataset."""

NO_SCHEMA: Final = "cannot be read: its schema is lost"
"""Why nothing can be made of a dataset."""


class Rescue:
    """What all steps share.

    Attributes
    ----------
    remains : Remains
        What is left of the broken store.
    store : Store
        The new one.
    report : SalvageReport
        Filled on the way.
    """

    def __init__(
        self, remains: Remains, store: Store, report: SalvageReport, progress: Progress | None
    ) -> None:
        self.remains = remains
        self.view = remains.view
        self.store = store
        self.report = report
        self._progress = progress
        self._done = 0
        self._found: Group | None = None

    def origin(self, node: int) -> str:
        """Where a node stood in the broken store: secrets may be given by that path."""
        return directory.path_of(self.view, node) or f"node {node}"

    def lose(self, node: str, message: str, **where: Any) -> None:
        """Note a loss."""
        self.report.losses.append(Loss(node, message, **where))

    def passed(self, n_bytes: int) -> None:
        """Note progress."""
        self._done += n_bytes
        if self._progress is not None:
            self._progress(self._done, max(self._done, self.view.state.end))

    def lost_and_found(self) -> Group:
        """The group for what nobody confirms; made when it is first needed."""
        if self._found is None:
            name, number = "lost+found", 1
            while name in self.store:  # the store was itself saved from another, or has such a one
                number += 1
                name = f"lost+found-{number}"
            self._found = self.store.create_group(name)
        return self._found

    def found(self, path: str) -> None:
        """Note something that was put there."""
        self.report.lost_and_found.append(path)

    def payload(self, key: bytes) -> bytes | None:
        """Payload of a record, or of the extent that holds it; None when it is lost."""
        value = self.view.get(key)
        if value is None:
            return None
        try:
            pointers, payload = unpack_record(value)
            return bytes(self.view.read(pointers[0])) if pointers else payload
        except FormatError:
            return None

    def scan(self, key_range: keys.Range) -> Iterator[tuple[bytes, bytes]]:
        """Records of a range that are left."""
        return self.view.scan(*key_range)


class Writer:
    """Puts copies of records of one node, with their extents in long runs.

    Parameters
    ----------
    txn : Transaction
        Where to.
    new : int
        Node id there.
    """

    def __init__(self, rescue: Rescue, txn: Transaction, new: int) -> None:
        self._rescue = rescue
        self.txn = txn
        self.new = new
        self._prefix = _NODE_ID.pack(new)
        self._waiting: list[tuple[bytes, bytes, list[Frame]]] = []
        self._size = 0

    def copy(self, key: bytes, value: bytes) -> str:
        """Copy a record if all of it is whole; returns what is wrong with it, or nothing."""
        try:
            pointers, payload = unpack_record(value)
            frames = [copied_frame(self._rescue.view, key, p, self.new) for p in pointers]
        except FormatError as error:
            return str(error).split("; 'kist check'")[0] or "damaged"
        size = len(value) + sum(pointer.length for pointer in pointers)
        self._rescue.passed(size)
        if not frames:
            self.txn.put(self._prefix + key[8:], value)
            return ""
        self._waiting.append((self._prefix + key[8:], payload, frames))
        self._size += size
        if self._size >= _RUN_BYTES:
            self.flush()
        return ""

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        pointers = iter(self.txn.write([frame for _, _, frames in waiting for frame in frames]))
        for key, payload, frames in waiting:
            self.txn.put(key, pack_record(payload, [next(pointers) for _ in frames]))

    def copy_small(self, path: str, node: int) -> None:
        """Copy the attributes of a node and its columns, and notes of bridges."""
        for kind, what in ((b"A", "attribute"), (b"M", "note")):
            whole = keys.prefix_range(keys.node(node)[:8] + kind)
            for key, value in self._rescue.scan(whole):
                wrong = self.copy(key, value)
                if wrong:
                    name = _name_of(key, kind)
                    self._rescue.lose(path, f"{what} {name!r} is missing: {wrong}")
            if self._rescue.remains.is_lost(whole):
                self._rescue.lose(path, f"{what}s may be missing: part of their list is lost")


def _name_of(key: bytes, kind: bytes) -> str:
    return key[13 if kind == b"A" else 9 :].decode("utf-8", "replace")


def put_note(txn: Transaction, new: int, losses: list[Loss]) -> None:
    """Say in an attribute of a dataset what is missing in it."""
    from kist.engine import Frame
    from kist.format.layout import FRAME_BLOB
    from kist.format.plain import pack_value

    payload = pack_value(notes_of(losses))
    if len(payload) <= MAX_INLINE:
        record = pack_record(payload)
    else:
        record = pack_record(b"", txn.write([Frame(FRAME_BLOB, new, 0, 0, payload)]))
    txn.put(keys.attribute(new, 0, NOTE), record)


def notes_of(losses: list[Loss]) -> list[str]:
    """Return the value of the attribute that says what is missing."""
    texts = [loss.message for loss in losses[:_MOST_NOTED]]
    if len(losses) > _MOST_NOTED:
        texts.append(f"... and {len(losses) - _MOST_NOTED:,} more")
    return texts
