"""Values of HDF5 bit by bit, by its own types: h5py has no way to or from some of them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["Exact", "cells", "is_foreign", "memory_type", "to_exact"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]


def is_foreign(h5py: Any, kind: Any) -> bool:
    """Tell whether there are bits, or bytes with a tag, in a type: h5py converts neither."""
    h5t, found = h5py.h5t, kind.get_class()
    if found == h5t.COMPOUND:
        return any(is_foreign(h5py, kind.get_member_type(k)) for k in range(kind.get_nmembers()))
    if found in (h5t.ARRAY, h5t.VLEN):
        return is_foreign(h5py, kind.get_super())
    if found == h5t.OPAQUE:
        return bool(kind.get_tag() and not kind.get_tag().startswith(b"NUMPY:"))
    return bool(found == h5t.BITFIELD)


def cells(h5py: Any, values: Any, base: DType) -> Any:
    """Return arrays of different lengths with the values that they have.

    h5py 3.16 hands over numbers in the byte order of the file, in a dtype of the machine's.

    Parameters
    ----------
    values : ndarray of ndarrays, or ndarray
        As h5py reads them.
    base : dtype
        Of the items, as h5py tells it.
    """
    if base.names is not None or base.base.isnative or not _mislabels(h5py):
        return values
    if values.dtype.kind != "O":
        return values.view(base.base)
    out = np.empty(values.shape, object)
    flat = out.reshape(-1)
    for at, cell in enumerate(values.reshape(-1).tolist()):
        flat[at] = cell.view(base.base)
    return out


@functools.cache
def _mislabels(h5py: Any) -> bool:
    """Tell whether this h5py gives the other byte order a wrong name: such things are mended."""
    other = np.dtype("i2").newbyteorder("S")
    with h5py.File("probe", "w", driver="core", backing_store=False) as file:
        made = file.create_dataset("x", (1,), h5py.vlen_dtype(other))
        made[0] = np.array([1], other)
        return bool(made[0][0] != 1)


def memory_type(h5py: Any, kind: Any, dtype: DType) -> Any:
    """Return the type of values of a type in memory, where h5py's own has no way from or to it.

    Parameters
    ----------
    kind : h5py.h5t.TypeID
        In the file.
    dtype : dtype
        That h5py tells of it.
    """
    h5t = h5py.h5t
    if dtype.kind == "O":
        return h5t.py_create(dtype)
    found = kind.get_class()
    if found == h5t.ARRAY:
        base, shape = dtype.subdtype or (dtype, ())
        return h5t.array_create(memory_type(h5py, kind.get_super(), base), shape)
    if found == h5t.COMPOUND and dtype.names is not None:
        out = h5t.create(h5t.COMPOUND, dtype.itemsize)
        for at in range(kind.get_nmembers()):
            name = kind.get_member_name(at)
            part, offset = (dtype.fields or {})[name.decode()][:2]
            out.insert(name, offset, memory_type(h5py, kind.get_member_type(at), part))
        return out
    if found in (h5t.BITFIELD, h5t.OPAQUE, h5t.ENUM):
        return kind.copy()
    if found == h5t.STRING:
        out = kind.copy()
        out.set_strpad(h5t.STR_NULLPAD)  # as NumPy has it
        return out
    return h5t.py_create(dtype, logical=True)


def select(h5py: Any, space: Any, where: Any) -> tuple[int, ...]:
    """Select a part of a dataspace, and return its shape.

    Parameters
    ----------
    where : slice, or tuple of slices
        Without steps; axes that it does not name are whole.
    """
    shape = space.get_simple_extent_dims() if space.get_simple_extent_ndims() else ()
    named = where if isinstance(where, tuple) else (where,)
    cuts = [cut for cut in named if cut is not Ellipsis]
    bounds = [cut.indices(n) for cut, n in zip(cuts, shape, strict=False)]
    bounds += [(0, n, 1) for n in shape[len(bounds) :]]
    counts = tuple(max(0, -(-(stop - start) // step)) for start, stop, step in bounds)
    if shape and 0 in counts:
        space.select_none()
    elif shape:
        starts, steps = tuple(b[0] for b in bounds), tuple(b[2] for b in bounds)
        space.select_hyperslab(starts, counts, steps)
    return counts


class Exact:
    """A dataset that is read and written by its own type, bit by bit.

    Parameters
    ----------
    dataset : h5py.Dataset
    """

    def __init__(self, h5py: Any, dataset: Any) -> None:
        self._h5py, self._dataset = h5py, dataset
        self.dtype = dataset.dtype
        self.shape, self.chunks = dataset.shape, dataset.chunks
        self._type = memory_type(h5py, dataset.id.get_type(), self.dtype)

    @property
    def fillvalue(self) -> Any:
        """What values show that were never written; None where HDF5 does not tell."""
        try:
            return self._dataset.fillvalue
        except (OSError, TypeError):  # no way from its type to h5py's
            return None

    def __getitem__(self, where: Any) -> Array:
        found, inside = self._spaces(where)
        base, inner = self.dtype.subdtype or (self.dtype, ())
        # Zeros: what is between fields is not read.
        values = np.zeros((*inside[1], *inner), base)
        if values.size:
            self._dataset.id.read(inside[0], found, values, self._type)
        return values

    def __setitem__(self, where: Any, values: Array) -> None:
        found, inside = self._spaces(where)
        base, inner = self.dtype.subdtype or (self.dtype, ())
        shaped = np.broadcast_to(values, (*inside[1], *inner))
        if shaped.size:
            exact = np.ascontiguousarray(to_exact(shaped, base)).reshape(shaped.shape)
            self._dataset.id.write(inside[0], found, exact, self._type)

    def _spaces(self, where: Any) -> tuple[Any, tuple[Any, tuple[int, ...]]]:
        space, h5s = self._dataset.id.get_space(), self._h5py.h5s
        counts = select(self._h5py, space, where)
        return space, (h5s.create_simple(counts) if counts else h5s.create(h5s.SCALAR), counts)


def to_exact(values: Array, dtype: DType) -> Array:
    """Return values in the dtype that h5py tells of a type which they fit."""
    if dtype.subdtype is not None:
        dtype = dtype.base
    if dtype.names is not None:
        out = np.zeros(values.shape, dtype)
        for name in dtype.names:
            out[name] = to_exact(values[name], dtype[name])
        return out
    if dtype.kind == "O" and values.dtype.kind == "S":  # text that kist has in fixed widths
        return np.array(
            [value.decode("utf-8", "replace") for value in values.reshape(-1).tolist()], object
        ).reshape(values.shape)
    told: Any = dtype.metadata or {}
    items = told.get("vlen")
    if isinstance(items, np.dtype) and not items.base.isnative:
        # In the order of the file: HDF5 cannot turn all kinds of numbers within lists.
        out = np.empty(values.shape, object)
        flat = out.reshape(-1)
        for at, cell in enumerate(values.reshape(-1).tolist()):
            flat[at] = cell.astype(items)
        return out
    return values if dtype.kind == "O" else values.astype(dtype, copy=False)
