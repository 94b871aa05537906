"""From bytes to the newest whole commit: what opening, refreshing and taking over share.

Writes nothing. The rules are those of docs/format.md, "Recovery".
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING

from kist.engine.overlay import Overlay
from kist.engine.view import State
from kist.errors import CorruptDataError, SnapshotExpiredError, TamperedDataError
from kist.format import layout, superblock
from kist.format.checksum import sum128
from kist.format.log import Record, unpack_record_at
from kist.format.superblock import Slot, Super
from kist.storage.base import StorageBackend

if TYPE_CHECKING:
    from kist.engine.sealedstore import StoreSealing

    Unlock = Callable[[Super, bytes, int], StoreSealing | None]

SLOT_BYTES = layout.SLOT_OFFSETS[0], layout.BLOCK + layout.SLOT.size
"""Where both slots stand, and in how many bytes."""

_RETRIES = 100
PARENT_AT = layout.RECORD.offset("parent")
_LENGTH_AT = layout.RECORD.offset("length")
_LENGTH = struct.Struct("<I")


@dataclass(slots=True)
class Chain:
    """A state and how it was reached from a slot.

    Attributes
    ----------
    state : State
        The newest commit of the chain.
    position : int
        End of its last record, where the search for the next one begins.
    last : bytes
        Sum of that record.
    records : list of Record
        Records since the root of the state, without the root record itself.
    spare : (int, int)
        Unused rest named with that root.
    root_end : int
        End of the used part of the file at the commit of the root.
    horizon : int
        Newest commit known to be durable.
    seen : list of Record
        All records followed since the slot.
    damage : str
        What is wrong behind the newest whole commit; empty when nothing is.
    """

    state: State
    position: int
    last: bytes
    records: list[Record]
    spare: tuple[int, int]
    root_end: int
    horizon: int
    seen: list[Record] = field(default_factory=list)
    damage: str = ""

    def follow(self, record: Record, *, shared: bool) -> None:
        """Take one more record; `shared` where somebody else may hold the present overlay.

        Raises
        ------
        TamperedDataError
            What is sealed of it was not opened, because the store is said to be in clear.
        """
        if record.sealed:
            raise TamperedDataError(
                f"the record of commit {record.commit} in the log, at byte {record.position}, is"
                " sealed, and the store is not: do not trust the file"
            )
        if record.kind == layout.COMMIT_ROOT:
            overlay = Overlay()
        else:
            overlay = self.state.overlay.copy() if shared else self.state.overlay
            overlay.apply(record.ops)
        self.take(record, self.state_after(record, overlay))

    def state_after(self, record: Record, overlay: Overlay) -> State:
        """The state that a record leads to; `overlay` has what it changes."""
        state, commit = self.state, record.commit
        root = record.root if record.kind == layout.COMMIT_ROOT else state.root
        shown = state.shown if record.flags & layout.FLAG_MAINTENANCE else commit
        return State(commit, record.time_ns, root, overlay, record.end, record.next_node, shown)

    def take(self, record: Record, state: State) -> None:
        """Take one more record, and the state that it leads to."""
        # All or nothing: without a call there is no place for Ctrl-C.
        if record.kind == layout.COMMIT_ROOT:
            self.records = []
            self.spare = record.spare
            self.root_end = record.end
        else:
            record.ops = ()  # the overlay has them
            self.records += [record]
        self.state = state
        self.position = record.position + record.size
        self.last = record.sum
        if record.horizon > self.horizon:
            self.horizon = record.horizon
        self.seen += [record]


class Ring:
    """The two halves of the ring; `cache` reads the rest of one of them at once.

    Attributes
    ----------
    sealing : StoreSealing, optional
        What opens the records of a sealed store.
    """

    def __init__(
        self, backend: StorageBackend, super_: Super, sealing: StoreSealing | None = None
    ) -> None:
        self.super = super_
        self.sealing = sealing
        self.backend = backend
        self.uuid = super_.uuid
        self.start = super_.ring_offset
        self.half = super_.ring_half
        self._cached: dict[int, tuple[int, bytes]] = {}  # half -> from where, up to its end

    def again(self) -> Ring:
        """The same ring with nothing cached."""
        return Ring(self.backend, self.super, self.sealing)

    def cache(self, position: int) -> tuple[int, bytes]:
        """Read what is left of a half from a position on, for a walk through it.

        A walk goes up only, and what was written before its beginning is of no use to it. Returns
        the bytes up to the end of the half, and where among them the position is.
        """
        end = self.half_end(position)
        start, data = self._cached.get(end, (end, b""))
        if position < start:
            start, data = self._cached[end] = position, self.backend.read(position, end - position)
        return position - start, data

    def read(self, position: int, n: int) -> bytes:
        """Bytes of one half."""
        start, data = self._cached.get(self.half_end(position), (position + 1, b""))
        if position < start:
            return self.backend.read(position, n)
        return data[position - start : position - start + n]

    def half_end(self, position: int) -> int:
        """End of the half that a position lies in."""
        start, half = self.start, self.half
        return start + half * ((position - start) // half + 1)

    def half_start(self, position: int) -> int:
        """Start of the half that a position lies in."""
        return self.half_end(position) - self.half

    def other_half(self, position: int) -> int:
        """Start of the half that a position does not lie in."""
        start = self.half_start(position)
        return self.start if start != self.start else self.start + self.half

    def room(self, position: int) -> int:
        """Bytes from a position to the end of its half."""
        return self.half_end(position) - position

    def places(self, position: int) -> list[int]:
        """Where the next record may stand behind a record that ends at `position`."""
        end = self.half_end(position)
        near, far = -(-position // 64) * 64, -(-position // layout.BLOCK) * layout.BLOCK
        found = [near] if near < end else []
        if near < far < end:
            found.append(far)
        # As `other_half`.
        return [*found, self.start + self.half if end - self.half == self.start else self.start]


_PEEK = struct.Struct("<4sH2x16sQQ")  # magic, kind, uuid, commit, position
_COMMIT_WORD = layout.RECORD.offset("commit") // 8
_MAY_BEGIN = bytes(byte == layout.COMMIT_MAGIC[0] for byte in range(256))


def _read_record(
    ring: Ring, position: int, commit: int = 0, last: bytes | None = None
) -> Record | None:
    """The record at a place, or None.

    With `last` only one that may follow it and `commit`; else one not before `commit`.
    """
    size = layout.RECORD.size
    head = ring.read(position, size)
    if len(head) < size:
        return None
    magic, kind, uuid, number, named = _PEEK.unpack_from(head)
    if magic != layout.COMMIT_MAGIC or uuid != ring.uuid or named != position:
        return None
    if last is None:
        if number < commit:
            return None
    elif (
        number != commit + (kind != layout.COMMIT_MARK) or head[PARENT_AT : PARENT_AT + 16] != last
    ):
        return None
    total = size + _LENGTH.unpack_from(head, _LENGTH_AT)[0]
    if total > ring.half_end(position) - position:
        return None
    data = head if total == size else ring.read(position, total)
    return unpack_record_at(data, 0, position, ring.uuid)


def goes_on_elsewhere(ring: Ring, chain: Chain) -> bool:
    """Whether something at the start of the other half names the end of a chain.

    Only a root record is followed by one there, so a chain with records need not be asked.
    """
    place = ring.other_half(chain.position) + PARENT_AT
    return ring.backend.read(place, 16) == chain.last


def next_record(
    ring: Ring, position: int, last: bytes, commit: int, *, cache: bool = False
) -> tuple[Record | None, int]:
    """The record that follows, if it is whole, and the horizon of a mark found on the way.

    Parameters
    ----------
    position, last, commit : int, bytes, int
        End of the record before, its sum, its commit.
    cache : bool
        Read halves at once: many records are expected.
    """
    horizon = 0
    end = ring.half_end(position)
    for place in ring.places(position):
        if cache and end - ring.half <= place < end:
            ring.cache(place)  # of the other half, the first record is all that is wanted
        record = _read_record(ring, place, commit, last)
        if record is None:
            continue
        if record.kind == layout.COMMIT_MARK:
            if record.commit == commit:
                horizon = record.horizon
        elif record.commit == commit + 1:
            return record, horizon
    return None, horizon


def rivals(ring: Ring, chain: Chain) -> list[int]:
    """Places of whole records that would follow a chain, had recovery not cut them off."""
    found = []
    for place in ring.places(chain.position):
        record = _read_record(ring, place, chain.state.commit, chain.last)
        if record is not None and record.kind != layout.COMMIT_MARK:
            found.append(place)
    return found


def verified(backend: StorageBackend, record: Record) -> bool:
    """Whether the extents that a record lists are there and whole."""
    for run in record.verify:
        data = backend.read(run.offset, run.length)
        if len(data) != run.length or sum128(data) != run.sum:
            return False
    return True


def walk(ring: Ring, slot: Slot, upto: int | None = None, durable: int = 0) -> Chain:
    """Follow the log from a slot to its newest whole commit, or up to commit `upto`.

    Up to commit `durable`, as far as is known from elsewhere, no extent is missing.
    """
    records: list[Record] = []
    position, last, commit = slot.position, slot.chain, slot.commit
    horizon = max(commit, durable)
    while upto is None or commit < upto:
        record, mark = next_record(ring, position, last, commit, cache=True)
        horizon = max(horizon, mark)
        if record is None:
            break
        records.append(record)
        position, last, commit = record.position + record.size, record.sum, record.commit
        horizon = max(horizon, record.horizon)
    state = State(
        slot.commit, slot.time_ns, slot.root, Overlay(), slot.end, slot.next_node, slot.commit
    )
    chain = Chain(state, slot.position, slot.chain, [], slot.spare, slot.end, horizon)
    if ring.backend.remote:
        runs = [run for record in records if record.commit > horizon for run in record.verify]
        ring.backend.prefetch([(run.offset, run.offset + run.length) for run in runs])
    for record in records:
        # Up to the horizon everything is known to be on the disk; above it, only what is seen.
        if record.commit > horizon and not verified(ring.backend, record):
            break
        if ring.sealing is not None:
            ring.sealing.open_record(record)
        chain.follow(record, shared=False)
    return chain


def _later_records(ring: Ring, start: int, chain: Chain) -> Iterator[Record]:
    """Whole records from `start` to the end of its half that belong behind a chain."""
    begin, data = ring.cache(start)
    # Records begin at multiples of 64, as `start` does: one byte of each place tells whether one
    # may begin there. In a log that has never come round that is none.
    first = data[begin::64]
    if layout.COMMIT_MAGIC[:1] not in first:
        return
    # In one that has most are records of before, and their commit tells that. To look for the
    # magic in all bytes takes fifty times as long.
    whole = data[begin : len(data) - (len(data) - begin) % 64]
    commits = array("Q", whole)[_COMMIT_WORD :: 64 // 8]
    if sys.byteorder == "big":
        commits.byteswap()
    least = chain.state.commit
    for at, commit in compress(enumerate(commits), first.translate(_MAY_BEGIN)):
        if commit >= least:
            record = _read_record(ring, start + 64 * at, least)
            if record and record.sum != chain.last:
                yield record


def find_damage(
    ring: Ring, slots: list[Slot | None], chain: Chain, closed: int | None = None
) -> str:
    """Say which durable commit is missing behind a chain, or nothing.

    Parameters
    ----------
    closed : int, optional
        Commit of the closing note, where that was read no later than the chain.
    """
    if closed is None:
        note = ring.backend.read(layout.CLOSING_OFFSET, layout.CLOSING.size)
        closed = superblock.unpack_closing(note, ring.uuid) or 0
    lost = max([chain.horizon, closed, *[s.commit for s in slots if s]])
    places = [-(-chain.position // 64) * 64]
    if None in slots:  # the newer one may be the one that is lost: look into both halves
        places.append(ring.other_half(chain.position))
    for place in places:
        for record in _later_records(ring, place, chain):
            lost = max(lost, record.horizon)
    if lost <= chain.state.commit:
        return ""
    return (
        f"commit {lost} was durable, and the log breaks after commit {chain.state.commit}"
        f" at byte {chain.position}: 'kist check' lists the damage, 'kist salvage' rescues"
        " what is whole"
    )


@dataclass(slots=True)
class Loaded:
    """A store as found; `slots_raw` are the bytes of the slots."""

    super: Super
    slots: list[Slot | None]
    chain: Chain
    slots_raw: bytes
    sealing: StoreSealing | None = None

    @property
    def oldest(self) -> int:
        """Commit of the older slot: nothing freed after it may be used again."""
        return oldest_commit(self.slots)


def oldest_commit(slots: list[Slot | None]) -> int:
    """Commit of the older slot; 0 when one of the two is missing."""
    return min((s.commit if s else 0) for s in slots)


def slot_bytes(backend: StorageBackend) -> bytes:
    """Both slots as they stand, to see whether they have changed."""
    return backend.read(*SLOT_BYTES)


def read_slots(backend: StorageBackend, super_: Super) -> list[Slot | None]:
    """Both slots; None where one is not whole."""
    return slots_of(slot_bytes(backend), super_)


def slots_of(data: bytes, super_: Super) -> list[Slot | None]:
    """Both slots from their bytes; None where one is not whole."""
    return [slot_of(data[at:], super_) for at in (0, layout.BLOCK)]


def slot_of(block: bytes, super_: Super) -> Slot | None:
    """A slot from its block; None where it is not whole, or sends writers out of the ring."""
    slot = superblock.unpack_slot(block, super_.uuid)
    if slot is None or not super_.ring_offset <= slot.position < super_.data_offset:
        return None
    return slot


def _whole_slot(block: bytes, super_: Super) -> Slot | None:
    """A slot from its block; of a sealed store none is whole without its seal."""
    slot = slot_of(block, super_)
    if slot is not None and super_.is_sealed:
        from kist.format.sealedstore import is_torn, unpack_slot_seal

        seal = unpack_slot_seal(block)
        return None if seal is None or is_torn(slot, seal) else slot
    return slot


def newest_slot(slots: list[Slot | None], path: str) -> Slot:
    """The slot to begin with."""
    found = [s for s in slots if s is not None]
    if not found:
        raise CorruptDataError(
            f"{path}: neither commit slot is whole: restore a backup, or try 'kist salvage'",
            offset=layout.SLOT_OFFSETS[0],
        )
    return max(found, key=lambda s: s.checkpoint)


def load(
    backend: StorageBackend,
    path: str,
    upto: int | None = None,
    unlock: Unlock | None = None,
) -> Loaded:
    """Read a store as it is now.

    Parameters
    ----------
    upto : int, optional
        Stop at this commit, which must not be older than the older slot.
    unlock : callable, optional
        Gives what opens a sealed store, as `kist.engine.sealedstore.unlock`.

    Raises
    ------
    NotAStoreError, UnsupportedVersionError, CorruptDataError
        As `unpack_super`; or no slot is whole; or the log breaks before commit `upto`.
    SnapshotExpiredError
        Commit `upto` can no longer be reached.

    Notes
    -----
    Reads 16 KiB, then the used part of the log. A writer may work at the same time: when the
    slots have changed in the meantime, everything is read again. So it is when something seems
    to be damaged: one read of the log may see a record and not the one before it.
    """
    suspicion: tuple[int, str] | None = None
    for _ in range(_RETRIES):
        head = backend.read(0, layout.HEAD_BYTES)
        super_ = superblock.unpack_super(head, path)
        # The super is written when the length is durable: no crash leaves less than the log.
        # Without this, a cut log would look like one that ends there.
        size = backend.size()
        if size < super_.data_offset:
            raise CorruptDataError(
                f"{path}: the file is cut short: {size:,} bytes, and the log alone ends at"
                f" {super_.data_offset:,}: restore it from a backup",
                offset=size,
            )
        slots = [_whole_slot(head[at : at + layout.BLOCK], super_) for at in layout.SLOT_OFFSETS]
        slot = newest_slot(slots, path)
        if upto is not None and upto < slot.commit:
            older = [s for s in slots if s is not None and s.commit <= upto]
            if not older:
                raise SnapshotExpiredError(
                    f"{path}: commit {upto} is no longer kept; 'tag' keeps a version"
                )
            slot = older[0]
        sealing = None if unlock is None else unlock(super_, head, slots.index(slot))
        ring = Ring(backend, super_, sealing)
        note = head[layout.CLOSING_OFFSET : layout.CLOSING_OFFSET + layout.CLOSING.size]
        closed = superblock.unpack_closing(note, super_.uuid) or 0
        chain = walk(ring, slot, upto, closed)
        if upto is None:
            chain.damage = find_damage(ring, slots, chain, closed)
        elif chain.state.commit != upto:
            chain.damage = (
                f"commit {upto} cannot be reached: the log breaks after commit"
                f" {chain.state.commit} at byte {chain.position}"
            )
        raw = slot_bytes(backend)
        if raw != head[layout.SLOT_OFFSETS[0] : layout.SLOT_OFFSETS[0] + len(raw)]:
            continue
        if not chain.damage or suspicion == (chain.position, chain.damage):
            if chain.damage and upto is not None:
                raise CorruptDataError(f"{path}: {chain.damage}", offset=chain.position)
            return Loaded(super_, slots, chain, raw, sealing)
        suspicion = (chain.position, chain.damage)
    raise CorruptDataError(f"{path}: the commit slots change faster than they can be read")
