"""kist's dtypes as those of h5py, and values for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from kist.bridges.base import Job, as_dtype
from kist.bridges.nulls import is_nullable

__all__ = ["fill_on_disk", "h5_dtype", "is_text", "to_h5"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]


def is_text(dtype: DType) -> bool:
    """Tell whether a dtype is text of any length."""
    return dtype.char == "T"


def h5_dtype(
    job: Job, h5py: Any, dtype: DType, place: str, enums: dict[str, Any], path: str = ""
) -> DType:
    """Return the dtype that h5py writes for one of kist, noting what changes.

    Parameters
    ----------
    dtype : dtype
    place : str
        For notes.
    enums : dict
        Names of enumerated values by field, from the attribute ``HDF5``.
    path : str
        Of the field, as in ``"a.b"``.
    """
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return as_dtype((h5_dtype(job, h5py, base, place, enums, path), shape))
    if is_nullable(dtype):
        dtype = as_dtype([(name, dtype[name]) for name in dtype.names or ()])  # without its title
    if dtype.names is not None:
        if dtype.fields is not None and any(len(found) > 2 for found in dtype.fields.values()):
            job.note("hdf5.title", place)
        formats = [
            h5_dtype(job, h5py, dtype[name], place, enums, f"{path}.{name}" if path else name)
            for name in dtype.names
        ]
        return _struct(dtype, formats)
    where = f"{place}.{path}" if path else place
    if path in enums and dtype.kind in "iu":
        return as_dtype(h5py.enum_dtype(enums[path], dtype))
    if is_text(dtype):
        return as_dtype(h5py.string_dtype())
    if dtype.kind in "Mm":
        return as_dtype(h5py.opaque_dtype(dtype))
    if dtype.itemsize == 0:
        job.note("hdf5.zero_width", where)
        return as_dtype("V1" if dtype.kind == "V" else "S1")
    if dtype.kind == "U":
        job.note("hdf5.unicode", where)
        return as_dtype(h5py.string_dtype("utf-8", dtype.itemsize))
    return dtype


def _struct(dtype: DType, formats: list[DType]) -> DType:
    names = dtype.names or ()
    same = all(f.itemsize == dtype[n].itemsize for f, n in zip(formats, names, strict=True))
    if not same or dtype.fields is None:
        return as_dtype(list(zip(names, formats, strict=True)))
    spec: Any = {
        "names": list(names),
        "formats": formats,
        "offsets": [dtype.fields[name][1] for name in names],
        "itemsize": dtype.itemsize,
    }
    return as_dtype(spec)


def to_h5(job: Job, values: Any, dtype: DType, place: str) -> Array:
    """Return values of a kist dtype as those of the dtype from `h5_dtype`."""
    values = np.asarray(values)
    if dtype.subdtype is not None:
        dtype = dtype.base
    if is_text(values.dtype):
        return without_missing(job, values, place)
    if values.dtype.names is not None:
        if values.dtype == dtype:
            return np.asarray(values.view(dtype))  # with h5py's metadata
        out = np.zeros(values.shape, dtype)
        for name in values.dtype.names:
            out[name] = to_h5(job, values[name], dtype[name], place)
        return out
    if values.dtype.kind == "U" and values.dtype.itemsize:
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        return np.asarray(np.strings.encode(native, "utf-8").astype(dtype))
    if values.dtype.itemsize == 0:
        return np.zeros(values.shape, dtype)
    if not values.flags.c_contiguous:
        values = np.ascontiguousarray(values).reshape(values.shape)
    return np.asarray(values.view(dtype) if values.dtype.kind in "Mm" else values)


def without_missing(job: Job, values: Array, place: str) -> Array:
    """Return text as objects, empty where it is missing."""
    texts = values.astype(object)
    missing = np.array([type(text) is not str for text in texts.reshape(-1).tolist()], bool)
    if missing.any():
        job.note("hdf5.missing", f"{place} ({int(missing.sum()):,} of {missing.size:,})")
        texts.reshape(-1)[missing] = ""
    return np.asarray(texts)


def fill_on_disk(job: Job, node: Any, dtype: DType, place: str, converted: bool) -> Any:
    """Return what values of a dataset show that were never written, for h5py; None for zeros.

    Parameters
    ----------
    node : array or table
    dtype : dtype
        From `h5_dtype`.
    place : str
        For notes.
    converted : bool
        Whether HDF5 has a way from h5py's types to that of the dataset.
    """
    if node.kind == "array":
        fill = node.fill_value
        if is_text(node.dtype):
            return fill if isinstance(fill, str) and fill else None
        if node.dtype.kind in "biufc" and converted and "enum" not in (dtype.metadata or {}):
            return fill
        values = {"": np.asarray(fill, node.dtype)}
    else:
        columns = ((name, node[name]) for name in node.columns)
        values = {
            name: np.asarray(column.fill_value, column.dtype)
            for name, column in columns
            if column.fill_value is not None and _is_plain(column.dtype)
        }
    if not any(value.tobytes().strip(b"\0") for value in values.values()):
        return None
    if dtype.hasobject or not converted:
        job.note("hdf5.fill", place)
        return None
    if "" in values:
        return to_h5(job, values[""], dtype, place)
    out = np.zeros((), dtype)
    for name, value in values.items():
        out[name] = to_h5(job, value, dtype[name], place)
    return out


def _is_plain(dtype: DType) -> bool:
    return not is_text(dtype) and not is_nullable(dtype)
