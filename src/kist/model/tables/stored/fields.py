"""Which part of the rows is meant: all columns, some of them, or one field inside one.

A `Fields` knows the leaves that it needs and how they become an array, so tables, columns and
selections read through the same few functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from kist._kernels.cells import empty_values
from kist.errors import ColumnNotFoundError, DTypeError, SelectionError
from kist.format.categorical import Sort, sort_of
from kist.format.nullable import is_nullable
from kist.format.ragged import is_ragged, item_text
from kist.format.schema import Leaf, Schema, in_row
from kist.model.positions import Positions
from kist.model.tables.stored.computed import check_assignable
from kist.model.tables.stored.read import Span, plan, read_leaves, read_records
from kist.model.tables.stored.schema import facts_of
from kist.model.tables.stored.single import read_single
from kist.model.tables.stored.state import TableState
from kist.model.tables.stored.weight import LooseBytes

__all__ = [
    "Fields",
    "all_fields",
    "assignable",
    "field_at",
    "named_fields",
    "read_fields",
    "read_spans",
]

Array = np.ndarray[Any, Any]
Path = tuple[str, ...]

_KEPT: Final = 1024


@dataclass(frozen=True)
class Fields:
    """Part of the rows of a table.

    Attributes
    ----------
    dtype : dtype
        Of one item of the array read: scalar or structured, never a sub-array.
    item_shape : tuple of int
        Shape of one row in that array: () unless it is a sub-array field.
    leaves : tuple of Leaf
        What is stored of it. Their paths lead from the array read to each.
    stored : tuple of Leaf
        The same leaves as the schema has them.
    label : str
        How messages call it.
    loose : dict of str to dtype
        Columns of strings and ragged ones among its fields, which stand as objects in `dtype`.
    sort : Sort or None
        Of a whole categorical column what its dtype says.
    """

    dtype: np.dtype[Any]
    item_shape: tuple[int, ...]
    leaves: tuple[Leaf, ...]
    stored: tuple[Leaf, ...]
    label: str
    loose: Mapping[str, np.dtype[Any]] = field(default_factory=dict)
    sort: Sort | None = None

    @property
    def is_structured(self) -> bool:
        """Whether items have fields."""
        return self.dtype.names is not None and not self.is_ragged

    @property
    def is_ragged(self) -> bool:
        """Whether it is one ragged column, of which a `Ragged` is given."""
        return is_ragged(self.dtype)

    @property
    def is_nullable(self) -> bool:
        """Whether it is one nullable column, of which a masked array is given."""
        return is_nullable(self.dtype) and not self.item_shape

    def given(self, read: Callable[[Fields], Array]) -> Any:
        """Return what a function reads, as users get it.

        A nullable column comes as a masked array, a ragged one as a `Ragged`.

        Its two leaves are read apart: joined to pairs they would be taken apart again.
        """
        if self.is_ragged:
            from kist.model.ragged import as_given

            return as_given(read(self))
        if not self.is_nullable:
            return read(self)
        values, valid = (
            Fields(leaf.dtype, (), (replace(leaf, path=()),), (leaf,), self.label)
            for leaf in self.stored
        )
        return np.ma.MaskedArray(read(values), mask=~read(valid))

    @property
    def validity(self) -> Leaf | None:
        """The leaf that says which values are there, of a nullable column."""
        return self.stored[1] if self.is_nullable else None

    @property
    def row_nbytes(self) -> int:
        """Bytes of a row in memory, beside its strings and cells."""
        return int(self.dtype.itemsize * np.prod(self.item_shape, dtype=np.int64))

    def only_leaf(self, label: str) -> Leaf:
        """Return the one leaf that it is made of.

        Raises
        ------
        DTypeError
            It has fields.
        """
        if self.is_nullable:
            return self.stored[0]
        if self.is_ragged:
            raise DTypeError(
                f"{label} has no numbers: it holds {item_text(self.dtype)}; read it, and compute "
                "with .values and .lengths of what that gives"
            )
        if self.is_structured or len(self.stored) != 1:
            raise DTypeError(f"{label} has no numbers: it holds {self.dtype}; name a field of it")
        return self.stored[0]

    def empty(self, n_rows: int) -> Array:
        """Return a new array for so many rows; gaps between fields are zero."""
        shape = (n_rows, *self.item_shape)
        if self.is_structured and self.row_nbytes > sum(leaf.nbytes for leaf in self.stored):
            return np.zeros(shape, self.dtype)
        if self.dtype.itemsize == 0:
            # np.empty makes S1 of S0, but a field keeps its dtype.
            return np.empty(shape, [("", self.dtype)])["f0"]
        if self.is_ragged:
            return empty_values(n_rows, self.dtype)
        return np.empty(shape, self.dtype)


def all_fields(schema: Schema) -> Fields:
    """Return all columns of a table."""
    leaves = schema.leaves
    return _kept(
        schema, None, lambda: Fields(schema.dtype, (), leaves, leaves, "rows", _loose(leaves))
    )


def assignable(schema: Schema, fields: Fields) -> Fields:
    """Return the part of all columns that rows give; of fewer columns, these.

    Raises
    ------
    DTypeError
        A computed column is among the fewer ones.
    """
    facts = facts_of(schema)
    if not facts.computed_ids:
        return fields
    if fields is all_fields(schema):
        given = {column.id for column in schema.given.columns}
        stored = tuple(leaf for leaf in schema.leaves if schema.columns[leaf.column].id in given)
        dtype = schema.given.dtype
        return _kept(
            schema, "given", lambda: Fields(dtype, (), stored, stored, "rows", _loose(stored))
        )
    check_assignable(facts, fields.stored)
    return fields


def _loose(leaves: Sequence[Leaf]) -> dict[str, np.dtype[Any]]:
    return {leaf.path[0]: leaf.dtype for leaf in leaves if leaf.is_loose}


def _kept(schema: Schema, key: object, make: Callable[[], Fields]) -> Fields:
    fields = facts_of(schema).fields
    found = fields.get(key)
    if found is None:
        if len(fields) > _KEPT:
            fields.clear()
        found = fields[key] = make()
        assert isinstance(found, Fields)
    return found


def field_at(schema: Schema, path: Path) -> Fields:
    """Return one field by the names that lead to it.

    Raises
    ------
    ColumnNotFoundError
        There is no such field.
    """
    return _kept(schema, path, lambda: _field_at(schema, path))


def _field_at(schema: Schema, path: Path) -> Fields:
    dtype = schema.dtype
    shape: tuple[int, ...] = ()
    for depth, name in enumerate(path):
        if name not in (dtype.names or ()):
            raise ColumnNotFoundError(_no_field(dtype, path, depth))
        assert dtype.fields is not None
        dtype = dtype.fields[name][0]
        while dtype.subdtype is not None:
            dtype, inner = dtype.subdtype
            shape += inner
    stored = tuple(leaf for leaf in schema.leaves if leaf.path[: len(path)] == path)
    if len(stored) == 1 and stored[0].is_loose:
        dtype = stored[0].dtype
    leaves = tuple(replace(leaf, path=leaf.path[len(path) :]) for leaf in stored)
    column = schema.columns[schema.index(path[0])]
    sort = sort_of(column.dtype) if len(path) == 1 and column.is_categorical else None
    return Fields(dtype, shape, leaves, stored, f"column {'.'.join(path)!r}", sort=sort)


def _no_field(dtype: np.dtype[Any], path: Path, depth: int) -> str:
    name = ".".join(path)
    if dtype.names is None:
        return f"no column {name!r}: {'.'.join(path[:depth])!r} has no fields"
    names = ", ".join(map(repr, dtype.names[:20])) + (", ..." if len(dtype.names) > 20 else "")
    where = f"{'.'.join(path[:depth])!r} has the fields" if depth else "the columns are"
    import difflib

    near = difflib.get_close_matches(path[depth], dtype.names, 1)
    hint = f"did you mean {'.'.join((*path[:depth], *near))!r}? " if near else ""
    return f"no column {name!r}; {hint}{where} {names}"


def parse_path(schema: Schema, name: str) -> Path:
    """Return the names that a column's name stands for: a column of that name comes first."""
    if name in (schema.dtype.names or ()):
        return (name,)
    for column in schema.columns:  # NumPy finds fields by their titles too
        if column.title == name:
            return (column.name,)
    return tuple(name.split("."))


def named_fields(schema: Schema, names: Sequence[str]) -> Fields:
    """Return some columns as one structured dtype, in the order given.

    Raises
    ------
    ColumnNotFoundError
        There is no such column.
    SelectionError
        A name occurs twice, or there is none.
    """
    if not names:
        raise SelectionError("a list of columns needs at least one name")
    if odd := [name for name in names if not isinstance(name, str)]:
        raise SelectionError(f"columns are chosen by their names, as text, and {odd[0]!r} is none")
    if len(set(names)) != len(names):
        raise SelectionError(f"columns are named twice in {list(names)!r}")
    return _kept(schema, (tuple(names),), lambda: _named(schema, tuple(names)))


def _named(schema: Schema, names: tuple[str, ...]) -> Fields:
    dtypes: list[tuple[Any, ...]] = []
    leaves: list[Leaf] = []
    stored: list[Leaf] = []
    for name in names:
        path = parse_path(schema, name)
        found = field_at(schema, path)
        title = None
        if len(path) == 1 and schema.dtype.fields is not None:
            title = (*schema.dtype.fields[path[0]], None)[2]
        key = path[0] if len(path) == 1 else name
        shown = in_row(found.dtype)
        named = key if title is None else (title, key)
        shape = found.item_shape  # () is not the same as none where an item has no width
        dtypes.append((named, shown, shape) if shape else (named, shown))
        leaves += [replace(leaf, path=(key, *leaf.path)) for leaf in found.leaves]
        stored += found.stored
    dtype = np.dtype(dtypes)
    if schema.layout is not None and schema.layout.record:
        dtype = np.dtype((np.record, dtype))
    label = f"columns {', '.join(names)}"
    return Fields(dtype, (), tuple(leaves), tuple(stored), label, _loose(leaves))


def read_spans(state: TableState, fields: Fields, spans: Sequence[Span], n_rows: int) -> Array:
    """Read the rows of some spans into a new array."""
    out = fields.empty(n_rows)
    fill_spans(state, fields, spans, out)
    return out


def fill_spans(state: TableState, fields: Fields, spans: Sequence[Span], out: Array) -> None:
    """Read the rows of some spans into an array."""
    if not spans:
        return
    if fields.is_structured:
        read_records(state, spans, fields.leaves, out)
    else:
        read_leaves(state, spans, fields.stored, [out.reshape(-1)])


def read_fields(state: TableState, fields: Fields, positions: Positions) -> Array:
    """Read the rows at some positions, in their order and with their repeats.

    Returns
    -------
    ndarray, shape ``(*positions.shape, *fields.item_shape)``
        New; of shape () for a single row of a scalar field.
    """
    rows, back = positions.ascending()
    if positions.is_single and fields.is_structured and fields.row_nbytes and not fields.loose:
        return read_single(state, fields, int(rows[0]))
    out = read_spans(state, fields, plan(state, rows), len(rows))
    if not isinstance(back, slice):
        out = out.take(back, axis=0)
    elif back.step is not None:
        out = out[back]
    if positions.is_single:
        return out.reshape(fields.item_shape)
    if len(positions.shape) != 1:
        out = out.reshape(*positions.shape, *fields.item_shape)
    return out


def block_rows(schema: Schema, n_rows: int | None) -> int:
    """Return the rows of a block: a row group, or as many as the user asks for."""
    if n_rows is None:
        return facts_of(schema).group_rows
    if isinstance(n_rows, bool) or not hasattr(n_rows, "__index__"):
        raise TypeError(f"n_rows is an int, not {type(n_rows).__name__}")
    if n_rows < 1:
        raise ValueError(f"a block has at least one row, not {n_rows}")
    return int(n_rows)


def row_blocks(
    state: TableState, n_rows: int, leaves: Sequence[Leaf] | None = None
) -> Iterator[range]:
    """Cut all rows into ranges of `n_rows` rows, the last one shorter.

    Parameters
    ----------
    leaves : sequence of Leaf, optional
        What is read of them: a range may also end with a row group where their strings and cells
        are enough.
    """
    start = 0
    if leaves is not None and any(leaf.is_loose for leaf in leaves):
        weight = LooseBytes(state, leaves)
        layout = state.layout
        at = 0
        for group, stop in zip(layout.groups, layout.starts[1:].tolist(), strict=True):
            heavy = weight.add(group, stop - at)
            at = stop
            if heavy or stop - start >= n_rows:
                whole = stop if heavy else stop - (stop - start) % n_rows
                yield from _ranges(start, whole, n_rows)
                start = whole
                weight.clear()
                weight.add(group, stop - start)
    yield from _ranges(start, state.n_rows, n_rows)


def _ranges(start: int, stop: int, n_rows: int) -> Iterator[range]:
    return (range(low, min(low + n_rows, stop)) for low in range(start, stop, n_rows))
