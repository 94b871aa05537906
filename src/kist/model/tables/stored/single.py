"""One row at a time: where a second one is asked for, those around it stay decoded for a while.

A page decodes by blocks of thousands of rows, so that the second of two neighbours would cost as
much as the first: for fifty columns some milliseconds each. It is read with a *window* of rows
instead. The first is not: who picks rows anywhere would pay for neighbours that nobody wants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.errors import CorruptDataError
from kist.model.tables.stored.layout import RECENT
from kist.model.tables.stored.read import Span, read_records

if TYPE_CHECKING:
    from kist.model.tables.stored.fields import Fields
    from kist.model.tables.stored.layout import Group
    from kist.model.tables.stored.state import TableState

__all__ = ["read_single"]

Array = np.ndarray[Any, Any]

WINDOW_ROWS: Final = 1024
"""A power of two, so that a window lies within a block; to join so many rows costs a tenth of what
it costs to decode the blocks that they are in."""
WINDOW_BYTES: Final = 1 << 20


def read_single(state: TableState, fields: Fields, position: int) -> Array:
    """Return one row, a new array of shape ().

    Parameters
    ----------
    fields : Fields
        Structured, without strings.
    position : int
        Of a live row.

    Raises
    ------
    CorruptDataError
        The row stands in a damaged page.
    """
    index, rank = state.layout.locate(position)
    group = state.layout.group(index)
    live = state.live(group)
    ordinal = rank if live is None else int(live[rank])
    size = WINDOW_ROWS
    while size > 1 and size * fields.dtype.itemsize > WINDOW_BYTES:
        size //= 2
    start = ordinal - ordinal % size
    stop = min(start + size, group.n_rows)

    def make() -> tuple[bytes, int]:
        rows = _read(state, fields, group, start, stop)
        return rows, len(rows) + 200

    # What is known of a table ends with its stamp, so no change can be missed.
    window = ("rows", fields.dtype, group.first, start)
    rows: bytes | None = None
    if RECENT.seen(state.known, window):
        try:
            rows = RECENT.get(state.known, window, make)
        except CorruptDataError:  # perhaps of a neighbour
            rows = None
    if rows is None:
        start = ordinal
        rows = _read(state, fields, group, ordinal, ordinal + 1)
    # NumPy would copy the row field by field.
    at = (ordinal - start) * fields.dtype.itemsize
    row = bytearray(rows[at : at + fields.dtype.itemsize])
    return np.ndarray((), fields.dtype, buffer=row)


def _read(state: TableState, fields: Fields, group: Group, start: int, stop: int) -> bytes:
    rows = fields.empty(stop - start)
    read_records(state, [Span(group, range(start, stop), 0)], fields.leaves, rows)
    return rows.tobytes()
