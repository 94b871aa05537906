"""Rows of an HDF5 file as those of a table: enumerated values by name, cells of any length."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import kist
from kist.bridges.base import BLOCK_ROWS, PART_BYTES, TEXT, as_dtype, rows_for
from kist.bridges.categories import enum_dtype
from kist.bridges.hdf5.exact import cells
from kist.bridges.hdf5.lists import restore_lists
from kist.bridges.hdf5.types import Plan
from kist.bridges.hdf5.values import Texts, to_stored
from kist.bridges.nulls import restored
from kist.errors import KistError

if TYPE_CHECKING:
    from kist.bridges.hdf5.read import Source

__all__ = ["read_table", "restore_nulls", "restore_text"]

Array = np.ndarray[Any, Any]
Values = Any
"""A function from values as h5py reads them to those of a column."""

_FIRST_ROWS: Final = 64
"""Rows that tell how long cells are, before many are read at once."""


class _Unnamed(Exception):
    """An enumerated value that has no name."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def read_table(
    source: Source,
    dataset: Any,
    reader: Any,
    plan: Plan,
    path: str,
    place: str,
    attrs: dict[str, Any],
    known: dict[str, Any],
    fills: dict[str, Any],
    by_column: dict[str, Any],
) -> None:
    """Read a dataset of compounds into a table.

    Parameters
    ----------
    dataset : h5py.Dataset
    reader : h5py.Dataset or alike
        What is read in its place.
    known : dict
        What kist knew when it wrote the file.
    fills, by_column : dict
        Fill values and attributes of columns.
    """
    job = source.job
    restore_text(plan, known)
    restore_nulls(plan, known.get("nullable", {}))
    special = _special(source, reader, plan, known)
    special |= restore_lists(_entries(known, "lists"), plan.columns or {}, place)
    beside = _beside(source, reader, dataset, plan, special, known)
    texts = source.texts(place)
    fills = fills or _fills(reader, plan)
    if isinstance(known.get("fills"), list):
        fills = {name: value for name, value in fills.items() if name in known["fills"]}
    report = job.report
    while True:
        before = report.n_tables, report.n_rows, report.nbytes
        facts = attrs.get("HDF5", {}) | plan.facts
        try:
            with job.steps.attempt(path):
                made = job.table(
                    path,
                    plan.columns or plan.dtype,
                    lambda first: _rows(reader, beside, plan, special, texts, first),
                    fill_value=_named_fills(fills, special, plan) or None,
                    attrs={**attrs, "HDF5": facts} if facts else attrs,
                )
            break
        except _Unnamed as found:
            report.n_tables, report.n_rows, report.nbytes = before
            job.note("hdf5.enum", f"{place}.{found.column}")
            numbers = special.pop(found.column).numbers
            bases = {n: d for n, d in plan.facts["enum_base"].items() if n != found.column}
            enums = {**plan.facts["enum"], found.column: numbers}
            plan.facts = {**plan.facts, "enum_base": bases, "enum": enums}
            _columns_of(plan)[found.column] = as_dtype(reader.dtype[found.column].str)
    for name, values in {**known.get("columns", {}), **by_column}.items():
        if name in made.columns:
            made[name].attrs.update(values)


def _rows(
    reader: Any,
    beside: dict[str, Any],
    plan: Plan,
    special: dict[str, Values],
    texts: Texts,
    first: int,
) -> Iterator[Any]:
    """Yield blocks of rows from a row on; columns where some hold text, names or cells."""
    n_rows, width = reader.shape[0], reader.dtype.itemsize + 48 * len(plan.columns or ())
    ragged = [name for name in special if name in beside or reader.dtype[name].kind == "O"]
    size, start = _FIRST_ROWS if ragged else rows_for(width), first
    while start < n_rows:
        where = slice(start, min(start + size, n_rows))
        values = reader[where]
        start = where.stop
        if plan.columns is None:
            yield to_stored(values, plan.dtype, texts)  # type: ignore[arg-type]
            continue
        block: dict[str, Any] = {}
        for name, dtype in plan.columns.items():
            found = beside[name][where] if name in beside else values[name]
            block[name] = (
                special[name](found) if name in special else to_stored(found, dtype, texts)
            )
        yield block
        if ragged:
            inner = sum(block[name].nbytes for name in ragged) // max(1, len(values))
            # Several row groups at once where cells are long: appended alone they stay small ones.
            size = max(1, min(BLOCK_ROWS, 4 * PART_BYTES // (width + inner)))


def _fills(dataset: Any, plan: Plan) -> dict[str, Any]:
    fill = dataset.fillvalue
    if plan.dtype is None or not isinstance(fill, np.void) or fill.dtype.hasobject:
        return {}
    names = plan.columns or plan.dtype.names or ()
    return {name: fill[name] for name in names} if fill.tobytes().strip(b"\0") else {}


def _named_fills(fills: dict[str, Any], special: dict[str, Values], plan: Plan) -> dict[str, Any]:
    found = dict(fills)
    for name in special.keys() & fills.keys():
        try:
            found[name] = special[name](np.asarray(fills[name]).reshape(1)).tolist()[0]
        except _Unnamed:
            del found[name]
    return found


# What kist knew


def restore_text(plan: Plan, known: dict[str, Any]) -> None:
    """Put text of fixed width, which kist wrote as UTF-8, into a plan in place of bytes."""
    names = known.get("text", {})
    if plan.dtype is None or not (names or "dtype" in known):
        return

    def restored(stored: Any, wanted: Any) -> Any:
        found = np.dtype(wanted) if isinstance(wanted, str) else stored
        # No wider than its bytes: a file may say anything.
        fits = found.kind == "U" and stored.kind == "S" and found.itemsize <= stored.itemsize
        return found if fits else stored

    if plan.columns is not None:
        plan.columns = {n: restored(d, names.get(n)) for n, d in plan.columns.items()}
    elif plan.dtype.names is not None:
        fields = {n: plan.dtype[n] for n in plan.dtype.names}
        plan.dtype = np.dtype([(n, restored(d, names.get(n))) for n, d in fields.items()])
    else:
        plan.dtype = restored(plan.dtype, known.get("dtype"))


def restore_nulls(plan: Plan, columns: dict[str, str]) -> None:
    """Put nullable values into a plan in place of the pairs that kist wrote for them."""
    if plan.columns is not None:
        pairs = {n: d for n, d in plan.columns.items() if d.names == ("value", "valid")}
        rows = np.dtype(list(pairs.items()))
        found = restored(rows, columns) if rows.names else rows
        plan.columns = {n: found[n] if n in (found.names or ()) else d
                        for n, d in plan.columns.items()}  # fmt: skip
    elif columns and plan.dtype is not None and plan.dtype.names is not None:
        plan.dtype = restored(plan.dtype, columns)


def _special(source: Source, reader: Any, plan: Plan, known: dict[str, Any]) -> dict[str, Values]:
    """Return what makes values of columns of names and of cells, and their dtypes in the plan."""
    found: dict[str, Values] = {}
    categories, ragged = _entries(known, "categories"), _entries(known, "ragged")
    for name in plan.special:
        dtype, columns = reader.dtype[name], _columns_of(plan)
        if dtype.kind == "O":
            items = np.dtype(source.h5py.check_vlen_dtype(dtype))
            columns[name], found[name] = _cells_of(source.h5py, items, ragged.get(name, {}))
        else:
            names = source.h5py.check_enum_dtype(dtype)
            numbers = {str(key): int(value) for key, value in names.items()}
            entry = categories.get(name, {})
            columns[name] = _names_dtype(numbers, entry) or columns[name]
            found[name] = _Names(name, numbers, entry.get("absent"))
    return found | _restore_categories(plan, categories)


def _columns_of(plan: Plan) -> dict[str, Any]:
    """Return the columns of a plan, also where it has none of a kind of kist."""
    if plan.columns is not None:
        return plan.columns
    rows = plan.dtype
    return {name: rows[name] for name in rows.names or ()} if rows is not None else {}


def _entries(known: dict[str, Any], what: str) -> dict[str, Any]:
    """Return what a file says of columns, as far as it makes sense; it may say anything."""
    entries = known.get(what)
    if not isinstance(entries, dict):
        return {}
    return {name: entry for name, entry in entries.items() if isinstance(entry, dict)}


def _names_dtype(numbers: dict[str, int], entry: dict[str, Any]) -> Any:
    """Return the dtype of a column of names; None where kist knows nothing of it."""
    if not entry:
        return None
    ordered = bool(entry.get("ordered"))
    listed = sorted(numbers, key=numbers.__getitem__)
    if entry.get("fixed"):
        return enum_dtype(numbers if entry.get("numbers") else listed, ordered=ordered)
    return kist.categorical(str, listed, ordered=ordered)


def _beside(
    source: Source,
    reader: Any,
    dataset: Any,
    plan: Plan,
    special: dict[str, Values],
    known: dict[str, Any],
) -> dict[str, Any]:
    """Return the datasets beside a table of PyTables that hold cells of its rows."""
    found: dict[str, Any] = {}
    entries = known.get("beside")
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        node, items = entry if isinstance(entry, list) and len(entry) == 2 else ("", {})
        array: Any = dataset.parent.get(node) if isinstance(node, str) and node else None
        base = source.h5py.check_vlen_dtype(getattr(array, "dtype", np.dtype("u1")))
        if base is None or np.dtype(base).hasobject or array.shape != reader.shape:
            continue  # it was changed since kist wrote it: it comes over as what it is
        plan.columns = columns = _columns_of(plan)
        items = items if isinstance(items, dict) else {}
        columns[name], special[name] = _cells_of(source.h5py, np.dtype(base), items)
        found[name] = array
        source.taken.add(array.name)
    order = known.get("order")
    if found and plan.columns and isinstance(order, list) and {*order} == {*plan.columns}:
        plan.columns = {name: plan.columns[name] for name in order}
    return found


def _restore_categories(plan: Plan, categories: dict[str, Any]) -> dict[str, Values]:
    """Make categories of pairs, which kist wrote for those that are no text."""
    found: dict[str, Values] = {}
    columns = _columns_of(plan)
    for name, entry in categories.items():
        listed, dtype = entry.get("values"), columns.get(name)
        if not isinstance(listed, np.ndarray) or dtype is None:
            continue
        try:
            kind = kist.categorical(listed.dtype, listed, ordered=bool(entry.get("ordered")))
            native = listed.dtype.newbyteorder("=")  # as PyTables writes all
            is_pair = dtype.names == ("value", "valid") and dtype["value"] in (listed.dtype, native)
        except KistError:
            continue
        if is_pair:
            columns[name] = kind
            plan.columns = columns
            found[name] = _pairs_of(kist.nullable(listed.dtype))
    return found


# Values


class _Names:
    """Makes names of numbers."""

    def __init__(self, column: str, numbers: dict[str, int], absent: Any) -> None:
        self._column = column
        self.numbers = numbers
        ordered = sorted(numbers, key=numbers.__getitem__)
        self._numbers = np.array([numbers[name] for name in ordered])
        self._names = np.array([*ordered, None], TEXT)
        self._absent = absent if type(absent) is int else None

    def __call__(self, values: Array) -> Array:
        values = np.asarray(values)
        places = np.searchsorted(self._numbers, values)
        places[places == len(self._numbers)] = 0
        other = self._numbers[places] != values
        if other.any():
            if self._absent is None or (values[other] != self._absent).any():
                raise _Unnamed(self._column)
            places[other] = len(self._numbers)
        return np.asarray(self._names[places])


def _pairs_of(dtype: Any) -> Values:
    """Return what makes nullable values of pairs."""

    def pairs(values: Array) -> Array:
        out = np.zeros(values.shape, dtype)
        out["value"], out["valid"] = values["value"], values["valid"]
        return out

    return pairs


def _cells_of(h5py: Any, items: Any, entry: dict[str, Any]) -> tuple[Any, Values]:
    """Return the dtype of a column of cells, and what makes such cells of arrays of items."""
    if entry.get("bytes") is True and items == "u1":
        return kist.ragged(bytes), lambda values: _ragged(h5py, values, items, None)
    like = entry.get("like")
    if not isinstance(like, np.ndarray) or not _restores(items, like.dtype):
        like = np.zeros(0, as_dtype(items.str) if items.names is None else items)
    dtype = kist.ragged(like.dtype, like.shape[1:])
    return dtype, lambda values: _ragged(h5py, values, items, like)


def _restores(items: Any, wanted: Any) -> bool:
    if items.kind == "V" and items.names is None:
        return bool(items.itemsize == wanted.itemsize)
    if wanted.kind in "mM":
        return bool(items == "i8")
    if wanted == "?" and items == "u1":
        return True  # of PyTables
    return bool(items == wanted or items == wanted.newbyteorder("="))


def _ragged(h5py: Any, values: Array, items: Any, like: Array | None) -> Any:
    rows = values.tolist()
    ends = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)), out=ends[1:])
    flat: Array = cells(h5py, np.concatenate(rows), items) if rows else np.zeros(0, items)
    if like is None:
        return kist.Ragged(flat.tobytes(), ends)
    shape, dtype = like.shape[1:], like.dtype
    if flat.dtype != dtype:
        seen = flat.view(dtype.newbyteorder("=")) if dtype.kind in "mM" else flat
        flat = flat.view(dtype) if items.kind == "V" and items.names is None else seen.astype(dtype)
    return kist.Ragged(flat.reshape(-1, *shape), ends // max(1, math.prod(shape)))
