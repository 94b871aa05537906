"""A schema and what is derived from it: found once per schema, not once per call.

Hashing a schema of 50 columns takes as long as appending ten rows, so what belongs to a schema
is kept under the identity of the object. Schema objects themselves are one per content.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from kist._kernels.records import field_view
from kist.errors import CorruptDataError
from kist.format.categorical import sort_of
from kist.format.columns import SEALED, ColumnSpec, Gone
from kist.format.leaves import walk_leaves
from kist.format.nullable import is_nullable
from kist.format.plain import unpack_value
from kist.format.ragged import is_ragged
from kist.format.schema import Leaf, Schema
from kist.format.values import unpack_record
from kist.model.tables.stored.records import BLOCK_ROWS, GROUP_ROWS
from kist.model.tables.stored.rows import PackedRows

__all__ = ["SchemaFacts", "block_rows_of", "facts_of", "schema_from"]

_KEPT: Final = 1024

GROUP_BYTES: Final = 32 << 20
"""Most bytes of a row group in memory: rows of more than 512 bytes make shorter groups."""

TEXT_BYTES: Final = 16 << 20
"""Most bytes of the strings or cells of a row group. Half of the above: they stand in
memory twice or three times while they are encoded."""

PIECE_ROWS: Final = 4_096
"""From here on rows are worth a page per column: half a block, where codecs begin to work."""

PIECE_BYTES: Final = 4 << 20
"""The same for few rows of many bytes."""

FULL_TIER: Final = 255
"""Tier of a row group that holds few rows because their strings or cells are long."""

BLOCK_BYTES: Final = 512 << 10
"""Most bytes of a block: rows of large sub-arrays make shorter blocks."""


Array = np.ndarray[Any, Any]


class ColumnDtypes(dict[str, np.dtype[Any]]):
    """Dtypes of columns by name.

    Attributes
    ----------
    ordered : frozenset of str
        Columns of ordered categories, which are compared by their places.
    """

    def __init__(self, dtypes: Mapping[str, np.dtype[Any]], ordered: frozenset[str]) -> None:
        super().__init__(dtypes)
        self.ordered = ordered


class SchemaFacts:
    """What is derived from one schema.

    Attributes
    ----------
    rows : PackedRows
        Rows of all stored leaves, as pieces of this schema hold them.
    defaults : dict of str to value
        Of columns that have one.
    by_id : dict of int to Leaf
        Also of leaves that are gone, for patches.
    by_name : dict of str to Leaf
        With dots between the names of fields.
    columns : dict of str to dtype
        What conditions and other expressions may name; of a nullable column the values.
    dtypes : dict of str to dtype
        What computed columns may name: nullable ones are structured here.
    nullable : dict of str to str
        Nullable columns, and the names of the fields that say which values are there.
    valid_of : dict of int to Leaf
        The same by the ids of the leaves that hold the values.
    bitmaps : frozenset of int
        Ids of the leaves that say which values of nullable columns are there; sealed ones, which
        are not to stay in memory, left out.
    ordered : frozenset of str
        Columns of ordered categories.
    row_nbytes : int
        Bytes of a row, packed; of strings and cells a guess.
    loose : dict of str to dtype
        The stored columns of strings, and ragged ones.
    group_rows : int
        Rows of a full row group.
    fields : dict
        `Fields` that were asked for, by what was asked.
    categorical : tuple of ColumnSpec
        The columns of categories.
    computed : dict
        Bound expressions of computed columns, by the id of their leaf; `computed_of` fills it.
    computed_ids : frozenset of int
        Ids of these leaves.
    added : frozenset of int
        Ids of leaves that older groups may lack, which then have an initial value.
    sealed : dict of int to int
        The stored leaves of sealed columns by their ids, and the number of the field of each.
    """

    __slots__ = (
        "_initial",
        "_rows_at",
        "_since",
        "added",
        "bitmaps",
        "by_id",
        "by_name",
        "categorical",
        "columns",
        "computed",
        "computed_ids",
        "defaults",
        "dtypes",
        "fields",
        "group_rows",
        "loose",
        "nullable",
        "ordered",
        "row_nbytes",
        "rows",
        "schema",
        "sealed",
        "valid_of",
    )

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.sealed = {
            leaf.id: schema.columns[leaf.column].field
            for leaf in schema.packed
            if schema.columns[leaf.column].field
        }
        self.rows = PackedRows(schema.packed)
        gone = [(leaf, entry) for entry in schema.gone for leaf in _gone_leaves(entry)]
        self.by_id: dict[int, Leaf] = {leaf.id: leaf for leaf, _ in gone}
        self.by_id |= {leaf.id: leaf for leaf in (*schema.leaves, *schema.stored)}
        # Life of each leaf that pieces may hold; nothing where all have lived for ever.
        self._since = {leaf.id: schema.columns[leaf.column].since for leaf in schema.packed}
        self._rows_at: dict[int, PackedRows] = {}
        self._initial: dict[int, Array] = {}
        self.by_name: dict[str, Leaf] = {".".join(leaf.path): leaf for leaf in schema.leaves}
        self.categorical = tuple(column for column in schema.columns if column.is_categorical)
        self.dtypes: dict[str, np.dtype[Any]] = _columns(schema)
        self.columns = self.dtypes
        self.valid_of: dict[int, Leaf] = {}
        self.nullable = {
            column.name: f"{column.name}.valid"
            for column in schema.columns
            if is_nullable(column.shown)
        }
        if self.nullable:
            inner = {name: f"{name}.value" for name in self.nullable}
            self.by_name |= {name: self.by_name[value] for name, value in inner.items()}
            self.columns = self.dtypes | {n: self.dtypes[value] for n, value in inner.items()}
            self.valid_of = {
                self.by_name[name].id: self.by_name[valid] for name, valid in self.nullable.items()
            }
        self.bitmaps = frozenset(
            leaf.id
            for leaf in self.valid_of.values()
            if leaf.is_stored and not schema.columns[leaf.column].flags & SEALED
        )
        self.ordered = frozenset(
            column.name
            for column in self.categorical
            if (sort := sort_of(column.dtype)) is not None and sort.ordered
        )
        self.columns = ColumnDtypes(self.columns, self.ordered)
        self.dtypes = ColumnDtypes(self.dtypes, self.ordered)
        for column in self.categorical:
            codes = self.by_id[column.first_leaf]
            self.by_name[".".join(codes.path)] = codes
        self.defaults: dict[str, Any] = {
            column.name: unpack_value(column.default)
            for column in schema.columns
            if column.default is not None
        }
        self.fields: dict[object, Any] = {}
        self.computed: dict[int, Any] = {}
        specs = {leaf.id: schema.columns[leaf.column] for leaf in schema.leaves}
        self.computed_ids = frozenset(i for i, c in specs.items() if c.expression is not None)
        self.added = frozenset(
            leaf.id for leaf in schema.stored if schema.columns[leaf.column].initial is not None
        )
        self.loose = {leaf.path[0]: leaf.dtype for leaf in schema.stored if leaf.is_loose}
        self.row_nbytes = sum(leaf.memory for leaf in schema.stored)
        self.group_rows = max(1, min(GROUP_ROWS, GROUP_BYTES // max(1, self.row_nbytes)))

    def needs(self, names: Iterable[str]) -> list[str]:
        """Return names of columns, and of what says which of their values are there."""
        names = list(names)
        return [*names, *(self.nullable[name] for name in names if name in self.nullable)]

    def valid(self, names: Iterable[str], columns: Mapping[str, Array]) -> dict[str, Array]:
        """Return where columns have values, of those that are nullable; by what `needs` named."""
        if not self.nullable:
            return {}
        return {name: columns[self.nullable[name]] for name in names if name in self.nullable}

    def rows_at(self, version: int) -> PackedRows:
        """Return what pieces hold that were written under a version of the schema.

        Raises
        ------
        CorruptDataError
            There was no such version.
        """
        found = self._rows_at.get(version)
        if found is None:
            if not 1 <= version <= self.schema.version:
                raise CorruptDataError(
                    f"a row group of schema version {version}, and the schema is of version "
                    f"{self.schema.version}; 'kist check' lists all damage"
                )
            lived = [leaf for leaf in self.schema.packed if self._since[leaf.id] <= version]
            for entry in self.schema.gone:
                if entry.since <= version < entry.until:
                    lived += _gone_leaves(entry)
            if len(lived) == len(self.schema.packed) and all(
                leaf.id in self._since for leaf in lived
            ):
                found = self.rows
            else:
                try:
                    found = PackedRows(sorted(lived, key=lambda leaf: leaf.id))
                except ValueError as error:
                    raise CorruptDataError(f"rows of version {version}: {error}") from error
            self._rows_at[version] = found
        return found

    def parts_at(self, version: int) -> dict[int, PackedRows]:
        """Return the same of a table with sealed fields, by field; 0 are the open leaves."""
        parts: dict[int, list[Leaf]] = {field: [] for field in (0, *self.schema.sealed)}
        for leaf in self.rows_at(version).leaves:
            parts[self.sealed.get(leaf.id, 0)].append(leaf)
        return {field: PackedRows(leaves) for field, leaves in parts.items() if leaves or not field}

    def initial(self, leaf: Leaf, version: int) -> Array | None:
        """Return the values of every row of a group that lacks the page of a leaf.

        Parameters
        ----------
        version : int
            Of the group.

        Returns
        -------
        ndarray, shape (leaf.n_values,), or None
            None when a group of that version must have the page.
        """
        column = self.schema.columns[leaf.column]
        if column.initial is None or version >= column.since or leaf.codes is not None:
            return None
        found = self._initial.get(leaf.id)
        if found is None:
            every = _initial_of(column, unpack_value(column.initial))
            mine = [part for part in self.schema.stored if part.column == leaf.column]
            for part, values in zip(mine, every, strict=True):
                self._initial[part.id] = values
            found = self._initial[leaf.id]
        return found

    def are_piece(self, n_rows: int, n_bytes: int = 0) -> bool:
        """Tell whether so many rows are kept as a piece rather than as pages.

        Parameters
        ----------
        n_bytes : int
            What their strings and cells have.
        """
        return n_rows < PIECE_ROWS and n_rows * self.row_nbytes + n_bytes < PIECE_BYTES

    def is_full(self, n_rows: int, tier: int) -> bool:
        """Tell whether so many rows of pages are left alone by folding."""
        return n_rows * 4 >= self.group_rows * 3 or (tier == FULL_TIER and bool(self.loose))


def block_rows_of(leaf: Leaf) -> int:
    """Return the rows of a block of a leaf's pages."""
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(1, leaf.nbytes)))


def _gone_leaves(entry: Gone) -> Iterator[Leaf]:
    walk = walk_leaves(entry.dtype, ("(gone)",), ())
    for number, (path, base, shape) in enumerate(walk, entry.first_leaf):
        yield Leaf(number, path, base, shape, 0, math.prod(shape), -1)


def _initial_of(column: ColumnSpec, value: Any) -> Iterator[Array]:
    """Yield the initial values of each leaf of a column, flat."""
    try:
        if is_ragged(column.dtype):
            from kist.model.cast_ragged import as_cells

            yield as_cells([value], column.dtype, column=column.name)
            return
        whole: Array = np.empty(column.dtype.shape, column.dtype.base)
        whole[...] = value
        for path, base, shape in walk_leaves(column.dtype, (), ()):
            values = np.ndarray(math.prod(shape), base)
            values.reshape(shape)[...] = field_view(whole, path)
            values.flags.writeable = False
            yield values
    except (TypeError, ValueError, OverflowError) as error:
        raise CorruptDataError(
            f"the initial value of column {column.name!r} does not fit {column.dtype}: {error}"
        ) from error


def _columns(schema: Schema) -> dict[str, np.dtype[Any]]:
    columns: dict[str, np.dtype[Any]] = {}
    for column in schema.columns:
        columns[column.name] = column.shown  # also nested ones: messages say what they are
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
