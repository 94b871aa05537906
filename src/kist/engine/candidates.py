"""Which states a broken store may have had, told by slots and by the records of the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kist.engine.recovery import Chain, Ring, find_damage, slots_of, walk
from kist.engine.scan import scan_frames
from kist.engine.space import Extent
from kist.engine.view import State
from kist.errors import CorruptDataError, NotAStoreError, UnsupportedVersionError
from kist.format import layout, superblock
from kist.format.checksum import sum128
from kist.format.log import Record, unpack_record_at
from kist.format.superblock import Slot, Super
from kist.format.values import NO_POINTER
from kist.storage.base import StorageBackend

__all__ = ["Candidate", "candidates_of", "the_super"]

_UUID: Final = slice(layout.RECORD.offset("uuid"), layout.RECORD.offset("uuid") + 16)
_SLOT_UUID: Final = slice(layout.SLOT.offset("uuid"), layout.SLOT.offset("uuid") + 16)


@dataclass
class Candidate:
    """A state that some record says there was."""

    state: State
    records: list[Record]
    root_end: int
    spare: Extent

    @staticmethod
    def of(chain: Chain) -> Candidate:
        return Candidate(chain.state, chain.records, chain.root_end, chain.spare)


def the_super(backend: StorageBackend, path: str, notes: list[str]) -> Super:
    """The super, or one made of what else names the store."""
    head = backend.read(0, layout.HEAD_BYTES)
    newer: UnsupportedVersionError | None = None
    for at in (layout.SUPER_OFFSET, layout.SUPER_COPY_OFFSET):
        try:  # alone: a damaged copy must not speak for the other
            return superblock.unpack_super(head[at : at + layout.BLOCK], path)
        except UnsupportedVersionError as error:
            end = at + layout.SUPER.size
            if sum128(head[at : end - 16]) == head[end - 16 : end]:
                newer = error  # it says so, and not damage
        except (NotAStoreError, CorruptDataError):
            continue
    if newer is not None:
        raise newer
    votes: Counter[bytes] = Counter()
    for at in layout.SLOT_OFFSETS:
        uuid = head[at:][_SLOT_UUID]
        if superblock.unpack_slot(head[at : at + layout.BLOCK], uuid) is not None:
            votes[uuid] += 1
    votes.update(uuid for uuid, _ in _ring_places(backend))
    if not votes:
        votes.update(header.uuid for header in scan_frames(backend))
    if not votes:
        # Says what the file is instead, or that it was never finished.
        superblock.unpack_super(head, path)
        raise NotAStoreError(f"{path}: nothing in it is part of a kist store")
    notes.append("the header and its copy are lost")
    return Super(votes.most_common(1)[0][0], 0)


def _ring_places(backend: StorageBackend) -> Iterator[tuple[bytes, Record]]:
    """(store, record) of all whole records in the log, of any store and any age."""
    for start in (layout.RING_OFFSET, layout.RING_OFFSET + layout.RING_HALF):
        data = backend.read(start, layout.RING_HALF)
        at = data.find(layout.COMMIT_MAGIC)
        while at >= 0:
            if at % 64 == 0:
                uuid = data[at:][_UUID]
                try:
                    record = unpack_record_at(data, at, start + at, uuid)
                except CorruptDataError:
                    record = None  # whole by its sum, and nonsense: nobody's word
                if record is not None:
                    yield uuid, record
            at = data.find(layout.COMMIT_MAGIC, at + 1)


def candidates_of(ring: Ring, notes: list[str]) -> tuple[list[Candidate], bool]:
    """States that a record tells of, the newest first, and whether later commits are lost."""
    size = layout.BLOCK + layout.SLOT.size
    raw = ring.backend.read(layout.SLOT_OFFSETS[0], size).ljust(size, b"\0")
    slots = slots_of(raw, ring.super)
    records = [record for uuid, record in _ring_places(ring.backend) if uuid == ring.uuid]
    pairs = [(s, chain) for s in slots if s is not None and (chain := _walk(ring, s))]
    best = max((chain.state.commit for _, chain in pairs), default=-1)
    # Behind a break of the log a root record stands for itself: it names a whole tree. It says
    # of the commits before it that they were durable, or it is the rest of one that never was.
    bases = [_base(r) for r in records if r.kind == layout.COMMIT_ROOT and r.horizon > best]
    if not pairs:
        notes.append("both commit slots are lost; the log was followed from what is left of it")
        bases.append(Slot(0, 0, 0, layout.RING_OFFSET, layout.DATA_OFFSET, 2, None, bytes(16)))
    pairs += [(base, chain) for base in bases if (chain := _walk(ring, base))]
    found: dict[tuple[int, bytes], Candidate] = {}
    told: list[tuple[int, int, Chain]] = []
    for base, chain in pairs:
        if base.commit == 0 and not chain.seen and (base.checkpoint == 0 or records):
            continue  # an empty store, while there are records that do not follow from it
        told.append((chain.state.commit, base.checkpoint, chain))
        for part in (chain, _before_root(ring, base, chain)):
            if part is not None:
                root = part.state.root_bytes() or NO_POINTER
                found.setdefault((part.state.commit, root), Candidate.of(part))
    missing = ""
    if told:
        newest = max(told, key=lambda one: one[:2])[2]  # the newer slot knows where the log goes on
        missing = find_damage(ring, list(slots), newest).split(":", 1)[0]
        notes += [missing] if missing else []
    order = sorted(found, key=lambda key: key[0], reverse=True)
    return [found[key] for key in order], bool(missing)


def _base(record: Record) -> Slot:
    """What a slot would say that was written with a root record."""
    return Slot(
        0,
        record.commit,
        record.time_ns,
        record.position + record.size,
        record.end,
        record.next_node,
        record.root,
        record.sum,
        record.spare,
    )


def _walk(ring: Ring, slot: Slot, upto: int | None = None) -> Chain | None:
    try:
        return walk(ring.again(), slot, upto)
    except CorruptDataError:
        return None


def _before_root(ring: Ring, base: Slot, chain: Chain) -> Chain | None:
    """The state before the first new root of a chain: its tree is another one."""
    for record in chain.seen:
        if record.kind == layout.COMMIT_ROOT:
            return _walk(ring, base, record.commit - 1)
    return None
