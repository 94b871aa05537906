"""A schema and what is derived from it: found once per schema, not once per call.

Hashing a schema of 50 columns takes as long as appending ten rows, so what belongs to a schema
is kept under the identity of the object. Schema objects themselves are one per content.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np

from kist.format.plain import unpack_value
from kist.format.schema import Leaf, Schema
from kist.format.values import unpack_record
from kist.model.tables.records import BLOCK_ROWS, GROUP_ROWS
from kist.model.tables.rows import PackedRows

__all__ = ["SchemaFacts", "block_rows_of", "facts_of", "schema_from"]

_KEPT: Final = 1024

GROUP_BYTES: Final = 32 << 20
"""Most bytes of a row group in memory: rows of more than 512 bytes make shorter groups."""

TEXT_BYTES: Final = 16 << 20
"""Most bytes of the strings of a row group. Half of the above: they stand in memory twice or three
times while they are encoded."""

PIECE_ROWS: Final = 4_096
"""From here on rows are worth a page per column: half a block, where codecs begin to work."""

PIECE_BYTES: Final = 4 << 20
"""The same for few rows of many bytes."""

FULL_TIER: Final = 255
"""Tier of a row group that holds few rows because their strings are long."""

BLOCK_BYTES: Final = 512 << 10
"""Most bytes of a block: rows of large sub-arrays make shorter blocks."""


class SchemaFacts:
    """What is derived from one schema.

    Attributes
    ----------
    rows : PackedRows
        Rows of all leaves.
    defaults : dict of str to value
        Of columns that have one.
    by_id : dict of int to Leaf
    by_name : dict of str to Leaf
        With dots between the names of fields.
    columns : dict of str to dtype
        What expressions may name.
    row_nbytes : int
        Bytes of a row, packed; of strings a guess.
    strings : dict of str to dtype
        The columns of strings.
    group_rows : int
        Rows of a full row group.
    fields : dict
        `Fields` that were asked for, by what was asked.
    """

    __slots__ = (
        "by_id",
        "by_name",
        "columns",
        "defaults",
        "fields",
        "group_rows",
        "row_nbytes",
        "rows",
        "schema",
        "strings",
    )

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rows = PackedRows(schema.leaves)
        self.by_id: dict[int, Leaf] = {leaf.id: leaf for leaf in schema.leaves}
        self.by_name: dict[str, Leaf] = {".".join(leaf.path): leaf for leaf in schema.leaves}
        self.columns = _columns(schema)
        self.defaults: dict[str, Any] = {
            column.name: unpack_value(column.default)
            for column in schema.columns
            if column.default is not None
        }
        self.fields: dict[object, Any] = {}
        self.strings = {leaf.path[0]: leaf.dtype for leaf in schema.leaves if leaf.is_string}
        self.row_nbytes = sum(leaf.memory for leaf in schema.leaves)
        self.group_rows = max(1, min(GROUP_ROWS, GROUP_BYTES // max(1, self.row_nbytes)))

    def are_piece(self, n_rows: int, n_bytes: int = 0) -> bool:
        """Tell whether so many rows are kept as a piece rather than as pages.

        Parameters
        ----------
        n_bytes : int
            What their strings have.
        """
        return n_rows < PIECE_ROWS and n_rows * self.row_nbytes + n_bytes < PIECE_BYTES

    def is_full(self, n_rows: int, tier: int) -> bool:
        """Tell whether so many rows of pages are left alone by folding."""
        return n_rows * 4 >= self.group_rows * 3 or (tier == FULL_TIER and bool(self.strings))


def block_rows_of(leaf: Leaf) -> int:
    """Return the rows of a block of a leaf's pages."""
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(1, leaf.nbytes)))


def _columns(schema: Schema) -> dict[str, np.dtype[Any]]:
    columns: dict[str, np.dtype[Any]] = {}
    for column in schema.columns:
        columns[column.name] = column.dtype  # also nested ones: messages say what they are
    for leaf in schema.leaves:
        dtype = np.dtype((leaf.dtype, leaf.shape)) if leaf.shape else leaf.dtype
        columns[".".join(leaf.path)] = dtype
    return columns


_facts: dict[int, SchemaFacts] = {}


def facts_of(schema: Schema) -> SchemaFacts:
    """Return what is derived from a schema."""
    found = _facts.get(id(schema))
    if found is None or found.schema is not schema:
        if len(_facts) >= _KEPT:
            _facts.clear()
        found = _facts[id(schema)] = SchemaFacts(schema)
    return found


@functools.lru_cache(maxsize=_KEPT)
def schema_from(value: bytes) -> Schema:
    """Return the schema of an ``S`` record's value."""
    return Schema.unpack(unpack_record(value)[1])
