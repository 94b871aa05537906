"""The newest state of an open file, and keeping up with others who write to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kist.engine import recovery
from kist.engine.glance import Glance
from kist.engine.recovery import PARENT_AT, SLOT_BYTES, Chain, Ring, oldest_commit
from kist.engine.view import Reader, Snapshot, State
from kist.errors import StaleHandleError
from kist.format import layout, superblock
from kist.format.superblock import Slot, Super
from kist.storage.base import StorageBackend

if TYPE_CHECKING:
    from kist.engine.sealedstore import StoreSealing

SLOT_SEALS = tuple(offset + layout.SLOT_SEAL_OFFSET for offset in layout.SLOT_OFFSETS)


class Following:
    """The part of an engine that knows the newest commit, and finds out whether one is newer.

    Attributes
    ----------
    uuid : bytes
        Identity of the store.
    chain, slots, ring : Chain, list of Slot or None, Ring
        The newest state known here and how it was reached. For the writer and the upkeep.
    """

    def __init__(self, backend: StorageBackend, reader: Reader) -> None:
        self.backend = backend
        self.reader = reader
        self.path = backend.name
        loaded = recovery.load(backend, backend.name, unlock=self.unlock)
        reader.sealing = loaded.sealing
        self.uuid = loaded.super.uuid
        self.ring = Ring(backend, loaded.super, loaded.sealing)
        self.features_write = loaded.super.features_write
        self.chain: Chain = loaded.chain
        self.slots: list[Slot | None] = loaded.slots
        self._slots_raw = loaded.slots_raw
        self._inherited = False  # a fork, or a lack of memory, has left this in any state
        self._newest: Snapshot | None = None
        self._glance: Glance | None = None  # how the file looks while nothing is newer

    def adopt(self, sealing: StoreSealing | None) -> None:
        """Read and write with this lock from now on."""
        self.reader.sealing = self.ring.sealing = sealing

    @property
    def commit(self) -> int:
        """Newest commit known here."""
        return self.chain.state.commit

    @property
    def state(self) -> State:
        """Newest state known here."""
        return self.chain.state

    def distrust(self) -> None:
        """Read everything from the file next time: memory ran out while this was changed."""
        self._glance, self._newest, self._inherited = None, None, True

    def is_newest(self) -> bool:
        """Whether nothing follows the commit known here; the caller holds the writer's lock.

        The answer of `_look` where it is plain, as it is between two commits of one writer: behind
        the last record nothing names it as its parent, and the slots are those that are known.
        """
        chain = self.chain
        if self._inherited or not chain.records:  # behind a root record there are more places
            return False
        read, last, near = self.backend.read, chain.last, -(-chain.position // 64) * 64
        far = -near % layout.BLOCK  # from there; beyond a half stands nothing that names `last`
        log = read(near, far + layout.RECORD.size)
        if log.startswith(last, PARENT_AT) or log.startswith(last, far + PARENT_AT):
            return False
        return read(*SLOT_BYTES) == self._slots_raw

    def _look(self) -> Glance | None:
        """Follow the log and the slots to their end; returns what tells that nothing is newer."""
        while True:
            glance = Glance(self.ring, self.chain)
            if self._follow_one(glance):
                continue
            if glance.slots == self._slots_raw:
                whole = all(self.slots) and glance.settled(self.ring, self.chain.last)
                return glance if whole else None
            if self.ring.sealing is not None:
                self._reload()  # the lock may be another one
                continue
            self.slots = recovery.slots_of(glance.slots, self.ring.super)
            if any(self.slots):
                self._follow_slots(recovery.newest_slot(self.slots, self.path))
            else:
                self._check_same_store()
            self._slots_raw = glance.slots

    def _follow_slots(self, newest: Slot) -> None:
        chain = self.chain
        if newest.commit > self.commit:
            self._reload()
            return
        if newest.commit == self.commit:
            # The log goes on where the slot says: a record behind the root record would not be
            # found from there.
            chain.position = newest.position
        oldest = oldest_commit(self.slots)
        chain.seen = [r for r in chain.seen if r.commit > oldest]

    def _follow_one(self, glance: Glance) -> bool:
        chain = self.chain
        if not glance.followers(chain.last) and (
            chain.records or not recovery.goes_on_elsewhere(self.ring, chain)
        ):
            return False
        record, mark = recovery.next_record(
            self.ring, chain.position, chain.last, chain.state.commit
        )
        chain.horizon = max(chain.horizon, mark)
        if record is None or not recovery.verified(self.backend, record):
            return False
        sealing = self.ring.sealing
        if sealing is not None:
            if not sealing.knows(record):
                self._reload()  # its writer has rotated
                return True
            sealing.open_record(record)
        chain.follow(record, shared=True)
        self._newest = None
        return True

    def _check_same_store(self) -> None:
        """Raise when no slot is one of this store because the file holds another one."""
        head = self.backend.read(0, layout.HEAD_BYTES)
        self._check_uuid(superblock.unpack_super(head, self.path))

    def _check_uuid(self, found: Super) -> None:
        if found.uuid != self.uuid:
            raise StaleHandleError(f"{self.path}: another store stands there now; open it again")

    def unlock(self, super_: Super, head: bytes, slot: int) -> StoreSealing | None:
        """Open a sealed store, with the secrets that were given for it; for `recovery.load`."""
        keyring = self.reader.keyring
        sealed = super_.is_sealed or head[SLOT_SEALS[0]] | head[SLOT_SEALS[1]]
        if not sealed and (keyring is None or not keyring.promises_store):
            return None
        from kist.engine import sealedstore

        if not super_.is_sealed:
            sealedstore.refuse_clear(head, keyring, self.path)
            return None
        return sealedstore.unlock(head, layout.SLOT_OFFSETS[slot], keyring, self.path)

    def _reload(self) -> None:
        loaded = recovery.load(self.backend, self.path, unlock=self.unlock)
        self._check_uuid(loaded.super)
        self.adopt(loaded.sealing)
        self.slots, self.chain = loaded.slots, loaded.chain
        self._slots_raw = loaded.slots_raw
