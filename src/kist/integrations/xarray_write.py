"""Datasets of xarray as arrays of a group: new ones, or longer ones."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Hashable, Iterator, Mapping
from itertools import accumulate, pairwise, product
from typing import Any, Final

import numpy as np
from xarray.backends import StoreBackendEntrypoint
from xarray.coding.times import decode_cf_datetime
from xarray.conventions import encode_cf_variable, encode_dataset_coordinates

import kist
from kist.errors import ConversionError, DTypeError, ShapeError
from kist.integrations.xarray_read import DIMS, DataStore, dims_of

__all__ = ["write"]

_PART_BYTES: Final = 32 << 20
"""Of what is read lazily, in whole chunks of the array that it goes into."""

_DASK_BYTES: Final = 128 << 20
"""Of whole chunks of Dask; one of its chunks has about so many."""

_TEXT: Any = np.dtypes.StringDType(na_object=None)
_CODING: Final = ("units", "calendar", "dtype", "scale_factor", "add_offset", "_FillValue")


def write(
    datasets: Mapping[str, Any], path: str, append_dim: str | None, *,
    overwrite: bool, codec: str, encoding: Mapping[str, Mapping[Hashable, Mapping[str, Any]]],
) -> None:  # fmt: skip
    """Write datasets into groups of a store, all in one transaction.

    Parameters
    ----------
    datasets, encoding : mapping
        By the path of the group, ``""`` for the root.

    Raises
    ------
    ConversionError, ShapeError
        What is appended does not fit what is there.
    DTypeError
        A variable is an array of pandas' own.
    """
    if append_dim is not None and not any(append_dim in one.dims for one in datasets.values()):
        raise ConversionError(f"{append_dim!r} is no dimension of the dataset")
    _check_names(datasets, encoding)
    with _opened(path) as store, store.transaction(f"to_kist {next(iter(datasets), '') or '/'}"):
        for inside, dataset in datasets.items():
            target = store.require_group(inside) if inside else store
            variables = {name: v.copy(deep=False) for name, v in dataset.variables.items()}
            for name, more in encoding.get(inside, {}).items():
                variables[name].encoding = {**variables[name].encoding, **more}
            standing = {n for n in variables if append_dim is not None and str(n) in target}
            if standing:
                _take_coding(path, inside, variables, standing)
            _write(
                target, dataset, variables, standing, append_dim, overwrite=overwrite, codec=codec
            )


def _check_names(
    datasets: Mapping[str, Any], encoding: Mapping[str, Mapping[Hashable, Mapping[str, Any]]]
) -> None:
    """Raise for an encoding of what is not there, and for what is no array of NumPy or Dask."""
    for inside, dataset in datasets.items():
        for name in encoding.get(inside, {}):
            if name not in dataset.variables:
                known = ", ".join(map(repr, dataset.variables))
                raise ConversionError(f"encoding: there is no variable {name!r}, but {known}")
        for name, variable in dataset.variables.items():
            if not isinstance(variable.dtype, np.dtype):
                raise DTypeError(
                    f"{name!r} holds {variable.dtype!r} of pandas, which no array of a store "
                    f"does; write dataset.assign({name}=dataset[{str(name)!r}].astype(str)), or "
                    "another dtype of NumPy"
                )
    for inside in encoding:
        if inside not in datasets:
            raise ConversionError(f"encoding: there is no group {'/' + inside!r}")


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
    with StoreBackendEntrypoint().open_dataset(DataStore(path, group, None)) as there:
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
        attrs[DIMS] = [str(dim) for dim in variable.dims]
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
    if variable.ndim:
        array.resize((0, *variable.shape[1:]))  # its chunks are those of the shape that it gets
        _put(array, variable, 0)
    else:
        array[()] = next(_parts(variable, []))[1]


def _append(target: Any, name: str, variable: Any, append_dim: str | None) -> None:
    """Append to an array, or see that it holds the same.

    Raises
    ------
    ShapeError, ConversionError
        What is there is of another kind.
    """
    array = target[name]
    dims = [str(dim) for dim in variable.dims]
    if array.kind != "array" or list(dims_of(name, array)) != dims:
        raise ShapeError(f"{array.name}: has dimensions {dims_of(name, array)}, not {tuple(dims)}")
    if append_dim not in dims:
        same = array.shape == variable.shape and all(
            np.array_equal(np.asarray(array[where], values.dtype), values)
            for where, values in _parts(variable, _ends(variable, array.chunks))
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
    _put(array, variable, axis)


def _put(array: Any, variable: Any, axis: int) -> None:
    """Put the values of a variable behind those of an array.

    Parts that follow each other along axis 0 are appended: they become segments beside what the
    last chunks hold. Assigned to their places, they would have these chunks written anew.
    """
    before = array.shape
    ends = _ends(variable, array.chunks)
    if axis == 0 and all(len(own) == 2 for own in ends[1:]):
        for _, values in _parts(variable, ends):
            array.append(values)
        return
    array.resize(tuple(n + variable.shape[axis] if a == axis else n for a, n in enumerate(before)))
    for where, values in _parts(variable, ends):
        part = where[axis]
        moved = slice(part.start + before[axis], part.stop + before[axis])
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
        if child.kind == "array" and append_dim in dims_of(name, child) and name not in encoded:
            raise ConversionError(
                f"{child.name}: has dimension {append_dim!r}, and the dataset nothing to append"
            )


def _declare(target: Any, dataset: Any, append_dim: str | None) -> None:
    """Keep sizes of dimensions, and which of them have no limit, with the group."""
    unlimited = {str(dim) for dim in dataset.encoding.get("unlimited_dims", ())} | {append_dim}
    before = target.attrs.get(DIMS, {})
    before = before if isinstance(before, Mapping) else {}
    sizes = {str(dim): int(size) for dim, size in dataset.sizes.items()}
    open_before = {name for name, size in before.items() if size is None}
    target.attrs[DIMS] = {
        name: None if name in unlimited | open_before else size
        for name, size in {**before, **sizes}.items()
    }


def _ends(variable: Any, chunks: tuple[int, ...]) -> list[list[int]]:
    """Return where a variable is cut along each axis, from 0 to its end.

    Parameters
    ----------
    chunks : tuple of int
        Of the array that it goes into. Those of Dask count instead where it has some: as many as
        fit are computed together, so that what they have in common is computed once.
    """
    if variable.chunks is not None:
        cuts, most = [[n for n in sizes if n] for sizes in variable.chunks], _DASK_BYTES
    else:
        cuts = [
            [min(c, n - a) for a in range(0, n, c)]
            for n, c in zip(variable.shape, chunks, strict=True)
        ]
        most = _PART_BYTES
    if not variable.size:
        return [[0] for _ in cuts]
    lengths = [max(sizes) for sizes in cuts]
    ends: list[list[int]] = []
    for axis in reversed(range(len(cuts))):
        rest = math.prod(lengths) // lengths[axis] * max(1, variable.dtype.itemsize)
        own = [0]
        for end in accumulate(cuts[axis]):
            if len(own) > 1 and (end - own[-2]) * rest <= most:
                own[-1] = end
            else:
                own.append(end)
        lengths[axis] = max(b - a for a, b in pairwise(own))
        ends.insert(0, own)
    return ends


def _parts(variable: Any, ends: list[list[int]]) -> Iterator[tuple[tuple[slice, ...], Any]]:
    """Yield (where, values) of the parts of a variable, in C order."""
    for where in product(*([slice(a, b) for a, b in pairwise(own)] for own in ends)):
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
