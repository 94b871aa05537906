"""Tables as HDF5 datasets of compounds: enumerations of categories, variable length of cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import kist
from kist.bridges.base import BLOCK_ROWS, PART_BYTES, Job, as_dtype, read_ahead
from kist.bridges.categories import Sort, sort_of
from kist.bridges.hdf5.exact import Exact
from kist.bridges.hdf5.lists import are_lists, known_lists, lists_on_disk
from kist.bridges.hdf5.write_types import h5_dtype, is_text, to_h5, without_missing
from kist.bridges.nulls import is_nullable, paired

if TYPE_CHECKING:
    from kist.bridges.hdf5.write import _Writer

__all__ = [
    "Numbered", "cells_on_disk", "is_ragged", "item_on_disk", "known_cells", "note_null_cells",
    "numbered", "row_blocks", "write_table",
]  # fmt: skip

Array = np.ndarray[Any, Any]

_SOME: Final = 64
"""Rows that tell how long the cells behind them are."""
_ENUM_BYTES: Final = 32 << 10
"""Bytes of the names of an enumeration; HDF5 has 64 KiB for a type."""


def write_table(writer: _Writer, table: Any, path: str, facts: dict[str, Any]) -> Any:
    """Write a table block by block; return (dataset or None, what kist alone knows of it)."""
    job = writer.job
    columns = [_Column(writer, table[name], name, path, facts) for name in table.columns]
    known: dict[str, Any] = {
        "columns": {c.name: found for c in columns if (found := dict(c.column.attrs))},
        "text": {c.name: c.column.dtype.str for c in columns if c.column.dtype.kind == "U"},
        "nullable": {
            c.name: c.column.dtype["value"].str
            for c in columns
            if is_nullable(c.column.dtype) and "categories" not in c.known
        },
    }
    filled = [c.name for c in columns if c.column.fill_value is not None]
    if len(filled) < len(columns):
        known["fills"] = filled  # HDF5 has one of all columns, or none
    for what in ("categories", "ragged", "lists"):
        known[what] = {c.name: c.known[what] for c in columns if what in c.known}
    if all(column.is_plain for column in columns):
        dtype = h5_dtype(job, writer.h5py, table.dtype, path, facts.get("enum", {}))
        blocks: Iterator[Array] = (
            to_h5(job, block, dtype, path) for block in job.table_blocks(table)
        )
    else:
        dtype = np.dtype([(c.name, c.on_disk(), c.shape) for c in columns])
        blocks = _blocks(job, table, columns, dtype)
    kind, _ = writer.exact(facts, dtype, (len(table),))
    made = writer.create(path, (len(table),), dtype, table, facts, kind)
    if made is None:
        return None, known
    target = made if kind is None else Exact(writer.h5py, made)
    done = 0
    for block in blocks:
        target[done : done + len(block)] = block
        done += len(block)
    return made, known


class _Column:
    """One column on its way out.

    Attributes
    ----------
    known : dict
        What kist alone knows of it.
    """

    def __init__(
        self, writer: _Writer, column: Any, name: str, path: str, facts: dict[str, Any]
    ) -> None:
        job, h5py = writer.job, writer.h5py
        self.column, self.name, self.place = column, name, f"{path}.{name}"
        self.job, self.h5py, self.path, self.shape = job, h5py, path, column.shape[1:]
        self.dtype: Any = None
        self.enums = facts.get("enum", {})
        self.known: dict[str, Any] = {}
        self.numbered: Numbered | None = None
        self.items: Any = None
        self.is_list = False
        sort = sort_of(column)
        base = facts.get("enum_base", {}).get(name)
        if sort is not None and sort.is_text:
            self.numbered = numbered(column, sort, base)
            if self.numbered is None:
                job.note("hdf5.categories", self.place)
        elif sort is not None:
            self.known["categories"] = {"values": sort.values, "ordered": sort.ordered}
        if self.numbered is not None:
            if self.numbered.known:
                self.known["categories"] = self.numbered.known
            self.dtype = h5py.enum_dtype(self.numbered.names, self.numbered.base)
        elif is_ragged(column) and are_lists(column):
            job.note("hdf5.lists", self.place)
            self.known["lists"] = known_lists(column)
            self.is_list, self.dtype = True, h5py.string_dtype()
        elif is_ragged(column):
            values = column[:0].values
            self.items = item_on_disk(values.dtype)
            if self.items.kind == "V" or values.dtype.kind in "mM":
                job.note("hdf5.items", self.place)
            self.known["ragged"] = known_cells(column)
            self.dtype = h5py.vlen_dtype(self.items)

    def on_disk(self) -> Any:
        """Return the dtype of the field, noting what changes."""
        if self.dtype is None:
            found = self.column.dtype
            self.dtype = h5_dtype(self.job, self.h5py, found, self.path, self.enums, self.name)
        return self.dtype

    @property
    def is_plain(self) -> bool:
        """Whether rows as kist reads them hold it as it is written."""
        special = self.numbered or self.items is not None or self.is_list
        return not (special or is_text(self.column.dtype))

    def read(self, start: int, stop: int) -> Array:
        """Return some rows as h5py writes them."""
        if self.numbered is not None:
            return self.numbered.of(self.column.codes[start:stop])
        values = self.column[start:stop]
        if self.is_list:
            return lists_on_disk(values)
        if self.items is not None:
            note_null_cells(self.job, values, self.place)
            return cells_on_disk(values, self.items)
        if is_text(values.dtype):
            return without_missing(self.job, values, self.place)
        return to_h5(self.job, paired(values), self.dtype, self.place)


def _blocks(job: Job, table: Any, columns: list[_Column], dtype: Any) -> Iterator[Array]:
    def blocks() -> Iterator[tuple[Array, int]]:
        for where, n_bytes in row_blocks(table):
            block = np.zeros(where.stop - where.start, dtype)
            for column in columns:
                block[column.name] = column.read(where.start, where.stop)
            yield block, n_bytes

    for block, n_bytes in read_ahead(blocks()):
        yield block
        job.report.n_rows += len(block)
        job.advance(n_bytes)
    job.report.n_tables += 1


def row_blocks(table: Any) -> Iterator[tuple[slice, int]]:
    """Yield rows that are read at once, and their bytes; cells are as long as the next few tell."""
    n_rows, start = len(table), 0
    cells = [table[name] for name in table.columns if is_ragged(table[name])]
    width = sum(table[name].nbytes for name in table.columns) // max(1, n_rows)
    while start < n_rows:
        inner = sum(column[start : start + _SOME].nbytes for column in cells) // _SOME
        size = max(1, min(BLOCK_ROWS, PART_BYTES // max(1, width + inner)))
        stop = min(start + size, n_rows)
        yield slice(start, stop), (stop - start) * (width + inner)
        start = stop


# Categories


class Numbered:
    """The names of a column and their numbers in HDF5.

    Attributes
    ----------
    names : dict of str to int
    base : dtype
        Of the numbers.
    known : dict
        What HDF5 does not say: which number stands for no value, and what the list is to kist.
    """

    def __init__(self, names: dict[str, int], numbers: Array, base: Any, known: Any) -> None:
        self.names, self.base, self.known = names, base, known
        self._numbers = numbers

    def column(self, tables: Any, at: int, fill: Any = None) -> Any:
        """Return the description of a column of PyTables."""
        first = fill if fill in self.names else next(iter(self.names))
        return tables.EnumCol(tables.Enum(self.names), first, self.base.name, pos=at)

    def of(self, codes: Array) -> Array:
        """Return the numbers of codes; -1 stands for no value."""
        return np.asarray(self._numbers[codes])  # no value is the last


def numbered(column: Any, sort: Sort, base: Any = None) -> Numbered | None:
    """Return how a column of names is an enumeration; None where HDF5 has no such type.

    Parameters
    ----------
    base : str, optional
        Dtype of the numbers, as it was in a file.
    """
    names = sort.names
    listed = list(names)
    size = sum(len(name.encode()) + 16 for name in listed)
    if not listed or size > _ENUM_BYTES or any(not name or "\0" in name for name in listed):
        return None
    low, high = min(names.values()), max(names.values())
    gaps = column.count() < len(column)
    absent = low - 1 if low > -(2**63) else high + 1
    if gaps:
        low, high = min(low, absent), max(high, absent)
    if base is None or not _fits(np.dtype(base), low, high):
        base = next(
            (b for b in ("i1", "u1", "i2", "i4", "i8") if _fits(np.dtype(b), low, high)), None
        )
    if base is None:
        return None
    dtype = np.dtype(base)
    numbers = [*names.values(), absent if gaps else 0]
    known: dict[str, Any] = {}
    if gaps or not (sort.fixed and sort.ordered and sort.numbers):  # else HDF5 says it all
        known = {"ordered": sort.ordered, "fixed": sort.fixed, "numbers": bool(sort.numbers)}
    if gaps:
        known["absent"] = absent
    return Numbered(names, np.array(numbers, dtype), dtype, known)


def _fits(dtype: Any, low: int, high: int) -> bool:
    return bool(dtype.kind in "iu" and np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)


# Cells


def is_ragged(column: Any) -> bool:
    """Tell whether the rows of a column are arrays of different lengths."""
    return isinstance(column[:0], kist.Ragged)


def item_on_disk(dtype: Any) -> Any:
    """Return the dtype of items in HDF5: native ones, or bytes where h5py has no way for them."""
    if dtype.kind in "mM":
        return np.dtype("i8")
    leaves = [dtype[name] for name in dtype.names] if dtype.names else [dtype]
    plain = all(d.kind in "biufcS" and d.isnative and d.itemsize for d in leaves)
    if dtype.names is None and dtype.kind in "biufcS" and dtype.itemsize:
        return as_dtype(dtype.newbyteorder("="))
    return as_dtype(dtype) if plain else np.dtype(f"V{max(1, dtype.itemsize)}")


def _items_on_disk(values: Array, dtype: Any) -> Array:
    """Return the items of cells in the dtype from `item_on_disk`, in one dimension."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype.kind in "mM":
        return flat.astype(flat.dtype.newbyteorder("=")).view("i8")
    return flat.view(dtype) if dtype.kind == "V" and flat.dtype.itemsize else flat.astype(dtype)


def known_cells(column: Any) -> dict[str, Any]:
    """Return what kist alone knows of a ragged column."""
    if column.dtype in (kist.ragged(bytes), kist.nullable(kist.ragged(bytes))):
        return {"bytes": True}
    values = column[:0].values
    return {"like": np.zeros((0, *values.shape[1:]), values.dtype)}


def note_null_cells(job: Job, values: Any, place: str) -> None:
    """Tell of cells that are null: HDF5 has none, and gets empty ones."""
    if values.mask.any():
        job.note("hdf5.null_cells", place)


def cells_on_disk(values: Any, dtype: Any) -> Array:
    """Return cells as an array of arrays."""
    per_item = math.prod(values.values.shape[1:])
    flat, ends = _items_on_disk(values.values, dtype), values.offsets[1:-1] * per_item
    out = np.empty(len(values), object)
    # One by one: NumPy would make one array of cells of one length.
    for at, cell in enumerate(np.split(flat, ends) if len(out) else ()):
        out[at] = cell
    return out
