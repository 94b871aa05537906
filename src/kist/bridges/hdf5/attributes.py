"""Attributes of HDF5 objects as those of kist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from kist.bridges.base import Job
from kist.bridges.hdf5.described import described, told
from kist.bridges.hdf5.exact import cells, is_foreign, memory_type
from kist.bridges.hdf5.pytables import is_pickle
from kist.bridges.hdf5.types import plan_of
from kist.bridges.hdf5.values import Texts, to_stored

__all__ = ["read_attributes"]

# What dimension scales consist of; `dimensions` tells it in one fact.
_OF_SCALES: Final = {"DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"}
_NOT_KEPT: Final = object()
_NOTED: Final = {
    "reference": "hdf5.reference", "region": "hdf5.region", "ragged": "hdf5.ragged_field",
    "unknown": "hdf5.attribute",
}  # fmt: skip
_MARKS: Final = _OF_SCALES | {"CLASS"}


def read_attributes(
    job: Job,
    h5py: Any,
    node: Any,
    place: str,
    texts: Callable[[str], Texts],
    *,
    pytables: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (attributes, facts) of an object.

    Parameters
    ----------
    node : h5py object
    place : str
        For notes.
    texts : callable
        Returns what makes text of what is read at a place.
    pytables : bool
        Whether PyTables wrote it: empty text is null there, and plain bytes are text.
    """
    values: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    references: list[str] = []
    exact: dict[str, Any] = {}
    names = list(node.attrs)
    for name in names:
        where = f"{place}@{name}"
        if name in _OF_SCALES:
            continue
        stored = node.attrs.get_id(name)
        kind = stored.get_type()
        try:
            dtype = stored.dtype
            found = _exactly(h5py, stored) if is_foreign(h5py, kind) else node.attrs[name]
        except (TypeError, OSError, ValueError):
            job.note("hdf5.attribute", where)
            continue
        if pytables and kind.get_class() == h5py.h5t.BITFIELD and kind.get_size() == 1:
            found = np.asarray(found).view("?")[()]  # as PyTables writes bool
        elif not pytables and not _is_usual(h5py, kind, found):
            description = described(h5py, kind)
            if description is None:
                job.note("hdf5.type", where)
            else:
                exact[name] = description
        enum = h5py.check_enum_dtype(dtype)
        if enum is not None:
            enums[name] = {str(key): int(value) for key, value in enum.items()}
            job.note("hdf5.enum", where)
        if pytables and _is_pickled(found):
            job.note("pytables.pickle", where)
        if h5py.check_ref_dtype(dtype) is h5py.Reference:
            references.append(name)
        value = _value(job, h5py, found, dtype, where, texts(where), pytables)
        if value is not _NOT_KEPT:
            values[name] = value
    if enums:
        facts["attribute_enum"] = enums
    if exact:
        facts["attribute_type"] = exact
    if references:
        facts["attribute_reference"] = references
    if isinstance(node, h5py.Dataset) and not _MARKS.isdisjoint(names):
        facts |= _dimensions(node, values)
    return values, facts


def _exactly(h5py: Any, stored: Any) -> Any:
    """Return the value of an attribute, read by its own type."""
    dtype = stored.dtype
    base, inner = dtype.subdtype or (dtype, ())
    if stored.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return h5py.Empty(dtype)
    values = np.zeros((*stored.shape, *inner), base)
    stored.read(values, mtype=memory_type(h5py, stored.get_type(), dtype))
    return values[()]


def _is_usual(h5py: Any, kind: Any, found: Any) -> bool:
    """Tell whether the type of an attribute is the one that its value makes on the way out."""
    if isinstance(found, h5py.Empty):
        return bool(kind.equal(h5py.h5t.IEEE_F64LE))
    dtype = kind.dtype
    # Single values have the byte order of the machine.
    native = not isinstance(found, np.generic) or found.dtype.newbyteorder("=") == dtype
    return native and h5py.check_enum_dtype(dtype) is None and told(h5py, kind, dtype)


def _is_pickled(value: Any) -> bool:
    return isinstance(value, bytes) and is_pickle(value)


def _value(
    job: Job, h5py: Any, found: Any, dtype: Any, where: str, texts: Texts, pytables: bool
) -> Any:
    if isinstance(found, h5py.Empty):
        if pytables and found.dtype.kind in "SO":
            return ""
        job.note("hdf5.empty_attribute", where)
        return None
    if isinstance(found, h5py.RegionReference):
        job.note("hdf5.region", where)
        return _NOT_KEPT
    if isinstance(found, h5py.Reference):
        job.note("hdf5.reference", where)
        return texts.path(found)
    is_ragged = h5py.check_vlen_dtype(dtype) is not None and h5py.check_string_dtype(dtype) is None
    if is_ragged and isinstance(found, np.ndarray):
        found = cells(h5py, found, np.dtype(h5py.check_vlen_dtype(dtype)))
    if not isinstance(found, np.ndarray | np.void) or not found.dtype.hasobject:
        return found
    if is_ragged:
        job.note("hdf5.ragged_attribute", where)
        return [np.asarray(part) for part in np.asarray(found).reshape(-1).tolist()]
    values = np.asarray(found)
    widths = {
        leaf.path: _width(values, leaf.path, texts)
        for leaf in plan_of(h5py, dtype, {}, False).leaves
        if leaf.what in ("text", "reference")
    }
    plan = plan_of(h5py, dtype, widths, False)
    for leaf in plan.leaves:
        name = "".join([where, *(f".{part}" for part in leaf.path)])
        if leaf.what in _NOTED:
            job.note(_NOTED[leaf.what], name)
        if leaf.what in ("text", "reference") and leaf.path:
            job.note("hdf5.nested_text", name)
    if plan.dtype is None:
        return _NOT_KEPT
    return to_stored(values, plan.dtype, texts)


def _width(values: Any, path: tuple[str, ...], texts: Texts) -> int:
    for name in path:
        values = values[name]
    found = np.asarray(values, dtype=object).reshape(-1).tolist()
    return max((len(texts.text(value).encode()) for value in found), default=1)


def _dimensions(dataset: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return labels and scales of the axes, and take their attributes out of the values."""
    facts: dict[str, Any] = {}
    mark = values.get("CLASS")
    mark = mark.decode("ascii", "replace") if isinstance(mark, bytes) else mark
    # Not asked of others: HDF5 2.0 forgets to close the CLASS of what is none, as all of PyTables'
    # arrays are, and looks through what is open for each attribute that it opens.
    if isinstance(mark, str) and mark.rstrip("\0") == "DIMENSION_SCALE" and dataset.is_scale:
        name = values.pop("NAME", b"")
        values.pop("CLASS", None)
        facts["scale"] = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    if "DIMENSION_LIST" in dataset.attrs or "DIMENSION_LABELS" in dataset.attrs:
        axes = []
        for axis in dataset.dims:
            axes.append([axis.label, [axis[at].name for at in range(len(axis))]])
        facts["dims"] = axes
    return facts
