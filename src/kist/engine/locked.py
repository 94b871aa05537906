"""A sealed store without its secret: which commit is the newest, and whether all sums hold.

What it takes stands in clear: the log has sums and places, pages of the tree begin with the
pointers that they hold. Nothing here says whether a holder of the secret wrote any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from kist.engine import recovery
from kist.engine.pins import Pins
from kist.engine.recovery import Loaded
from kist.engine.sealedstore import verify_frame
from kist.engine.upkeep import Problem
from kist.errors import CorruptDataError
from kist.format import layout, superblock
from kist.format.layout import FRAME
from kist.format.log import Record
from kist.format.sealed import Lock, SlotRecord
from kist.format.sealedstore import SealedExtent, SealedPage, unpack_slot_seal
from kist.format.superblock import Super
from kist.format.values import Pointer
from kist.storage.base import StorageBackend

__all__ = ["Locked", "check_locked", "load_locked"]

_ATTEMPTS: Final = 100

Progress = Callable[[int, int], None]


class _Blind:
    """In the place of what opens a sealed store: nothing is opened."""

    def open_record(self, record: Record) -> None:
        """Leave out what is sealed of it."""
        record.sealed = b""


class Locked(NamedTuple):
    """What is known of a sealed store without its secret.

    Attributes
    ----------
    loaded : Loaded
        Its newest commit, and how it was reached; the map of it is not known.
    slots : tuple of SlotRecord
        What opens it.
    """

    loaded: Loaded
    slots: tuple[SlotRecord, ...]


def load_locked(backend: StorageBackend) -> Locked | None:
    """Read a store as far as it goes without a secret; None where it is not sealed.

    Raises
    ------
    NotAStoreError, UnsupportedVersionError, CorruptDataError
        As `recovery.load`.
    """
    found: list[tuple[Super, bytes, int]] = []

    def note(super_: Super, head: bytes, slot: int) -> Any:
        found.append((super_, head, slot))
        return _Blind()

    loaded = recovery.load(backend, backend.name, unlock=note)
    super_, head, slot = found[-1]
    if not super_.is_sealed:
        return None
    at = layout.SLOT_OFFSETS[slot]
    seal = unpack_slot_seal(head[at : at + layout.BLOCK])
    return Locked(loaded, () if seal is None else Lock.unpack(seal.lock).slots)


def check_locked(
    backend: StorageBackend, progress: Progress | None = None
) -> tuple[Locked, list[Problem]] | None:
    """Verify the sums of everything that the newest commit of a sealed store uses.

    None where the store is not sealed. Raises as `load_locked`.
    """
    pins = Pins(backend)
    for _ in range(_ATTEMPTS):
        locked = load_locked(backend)
        if locked is None:
            return None
        commit = locked.loaded.chain.state.commit
        pins.pin(commit)
        try:
            again = load_locked(backend)
            # As for snapshots: a pin holds what the older slot does not pass.
            if again is None or commit < again.loaded.oldest:
                continue
            return locked, list(_problems(backend, locked, progress))
        finally:
            pins.unpin(commit)
    raise CorruptDataError(f"{backend.name}: commits pass faster than they can be pinned")


def _problems(
    backend: StorageBackend, locked: Locked, progress: Progress | None
) -> Iterator[Problem]:
    loaded = locked.loaded
    chain, uuid = loaded.chain, loaded.super.uuid
    head = backend.read(0, layout.HEAD_BYTES)
    for offset in superblock.damaged_supers(head):
        if head[offset : offset + layout.SUPER.size].strip(b"\0"):
            yield Problem("super", offset, "this copy of the header is damaged", None)
    if superblock.unpack_closing(head[layout.CLOSING_OFFSET :], uuid) is None:
        yield Problem("super", layout.CLOSING_OFFSET, "the closing note is damaged", None)
    for at in layout.SLOT_OFFSETS:
        block = head[at : at + layout.BLOCK]
        slot, seal = recovery.slot_of(block, loaded.super), unpack_slot_seal(block)
        if slot is None or seal is None:  # a torn one is written anew by the next checkpoint
            yield Problem("slot", at, "the commit slot is damaged", None)
    if chain.damage:
        yield Problem("log", chain.position, chain.damage, None)
    waiting = [packed for record in chain.records for packed in record.references]
    if chain.state.root is not None:
        waiting.append(chain.state.root.pack())
    seen: set[bytes] = set()
    done = named = 0
    while waiting:
        packed = waiting.pop()
        if packed in seen:
            continue
        seen.add(packed)
        pointer = Pointer.unpack(packed)
        named += FRAME.size + pointer.nbytes if isinstance(pointer, SealedExtent) else 0
        if named > backend.size():
            # Extents of a store stand apart; overlapping ones could be read without an end.
            yield Problem("space", pointer.offset, "more space is named than the file has", None)
            return
        try:
            below = _references(backend, pointer, uuid)
        except CorruptDataError as error:
            where = "tree" if isinstance(pointer, SealedPage) else "extent"
            yield Problem(where, pointer.offset, str(error), None)
            continue
        waiting += below
        done += pointer.nbytes
        if progress is not None:
            progress(done, chain.state.end)


def _references(backend: StorageBackend, pointer: Pointer, uuid: bytes) -> list[bytes]:
    if not isinstance(pointer, SealedExtent):
        raise CorruptDataError("a pointer that no sealed store has", offset=pointer.offset)
    if pointer.nbytes > backend.size():  # before memory is taken
        raise CorruptDataError("the file ends within it", offset=pointer.offset)
    data = backend.read(pointer.offset, FRAME.size + pointer.nbytes)
    return verify_frame(data, pointer, uuid)
