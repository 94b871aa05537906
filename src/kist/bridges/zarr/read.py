"""Groups and arrays of Zarr as those of kist."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

import kist
from kist.bridges.base import BLOCK_ROWS, TEXT, Job, as_dtype, parts_of, rows_for
from kist.bridges.formats import stem_of
from kist.bridges.nulls import with_nulls
from kist.bridges.plain import fields_of, from_json
from kist.bridges.zarr.opening import DIMENSIONS, opened, quiet
from kist.errors import ConversionError
from kist.extras import need

__all__ = ["read"]

Array = np.ndarray[Any, Any]

_MARKS: Final = {"zarr.json", ".zarray", ".zgroup"}
_TINY: Final = 64 << 10
_METADATA: Final = _MARKS | {".zattrs", ".zmetadata"}


def read(job: Job, source: str) -> None:
    """Read all of a Zarr store into the group of a job, or its one array into a node."""
    zarr = need("zarr", "zarr", f"convert {source}")
    with job.reading(source), quiet(), opened(zarr, source, "r") as store:
        top = zarr.open(store, mode="r")
        if isinstance(top, zarr.Array):
            path = job.path() if job.base != "/" else job.path(stem_of(source))
            _read_array(job, top, path, source)
        else:
            _read_groups(job, zarr, top, source)


def _read_groups(job: Job, zarr: Any, top: Any, source: str) -> None:
    """Read a group and all below it; no recursion, however deep they are."""
    waiting = [(top, job.base)]
    while waiting:
        group, path = waiting.pop()
        attrs = dict(group.attrs)
        known = _restore(attrs)
        children = _children(job, group, source)
        if known.get("kind") == "table" and set(known["columns"]) <= set(children):
            found = path if path != "/" else job.path(stem_of(source))
            _read_columns(job, children, known["columns"], found, attrs)
            continue
        if group.metadata.consolidated_metadata is not None and group.path == "":
            attrs["ZARR"] = {"consolidated": True}
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
    dims = attrs.pop(DIMENSIONS, None) or dims
    if dims and all(type(name) is str for name in dims) and not known.get("no_dims"):
        attrs["_DIMS"] = list(dims)
    elif dims and any(dims) and not known.get("no_dims"):
        facts["dimension_names"] = list(dims)  # of some axes alone
    if fill is None:
        job.note("zarr.no_fill", place)
        facts["fill_value"] = None
    attrs["ZARR"] = facts
    dtype, read = _reader(job, array, place)
    if (was := _dtype_before(known.get("dtype"), dtype)) is not None:
        if fill is not None:
            fill = _as_before(np.atleast_1d, was)(fill)[0]
        dtype, read = was, _as_before(read, was)
    if dtype.names is not None and array.ndim == 1 and known.get("kind") != "array":
        size = rows_for(dtype.itemsize)

        def rows(first: int) -> Iterator[Array]:
            starts = range(first, array.shape[0], size)
            return (read((slice(k, min(k + size, array.shape[0])),)) for k in starts)

        made = job.table(path, dtype, rows, attrs=attrs, fill_value=_by_column(fill))
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
        empty=fill is not None and dtype == array.dtype and _is_untouched(array),
    )


def _is_untouched(array: Any) -> bool:
    """Tell whether no chunk was ever written."""
    # What is tiny is read as quickly as its chunks are listed.
    return bool(array.nbytes > _TINY and array.nchunks_initialized == 0)


def _refuse_pickles(array: Any, place: str) -> None:
    """Raise for codecs that would run code.

    Raises
    ------
    ConversionError
        Objects of format 2 may be pickled.
    """
    if "pickle" in repr((array.filters, array.compressors)).lower():
        raise ConversionError(f"{place}: holds pickled objects, which kist does not unpickle")


def _storage(array: Any) -> tuple[dict[str, Any], Any, Any]:
    """Return how an array is laid out, for the way back; its dimensions; its fill value."""
    meta = array.metadata.to_dict()
    facts: dict[str, Any] = {"zarr_format": array.metadata.zarr_format}
    facts["chunks"] = list(array.chunks)
    if array.shards is not None:
        facts["shards"] = list(array.shards)
    if facts["zarr_format"] == 2:
        facts["separator"] = meta.get("dimension_separator", ".")
        facts["order"] = meta["order"]
        facts["filters"] = [_plain(f) for f in meta["filters"] or ()]
        facts["compressors"] = [_plain(meta["compressor"])] if meta["compressor"] else []
    else:
        facts["chunk_keys"] = _plain(meta["chunk_key_encoding"])
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


def _dtype_before(described: Any, dtype: Any) -> Any:
    """Return the compound that kist wrote as another one; None where it is not that any more."""
    if not isinstance(described, list) or dtype.names is None:
        return None
    try:
        found = np.dtype(fields_of(described))
    except (TypeError, ValueError):
        return None
    same = found.names == dtype.names and found.itemsize == dtype.itemsize
    return found if same and not found.hasobject else None


def _as_before(read: Any, dtype: Any) -> Any:
    """Return a function that reads slices, as values of the compound that kist wrote."""
    stored = dtype.newbyteorder("<")

    def values(where: Any) -> Array:
        found = np.ascontiguousarray(read(where))
        return np.asarray(found.view(stored).reshape(found.shape).astype(dtype))

    return values


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


def _read_columns(
    job: Job, children: dict[str, Any], names: list[str], path: str, attrs: dict[str, Any]
) -> None:
    """Read the arrays of a group that was a table as a table again."""
    columns = {name: children[name] for name in names}
    readers = {name: _reader(job, array, path) for name, array in columns.items()}
    for name, array in columns.items():
        found: Any = array.attrs.get("KIST", {})
        flags = children.get(str(found.get("valid"))) if isinstance(found, dict) else None
        if flags is not None:
            dtype, read = readers[name]
            readers[name] = kist.nullable(dtype), with_nulls(read, flags.__getitem__)
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
        of_column.pop(DIMENSIONS, None)
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
