"""A group of a store as variables of xarray, which are read where they are indexed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import xarray as xr
from xarray.backends import AbstractDataStore, BackendArray
from xarray.core import indexing

import kist
from kist.errors import NodeNotFoundError

__all__ = ["DIMS", "DataStore", "dims_of"]

DIMS: Final = "_DIMS"
"""Attribute with the names of dimensions; docs/xarray.md."""

_PRIVATE: Final = (DIMS, "NETCDF", "ZARR", "HDF5")


class DataStore(AbstractDataStore):  # type: ignore[misc]
    """A group of a store as xarray wants to see it, before CF conventions are applied."""

    def __init__(self, path: str, group: str | None, version: int | str | None) -> None:
        self._store: Any = kist.open(path, version=version)
        try:
            inside = (group or "").strip("/")
            self._node: Any = self._store[inside] if inside else self._store
            if self._node.kind not in ("group", "table"):
                raise NodeNotFoundError(f"{path}: {group!r} is no group, but an {self._node.kind}")
        except BaseException:
            self._store.close()
            raise
        self._path = path

    def load(self) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Return (variables, attributes)."""
        node = self._node
        attrs = {key: value for key, value in node.attrs.items() if key not in _PRIVATE}
        if node.kind == "table":
            found = {
                name: _variable(node[name], self._path, _rowdims_of(name, node[name]))
                for name in node.columns
            }
            return found, attrs
        arrays = {name: child for name, child in node.items() if child.kind == "array"}
        return {
            name: _variable(a, self._path, dims_of(name, a)) for name, a in arrays.items()
        }, attrs

    def get_encoding(self) -> dict[str, Any]:
        """Return which dimensions have no limit."""
        declared = self._node.attrs.get(DIMS, {})
        unlimited = {n for n, size in declared.items() if size is None} if declared else set()
        return {"unlimited_dims": unlimited, "source": self._path}

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def dims_of(name: str, array: Any) -> tuple[str, ...]:
    """Return the names of the dimensions of an array; an axis without one gets its own."""
    found = array.attrs.get(DIMS)
    if isinstance(found, list) and len(found) == array.ndim and all(found):
        return tuple(map(str, found))
    return tuple(f"{name}_{axis}" for axis in range(array.ndim))


def _rowdims_of(name: str, column: Any) -> tuple[str, ...]:
    return ("row", *(f"{name}_{axis}" for axis in range(1, len(column.shape))))


def _variable(data: Any, path: str, dims: tuple[str, ...]) -> Any:
    attrs = {key: value for key, value in data.attrs.items() if key not in _PRIVATE}
    encoding: dict[str, Any] = {"source": path, "original_shape": tuple(data.shape)}
    chunks = getattr(data, "chunks", None)
    if chunks is not None and dims:
        sizes = [max(1, min(c, n)) for c, n in zip(chunks, data.shape, strict=True)]
        encoding["chunks"] = tuple(chunks)
        encoding["preferred_chunks"] = dict(zip(dims, sizes, strict=True))
    return xr.Variable(dims, indexing.LazilyIndexedArray(_LazyArray(data)), attrs, encoding)


class _LazyArray(BackendArray):  # type: ignore[misc]
    """An array or column that is read where it is indexed."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape = tuple(data.shape)
        text = data.dtype.char == "T"
        self.dtype = np.dtype(object) if text else data.dtype

    def __getitem__(self, key: Any) -> Any:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        values = np.asarray(self._data[key if key else ...])
        return values.astype(self.dtype, copy=False)
