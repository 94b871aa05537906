"""A few rows appended at once, for which somebody waits.

Such an append is two records of the map: the rows as they are, in the room that the block of
their commit has left, and the tail. What it takes to write them, where the table ends and how
its rows look, is in an `End`: made from the records of the table once, and by each append for the
next one. The handle keeps it with the commit it has made (`Write.left`), so that nothing is read
while nobody else writes.

Whatever takes more goes through `kist.model.tables.changes.write`, which stores such rows in the
same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kist.codecs.rawrows import HEAD, are_kept, pack_rows
from kist.engine.transaction import ROOM
from kist.format import keys
from kist.model.casts import same_dtype
from kist.model.tables.changes.write import MAX_LOOSE, room_of_piece
from kist.model.tables.input.quick import packer_of
from kist.model.tables.input.quicktext import text_packer_of
from kist.model.tables.stored.layout import Group, known, remember
from kist.model.tables.stored.records import INLINE, TAIL_ROW, GroupRecord, Tail, new_stamp
from kist.model.tables.stored.schema import PIECE_BYTES, PIECE_ROWS

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.engine.few import Few
    from kist.model.tables.stored.state import TableState

__all__ = ["End", "end_of"]

_SURELY_KEPT = room_of_piece(ROOM) - HEAD.size
"""Bytes of rows that stand in a commit as they are: what `are_kept` says of its room."""
assert are_kept(_SURELY_KEPT, room_of_piece(ROOM))
assert not are_kept(_SURELY_KEPT + 1, room_of_piece(ROOM))


Piece = tuple[int, bytes]
"""Number of rows, and their bytes as a piece (docs/format.md, "Pieces")."""


class End:
    """Where a table ends, and how a few rows are put there."""

    __slots__ = (
        "_dtype",
        "_layout",
        "_most",
        "_node",
        "_packer",
        "_seen",
        "_tail",
        "_tail_key",
        "_texts",
        "_version",
    )

    def __init__(self, state: TableState) -> None:
        schema, facts = state.schema, state.facts
        self._node = state.node
        self._version = schema.version
        self._dtype = self._seen = schema.given.dtype
        self._packer = packer_of(facts)
        self._texts = text_packer_of(facts) if facts.loose else None
        # What `SchemaFacts.are_piece` says, once for all appends.
        self._most = min(facts.group_rows, PIECE_ROWS - 1, (PIECE_BYTES - 1) // facts.row_nbytes)
        self._tail = state.tail
        self._tail_key = keys.group(state.node, TAIL_ROW)
        self._layout = known(state.node, state.tail)

    def taken(self, data: Any, room: int = ROOM) -> Piece | None:
        """Return what was given as a piece if these are rows of the table, and few enough.

        None where it takes more to find out. `room` is how many bytes records may take at next to
        no cost, by default all of them.
        """
        if self._texts is not None:
            piece = self._texts.piece(data)
            fits = piece is not None and self._fits(piece[0], len(piece[1]) - HEAD.size, room)
            return piece if fits else None
        rows = self._records(data)
        if rows is None or not self._fits(len(rows), rows.nbytes, room):
            return None
        return len(rows), pack_rows(len(rows), rows.tobytes())

    def _fits(self, n: int, nbytes: int, room: int) -> bool:
        small = nbytes <= _SURELY_KEPT if room == ROOM else are_kept(nbytes, room_of_piece(room))
        return small and 0 < n <= self._most and self._tail.n_loose < MAX_LOOSE

    def _records(self, data: Any) -> np.ndarray[Any, Any] | None:
        """Return rows of the table's dtype, or None."""
        rows: np.ndarray[Any, Any] | None = None
        if type(data) is np.ndarray:
            rows = data
        elif type(data) is np.void:
            rows = data.reshape(1)
        elif self._packer is not None:
            rows = self._packer.records(data)
        if rows is None or rows.ndim != 1:
            return None
        if (dtype := rows.dtype) is not self._seen:  # slices of one array have it in common
            if not same_dtype(dtype, self._dtype):
                return None
            self._seen = dtype
        return rows

    def append(self, txn: Transaction | Few, piece: Piece) -> End:
        """Put rows that `taken` gave, and return the end behind them."""
        n, data = piece
        node = self._node
        first, n_live, n_loose, _ = before = self._tail
        record = GroupRecord(INLINE, 0, self._version, n, n, data)
        tail = Tail(first + n, n_live + n, n_loose + 1, new_stamp())
        # Records without pointers begin with 0. Neither replaces one that owns extents.
        txn.put(keys.group(node, first), b"\0" + record.pack(), old=None)
        txn.put(self._tail_key, b"\0" + tail.pack(), old=None)
        layout = self._layout or known(node, before)
        if layout is not None:
            layout = layout.appended(tail, Group.of(first, record))
            remember(node, layout)
        end: End = End.__new__(End)
        end._node, end._version, end._dtype, end._seen = (
            node,
            self._version,
            self._dtype,
            self._seen,
        )
        end._tail, end._tail_key, end._layout = tail, self._tail_key, layout
        end._most, end._packer, end._texts = self._most, self._packer, self._texts
        return end


def end_of(state: TableState) -> End | None:
    """Return the end of a table as a transaction shows it.

    None where it takes more to append a row than to put it: for columns that are computed, sealed,
    or of categories or cells; for rows that stand otherwise in memory; for indexes.
    """
    schema, facts = state.schema, state.facts
    if (
        schema.given is not schema.kept
        or facts.sealed
        or (text_packer_of(facts) is None if facts.loose else not schema.kept.is_flat)
        or facts.categorical
        or not facts.row_nbytes
        or state.view.get(keys.index_state(state.node)) is not None
    ):
        return None
    return End(state)
