"""Parts of a table that others can read: by row groups, without those that cannot match."""

from __future__ import annotations

from typing import Final

import numpy as np

from kist.errors import SelectionError
from kist.model.tables.query.find import plan_rows
from kist.model.tables.query.steps import Limit, Where
from kist.model.tables.selection import Selection

__all__ = ["partitions"]

PART_ROWS: Final = 1 << 20
"""Of a part unless told otherwise: some ten megabytes a column."""


def partitions(source: Selection, rows: int | None) -> list[Selection]:
    """Return the rows of a selection as selections of neighbouring rows.

    Raises
    ------
    SelectionError
        The rows are sorted, limited or the like.
    """
    size = PART_ROWS if rows is None else rows
    if size < 1:
        raise ValueError(f"a part has at least 1 row, not {rows}")
    steps = source._steps
    conditions = [step for step in steps if isinstance(step, Where)]
    if len(conditions) < len(steps):
        raise SelectionError(
            f"{source._label()}: only all rows, or those where a condition holds, have parts"
        )
    table = source._of()
    state = source._state()
    may = np.ones(state.layout.n_groups, bool)
    if conditions:
        bounds = [step.bound(state.schema, table) for step in conditions]
        may = plan_rows(state, bounds).may
    starts = state.layout.starts.tolist()
    ranges: list[tuple[int, int]] = []
    for index in np.flatnonzero(may).tolist():
        start, stop = starts[index], starts[index + 1]
        if ranges and ranges[-1][1] == start and stop - ranges[-1][0] <= size:
            ranges[-1] = ranges[-1][0], stop
        else:
            ranges += [(at, min(at + size, stop)) for at in range(start, stop, size)]
    return [
        Selection(
            table, (Limit(stop - start, start), *steps), path=source._path, names=source._names
        )
        for start, stop in ranges
    ]
