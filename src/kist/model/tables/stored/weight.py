"""How many bytes the strings and cells of some rows take in memory, told before they are read.

What is read at a time is counted in rows, and rows with long cells are bounded by bytes as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kist.model.tables.stored.batch import bytes_of
from kist.model.tables.stored.records import INLINE
from kist.model.tables.stored.schema import FULL_TIER, PIECE_BYTES, PIECE_ROWS, TEXT_BYTES

if TYPE_CHECKING:
    from kist.format.schema import Leaf
    from kist.model.tables.stored.layout import Group
    from kist.model.tables.stored.state import TableState

__all__ = ["LooseBytes"]

_EXPANSION: Final = 32
"""Bytes of memory that a stored byte of text hardly ever exceeds."""


class LooseBytes:
    """Counts the strings and cells of rows until they are enough for one reading.

    Parameters
    ----------
    state : TableState
        The table.
    leaves : sequence of Leaf
        What is read of it.
    """

    def __init__(self, state: TableState, leaves: Sequence[Leaf]) -> None:
        self._state = state
        self._leaves = [leaf for leaf in leaves if leaf.is_loose and leaf.is_stored]
        self._n = 0

    def add(self, group: Group, n_rows: int) -> bool:
        """Count rows of a group; tell whether these and those before are enough."""
        if self._leaves:
            self._n += self._of(group) * n_rows // group.n_rows
        return self._n >= TEXT_BYTES

    def clear(self) -> None:
        """Begin again."""
        self._n = 0

    def _of(self, group: Group) -> int:
        """Return the bytes of a group: counted for a piece, else at most."""
        if group.is_pages:
            # No writer puts more into one group; few rows are pages only where these are long.
            if group.record.tier == FULL_TIER or group.n_rows < PIECE_ROWS:
                return TEXT_BYTES
            pages = (self._state.find_page(leaf, group) for leaf in self._leaves)
            stored = sum(page[0].length for page in pages if page is not None)
            return min(TEXT_BYTES, _EXPANSION * stored)
        return sum(self._in_piece(group, leaf) for leaf in self._leaves)

    def _in_piece(self, group: Group, leaf: Leaf) -> int:
        state = self._state
        if leaf.id in state.added and (value := state.constant(leaf, group)) is not None:
            return int(bytes_of(value).sum()) * group.n_rows
        if leaf.id in state.facts.sealed:  # who has no secret may read the other columns
            if group.record.kind != INLINE or group.body is None:
                return PIECE_BYTES
            return min(PIECE_BYTES, _EXPANSION * len(group.body.data))
        # Decoded it stays at hand for a while, and is read next.
        return int(bytes_of(state.piece(group)[f"f{leaf.id}"]).sum())
