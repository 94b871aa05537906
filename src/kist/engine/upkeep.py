"""Use of space, checking, compacting: what looks at the whole file."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple

from kist.engine.recovery import Chain, read_slots, walk
from kist.engine.scan import extent_damage
from kist.engine.space import space_of
from kist.engine.tree import Node
from kist.errors import CorruptDataError, FormatError, TamperedDataError, WrongSecretError
from kist.format import keys, layout, superblock
from kist.format.sealedstore import is_torn, unpack_slot_seal
from kist.format.values import (
    KeptVersion,
    Pointer,
    pack_record,
    pointer_bytes,
    unpack_record,
)

if TYPE_CHECKING:
    from kist.engine.engine import Engine
    from kist.engine.transaction import Transaction

Progress = Callable[[int, int], None]  # bytes done, bytes in all

_MOVE_BYTES = 16 << 20  # a step of compaction: what one transaction rewrites at most
_PASSES = 8  # of compaction; two do nearly always


class Pin(NamedTuple):
    """A commit that a process reads.

    Attributes
    ----------
    pid : int or None
        Process, where the system tells.
    age_s : float
        Seconds since that commit was made.
    bytes_held : int
        Waiting bytes that are part of it.
    """

    commit: int
    pid: int | None
    age_s: float
    bytes_held: int


class Usage(NamedTuple):
    """Bytes of the file: total = live + free + waiting."""

    total: int
    live: int
    free: int
    waiting: int
    pins: list[Pin]


class Problem(NamedTuple):
    """One finding of a check.

    Attributes
    ----------
    where : str
        Part of the file: "super", "slot", "log", "tree", "extent", "space".
    key : bytes or None
        Record of the map concerned.
    """

    where: str
    offset: int | None
    message: str
    key: bytes | None


def usage(engine: Engine) -> Usage:
    """Bytes in use, free and waiting, and who pins what."""
    locks = engine.backend.locks
    snapshot, chain = engine.frozen()
    with snapshot:
        space = space_of(engine.reader, chain)
    waiting = space.waiting_extents()
    total = engine.backend.size()
    # The rest of the last run may lie behind the end of the file, or the file behind its end.
    free_bytes = space.free_bytes + total - chain.state.end
    waiting_bytes = space.waiting_bytes
    times = {r.commit: r.time_ns for r in chain.seen}
    times[chain.state.commit] = chain.state.time_ns
    now = time.time_ns()
    pins: list[Pin] = []
    holders = locks.holders()
    for commit in locks.pins(chain.state.commit):
        held = sum(w.length for w in waiting if w.birth <= commit < w.freed)
        age = max(0.0, (now - times.get(commit, now)) / 1e9)
        pids: list[int | None] = [*holders.get(commit, ())]
        pins += [Pin(commit, pid, age, held) for pid in pids or [None]]
    return Usage(total, total - free_bytes - waiting_bytes, free_bytes, waiting_bytes, pins)


def check(engine: Engine, progress: Progress | None = None) -> list[Problem]:
    """Read and verify every page of every kept tree, every extent, and the account of space."""
    snapshot, chain = engine.frozen()
    with snapshot:
        return list(_check(engine, chain, progress))


def _check(engine: Engine, chain: Chain, progress: Progress | None) -> Iterator[Problem]:
    yield from _check_head(engine, chain)
    state, extents = chain.state, dict[int, int]()
    seen: dict[bytes, None] = {}
    below: list[tuple[bytes, bytes]] = []
    damaged = False
    for pointer, node, problem in _walk(engine, state.root_bytes(), seen):
        if problem is not None:
            damaged = True
            yield problem
        elif node is not None:
            _add(extents, pointer)
            below += zip(node.keys, node.values, strict=True) if node.level == 0 else ()
    # Not by a scan: that would end at the first damaged page.
    overlay = state.overlay
    values = [(key, value) for key, value in below if not overlay.covered(key)]
    values += [(key, value) for key, value in overlay.values.items() if value is not None]
    values = yield from _check_map(values, extents)
    for key, value in values.copy():
        if keys.VERSIONS[0] <= key < keys.VERSIONS[1]:
            try:
                version = KeptVersion.unpack(value)
            except CorruptDataError as error:
                yield Problem("tree", None, str(error), key)
                continue
            root = version.root.pack() if version.root else None
            for _, node, problem in _walk(engine, root, seen):
                if problem is not None:
                    yield problem
                elif node is not None and node.level == 0:
                    values += zip(node.keys, node.values, strict=True)
    yield from _check_extents(engine, values, state.end, progress)
    if not damaged:
        yield from _check_space(engine, chain, extents)


def _check_head(engine: Engine, chain: Chain) -> Iterator[Problem]:
    """Supers, slots, and the log from the older slot on."""
    backend, older = engine.backend, None
    head = backend.read(0, layout.HEAD_BYTES)
    for offset in superblock.damaged_supers(head):
        # Zeros: creation was cut off between the header and its copy, and one is enough.
        if head[offset : offset + layout.SUPER.size].strip(b"\0"):
            yield Problem("super", offset, "this copy of the header is damaged", None)
    if superblock.unpack_closing(head[layout.CLOSING_OFFSET :], engine.uuid) is None:
        yield Problem("super", layout.CLOSING_OFFSET, "the closing note is damaged", None)
    slots = read_slots(backend, engine.ring.super)
    for number, slot in enumerate(slots):
        at = layout.SLOT_OFFSETS[number]
        if slot is not None and engine.reader.sealing is not None:
            seal = unpack_slot_seal(head[at : at + layout.BLOCK])
            if seal is not None and is_torn(slot, seal):
                continue  # by a crash: the next checkpoint writes it anew
        if slot is None:
            yield Problem("slot", at, "the commit slot is damaged", None)
        elif older is None or slot.checkpoint < older.checkpoint:
            older = slot
        if slot is not None and engine.reader.sealing is not None:
            try:
                _check_seal(engine, head, at)
            except (CorruptDataError, TamperedDataError) as error:
                yield Problem("slot", at, str(error), None)
    if chain.damage:
        yield Problem("log", chain.position, chain.damage, None)
    if older is None:
        return
    try:
        # How far it leads says nothing: a crash may have kept a slot and lost its root record,
        # and behind a slot that was lost stands one whose half was written over.
        walk(engine.ring.again(), older)
    except (CorruptDataError, TamperedDataError) as error:
        yield Problem("log", getattr(error, "offset", None), str(error), None)


def _check_seal(engine: Engine, head: bytes, at: int) -> None:
    from kist.engine.sealedstore import unlock

    try:
        unlock(head, at, engine.reader.keyring, engine.path)
    except WrongSecretError:
        # A crash between the two checkpoints of a rotation leaves the lock of before in the older
        # slot, for other secrets, until the next checkpoint. Nothing is read by it before.
        return


def _check_extents(
    engine: Engine, values: list[tuple[bytes, bytes]], end: int, progress: Progress | None
) -> Iterator[Problem]:
    owners: dict[bytes, bytes] = {}
    for key, value in values:
        for packed in pointer_bytes(value):
            owners.setdefault(packed, key)
    done = 0
    # In the order of the file: a disk reads ahead, and a turning one need not seek.
    for pointer, key in sorted((Pointer.unpack(packed), key) for packed, key in owners.items()):
        message = extent_damage(engine.reader, pointer)
        if message:
            yield Problem("extent", pointer.offset, message, key)
        done += pointer.nbytes
        if progress is not None:
            progress(done, end)


def _walk(
    engine: Engine, root: bytes | None, seen: dict[bytes, None]
) -> Iterator[tuple[Pointer, Node | None, Problem | None]]:
    stack = [root] if root else []
    while stack:
        packed = stack.pop()
        if packed is None or packed in seen:
            continue
        seen[packed] = None
        pointer = Pointer.unpack(packed)
        try:
            engine.reader.read(pointer)  # from the file, whatever the cache holds
            node = engine.reader.tree.node(packed)
            sealing = engine.reader.sealing
            if sealing is not None and isinstance(pointer, sealing.POINTER):
                sealing.check_page(engine.reader, pointer, node)
        except (FormatError, TamperedDataError) as error:
            yield pointer, None, Problem("tree", pointer.offset, str(error), None)
            continue
        yield pointer, node, None
        if node.level:
            stack += node.values[::-1]


def _check_map(
    values: list[tuple[bytes, bytes]], extents: dict[int, int]
) -> Generator[Problem, None, list[tuple[bytes, bytes]]]:
    """Note the extents of the newest map; returns the values that are well formed."""
    owners: set[int] = set()
    fine = []
    for key, value in sorted(values):
        try:
            packed_pointers = pointer_bytes(value)
        except CorruptDataError as error:
            yield Problem("tree", None, str(error), key)
            continue
        fine.append((key, value))
        for packed in packed_pointers:
            pointer = Pointer.unpack(packed)
            if pointer.offset in owners:
                message = f"two records own the extent at byte {pointer.offset}"
                yield Problem("extent", pointer.offset, message, key)
            owners.add(pointer.offset)
            _add(extents, pointer)
    return fine


def _add(extents: dict[int, int], pointer: Pointer) -> None:
    offset, length = pointer.extent
    extents[offset] = length


def _check_space(engine: Engine, chain: Chain, extents: dict[int, int]) -> Iterator[Problem]:
    """Live, free and waiting extents must cover the file without overlap."""
    try:
        space = space_of(engine.reader, chain)
    except CorruptDataError as error:
        yield Problem("space", error.offset, str(error), None)
        return
    pieces = [(o, n, "in use") for o, n in extents.items()]
    pieces += [(o, n, "free") for o, n in space.free_extents()]
    pieces += [
        (w.offset, w.length, f"waiting since commit {w.freed}") for w in space.waiting_extents()
    ]
    at, last = layout.DATA_OFFSET, "header"
    for offset, length, what in sorted(pieces):
        if offset < at:
            yield Problem("space", offset, f"space {what} overlaps space {last}", None)
        elif offset > at:
            yield Problem("space", at, f"{offset - at} bytes belong to nothing", None)
        at, last = max(at, offset + length), what
    if at != chain.state.end:
        yield Problem("space", at, f"the used part ends at {at}, not {chain.state.end}", None)


def compact(engine: Engine, progress: Progress | None = None) -> int:
    """Move extents from the end of the file into free space, and cut it; returns bytes saved.

    Notes
    -----
    Ordinary transactions of at most 16 MiB each: readers and a crash see nothing of it. What a
    pin, tag or kept version needs stays where it is.
    """
    before = engine.backend.size()
    _settle(engine)
    # What is too long for any hole waits until the others have moved down and left a longer one.
    for _ in range(_PASSES):
        moved = _move_all(engine, before, progress)
        _settle(engine)
        if not moved:
            break
    return max(0, before - engine.backend.size())


def _move_all(engine: Engine, before: int, progress: Progress | None) -> bool:
    """Move down once all that fits somewhere below; returns whether anything did."""
    limit = engine.state.end + 1
    moved = False
    while True:
        txn = engine.begin()
        try:
            engine.writer_space().lowest = True
            lowest = _move_last(engine, txn, limit)
            if lowest is None:
                txn.rollback()
                return moved
            txn.commit("compact")
        except BaseException:
            txn.rollback()
            raise
        limit, moved = lowest, True
        if progress is not None:
            progress(before - lowest, before)


def _settle(engine: Engine) -> None:
    """Checkpoints after which everything freed before them is free, and the file is cut."""
    for _ in range(3):
        engine.checkpoint(trim=True)


def _move_last(engine: Engine, txn: Transaction, limit: int) -> int | None:
    """Move the last extents below `limit` down that fit; returns the lowest place moved from.

    Of pages of the tree that stand there, one record is put again: the commit writes them anew.
    """
    found: list[tuple[int, bytes, int]] = []
    for key, value in txn.scan(keys.whole_node(keys.ROOT)[0], b"\xff" * 9):
        for i, packed in enumerate(pointer_bytes(value)):
            pointer = Pointer.unpack(packed)
            if pointer.offset < limit:
                found.append((pointer.offset, key, i))
    for packed, node in engine.reader.tree.pages(engine.state.root_bytes()):
        if node.level == 0 and node.keys[0] >= keys.whole_node(keys.ROOT)[0]:
            offset = Pointer.unpack(packed).offset
            if offset < limit:
                found.append((offset, node.keys[0], -1))
    found.sort(reverse=True)
    moved, lowest = 0, None
    for offset, key, i in found:
        same = txn.get(key)
        if same is None or moved > _MOVE_BYTES:
            break
        if i < 0:
            txn.put(key, same)
            continue
        pointers, payload = unpack_record(same)
        new = txn.move_down(pointers[i])
        if new is None:
            continue
        txn.put(key, pack_record(payload, [*pointers[:i], new, *pointers[i + 1 :]]))
        moved, lowest = moved + new.extent[1], offset
    return lowest
