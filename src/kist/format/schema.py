"""The schema record of a table: its columns, their leaves, and the dtype that the user gave.

A *column* is a top-level field. It has an id that is never used again, so that data written under
an older schema keep their meaning when columns come, go or change their names. A *leaf* is what is
stored: a column without inner structure is one leaf; each innermost field of a structured column
is one; a sub-array is one leaf with several values a row. docs/format.md, "Schemas", gives the
bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np

from kist.errors import ColumnNotFoundError, DTypeError, UnsupportedVersionError
from kist.format.columns import (
    CATEGORICAL,
    NULLABLE,
    RAGGED,
    SEALED,
    VIRTUAL,
    ColumnSpec,
    Layout,
    pack_column,
    unpack_column,
)
from kist.format.cursor import Cursor
from kist.format.dtypes import MAX_FIELDS, MAX_ITEMSIZE, is_string_dtype, pack_dtype
from kist.format.leaves import Leaf, byte_places, walk_leaves

__all__ = [
    "CATEGORICAL",
    "NULLABLE",
    "RAGGED",
    "SEALED",
    "VIRTUAL",
    "ColumnSpec",
    "Layout",
    "Leaf",
    "Schema",
]

VERSION: Final = 1

MAX_GATHER_BYTES: Final = 65_536
"""Longest row that gets a byte index, which takes 8 bytes per byte."""

_SHORT: Final = 65_536
"""Bytes of the longest record that is kept at hand after reading."""

_HAS_LAYOUT, _ALIGNED, _RECORD = 0x01, 0x02, 0x04

_HEAD = struct.Struct("<BBIIIH")


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
    """

    version: int
    columns: tuple[ColumnSpec, ...]
    next_column_id: int
    next_leaf_id: int
    layout: Layout | None = None

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
        if not dtype.names or dtype.fields is None:
            raise DTypeError(f"a table needs a dtype with named fields, not {dtype!r}")
        pack_dtype(dtype)  # raises for what cannot be stored, naming the field
        fields = [dtype.fields[name] for name in dtype.names]
        schema = cls.from_columns(
            [(name, field[0]) for name, field in zip(dtype.names, fields, strict=True)],
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
        """Return the first schema of a table whose columns may also be `StringDType`.

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
            _refuse_inner_strings(name, base)
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
        return _usable(cls(1, tuple(columns), len(columns), n_leaves))

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The structured dtype of the table, equal to the one it was created with.

        `StringDType` columns, which NumPy does not allow in structured dtypes, stand as object
        fields.
        """
        spec: Any = {
            "names": [column.name for column in self.columns],
            "formats": [_in_row(column.dtype) for column in self.columns],
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
        """The stored columns, in the order of the fields and of the packed row."""
        leaves = []
        offset = 0
        for index, column in enumerate(self.columns):
            walk = walk_leaves(column.dtype, (column.name,), ())
            for number, (path, base, shape) in enumerate(walk, column.first_leaf):
                leaf = Leaf(number, path, base, shape, offset, math.prod(shape), index)
                offset += leaf.nbytes
                leaves.append(leaf)
        return tuple(leaves)

    @cached_property
    def _leaf_dtype(self) -> np.dtype[Any]:
        leaves = [leaf for leaf in self.leaves if not leaf.is_string]
        spec: Any = {
            "names": [f"f{leaf.id}" for leaf in leaves],
            "formats": [(leaf.dtype, leaf.shape) if leaf.shape else leaf.dtype for leaf in leaves],
        }
        dtype: np.dtype[Any] = np.dtype(spec)
        return dtype

    def leaf_dtype(self) -> np.dtype[Any]:
        """Return the packed flat dtype: one field ``f<leaf id>`` per leaf, without gaps.

        `StringDType` leaves have no place in it.
        """
        return self._leaf_dtype

    @cached_property
    def is_flat(self) -> bool:
        """Whether a row of `dtype` has the same bytes as a row of `leaf_dtype`."""
        if self.dtype.hasobject or self.dtype.itemsize != self._leaf_dtype.itemsize:
            return False
        index = byte_places(self.dtype) if self.dtype.itemsize <= MAX_GATHER_BYTES else None
        if index is None:
            return False
        return bool((index == np.arange(len(index))).all())

    @cached_property
    def byte_index(self) -> np.ndarray[Any, np.dtype[np.intp]] | None:
        """For each byte of a row of `leaf_dtype` its place in a row of `dtype`.

        None when there is no need (`is_flat`), when a row holds strings without a fixed width,
        and for rows longer than 64 KiB.
        """
        if self.is_flat or self.dtype.hasobject or self.dtype.itemsize > MAX_GATHER_BYTES:
            return None
        return byte_places(self.dtype)

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
            raise ColumnNotFoundError(
                f"no column {name!r}; the columns are {', '.join(map(repr, self._positions))}"
            ) from None

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {column.name: index for index, column in enumerate(self.columns)}

    def leaves_of(self, name: str) -> tuple[Leaf, ...]:
        """Return the leaves of one column."""
        index = self.index(name)
        return tuple(leaf for leaf in self.leaves if leaf.column == index)

    def with_column(
        self,
        name: str,
        dtype: np.dtype[Any],
        *,
        default: bytes | None = None,
        codec: str = "auto",
        title: str | None = None,
        flags: int = 0,
    ) -> Schema:
        """Return the next schema, with one more column at the end."""
        dtype = np.dtype(dtype)
        pack_dtype(dtype)
        _refuse_inner_strings(name, dtype)
        if name in self._positions:
            raise DTypeError(f"there is already a column {name!r}", column=name)
        column = ColumnSpec(
            self.next_column_id, name, dtype, title, default, codec, flags, self.next_leaf_id
        )
        return self._next(
            (*self.columns, column),
            next_column_id=self.next_column_id + 1,
            next_leaf_id=self.next_leaf_id + sum(1 for _ in walk_leaves(dtype, (), ())),
        )

    def without_column(self, name: str) -> Schema:
        """Return the next schema, without one column; its ids are not used again."""
        index = self.index(name)
        return self._next(self.columns[:index] + self.columns[index + 1 :])

    def with_renamed(self, name: str, new_name: str) -> Schema:
        """Return the next schema, with another name for one column; its ids stay."""
        index = self.index(name)
        if new_name in self._positions and new_name != name:
            raise DTypeError(f"there is already a column {new_name!r}", column=new_name)
        columns = list(self.columns)
        columns[index] = replace(columns[index], name=new_name)
        return _usable(replace(self, version=self.version + 1, columns=tuple(columns)))

    def _next(self, columns: tuple[ColumnSpec, ...], **changes: int) -> Schema:
        if not columns:
            raise DTypeError("a table needs at least one column")
        # Gaps were made for the old set of fields; alignment is a wish that can be met again.
        layout = None
        if self.layout is not None and (self.layout.aligned or self.layout.record):
            aligned = np.dtype(
                {
                    "names": [f"f{column.id}" for column in columns],
                    "formats": [_in_row(column.dtype) for column in columns],
                },
                align=self.layout.aligned,
            )
            assert aligned.names is not None and aligned.fields is not None
            offsets = tuple(aligned.fields[name][1] for name in aligned.names)
            layout = replace(self.layout, offsets=offsets, itemsize=aligned.itemsize)
        return _usable(
            replace(self, version=self.version + 1, columns=columns, layout=layout, **changes)
        )

    def pack(self) -> bytes:
        """Return the schema record."""
        flags = 0
        layout = self.layout
        if layout is not None:
            flags = _HAS_LAYOUT | _ALIGNED * layout.aligned | _RECORD * layout.record
        n_columns = len(self.columns)
        parts = [
            _HEAD.pack(
                VERSION, flags, self.version, self.next_column_id, self.next_leaf_id, n_columns
            )
        ]
        if layout is not None:
            parts.append(struct.pack(f"<I{n_columns}I", layout.itemsize, *layout.offsets))
        parts += map(pack_column, self.columns)
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
    if record_version != VERSION or flags & ~(_HAS_LAYOUT | _ALIGNED | _RECORD):
        raise UnsupportedVersionError(
            f"schema record version {record_version}, flags {flags:#04x}: use a newer kist"
        )
    layout = None
    if flags & _HAS_LAYOUT:
        itemsize, *offsets = cursor.unpack(struct.Struct(f"<I{n_columns}I"))
        layout = Layout(tuple(offsets), itemsize, bool(flags & _ALIGNED), bool(flags & _RECORD))
    elif flags:
        raise cursor.corrupt("layout flags without a layout")
    columns = tuple(unpack_column(cursor) for _ in range(n_columns))
    cursor.end()
    schema = Schema(version, columns, next_column, next_leaf, layout)
    _check(schema, cursor)
    return schema


# Schemas do not change, so that every handle of a table can share one and what hangs on it.
_unpack_short = lru_cache(maxsize=64)(_unpack)


def _refuse_inner_strings(name: str, dtype: np.dtype[Any]) -> None:
    """Refuse `StringDType` anywhere but as a column of its own."""
    for path, base, shape in walk_leaves(dtype, (name,), ()):
        if is_string_dtype(base) and (shape or len(path) > 1):
            raise DTypeError(
                f"{'.'.join(path)}: StringDType can be a column, not a field or a sub-array inside"
                " one: give the strings a column of their own, or a fixed width such as 'U20'",
                column=name,
            )


def _usable(schema: Schema) -> Schema:
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
    at = 0
    for column in sorted(columns, key=lambda column: column.first_leaf):
        if column.first_leaf < at:
            raise cursor.corrupt("two leaves with one id")
        at = column.first_leaf + sum(1 for _ in walk_leaves(column.dtype, (), ()))
        try:
            _refuse_inner_strings(column.name, column.dtype)
        except DTypeError as error:
            raise cursor.corrupt(str(error)) from None
    if at > schema.next_leaf_id:
        raise cursor.corrupt("a leaf id that was never given")
    if _total(columns) > MAX_ITEMSIZE:
        raise cursor.corrupt(f"a row of {_total(columns)} bytes")
    try:
        _usable(schema)
    except DTypeError as error:
        raise cursor.corrupt(str(error)) from None


def _in_row(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype("O") if is_string_dtype(dtype) else dtype


def _total(columns: Sequence[ColumnSpec]) -> int:
    return sum(_in_row(column.dtype).itemsize for column in columns)


def _packed_offsets(columns: Sequence[ColumnSpec]) -> Iterator[int]:
    at = 0
    for column in columns:
        yield at
        at += _in_row(column.dtype).itemsize
