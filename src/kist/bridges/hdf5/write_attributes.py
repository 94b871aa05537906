"""Attributes of kist as those of HDF5 objects, of the types that they had there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kist.bridges.base import Job
from kist.bridges.hdf5.described import built, fits
from kist.bridges.hdf5.exact import memory_type, to_exact
from kist.bridges.hdf5.write_types import h5_dtype, to_h5
from kist.bridges.plain import to_json

if TYPE_CHECKING:
    from kist.bridges.hdf5.write import _Writer

__all__ = ["encoded", "write_attributes"]


def encoded(job: Job, h5py: Any, value: Any, place: str) -> tuple[Any, Any]:
    """Return (value, dtype) as h5py takes them; JSON text for what HDF5 has no type for."""
    if value is None:
        return h5py.Empty("f8"), None
    if isinstance(value, str) and "\0" not in value:
        return value, h5py.string_dtype()
    if isinstance(value, bytes) and value and b"\0" not in value:
        return np.bytes_(value), None
    if isinstance(value, bool | int | float | complex) and not _is_long(value):
        return np.asarray(value)[()], None
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        dtype = h5_dtype(job, h5py, array.dtype, place, {})
        return to_h5(job, array, dtype, place), dtype
    job.note("hdf5.value", place)
    return to_json(value), h5py.string_dtype()


def write_attributes(writer: _Writer, attrs: Any, made: Any, known: dict[str, Any]) -> None:
    """Write attributes of an object, and what kist alone knows of it.

    Parameters
    ----------
    attrs : dict
    made : h5py object
    known : dict
        For its attribute ``KIST``.
    """
    job, h5py, as_json = writer.job, writer.h5py, []
    facts = attrs.get("HDF5")
    facts = facts if isinstance(facts, dict) else {}
    references, exact = facts.get("attribute_reference", ()), facts.get("attribute_type", {})
    for name, value in attrs.items():
        if name == "HDF5":
            continue
        if name in references and np.asarray(value).dtype.kind in "UT":
            writer.attributes_of_references.append((made.name, name, value))
            continue
        if name in exact and _written_exactly(writer, made, name, value, exact[name]):
            continue
        found, dtype = encoded(job, h5py, value, f"{made.name}@{name}")
        if isinstance(found, str) and not isinstance(value, str):
            as_json.append(name)
        made.attrs.create(name, found, dtype=dtype)
    if as_json:
        known["json"] = as_json
    known = {name: value for name, value in known.items() if value}
    if known:
        made.attrs["KIST"] = to_json(known)


def _written_exactly(writer: _Writer, made: Any, name: str, value: Any, told: Any) -> bool:
    """Write an attribute of the type that it had; False where its value is of another now."""
    h5py = writer.h5py
    kind = built(h5py, told, writer.named)
    if kind is None:
        return False
    h5a, h5s, key = h5py.h5a, h5py.h5s, name.encode()
    if value is None:
        h5a.create(made.id, key, kind, h5s.create(h5s.NULL))
        return True
    values = _values(h5py, value, kind)
    if values is None:
        return False
    n_inner = len(kind.dtype.shape)
    shape = values.shape[: values.ndim - n_inner]
    space = h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)
    stored = h5a.create(made.id, key, kind, space)
    stored.write(values, mtype=memory_type(h5py, kind, kind.dtype))
    return True


def _values(h5py: Any, value: Any, kind: Any) -> Any:
    """Return a value as an array for a type; None where it is none of its values."""
    dtype = kind.dtype
    base, inner = dtype.subdtype or (dtype, ())
    info = h5py.check_string_dtype(base)
    if info is None and h5py.check_vlen_dtype(base) is not None:
        return _lists(value, np.dtype(h5py.check_vlen_dtype(base)))
    if base.kind == "O" or info is not None:
        if info is None:
            return None
        array = np.asarray(value)
        if array.dtype.kind not in "UTSO":
            return None
        texts = array.astype(object)
        flat = [v.encode() if isinstance(v, str) else v for v in texts.reshape(-1).tolist()]
        if any(type(v) is not bytes or b"\0" in v for v in flat):
            return None
        if info.length is None:
            out = np.empty(texts.shape, base)
            out.reshape(-1)[:] = flat
            return out
        fits_in = all(len(text) <= info.length for text in flat)
        return np.array(flat, base).reshape(texts.shape) if fits_in else None
    if not isinstance(value, np.ndarray | np.generic):
        return None
    array = np.asarray(value)
    n = array.ndim - len(inner)
    plain = array.dtype if not inner else np.dtype((array.dtype, array.shape[n:]))
    if n < 0 or not fits(h5py, kind, plain):
        return None
    return np.ascontiguousarray(to_exact(array, base)).reshape(array.shape)


def _lists(value: Any, base: Any) -> Any:
    """Return arrays of different lengths as an array of them; one alone as a single value."""
    cells = value if isinstance(value, list) else [value]
    if base.hasobject or not all(_is_list_of(cell, base) for cell in cells):
        return None
    out = np.empty(len(cells), object)
    for at, cell in enumerate(cells):
        out[at] = cell.astype(base)
    return out if isinstance(value, list) else out.reshape(())


def _is_list_of(cell: Any, base: Any) -> bool:
    if not isinstance(cell, np.ndarray) or cell.ndim != 1:
        return False
    return bool(cell.dtype.newbyteorder("=") == base.newbyteorder("="))


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**64
