"""The records of a table: row groups (G), pages (P), patches (U), deleted rows (X), the tail.

Pure functions between payloads and values; docs/format.md, "Tables", gives the field tables.

- **G**, key: first row id. One *group* of rows that follow each other: as pages (one ``P`` per
  leaf), or as a *piece* (all columns in one encoding, in the record or in an extent).
- **G** with the row id `TAIL_ROW` is the *tail* of the table: the next row id, the live rows, and
  a stamp that every change of the rows draws anew. Row ids are never used again, because the tail
  stays when the last group goes; what was derived from a stamp holds wherever that stamp stands.
- **P**, key: leaf, first row id of the group.
- **U**, key: first row id of the group, sequence. Parts of (leaves, ordinals, values).
- **X**, key: first row id of the group. Which of its rows are deleted.

An *ordinal* is a row's place in its group: row id minus first row id, deleted rows counted.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError

__all__ = [
    "BLOCK_ROWS",
    "GROUP_ROWS",
    "INLINE",
    "OUTSIDE",
    "PAGES",
    "TAIL_ROW",
    "GroupRecord",
    "PageRecord",
    "PatchPart",
    "Tail",
    "new_stamp",
    "pack_dead",
    "pack_ordinals",
    "pack_patch",
    "unpack_dead",
    "unpack_ordinals",
    "unpack_patch",
]

Array = np.ndarray[Any, Any]

GROUP_ROWS: Final = 65_536
"""Most rows of a group: ordinals take 16 bits. A page of 8-byte values is 512 KiB then."""
BLOCK_ROWS: Final = 8_192
"""Rows of a block of a page, the part that decodes alone."""

PAGES: Final = 0
INLINE: Final = 1  # a piece, its rows behind the fixed fields
OUTSIDE: Final = 2  # a piece, its rows in an extent
_TAIL: Final = 3

TAIL_ROW: Final = 2**64 - 1
"""Row id under which the tail stands; no row has it."""

_GROUP = struct.Struct("<BBIII")  # kind, tier, schema version, rows, live rows
_TAIL_RECORD = struct.Struct("<BQQI8s")  # kind, next row id, live rows, loose pieces, stamp
_PAGE = struct.Struct("<QfH")  # values, bits a value when its recipe was chosen, recipe bytes
_DEAD = struct.Struct("<BI")  # mode, rows of the group
_PATCH = struct.Struct("<H")  # parts
_PART = struct.Struct("<HII")  # leaves, bytes of ordinals, bytes of values
_STEPS = struct.Struct("<BHHI")  # mode, first, step, count

GROUP_RECORD_BYTES: Final = _GROUP.size
PATCH_HEAD: Final = 5
"""Bytes of the tier and the rows of a patch, before its parts."""

_RUNS_U8, _RUNS_U16, _BITMAP = 1, 2, 3
_STEPPED, _LISTED = 1, 2


class GroupRecord(NamedTuple):
    """Payload of a ``G`` record.

    Attributes
    ----------
    kind : int
        `PAGES`, `INLINE` or `OUTSIDE`.
    tier : int
        0 for rows as they were appended, one more at each folding.
    version : int
        Version of the schema that was in force.
    n_rows, n_live : int
        Row ids that the group covers, and how many of them are not deleted.
    data : bytes
        Encoded rows of an `INLINE` piece. Of an `OUTSIDE` one of a table with sealed fields the
        SHA-256 of its extent.
    """

    kind: int
    tier: int
    version: int
    n_rows: int
    n_live: int
    data: bytes = b""

    def pack(self) -> bytes:
        """Bytes of the payload."""
        return _GROUP.pack(*self[:5]) + self.data

    @classmethod
    def unpack(cls, payload: bytes) -> GroupRecord:
        """Group from a payload.

        Raises
        ------
        CorruptDataError
            The record is too short, or its numbers cannot be.
        """
        if len(payload) < _GROUP.size:
            raise CorruptDataError(f"a row group record of {len(payload)} bytes is cut off")
        kind, tier, version, n_rows, n_live = _GROUP.unpack_from(payload)
        if kind > OUTSIDE or not 0 < n_live <= n_rows <= GROUP_ROWS:
            raise CorruptDataError(
                f"a row group record of kind {kind} with {n_live} live of {n_rows} rows"
            )
        data = payload[_GROUP.size :] if kind != PAGES else b""
        return cls(kind, tier, version, n_rows, n_live, data)


_MOST_ROWS = (1 << 63) - 1


class Tail(NamedTuple):
    """Payload of the tail record.

    Attributes
    ----------
    next_row : int
        First row id that was never given.
    n_live : int
        Rows of the table.
    n_loose : int
        Pieces appended since the last folding.
    stamp : bytes
        Eight random bytes, other ones after every change of the rows.
    """

    next_row: int = 0
    n_live: int = 0
    n_loose: int = 0
    stamp: bytes = bytes(8)

    def pack(self) -> bytes:
        """Bytes of the payload."""
        return _TAIL_RECORD.pack(_TAIL, *self)

    @classmethod
    def unpack(cls, payload: bytes) -> Tail:
        """Tail from a payload; raises `CorruptDataError` for anything else."""
        if len(payload) != _TAIL_RECORD.size or payload[0] != _TAIL:
            raise CorruptDataError(f"the tail record of a table has {len(payload)} bytes")
        tail = cls(*_TAIL_RECORD.unpack(payload)[1:])
        if tail.n_live > min(tail.next_row, _MOST_ROWS):
            raise CorruptDataError(
                f"the tail of a table counts {tail.n_live} rows of {tail.next_row} row ids"
            )
        return tail


def new_stamp() -> bytes:
    """Return a stamp that no other change has."""
    return os.urandom(8)


class PageRecord(NamedTuple):
    """Payload of a ``P`` record.

    Attributes
    ----------
    n_values : int
        Rows times values a row.
    bits : float
        Stored bits a value when the recipe was chosen: what later pages are held against.
    recipe : bytes
        How the page is encoded, packed.
    statistics : bytes
        Packed statistics (`kist.indexes.statistics`), or nothing.
    """

    n_values: int
    bits: float
    recipe: bytes
    statistics: bytes

    def pack(self) -> bytes:
        """Bytes of the payload."""
        head = _PAGE.pack(self.n_values, self.bits, len(self.recipe))
        return b"".join((head, self.recipe, self.statistics))

    @classmethod
    def unpack(cls, payload: bytes) -> PageRecord:
        """Page from a payload; raises `CorruptDataError` when it is cut off."""
        if len(payload) < _PAGE.size:
            raise CorruptDataError(f"a page record of {len(payload)} bytes is cut off")
        n_values, bits, length = _PAGE.unpack_from(payload)
        end = _PAGE.size + length
        if end > len(payload):
            raise CorruptDataError(f"a page record of {len(payload)} bytes is cut off")
        return cls(n_values, bits, payload[_PAGE.size : end], payload[end:])


def pack_dead(dead: Array) -> bytes:
    """Return the payload of an ``X`` record: runs of rows, or a bitmap, whichever is shorter.

    Parameters
    ----------
    dead : ndarray of bool, shape (n_rows,)
        Which rows of the group are deleted. Neither all nor none.
    """
    n_rows = len(dead)
    # Lengths of runs, live first: 0, 3, 2 means "the first three are dead, the next two live".
    edges = np.flatnonzero(dead[1:] != dead[:-1]) + 1
    runs = np.diff(edges, prepend=0, append=n_rows)
    if dead[0]:
        runs = np.concatenate(([0], runs))
    mode, width = (_RUNS_U8, 1) if runs.max() < 256 else (_RUNS_U16, 2)
    if len(runs) * width <= (n_rows + 7) // 8:
        body = runs.astype(f"<u{width}").tobytes()
    else:
        mode, body = _BITMAP, np.packbits(dead, bitorder="little").tobytes()
    return _DEAD.pack(mode, n_rows) + body


def unpack_dead(payload: bytes, n_rows: int) -> Array:
    """Return which rows of a group of `n_rows` are deleted, an array of bool.

    Raises
    ------
    CorruptDataError
        The payload is not one of `pack_dead` for so many rows.
    """
    mode, stored = _DEAD.unpack_from(payload) if len(payload) >= _DEAD.size else (0, -1)
    body = payload[_DEAD.size :]
    if stored != n_rows:
        raise CorruptDataError(f"deleted rows of a group of {stored} rows, which has {n_rows}")
    if mode in (_RUNS_U8, _RUNS_U16) and len(body) % mode == 0:
        runs = np.frombuffer(body, f"<u{mode}").astype(np.int64)
        if runs.sum() == n_rows:
            spread: Array = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
            return spread
    elif mode == _BITMAP and len(body) == (n_rows + 7) // 8:
        bits = np.unpackbits(np.frombuffer(body, "u1"), count=n_rows, bitorder="little")
        dead: Array = bits.astype(bool)
        return dead
    raise CorruptDataError(f"deleted rows in mode {mode} do not cover {n_rows} rows")


def pack_ordinals(ordinals: Array) -> bytes:
    """Return ascending ordinals as (first, step, count), or as a list of 16-bit numbers."""
    first, n = int(ordinals[0]), len(ordinals)
    step = int(ordinals[1]) - first if n > 1 else 1
    if int(ordinals[-1]) == first + step * (n - 1) and bool(
        (ordinals[1:] - ordinals[:-1] == step).all()
    ):
        return _STEPS.pack(_STEPPED, first, step, n)
    return bytes((_LISTED,)) + ordinals.astype("<u2").tobytes()


def unpack_ordinals(data: bytes) -> Array:
    """Return the int64 ordinals of `pack_ordinals`; raises `CorruptDataError` otherwise."""
    if len(data) == _STEPS.size and data[0] == _STEPPED:
        _, first, step, n = _STEPS.unpack(data)
        if step and 0 < n <= GROUP_ROWS and first + step * (n - 1) < GROUP_ROWS:
            return np.arange(first, first + step * n, step, dtype=np.int64)
    elif len(data) % 2 == 1 and len(data) > 1 and data[0] == _LISTED:
        listed: Array = np.frombuffer(data, "<u2", offset=1).astype(np.int64)
        if bool((listed[1:] > listed[:-1]).all()):
            return listed
    raise CorruptDataError(f"{len(data)} bytes are no list of rows")


class PatchPart(NamedTuple):
    """New values of some leaves in some rows of a group.

    Attributes
    ----------
    leaves : tuple of int
        Leaf ids, ascending.
    ordinals : ndarray of int64
        Rows of the group, ascending, each once.
    data : bytes
        The values, encoded as rows of these leaves.
    """

    leaves: tuple[int, ...]
    ordinals: Array
    data: bytes


def pack_patch(parts: Sequence[PatchPart]) -> bytes:
    """Return the payload of a ``U`` record."""
    out = [_PATCH.pack(len(parts))]
    for leaves, ordinals, data in parts:
        rows = pack_ordinals(ordinals)
        out.append(_PART.pack(len(leaves), len(rows), len(data)))
        out.append(struct.pack(f"<{len(leaves)}I", *leaves))
        out += [rows, data]
    return b"".join(out)


def unpack_patch(payload: bytes) -> list[PatchPart]:
    """Return the parts of a ``U`` record; raises `CorruptDataError` when they do not add up."""
    parts = []
    try:
        (n_parts,) = _PATCH.unpack_from(payload)
        at = _PATCH.size
        for _ in range(n_parts):
            n_leaves, n_rows, n_data = _PART.unpack_from(payload, at)
            at += _PART.size
            leaves = struct.unpack_from(f"<{n_leaves}I", payload, at)
            at += 4 * n_leaves
            ordinals = unpack_ordinals(payload[at : at + n_rows])
            at += n_rows
            parts.append(PatchPart(leaves, ordinals, payload[at : at + n_data]))
            at += n_data
    except struct.error as error:
        raise CorruptDataError(f"a patch record of {len(payload)} bytes is cut off") from error
    if at != len(payload):
        raise CorruptDataError(f"a patch record of {len(payload)} bytes has parts of {at} bytes")
    return parts
