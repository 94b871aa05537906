"""Where the values of an array stand in a file of another format, and what proves that file.

Only what stands in one piece: an NPY file, a contiguous dataset of HDF5, or bytes that the user
describes. Nothing of the other format is needed to read it later.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.errors import DTypeError, LinkError, SelectionError, ShapeError
from kist.format.array import item_bytes
from kist.format.checksum import sum64
from kist.format.dtypes import is_string_dtype, pack_dtype
from kist.model.arrays.grid import as_shape
from kist.model.arrays.input import as_array_dtype

if TYPE_CHECKING:
    from kist.model.store import Store

__all__ = ["described_bytes", "place_of"]

Progress = Callable[[int, int], None]

_BLOCK: Final = 1 << 20
_NPY: Final = b"\x93NUMPY"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"


class Place(NamedTuple):
    """Where an array stands in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: str
    offset: int


def place_of(
    real: str, dataset: str | None, dtype: Any, shape: Any, offset: int, order: str
) -> Place:
    """Return where an array stands in a file.

    Raises
    ------
    LinkError
        The file is neither NPY nor HDF5, and `dtype` and `shape` were not given.
    SelectionError
        The values of the dataset do not stand in one piece.
    DTypeError
        They are Python objects, or of no width.
    """
    if (dtype is None) != (shape is None):
        raise SelectionError("bytes of a file are described by dtype= and shape= together")
    if dtype is not None:
        if order not in ("C", "F"):
            raise SelectionError(f"order is 'C' or 'F', not {order!r}")
        if type(offset) is not int or offset < 0:
            raise SelectionError(f"offset is a number of bytes, not {offset!r}")
        place = Place(as_array_dtype(dtype, f"bytes of {real!r}"), as_shape(shape), order, offset)
    else:
        with open(real, "rb") as file:
            start = file.read(4096)
        if start.startswith(_NPY):
            place = _in_npy(real)
        elif dataset is not None:
            place = _in_hdf5(real, dataset)
        elif any(start[at:].startswith(_HDF5) for at in (0, 512, 1024, 2048)):
            raise SelectionError(f"{real!r} is HDF5: name the dataset")
        else:
            raise LinkError(f"{real!r} is no NPY file: say dtype= and shape= of its bytes")
    place = place._replace(shape=as_shape(place.shape))  # a damaged file may say anything
    if is_string_dtype(place.dtype) or place.dtype.hasobject or not place.dtype.itemsize:
        raise DTypeError(f"{real!r} holds {place.dtype}: its items have no width of their own")
    return place


def _in_npy(real: str) -> Place:
    from numpy.lib import format as npy

    with open(real, "rb") as file:
        try:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            # Version 3 differs from 2 in the encoding of names alone, and NumPy's own reader of it
            # is private.
            if version == (3, 0):
                array = np.load(real, mmap_mode="r", allow_pickle=False)
                return Place(array.dtype, array.shape, _order(array), int(array.offset))
            shape, fortran, dtype = read(file)
        except Exception as error:  # a Python literal: its parser raises what it likes
            raise LinkError(f"{real!r} is a damaged NPY file: {error}") from error
        return Place(dtype, tuple(shape), "F" if fortran else "C", file.tell())


def _order(array: Any) -> str:
    return "C" if array.flags.c_contiguous else "F"


def _in_hdf5(real: str, dataset: str) -> Place:
    from kist.extras import need

    h5py = need("h5py", "hdf5", f"the place of {dataset!r} in {real!r}")
    with h5py.File(real, "r") as file:
        found = file.get(dataset)
        if not isinstance(found, h5py.Dataset):
            raise SelectionError(f"{real!r} has no dataset {dataset!r}")
        if found.shape is None:
            raise SelectionError(f"dataset {dataset!r} of {real!r} has no values, not even a shape")
        offset, dtype = found.id.get_offset(), found.dtype
        here = os.path.realpath(os.fsdecode(found.file.filename)) == os.path.realpath(real)
        if dtype.hasobject or found.id.get_type().get_size() != dtype.itemsize:
            raise DTypeError(f"dataset {dataset!r} of {real!r}: {dtype} is read by HDF5 alone")
        if (
            found.chunks is not None
            or found.is_virtual
            or found.external
            or not here
            or (found.size and offset is None)  # in the header of the dataset
            or found.id.get_storage_size() != found.nbytes
        ):
            raise SelectionError(
                f"dataset {dataset!r} of {real!r} does not stand in one piece (it is chunked, "
                "compressed, virtual, elsewhere, or was never written): convert it"
            )
        # Without what h5py notes in a dtype, such as the names of an enumeration.
        plain = np.dtype(dtype.str) if dtype.names is None else dtype
        place = Place(plain, found.shape, "C", int(offset) if found.size else 0)
        if found.size:  # what h5py gives, and what stands there
            last = tuple(n - 1 for n in found.shape)
            end = place.offset + (found.size - 1) * dtype.itemsize
            with open(real, "rb") as raw:
                for at, where in ((place.offset, (0,) * found.ndim), (end, last)):
                    raw.seek(at)
                    item = np.frombuffer(raw.read(dtype.itemsize), dtype)[0]
                    if np.asarray(found[where]).tobytes() != item.tobytes():
                        raise SelectionError(
                            f"dataset {dataset!r} of {real!r} is converted when HDF5 reads it"
                        )
    return place


def described_bytes(
    store: Store, file: str, link: str, place: Place, sums: bool, progress: Progress | None
) -> dict[str, Any]:
    """Return what a link says of bytes in a file.

    Raises
    ------
    ShapeError
        The file ends before the array does.
    """
    real, found = store._links.find(store, file, link)
    nbytes = prod(place.shape) * item_bytes(place.dtype)
    if place.offset + nbytes > found.st_size:
        raise ShapeError(
            f"{real!r} has {found.st_size:,} bytes; {place.shape} of {place.dtype} from byte "
            f"{place.offset:,} on take {nbytes:,}"
        )
    item = item_bytes(place.dtype)
    block = max(item, _BLOCK // item * item) if item and sums else 0
    parts = []
    if block:
        with open(real, "rb") as raw:
            raw.seek(place.offset)
            for at in range(0, nbytes, block):
                parts.append(sum64(raw.read(min(block, nbytes - at))))
                if progress is not None:
                    progress(min(at + block, nbytes), nbytes)
            now = os.fstat(raw.fileno())
        if (now.st_size, now.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
            raise LinkError(f"{real!r} was changed while it was being linked; try again")
    return {
        "file": file,
        "dtype": pack_dtype(place.dtype),
        "shape": list(map(int, place.shape)),
        "order": place.order,
        "offset": place.offset,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "block": block,
        "sums": np.array(parts, "<u8"),
    }
