"""Records of the ring: one commit each, chained by their sums (docs/format.md, "Log")."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kist.errors import CorruptDataError
from kist.format import layout
from kist.format.checksum import sum128, sum128_of
from kist.format.layout import RECORD
from kist.format.values import NO_POINTER, Pointer, pointer_bytes

_SUM_AT = RECORD.offset("sum")
_BEFORE_SUM = struct.Struct("<" + "".join(code for name, code, _ in RECORD.fields if name != "sum"))
assert _BEFORE_SUM.size == _SUM_AT, "the sum ends the header"
_COUNT = struct.Struct("<I")
_VERIFY = struct.Struct("<QQ16s")
_USED = struct.Struct("<QQ")
_FREED = struct.Struct("<QQQQ")
OP = struct.Struct("<BHI")
_SPARE = struct.Struct("<QQ")
_ONLY_OPS = struct.Struct("<5I")  # no message, nothing to verify, used or freed
_POINTER = struct.Struct("<44s")

Op = tuple[int, bytes, bytes]  # operation, key (or start of a range), value (or stop)
Seal = Callable[[int, bytes, bytes], bytes]  # commit, plaintext, what it is bound to
_UNIT = 15


class Verify(NamedTuple):
    """A run of frames that shares the sync of its commit."""

    offset: int
    length: int
    sum: bytes


class Freed(NamedTuple):
    """An extent and its life: part of every commit from birth up to, not including, freed."""

    offset: int
    length: int
    birth: int
    freed: int


@dataclass(slots=True)
class Record:
    """One record of the ring.

    Of a sealed store message and operations are in `sealed` until somebody opens it, bound to
    `bound`; what its operations own is in `references`.
    """

    kind: int
    commit: int
    position: int
    time_ns: int
    horizon: int
    end: int
    next_node: int
    parent: bytes
    flags: int = 0
    message: str = ""
    verify: Sequence[Verify] = ()
    used: Sequence[tuple[int, int]] = ()
    freed: Sequence[Freed] = ()
    ops: Sequence[Op] = ()
    root: Pointer | None = None
    spare: tuple[int, int] = (0, 0)
    sum: bytes = b""
    size: int = field(default=0)
    references: Sequence[bytes] = ()
    sealed: bytes = b""
    bound: bytes = b""

    def pack(self, uuid: bytes, seal: Seal | None = None) -> bytes:
        """Bytes of the record; sets `sum` and `size`. With `seal` as sealed stores have it."""
        if seal is None or self.kind == layout.COMMIT_MARK:
            payload = self._payload()
            header = self._header(uuid, len(payload))
        else:
            from kist.format.sealed import SealedHead  # most stores are not sealed

            self.flags |= layout.FLAG_SEALED
            clear, plain = self._clear(), self._hidden()
            header = self._header(uuid, len(clear) + SealedHead(_UNIT, len(plain), b"", b"").total)
            payload = clear + seal(self.commit, plain, header + clear)
        self.sum = sum128(header + payload)
        data = b"".join((header, self.sum, payload))
        self.size = len(data)
        return data

    def pack_puts(self, uuid: bytes, puts: list[bytes]) -> bytes:
        """Bytes of a record that does nothing but set values, packed as `OP`, key and value."""
        payload = _ONLY_OPS.pack(0, 0, 0, 0, len(puts)) + b"".join(puts)
        header = self._header(uuid, len(payload))
        self.sum = own = sum128(header + payload)
        data = header + own + payload
        self.size = len(data)
        return data

    def _header(self, uuid: bytes, length: int) -> bytes:
        return _BEFORE_SUM.pack(
            layout.COMMIT_MAGIC,
            self.kind,
            self.flags,
            uuid,
            self.commit,
            self.position,
            self.time_ns,
            self.horizon,
            self.end,
            self.next_node,
            length,
            self.parent,
        )

    def _clear(self) -> bytes:
        """What recovery and a check without secrets need of the payload of a sealed record."""
        parts = [_COUNT.pack(0)]
        if self.kind == layout.COMMIT_ROOT:
            parts += [self.root.pack() if self.root else NO_POINTER, _SPARE.pack(*self.spare)]
            return b"".join(parts)
        for form, rows in ((_VERIFY, self.verify), (_USED, self.used), (_FREED, self.freed)):
            parts.append(_COUNT.pack(len(rows)))
            parts += [form.pack(*row) for row in rows]
        puts = [value for op, _, value in self.ops if op == layout.OP_PUT and value[:1] != b"\0"]
        owned = [pointer for value in puts for pointer in pointer_bytes(value)]
        return b"".join([*parts, _COUNT.pack(len(owned)), *owned])

    def _hidden(self) -> bytes:
        """What is sealed: the message, and the operations."""
        message = self.message.encode()
        parts = [_COUNT.pack(len(message)), message, _COUNT.pack(len(self.ops))]
        for op, key, value in self.ops:
            parts += [OP.pack(op, len(key), len(value)), key, value]
        return b"".join(parts)

    def opened(self, plain: bytes) -> None:
        """Take message and operations from what was sealed.

        Raises
        ------
        CorruptDataError
            They are not what a writer makes.
        """
        try:
            self.message, at = _message_of(plain)
            self.ops = _ops_of(plain, at)
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            raise _broken(self.position, error) from error
        self.sealed = self.bound = b""

    def _payload(self) -> bytes:
        if self.kind == layout.COMMIT_CHANGES and not (
            self.message or self.verify or self.used or self.freed
        ):
            ops = self.ops
            parts = [_ONLY_OPS.pack(0, 0, 0, 0, len(ops))]  # most commits
            for op, key, value in ops:
                parts += (OP.pack(op, len(key), len(value)), key, value)
            return b"".join(parts)
        message = self.message.encode()
        parts = [_COUNT.pack(len(message)), message]
        if self.kind == layout.COMMIT_ROOT:
            parts += [self.root.pack() if self.root else NO_POINTER, _SPARE.pack(*self.spare)]
        elif self.kind == layout.COMMIT_CHANGES:
            parts.append(_COUNT.pack(len(self.verify)))
            parts += [_VERIFY.pack(*v) for v in self.verify]
            parts.append(_COUNT.pack(len(self.used)))
            parts += [_USED.pack(*u) for u in self.used]
            parts.append(_COUNT.pack(len(self.freed)))
            parts += [_FREED.pack(*f) for f in self.freed]
            parts.append(_COUNT.pack(len(self.ops)))
            for op, key, value in self.ops:
                parts += [OP.pack(op, len(key), len(value)), key, value]
        return b"".join(parts)


def unpack_record_at(data: bytes, at: int, position: int, uuid: bytes) -> Record | None:
    """Record that begins at `at` of `data`, or None when no whole one stands there.

    Parameters
    ----------
    data : bytes
        Bytes of the ring.
    at : int
        Where the record would begin in `data`.
    position : int
        File offset of that place; the record must name it.
    uuid : bytes
        The store's.

    Raises
    ------
    CorruptDataError
        The record is whole by its sum, and its payload breaks the format.
    """
    if at + RECORD.size > len(data) or data[at : at + 4] != layout.COMMIT_MAGIC:
        return None
    # Not `RECORD.unpack`, which makes a dict: it is done for each record of the log.
    (
        _,
        kind,
        flags,
        named,
        commit,
        place,
        time_ns,
        horizon,
        end_of_file,
        next_node,
        length,
        parent,
        total,
    ) = RECORD.struct.unpack_from(data, at)
    end = at + RECORD.size + length
    if named != uuid or place != position or end > len(data):
        return None
    view = memoryview(data)
    payload = view[at + RECORD.size : end]
    if total != sum128_of((view[at : at + _SUM_AT], payload)):
        return None
    record = Record(
        kind,
        commit,
        position,
        time_ns,
        horizon,
        end_of_file,
        next_node,
        parent,
        flags=flags,
        sum=total,
        size=end - at,
    )
    try:
        _check_bounds(record)
        end = _unpack_payload(record, bytes(payload))
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise _broken(position, error) from error
    if record.flags & layout.FLAG_SEALED:
        record.bound = bytes(view[at : at + _SUM_AT]) + bytes(payload[:end])
        record.sealed = bytes(payload[end:])
    return record


def _broken(position: int, error: Exception) -> CorruptDataError:
    return CorruptDataError(
        f"log record at byte {position} is whole, but breaks the format: {error}",
        offset=position,
    )


def _check_bounds(record: Record) -> None:
    if (
        max(record.commit, record.horizon) > layout.MAX_COMMIT
        or record.end > layout.MAX_OFFSET
        or record.next_node > layout.MAX_NODE
    ):
        raise ValueError("it names an impossible commit, node or end of the file")


def _check_extents(record: Record) -> None:
    ends = [run.offset + run.length for run in record.verify]
    ends += [offset + length for offset, length in (*record.used, record.spare)]
    ends += [freed.offset + freed.length for freed in record.freed]
    if max(ends) > layout.MAX_OFFSET:
        raise ValueError("it names an impossible place in the file")
    if sum(run.length for run in record.verify) > layout.UNSYNCED_RELAXED:
        raise ValueError("it lists more to verify than shares a sync")


def _message_of(data: bytes) -> tuple[str, int]:
    (n,) = _COUNT.unpack_from(data)
    at = _COUNT.size + n
    return data[_COUNT.size : at].decode(), at


def _unpack_payload(record: Record, data: bytes) -> int:
    """Take what stands in clear; returns where it ends."""
    record.message, at = _message_of(data)
    if record.kind == layout.COMMIT_ROOT:
        root = data[at : at + layout.POINTER.size]
        record.root = None if root == NO_POINTER else Pointer.unpack(root)
        offset, length = _SPARE.unpack_from(data, at + layout.POINTER.size)
        record.spare = (offset, length)
        _check_extents(record)
        return at + layout.POINTER.size + _SPARE.size
    if record.kind == layout.COMMIT_MARK:
        return at
    if record.kind != layout.COMMIT_CHANGES:
        raise ValueError(f"kind {record.kind} is not known")

    def table(form: struct.Struct) -> list[tuple[int, ...]]:
        nonlocal at
        (count,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        if at + count * form.size > len(data):
            raise ValueError(f"{count} entries do not fit")
        rows = list(form.iter_unpack(data[at : at + count * form.size]))
        at += count * form.size
        return rows

    record.verify = [Verify(*row) for row in table(_VERIFY)]  # type: ignore[arg-type]
    record.used = [(row[0], row[1]) for row in table(_USED)]
    record.freed = [Freed(*row) for row in table(_FREED)]
    _check_extents(record)
    if record.flags & layout.FLAG_SEALED:
        record.references = [row[0] for row in table(_POINTER)]  # type: ignore[misc]
        return at
    record.ops = _ops_of(data, at)
    return len(data)


def _ops_of(data: bytes, at: int) -> list[Op]:
    (count,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    ops: list[Op] = []
    for _ in range(count):
        op, key_length, value_length = OP.unpack_from(data, at)
        at += OP.size
        middle = at + key_length
        stop = middle + value_length
        if stop > len(data) or op > layout.OP_DELETE_RANGE:
            raise ValueError("an operation does not fit or is not known")
        ops.append((op, data[at:middle], data[middle:stop]))
        at = stop
    return ops
