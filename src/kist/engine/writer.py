"""The one writer: commits, checkpoints, and taking over from another process.

Every method is called with the writer's lock of the file held, by one thread.
"""

from __future__ import annotations

import threading
import time
import warnings
from typing import TYPE_CHECKING

from kist.engine.interrupts import hold_interrupts
from kist.engine.overlay import Overlay
from kist.engine.recovery import (
    Chain,
    Ring,
    find_damage,
    newest_slot,
    oldest_commit,
    rivals,
)
from kist.engine.rootcommit import write_tree
from kist.engine.space import Space, space_of
from kist.engine.transaction import Transaction
from kist.engine.view import State
from kist.errors import (
    CommitUnknownError,
    CorruptDataError,
    DamageWarning,
    FormatError,
    KistError,
    StorageError,
    StoreLockedError,
    TransactionClosedError,
)
from kist.format import layout, superblock
from kist.format.layout import BLOCK, COMMIT_CHANGES, MAX_RECORD
from kist.format.log import Freed, Record, Seal
from kist.format.superblock import Slot

if TYPE_CHECKING:
    from kist.engine.engine import Engine

# Extents that wait for reuse make a checkpoint due: a file that is overwritten all the time
# stays small. Two checkpoints pass before space comes back, so about three times this.
WAITING_LIMIT = 1 << 19
# A commit that frees as much is the checkpoint itself, with two syncs for both instead of three.
# Nothing is folded then, as folding is never part of a user's commit; so every now and then the
# next transaction begins with a checkpoint after all.
FOLD_EVERY = 16
# A half with less room than this makes the next transaction begin with a checkpoint: a block
# for the root record, and one more for a last small commit.
RESERVE = 2 * BLOCK
RELAXED_SYNC_S = 2.0
LONG_LOG = 64
"""Commits that whoever opens the file replays at 60 us each; of more, closing makes a tree. In
"full" there are never so many."""


class Writer:
    """Commits for an engine.

    Attributes
    ----------
    own_commit : int
        Newest commit that this process wrote or took over; -1 before the first.
    failed : str
        Why this handle no longer writes; empty while it does.
    left : State or None
        What this writer's last commit has left, if the next one needs nothing but this: then
        `take_over` would find nothing, and no checkpoint is due.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._space: Space | None = None
        self.own_commit = -1
        self.failed = ""
        self.left: State | None = None
        self._full = engine.durability == "full"
        self._synced_at = time.monotonic()
        self._unsynced_bytes = 0
        # Whoever made the file here has synced its name.
        self._directory_synced = engine.backend.stats.directory_syncs > 0
        # Nodes that commits have changed which were checkpoints without folding, and how many.
        self._unfolded: frozenset[int] = frozenset()
        self._without_folding = 0
        self._flushing = threading.Lock()

    @property
    def _chain(self) -> Chain:
        return self._engine.chain

    @property
    def _ring(self) -> Ring:
        return self._engine.ring

    @property
    def space(self) -> Space:
        """Free and waiting space."""
        if self._space is None:
            raise TransactionClosedError(f"{self._engine.path}: no transaction is open")
        return self._space

    def drop_space(self) -> None:
        """Load the space afresh next time: whatever was interrupted, it is right then."""
        self._space = self.left = None

    def give_back(self, used: list[tuple[int, int]]) -> None:
        """Space that a transaction took is free again: it is rolled back."""
        self.left = None
        for offset, length in used if self._space is not None else ():
            self.space.give(offset, length)

    # Beginning

    def take_over(self) -> None:
        """Make sure that what the next commit builds on is on the disk, and known here."""
        engine = self._engine
        chain = engine.chain
        if chain.damage:
            raise CorruptDataError(f"{engine.path}: {chain.damage}")
        if not self._directory_synced:  # the creator may have died before it did
            engine.backend.sync_directory()
            self._directory_synced = True
        if self.own_commit != chain.state.commit:
            ring = self._ring.again()
            chain.damage = find_damage(ring, engine.slots, chain)
            if chain.damage:
                raise CorruptDataError(f"{engine.path}: {chain.damage}")
            self._rewrite_tail(chain)
            self._remove_rivals(ring, chain)
            self.own_commit = chain.state.commit
            self.drop_space()
        if self._space is None:
            self._space = self._load_space(chain)
        self._space.lowest = False
        if engine.ring.room(chain.position) < BLOCK and self._root_place() is None:
            self._finish_switch()

    def _root_place(self) -> int | None:
        """Where a root record would go, if there is room."""
        position = self._engine.chain.position
        place = -(-position // BLOCK) * BLOCK
        return place if place < self._engine.ring.half_end(position) else None

    def _finish_switch(self) -> None:
        # A crash came between a root record in the last block of a half and its slot. The
        # record is the last one and has everything that the slot needs.
        chain = self._chain
        slots = self._write_slot(chain.state, chain.last, chain.spare)
        self.sync("a commit slot")
        self._switched(slots)

    def _write_slot(self, state: State, last: bytes, spare: tuple[int, int]) -> list[Slot | None]:
        """Write a slot over the older one; returns what the slots are once it is durable."""
        slots, half = list(self._engine.slots), self._ring.other_half(self._chain.position)
        number = 1 + max(s.checkpoint for s in slots if s)
        slot = Slot(
            number,
            state.commit,
            state.time_ns,
            half,
            state.end,
            state.next_node,
            state.root,
            last,
            spare,
        )
        slots[number % 2] = slot
        place = layout.SLOT_OFFSETS[number % 2]
        self._engine.backend.write(place, [self._block_of(slot)])
        return slots

    def _block_of(self, slot: Slot) -> bytes:
        block, sealing = slot.pack(self._engine.uuid), self._engine.reader.sealing
        return block if sealing is None else sealing.sign(block)

    def _switched(self, slots: list[Slot | None]) -> None:
        """Go on in the other half: a slot that names it is durable."""
        chain = self._chain
        self._engine.slots = slots
        chain.position = self._ring.other_half(chain.position)
        oldest = oldest_commit(slots)
        chain.seen = [r for r in chain.seen if r.commit > oldest]
        chain.horizon = chain.state.commit
        self.space.fresh_bytes = 0

    def _rewrite_tail(self, chain: Chain) -> None:
        # Their writer may have died before its sync, or its sync may have failed and left the
        # pages clean in memory: written again, they are covered by the sync of our commit.
        backend, slots = self._engine.backend, self._engine.slots
        for record in chain.seen:
            if record.commit > chain.horizon:
                for run in record.verify:
                    backend.write(run.offset, [backend.read(run.offset, run.length)])
                    self._unsynced_bytes += run.length
                backend.write(record.position, [backend.read(record.position, record.size)])
        # The newer slot may be such a write too, and the next checkpoint replaces the older one.
        newest = newest_slot(slots, self._engine.path)
        place = layout.SLOT_OFFSETS[slots.index(newest)]
        backend.write(place, [self._block_of(newest)])

    def _remove_rivals(self, ring: Ring, chain: Chain) -> None:
        # A record that recovery cut off, because its extents are not whole, still fits behind
        # the last good one. Ours may stand in another place (full and relaxed align records
        # differently), and whoever walks the log must not find the other first.
        for place in rivals(ring, chain):
            self._engine.backend.write(place, [bytes(layout.RECORD.size)])

    def _load_space(self, chain: Chain) -> Space:
        space = space_of(self._engine.reader, chain)
        space.append_only = self._engine.backend.append_only
        if space.append_only:
            return space
        newest = max(s.commit for s in self._engine.slots if s)
        space.fresh_bytes = sum(w.length for w in space.waiting_extents() if w.freed > newest)
        self.release(space)
        return space

    def release(self, space: Space) -> None:
        """Free what no slot, pin, tag or kept version needs any more."""
        engine, chain = self._engine, self._chain
        # A tag may have been taken away by a commit that a crash takes back: what it kept is
        # given out once that commit is durable, at the latest with the next root commit.
        if space.append_only or chain.horizon < chain.state.commit:
            return
        protected = engine.backend.locks.pinned_ranges(chain.state.commit)
        protected += [(v.commit, v.commit) for v in engine.versions()]
        space.release(oldest_commit(engine.slots), joined(protected))

    def checkpoint_due(self) -> bool:
        """Whether the log or the waiting space asks for a checkpoint."""
        engine = self._engine
        chain = engine.chain
        if engine.ring.room(chain.position) < RESERVE + BLOCK:
            return True
        if engine.retain and chain.state.overlay:
            return True
        return self.space.fresh_bytes >= WAITING_LIMIT

    # Small commits

    def transaction(self) -> Transaction:
        """Begin a transaction on the newest state."""
        engine = self._engine
        return Transaction(engine, engine.reader, engine.chain.state)

    def commit(self, txn: Transaction, message: str) -> None:
        """Commit a transaction, by a record of changes or by a new tree.

        If it frees so much that the next one would begin with a checkpoint, it is one.
        """
        engine, space = self._engine, self.space
        freed = txn.freed(engine.chain.state.commit + 1)
        size = txn.journal_bytes + 32 * (len(freed) + len(txn.used) + len(txn.verify)) + 4096
        waiting = space.fresh_bytes
        if freed:
            waiting += sum([f.length for f in freed])
        small = size <= MAX_RECORD and not engine.retain
        switch = small and waiting >= WAITING_LIMIT and self._without_folding < FOLD_EVERY
        if small and not switch and self._commit_small(txn, message, freed, space):
            return
        # The tree takes what the log knew of changed nodes with it.
        self._unfolded |= txn.overlay.nodes()
        if switch:
            self._without_folding += 1
        space.wait(freed)
        txn.forget_savepoints()
        self._root_commit(self._state_with(txn), 0, message, switch=switch)

    def _state_with(self, txn: Transaction) -> State:
        state = self._chain.state
        return State(
            state.commit, state.time_ns, state.root, txn.overlay, self.space.end, txn.next_node
        )

    def _commit_small(
        self, txn: Transaction, message: str, freed: list[Freed], space: Space
    ) -> bool:
        engine, full = self._engine, self._full
        chain = engine.chain
        commit = chain.state.commit + 1
        verify = txn.verify
        unsynced = txn.unsynced + self._unsynced_bytes
        if unsynced > (layout.UNSYNCED_FULL if full else layout.UNSYNCED_RELAXED):
            self.sync("the data of a commit")
            verify = []
            chain.horizon = commit - 1  # it covers all before, too
        # In full every record has blocks of its own: no block with an acknowledged commit in it is
        # ever written again.
        step = BLOCK if full else 64
        position = -(-chain.position // step) * step
        record = Record(
            COMMIT_CHANGES,
            commit,
            position,
            time.time_ns(),
            chain.horizon,
            space.end,
            txn.next_node,
            chain.last,
            message=message,
            verify=verify,
            used=txn.used,
            freed=freed,
            ops=txn.ops(),
        )
        data = record.pack(engine.uuid, self._seal())
        return self.log(record, data, txn.overlay, space)

    def log(self, record: Record, data: bytes, overlay: Overlay, space: Space) -> bool:
        """Make a record of changes the newest commit; False where the half has no room for it."""
        engine, commit = self._engine, record.commit
        chain = engine.chain
        room = engine.ring.half_end(chain.position) - record.position - record.size
        if room < BLOCK:
            return False
        # Made now: after the sync nothing should need memory, and the processor has forgotten us.
        root, time_ns, end = chain.state.root, record.time_ns, record.end
        state = State(commit, time_ns, root, overlay, end, record.next_node, commit)
        self._write_record(record, data, whole_blocks=self._full)
        try:
            if self._full:
                self._sync_record(record)
                chain.horizon = commit
            else:
                self._unsynced_bytes += sum(v.length for v in record.verify)
            if record.freed:
                space.wait(record.freed)
            with engine.publishing:
                chain.take(record, state)
            self._made(commit)
            if room >= RESERVE + BLOCK and space.fresh_bytes < WAITING_LIMIT and not space.lowest:
                self.left = state
            if not self._full:
                self._sync_now_and_then(record)
        except (MemoryError, RecursionError) as error:
            raise self._cut_off(record, error) from error
        return True

    def _sync_now_and_then(self, record: Record) -> None:
        late = time.monotonic() - self._synced_at > RELAXED_SYNC_S
        if late and self._engine.durability == "relaxed":
            self._sync_record(record)
            self._chain.horizon = record.commit

    def _seal(self) -> Seal | None:
        sealing = self._engine.reader.sealing
        return None if sealing is None else sealing.seal_record

    def _made(self, commit: int) -> None:
        self.own_commit = commit
        keyring = self._engine.reader.keyring
        if keyring is not None:
            keyring.committed(commit)

    def _write_record(self, record: Record, data: bytes, *, whole_blocks: bool) -> None:
        backend = self._engine.backend
        if whole_blocks:
            data += bytes(-record.size % BLOCK)
        try:
            backend.write(record.position, (data,))
        except (OSError, MemoryError) as error:
            try:  # nobody may take what was half written for a commit
                backend.write(record.position, [bytes(layout.RECORD.size)])
            except (OSError, MemoryError):
                self._fail("a failed write could not be undone")
                raise self._unknown(record, error) from error
            raise

    def _sync_record(self, record: Record) -> None:
        try:
            self._flush()
        except OSError as error:
            raise self._unknown(record, error) from error

    def _unknown(self, record: Record, error: BaseException) -> CommitUnknownError:
        return CommitUnknownError(
            f"{self._engine.path}: whether commit {record.commit} is on the disk is not known"
            f" ({error}); reopen the store: it shows all of it or nothing",
            commit=record.commit,
        )

    def _cut_off(self, record: Record, error: BaseException) -> CommitUnknownError:
        # No memory for the few small objects that are needed once a record is written: it may
        # be durable, and what is noted here is not to be relied on.
        self._fail("memory ran out within a commit")
        self._engine.distrust()
        return self._unknown(record, error)

    def sync(self, what: str) -> None:
        """Make everything written so far durable."""
        try:
            self._flush()
        except OSError as error:
            raise StorageError(
                f"{self._engine.path}: {what} could not be synced: {error}"
            ) from error

    def _flush(self) -> None:
        # One thread's sync may fail because of what another wrote, and is the only one to be
        # told: the other must not sync again, without error, and take that for success.
        with self._flushing:
            if self.failed:
                raise StorageError(f"{self._engine.path}: {self.failed}; open it again")
            try:
                self._engine.backend.sync()
            except OSError:
                self._fail("a sync failed")
                raise
        if not self._full:
            self._synced_at = time.monotonic()
        self._unsynced_bytes = 0

    def _fail(self, why: str) -> None:
        # Pages of a failed sync may be clean in memory and absent on disk: nothing may be built
        # on them. A new open reads what is there, and writes the tail again.
        self.failed = why
        self.drop_space()

    # Root commits

    def checkpoint(self, *, trim: bool = False) -> None:
        """Fold the log into the tree, and small pieces of tables with it.

        With `trim`, free space at the end of the file is given back to the system.
        """
        engine = self._engine
        state = self._chain.state
        txn = Transaction(engine, engine.reader, state)
        if engine.maintain is not None:
            point = txn.savepoint()
            try:
                engine.maintain(txn, state.overlay.nodes() | self._unfolded)
            except KistError as error:
                # One damaged table must not keep the others from being written.
                txn.rollback_to(point)
                warnings.warn(f"{engine.path}: {error}", DamageWarning, stacklevel=4)
        self.release(self.space)
        self.space.wait(txn.freed(state.commit + 1))
        txn.closed = True
        if trim:
            self.space.trim()
        self._root_commit(self._state_with(txn), layout.FLAG_MAINTENANCE, "", switch=True)
        self._unfolded, self._without_folding = frozenset(), 0
        if trim and engine.backend.size() > engine.state.end:
            # Free: neither slot, no pin and no kept version needs what is cut off.
            engine.backend.resize(engine.state.end)

    def _root_commit(self, state: State, flags: int, message: str, *, switch: bool) -> None:
        """Write the tree of a state, and make it the next commit."""
        engine, chain, ring, space = self._engine, self._chain, self._ring, self.space
        self.left = None
        try:
            root, spare = write_tree(engine.reader, state, space, engine.uuid, state.commit + 1)
            self.sync("a new tree")
            position = self._root_place()
            if position is None:
                raise RuntimeError("the log has no room for a root record")
            record = Record(
                layout.COMMIT_ROOT,
                state.commit + 1,
                position,
                state.time_ns if flags else time.time_ns(),
                chain.state.commit,  # the sync above covers all before
                space.end,
                state.next_node,
                chain.last,
                flags=flags,
                message=message,
                root=root,
                spare=spare,
            )
            data = record.pack(engine.uuid, self._seal())
            self._write_record(record, data, whole_blocks=True)
        except BaseException:
            self.drop_space()
            raise
        try:
            slots = None
            if switch or ring.room(position) < 2 * RESERVE + BLOCK:
                slots = self._slot_of(record)
            self._sync_record(record)
            with engine.publishing:
                chain.follow(record, shared=True)
                chain.horizon = record.commit
                self._made(record.commit)
                if slots is not None:
                    self._switched(slots)
        except (MemoryError, RecursionError) as error:
            raise self._cut_off(record, error) from error
        try:
            space.give(*spare)
            self.release(space)
        except (OSError, KistError, MemoryError):
            self.drop_space()  # the commit is made: what is free is found out next time

    def _slot_of(self, record: Record) -> list[Slot | None]:
        # Both the slot and the root record name a durable tree, so it does not matter which of
        # them reaches the disk first.
        state = State(
            record.commit,
            record.time_ns,
            record.root,
            Overlay(),
            record.end,
            record.next_node,
        )
        try:
            return self._write_slot(state, record.sum, record.spare)
        except (OSError, MemoryError) as error:
            self._fail("a slot could not be written")
            raise self._unknown(record, error) from error

    # The end

    def close_log(self) -> None:
        """Leave the log as whoever opens the file next likes it: short, and with a mark."""
        engine, chain = self._engine, self._chain
        if self.own_commit < 0:
            return
        if engine.durability == "relaxed" and chain.horizon < chain.state.commit:
            engine.sync()
        if chain.state.commit - max(slot.commit for slot in engine.slots if slot) > LONG_LOG:
            try:
                engine.checkpoint(timeout=0)
            except StoreLockedError:
                return  # another writer goes on: its checkpoint will do
            except FormatError as error:  # all commits are made: whoever opens it reads a long log
                message = f"{engine.path}: the log was not folded at the end: {error}"
                warnings.warn(message, DamageWarning, stacklevel=4)
                return
        locks = engine.backend.locks
        with hold_interrupts():
            try:
                locks.acquire_writer(0)
            except StoreLockedError:
                return  # another writer goes on: its records vouch for ours
            try:
                if engine.refresh() == self.own_commit == self._chain.horizon:
                    self.mark()
            except StorageError as error:  # it protects against damage only: no reason to raise
                message = f"{engine.path}: no mark at the end: {error}"
                warnings.warn(message, DamageWarning, stacklevel=4)
            finally:
                locks.release_writer()

    def mark(self) -> None:
        """Vouch for the newest commit, so that damage to it is not taken for a torn write.

        Twice, far from each other: one range of damage takes the end of the log with its mark.
        """
        chain, uuid = self._chain, self._engine.uuid
        note = superblock.pack_closing(uuid, chain.state.commit)
        self._engine.backend.write(layout.CLOSING_OFFSET, [note])
        place = -(-chain.position // BLOCK) * BLOCK
        if place + BLOCK > self._ring.half_end(chain.position):
            return
        record = Record(
            layout.COMMIT_MARK,
            chain.state.commit,
            place,
            chain.state.time_ns,  # marking the same commit again changes no byte
            chain.horizon,
            chain.state.end,
            chain.state.next_node,
            chain.last,
        )
        data = record.pack(uuid).ljust(BLOCK, b"\0")
        self._engine.backend.write(place, [data])


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges that do not touch."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return out
