"""The records of the indexes of a table (docs/format.md, "Indexes"): state, definition, run.

Pure functions between payloads and values. Whatever they say counts only while the stamp in the
state is that of the table's tail.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError
from kist.format.cursor import Cursor, pack_blob, pack_text
from kist.format.dtypes import pack_dtype, unpack_dtype

__all__ = ["DIRTY_ROWS", "MAX_KEY_WORDS", "IndexRecord", "IndexState", "RunRecord"]

DIRTY_ROWS: Final = 8_192
"""Row ids of a run that one bit of `RunRecord.dirty` stands for."""

MAX_KEY_WORDS: Final = 32
"""Words of the key of an index: a run has a page for each, and a record has 255 pointers."""

MAX_RUN_ROWS: Final = 1 << 24
"""Row ids of a run: the bits of `RunRecord.dirty` fit into its record."""

_VERSION: Final = 1
_UNIQUE: Final = 0x01

_STATE = struct.Struct("<8sI")  # stamp, next index id
_HEAD = struct.Struct("<BBHB")  # version, flags, words of a key, columns
_COLUMN = struct.Struct("<IH")  # leaf, words
_RUN = struct.Struct("<BQQ")  # version, row id behind the run, entries


class IndexState(NamedTuple):
    """What all indexes of a table have in common.

    Attributes
    ----------
    stamp : bytes
        Of the tail of the table that the runs are true for.
    next_id : int
        First index id that was never used; ids begin at 1.
    """

    stamp: bytes
    next_id: int

    def pack(self) -> bytes:
        """Bytes of the payload."""
        return _STATE.pack(*self)

    @classmethod
    def unpack(cls, payload: bytes) -> IndexState:
        """State from a payload.

        Raises
        ------
        CorruptDataError
            It is cut off, or its number cannot be.
        """
        if len(payload) != _STATE.size:
            raise CorruptDataError(f"an index state of {len(payload)} bytes")
        found = cls(*_STATE.unpack(payload))
        # The last number is never given: there is no next one to note.
        if not 0 < found.next_id < (1 << 32) - 1:
            raise CorruptDataError(f"an index state whose next number is {found.next_id}")
        return found


@dataclass(frozen=True)
class IndexRecord:
    """What an index is.

    Attributes
    ----------
    name : str
        How it is called.
    leaves : tuple of (int, int, dtype)
        Leaf id, words of its part of the key, and dtype, the most significant first.
    unique : bool
        No two rows have one key.
    """

    name: str
    leaves: tuple[tuple[int, int, np.dtype[Any]], ...]
    unique: bool = False

    @cached_property
    def n_words(self) -> int:
        """Words of a key."""
        return sum(words for _, words, _ in self.leaves)

    def pack(self) -> bytes:
        """Bytes of the payload."""
        head = _HEAD.pack(_VERSION, self.unique * _UNIQUE, self.n_words, len(self.leaves))
        columns = b"".join(
            _COLUMN.pack(leaf, words) + pack_blob(pack_dtype(dtype))
            for leaf, words, dtype in self.leaves
        )
        return head + pack_text(self.name) + columns

    @classmethod
    def unpack(cls, payload: bytes) -> IndexRecord:
        """Index from a payload.

        Raises
        ------
        CorruptDataError
            It is cut off, or its numbers cannot be.
        """
        cursor = Cursor(payload, "an index record")
        version, flags, n_words, n_columns = cursor.unpack(_HEAD)
        if version != _VERSION or flags & ~_UNIQUE:
            raise CorruptDataError(f"an index record of version {version}, flags {flags}")
        name = cursor.text()
        leaves = []
        for _ in range(n_columns):
            leaf, words = cursor.unpack(_COLUMN)
            leaves.append((leaf, words, unpack_dtype(cursor.blob())))
        cursor.end()
        found = cls(name, tuple(leaves), bool(flags & _UNIQUE))
        if not leaves or found.n_words != n_words or not 1 <= n_words <= MAX_KEY_WORDS:
            raise CorruptDataError(f"an index of {n_columns} columns and {n_words} words")
        return found


class RunRecord(NamedTuple):
    """Sorted keys of the rows first .. stop, `first` being in its key.

    Attributes
    ----------
    stop : int
        Row id behind the last one that it stands for.
    n : int
        Entries: one for each row that was not deleted.
    dirty : bytes
        One bit for `DIRTY_ROWS` row ids, lowest first, set where keys have changed since; empty
        when none have.
    """

    stop: int
    n: int
    dirty: bytes = b""

    def pack(self) -> bytes:
        """Bytes of the payload."""
        return _RUN.pack(_VERSION, self.stop, self.n) + self.dirty

    @classmethod
    def unpack(cls, payload: bytes, first: int) -> RunRecord:
        """Run that begins at a row id, from a payload.

        Raises
        ------
        CorruptDataError
            It is cut off, or its numbers cannot be.
        """
        if len(payload) < _RUN.size:
            raise CorruptDataError(f"the record of an index run has {len(payload)} bytes")
        version, stop, n = _RUN.unpack_from(payload)
        found = cls(stop, n, payload[_RUN.size :])
        rows = stop - first
        if version != _VERSION:
            raise CorruptDataError(f"the record of an index run has version {version}")
        if not (0 < rows <= MAX_RUN_ROWS and n <= rows and stop < 1 << 63):
            raise CorruptDataError(f"an index run of {n} entries, row ids {first} to {stop}")
        if found.dirty and len(found.dirty) != -(-rows // (8 * DIRTY_ROWS)):
            raise CorruptDataError(
                f"an index run of {rows} row ids, {len(found.dirty)} bytes dirty"
            )
        return found
