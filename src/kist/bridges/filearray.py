"""An array in a file, of which parts are read when they are asked for.

Not through a map: a file that somebody makes shorter meanwhile would end the process by a signal,
where reading it says that bytes are missing.
"""

from __future__ import annotations

import math
import mmap
import os
from itertools import product
from typing import Any

import numpy as np

from kist.errors import CorruptDataError

__all__ = ["FileArray", "held"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


class FileArray:
    """Numbers, text of a width or records, as they stand in a file.

    Parameters
    ----------
    file : str
    offset : int
        Of the first byte.
    shape, dtype
        Of the array. No objects.
    fortran : bool
        Whether the first index changes fastest.
    """

    def __init__(
        self, file: str, offset: int, shape: Shape, dtype: np.dtype[Any], fortran: bool
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._file = file
        self._offset = offset
        self._fortran = fortran

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: slice | tuple[slice, ...]) -> Array:
        """Return a part, in memory of its own.

        Raises
        ------
        CorruptDataError
            The file has become shorter.
        """
        cuts = list(where) if isinstance(where, tuple) else [where]
        cuts += [slice(None)] * (self.ndim - len(cuts))
        bounds = [cut.indices(n)[:2] for cut, n in zip(cuts, self.shape, strict=True)]
        shape = self.shape
        if self._fortran:
            bounds, shape = bounds[::-1], shape[::-1]
        found = self._read(bounds, shape)
        return found.T if self._fortran else found

    def _read(self, bounds: list[tuple[int, int]], shape: Shape) -> Array:
        counts = tuple(max(0, stop - start) for start, stop in bounds)
        out = np.empty(counts, self.dtype)
        if not out.nbytes:
            return out
        # Whole axes at the end, and one before them, stand one behind the other.
        last = len(shape)
        while last and counts[last - 1] == shape[last - 1]:
            last -= 1
        above = max(0, last - 1)
        steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        first = bounds[above][0] * steps[above] if shape else 0
        run = math.prod(counts[above:]) * self.dtype.itemsize
        raw = out.reshape(-1).view(np.uint8).data
        with open(self._file, "rb", buffering=0) as file:
            corners = product(*(range(*bounds[axis]) for axis in range(above)))
            for at, corner in enumerate(corners):
                items = first + sum(k * n for k, n in zip(corner, steps, strict=False))
                file.seek(self._offset + items * self.dtype.itemsize)
                self._fill(file, raw[at * run : (at + 1) * run])
        return out

    def _fill(self, file: Any, raw: memoryview) -> None:
        while raw:
            n_read = file.readinto(raw)
            if not n_read:
                raise CorruptDataError(
                    f"{self._file}: ends {len(raw):,} bytes too early; it was made shorter while "
                    "it was read"
                )
            raw = raw[n_read:]


def held(values: Any) -> Any:
    """Return an array; of a map of a whole file one that reads the file instead."""
    whole = isinstance(values, np.memmap) and isinstance(values.base, mmap.mmap)
    if whole and isinstance(values.filename, str | os.PathLike) and values.flags.forc:
        fortran = values.flags.f_contiguous and not values.flags.c_contiguous
        return FileArray(
            os.fspath(values.filename), values.offset, values.shape, values.dtype, fortran
        )
    return np.asarray(values)
