"""Groups, dimensions and variables of a NetCDF file as groups and arrays."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
from numpy.lib.recfunctions import repack_fields

import kist
from kist.bridges.base import BLOCK_ROWS, TEXT, Job, as_dtype
from kist.bridges.netcdf.write_types import joined
from kist.bridges.nodes import put_ragged
from kist.bridges.nulls import with_nulls
from kist.bridges.plain import from_json
from kist.errors import CorruptDataError
from kist.extras import need

__all__ = ["read"]

Array = np.ndarray[Any, Any]


def read(job: Job, path: str) -> None:
    """Read all of a NetCDF file into the group of a job."""
    netcdf = need("netCDF4", "netcdf", f"convert {path}")
    with job.reading(path), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = netcdf.Dataset(path, "r")
    try:
        for warning in caught:
            if "skipping" in str(warning.message):
                job.note("netcdf.type", f"{path}: {warning.message}")
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        with job.reading(path):
            _refuse_short(file, path)
            _read_groups(job, netcdf, file, path)
    finally:
        file.close()


def _refuse_short(file: Any, path: str) -> None:
    """Raise for a classic file that was cut: the library shows zeros for what is not there.

    Raises
    ------
    CorruptDataError
        The file is smaller than its values.
    """
    if file.data_model.startswith("NETCDF3"):
        nbytes = sum(v.size * np.dtype(v.dtype).itemsize for v in file.variables.values())
        size = os.path.getsize(path)
        if size < nbytes:
            raise CorruptDataError(f"{path}: is cut short: {size:,} bytes hold no {nbytes:,}")


def _read_groups(job: Job, netcdf: Any, file: Any, source: str) -> None:
    """Read all groups, each with its variables; no recursion, however deep they are."""
    waiting = [(file, job.base)]
    while waiting:
        group, path = waiting.pop()
        attrs, known = _attributes(group)
        if known.get("kind") == "table" and set(known["columns"]) <= set(group.variables):
            _read_table(job, group, known["columns"], path, attrs)
            continue
        dims = {
            name: None if dim.isunlimited() else len(dim)
            for name, dim in group.dimensions.items()
            if name.rstrip("_") != f"dim_{len(dim)}"  # the writer names axes without a name so
        }
        for name in _unused_types(group):
            job.note("netcdf.unused_type", f"{source}:{group.path.rstrip('/')}/{name}")
        job.group(path, attrs | ({"_DIMS": dims} if dims and not known.get("no_dims") else {}))
        for name, variable in group.variables.items():
            place = f"{source}:{group.path.rstrip('/')}/{name}"
            with job.reading(place):
                _read_variable(job, netcdf, variable, f"{path.rstrip('/')}/{name}", place)
        waiting += [(child, f"{path.rstrip('/')}/{name}") for name, child in group.groups.items()]


def _unused_types(group: Any) -> list[str]:
    """Return the types of a group that none of its variables, nor one below it, has."""
    own = {**group.cmptypes, **group.vltypes, **group.enumtypes}
    waiting, used = [group] if own else [], set()
    while waiting:
        below = waiting.pop()
        used |= {getattr(found.datatype, "name", "") for found in below.variables.values()}
        waiting += below.groups.values()
    inside = {
        name
        for kind in group.cmptypes.values()
        for name, other in group.cmptypes.items()
        if any(kind.dtype[field] == other.dtype for field in kind.dtype.names or ())
    }
    return sorted(set(own) - used - inside)


def _attributes(node: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes of a node, and what kist knew when it wrote it."""
    attrs = {name: node.getncattr(name) for name in node.ncattrs()}
    text = attrs.pop("KIST", None)
    known: dict[str, Any] = from_json(text) if isinstance(text, str) else {}
    for name in known.get("json", ()):
        if isinstance(attrs.get(name), str):
            attrs[name] = from_json(attrs[name])
    for name, how in known.get("as", {}).items():
        if name in attrs:
            found = attrs[name] if how == "plain" else np.atleast_1d(attrs[name])
            attrs[name] = found if how == "array" else found.tolist()
    for name in known.get("added", ()):
        attrs.pop(name, None)
    return attrs | known.get("attrs", {}), known


def _read_variable(job: Job, netcdf: Any, variable: Any, path: str, place: str) -> None:
    attrs, known = _attributes(variable)
    # Characters of text of a width have a dimension, which is none of the array.
    dims = variable.dimensions[:-1] if known.get("chars") else variable.dimensions
    if dims and not known.get("no_dims"):
        attrs["_DIMS"] = list(dims)
    facts = _storage(variable)
    datatype = variable.datatype
    if isinstance(datatype, netcdf.EnumType):
        job.note("netcdf.enum", place)
        values = {str(n): int(v) for n, v in datatype.enum_dict.items()}
        facts["enum"] = {"name": datatype.name, "values": values}
    elif isinstance(datatype, netcdf.CompoundType) and "dtype" not in known:
        facts["type"] = datatype.name
    if facts:
        attrs["NETCDF"] = facts
    if isinstance(datatype, netcdf.VLType) and variable.dtype is not str:
        job.note("netcdf.ragged", place)
        attrs["NETCDF"] = facts | {"type": datatype.name}
        _read_ragged(job, variable, path, attrs)
        return
    dtype, read = _reader(variable, known)
    shape = variable.shape[:-1] if known.get("chars") else variable.shape
    chunks = facts.get("chunks")
    job.array(
        path,
        shape,
        dtype,
        read,
        cut=tuple(chunks[: len(shape)]) if chunks else None,
        fill_value=_fill(netcdf, attrs, known, dtype),
        attrs=attrs,
    )


def _storage(variable: Any) -> dict[str, Any]:
    """Return how a variable is laid out, for the way back."""
    facts: dict[str, Any] = {}
    chunks = variable.chunking()
    if isinstance(chunks, list):
        facts["chunks"] = [int(n) for n in chunks]
    filters = variable.filters() or {}
    if filters.get("zlib"):
        facts["zlib"] = int(filters["complevel"])
    found = [name for name in ("shuffle", "fletcher32") if filters.get(name)]
    if found:
        facts["filters"] = found
    if variable.endian() == "big":
        facts["endian"] = "big"
    return facts


def _reader(variable: Any, known: dict[str, Any]) -> tuple[Any, Any]:
    """Return (dtype, function that reads slices) of a variable."""
    if variable.dtype is str:
        wanted = known.get("dtype")
        dtype = as_dtype(wanted) if isinstance(wanted, str) and wanted[1:2] == "U" else TEXT

        def texts(where: tuple[slice, ...]) -> Array:
            found = np.asarray(variable[where if where else ...], object)
            return found.astype(dtype) if dtype.kind == "U" else found.astype(TEXT)

        return dtype, texts
    raw = np.dtype(variable.dtype)
    wanted = np.dtype(known["dtype"]) if isinstance(known.get("dtype"), str) else None
    if known.get("chars") and wanted is not None and wanted.kind == "S":
        width = wanted.itemsize

        def chars(where: tuple[slice, ...]) -> Array:
            found = np.ascontiguousarray(variable[(*where, slice(None))])
            return np.asarray(found.view(f"S{width}")[..., 0])

        return wanted, chars
    aligned = joined(raw)
    stored = repack_fields(aligned, recurse=True) if known.get("packed") else aligned
    as_it_was = wanted is not None and (wanted.itemsize == raw.itemsize or wanted.kind == "f")

    def read(where: tuple[slice, ...]) -> Array:
        found = np.asarray(variable[where if where else ...])
        if wanted is None or not as_it_was:
            return np.asarray(found.view(aligned).astype(stored) if aligned.names else found)
        if wanted.kind == "f":
            return found.astype(wanted)
        shape = found.shape
        return np.asarray(np.ascontiguousarray(found).view(wanted).reshape(shape))

    return (wanted if as_it_was and wanted is not None else stored), read


def _fill(netcdf: Any, attrs: dict[str, Any], known: dict[str, Any], dtype: Any) -> Any:
    """Return what unwritten values show: as NetCDF has it."""
    if "fill" in known:
        return known["fill"]
    if dtype.char == "T" or dtype.names is not None or dtype.kind not in "iuf":
        return "" if dtype.char == "T" else 0
    fill = attrs.get("_FillValue", netcdf.default_fillvals.get(dtype.str[1:], 0))
    fits = np.ndim(fill) == 0 and np.can_cast(np.asarray(fill).dtype, dtype, "same_kind")
    return np.asarray(fill, dtype)[()] if fits else 0


def _read_ragged(job: Job, variable: Any, path: str, attrs: dict[str, Any]) -> None:
    """Read rows that differ in length: all their values, and where each of them ends."""
    base = np.dtype(variable.dtype)
    attrs["NETCDF"] = attrs.get("NETCDF", {}) | {"ragged": list(variable.shape)}
    job.group(path, attrs)
    put_ragged(job, path, variable.shape, base, lambda where: variable[where if where else ...])


def _read_table(job: Job, group: Any, columns: list[str], path: str, attrs: dict[str, Any]) -> None:
    """Read the variables of a group that was a table as a table again."""
    readers, fields, of_columns = {}, {}, {}
    for name in columns:
        variable = group.variables[name]
        of_columns[name], known = _attributes(variable)
        dtype, readers[name] = _reader(variable, known)
        inner = variable.shape[1:-1] if known.get("chars") else variable.shape[1:]
        fields[name] = as_dtype((dtype, inner)) if inner else dtype
        flags = group.variables.get(known.get("valid"))
        if flags is not None:
            fields[name] = kist.nullable(dtype)
            readers[name] = with_nulls(readers[name], flags.__getitem__)
    n_rows = min(group.variables[name].shape[0] for name in columns)
    made = job.table(
        path,
        fields,
        (
            {name: read((slice(k, min(k + BLOCK_ROWS, n_rows)),)) for name, read in readers.items()}
            for k in range(0, n_rows, BLOCK_ROWS)
        ),
        attrs=attrs,
    )
    for name, found in of_columns.items():
        made[name].attrs.update(found)
