"""A few records put at once, for which somebody waits: a commit without a transaction.

Most durable commits are of one kind: the handle that made the newest commit puts two small
records on top of it. `Engine.put_few` makes that commit by the steps of any other, in their order,
and with the same bytes, and leaves out what there is nothing to do for:

- *Waiting.* The writer's lock is taken if it is free and nobody stands in line.
- *Taking over, checkpoints.* `Writer.left` is the newest state, by identity: this writer made it
  and found that the next commit needs neither. Nobody else has committed since: the log, the slots
  and the path are looked at under the lock, as by any writer (`Following.is_newest`).
- *Extents.* None comes or goes: a value that owns some is refused, whether it is put or replaced.
- *Savepoints, and ending what was interrupted.* Ctrl-C is held from the first step to the last,
  which is possible because only the sync takes long. So nothing is done and not noted.

Where anything is otherwise, nothing has been done, and a transaction does it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.engine.view import View
from kist.format.layout import BLOCK, MAX_KEY, MAX_VALUE, OP_PUT, RECORD
from kist.format.log import OP as PUT

if TYPE_CHECKING:
    from kist.engine.overlay import Overlay
    from kist.engine.view import Reader, State

__all__ = ["ROOM", "Few", "NotFewError"]

ROOM = BLOCK - RECORD.size
"""Bytes that records may take at no cost: they fill a block whatever is in it."""


class NotFewError(Exception):
    """It takes a transaction. Never seen by users."""


class Few(View):
    """The newest commit, and records that are put on top of it.

    The part of a transaction that reads and puts; each key is put once.

    Attributes
    ----------
    n_puts, packed : int, bytes
        The records that were put, as their commit writes them.
    """

    is_transaction = True

    def __init__(self, reader: Reader, state: State) -> None:
        super().__init__(reader, state)
        self._overlay = state.overlay.copy()
        self.n_puts = 0
        self.packed = b""

    @property
    def overlay(self) -> Overlay:
        """Changes since the root, those put here included."""
        return self._overlay

    def put(self, key: bytes, value: bytes, *, old: bytes | None = None) -> None:
        """Set the value of a key, of which the caller knows what `get` gives for it.

        Raises
        ------
        NotFewError
            The value, or the old one, owns extents; or it cannot be a record.
        """
        n_key, n_value = len(key), len(value)
        if not (9 <= n_key <= MAX_KEY and 0 < n_value <= MAX_VALUE) or value[0] or (old and old[0]):
            raise NotFewError
        self._overlay.values[key] = value
        self.packed += PUT.pack(OP_PUT, n_key, n_value) + key + value
        self.n_puts += 1
