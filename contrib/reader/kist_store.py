"""The file below the tables: super, slots, log, frames and the map."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import xxhash
from kist_pages import Page
from kist_types import Cursor, Damage, KistError, Unknown, decode_text

BLOCK = 4096
MAGIC = bytes.fromhex("894B4953540D0A1A")
CHANGES, ROOT, MARK = 1, 2, 3
NO_POINTER = bytes(44)
RANGE = tuple[int, int]


def sum128(data: bytes) -> bytes:
    """XXH3-128, the low 64 bits first."""
    return xxhash.xxh3_128_digest(data)[::-1]


def up(number: int, step: int) -> int:
    """*number* rounded up to a multiple of *step*."""
    return -(-number // step) * step


@dataclass(frozen=True)
class Super:
    """What never changes in a store."""

    uuid: bytes
    created_ns: int
    ring_offset: int
    ring_half: int
    data_offset: int
    sealed: bool


@dataclass(frozen=True)
class Pointer:
    """Names a frame and the sum of its head.

    A marked one is of a sealed store: `sum` is random, `mark` 1, or 3 for pages of the tree.
    """

    offset: int
    length: int
    head: int
    birth: int
    sum: bytes
    mark: int = 0

    @classmethod
    def read(cls, data: bytes) -> Pointer:
        """From its 44 bytes."""
        offset, *rest = struct.unpack("<QQIQ16s", data)
        mark = offset & 63
        return cls(offset - mark, *rest, mark) if mark in (1, 3) else cls(offset, *rest)

    @property
    def references(self) -> int:
        """Bytes of the pointers in clear before a sealed page."""
        return 44 * self.head if self.mark == 3 else 0

    @property
    def stored(self) -> int:
        """Bytes of the body in the file."""
        if not self.mark:
            return self.length
        from kist_sealed_store import stored  # needs a further package

        return self.references + stored(self.length)

    @property
    def extent(self) -> RANGE:
        """The bytes of the file that the frame takes."""
        return self.offset, self.offset + up(128 + self.stored, 64)


@dataclass(frozen=True)
class Slot:
    """A checkpoint."""

    checkpoint: int
    commit: int
    time_ns: int
    position: int
    end: int
    next_node: int
    root: bytes
    spare: RANGE
    chain: bytes


@dataclass(frozen=True)
class Record:
    """A record of the log."""

    kind: int
    flags: int
    commit: int
    position: int
    time_ns: int
    horizon: int
    end: int
    next_node: int
    parent: bytes
    sum: bytes
    payload: bytes
    header: bytes

    @property
    def behind(self) -> int:
        """The place behind the record."""
        return self.position + 128 + len(self.payload)


@dataclass(frozen=True)
class Entry:
    """A record of the map: the pointers that it owns and its payload."""

    pointers: tuple[Pointer, ...]
    payload: bytes


def read_entry(data: bytes) -> Entry:
    """A value of the map."""
    cursor = Cursor(data, "value of the map")
    pointers = tuple(Pointer.read(cursor.take(44)) for _ in range(cursor.get("B")))
    if cursor.left > BLOCK:
        raise Damage("value of the map: payload above 4096 bytes")
    return Entry(pointers, cursor.rest())


def read_super(block: bytes) -> Super | None:
    """The super in the block; None if it is not whole."""
    if len(block) < 104 or block[:8] != MAGIC or sum128(block[:88]) != block[88:104]:
        return None
    version = struct.unpack_from("<H", block, 8)[0]
    uuid, created, read, _, _, ring, half, data = struct.unpack_from("<16sqQQQQQQ", block, 16)
    if version > 1:
        raise Unknown(f"format version {version}")
    if read & ~1:
        raise Unknown(f"features {read:#x} of the store")
    whole = ring == 0x4000 and data == ring + 2 * half
    if version < 1 or not whole or half % BLOCK or not 1 << 14 <= half <= 1 << 24:
        raise Damage("super: version or layout")
    return Super(uuid, created, ring, half, data, bool(read))


def read_slot(block: bytes, uuid: bytes) -> Slot | None:
    """The slot in the block; None if it is not whole."""
    if len(block) < 164 or block[:4] != b"SLOT" or block[8:24] != uuid:
        return None
    if sum128(block[:148]) != block[148:164]:
        return None
    if block[4:8] != bytes(4):
        return None
    numbers = struct.unpack_from("<QQqQQQ44sQQ", block, 24)
    spare = numbers[7], numbers[7] + numbers[8]
    return Slot(*(*numbers[:7], spare, block[132:148]))


@dataclass
class Changes:
    """What a record of kind 1 says."""

    message: str
    verify: list[tuple[int, int, bytes]] = field(default_factory=list)
    used: list[tuple[int, int]] = field(default_factory=list)
    freed: list[tuple[int, int, int, int]] = field(default_factory=list)
    operations: list[tuple[int, bytes, bytes]] = field(default_factory=list)


def clear_part(kind: int, payload: bytes) -> int:
    """Where the sealed body of a record begins in its payload."""
    cursor = Cursor(payload, "record of the log")
    if cursor.get("I"):
        raise Damage("a sealed record with a message in clear")
    if kind == ROOT:
        return 4 + 44 + 16
    for form in ("QQ16s", "QQ", "QQQQ"):
        for _ in range(cursor.get("I")):
            cursor.all(form)
    cursor.take(44 * cursor.get("I"))
    return len(payload) - cursor.left


def read_changes(payload: bytes) -> Changes:
    """The payload of a record of kind 1."""
    cursor = Cursor(payload, "record of the log")
    result = Changes(decode_text(cursor.take(cursor.get("I")), "message"))
    result.verify = [cursor.all("QQ16s") for _ in range(cursor.get("I"))]
    result.used = [cursor.all("QQ") for _ in range(cursor.get("I"))]
    result.freed = [cursor.all("QQQQ") for _ in range(cursor.get("I"))]
    for _ in range(cursor.get("I")):
        kind, key_size, value_size = cursor.all("BHI")
        if kind > 2:
            raise Unknown(f"operation {kind} of the log")
        if kind == 1 and value_size:
            raise Damage("record of the log: delete with a value")
        result.operations.append((kind, cursor.take(key_size), cursor.take(value_size)))
    cursor.end()
    return result


class Store:
    """The newest commit of a file, and its kept versions."""

    def __init__(self, path: str | os.PathLike[str], secrets: Sequence[bytes | str] = ()) -> None:
        """Open the file and read its newest commit; raises `KistError` for what it cannot read."""
        self.secrets = secrets
        self.sealing: Any = None
        self.notes: list[str] = []
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file, all of them."""
        if offset < 0 or size < 0 or offset + size > max(self.size, 0):
            raise Damage(f"{size} bytes at {offset} lie outside the file")
        data = os.pread(self.fd, size, offset)
        if len(data) != size:
            raise Damage(f"{size} bytes at {offset} cannot be read")
        return data

    def _open(self) -> None:
        first = os.pread(self.fd, BLOCK, 0)
        if not any(first):
            raise KistError("not a finished store: its creation was cut off")
        found = read_super(first)
        if found is None:
            self.notes.append("the first super is damaged, its copy counts")
            found = read_super(os.pread(self.fd, BLOCK, 0x3000))
        if found is None:
            raise Damage("no super is whole: not a kist file, or damaged")
        self.super = found
        while True:
            slots = self._slots()
            ring = os.pread(self.fd, 2 * found.ring_half, found.ring_offset)
            if self._slots() != slots:
                continue
            self.size = os.fstat(self.fd).st_size
            self.slot, self.ring = self._whole(slots)[-1], ring
            self.damaged_slot = len(self._whole(slots)) < 2
            self._unlock(slots)
            try:
                self._find_newest()
            except KistError:
                if self._slots() == slots:
                    raise
                continue
            self._pin(self.commit)
            older = self._whole(self._slots())[0].commit
            kept = b"V" + self.commit.to_bytes(8, "big")
            if self.commit >= older or bytes(8) + kept in self.entries:
                break
        if self.damaged_slot:
            self.notes.append("a slot is damaged, the other counts")
        if self.lost:
            self.notes.append(f"commits up to {self.highest} were durable, and are lost to damage")

    def _unlock(self, slots: tuple[bytes, bytes]) -> None:
        """Open the lock of a sealed store."""
        if not self.super.sealed:
            if any(block[512:516] == b"LOCK" for block in slots):
                raise Damage("the slots have locks, and the store is not marked as sealed")
            return
        from kist_sealed_store import Sealing

        self.sealing = Sealing(slots[self.slot.checkpoint % 2], self.secrets)

    def _opened(self, record: Record) -> bytes:
        """The payload of a record as a store in clear would have it."""
        if not self.sealing:
            return record.payload
        clear = clear_part(record.kind, record.payload)
        plain: bytes = self.sealing.record(record.header, record.payload, clear, record.commit)
        cursor = Cursor(plain, "record of the log")
        size = cursor.get("I")
        message = plain[: 4 + size]
        if record.kind == ROOT:
            return message + record.payload[4:clear]
        lists = record.payload[4:clear]
        # Behind the lists stand the pointers that the puts own.
        cursor = Cursor(lists, "record of the log")
        for form in ("QQ16s", "QQ", "QQQQ"):
            for _ in range(cursor.get("I")):
                cursor.all(form)
        return message + lists[: len(lists) - cursor.left] + plain[4 + size :]

    def _pin(self, commit: int) -> None:
        """Say that this commit is being read, where the platform has locks for that."""
        try:
            import fcntl

            place = (1 << 62) + (1 << 20) + commit
            request = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, place, 1, 0)
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, request)
        except (ImportError, AttributeError, OSError):
            self.notes.append("this platform or file system has no locks to pin a commit")

    def _whole(self, slots: tuple[bytes, bytes]) -> list[Slot]:
        """The whole slots, older first; those of a sealed store with their seals."""
        whole = []
        for number, block in enumerate(slots):
            slot = read_slot(block, self.super.uuid)
            if slot is None or slot.checkpoint % 2 != number:
                continue
            if self.super.sealed:
                from kist_sealed_store import seal_of

                if seal_of(block) is None:
                    continue
            whole.append(slot)
        if not whole:
            raise Damage("no slot is whole")
        return sorted(whole, key=lambda slot: slot.checkpoint)

    def _slots(self) -> tuple[bytes, bytes]:
        return os.pread(self.fd, BLOCK, 0x1000), os.pread(self.fd, BLOCK, 0x2000)

    def _record(self, position: int) -> Record | None:
        """The whole record at *position*, if there is one."""
        at = position - self.super.ring_offset
        header = self.ring[at : at + 128]
        if len(header) < 128 or header[:4] != b"CMIT":
            return None
        kind, flags, uuid, commit, place, time, horizon, end, node, length = struct.unpack_from(
            "<HH16sQQqQQQI", header, 4
        )
        if uuid != self.super.uuid or place != position:
            return None
        half = self.super.ring_half
        if at + 128 + length > (at // half + 1) * half:
            return None
        payload = self.ring[at + 128 : at + 128 + length]
        if len(payload) < length or sum128(header[:112] + payload) != header[112:]:
            return None
        if kind not in (CHANGES, ROOT, MARK) or flags & ~3:
            raise Unknown(f"record of kind {kind} with flags {flags}")
        parent = header[80:96]
        numbers = (kind, flags, commit, place, time, horizon, end, node)
        return Record(*numbers, parent, header[112:], payload, header)

    def _places(self, place: int) -> list[int]:
        """Where the record behind *place* may stand."""
        offset, half = self.super.ring_offset, self.super.ring_half
        which = (place - offset) // half
        start, end = offset + which * half, offset + (which + 1) * half
        result = []
        for step in (64, BLOCK):
            candidate = up(place, step)
            if start <= candidate < end and candidate not in result:
                result.append(candidate)
        return [*result, offset + (1 - which) * half]

    def _find_newest(self) -> None:
        slot, ring = self.slot, self.super
        if not ring.ring_offset <= slot.position < ring.data_offset:
            raise Damage("slot: position")
        records: list[Record] = []
        last, commit, place = slot.chain, slot.commit, slot.position
        highest = max(slot.commit, self._closed())
        following = True
        while following:
            following = False
            for candidate in self._places(place):
                record = self._record(candidate)
                if record is None or record.parent != last:
                    continue
                if record.kind == MARK:
                    if record.commit == commit:
                        highest = max(highest, record.horizon)
                    continue
                if record.commit == commit + 1:
                    records.append(record)
                    highest = max(highest, record.horizon)
                    last, commit, place = record.sum, record.commit, record.behind
                    following = True
                    break
        self.root, self.spare, self.end = slot.root, slot.spare, slot.end
        self.root_end = slot.end
        self.commit, self.time_ns, self.next_node = slot.commit, slot.time_ns, slot.next_node
        self.message, self.history = "", []
        changes: list[Changes] = []
        for record in records:
            if record.kind == ROOT:
                cursor = Cursor(self._opened(record), "record of the log")
                self.message = decode_text(cursor.take(cursor.get("I")), "message")
                self.root = cursor.take(44)
                offset, length = cursor.all("QQ")
                cursor.end()
                self.spare, self.root_end = (offset, offset + length), record.end
                changes = []
            else:
                change = read_changes(self._opened(record))
                if record.commit > highest and not self._durable(change):
                    place = record.position
                    break
                self.message = change.message
                changes.append(change)
            self.history.append((record.commit, record.time_ns, record.flags, self.message))
            self.commit, self.time_ns = record.commit, record.time_ns
            self.end, self.next_node = record.end, record.next_node
        self.changes, self.records = changes, records
        for position in self._behind(place):
            record = self._record(position)
            if record is not None and record.commit >= self.commit:
                highest = max(highest, record.horizon)
        self.lost = highest > self.commit
        self.highest = highest
        self.tree_pages: list[Pointer] = []
        self.map = self.load_tree(self.root, self.tree_pages)
        for change in changes:
            for kind, key, value in change.operations:
                self._apply(kind, key, value)
        self.entries = {key: read_entry(value) for key, value in sorted(self.map.items())}

    def _behind(self, place: int) -> Iterator[int]:
        """Where records may stand that name commits lost to damage."""
        offset, half = self.super.ring_offset, self.super.ring_half
        which = (place - offset) // half
        yield from range(up(place, 64), offset + (which + 1) * half, 64)
        if self.damaged_slot:
            start = offset + (1 - which) * half
            yield from range(start, start + half, 64)

    def _apply(self, kind: int, key: bytes, value: bytes) -> None:
        if kind == 0:
            if not 9 <= len(key) <= 1024:
                raise Damage("key of the map: length")
            self.map[key] = value
        elif kind == 1:
            self.map.pop(key, None)
        else:
            for old in [old for old in self.map if key <= old < value]:
                del self.map[old]

    def _closed(self) -> int:
        """Commit of the closing note, 0 without one."""
        note = os.pread(self.fd, 48, 0x3800)
        if not any(note):
            return 0
        magic, flags, uuid, commit, found = struct.unpack("<4sI16sQ16s", note)
        if magic != b"DONE" or flags or uuid != self.super.uuid or found != sum128(note[:32]):
            self.notes.append("the closing note is damaged")
            return 0
        return int(commit)

    def _durable(self, change: Changes) -> bool:
        """Whether all runs that a record lists have the listed sum."""
        for offset, size, expected in change.verify:
            if offset + size > self.size or sum128(self.read(offset, size)) != expected:
                return False
        return True

    def load_tree(self, root: bytes, pages: list[Pointer] | None = None) -> dict[bytes, bytes]:
        """All entries of the tree behind a root pointer; its pages are added to *pages*."""
        result: dict[bytes, bytes] = {}
        if root == NO_POINTER:
            return result
        for key, value in self._walk(Pointer.read(root), None, pages):
            result[key] = value
        return result

    def load_entries(self, root: bytes) -> dict[bytes, Entry]:
        """All records of the tree behind a root pointer."""
        return {key: read_entry(value) for key, value in self.load_tree(root).items()}

    def _walk(
        self, pointer: Pointer, level: int | None, pages: list[Pointer] | None
    ) -> Iterator[tuple[bytes, bytes]]:
        if pointer.length > 1 << 20 or (pointer.head != pointer.length and pointer.mark != 3):
            raise Damage("tree page: length or head")
        cursor = Cursor(self.body(pointer), "tree page")
        if pages is not None:
            pages.append(pointer)
        mine, flags, prefix_size, count = cursor.all("BBHI")
        if flags:
            raise Unknown("flags of a tree page")
        if mine > 15 or (level is not None and mine != level):
            raise Damage("tree page: level")
        places = [int(place) for place in cursor.array("<u4", 2 * count + 1)]
        prefix = cursor.take(prefix_size)
        sizes = [b - a for a, b in itertools.pairwise(places)]
        if places[0] != 12 + 8 * count + prefix_size or any(size < 0 for size in sizes):
            raise Damage("tree page: positions")
        key_sizes, value_sizes = sizes[:count], sizes[count:]
        keys = [prefix + cursor.take(size) for size in key_sizes]
        values = [cursor.take(size) for size in value_sizes]
        cursor.end()
        if any(a >= b for a, b in itertools.pairwise(keys)):
            raise Damage("tree page: keys do not ascend")
        if mine == 0:
            if any(not 9 <= len(key) <= 1024 for key in keys):
                raise Damage("key of the map: length")
            yield from zip(keys, values, strict=True)
            return
        if not count or any(size != 44 for size in value_sizes):
            raise Damage("tree page: pointers")
        last = b""
        for key, value in zip(keys, values, strict=True):
            if key <= last:
                raise Damage("tree page: keys of children overlap")
            for inner, content in self._walk(Pointer.read(value), mine - 1, pages):
                if inner < key or inner <= last:
                    raise Damage("tree page: keys of children overlap")
                last = inner
                yield inner, content

    def body(self, pointer: Pointer) -> bytes:
        """The body of a frame, its head verified (in all but NPAG frames that is everything)."""
        if pointer.offset < self.super.data_offset or pointer.offset % 64:
            raise Damage(f"pointer to {pointer.offset}")
        if pointer.head > pointer.length:
            raise Damage("pointer: head longer than the body")
        if bool(pointer.mark) != bool(self.sealing):
            raise Damage("a pointer of another sort of store")
        if pointer.mark:
            start = pointer.offset + 128 + pointer.references
            data = self.read(start, pointer.stored - pointer.references)
            plain: bytes = self.sealing.body(
                data, pointer.birth, pointer.length, pointer.head, pointer.sum
            )
            return plain
        body = self.read(pointer.offset + 128, pointer.length)
        if sum128(body[: pointer.head]) != pointer.sum:
            raise Damage(f"sum of the frame at {pointer.offset}")
        return body

    def whole(self, pointer: Pointer) -> bytes:
        """The body of a frame of which the head must be everything."""
        if pointer.head != pointer.length:
            raise Damage("pointer: the head is not the whole body")
        return self.body(pointer)

    def payload(self, entry: Entry, what: str) -> bytes:
        """The payload of a record, or the BLOB of its one pointer if that is empty."""
        if not entry.pointers:
            return entry.payload
        if entry.payload or len(entry.pointers) != 1:
            raise Damage(f"{what}: payload and pointers")
        return self.whole(entry.pointers[0])

    def check_frame(self, pointer: Pointer, types: tuple[bytes, ...] = ()) -> None:
        """Compare the header of a frame with the pointer to it, and verify the whole body."""
        header = self.read(pointer.offset, 128)
        where = f"frame at {pointer.offset}"
        if xxhash.xxh3_64_intdigest(header[:120]) != struct.unpack_from("<Q", header, 120)[0]:
            raise Damage(f"{where}: sum of the header")
        type_, version, flags, offset, uuid, _, _, head, _, birth, length, total = struct.unpack(
            "<4sHHQ16sQIIQQQ16s", header[:88]
        )
        if version != 1 or flags:
            raise Unknown(f"{where}: version {version}, flags {flags}")
        if pointer.mark:
            self._check_sealed(pointer, (type_, offset, uuid, head, birth, length, total))
            return
        expected = (pointer.offset, self.super.uuid, pointer.head, pointer.birth, pointer.length)
        if (offset, uuid, head, birth, length) != expected or total != pointer.sum:
            raise Damage(f"{where}: header and pointer differ")
        if types and type_ not in types:
            raise Damage(f"{where}: type {type_!r}")
        body = self.body(pointer)
        if type_ == b"NPAG":
            Page(body, pointer.head).verify()
        if type_ == b"SEAL":
            check_units(body)

    def _check_sealed(self, pointer: Pointer, header: tuple[Any, ...]) -> None:
        type_, offset, uuid, head, birth, length, total = header
        expected = (b"SEAL", pointer.offset, self.super.uuid, pointer.birth, pointer.stored)
        body = self.read(pointer.offset + 128, pointer.stored)
        if (type_, offset, uuid, birth, length) != expected or sum128(body[:head]) != total:
            raise Damage(f"frame at {pointer.offset}: header, pointer and body differ")
        check_units(body[pointer.references :])
        self.body(pointer)

    def check_space(self) -> None:
        """Live, free and waiting space must cover the data area without overlap."""
        live = [page.extent for page in self.tree_pages]
        for entry in self.entries.values():
            live += [pointer.extent for pointer in entry.pointers]
        free = [self.spare, (self.root_end, self.end)]
        waiting: list[RANGE] = []
        for key, entry in self.entries.items():
            if key[:8] == bytes(8) and key[8:9] in (b"F", b"Q"):
                offset = int.from_bytes(key[-8:], "big")
                size = Cursor(entry.payload, "space").get("Q")
                (free if key[8:9] == b"F" else waiting).append((offset, offset + size))
        for change in self.changes:
            for offset, size in change.used:
                free = minus(free, (offset, offset + size))
                waiting = minus(waiting, (offset, offset + size))
            waiting += [(offset, offset + size) for offset, size, _, _ in change.freed]
        pieces = sorted(part for part in [*live, *free, *waiting] if part[0] < part[1])
        at = self.super.data_offset
        for start, stop in pieces:
            if start != at:
                raise Damage(f"space: {'overlap' if start < at else 'hole'} at {min(start, at)}")
            at = stop
        if at != self.end:
            raise Damage("space: the end")


def check_units(body: bytes) -> None:
    """Compare the units of a sealed body with their sums, which needs no key."""
    if len(body) < 64:
        raise Damage("shorter than a sealed head")
    magic, version, unit, length = struct.unpack_from("<2sBB4xQ", body)
    if magic != b"KS" or version not in (1, 2):
        raise Unknown("a sealed body of another sort")
    if not 12 <= unit <= 20 or length >= 1 << 36:
        raise Damage("sealed head: numbers out of bounds")
    n = max(1, -(-length >> unit))
    at, step = 64 + 8 * n, (1 << unit) + 16
    if len(body) != at + length + 16 * n:
        raise Damage("a sealed body of another size than its head calls for")
    for number, total in enumerate(struct.unpack_from(f"<{n}Q", body, 64)):
        part = body[at + number * step : at + (number + 1) * step]
        if xxhash.xxh3_64_intdigest(part) != total:
            raise Damage(f"the sum of unit {number} of a sealed body")


def minus(ranges: list[RANGE], hole: RANGE) -> list[RANGE]:
    """What is left of the ranges without the hole."""
    result = []
    for start, stop in ranges:
        for a, b in ((start, min(stop, hole[0])), (max(start, hole[1]), stop)):
            if a < b:
                result.append((a, b))
    return result
