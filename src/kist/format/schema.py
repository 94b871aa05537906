"""The schema record of a table: its columns, their leaves, and the dtype that the user gave.

A *column* is a top-level field. It has an id that is never used again, so that data written under
an older schema keep their meaning when columns come, go or change their names. A *leaf* is what is
stored: a column without inner structure is one leaf; each innermost field of a structured column
is one; a sub-array is one leaf with several values a row. docs/format.md, "Schema", gives the
bytes; `altering` makes the next schema of one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from operator import attrgetter, itemgetter
from typing import Any, Final

import numpy as np

from kist.errors import ColumnNotFoundError, DTypeError, UnsupportedVersionError
from kist.format.categorical import is_categorical, values_dtype
from kist.format.columns import (
    CATEGORICAL,
    NULLABLE,
    RAGGED,
    SEALED,
    VIRTUAL,
    ColumnSpec,
    Gone,
    Layout,
    pack_column,
    pack_gone,
    unpack_column,
    unpack_gone,
)
from kist.format.cursor import Cursor
from kist.format.dtypes import MAX_FIELDS, MAX_ITEMSIZE, is_string_dtype, pack_dtype, unpack_dtype
from kist.format.leaves import Leaf, byte_places, is_loose, walk_leaves
from kist.format.ragged import check_ragged, is_ragged

__all__ = [
    "CATEGORICAL",
    "NULLABLE",
    "RAGGED",
    "SEALED",
    "VIRTUAL",
    "ColumnSpec",
    "Gone",
    "Layout",
    "Leaf",
    "Schema",
]

PLAIN_VERSION, VERSION = 1, 2
"""Versions of the record: the second has what `ColumnSpec.is_plain` asks for, and gone leaves."""

MAX_GATHER_BYTES: Final = 65_536
"""Longest row that gets a byte index, which takes 8 bytes per byte."""

_SHORT: Final = 65_536
"""Bytes of the longest record that is kept at hand after reading."""

_HAS_LAYOUT, _ALIGNED, _RECORD = 0x01, 0x02, 0x04

_HEAD = struct.Struct("<BBIIIH")
_N_GONE = struct.Struct("<I")


@dataclass(frozen=True)
class Schema:
    """The columns of a table at one time.

    Attributes
    ----------
    version : int
        Number of this schema in its table; each change gives the next.
    columns : tuple of ColumnSpec
        In the order of the fields.
    next_column_id, next_leaf_id : int
        First numbers that were never used.
    layout : Layout or None
        None when the fields stand one after the other.
    gone : tuple of Gone
        Leaves of earlier versions that pieces or patches may still hold.
    """

    version: int
    columns: tuple[ColumnSpec, ...]
    next_column_id: int
    next_leaf_id: int
    layout: Layout | None = None
    gone: tuple[Gone, ...] = ()

    @classmethod
    def from_dtype(
        cls,
        dtype: np.dtype[Any],
        *,
        codec: str | Mapping[str, str] = "auto",
        defaults: Mapping[str, bytes] | None = None,
    ) -> Schema:
        """Return the first schema of a table.

        Parameters
        ----------
        dtype : structured dtype
            Kept exactly, with offsets, alignment and titles.
        codec : str or mapping of column to str
            Columns that the mapping does not name get "auto".
        defaults : mapping of column to bytes, optional
            Packed default values.

        Raises
        ------
        DTypeError
            Not a structured dtype, or one that cannot be stored.
        """
        dtype = np.dtype(dtype)
        if not dtype.names:
            raise DTypeError(f"a table needs a dtype with named fields, not {dtype!r}")
        packed = pack_dtype(dtype)  # raises for what cannot be stored, naming the field
        if isinstance(codec, str) and not defaults:
            return _first_schema(packed, codec)
        return cls._of_dtype(dtype, codec, defaults)

    @classmethod
    def _of_dtype(
        cls,
        dtype: np.dtype[Any],
        codec: str | Mapping[str, str],
        defaults: Mapping[str, bytes] | None,
    ) -> Schema:
        names: tuple[str, ...] = dtype.names or ()
        places: Mapping[str, Any] = dtype.fields or {}
        fields = [places[name] for name in names]
        schema = cls.from_columns(
            [(name, field[0]) for name, field in zip(names, fields, strict=True)],
            titles=[field[2] if len(field) > 2 else None for field in fields],
            codec=codec,
            defaults=defaults,
        )
        offsets = tuple(field[1] for field in fields)
        is_record = dtype.type is np.record
        if (
            offsets == tuple(_packed_offsets(schema.columns))
            and dtype.itemsize == _total(schema.columns)
            and not (is_record or dtype.isalignedstruct)
        ):
            return schema
        layout = Layout(offsets, dtype.itemsize, dtype.isalignedstruct, is_record)
        return replace(schema, layout=layout)

    @classmethod
    def from_columns(
        cls,
        fields: Sequence[tuple[str, np.dtype[Any]]],
        *,
        titles: Sequence[str | None] | None = None,
        codec: str | Mapping[str, str] = "auto",
        defaults: Mapping[str, bytes] | None = None,
    ) -> Schema:
        """Return the first schema of a table whose columns may also be strings, or ragged.

        Parameters
        ----------
        fields : sequence of (str, dtype)
            Names and dtypes; the fields stand one after the other.
        titles : sequence of str or None, optional
            One per field.
        codec, defaults
            As in `from_dtype`.

        Raises
        ------
        DTypeError
            A dtype that cannot be stored, too many columns, or a name that occurs twice.
        """
        columns = []
        n_leaves = 0
        for number, (name, base) in enumerate(fields):
            pack_dtype(base)
            refuse_inner_strings(name, base)
            columns.append(
                ColumnSpec(
                    id=number,
                    name=name,
                    dtype=base,
                    title=titles[number] if titles else None,
                    default=(defaults or {}).get(name),
                    codec=codec if isinstance(codec, str) else codec.get(name, "auto"),
                    first_leaf=n_leaves,
                )
            )
            n_leaves += sum(1 for _ in walk_leaves(base, (), ()))
        return usable(cls(1, tuple(columns), len(columns), n_leaves))

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The structured dtype of the table, equal to the one it was created with.

        Columns of strings and ragged ones stand as object fields: NumPy does not allow
        `StringDType` in structured dtypes, and the cells of rows are arrays. A categorical column
        is of the dtype of its values.
        """
        spec: Any = {
            "names": [column.name for column in self.columns],
            "formats": [in_row(column.dtype) for column in self.columns],
        }
        if any(column.title is not None for column in self.columns):
            spec["titles"] = [column.title for column in self.columns]
        dtype: np.dtype[Any]
        layout = self.layout
        if layout is None:
            dtype = np.dtype(spec)
            return dtype
        spec |= {"offsets": list(layout.offsets), "itemsize": layout.itemsize}
        try:
            dtype = np.dtype(spec, align=layout.aligned)
        except ValueError:
            if not layout.aligned:
                raise
            dtype = np.dtype(spec)  # aligned for another machine: only the flag is lost
        if layout.record:
            dtype = np.dtype((np.record, dtype))
        return dtype

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """All leaves, in the order of the fields; virtual ones among them.

        Of a categorical column those of its values, which are virtual; its codes are in `stored`.
        """
        return tuple(leaf for leaf in self._every if not self._are_codes(leaf))

    @cached_property
    def stored(self) -> tuple[Leaf, ...]:
        """The leaves that are not virtual, in the order of the fields."""
        return tuple(leaf for leaf in self._every if not leaf.is_virtual)

    def _are_codes(self, leaf: Leaf) -> bool:
        return not leaf.is_virtual and self.columns[leaf.column].is_categorical

    @cached_property
    def _every(self) -> tuple[Leaf, ...]:
        found = []
        for index, column in enumerate(self.columns):
            first = column.first_leaf
            for number, (path, base, shape) in enumerate(
                walk_leaves(column.dtype, (column.name,), ()), first
            ):
                n_values = math.prod(shape)
                found.append(Leaf(number, path, base, shape, 0, n_values, index, column.is_virtual))
            if column.is_categorical:
                walk = walk_leaves(column.shown, (column.name,), ())
                for number, (path, base, _) in enumerate(walk, _values_leaf(first)):
                    found.append(Leaf(number, path, base, (), 0, 1, index, True, first))
        offsets = {}
        at = 0
        for leaf in sorted(found, key=attrgetter("id")):
            offsets[leaf.id] = at
            at += 0 if leaf.is_virtual else leaf.nbytes
        return tuple(replace(leaf, offset=offsets[leaf.id]) for leaf in found)

    @cached_property
    def packed(self) -> tuple[Leaf, ...]:
        """The same in the order of the packed row: by their ids."""
        return tuple(sorted(self.stored, key=attrgetter("id")))

    @cached_property
    def kept(self) -> Schema:
        """The schema of rows as they are stored, without virtual columns; perhaps itself.

        Categorical columns are structured ones of their codes.
        """
        return self._part(
            tuple(
                replace(column, dtype=np.dtype([("code", column.dtype["code"])]))
                if column.is_categorical
                else column
                for column in self.columns
                if not column.is_virtual
            )
        )

    @cached_property
    def given(self) -> Schema:
        """The schema of rows as they are given, without computed columns; perhaps itself.

        Categorical columns are ones of their values.
        """
        return self._part(
            tuple(
                replace(column, dtype=column.shown, first_leaf=_values_leaf(column.first_leaf))
                if column.is_categorical
                else column
                for column in self.columns
                if column.expression is None
            )
        )

    def _part(self, columns: tuple[ColumnSpec, ...]) -> Schema:
        if columns == self.columns:
            return self
        return replace(self, columns=columns, layout=layout_for(self.layout, columns))

    @cached_property
    def _leaf_dtype(self) -> np.dtype[Any]:
        leaves = [leaf for leaf in self.packed if not leaf.is_loose]
        spec: Any = {
            "names": [f"f{leaf.id}" for leaf in leaves],
            "formats": [(leaf.dtype, leaf.shape) if leaf.shape else leaf.dtype for leaf in leaves],
        }
        dtype: np.dtype[Any] = np.dtype(spec)
        return dtype

    def leaf_dtype(self) -> np.dtype[Any]:
        """Return the packed flat dtype: one field ``f<leaf id>`` per leaf, without gaps.

        Leaves without a fixed width have no place in it, nor have virtual ones.
        """
        return self._leaf_dtype

    @cached_property
    def is_flat(self) -> bool:
        """Whether a row of `dtype` has the same bytes as a row of `leaf_dtype`."""
        if self.dtype.hasobject or self.dtype.itemsize != self._leaf_dtype.itemsize:
            return False
        index = self._byte_places() if self.dtype.itemsize <= MAX_GATHER_BYTES else None
        if index is None:
            return False
        return bool((index == np.arange(len(index))).all())

    def _byte_places(self) -> np.ndarray[Any, np.dtype[np.intp]] | None:
        places = byte_places(self.dtype)
        if any(leaf.is_virtual for leaf in self.leaves):
            return None  # a row of all columns is never stored; that of `kept` is
        if self.packed == self.leaves:
            return places
        ends = np.cumsum([leaf.nbytes for leaf in self.leaves])
        start = {leaf.id: end - leaf.nbytes for leaf, end in zip(self.leaves, ends, strict=True)}
        return np.concatenate(
            [places[start[leaf.id] : start[leaf.id] + leaf.nbytes] for leaf in self.packed]
        )

    @cached_property
    def byte_index(self) -> np.ndarray[Any, np.dtype[np.intp]] | None:
        """For each byte of a row of `leaf_dtype` its place in a row of `dtype`.

        None when there is no need (`is_flat`), when a row holds strings without a fixed width or
        virtual columns, and for rows longer than 64 KiB.
        """
        if self.is_flat or self.dtype.hasobject or self.dtype.itemsize > MAX_GATHER_BYTES:
            return None
        return self._byte_places()

    def index(self, name: str) -> int:
        """Return the position of a column in `columns`.

        Raises
        ------
        ColumnNotFoundError
            There is none of that name.
        """
        try:
            return self._positions[name]
        except KeyError:
            import difflib

            near = difflib.get_close_matches(str(name), self._positions, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ColumnNotFoundError(
                f"no column {name!r}; {hint}the columns are {_listed(self._positions)}"
            ) from None

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {column.name: index for index, column in enumerate(self.columns)}

    @cached_property
    def sealed(self) -> dict[int, tuple[ColumnSpec, ...]]:
        """The sealed fields, each a number and its columns, in the order of the numbers."""
        found: dict[int, tuple[ColumnSpec, ...]] = {}
        for column in sorted(self.columns, key=attrgetter("field")):
            if column.field:
                found[column.field] = (*found.get(column.field, ()), column)
        return found

    def leaves_of(self, name: str) -> tuple[Leaf, ...]:
        """Return the leaves of one column."""
        index = self.index(name)
        return tuple(leaf for leaf in self.leaves if leaf.column == index)

    def stored_of(self, name: str) -> tuple[Leaf, ...]:
        """Return the leaves of one column that are not virtual: of categories the codes."""
        index = self.index(name)
        return tuple(leaf for leaf in self.stored if leaf.column == index)

    def pack(self) -> bytes:
        """Return the schema record."""
        return self._record

    @cached_property
    def _record(self) -> bytes:
        flags = 0
        layout = self.layout
        if layout is not None:
            flags = _HAS_LAYOUT | _ALIGNED * layout.aligned | _RECORD * layout.record
        n_columns = len(self.columns)
        is_plain = not self.gone and all(column.is_plain for column in self.columns)
        record_version = PLAIN_VERSION if is_plain else VERSION
        ids = self.next_column_id, self.next_leaf_id
        parts = [_HEAD.pack(record_version, flags, self.version, *ids, n_columns)]
        if layout is not None:
            parts.append(struct.pack(f"<I{n_columns}I", layout.itemsize, *layout.offsets))
        parts += map(pack_column, self.columns)
        if not is_plain:
            parts += [_N_GONE.pack(len(self.gone)), *map(pack_gone, self.gone)]
        return b"".join(parts)

    @classmethod
    def unpack(cls, data: bytes) -> Schema:
        """Return the schema of a record.

        Raises
        ------
        CorruptDataError
            The bytes are not a schema record.
        UnsupportedVersionError
            A newer record, or a column with a property that this version does not know.
        """
        data = bytes(data)
        return _unpack_short(data) if len(data) <= _SHORT else _unpack(data)


def _unpack(data: bytes) -> Schema:
    cursor = Cursor(data, "schema record")
    record_version, flags, version, next_column, next_leaf, n_columns = cursor.unpack(_HEAD)
    known = _HAS_LAYOUT | _ALIGNED | _RECORD
    if not PLAIN_VERSION <= record_version <= VERSION or flags & ~known:
        raise UnsupportedVersionError(
            f"schema record version {record_version}, flags {flags:#04x}: use a newer kist"
        )
    layout = None
    if flags & _HAS_LAYOUT:
        itemsize, *offsets = cursor.unpack(struct.Struct(f"<I{n_columns}I"))
        layout = Layout(tuple(offsets), itemsize, bool(flags & _ALIGNED), bool(flags & _RECORD))
    elif flags:
        raise cursor.corrupt("layout flags without a layout")
    columns = tuple(unpack_column(cursor, record_version) for _ in range(n_columns))
    n_gone = cursor.unpack(_N_GONE)[0] if record_version > PLAIN_VERSION else 0
    if n_gone > cursor.left:
        raise cursor.corrupt(f"{n_gone} entries of leaves that are gone")
    gone = tuple(unpack_gone(cursor) for _ in range(n_gone))
    cursor.end()
    schema = Schema(version, columns, next_column, next_leaf, layout, gone)
    _check(schema, cursor)
    return schema


# Schemas do not change, so that every handle of a table can share one and what hangs on it.
_unpack_short = lru_cache(maxsize=64)(_unpack)


@lru_cache(maxsize=64)
def _first_schema(packed: bytes, codec: str) -> Schema:
    """Return the first schema of a table; those of many tables alike share one."""
    return Schema._of_dtype(unpack_dtype(packed), codec, None)


def refuse_inner_strings(name: str, dtype: np.dtype[Any]) -> None:
    """Refuse strings, ragged dtypes and categories anywhere but as columns of their own."""
    if not is_categorical(dtype):
        refuse_inner_categories(name, dtype)
    for path, base, shape in walk_leaves(dtype, (name,), ()):
        if is_ragged(base):
            check_ragged(base)
            if shape or len(path) > 1:
                raise DTypeError(
                    f"{'.'.join(path)}: a ragged dtype can be a column, not a field or a sub-array"
                    " inside one: give the cells a column of their own",
                    column=name,
                )
        if is_string_dtype(base) and (shape or len(path) > 1):
            raise DTypeError(
                f"{'.'.join(path)}: StringDType can be a column, not a field or a sub-array inside"
                " one: give the strings a column of their own, or a fixed width such as 'U20'",
                column=name,
            )


def refuse_inner_categories(name: str, dtype: np.dtype[Any]) -> None:
    """Refuse categorical dtypes inside another one."""
    inner = [dtype.base] if dtype.subdtype is not None else []
    if dtype.names is not None and dtype.fields is not None:
        inner = [dtype.fields[field][0] for field in dtype.names]
    for part in inner:
        if is_categorical(part.base):
            raise DTypeError(
                f"{name}: a categorical dtype can be that of a column, not of a field or a "
                "sub-array inside one",
                column=name,
            )
        refuse_inner_categories(name, part)


def usable(schema: Schema) -> Schema:
    """Return the schema, once NumPy has made both of its dtypes."""
    if len(schema.columns) > MAX_FIELDS:
        raise DTypeError(f"{len(schema.columns)} columns, a table has at most {MAX_FIELDS}")
    try:
        if schema.leaf_dtype().itemsize > MAX_ITEMSIZE or not schema.dtype.names:
            raise ValueError(f"a row of {schema.leaf_dtype().itemsize} bytes")
    except (ValueError, TypeError) as error:
        raise DTypeError(f"the columns make no dtype that a table can have: {error}") from None
    return schema


def _check(schema: Schema, cursor: Cursor) -> None:
    """Raise unless names, numbers and layout of an unpacked schema fit together."""
    columns = schema.columns
    if not columns:
        raise cursor.corrupt("a table without columns")
    if len({column.id for column in columns}) != len(columns):
        raise cursor.corrupt("two columns with one id")
    if max(column.id for column in columns) >= schema.next_column_id:
        raise cursor.corrupt("a column id that was never given")
    parts: list[tuple[int, np.dtype[Any], str, int, int | None]]
    parts = [(c.first_leaf, c.dtype, c.name, c.since, None) for c in columns]
    parts += [(g.first_leaf, g.dtype, "gone", g.since, g.until) for g in schema.gone]
    at = 0
    for first, dtype, name, since, until in sorted(parts, key=itemgetter(0)):
        if first < at:
            raise cursor.corrupt("two leaves with one id")
        if since > schema.version or (until is not None and not since < until <= schema.version):
            raise cursor.corrupt(f"leaves of versions {since} to {until or schema.version}")
        at = first + sum(1 for _ in walk_leaves(dtype, (), ()))
        try:
            refuse_inner_strings(name, dtype)
        except DTypeError as error:
            raise cursor.corrupt(str(error)) from None
    if at > schema.next_leaf_id:
        raise cursor.corrupt("a leaf id that was never given")
    if _total(columns) > MAX_ITEMSIZE:
        raise cursor.corrupt(f"a row of {_total(columns)} bytes")
    try:
        usable(schema)
    except DTypeError as error:
        raise cursor.corrupt(str(error)) from None


def in_row(dtype: np.dtype[Any]) -> np.dtype[Any]:
    dtype = values_dtype(dtype)
    return np.dtype("O") if is_loose(dtype) else dtype


def _values_leaf(codes: int) -> int:
    """Return the id of the first leaf of the values of a categorical column, an even number.

    No number that a file can hold: of these leaves nothing is stored.
    """
    return (1 << 32) + 2 * codes


def layout_for(layout: Layout | None, columns: Sequence[ColumnSpec]) -> Layout | None:
    """Return the layout of other columns: gaps were made for the old ones, alignment is a wish."""
    if layout is None or not (layout.aligned or layout.record):
        return None
    aligned = np.dtype(
        {
            "names": [f"f{column.id}" for column in columns],
            "formats": [in_row(column.dtype) for column in columns],
        },
        align=layout.aligned,
    )
    assert aligned.names is not None and aligned.fields is not None
    offsets = tuple(aligned.fields[name][1] for name in aligned.names)
    return replace(layout, offsets=offsets, itemsize=aligned.itemsize)


def _listed(names: Iterable[str]) -> str:
    """Return names for a message, not more than fit."""
    shown = list(names)
    more = f", ... ({len(shown)} in all)" if len(shown) > 20 else ""
    return ", ".join(map(repr, shown[:20])) + more


def _total(columns: Sequence[ColumnSpec]) -> int:
    return sum(in_row(column.dtype).itemsize for column in columns)


def _packed_offsets(columns: Sequence[ColumnSpec]) -> Iterator[int]:
    at = 0
    for column in columns:
        yield at
        at += in_row(column.dtype).itemsize
