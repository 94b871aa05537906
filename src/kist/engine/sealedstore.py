"""Sealed stores: every extent, every record of the log and both slots, under one lock.

What stands in clear are sizes, places and commit numbers, so that recovery, `kist.engine.locked`
and a copy need no secret. Everything that holders read is bound to what led them to it: an extent
to its pointer by the random bytes in it, the root to its slot or record by their tags.
docs/design/0019-sealed-stores.md.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from kist.crypto.aead import TAG_BYTES, Units
from kist.crypto.derive import SALT_BYTES, expand
from kist.crypto.hidden import Hidden
from kist.crypto.secret import Secret
from kist.engine import fieldkeys
from kist.engine.fieldkeys import FieldKeys
from kist.engine.keyring import STORE, Keyring
from kist.engine.parallel import run
from kist.errors import CorruptDataError, SecretError, TamperedDataError
from kist.format import layout
from kist.format.checksum import Buffer, sum64, sum128
from kist.format.frame import FrameHeader, unpack_frame
from kist.format.layout import FRAME, FRAME_SEALED
from kist.format.log import Record
from kist.format.sealed import SEALED_HEAD, Lock, SealedHead, pack_sums, unpack_sealed_head
from kist.format.sealedstore import (
    MAX_LOCK,
    RANDOM_BYTES,
    UNIT,
    SealedExtent,
    SealedPage,
    SlotSeal,
    pack_references,
    signed_part,
    unpack_references,
    unpack_slot_seal,
)
from kist.format.tree import pack_tree_page
from kist.format.values import Pointer, extent_length, pointer_bytes

if TYPE_CHECKING:
    from kist.engine.drafts import NewPage
    from kist.engine.placing import Frame, Placing
    from kist.engine.tree import Node
    from kist.engine.view import Reader

__all__ = [
    "StoreSealing",
    "make_sealing",
    "move_down",
    "refuse_clear",
    "unlock",
    "verify_frame",
    "write_sealed",
]

_BODY: Final = b"kist 1 body"
_SLOTS: Final = b"kist 1 slots"
_STEP: Final = 1 << UNIT
_FOR_THREADS: Final = 1 << 20
"""Bytes from which on threads seal: waking them takes as long as sealing a part of that."""

_OTHER: Final = "do not trust the file"


class StoreSealing:
    """The opened lock of a sealed store.

    Parameters
    ----------
    lock : Lock
        As it stands in the slots.
    keys : FieldKeys
        What it led to.
    path : str
        For messages.
    """

    __slots__ = ("_first", "_signing", "keys", "lock", "packed", "path")

    POINTER: ClassVar = SealedExtent

    def __init__(self, lock: Lock, keys: FieldKeys, path: str) -> None:
        self.lock = lock
        self.keys = keys
        self.path = path
        self.packed = lock.pack()
        self._signing = keys.key_of(_SLOTS)
        # The name of a data key ends with the first commit that is sealed under it.
        self._first = [(int.from_bytes(name[8:], "little"), name) for name in keys.data]

    def __repr__(self) -> str:
        return f"<opened store, {len(self._first)} data keys>"

    # Keys

    def key_of(self, commit: int) -> tuple[bytes, Hidden]:
        """Return name and key of what is written in a commit."""
        found = self._first[0][1]
        for first, name in self._first[1:]:
            if first <= commit:
                found = name
        return found, self.keys.data[found]

    # Slots

    def sign(self, block: bytes) -> bytes:
        """Return the block of a slot with lock and tag."""
        checkpoint = layout.SLOT.unpack(block)["checkpoint"]
        seal = SlotSeal(self._tag(block, self.packed), self.packed, checkpoint)
        return (block[: layout.SLOT_SEAL_OFFSET] + seal.pack()).ljust(layout.BLOCK, b"\0")

    def _tag(self, block: bytes, lock: bytes) -> bytes:
        return hmac.digest(self._signing.reveal(), signed_part(block) + lock, "sha256")

    def check_slot(self, block: bytes, offset: int) -> None:
        """Refuse a slot that no holder wrote.

        Raises
        ------
        TamperedDataError
            Its sums hold and its tag does not.
        """
        seal = unpack_slot_seal(block)
        if seal is None or not hmac.compare_digest(seal.tag, self._tag(block, seal.lock)):
            raise TamperedDataError(
                f"{self.path}: the commit slot at byte {offset} was not written by a holder of the"
                f" secret: {_OTHER}"
            )

    # Records of the log

    def seal_record(self, commit: int, plain: bytes, bound: bytes) -> bytes:
        """Return message and operations of a record as a sealed body; for `Record.pack`."""
        name, key = self.key_of(commit)
        head = SealedHead(UNIT, len(plain), name, os.urandom(SALT_BYTES))
        return b"".join(_sealed(head, key, memoryview(plain), bound))

    def knows(self, record: Record) -> bool:
        """Tell whether the data key of a record is known here: others may have rotated."""
        at = SEALED_HEAD.offset("key")
        return not record.sealed or record.sealed[at : at + 16] in self.keys.data

    def open_record(self, record: Record) -> None:
        """Open what is sealed of a record that recovery took.

        Raises
        ------
        TamperedDataError
            Its sums hold, and no holder of the secret wrote it.
        """
        if record.kind == layout.COMMIT_MARK:
            return
        why = TamperedDataError(
            f"{self.path}: the record of commit {record.commit} in the log, at byte"
            f" {record.position}, was not written by a holder of the secret: {_OTHER}"
        )
        if not record.flags & layout.FLAG_SEALED:
            raise why
        try:
            head, _ = unpack_sealed_head(record.sealed, len(record.sealed))
        except CorruptDataError as error:
            raise why from error
        if head.key != self.key_of(record.commit)[0]:
            raise why
        out = memoryview(bytearray(head.length))
        body = memoryview(record.sealed)[head.size :]
        # No tag is of the sums, but the parent of the next record is of all bytes: if some could
        # be chosen, a record of a fork could be made to stand before one of another.
        fixed = head.pack()
        if record.sealed[: head.size] != fixed + _sums_of(head, body):
            raise why
        units = Units.under(
            expand(self.keys.data[head.key], _BODY, head.salt), fixed + record.bound
        )
        if units.unseal(1 << head.unit, 0, body, out) is not None:
            raise why
        record.opened(bytes(out))

    # Extents

    def seal(
        self, parts: Sequence[Buffer], head: int, birth: int
    ) -> tuple[SealedExtent, tuple[bytes, bytearray]]:
        """Seal the body of an extent.

        Parameters
        ----------
        parts : sequence of bytes
            The body, one part behind the other.
        head : int
            Bytes of its verified head.
        birth : int
            Commit that writes it.

        Returns
        -------
        pointer, (head, units)
            The pointer still lacks its offset.
        """
        plain = memoryview(parts[0] if len(parts) == 1 else b"".join(parts)).cast("B")
        pointer = SealedExtent(0, len(plain), head, birth, os.urandom(RANDOM_BYTES))
        return pointer, self._seal_for(pointer, plain)

    def _seal_for(self, pointer: SealedExtent, plain: memoryview) -> tuple[bytes, bytearray]:
        name, key = self.key_of(pointer.birth)
        return _sealed(pointer.sealed_head(name), key, plain, b"")

    def read(self, reader: Reader, pointer: SealedExtent, start: int, length: int) -> bytes:
        """Return bytes of the plaintext of an extent, read and opened."""
        reader.check_range(pointer)
        if start < 0 or start + length > pointer.length:
            raise CorruptDataError(
                f"byte {pointer.offset}: bytes {start} to {start + length} of a body of"
                f" {pointer.length}",
                offset=pointer.offset,
            )
        begin, end = pointer.span(start, start + length)
        data = reader.backend.read(begin, end - begin)
        if len(data) != end - begin:
            raise CorruptDataError(
                f"byte {pointer.offset}: the file ends within a frame of {pointer.nbytes} bytes;"
                " 'kist check' lists all damage",
                offset=pointer.offset,
            )
        first = start >> UNIT
        plain = self._open(reader, pointer, first, memoryview(data))
        at = start - first * _STEP
        return bytes(plain[at : at + length])

    def whole(self, reader: Reader, pointer: SealedExtent, body: memoryview) -> memoryview:
        """Return the plaintext of an extent whose body is at hand."""
        before = pointer.n_references * layout.POINTER.size + pointer.sealed_head(b"").size
        return self._open(reader, pointer, 0, body[before:])

    def _open(
        self, reader: Reader, pointer: SealedExtent, first: int, sealed: memoryview
    ) -> memoryview:
        name, key = self.key_of(pointer.birth)
        head = pointer.sealed_head(name)
        count = max(1, -(-len(sealed) // (_STEP + TAG_BYTES)))
        out = memoryview(bytearray(len(sealed) - TAG_BYTES * count))
        units = Units.under(expand(key, _BODY, head.salt), head.pack())
        failed = units.unseal(_STEP, first, sealed, out)
        if failed is not None:
            begin = (failed - first) * (_STEP + TAG_BYTES)
            raise self._why(reader, pointer, failed, sealed[begin : begin + _STEP + TAG_BYTES])
        return out

    def _why(
        self, reader: Reader, pointer: SealedExtent, number: int, unit: memoryview
    ) -> CorruptDataError | TamperedDataError:
        """Tell damage, which fails a sum, from what somebody has written without the secret."""
        where = f"{self.path}: byte {pointer.offset}"
        reader.backend.distrust()
        try:
            data = reader.backend.read(pointer.offset, FRAME.size + pointer.nbytes)
            sums = _verified(data, pointer, reader.uuid)[2]
            damaged = number >= len(sums) or sum64(unit) != sums[number]
        except CorruptDataError:
            damaged = True
        if damaged:
            return CorruptDataError(
                f"{where}: unit {number} of a sealed extent is damaged; 'kist check' lists all"
                " damage",
                offset=pointer.offset,
            )
        return TamperedDataError(
            f"{where}: what stands there is not what was sealed for this place in commit"
            f" {pointer.birth}, and its checksums hold, so this is no accident: {_OTHER}"
        )

    # Pages of the tree

    def extent_bound(self, nodes: Sequence[NewPage]) -> int:
        """Bytes of file space that are enough for these pages."""
        total = 0
        for node in nodes:
            count = len(node.children)
            if node.level == 0:
                values: list[bytes] = node.children  # type: ignore[assignment]
                count = sum(value[0] for value in values if value)
            page = SealedPage(0, node.size, count, 0, b"")
            total += extent_length(page.nbytes)
        return total

    def place(
        self, nodes: Sequence[NewPage], offset: int, birth: int
    ) -> Iterator[tuple[SealedExtent, NewPage, bytes]]:
        """Give each new page its place and its bytes, as `kist.engine.drafts.place` does."""
        from kist.engine.drafts import settle  # who reads needs none of it

        placed: dict[int, bytes] = {}
        for node in nodes:
            settle(node, placed)
            values: list[bytes] = node.children  # type: ignore[assignment]
            plain = pack_tree_page(node.level, node.keys, values)
            references = _owned(node.level, values)
            pointer = SealedPage(
                offset, len(plain), len(references), birth, os.urandom(RANDOM_BYTES)
            )
            head, units = self._seal_for(pointer, memoryview(plain))
            placed[id(node)] = pointer.pack()
            yield pointer, node, pack_references(references) + head + units
            offset += pointer.extent[1]

    def check_page(self, reader: Reader, pointer: SealedExtent, node: Node) -> None:
        """Hold what a page says in clear against what is sealed in it.

        Raises
        ------
        CorruptDataError, TamperedDataError
            They differ, which misleads who has no secret.
        """
        data = reader.backend.read(pointer.offset, FRAME.size + pointer.nbytes)
        clear = verify_frame(data, pointer, reader.uuid)
        if clear != _owned(node.level, node.values):
            raise TamperedDataError(
                f"{self.path}: byte {pointer.offset}: the pointers in clear of a tree page are not"
                f" those that are sealed in it: {_OTHER}"
            )

    def page_header(self, pointer: SealedExtent, uuid: bytes, body: bytes) -> FrameHeader:
        """Return the header of a page; what the sum covers begins with the references."""
        n = pointer.n_references * layout.POINTER.size + pointer.sealed_head(b"").size
        return header_of(pointer, uuid, memoryview(body)[:n])


def _owned(level: int, values: Sequence[bytes]) -> list[bytes]:
    """Return the packed pointers that a page holds."""
    return list(values) if level else [one for value in values for one in pointer_bytes(value)]


def _sealed(
    head: SealedHead, key: Hidden, plain: memoryview, bound: bytes
) -> tuple[bytes, bytearray]:
    fixed = head.pack()
    out = bytearray(head.total - head.size)
    view = memoryview(out)
    Units.under(expand(key, _BODY, head.salt), fixed + bound).seal(1 << head.unit, plain, view)
    return fixed + _sums_of(head, view), out


def _sums_of(head: SealedHead, units: memoryview) -> bytes:
    step = (1 << head.unit) + TAG_BYTES
    return pack_sums([units[at : at + step] for at in range(0, len(units), step)])


def write_sealed(txn: Placing, sealing: StoreSealing, frames: Sequence[Frame]) -> list[Pointer]:
    """Write frames as sealed extents, as one run; for `Transaction.write`."""
    from kist.engine.interrupts import hold_interrupts

    birth = txn.state.commit + 1
    sizes = [len(f.head) + sum(map(len, f.parts)) for f in frames]
    work = [
        partial(sealing.seal, [f.head, *f.parts] if f.parts else [f.head], len(f.head), birth)
        for f in frames
    ]
    sealed: list[Any] = (
        run(work) if sum(sizes) >= _FOR_THREADS and len(work) > 1 else [one() for one in work]
    )
    pointers: list[Pointer] = []
    with hold_interrupts():  # what is taken but not noted would be lost
        total = sum(pointer.extent[1] for pointer, _ in sealed)
        start = offset = txn.allocate(total)
        for pointer, _ in sealed:
            pointers.append(pointer._replace(offset=offset))
            offset += pointer.extent[1]
        txn.note_written(pointers)
    buffers: list[Buffer] = []
    for pointer, (_, (head, units)) in zip(pointers, sealed, strict=True):
        buffers += [header_of(pointer, txn.uuid, head).pack(), head, units]
        padding = pointer.extent[1] - FRAME.size - len(head) - len(units)
        if padding:
            buffers.append(bytes(padding))
    txn.settle()
    txn.write_run(start, buffers)
    return pointers


def move_down(txn: Placing, sealing: StoreSealing, old: Pointer) -> Pointer | None:
    """Seal an extent anew in the lowest free place before it; for `Transaction.move_down`.

    Not byte for byte: a pointer names the commit that wrote its extent, and what is sealed is
    bound to it.
    """
    from kist.engine.interrupts import hold_interrupts

    plain = memoryview(txn.reader.read_part(old, 0, old.length))
    new, (head, units) = sealing.seal([plain], old.head, txn.state.commit + 1)
    with hold_interrupts():
        place = txn.allocate_below(old)
        if place is None:
            return None
        moved = new._replace(offset=place)
        txn.note_written([moved])
    padding = moved.extent[1] - FRAME.size - moved.nbytes
    txn.write_run(place, [header_of(moved, txn.uuid, head).pack(), head, units, bytes(padding)])
    return moved


def header_of(pointer: Pointer, uuid: bytes, head: Buffer) -> FrameHeader:
    """Return the header of a sealed extent: it says nothing of what the extent is for."""
    return FrameHeader(
        FRAME_SEALED,
        pointer.offset,
        uuid,
        0,
        0,
        0,
        pointer.birth,
        pointer.nbytes,
        len(head),
        sum128(head),
    )


def verify_frame(data: bytes, pointer: SealedExtent, uuid: bytes) -> list[bytes]:
    """Compare a sealed extent with its pointer and its sums, which needs no secret.

    Parameters
    ----------
    data : bytes
        Header and body, as they stand in the file.

    Returns
    -------
    list of bytes
        The pointers in clear of a tree page.

    Raises
    ------
    CorruptDataError
        Something fails.
    """
    references, head, _ = _verified(data, pointer, uuid)
    if head != pointer.sealed_head(head.key):
        raise CorruptDataError("it was sealed for another pointer", offset=pointer.offset)
    return references


def _verified(
    data: bytes, pointer: SealedExtent, uuid: bytes
) -> tuple[list[bytes], SealedHead, tuple[int, ...]]:
    """References, sealed head and sums of an extent whose sums hold, whoever wrote it."""

    def damaged(what: str) -> CorruptDataError:
        return CorruptDataError(what, offset=pointer.offset)

    if len(data) != FRAME.size + pointer.nbytes:
        raise damaged("the file ends within it")
    header = unpack_frame(data[: FRAME.size])
    if header is None or header.flags:
        raise damaged("its header is damaged")
    if header != header_of(pointer, uuid, b"")._replace(head=header.head, body_sum=header.body_sum):
        raise damaged("its header is that of another frame")
    body = memoryview(data)[FRAME.size :]
    at = pointer.n_references * layout.POINTER.size
    if header.head != at + pointer.sealed_head(b"").size:
        raise damaged("its header names another head")
    if sum128(body[: header.head]) != header.body_sum:
        raise damaged("its head fails its checksum")
    sealed = body[at:]
    head, sums = unpack_sealed_head(sealed, len(sealed))
    for number, expected in enumerate(sums):
        start, stop = head.span(number, number)
        if sum64(sealed[start:stop]) != expected:
            raise damaged(f"unit {number} of {head.n_units} fails its checksum")
    return unpack_references(body, pointer.n_references), head, sums


# Opening and making


def unlock(head: bytes, offset: int, keyring: Keyring | None, path: str) -> StoreSealing:
    """Return the sealing of a store.

    Parameters
    ----------
    head : bytes
        The first 16 KiB.
    offset : int
        Of the slot that the store is read from.

    Raises
    ------
    SecretError
        No secret was given.
    WrongSecretError
        None that was given opens it.
    TamperedDataError
        No holder of the secret wrote the slot.
    """
    block = head[offset : offset + layout.BLOCK]
    seal = unpack_slot_seal(block)
    if seal is None:
        raise TamperedDataError(
            f"{path}: the store is sealed, and the commit slot at byte {offset} has no lock:"
            f" {_OTHER}"
        )
    try:
        opened = None if keyring is None else keyring.open(seal.lock, (STORE,))
    except SecretError as error:
        raise type(error)(f"{path}: the whole file is sealed: {error}") from None
    if opened is None:
        raise SecretError(
            f"{path}: the whole file is sealed, names and attributes too: pass secrets= to"
            " kist.open, or KIST_SECRET or --secret-file on the command line"
        )
    sealing = StoreSealing(Lock.unpack(seal.lock), opened, path)
    sealing.check_slot(block, offset)
    return sealing


def refuse_clear(head: bytes, keyring: Keyring | None, path: str) -> None:
    """Refuse a store in clear where the caller knows, or its slots say, that it is sealed.

    Raises
    ------
    TamperedDataError
        Somebody took the sealing away.
    """
    places = [at + layout.SLOT_SEAL_OFFSET for at in layout.SLOT_OFFSETS]
    locked = any(head[at : at + 4] == layout.SLOT_SEAL_MAGIC for at in places)
    if locked or (keyring is not None and STORE in keyring.named):
        known = "its commit slots have locks" if locked else "a secret was given for '/'"
        raise TamperedDataError(
            f"{path}: the store is not marked as sealed, but {known}: somebody has exchanged or"
            f" changed the file; {_OTHER}"
        )


def make_sealing(secrets: Mapping[str, Secret], path: str) -> StoreSealing:
    """Return the sealing of a new store."""
    lock, keys = fieldkeys.make_lock(secrets, first_commit=0)
    return fitting(StoreSealing(lock, keys, path))


def fitting(sealing: StoreSealing) -> StoreSealing:
    """Return a sealing whose lock fits into a slot.

    Raises
    ------
    SecretError
        It has too many secrets, notes or data keys.
    """
    if len(sealing.packed) > MAX_LOCK:
        raise SecretError(
            f"{sealing.path}: the lock of a store takes at most {MAX_LOCK:,} bytes, and this one"
            f" {len(sealing.packed):,}: remove secrets, or shorten labels and notes"
        )
    return sealing
