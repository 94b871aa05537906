"""Whether a file may hold a newer commit than one that is known: two small reads.

Every read through a handle that shows the newest commit asks this first. The answer "no" must be
right whoever wrote in the meantime, and however often. Let N be the commit that is known. What
makes another one newer is its record N + 1 in the log, whose header names the sum of N as its
parent. There are three places for it (docs/format.md, "Finding the newest commit"):

- Behind N, in the half that N's record lies in, at the next multiple of 64 (``relaxed`` and
  ``none``) or of 4096 (``full``, and every root record). Both headers are in the piece of the
  log that is read here.
- At the start of the other half. It goes there only when N is a root record and a slot names the
  place. Either that slot was known when N was, and N's place *is* the start of that half; or it
  has been written since, and the slots have changed.
- Nowhere any more: the half was begun anew and has run over the place. Before a half is begun
  anew, a slot that says so is written, so the slots have changed.

Bulk commits, checkpoints, compaction, tags and the next step of a writer that took over after a
crash are all records of this chain. Another store in the same file has other slots. A file that
another one replaces under its path is another file: this one stays what it is.

So if neither the piece nor the slots have changed since somebody looked thoroughly and found
nothing, there is nothing. Two things make that hold when others write at the same time:

- The bytes that are remembered are read *before* the thorough look. A record that came later has
  changed them.
- A record may be seen half written: its header is there, and will not change any more when the
  rest arrives. So bytes in which something names N as its parent are not remembered, unless it
  is a whole mark, which an orderly close leaves there.

A slot that is damaged proves nothing: as long as one is, nothing is remembered.

And the log is read before the slots: a record that stood in the piece and was run over before
the first read has changed the slots before the second.
"""

from __future__ import annotations

from collections.abc import Sequence

from kist.engine.recovery import SLOT_BYTES, Chain, Ring
from kist.format import layout
from kist.format.log import unpack_record_at
from kist.storage.base import StorageBackend

_BLOCK = layout.BLOCK
_PARENT_AT = layout.RECORD.offset("parent")
_MARK_BYTES = layout.RECORD.size + 4  # its message is empty


class Glance:
    """The bytes of which some change before a newer commit is there.

    Attributes
    ----------
    log : bytes
        From where the next record may begin.
    slots : bytes
        Both slots as they stand.
    """

    __slots__ = ("_backend", "_far", "_n", "_near", "log", "slots")

    def __init__(self, ring: Ring, chain: Chain) -> None:
        position = chain.position
        backend: StorageBackend = ring.backend
        near, far = -(-position // 64) * 64, -(-position // _BLOCK) * _BLOCK
        end, half_end = far + _MARK_BYTES, ring.half_end(position)
        if end > half_end:
            end = max(near, half_end)
        self._backend, self._near, self._far, self._n = backend, near, far, end - near
        self.log = backend.read(near, end - near)
        self.slots = backend.read(*SLOT_BYTES)

    def holds(self) -> bool:
        """Whether the file still shows these bytes."""
        read = self._backend.read
        return read(self._near, self._n) == self.log and read(*SLOT_BYTES) == self.slots

    def followers(self, last: bytes) -> Sequence[int]:
        """Where in the log something begins that names `last` as its parent."""
        log, far = self.log, self._far - self._near
        if not log.startswith(last, _PARENT_AT) and not log.startswith(last, far + _PARENT_AT):
            return ()  # behind the newest commit stand zeros, or what is older
        return [
            at
            for at in {0, far}
            if log.startswith(layout.COMMIT_MAGIC, at) and log.startswith(last, at + _PARENT_AT)
        ]

    def settled(self, ring: Ring, last: bytes) -> bool:
        """Whether these bytes tell all: what follows, if anything, is a whole mark."""
        for at in self.followers(last):
            record = unpack_record_at(self.log, at, self._near + at, ring.uuid)
            if record is None or record.kind != layout.COMMIT_MARK:
                return False
        return True
