"""What a ragged column gives when it is read: all items, and where each row's begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from kist._kernels.cells import Cells
from kist.errors import DTypeError, SelectionError, ShapeError
from kist.extras import need
from kist.format.nullable import nullable
from kist.format.ragged import is_bytes, is_ragged, item_text, ragged
from kist.model.cast_ragged import as_cells, common_dtype

__all__ = ["Ragged", "as_given"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]


class Ragged:
    """Arrays of different lengths, all items in one array.

    Comes from reading a ragged column; can be given wherever such a column takes values.

    Parameters
    ----------
    values : ndarray, shape (n_items, ...), or bytes
        All items, one cell behind the other.
    offsets : array-like of int, shape (n + 1,)
        Cell i are the items ``offsets[i]`` to ``offsets[i + 1]``.
    mask : array-like of bool, shape (n,), optional
        True where a cell is null, which is not the same as empty; such cells have no items.

    Raises
    ------
    ShapeError
        The offsets go back, or beyond the items; the mask is of another length, or of cells with
        items.
    DTypeError
        Items that no ragged column can have.

    Examples
    --------
    >>> import kist, numpy as np
    >>> r = kist.Ragged(np.array([1.5, 2.5, 3.5]), [0, 2, 2, 3])
    >>> r
    Ragged([[1.5, 2.5], [], [3.5]], float64)
    >>> r[0], r.lengths, r[1:].to_list()
    (array([1.5, 2.5]), array([2, 0, 1]), [[], [3.5]])
    >>> kist.Ragged.from_list([b"ab", b"", b"c"])[2]
    b'c'
    >>> kist.Ragged.from_list([[1, 2], None, []])
    Ragged([[1, 2], null, []], int64)
    """

    __slots__ = ("_dtype", "_mask", "_offsets", "_values")
    _dtype: DType
    _mask: Array | None
    _offsets: Array
    _values: Array
    __array_ufunc__ = None  # no arithmetic: that is for `values`
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Any, offsets: Any, mask: Any = None) -> None:
        if isinstance(values, bytes | bytearray | memoryview):
            self._dtype = ragged(bytes)
            values = np.frombuffer(values, np.uint8)
        else:
            values = np.asanyarray(values)
            if not values.ndim:
                raise ShapeError("Ragged takes an array of items, not a single one")
            self._dtype = ragged(values.dtype, values.shape[1:])
        offsets = np.asarray(offsets)
        if offsets.ndim != 1 or not len(offsets) or offsets.dtype.kind not in "iu":
            raise ShapeError("Ragged takes offsets as integers in one dimension, one at least")
        offsets = offsets.astype(np.int64)
        if offsets[0] < 0 or offsets[-1] > len(values) or (offsets[1:] < offsets[:-1]).any():
            raise ShapeError(
                f"offsets from {offsets[0]} to {offsets[-1]} do not ascend within the "
                f"{len(values):,} items"
            )
        self._values = values[offsets[0] : offsets[-1]]
        self._offsets = offsets - offsets[0]
        self._mask = None
        if mask is not None:
            self._dtype = nullable(self._dtype)
            self._mask = np.array(mask, bool)
            if self._mask.shape != (len(self),) or self.lengths[self._mask].any():
                raise ShapeError(
                    f"a mask of shape {self._mask.shape} for {len(self):,} cells, of which those"
                    " that are null have no items"
                )

    @classmethod
    def from_list(cls, cells: Sequence[Any], dtype: Any = None) -> Ragged:
        """Return a list of arrays, lists or `bytes` as one.

        Parameters
        ----------
        dtype : dtype-like, optional
            Of the items, or a ragged dtype; `bytes` for bytes. By default that of the cells,
            which may be null where some are None.

        Raises
        ------
        DTypeError
            The cells have no dtype in common, or do not fit the one given.
        """
        if dtype is None:
            dtype = common_dtype(cells)
        found: DType = dtype if isinstance(dtype, np.dtype) and is_ragged(dtype) else ragged(dtype)
        return cls._of(as_cells(cells, found, column="", what="Ragged"))

    @classmethod
    def _of(cls, cells: Cells) -> Ragged:
        lengths, values = cells.gather()
        found = cls.__new__(cls)
        found._dtype = cells.dtype
        found._values = values
        found._mask = cells.missing
        found._offsets = np.zeros(len(lengths) + 1, np.int64)
        lengths.cumsum(out=found._offsets[1:])
        return found

    def _cells(self) -> Cells:
        return Cells.of(self.lengths, self._values, self._dtype, self._mask)

    @property
    def values(self) -> Array:
        """All items, one cell behind the other; bytes as uint8."""
        return self._values

    @property
    def offsets(self) -> Array:
        """Where each cell begins, and the end of the last; int64, from 0 on."""
        return self._offsets

    @property
    def lengths(self) -> Array:
        """Number of items of each cell, int64."""
        found: Array = np.diff(self._offsets)
        return found

    @property
    def mask(self) -> Array:
        """True where a cell is null; bool, a new array. Lengths of such cells are 0."""
        return np.zeros(len(self), bool) if self._mask is None else self._mask.copy()

    @property
    def dtype(self) -> DType:
        """The ragged dtype; `values` has that of the items."""
        return self._dtype

    @property
    def shape(self) -> tuple[int]:
        """Number of cells."""
        return (len(self),)

    @property
    def ndim(self) -> int:
        """One: cells in a row."""
        return 1

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self)

    @property
    def nbytes(self) -> int:
        """Bytes of items and offsets."""
        return int(self._values.nbytes + self._offsets.nbytes)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        """Return a cell as an array, `bytes` or None, or some cells as a `Ragged`.

        Raises
        ------
        SelectionError
            There is no such cell, or the index is none of one dimension.
        """
        if isinstance(index, tuple) and not index:
            return self
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            n = len(self)
            if not -n <= index < n:
                raise SelectionError(f"cell {index} is out of range, there are {n}")
            at = int(index) % n
            if self._mask is not None and self._mask[at]:
                return None
            found = self._values[self._offsets[at] : self._offsets[at + 1]]
            return found.tobytes() if is_bytes(self._dtype) else found
        if isinstance(index, slice) and index.step in (None, 1):
            start, stop, _ = index.indices(len(self))
            part = self.__class__.__new__(self.__class__)
            offsets = self._offsets[start : max(start, stop) + 1]
            part._dtype = self._dtype
            part._values = self._values[offsets[0] : offsets[-1]]
            part._offsets = offsets - offsets[0]
            part._mask = None if self._mask is None else self._mask[start : max(start, stop)]
            return part
        try:
            found = self._cells()[index]
        except (IndexError, TypeError, ValueError) as error:
            raise SelectionError(f"cells are not selected by {index!r}: {error}") from None
        if not isinstance(found, Cells) or found.ndim != 1:
            raise SelectionError(f"cells stand in one dimension: {index!r} makes another shape")
        return self._of(found)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cells().cells())

    def to_list(self) -> list[Any]:
        """Return the cells as lists of Python values, or as `bytes`; None for those of null."""
        if is_bytes(self._dtype):
            return self._cells().cells()
        items = self._values.tolist()
        ends = self._offsets.tolist()
        found: list[Any] = [items[a:b] for a, b in pairwise(ends)]
        for at in np.flatnonzero(self.mask).tolist():
            found[at] = None
        return found

    def equals(self, other: Any) -> bool:
        """Tell whether another `Ragged` holds the same cells, NaN equal to NaN."""
        if not isinstance(other, Ragged) or self._dtype != other._dtype:
            return False
        if not np.array_equal(self._offsets, other._offsets):
            return False
        if not np.array_equal(self.mask, other.mask):
            return False
        mine, theirs = self._values, other._values
        if mine.dtype.kind == "T":  # NumPy takes a missing text for an empty one
            from kist.model.comparing import unequal

            return not unequal(mine, theirs).any()
        nan = mine.dtype.kind in "fcmM"
        return bool(np.array_equal(mine, theirs, equal_nan=nan))

    def to_arrow(self) -> Any:
        """Return an Arrow array: large_list of the items, or large_binary. Needs pyarrow."""
        from kist.model.frames.arrow_ragged import to_arrow

        return to_arrow(self._cells(), need("pyarrow", "arrow", "Ragged.to_arrow"))

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.to_arrow().__arrow_c_array__(requested_schema)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if dtype is not None and np.dtype(dtype) != object:
            raise DTypeError(
                f"cells of different lengths make no array of {np.dtype(dtype)}; use .values"
            )
        if copy is False:
            raise ValueError("an array of cells is a copy; use .values")
        return self._cells().objects()

    def __repr__(self) -> str:
        n = len(self)
        some = range(n) if n <= 6 else (0, 1, 2, n - 3, n - 2, n - 1)
        shown = [_shown(self[at]) for at in some]
        if n > 6:
            shown.insert(3, "...")
        more = f", {n:,} cells" if n > 6 else ""
        text = item_text(self._dtype).removeprefix("nullable ").removeprefix("ragged ")
        return f"Ragged([{', '.join(shown)}], {text}{more})"


def _shown(cell: Any) -> str:
    if cell is None:
        return "null"
    if isinstance(cell, bytes):
        return repr(cell if len(cell) <= 32 else cell[:29] + b"...")
    if cell.size > 8:
        return f"[{', '.join(str(item) for item in cell[:3].tolist())}, ... {len(cell):,} items]"
    return str(cell.tolist())


def as_given(cells: Any) -> Any:
    """Return what was read of a ragged column as users get it: one cell, or a `Ragged`."""
    if cells.ndim == 0:
        return cells.reshape(1).cells()[0]
    return Ragged._of(cells) if cells.ndim == 1 else cells.objects()
