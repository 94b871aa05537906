"""xarray's engine ``kist``, and ``ds.kist.to_kist``.

xarray imports this module when it looks for engines; ``import kist.integrations.xarray`` does the
same for the accessor. How names of dimensions are stored: docs/xarray.md.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import pairwise, product
from typing import Any, Final

import numpy as np
import xarray as xr
from xarray.backends import (
    AbstractDataStore,
    BackendArray,
    BackendEntrypoint,
    StoreBackendEntrypoint,
)
from xarray.coding.times import decode_cf_datetime
from xarray.conventions import encode_cf_variable, encode_dataset_coordinates
from xarray.core import indexing

import kist
from kist.errors import ConversionError, DTypeError, NodeNotFoundError, ShapeError

__all__ = ["KistAccessor", "KistBackend"]

_DIMS: Final = "_DIMS"
_PRIVATE: Final = (_DIMS, "NETCDF", "ZARR", "HDF5")
_PART_BYTES: Final = 16 << 20
_TEXT: Any = np.dtypes.StringDType(na_object=None)
_CODING: Final = ("units", "calendar", "dtype", "scale_factor", "add_offset", "_FillValue")


class KistBackend(BackendEntrypoint):  # type: ignore[misc]
    """Opens stores as datasets: ``xr.open_dataset("f.kist", engine="kist")``."""

    description = "Open kist stores in xarray"
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell whether a path looks like a store."""
        return isinstance(filename_or_obj, str | os.PathLike) and os.fspath(
            filename_or_obj
        ).endswith(".kist")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        mask_and_scale: Any = True,
        decode_times: Any = True,
        concat_characters: Any = True,
        decode_coords: Any = True,
        drop_variables: str | Iterable[str] | None = None,
        use_cftime: Any = None,
        decode_timedelta: Any = None,
        group: str | None = None,
        version: int | str | None = None,
    ) -> Any:
        """Open a group as a dataset; values are read when they are used.

        Parameters
        ----------
        filename_or_obj : str or path object
            The store.
        group : str, optional
            Path of the group; by default the root. A table is a dataset of its columns.
        version : int or str, optional
            Commit or tag that is read.
        mask_and_scale, decode_times, concat_characters, decode_coords
            As for `xarray.open_dataset`.
        drop_variables, use_cftime, decode_timedelta
            As for `xarray.open_dataset`.
        """
        store = _DataStore(os.fspath(filename_or_obj), group, version)
        try:
            return StoreBackendEntrypoint().open_dataset(
                store,
                mask_and_scale=mask_and_scale,
                decode_times=decode_times,
                concat_characters=concat_characters,
                decode_coords=decode_coords,
                drop_variables=drop_variables,
                use_cftime=use_cftime,
                decode_timedelta=decode_timedelta,
            )
        except BaseException:
            store.close()
            raise

    def open_groups_as_dict(self, filename_or_obj: Any, **options: Any) -> dict[str, Any]:
        """Open every group as a dataset, by path."""
        top = options.pop("group", None) or "/"
        with kist.open(os.fspath(filename_or_obj), version=options.get("version")) as store:
            node = store[top] if top.strip("/") else store
            paths = ["/"]
            node.visititems(
                lambda name, found: paths.append(f"/{name}") if found.kind == "group" else None
            )
        base = top.strip("/")
        return {
            path: self.open_dataset(filename_or_obj, group=f"{base}{path}", **options)
            for path in paths
        }

    def open_datatree(self, filename_or_obj: Any, **options: Any) -> Any:
        """Open a store with all its groups as a tree."""
        return xr.DataTree.from_dict(self.open_groups_as_dict(filename_or_obj, **options))


class _DataStore(AbstractDataStore):  # type: ignore[misc]
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
                name: _variable(node[name], self._path, _row_dims(name, node[name]))
                for name in node.columns
            }
            return found, attrs
        arrays = {name: child for name, child in node.items() if child.kind == "array"}
        return {name: _variable(a, self._path, _dims(name, a)) for name, a in arrays.items()}, attrs

    def get_encoding(self) -> dict[str, Any]:
        """Return which dimensions have no limit."""
        declared = self._node.attrs.get(_DIMS, {})
        unlimited = {n for n, size in declared.items() if size is None} if declared else set()
        return {"unlimited_dims": unlimited, "source": self._path}

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _dims(name: str, array: Any) -> tuple[str, ...]:
    """Return the names of the dimensions of an array; an axis without one gets its own."""
    found = array.attrs.get(_DIMS)
    if isinstance(found, list) and len(found) == array.ndim and all(found):
        return tuple(map(str, found))
    return tuple(f"{name}_{axis}" for axis in range(array.ndim))


def _row_dims(name: str, column: Any) -> tuple[str, ...]:
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
        # Slices that run backwards are read forwards.
        forward, turn = [], []
        for part, size in zip(key, self.shape, strict=True):
            if isinstance(part, slice) and (part.step or 1) < 0:
                at = range(*part.indices(size))
                forward.append(slice(at[-1], at[0] + 1, -at.step) if len(at) else slice(0, 0))
                turn.append(slice(None, None, -1))
            else:
                forward.append(part)
                if isinstance(part, slice):
                    turn.append(slice(None))
        values = np.asarray(self._data[tuple(forward) if forward else ()])
        values = values[tuple(turn)] if turn else values
        return values.astype(self.dtype, copy=False)


# Writing


@xr.register_dataset_accessor("kist")
class KistAccessor:
    """What ``ds.kist`` gives.

    Examples
    --------
    >>> import kist.integrations.xarray, os, tempfile
    >>> import xarray as xr
    >>> path = os.path.join(tempfile.mkdtemp(), "weather.kist")
    >>> day = xr.Dataset({"t": ("time", [20.5, 21.0])}, {"time": [0, 1]})
    >>> day.kist.to_kist(path)
    >>> day.assign_coords(time=[2, 3]).kist.to_kist(path, append_dim="time")
    >>> with xr.open_dataset(path, engine="kist") as ds:
    ...     ds["t"].values
    array([20.5, 21. , 20.5, 21. ])
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def to_kist(
        self,
        path: str | os.PathLike[str],
        *,
        group: str | None = None,
        append_dim: str | None = None,
        overwrite: bool = False,
        codec: str = "auto",
        encoding: Mapping[Hashable, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write the dataset into a group of a store, in one transaction.

        Parameters
        ----------
        path : str or path object
            The store; a new one is made.
        group : str, optional
            Path of the group; by default the root.
        append_dim : str, optional
            Append to the arrays that are there, along this dimension. All else must be as it is
            there.
        overwrite : bool
            Replace arrays that are there.
        codec : str
            Of new arrays, as for `Group.create_array`.
        encoding : mapping, optional
            How variables are stored, as for `Dataset.to_netcdf`; with ``"chunks"`` too.

        Raises
        ------
        NodeExistsError
            There is an array of that name, and neither `append_dim` nor `overwrite` is given.
        ShapeError, ConversionError
            What is appended does not fit what is there.

        Notes
        -----
        Values of Dask are computed chunk by chunk, other lazy ones in parts of 16 MiB.
        """
        dataset = self._dataset
        path = os.fspath(path)
        if append_dim is not None and append_dim not in dataset.dims:
            raise ConversionError(f"{append_dim!r} is no dimension of the dataset")
        with _opened(path) as store, store.transaction(f"to_kist {group or '/'}"):
            inside = (group or "").strip("/")
            target = store.require_group(inside) if inside else store
            variables = {name: v.copy(deep=False) for name, v in dataset.variables.items()}
            for name, more in (encoding or {}).items():
                variables[name].encoding = {**variables[name].encoding, **more}
            standing = {n for n in variables if append_dim is not None and str(n) in target}
            if standing:
                _take_coding(path, group, variables, standing)
            _write(
                target, dataset, variables, standing, append_dim, overwrite=overwrite, codec=codec
            )


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a store for writing; a new one goes again after an error."""
    is_new = not os.path.lexists(path)
    try:
        with kist.open(path, "a") as store:
            yield store
    except BaseException:
        if is_new and os.path.exists(path):
            os.unlink(path)
        raise


def _take_coding(
    path: str, group: str | None, variables: dict[Any, Any], standing: set[Any]
) -> None:
    """Encode what is appended as what is there: the same units, calendars and scales."""
    with KistBackend().open_dataset(path, group=group) as there:
        for name in standing & set(there.variables):
            found = there.variables[name].encoding
            kept = {key: found[key] for key in _CODING if key in found}
            variables[name].encoding = {**variables[name].encoding, **kept}


def _write(
    target: Any, dataset: Any, variables: dict[Any, Any], standing: set[Any],
    append_dim: str | None, *, overwrite: bool, codec: str,
) -> None:  # fmt: skip
    encoded, attrs = encode_dataset_coordinates(dataset)
    for name, variable in encoded.items():
        chosen = variable.copy(deep=False)
        chosen.encoding = {**chosen.encoding, **variables[name].encoding}
        made = encode_cf_variable(chosen, name=name)
        if name in standing:
            _append(target, str(name), made, append_dim)
        else:
            _create(target, str(name), made, variables[name].encoding, overwrite, codec)
    if standing:
        _check_complete(target, encoded, append_dim)
    else:
        target.attrs.update({str(key): value for key, value in attrs.items()})
    _declare(target, dataset, append_dim)


def _create(
    target: Any, name: str, variable: Any, encoding: Mapping[str, Any], overwrite: bool, codec: str
) -> None:
    dtype = _TEXT if variable.dtype.kind == "O" or variable.dtype.char == "T" else variable.dtype
    chunks = encoding.get("chunks")
    fits = chunks is not None and len(chunks) == variable.ndim
    attrs = {str(key): value for key, value in variable.attrs.items()}
    if variable.ndim:
        attrs[_DIMS] = [str(dim) for dim in variable.dims]
    fill = attrs.get("_FillValue", 0)
    array = target.create_array(
        name,
        shape=variable.shape,
        dtype=dtype,
        chunks=tuple(chunks) if chunks is not None and fits else "auto",
        fill_value="" if dtype is _TEXT else fill,
        codec=codec,
        attrs=attrs,
        overwrite=overwrite,
    )
    for where, values in _parts(variable):
        array[where] = values


def _append(target: Any, name: str, variable: Any, append_dim: str | None) -> None:
    """Append to an array, or see that it holds the same.

    Raises
    ------
    ShapeError, ConversionError
        What is there is of another kind.
    """
    array = target[name]
    dims = [str(dim) for dim in variable.dims]
    if array.kind != "array" or list(_dims(name, array)) != dims:
        raise ShapeError(f"{array.name}: has dimensions {_dims(name, array)}, not {tuple(dims)}")
    if append_dim not in dims:
        same = array.shape == variable.shape and all(
            np.array_equal(np.asarray(array[where], values.dtype), values)
            for where, values in _parts(variable)
        )
        if not same:
            raise ConversionError(
                f"{array.name}: has no dimension {append_dim!r} and holds other values than the "
                "dataset; leave it out with drop_vars, or write it with overwrite=True"
            )
        return
    axis = dims.index(append_dim)
    for at, (have, add) in enumerate(zip(array.shape, variable.shape, strict=True)):
        if at != axis and have != add:
            raise ShapeError(
                f"{array.name}: dimension {dims[at]!r} has {have:,} places, not {add:,}"
            )
    for key in ("units", "calendar", "scale_factor", "add_offset"):
        have, add = array.attrs.get(key), variable.attrs.get(key)
        if have != add and not (key == "units" and _same_times(have, add)):
            raise ConversionError(
                f"{array.name}: {key} is {have!r}; what is appended needs {add!r}"
            )
    before = array.shape[axis]
    array.resize(tuple(n + (variable.shape[axis] if a == axis else 0)
                       for a, n in enumerate(array.shape)))  # fmt: skip
    for where, values in _parts(variable):
        part = where[axis]
        moved = slice(part.start + before, part.stop + before)
        array[(*where[:axis], moved, *where[axis + 1 :])] = values


def _same_times(one: Any, other: Any) -> bool:
    """Tell whether two units of time count the same from the same moment."""
    if not all(isinstance(units, str) and " since " in units for units in (one, other)):
        return False
    marks = [decode_cf_datetime(np.array([0, 1]), units) for units in (one, other)]
    return bool(np.array_equal(*marks))


def _check_complete(target: Any, encoded: Mapping[Any, Any], append_dim: str | None) -> None:
    """Raise when an array of the group would stay shorter than the others.

    Raises
    ------
    ConversionError
        The dataset lacks it.
    """
    for name, child in target.items():
        if child.kind == "array" and append_dim in _dims(name, child) and name not in encoded:
            raise ConversionError(
                f"{child.name}: has dimension {append_dim!r}, and the dataset nothing to append"
            )


def _declare(target: Any, dataset: Any, append_dim: str | None) -> None:
    """Keep sizes of dimensions, and which of them have no limit, with the group."""
    unlimited = {str(dim) for dim in dataset.encoding.get("unlimited_dims", ())} | {append_dim}
    before = target.attrs.get(_DIMS, {})
    before = before if isinstance(before, Mapping) else {}
    sizes = {str(dim): int(size) for dim, size in dataset.sizes.items()}
    open_before = {name for name, size in before.items() if size is None}
    target.attrs[_DIMS] = {
        name: None if name in unlimited | open_before else size
        for name, size in {**before, **sizes}.items()
    }


def _parts(variable: Any) -> Iterator[tuple[tuple[slice, ...], Any]]:
    """Yield (where, values) of a variable: chunks of Dask, else parts of some MiB."""
    if variable.chunks is not None:
        ends = [np.cumsum([0, *sizes]).tolist() for sizes in variable.chunks]
        axes = [[slice(a, b) for a, b in pairwise(e)] for e in ends]
    else:
        lengths = list(variable.shape)
        width = max(1, variable.dtype.itemsize)
        for axis in range(len(lengths)):
            inner = width * math.prod(lengths[axis + 1 :])
            lengths[axis] = max(1, min(lengths[axis], _PART_BYTES // max(1, inner)))
        axes = [
            [slice(a, min(a + m, n)) for a in range(0, n, m)]
            for n, m in zip(variable.shape, lengths, strict=True)
        ]
    for where in product(*axes):
        values = np.asarray(variable[where].values if where else variable.values)
        yield where, _text(values) if values.dtype.kind == "O" else values


def _text(values: Any) -> Any:
    """Return objects as text.

    Raises
    ------
    DTypeError
        They are none.
    """
    try:
        return values.astype(np.dtypes.StringDType(na_object=None, coerce=False)).astype(_TEXT)
    except (TypeError, ValueError) as error:
        kinds = sorted({type(value).__name__ for value in values.reshape(-1).tolist()})
        raise DTypeError(f"objects of type {', '.join(kinds)} are no text: {error}") from error
