"""The indexes of a table as one view shows them.

docs/design/0008-indexes.md says how they are kept. They are believed as long as the stamp in their
state is that of the table's tail; what no run covers, or what has changed since, is scanned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.format import keys
from kist.format.index import IndexRecord, IndexState
from kist.format.schema import Leaf
from kist.format.values import unpack_record
from kist.indexes.keys import n_words
from kist.indexes.runs import Run, run_of
from kist.model.tables.indexes.keyparts import KeyPart, key_parts
from kist.model.tables.stored.layout import Layout
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["Index", "covered_groups", "indexes_of", "read_indexes", "read_state"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Index:
    """An index that can be used.

    Attributes
    ----------
    number : int
        In the table.
    record : IndexRecord
        What it is.
    leaves : tuple of Leaf
        What it is of.
    runs : tuple of Run
        In order of their rows.
    parts : tuple of KeyPart
        The columns of these leaves.
    field : int
        The sealed field that it is of, or 0.
    """

    number: int
    record: IndexRecord
    leaves: tuple[Leaf, ...]
    runs: tuple[Run, ...]
    parts: tuple[KeyPart, ...]
    field: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(part.name for part in self.parts)

    @property
    def is_exact(self) -> bool:
        """Whether rows with the same key have equal values."""
        return all(part.is_exact for part in self.parts)

    @property
    def stop(self) -> int:
        """Row id behind the last run."""
        return self.runs[-1].stop if self.runs else 0

    @property
    def nbytes_stored(self) -> int:
        """Bytes that the pages of its runs take."""
        return sum(pointer.length for run in self.runs for pointer in run.pointers)

    def gaps(self, end: int) -> list[tuple[int, int]]:
        """Return the row ids below `end` that no run answers for, as ranges."""
        found = []
        at = 0
        for run in self.runs:
            found += [(at, run.first)] if run.first > at else []
            found += run.dirty_ranges()
            at = run.stop
        return [*found, (at, end)] if end > at else found


def read_state(view: View, node: int) -> IndexState | None:
    """Return what the indexes of a table have in common, None when it never had one."""
    value = view.get(keys.index_state(node))
    return None if value is None else IndexState.unpack(unpack_record(value)[1])


def read_indexes(state: TableState) -> list[Index]:
    """Return all indexes of a table; those that are not to be believed have no runs.

    An index on columns that are gone, or that have another dtype now, is left out.
    """
    view, node, sealed = state.view, state.node, state.facts.sealed
    common = read_state(view, node)
    if common is None:
        return []
    believed = common.stamp == state.tail.stamp
    records: dict[int, IndexRecord] = {}
    values: dict[int, list[tuple[int, bytes]]] = {}
    for key, value in view.scan(*keys.indexes(node)):
        number = keys.leaf_of(key)
        if len(key) == len(keys.index_state(node)):
            if number:
                records[number] = IndexRecord.unpack(unpack_record(value)[1])
        elif number in records and believed:
            values.setdefault(number, []).append((keys.row_of(key), value))
    found = []
    for number, record in records.items():
        leaves = leaves_of(state, record)
        if leaves is not None:
            columns = key_parts(state.schema, leaves)
            stored = values.get(number, ())
            # Of any sealed leaf: whoever writes the record may put an open one before it.
            field = next((sealed[leaf.id] for leaf in leaves if leaf.id in sealed), 0)
            if field:
                found.append(
                    _sealed(state, Index(number, record, leaves, (), columns, field), stored)
                )
                continue
            runs = tuple(run_of(first, value, record.n_words) for first, value in stored)
            found.append(Index(number, record, leaves, runs, columns))
    return found


def _sealed(state: TableState, index: Index, stored: Sequence[tuple[int, bytes]]) -> Index:
    """Return an index on sealed columns with its runs, where they open and may be believed."""
    from kist.model.tables.indexes.sealed import opened_run, usable_keys

    opened = usable_keys(state, index.field)
    if opened is None:
        return index
    n_words = index.record.n_words
    runs = [opened_run(state.view, first, value, n_words, opened) for first, value in stored]
    return replace(index, runs=tuple(runs))


def leaves_of(state: TableState, record: IndexRecord) -> tuple[Leaf, ...] | None:
    """Return the leaves of an index, None when the table does not have them like that."""
    by_id = {leaf.id: leaf for leaf in state.schema.stored}
    leaves = []
    for number, words, dtype in record.leaves:
        leaf = by_id.get(number)
        if leaf is None or leaf.dtype != dtype or leaf.n_values != 1 or n_words(dtype) != words:
            return None
        leaves.append(leaf)
    return tuple(leaves)


def indexes_of(state: TableState) -> Sequence[Index]:
    """Return the indexes of a table that may be believed; kept with a snapshot."""
    return state.once("indexes", lambda: tuple(read_indexes(state)))


def covered_groups(index: Index, layout: Layout) -> Array:
    """Return which row groups an index answers for, bool."""
    covered = np.ones(layout.n_groups, bool)
    for low, high in index.gaps(layout.tail.next_row):
        start = int(layout.ends.searchsorted(low, "right"))
        stop = int(layout.firsts.searchsorted(high, "left"))
        covered[start:stop] = False
    return covered
