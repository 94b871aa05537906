"""Zarr groups and arrays, of format 2 and 3: a folder, or a ZIP archive of one."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import numpy as np

from kist.bridges.base import BLOCK_ROWS, TEXT, Bridge, Job, as_dtype, need, parts_of, rows_for
from kist.bridges.formats import stem_of
from kist.bridges.nodes import full_text, split_keystore
from kist.bridges.plain import from_json, to_json
from kist.bridges.report import Loss
from kist.errors import ConversionError

__all__ = ["Zarr"]

Array = np.ndarray[Any, Any]

LOSSES: Final = {
    "zarr.bytes": Loss("changed", "bytes of any length", "bytes as wide as the longest (S)"),
    "zarr.long_bytes": Loss(
        "changed", "bytes of any length, some of which end with a zero byte",
        "text of hexadecimal digits",
    ),
    "zarr.no_fill": Loss("changed", "fill value that is not defined (null)", "zero"),
    "zarr.other": Loss("not kept", "file or folder that is no node of Zarr", "nothing"),
    "zarr.columns": Loss(
        "changed", "table with text, or with arrays in its rows", "group with an array each column"
    ),
    "zarr.missing": Loss("changed", "missing text", "empty text"),
    "zarr.value": Loss("changed", "value that JSON has no word for", "JSON text with its type"),
    "zarr.dtype": Loss("not kept", "array of a dtype that Zarr lacks", "nothing"),
    "zarr.keystore": Loss(
        "changed", "key store", "group with an array for each array, and attributes for the rest"
    ),
}  # fmt: skip

_MARKS: Final = {"zarr.json", ".zarray", ".zgroup"}
_METADATA: Final = _MARKS | {".zattrs", ".zmetadata"}

_DIMENSIONS: Final = "_ARRAY_DIMENSIONS"
"""Where xarray keeps the names of dimensions in format 2, which has no other place for them."""


class Zarr(Bridge):
    """Zarr. Options, on the way out: ``zarr_format=3`` or ``2``."""

    name: ClassVar[str] = "zarr"
    losses: ClassVar[Mapping[str, Loss]] = LOSSES
    is_tree: ClassVar[bool] = True

    def read(self, job: Job, source: str) -> None:
        zarr = need("zarr", "zarr", f"convert {source}")
        with job.reading(source), _quiet(), _opened(zarr, source, "r") as store:
            top = zarr.open(store, mode="r")
            if isinstance(top, zarr.Array):
                path = job.path() if job.base != "/" else job.path(stem_of(source))
                _read_array(job, top, path, source)
            else:
                _read_groups(job, zarr, top, source)

    def write(self, job: Job, node: Any, target: str) -> None:
        zarr = need("zarr", "zarr", f"convert to {job.report.target}")
        zarr_format = job.option("zarr_format", 3)
        if zarr_format not in (2, 3):
            raise ValueError(f"zarr_format {zarr_format!r} is neither 2 nor 3")
        packed = job.report.target.lower().endswith(".zip")
        with job.writing(), _quiet(), _opened(zarr, target, "w", packed) as store:
            _Writer(job, zarr, store, zarr_format).write(node)


@contextlib.contextmanager
def _opened(zarr: Any, path: str, mode: str, packed: bool | None = None) -> Iterator[Any]:
    """Give the store of Zarr at a path."""
    if packed or (packed is None and path.lower().endswith(".zip")):
        store = zarr.storage.ZipStore(path, mode=mode)
    else:
        store = zarr.storage.LocalStore(path, read_only=mode == "r")
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Do not warn of dtypes without a specification: docs/bridges.md tells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Reading


def _read_groups(job: Job, zarr: Any, top: Any, source: str) -> None:
    """Read a group and all below it; no recursion, however deep they are."""
    waiting = [(top, job.base)]
    while waiting:
        group, path = waiting.pop()
        attrs = dict(group.attrs)
        known = _restore(attrs)
        children = _children(job, group, source)
        if known.get("kind") == "table" and set(known["columns"]) <= set(children):
            _read_columns(job, {name: children[name] for name in known["columns"]}, path, attrs)
            continue
        job.group(path, attrs)
        for name, child in sorted(children.items()):
            below = f"{path.rstrip('/')}/{name}"
            if isinstance(child, zarr.Group):
                waiting.append((child, below))
            else:
                place = f"{source}:/{child.path}"
                with job.reading(place):
                    _read_array(job, child, below, place)


def _children(job: Job, group: Any, source: str) -> dict[str, Any]:
    """Return the nodes in a group. Not by `members`, whose errors do not say of which node."""
    found = {}
    for name, below in sorted(_entries(group, source).items()):
        place = f"{source}:/{f'{group.path}/{name}'.lstrip('/')}"
        if not below.isdisjoint(_MARKS):
            with job.reading(place):
                found[name] = group[name]
        elif name not in _METADATA:
            job.note("zarr.other", place)
    return found


def _entries(group: Any, source: str) -> dict[str, set[str]]:
    """Return what is in a group: its name, and names of what is in that."""
    if os.path.isdir(source):
        with os.scandir(os.path.join(source, group.path)) as entries:
            return {e.name: set(os.listdir(e.path)) if e.is_dir() else set() for e in entries}
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
    found: dict[str, set[str]] = {}
    prefix = f"{group.path}/".lstrip("/")
    for name in names:
        first, _, rest = name.removeprefix(prefix).partition("/")
        if name.startswith(prefix) and first:
            found.setdefault(first, set()).add(rest.partition("/")[0])
    return found


def _read_array(job: Job, array: Any, path: str, place: str) -> None:
    _refuse_pickles(array, place)
    attrs = dict(array.attrs)
    known = _restore(attrs)
    facts, dims, fill = _storage(array)
    dims = attrs.pop(_DIMENSIONS, None) or dims
    if dims and all(type(name) is str for name in dims) and not known.get("no_dims"):
        attrs["_DIMS"] = list(dims)
    if fill is None:
        job.note("zarr.no_fill", place)
        facts["fill_value"] = None
    attrs["ZARR"] = facts
    dtype, read = _reader(job, array, place)
    if dtype.names is not None and array.ndim == 1 and known.get("kind") != "array":
        size = rows_for(dtype.itemsize)
        starts = range(0, array.shape[0], size)
        blocks = (np.asarray(array[k : k + size]) for k in starts)
        made = job.table(path, dtype, blocks, attrs=attrs, fill_value=_by_column(fill))
        for name, values in known.get("attrs", {}).items():
            if name in made.columns:
                made[name].attrs.update(values)
        return
    job.array(
        path,
        array.shape,
        dtype,
        read,
        cut=array.chunks,
        fill_value=0 if fill is None or dtype.kind != array.dtype.kind else fill,
        attrs=attrs,
        empty=array.nchunks_initialized == 0 and fill is not None and dtype == array.dtype,
    )


def _refuse_pickles(array: Any, place: str) -> None:
    """Raise for codecs that would run code.

    Raises
    ------
    ConversionError
        Objects of format 2 may be pickled.
    """
    if "pickle" in repr(array.metadata.to_dict().get("filters")) + repr(array.compressors):
        raise ConversionError(f"{place}: holds pickled objects, which kist does not unpickle")


def _storage(array: Any) -> tuple[dict[str, Any], Any, Any]:
    """Return how an array is laid out, for the way back; its dimensions; its fill value."""
    meta = array.metadata.to_dict()
    facts: dict[str, Any] = {"zarr_format": array.metadata.zarr_format}
    facts["chunks"] = list(array.chunks)
    if array.shards is not None:
        facts["shards"] = list(array.shards)
    if facts["zarr_format"] == 2:
        facts["order"] = meta["order"]
        facts["filters"] = [_plain(f) for f in meta["filters"] or ()]
        facts["compressors"] = [_plain(meta["compressor"])] if meta["compressor"] else []
    else:
        facts["filters"] = [_plain(codec.to_dict()) for codec in array.filters]
        facts["compressors"] = [_plain(codec.to_dict()) for codec in array.compressors]
    return facts, meta.get("dimension_names"), array.metadata.fill_value


def _plain(value: Any) -> Any:
    """Return what describes a codec as plain values: libraries mix in tuples and enumerations."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return getattr(value, "value", value)


def _by_column(fill: Any) -> dict[str, Any] | None:
    if not isinstance(fill, np.void) or fill.dtype.names is None:
        return None
    return {name: fill[name] for name in fill.dtype.names}


def _reader(job: Job, array: Any, place: str) -> tuple[Any, Any]:
    """Return (dtype, function that reads slices) of an array."""
    dtype = array.dtype
    if dtype.char == "T":
        return TEXT, lambda where: np.asarray(array[where]).astype(TEXT)
    if dtype.kind != "O":
        return dtype, lambda where: np.asarray(array[where])
    # Bytes of any length: once to see how long they are.
    width, ends = 1, False
    for where in parts_of(array.shape, array.chunks, 64):
        for value in np.asarray(array[where], object).reshape(-1).tolist():
            if not isinstance(value, bytes):
                raise ConversionError(
                    f"{place}: holds objects of type {type(value).__name__}, which kist cannot"
                )
            width, ends = max(width, len(value)), ends or value.endswith(b"\0")
    job.note("zarr.long_bytes" if ends else "zarr.bytes", place)

    def read(where: Any) -> Array:
        values = np.asarray(array[where], object)
        if ends:
            texts = [value.hex() for value in values.reshape(-1).tolist()]
            return np.array(texts, TEXT).reshape(values.shape)
        return values.astype(f"S{width}")

    return (TEXT if ends else as_dtype(f"S{width}")), read


def _read_columns(job: Job, columns: dict[str, Any], path: str, attrs: dict[str, Any]) -> None:
    """Read the arrays of a group that was a table as a table again."""
    readers = {name: _reader(job, array, path) for name, array in columns.items()}
    fields = {
        name: as_dtype((dtype, columns[name].shape[1:])) if columns[name].ndim > 1 else dtype
        for name, (dtype, _) in readers.items()
    }
    n_rows = min(array.shape[0] for array in columns.values())
    made = job.table(
        path,
        fields,
        (
            {name: read((slice(k, k + BLOCK_ROWS),)) for name, (_, read) in readers.items()}
            for k in range(0, n_rows, BLOCK_ROWS)
        ),
        attrs=attrs,
    )
    for name, array in columns.items():
        of_column = dict(array.attrs)
        _restore(of_column)
        of_column.pop(_DIMENSIONS, None)
        made[name].attrs.update(of_column)


def _restore(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return what kist knew when it wrote a node, and give attributes their types back."""
    known: Any = attrs.pop("KIST", None)
    if not isinstance(known, dict):
        return {}
    for name, text in known.get("types", {}).items():
        if name in attrs:
            attrs[name] = from_json(text)
    return known


# Writing


class _Writer:
    """A Zarr store that is being written."""

    def __init__(self, job: Job, zarr: Any, store: Any, zarr_format: int) -> None:
        self.job = job
        self.zarr = zarr
        self.store = store
        self.zarr_format = zarr_format

    def write(self, top: Any) -> None:
        """Write a node and all below it, as the root of the store."""
        waiting = [(top, "")]
        while waiting:
            node, path = waiting.pop()
            if node.kind == "group":
                self.job.report.n_groups += 1
                self.group(path, self.attributes(node.attrs, node.name))
                waiting += [(child, f"{path}/{name}") for name, child in node.items()]
            elif node.kind == "table":
                self.table(node, path)
            elif node.kind == "array":
                self.array(node, path)
            else:
                self.keystore(node, path)
        if self.zarr_format == 2 and top.kind == "group":
            self.zarr.consolidate_metadata(self.store, zarr_format=2)  # as readers of 2 expect

    def group(self, path: str, attrs: dict[str, Any]) -> None:
        """Make a group."""
        self.zarr.create_group(
            self.store, path=path.strip("/"), attributes=attrs, zarr_format=self.zarr_format
        )

    def array(self, array: Any, path: str) -> None:
        """Write an array, part by part."""
        known = {"kind": "array"} if array.dtype.names is not None and array.ndim == 1 else {}
        attrs = self.attributes(array.attrs, array.name, known)
        made = self.create(path, array, array.shape, array.dtype, array.chunks, attrs)
        if made is None:
            self.job.note("zarr.dtype", f"{array.name} ({array.dtype})")
            return
        for where, values in self.job.array_parts(array, _cut(made, array)):
            made[where] = full_text(self.job, "zarr.missing", values, array.name)

    def create(
        self, path: str, node: Any, shape: Any, dtype: Any, chunks: Any, attrs: dict[str, Any]
    ) -> Any:
        """Make an array laid out as it was in Zarr; None for a dtype that Zarr lacks."""
        if self.zarr_format == 2 and any(dtype[n].names for n in dtype.names or ()):
            return None  # zarr writes compounds in compounds, and cannot read them
        facts = node.attrs.get("ZARR", {})
        dims = node.attrs.get("_DIMS")
        named = isinstance(dims, list) and len(dims) == len(shape)
        options: dict[str, Any] = {}
        if facts.get("zarr_format") == self.zarr_format:
            for name in ("filters", "compressors", "order"):
                if name in facts:
                    options[name] = facts[name]
        if named and self.zarr_format == 2:
            attrs[_DIMENSIONS] = dims
        elif named:
            options["dimension_names"] = dims
        if "chunks" in facts and len(facts["chunks"]) == len(shape):
            chunks = facts["chunks"]
            if self.zarr_format == 3 and "shards" in facts:
                options["shards"] = tuple(facts["shards"])
        if dtype.char == "T":
            dtype = str
            options.pop("filters", None) if self.zarr_format == 2 else None
        try:
            return self.zarr.create_array(
                self.store,
                name=path.strip("/") or None,
                shape=shape,
                dtype=dtype,
                chunks=tuple(max(1, c) for c in chunks),
                fill_value=_fill(node, dtype, facts),
                attributes=attrs,
                zarr_format=self.zarr_format,
                **options,
            )
        except (TypeError, self.zarr.errors.BaseZarrError) as error:
            if dtype is not str and (dtype.names is not None or dtype.kind == "V"):
                return None
            raise ConversionError(f"{node.name}: {error}") from error

    def table(self, table: Any, path: str) -> None:
        """Write a table: an array of compounds where Zarr has them, else an array each column."""
        columns = [table[name] for name in table.columns]
        if any(c.dtype.char == "T" or c.shape[1:] or c.dtype.subdtype for c in columns):
            self.columns(table, path)
            return
        found = {name: dict(table[name].attrs) for name in table.columns}
        known = {"attrs": {name: values for name, values in found.items() if values}}
        attrs = self.attributes(table.attrs, table.name, known if known["attrs"] else {})
        made = self.create(path, table, (len(table),), table.dtype, (BLOCK_ROWS,), attrs)
        if made is None:
            self.job.note("zarr.dtype", f"{table.name} ({table.dtype})")
            return
        step = made.chunks[0] if made.shards is None else made.shards[0]
        done = 0
        for block in self.job.table_blocks(table, max(step, BLOCK_ROWS // step * step)):
            made[done : done + len(block)] = block
            done += len(block)

    def columns(self, table: Any, path: str) -> None:
        """Write a table as a group with an array for each column."""
        self.job.note("zarr.columns", table.name)
        known = {"kind": "table", "columns": list(table.columns)}
        self.group(path, self.attributes(table.attrs, table.name, known))
        for name in table.columns:
            column = table[name]
            where = f"{table.name}.{name}"
            attrs = self.attributes(column.attrs, where)
            rows = max(1, min(BLOCK_ROWS, len(table)))
            below, chunks = f"{path}/{name}", (rows, *column.shape[1:])
            made = self.create(below, column, column.shape, column.dtype, chunks, attrs)
            if made is None:
                self.job.note("zarr.dtype", where)
                continue
            done = 0
            for values in column.blocks(BLOCK_ROWS):
                made[done : done + len(values)] = full_text(self.job, "zarr.missing", values, where)
                done += len(values)
                self.job.advance(values.nbytes)
        self.job.report.n_tables += 1
        self.job.report.n_rows += len(table)

    def keystore(self, store: Any, path: str) -> None:
        """Write a key store as a group."""
        self.job.note("zarr.keystore", store.name)
        arrays, attrs = split_keystore(store)
        self.group(path, self.attributes(attrs, store.name))
        for name, value in arrays.items():
            self.zarr.create_array(
                self.store, name=f"{path}/{name}".strip("/"), data=value,
                zarr_format=self.zarr_format,
            )  # fmt: skip
            self.job.advance(value.nbytes)
        self.job.report.n_keystores += 1

    def attributes(
        self, attrs: Mapping[str, Any], place: str, known: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return attributes as JSON has them; what restores their types in ``KIST``."""
        found: dict[str, Any] = {}
        types: dict[str, str] = {}
        for name, value in attrs.items():
            if name == "ZARR" or (name == "_DIMS" and isinstance(value, list)):
                continue  # told in Zarr's own way
            plain = _as_json(value)
            if plain is None and value is not None:
                self.job.note("zarr.value", f"{place}@{name}")
                found[name] = types[name] = to_json(value)
                continue
            found[name] = plain
            if isinstance(value, np.ndarray | np.generic):
                types[name] = to_json(value)
        known = {**(known or {}), **({"types": types} if types else {})}
        return {**found, "KIST": known} if known else found


def _as_json(value: Any) -> Any:
    """Return a value as JSON has it, None where it has no such thing."""
    if isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.kind in "biufUT":
        return _as_json(value.tolist())
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        found = [_as_json(item) for item in value]
        fits = all(f is not None or v is None for f, v in zip(found, value, strict=True))
        return found if fits else None
    if type(value) is dict and all(type(key) is str for key in value):
        items = {key: _as_json(item) for key, item in value.items()}
        return items if all(items[k] is not None or value[k] is None for k in value) else None
    return None


def _fill(node: Any, dtype: Any, facts: Mapping[str, Any]) -> Any:
    if "fill_value" in facts and facts["zarr_format"] == 2:
        return None
    if dtype is str:
        fill = getattr(node, "fill_value", "")
        return fill if isinstance(fill, str) else ""
    found = getattr(node, "fill_value", None)
    if isinstance(found, Mapping):
        fill = np.zeros((), dtype)
        for name, value in found.items():
            fill[name] = value
        return fill[()]
    return np.zeros((), dtype)[()] if found is None else np.asarray(found, dtype)[()]


def _cut(made: Any, array: Any) -> tuple[int, ...]:
    """Return chunks for reading, so that no chunk that is written is written twice."""
    whole = made.chunks if made.shards is None else made.shards
    if not array.shape or math.prod(whole) * max(1, array.dtype.itemsize) > 64 << 20:
        return tuple(whole)
    # Whole chunks of both sides where they divide each other.
    return tuple(c if c % w == 0 else w for c, w in zip(array.chunks, whole, strict=True))
