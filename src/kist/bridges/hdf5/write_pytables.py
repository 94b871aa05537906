"""Nodes of a store as an HDF5 file as PyTables writes it: tables and arrays of its own classes."""

from __future__ import annotations

import errno
import os
import warnings
from typing import Any

import numpy as np

from kist.bridges.base import BLOCK_ROWS, Job, as_dtype
from kist.bridges.categories import sort_of
from kist.bridges.hdf5.lists import are_lists
from kist.bridges.hdf5.write_pytables_as import Before, make_array, make_link, make_ragged
from kist.bridges.hdf5.write_tables import (
    Numbered,
    cells_on_disk,
    is_ragged,
    item_on_disk,
    known_cells,
    note_null_cells,
    numbered,
    row_blocks,
)
from kist.bridges.nodes import link_target
from kist.bridges.nulls import paired, value_of
from kist.bridges.plain import to_json
from kist.errors import ConversionError
from kist.extras import need

__all__ = ["write_pytables"]

Array = np.ndarray[Any, Any]


def write_pytables(job: Job, node: Any, target: str) -> None:
    """Write a node as a new file of PyTables; a group as its root."""
    tables = need("tables", "hdf5", "convert with flavour='pytables'")
    level, library = job.option("complevel"), job.option("complib")
    filters = tables.Filters(
        complevel=1 if level is None else level, complib=library or "zlib", shuffle=True
    )
    as_before = level is None and library is None
    with warnings.catch_warnings(), job.writing():
        warnings.simplefilter("ignore", tables.NaturalNameWarning)
        warnings.simplefilter("ignore", tables.PerformanceWarning)
        title = str(node.attrs.get("TITLE", "")) if node.kind == "group" else ""
        with tables.open_file(target, "w", title=title, filters=filters) as file:
            writer = _Writer(job, tables, file, as_before)
            if node.kind == "group":
                writer.groups(node)
                writer.other_links()
            else:
                writer.dataset(node, file.root, node.name.rsplit("/", 1)[1])
        # PyTables loses errors of a flush and a close; a file that is cut short does not open.
        tables.open_file(target, "r").close()
        _check_space(target)


def _check_space(path: str) -> None:
    """Raise when the disk had no room for parts of a file, which are holes in it.

    Raises
    ------
    OSError
        Of no room. Systems that cannot tell say nothing.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    handle = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(handle, 0, max(1, os.fstat(handle).st_size))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(handle)


class _Writer:
    """A file that is being written; with `as_before`, by the filters that nodes once had."""

    def __init__(self, job: Job, tables: Any, file: Any, as_before: bool) -> None:
        self.job = job
        self.tables = tables
        self.file = file
        self.as_before = as_before
        self._links: list[tuple[str, dict[str, Any]]] = []

    def groups(self, top: Any) -> None:
        """Write a group and all below it."""
        waiting = [(top, self.file.root)]
        while waiting:
            group, made = waiting.pop()
            self.job.report.n_groups += 1
            self.attributes(group, made)
            above = made._v_pathname.rstrip("/")
            links = Before(group).facts.get("links")
            for name, link in links.items() if isinstance(links, dict) else ():
                if isinstance(link, dict):
                    self._links.append((f"{above}/{name}", link))
            for name, child in group.items():
                if child.kind == "group" and is_rows(child):
                    title = str(child.attrs.get("TITLE", ""))
                    self.rows(child, made, name, title)
                elif child.kind == "group":
                    title = str(child.attrs.get("TITLE", ""))
                    waiting.append((child, self.file.create_group(made, name, title)))
                elif child.kind == "link":
                    self.link(child, top, made, name)
                else:
                    self.dataset(child, made, name)

    def rows(self, group: Any, parent: Any, name: str, title: str) -> None:
        """Write values and offsets as the array that they were."""
        made = make_ragged(self.job, self.file, self.tables, group, parent, name, title)
        self.attributes(group, made)

    def other_links(self) -> None:
        """Make the links that were no links of kist, now that their targets exist."""
        for path, link in self._links:
            if not make_link(self.file, path, link):
                self.job.note("hdf5.lost_link", path)

    def link(self, link: Any, top: Any, parent: Any, name: str) -> None:
        """Write a link within the store; PyTables resolves it when it is used."""
        if link.linked_file is not None:
            self.job.note("hdf5.out_link", link.name)
            return
        target = link_target(link, top)
        base = "" if target.startswith("/") else parent._v_pathname.rstrip("/") + "/"
        self.file.create_soft_link(parent, name, base + target)

    def dataset(self, node: Any, parent: Any, name: str) -> None:
        """Write an array, table or key store."""
        title = str(node.attrs.get("TITLE", ""))
        if node.kind == "table":
            self.table(node, parent, name, title)
        elif node.kind == "array":
            self.array(node, parent, name, title)
        else:
            self.keystore(node, parent, name, title)

    def table(self, table: Any, parent: Any, name: str, title: str) -> None:
        """Write a table, block by block."""
        place = table.name
        cells = [n for n in table.columns if is_ragged(table[n])]
        columns = [n for n in table.columns if n not in cells]
        if not columns:
            raise ConversionError(
                f"{place}: PyTables has no tables of nothing but arrays of different lengths; "
                "flavour='h5py' has"
            )
        names = {n: found for n in columns if (found := self.numbered(table[n])) is not None}
        texts = [n for n in columns if table[n].dtype.char == "T" and n not in names]
        widths = {n: _longest(table[n]) for n in texts}
        for column in widths:
            self.job.note("pytables.text", f"{place}.{column}")
        before = self.before(table)
        described: dict[str, Any] = {}
        for at, column in enumerate(columns):
            if column in names:
                described[column] = names[column].column(self.tables, at, table[column].fill_value)
                continue
            plain, shape = table[column].dtype, table[column].shape[1:]
            if column in widths:
                plain = np.dtype(f"S{widths[column]}")
            kept = np.dtype((self.kept(plain, f"{place}.{column}"), shape))
            described[column] = self.described(kept, at, before, column)
            self.set_default(described[column], table[column], kept)
        made = self.file.create_table(
            parent, name, described, title, before.filters(self.tables),
            expectedrows=max(1, len(table)), chunkshape=before.chunks((len(table),)),
        )  # fmt: skip
        beside = {column: self.beside(table, parent, name, column) for column in cells}
        dtype = made.dtype
        for where, n_bytes in row_blocks(table):
            block = np.zeros(where.stop - where.start, dtype)
            for column in columns:
                block[column] = (
                    names[column].of(table[column].codes[where])
                    if column in names
                    else self.fitting(
                        paired(table[column][where]), dtype[column].base, f"{place}.{column}"
                    )
                )
            made.append(block)
            for column, array in beside.items():
                values = table[column][where]
                note_null_cells(self.job, values, f"{place}.{column}")
                for cell in cells_on_disk(values, array.atom.dtype):
                    array.append(cell)
            self.job.report.n_rows += len(block)
            self.job.advance(n_bytes)
        made.flush()
        self.job.report.n_tables += 1
        for at, column in enumerate(columns):
            if any(dtype[n].names is not None for n in columns[: at + 1]):
                break  # PyTables counts the fields within
            for key, value in table[column].attrs.items():
                mark = "" if f"{column}.{key}" in before.fields else "ATTR_"
                made.attrs[f"FIELD_{at}_{mark}{key}"] = self.encoded(value, f"{place}.{column}")
        self.attributes(table, made)
        known: dict[str, Any] = {
            "nullable": {
                n: found.str
                for n in columns
                if (found := value_of(table[n].dtype)) is not table[n].dtype
            },
            "categories": {
                **{n: found.known for n, found in names.items() if found.known},
                **{
                    n: {"values": sort.values, "ordered": sort.ordered}
                    for n in columns
                    if (sort := sort_of(table[n])) and sort.values.dtype.kind in "biufS"
                },
            },
            "beside": {n: [array.name, known_cells(table[n])] for n, array in beside.items()},
            "order": list(table.columns) if beside else [],
            "columns": {n: own for n in cells if (own := dict(table[n].attrs))},
        }
        known = {what: found for what, found in known.items() if found}
        if known:
            made.attrs.KIST = to_json(known)
        for index in table.indexes:
            column = made.colinstances.get(index.columns[0])
            made_too = len(index.columns) == 1 and hasattr(column, "create_index")
            if made_too:
                try:
                    column.create_csindex()  # whole, as those of kist are
                except (TypeError, NotImplementedError):  # PyTables indexes few dtypes
                    made_too = False
            if not made_too:
                self.job.note("pytables.index", f"{place}, index {index.name}")

    def before(self, node: Any) -> Before:
        """Return what a node was in a file of PyTables."""
        found = Before(node)
        if not self.as_before:
            found.filters = lambda tables: None  # type: ignore[method-assign]
        return found

    def set_default(self, described: Any, column: Any, kept: Any) -> None:
        """Let PyTables fill a column with what kist fills it with."""
        fill = column.fill_value
        if kept.subdtype is None and kept.names is None and column.dtype == kept and fill:
            described.dflt = np.asarray(fill, kept)[()]

    def numbered(self, column: Any) -> Numbered | None:
        """Return how a column of names is an enumeration of PyTables; None if it cannot be."""
        sort = sort_of(column)
        if sort is None:
            return None
        base = Before(column.table).bases.get(column.name)
        found = numbered(column, sort, base) if sort.is_text else None
        if not sort.is_text and sort.values.dtype.kind in "biufS":
            return None  # pairs, with the list in attribute KIST
        if found is None or any(name.startswith("_") for name in found.names):
            self.job.note("hdf5.categories", f"{column.table.name}.{column.name}")
            return None
        return found

    def described(self, dtype: Any, at: int, before: Before, path: str) -> Any:
        """Return the description of a column, nested ones too."""
        base, shape = dtype.base, dtype.shape
        if base.names is None:
            time = before.time(self.tables, path, dtype, "Col")
            if time is not None:
                return time(shape=shape, pos=at)
            return self.tables.Col.from_dtype(dtype, pos=at)
        if shape:
            raise ConversionError(f"PyTables has no arrays of compounds within rows ({dtype})")
        inner = {
            n: self.described(base[n], k, before, f"{path}.{n}") for k, n in enumerate(base.names)
        }
        return type("Nested", (self.tables.IsDescription,), {**inner, "_v_pos": at})

    def beside(self, table: Any, parent: Any, name: str, column: str) -> Any:
        """Make the array of cells that stands for a ragged column beside its table."""
        place = f"{table.name}.{column}"
        self.job.note("pytables.ragged", place)
        if are_lists(table[column]):
            raise ConversionError(
                f"{place}: PyTables has no arrays of different lengths of text; flavour='h5py' has"
            )
        items = item_on_disk(table[column][:0].values.dtype)
        if items.kind == "V" or items.names is not None:
            raise ConversionError(
                f"{place}: PyTables has no arrays of different lengths of {items}; flavour='h5py' "
                "has"
            )
        free = f"{name}_{column}"
        while free in parent:
            free += "_"
        return self.file.create_vlarray(parent, free, self.tables.Atom.from_dtype(items))

    def array(self, array: Any, parent: Any, name: str, title: str) -> None:
        """Write an array: of text as rows of any length, of compounds as a table."""
        place = array.name
        dtype = array.dtype
        if dtype.names is not None:
            # PyTables has no arrays of compounds; a table holds them row by row.
            self.job.note("pytables.dtype", f"{place} ({dtype}, shape {array.shape})")
            made = self.file.create_table(parent, name, self.kept(dtype, place), title)
            for _, values in self.job.array_parts(array):
                made.append(self.fitting(values.reshape(-1), made.dtype, place))
            self.attributes(array, made)
            return
        if dtype.char == "T":
            if self.rows_of_text(array, parent, name, title):
                return
            dtype = np.dtype(f"S{_longest(array)}")
            self.job.note("pytables.text", place)
        kept, before = self.kept(dtype, place), self.before(array)
        atom = before.atom(self.tables, kept)
        if 0 in array.shape or not array.shape:
            values = self.fitting(array[()] if not array.shape else array[...], kept, place)
            if array.shape:
                axis = array.shape.index(0)
                shape = tuple(0 if a == axis else max(1, n) for a, n in enumerate(array.shape))
                filters = before.filters(self.tables)
                made = self.file.create_earray(parent, name, atom, shape, title, filters)
            else:
                made = self.file.create_array(parent, name, np.asarray(values), title)
            self.job.report.n_arrays += 1
            self.attributes(array, made)
            return
        made = make_array(
            self.file, self.tables, before, parent, name, kept, array.shape, title
        )  # fmt: skip
        for where, values in self.job.array_parts(array):
            made[where] = self.fitting(values, kept, place)
        self.attributes(array, made)

    def rows_of_text(self, array: Any, parent: Any, name: str, title: str) -> bool:
        """Write text as rows of any length, if that is what PyTables had; tell whether it was."""
        if Before(array).facts.get("ragged") != "vlunicode" or array.ndim != 1:
            return False
        filters = self.before(array).filters(self.tables)
        atom = self.tables.VLUnicodeAtom()
        made = self.file.create_vlarray(parent, name, atom, title, filters)
        for _, values in self.job.array_parts(array):
            for text in values.tolist():
                made.append(text or "")
        self.attributes(array, made)
        return True

    def keystore(self, store: Any, parent: Any, name: str, title: str) -> None:
        """Write a key store as rows of key and value in JSON."""
        self.job.note("hdf5.keystore", store.name)
        made = self.file.create_group(parent, name, title)
        keys = self.file.create_vlarray(made, "keys", self.tables.VLUnicodeAtom())
        values = self.file.create_vlarray(made, "values", self.tables.VLUnicodeAtom())
        for key, value in store.items():
            keys.append(to_json(key))
            values.append(to_json(value))
        self.job.report.count_keystore(store)
        self.attributes(store, made)

    # Types

    def kept(self, dtype: Any, place: str) -> Any:
        """Return the dtype that PyTables has for one of kist."""
        if dtype.subdtype is not None:
            return as_dtype((self.kept(dtype.base, place), dtype.shape))
        if dtype.names is not None:
            return as_dtype([(n, self.kept(dtype[n], f"{place}.{n}")) for n in dtype.names])
        found = dtype if dtype.kind in "SV" else dtype.newbyteorder("=")
        if dtype.kind == "U":
            found = np.dtype(f"S{max(1, dtype.itemsize)}")
        elif dtype.kind in "Mm":
            found = np.dtype("i8")
        elif dtype.kind == "V" or not dtype.itemsize:
            found = np.dtype(("u1", (max(1, dtype.itemsize),))) if dtype.kind == "V" else "S1"
        if found != dtype:
            self.job.note("pytables.dtype", f"{place} ({dtype})")
        return as_dtype(found)

    def fitting(self, values: Any, dtype: Any, place: str) -> Array:
        """Return values in the dtype from `kept`."""
        values = np.asarray(values)
        if values.dtype.kind == "S" and _has_zeros_inside(values):
            self.job.note("pytables.zero", place)
        if values.dtype == dtype:
            return np.asarray(values)
        if values.dtype.char == "T":
            texts = values.astype(object)
            flat = texts.reshape(-1)
            missing = [at for at, text in enumerate(flat.tolist()) if type(text) is not str]
            if missing:
                self.job.note("hdf5.missing", f"{place} ({len(missing):,} of {flat.size:,})")
                flat[missing] = ""
            return np.array([text.encode() for text in flat], dtype).reshape(values.shape)
        if values.dtype.names is not None:
            out = np.zeros(values.shape, dtype)
            for name in values.dtype.names:
                out[name] = self.fitting(values[name], dtype[name].base, f"{place}.{name}")
            return out
        if values.dtype.kind == "U" and values.dtype.itemsize:
            native = values.astype(values.dtype.newbyteorder("="), copy=False)
            return np.asarray(np.strings.encode(native, "utf-8").astype(dtype))
        if values.dtype.kind in "Mm":
            native = values.astype(values.dtype.newbyteorder("="), copy=False)
            return np.asarray(np.ascontiguousarray(native).view("i8").reshape(values.shape))
        if values.dtype.kind == "V" and values.dtype.itemsize:
            raw = np.ascontiguousarray(values).view("u1")
            return np.asarray(raw.reshape(*values.shape, values.dtype.itemsize))
        return values if values.dtype.itemsize else np.zeros(values.shape, dtype)

    # Attributes

    def encoded(self, value: Any, place: str) -> Any:
        """Return a value that PyTables stores without pickling it."""
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            fits = array.dtype.kind != "S" or not _has_zeros_inside(array)
            if array.dtype.kind in "biufcS" and array.size and array.dtype.itemsize and fits:
                return value
            if array.dtype.kind == "U" and array.ndim == 0:
                return str(value)
        elif isinstance(value, str | bool | int | float | complex):
            fits = "\0" not in value if isinstance(value, str) else True
            if fits and (not isinstance(value, int) or -(2**63) <= value < 2**63):
                return value if isinstance(value, str) else np.asarray(value)[()]
        elif isinstance(value, bytes) and value and b"\0" not in value:
            return np.bytes_(value)
        self.job.note("hdf5.value", place)
        return to_json(value)

    def attributes(self, node: Any, made: Any) -> None:
        """Write the attributes of a node."""
        for name, value in node.attrs.items():
            if name not in ("HDF5", "TITLE"):
                made._v_attrs[name] = self.encoded(value, f"{node.name}@{name}")
        own = Before(node).own
        if own.get("FLAVOR") == "python" and hasattr(made, "flavor"):
            made.flavor = "python"


def is_rows(group: Any) -> bool:
    """Tell whether a group is what an array of rows of any length became."""
    return "ragged" in Before(group).facts and {"values", "offsets"} <= set(group)


def _has_zeros_inside(values: Array) -> bool:
    """Tell whether bytes go on behind a zero: strings end there, as HDF5 writes PyTables'."""
    if not values.size or values.dtype.itemsize < 2:
        return False
    raw = np.ascontiguousarray(values).view("u1").reshape(-1, values.dtype.itemsize)
    return bool(((raw[:, :-1] == 0) & (raw[:, 1:] != 0)).any())


def _longest(data: Any) -> int:
    """Return the bytes of the longest text of a column or array."""
    longest = 1
    for block in data.blocks(BLOCK_ROWS):
        found = np.asarray(block).astype(object).reshape(-1).tolist()
        longest = max([longest, *(len(t.encode()) for t in found if type(t) is str)])
    return longest
