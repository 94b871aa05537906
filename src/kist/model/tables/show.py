"""What tables and columns say about themselves: sizes and encodings. Reprs: `repr`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from kist.codecs.recipe import Recipe
from kist.errors import CodecError
from kist.format import keys
from kist.format.categorical import sort_of
from kist.format.nullable import dtype_text
from kist.format.schema import Leaf
from kist.format.values import unpack_record
from kist.model.info import Info, node_info
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.records import GROUP_RECORD_BYTES, INLINE, PageRecord
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.model.tables.column import Column
    from kist.model.tables.table import Table

__all__ = ["IN_PIECES", "VIRTUAL", "Sizes", "column_info", "recipes", "stored_bytes", "table_info"]

IN_PIECES: Final = "small pieces only"
"""Encoding of a column that has no pages yet."""
CONSTANT: Final = "constant"
"""Encoding of a column that came later, and of which nothing needed to be written since."""
VIRTUAL: Final = "virtual"
"""Encoding of a column that is computed where it is read."""
SEALED: Final = "sealed"
"""Encoding of a sealed column whose secret was not given."""
_COUNTED_PAGES: Final = 4096
"""Up to so many pages are looked at for the size in a repr; of more a sample is taken."""
_SAMPLE: Final = 16


def stored_bytes(state: TableState, leaves: Sequence[Leaf], pieces: int | None = None) -> int:
    """Return the bytes that leaves take in the file; of pieces their share by width.

    `pieces` are the bytes of all pieces, where these have been counted before.
    """
    if state.n_parts:
        parts = map(state.part, range(state.n_parts))
        return sum(stored_bytes(part, [own[leaf.id] for leaf in leaves]) for part, own in parts)
    leaves = _kept(state, leaves)
    total = sum(_category_bytes(state, leaf) for leaf in leaves)
    for leaf in leaves:
        if leaf.id in state.facts.sealed:
            total += sum(map(_owned, state.view.scan(*keys.pages(state.node, leaf.id))))
        elif leaf.is_stored:
            pages = state.list_pages(leaf)
            total += sum(page[0].length for key, page in pages.items() if key[0] == leaf.id)
    every = sum(leaf.memory for leaf in state.schema.stored) or 1
    pieces = _piece_bytes(state) if pieces is None else pieces
    return total + pieces * sum(leaf.memory for leaf in leaves if leaf.is_stored) // every


def _kept(state: TableState, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Return leaves with those of codes in place of values of categories."""
    by_id = state.facts.by_id
    found = [leaf if leaf.codes is None else by_id[leaf.codes] for leaf in leaves]
    return list({leaf.id: leaf for leaf in found}.values())


def _category_bytes(state: TableState, leaf: Leaf) -> int:
    """Return the bytes of the categories whose codes a leaf holds."""
    if leaf.column < 0 or not state.schema.columns[leaf.column].is_categorical:
        return 0
    total = 0
    for _, value in state.view.scan(*keys.categories(state.node, leaf.id)):
        pointers, payload = unpack_record(value)
        total += len(payload) + sum(pointer.length for pointer in pointers)
    return total


def _piece_bytes(state: TableState) -> int:
    total = 0
    for group in state.layout.groups:
        if group.body is not None:
            inline = group.record.kind == INLINE
            total += len(group.body.data) if inline else _outside_bytes(state, group)
        for patch in group.patches:
            if patch.inline is not None:
                total += len(patch.inline)
            else:
                key = keys.patch(state.node, group.first, patch.seq)
                total += sum(pointer.length for pointer in state.pointers(key))
        total += GROUP_RECORD_BYTES
    return total


def _outside_bytes(state: TableState, group: Group) -> int:
    key = keys.group(state.node, group.first)
    return sum(pointer.length for pointer in state.pointers(key))


class Sizes:
    """Bytes that columns take in the file, at bounded cost: exact for all but very long tables.

    Parameters
    ----------
    state : TableState
        The table.
    n_leaves : int
        How many leaves will be asked for.

    Attributes
    ----------
    exact : bool
        Whether every page was looked at.
    """

    def __init__(self, state: TableState, n_leaves: int) -> None:
        self._state = state
        self.exact = state.layout.n_groups * n_leaves <= _COUNTED_PAGES
        step = 1 if self.exact else -(-state.n_parts // _SAMPLE) or 1
        self._parts = [
            (Sizes(part, n_leaves), own)
            for part, own in map(state.part, range(0, state.n_parts, step))
        ]
        self._pieces = _piece_bytes(state) if self.exact and not self._parts else 0

    def of(self, leaves: Sequence[Leaf]) -> int:
        """Return the bytes of some leaves."""
        if self._parts:
            found = sum(part.of([own[leaf.id] for leaf in leaves]) for part, own in self._parts)
            rows = sum(part._state.n_rows for part, _ in self._parts)
            return found if self.exact else found * self._state.n_rows // (rows or 1)
        if self.exact:
            return stored_bytes(self._state, leaves, self._pieces)
        leaves = _kept(self._state, leaves)
        some = leaves[:: len(leaves) // _SAMPLE + 1]
        total = sum(self._sampled(leaf) for leaf in some if leaf.is_stored)
        return (
            total * sum(leaf.memory for leaf in leaves) // (sum(leaf.memory for leaf in some) or 1)
        )

    def _sampled(self, leaf: Leaf) -> int:
        """Return the bytes of a leaf as far as its first and last pages are like the others."""
        start, stop = keys.pages(self._state.node, leaf.id)
        view = self._state.view
        found = [*islice(view.scan(start, stop), _SAMPLE)]
        found += islice(view.scan(start, stop, reverse=True), _SAMPLE)
        lengths = list(map(_owned, found))
        return sum(lengths) * self._state.layout.n_groups // (len(lengths) or 1)


def _owned(entry: tuple[bytes, bytes]) -> int:
    """Return the bytes of the extents of a page; one that is sealed may have two."""
    return sum(pointer.length for pointer in unpack_record(entry[1])[0])


def _recipe(state: TableState, leaf: Leaf) -> str:
    """Return how the last page of a leaf is encoded."""
    if leaf.is_virtual:
        return VIRTUAL
    state, leaf = state.last_of(leaf)
    found = next(state.view.scan(*keys.pages(state.node, leaf.id), reverse=True), None)
    if found is None and any(group.is_pages for group in state.layout.groups):
        return CONSTANT
    if found is None:
        return IN_PIECES if leaf.is_stored and state.n_rows else "-"
    _, payload = unpack_record(found[1])
    if leaf.id in state.facts.sealed:
        if not state.sealing.opens(state.facts.sealed[leaf.id]):
            return SEALED
        group = next(g for g in reversed(state.layout.groups) if g.first == keys.row_of(found[0]))
        payload = state.page(leaf, group)[1].pack()
    try:
        return Recipe.unpack(PageRecord.unpack(payload).recipe).describe()
    except CodecError:
        return "chosen by a newer kist"


def recipes(state: TableState, leaves: Sequence[Leaf]) -> str:
    """Return how the last pages of leaves are encoded, each way once."""
    return "; ".join(dict.fromkeys(_recipe(state, leaf) for leaf in _kept(state, leaves)))


def table_info(table: Table) -> Info:
    """Return what is known about a table, column by column."""
    state = table._state()
    schema = state.schema
    groups = state.layout.groups
    columns = {}
    sealed = table.sealed
    for column in schema.columns:
        leaves = schema.leaves_of(column.name)
        stored = stored_bytes(state, leaves)
        nbytes = state.n_rows * column.shown.itemsize
        columns[column.name] = {
            "dtype": dtype_text(column.dtype, sort_of(column.dtype)),
            "codec": column.codec,
            "encoding": recipes(state, leaves),
            "stored_bytes": stored,
            "ratio": nbytes / max(1, stored),
        }
        if column.is_categorical and (not column.field or state.sealing.opens(column.field)):
            known = state.categories(column)
            columns[column.name]["n_categories"] = len(known)
        if column.field:
            columns[column.name]["sealed"] = list(sealed[column.name])
        if column.expression is not None:
            columns[column.name]["expression"] = column.expression
        if column.name in state.facts.defaults:
            columns[column.name]["fill_value"] = state.facts.defaults[column.name]
    nbytes = state.n_rows * schema.dtype.itemsize
    stored = stored_bytes(state, schema.leaves)
    facts = {
        **node_info(table),
        "n_rows": state.n_rows,
        "n_columns": len(schema.columns),
        "memory_bytes": nbytes,
        "stored_bytes": stored,
        "ratio": nbytes / max(1, stored),
        "row_groups": sum(1 for group in groups if group.is_pages),
        "pieces": sum(1 for group in groups if not group.is_pages),
        "patches": sum(len(group.patches) for group in groups),
        "deleted_rows": sum(group.n_rows - group.n_live for group in groups),
        "columns": columns,
    }
    return Info(f"Table {facts['name']!r}", facts)


def column_info(column: Column) -> Info:
    """Return what is known about one column."""
    state, fields = column._now()
    stored = stored_bytes(state, fields.stored)
    nbytes = state.n_rows * fields.row_nbytes
    facts: dict[str, Any] = {
        "name": column.name,
        "table": column.table._path,
        "title": column.title,
        "dtype": dtype_text(fields.dtype, fields.sort),
        "shape": (state.n_rows, *fields.item_shape),
        "encoding": recipes(state, fields.stored),
        "memory_bytes": nbytes,
        "stored_bytes": stored,
        "ratio": nbytes / max(1, stored),
        "n_attributes": len(column.attrs),
    }
    if fields.sort is not None:
        facts["n_categories"] = len(column.categories)
    # A field of a nested column is sealed with all of it.
    sealed = getattr(column.table, "sealed", {})  # secrets are of tables, not of unions of them
    if labels := sealed.get(column.name.partition(".")[0]):
        facts["sealed"] = list(labels)
    return Info(f"Column {column.name!r}", facts)
