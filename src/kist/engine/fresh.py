"""A store of one commit: made in memory, and written to a file in two pieces.

`kist.save` and their like need no engine, which would create an empty store, recover it, look for
other writers and close its log: they put all there is into the one transaction of a `FreshStore`
and write it out. The bytes are those of any store with one commit. What it writes stands in
order, so that nothing is verified by the reader of the log: the file has its name when all of it
is there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kist.engine.creation import empty_slots
from kist.engine.overlay import Overlay
from kist.engine.rootcommit import slots_of_tree
from kist.engine.space import Space
from kist.engine.transaction import Transaction
from kist.engine.view import Reader, State
from kist.errors import TransactionClosedError
from kist.format.keys import FIRST_NODE
from kist.format.layout import (
    BLOCK,
    COMMIT_CHANGES,
    DATA_OFFSET,
    MAX_RECORD,
    RING_OFFSET,
    SLOT_OFFSETS,
    SUPER_COPY_OFFSET,
)
from kist.format.log import Record
from kist.format.superblock import Super
from kist.storage.memory import MemoryBackend
from kist.storage.newfile import new_file

if TYPE_CHECKING:
    from kist.storage.base import Readable

__all__ = ["FreshStore"]

_COMMIT = 1
_NO_PARENT = bytes(16)


class _Extents(MemoryBackend):
    """What stands behind the log; nothing is kept for what stands before."""

    def size(self) -> int:
        return DATA_OFFSET + super().size()

    def read(self, offset: int, n: int) -> bytes:
        return super().read(offset - DATA_OFFSET, n)

    def write(self, offset: int, buffers: Sequence[Readable]) -> None:
        super().write(offset - DATA_OFFSET, buffers)


class FreshStore:
    """An empty store in memory that nobody else knows, and the one transaction on it.

    Parameters
    ----------
    kin : bytes
        Who makes stores of this kind: what was chosen for the arrays of one is tried in others.

    Attributes
    ----------
    transaction : Transaction
        What the store is to hold. It neither commits nor rolls back: the store is written to a
        file, or forgotten.
    """

    durability = "none"
    retain = 0

    def __init__(self, kin: bytes) -> None:
        self.uuid = os.urandom(16)
        self._extents = _Extents()
        self.reader = Reader(self._extents)
        self.reader.uuid, self.reader.kin = self.uuid, kin
        self._space = Space(DATA_OFFSET)
        state = State(0, 0, None, Overlay(), DATA_OFFSET, FIRST_NODE)
        self.transaction = Transaction(self, self.reader, state)

    def write_to(self, target: str, *, sync: bool) -> None:
        """End the transaction, and write the store to a file in place of what is there.

        Raises
        ------
        StorageError
            The target cannot be written, and is as it was.
        """
        txn = self.transaction
        txn.closed = True
        log, slots, end = self._committed(txn)
        top = Super(self.uuid, time.time_ns()).pack()
        head = bytearray(top)
        for at, block in ((SLOT_OFFSETS[0], b"".join(slots)), (SUPER_COPY_OFFSET, top)):
            head += bytes(at - len(head))
            head += block
        if log:
            head += bytes(RING_OFFSET - len(head))
            head += log
        with (
            new_file(os.path.abspath(target), overwrite=True, sync=sync, shared=False) as file,
            memoryview(self._extents.file.data) as data,
        ):
            # What is left of the log is a hole, which takes no room and reads as zeros.
            file.write(0, (bytes(head),))
            if data:
                file.write(DATA_OFFSET, (data,))
            if len(data) != end - DATA_OFFSET or not data:
                file.resize(end)

    def _committed(self, txn: Transaction) -> tuple[bytes, list[bytes], int]:
        """Return the record of the commit, if it has one, the slots, and the end of the file."""
        space, now, freed = self._space, time.time_ns(), txn.freed(_COMMIT)
        if txn.journal_bytes <= MAX_RECORD - BLOCK:  # the rest is room for a few extents
            record = Record(
                COMMIT_CHANGES,
                _COMMIT,
                RING_OFFSET,
                now,
                0,
                space.end,
                txn.next_node,
                _NO_PARENT,
                used=txn.used,
                freed=freed,
                ops=txn.ops(),
            )
            return record.pack(self.uuid), empty_slots(self.uuid), space.end
        for extent in freed:
            space.give(extent.offset, extent.length)
        state = State(0, now, None, txn.overlay, space.end, txn.next_node)
        slots = slots_of_tree(self.reader, state, space, self.uuid, _NO_PARENT)
        return b"", [slot.pack(self.uuid) for slot in slots], slots[0].end

    # What a transaction asks of its owner

    def writer_space(self) -> Space:
        """Free space."""
        return self._space

    def finish(self, transaction: Transaction, message: str) -> int:
        """Refuse: there is nothing to commit to."""
        raise TransactionClosedError("a fresh store is written to a file")

    def abandon(self, transaction: Transaction) -> None:
        """Forget everything."""
        transaction.closed = True
