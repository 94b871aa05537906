"""A few records put at once, for which somebody waits: a commit without a transaction.

Most durable commits are of one kind: the handle that made the newest commit puts two small
records on top of it. `Engine.put_few` makes that commit by the steps of any other, in their order,
and with the same bytes, and leaves out what there is nothing to do for:

- *Waiting.* The writer's lock is taken if it is free and nobody stands in line
  (`StorageBackend.take_turn`).
- *Taking over, checkpoints.* `Writer.left` is the newest state, by identity: this writer made it
  and found that the next commit needs neither. Nobody else has committed since: the log, the slots
  and the path are looked at under the lock, as by any writer. The look at the log and the slots is
  that of `Following.is_newest`, which says why it is enough.
- *Extents.* None comes or goes: a value that owns some is refused, whether it is put or replaced.
- *Savepoints, and ending what was interrupted.* Ctrl-C is held from the first step to the last,
  which is possible because only the sync takes long. So nothing is done and not noted.

Where anything is otherwise, nothing has been done, and a transaction does it all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from kist.engine.interrupts import hold_interrupts, persistently
from kist.engine.overlay import MISSING
from kist.engine.recovery import PARENT_AT, SLOT_BYTES
from kist.engine.view import View
from kist.format.layout import BLOCK, COMMIT_CHANGES, MAX_KEY, MAX_RECORD, OP_PUT, RECORD
from kist.format.log import OP as PUT
from kist.format.log import Record

if TYPE_CHECKING:
    from kist.engine.engine import Engine
    from kist.engine.overlay import Overlay
    from kist.engine.view import Reader, State
    from kist.engine.writer import Writer

__all__ = ["Few", "NotFewError", "put_few"]

T = TypeVar("T")

_HEAD = RECORD.size


class NotFewError(Exception):
    """It takes a transaction. Never seen by users."""


def put_few(engine: Engine, commit: int, write: Callable[[Few], T]) -> T | None:
    """Commit a few records on top of a commit of this engine.

    Returns what `write` gives, or None where nothing was done: it takes a transaction.
    """
    writer, chain, backend = engine._writer, engine.chain, engine.backend
    state, position = chain.state, chain.position
    if (
        writer.left is not state
        or state.commit != commit
        or not engine._puts_few
        or engine.closed
        or backend.forked
        or engine.reader.sealing is not None
    ):
        return None
    # Its last record is one of changes: behind it, in this half, is where the next one would be.
    near, place = -(-position // 64) * 64, -(-position // BLOCK) * BLOCK
    with hold_interrupts():
        look = backend.take_turn((near, place - near + _HEAD), SLOT_BYTES)
        if look is None:
            return None
        try:
            log, slots = look
            with engine.publishing:
                # Other threads of this process may have looked at the file until now.
                if (
                    engine.chain.state is not state
                    or engine._inherited
                    or log.startswith(chain.last, PARENT_AT)
                    or log.startswith(chain.last, place - near + PARENT_AT)
                    or slots != engine._slots_raw
                ):
                    return None
                engine._writing = True
            engine._newest = engine._glance = None
            start = place if engine.durability == "full" else near
            return _commit(engine, writer, state, start, write)
        except BaseException:
            writer.drop_space()
            raise
        finally:
            try:
                engine._stop_writing()
            except MemoryError:
                persistently(engine._stop_writing)


def _commit(
    engine: Engine, writer: Writer, state: State, place: int, write: Callable[[Few], T]
) -> T | None:
    space, chain, few = writer.space, engine.chain, Few(engine.reader, state)
    try:
        found = write(few)
    except NotFewError:
        return None
    record = Record(
        COMMIT_CHANGES,
        state.commit + 1,
        place,
        time.time_ns(),
        chain.horizon,
        space.end,
        state.next_node,
        chain.last,
    )
    data = record.pack_puts(engine.uuid, few.puts)
    if record.size > MAX_RECORD or not writer.log(record, data, few.overlay, space):
        return None
    return found


class Few(View):
    """The newest commit, and records that are put on top of it.

    The part of a transaction that reads and puts; each key is put once.

    Attributes
    ----------
    puts : list of bytes
        The records that were put, as their commit writes them.
    """

    is_transaction = True

    def __init__(self, reader: Reader, state: State) -> None:
        # What `View` does, in one step.
        self.reader = reader
        self.state = state
        self._overlay = state.overlay.copy()
        self._root = state.root_bytes()
        self.by_node = {}
        self.puts: list[bytes] = []

    @property
    def overlay(self) -> Overlay:
        """Changes since the root, those put here included."""
        return self._overlay

    def get(self, key: bytes) -> bytes | None:
        """Value of a key, or None."""
        overlay = self._overlay
        value = overlay.values.get(key, MISSING)
        if value is MISSING:
            if overlay.ranges[0]:
                return super().get(key)
            return self.reader.tree.get(self._root, key)
        return value  # type: ignore[return-value]

    def put(self, key: bytes, value: bytes, *, old: bytes | None = None) -> None:
        """Set the value of a key, of which the caller knows what `get` gives for it.

        Raises
        ------
        NotFewError
            The value, or the old one, owns extents; or it cannot be a record.
        """
        n_key = len(key)
        # What has no extents begins with 0; the size of a value is bounded by that of the record.
        if not 9 <= n_key <= MAX_KEY or value[:1] != b"\0" or (old and old[0]):
            raise NotFewError
        self._overlay.values[key] = value
        self.puts.append(PUT.pack(OP_PUT, n_key, len(value)) + key + value)
