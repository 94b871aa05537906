"""Linked arrays: values that stand in a file of another format, read where they are."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist.errors import CorruptDataError, LinkError
from kist.format.array import MAX_NDIM, item_bytes
from kist.format.checksum import sum64
from kist.format.dtypes import is_string_dtype, unpack_dtype
from kist.model.arrays.readonly import ReadOnlyArray, Seen
from kist.model.indexing import Box, Points
from kist.model.links.linked import Linked
from kist.model.text import guarded
from kist.storage.positions import OPEN_FLAGS, read_at

if TYPE_CHECKING:
    from kist.format.link import LinkRecord
    from kist.model.links.link import Link

__all__ = ["LinkedArray", "checked_bytes"]

NumPyArray = np.ndarray[Any, Any]

_BLOCK: Final = 1 << 20
_AT_ONCE: Final = 1 << 20
"""Elements whose places are listed at a time."""


class LinkedArray(Linked, ReadOnlyArray):
    """Bytes of another file as an array: indexed as in NumPy, not changed.

    Comes from looking up what ``group.create_array_link`` has made. What a selection needs is read
    from the file at each call; with sums each byte is verified, else the file must have the size
    and the time of change that it had.

    Examples
    --------
    >>> import kist, numpy as np
    >>> np.save("frames.npy", np.arange(12.0).reshape(3, 4))
    >>> with kist.open("lab.kist", "w") as store:
    ...     link = store.create_array_link("frames", "frames.npy")
    ...     store["frames"].shape, store["frames"][1:, 2]
    ((3, 4), array([ 6., 10.]))
    """

    def __init__(self, link: Link, record: LinkRecord) -> None:
        said = record.said
        self._link = link
        self._path = link._path
        self._file: str = said["file"]
        self._dtype, self._shape = dtype, shape = checked_bytes(record, link._path)
        self._order: str = said["order"]
        self._offset: int = said["offset"]
        self._proof = said["size"], said["mtime_ns"]
        self._sums: NumPyArray = said["sums"]
        self._item = item_bytes(dtype)
        self._block: int = said["block"] or max(self._item, _BLOCK // self._item * self._item)
        lengths = shape if self._order == "C" else shape[::-1]
        steps = [math.prod(lengths[axis + 1 :]) for axis in range(len(lengths))]
        self._strides = tuple(steps if self._order == "C" else steps[::-1])

    # About it

    @property
    def file_name(self) -> str:
        """The file, relative to the folder of the store."""
        return self._file

    @property
    def is_verified(self) -> bool:
        """Whether each byte is verified against a sum when it is read."""
        return bool(len(self._sums)) or not self.nbytes

    @contextmanager
    def _held(self) -> Iterator[Seen]:
        self._link._view()  # which raises for what is closed or gone
        yield Seen(self._shape, self._dtype, self._fetch)

    def _readonly(self) -> str:
        return f"{self._path!r} stands in {self._file!r}, which kist only reads"

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the elements."""
        return self._dtype

    # Reading

    def _fetch(self, where: Box | Points) -> NumPyArray:
        """Return the elements at a box or at points, in their layout."""
        box, axes = (where.box, where.axes) if isinstance(where, Points) else (where, ())
        rest = [axis for axis in range(self.ndim) if axis not in axes]
        layout = [box.count[axis] for axis in rest]
        if isinstance(where, Points):
            layout = [len(where.coords[0]), *layout]
        if not math.prod(layout):
            return np.empty(layout, self.dtype)
        with _Opened(self) as file:  # which holds the size of the file against the record
            out = np.empty(layout, self.dtype)
            if not axes and (run := self._run(box)) is not None:
                flat = np.empty(out.size, self.dtype)
                file.read_run(run, flat)
                return flat.reshape(layout, order=self._order)  # type: ignore[call-overload,no-any-return]
            # Places of the elements along each axis of the layout, in elements of the file.
            along = [
                (box.start[axis] + box.step[axis] * np.arange(box.count[axis], dtype=np.int64))
                * self._strides[axis]
                for axis in rest
            ]
            if isinstance(where, Points):
                points = np.zeros(layout[0], np.int64)
                for axis, coords in zip(axes, where.coords, strict=True):
                    points += np.asarray(coords, np.int64) * self._strides[axis]
                along.insert(0, points)
            flat = out.reshape(-1)
            inner = math.prod(layout[1:])
            places = np.zeros(1, np.int64)
            for steps in along[1:]:
                places = (places[:, None] + steps).reshape(-1)
            for first in range(0, layout[0], max(1, _AT_ONCE // inner)):
                some = along[0][first : first + max(1, _AT_ONCE // inner)]
                where_ = (some[:, None] + places).reshape(-1)
                file.gather(where_, flat[first * inner : first * inner + len(where_)])
        return out

    def _run(self, box: Box) -> int | None:
        """Return where a box begins that stands in one piece, None for another."""
        axes = range(self.ndim) if self._order == "C" else range(self.ndim - 1, -1, -1)
        several = False  # whether an outer axis has more than one place
        for axis in axes:
            whole = box.count[axis] == self.shape[axis]
            if several and not whole:
                return None
            if box.count[axis] > 1:
                if box.step[axis] != 1:
                    return None
                several = True
        return sum(a * b for a, b in zip(box.start, self._strides, strict=True))

    def _more_facts(self) -> dict[str, Any]:
        file = {"file": self._file, "offset": self._offset, "order": self._order}
        return {**file, "is_verified": self.is_verified}

    def __repr__(self) -> str:
        def draw() -> str:
            said = " x ".join(f"{n:,}" for n in self.shape) or "one"
            proof = "" if self.is_verified else ", not verified"
            where = f"{self._file!r} from byte {self._offset:,}"
            return f"<kist.LinkedArray {self._link._path!r}, {said} {self.dtype} in {where}{proof}>"

        return guarded(f"kist.LinkedArray {self._link._path!r}", draw)


def checked_bytes(record: LinkRecord, path: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return dtype and shape of a record.

    Raises
    ------
    CorruptDataError
        Its fields do not fit each other.
    """
    said = record.said
    dtype, shape = unpack_dtype(said["dtype"]), tuple(said["shape"])
    item, block, sums = item_bytes(dtype), said["block"], said["sums"]
    if (
        dtype.hasobject
        or is_string_dtype(dtype)
        or not dtype.itemsize
        or len(shape) > MAX_NDIM
        or any(not 0 <= n < 1 << 63 for n in shape)
        or said["order"] not in ("C", "F")
        or said["offset"] < 0
        or not 0 <= block <= max(_BLOCK, item)
        or sums.dtype != np.dtype("<u8")
        or sums.ndim != 1
    ):
        raise CorruptDataError(f"link {path!r}: its fields do not fit each other", node=path)
    nbytes = math.prod(shape) * item
    # NumPy multiplies the lengths without regard to those of nothing.
    if math.prod(n or 1 for n in shape) * item >= 1 << 63:
        raise CorruptDataError(f"link {path!r}: an array cannot have its shape", node=path)
    n_blocks = -(-nbytes // block) if block else 0
    if (block and block % item) or len(sums) != n_blocks or said["offset"] + nbytes > said["size"]:
        raise CorruptDataError(f"link {path!r}: its sums do not fit its bytes", node=path)
    return dtype, shape


class _Opened:
    """The file of a linked array, open for one call."""

    def __init__(self, array: LinkedArray) -> None:
        self._array = array
        store, path = array._link._store, array._link._path
        self._real = store._links.find(store, array._file, path)[0]
        try:
            # Not blocking: it may have become a pipe since.
            self._fd = os.open(self._real, os.O_RDONLY | OPEN_FLAGS)
        except OSError as error:
            raise LinkError(f"link {path!r} leads to {self._real!r}: {error}") from error
        try:
            self._check()
        except BaseException:
            os.close(self._fd)
            raise

    def _check(self) -> None:
        """Raise where the file is not what was linked, as far as the system knows."""
        array = self._array
        found = os.fstat(self._fd)
        size, mtime_ns = array._proof
        changed = not stat.S_ISREG(found.st_mode) or found.st_size != size
        # Where sums prove the bytes, a copy of the file is as good as the file.
        if changed or (found.st_mtime_ns != mtime_ns and not array.is_verified):
            raise LinkError(
                f"link {array._link._path!r}: {self._real!r} has changed since it was linked: make "
                "the link anew if that is meant"
            )

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        try:
            if kind is None and not self._array.is_verified:
                self._check()  # what was read could be of two contents
        finally:
            os.close(self._fd)

    def read_run(self, first: int, out: NumPyArray) -> None:
        """Fill an array with the elements from one on."""
        array = self._array
        per = array._block // array._item
        if not len(array._sums):
            self._read(array._offset + first * array._item, out)
            return
        done = 0
        while done < len(out):
            number, skip = divmod(first + done, per)
            block = self._values(number)[skip : skip + len(out) - done]
            out[done : done + len(block)] = block
            done += len(block)

    def gather(self, places: NumPyArray, out: NumPyArray) -> None:
        """Fill an array with the elements at some places, each block read once."""
        per = self._array._block // self._array._item
        numbers = places // per
        order = np.argsort(numbers, kind="stable")
        edges = np.flatnonzero(np.diff(numbers[order])) + 1
        for mine in np.split(order, edges):
            number = int(numbers[mine[0]])
            out[mine] = self._values(number)[places[mine] - number * per]

    def _values(self, number: int) -> NumPyArray:
        """Return the elements of one block, verified where there are sums."""
        array = self._array
        start = number * array._block
        values = np.empty(min(array._block, array.nbytes - start) // array._item, array.dtype)
        self._read(array._offset + start, values)
        if len(array._sums) and sum64(values.view(np.uint8).data) != int(array._sums[number]):
            path = array._link._path
            raise CorruptDataError(
                f"link {path!r}: bytes {array._offset + start:,} to "
                f"{array._offset + start + values.nbytes:,} of {self._real!r} are not what was "
                "linked",
                offset=array._offset + start,
                node=path,
            )
        return values

    def _read(self, offset: int, out: NumPyArray) -> None:
        buffer, done = out.view(np.uint8).data, 0
        while done < len(buffer):
            n = read_at(self._fd, buffer[done:], offset + done)
            if n == 0:
                path = self._array._link._path
                raise LinkError(f"link {path!r}: {self._real!r} was cut off while it was read")
            done += n
