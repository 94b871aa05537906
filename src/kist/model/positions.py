"""What an index denotes: positions in a sequence of `n` rows, with NumPy's rules for one axis.

Positions are a `range` or an int64 array, never a mask; both are cheap to cut by groups of rows.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from kist.errors import SelectionError

__all__ = ["Positions", "as_positions"]

Array = np.ndarray[Any, Any]


class Positions(NamedTuple):
    """Rows that an index denotes.

    Attributes
    ----------
    rows : range or ndarray of int64, shape (n,)
        Positions from 0 on, none negative, in the order asked; repeats are kept.
    shape : tuple of int
        Shape of the result along this axis: () for a single row.
    """

    rows: range | Array
    shape: tuple[int, ...]

    @property
    def is_single(self) -> bool:
        """Whether one row was asked for by its number."""
        return self.shape == ()

    def ascending(self) -> tuple[range | Array, Array | slice]:
        """Return the rows in ascending order, each once, and what brings them back.

        Returns
        -------
        rows : range or ndarray
            Step above zero, or strictly ascending.
        back : slice or ndarray
            ``read(rows)[back]`` has the order and the repeats that were asked for.
        """
        rows = self.rows
        if isinstance(rows, range):
            return (rows[::-1], slice(None, None, -1)) if rows.step < 0 else (rows, slice(None))
        if len(rows) < 2 or bool((rows[1:] > rows[:-1]).all()):
            return rows, slice(None)
        unique, back = np.unique(rows, return_inverse=True)
        return unique, back


def as_positions(index: Any, n: int, what: str) -> Positions:
    """Return the rows that an index denotes.

    Parameters
    ----------
    index : int, slice, ``...``, sequence of int or of bool, ndarray, or a tuple of one of them
        As for a NumPy array of one dimension.
    n : int
        Number of rows.
    what : str
        Whose rows, for messages.

    Raises
    ------
    SelectionError
        Out of range, a mask of another length, more than one axis, or no index at all.
    """
    if isinstance(index, tuple):
        index = _only(index, what)
    if index is Ellipsis:
        return Positions(range(n), (n,))
    if isinstance(index, slice):
        return _of_slice(index, n, what)
    if isinstance(index, bool | np.bool):
        raise SelectionError(f"{what}: True and False select no row; a mask has one bool per row")
    if hasattr(index, "__index__") and not isinstance(index, np.ndarray):
        return _of_int(operator.index(index), n, what)
    if isinstance(index, range):
        return _of_range(index, n, what)
    if index is None or isinstance(index, str | bytes):
        raise SelectionError(f"{what}: {index!r} is no index of rows")
    try:
        array = np.asarray(index)
    except (ValueError, TypeError) as error:
        raise SelectionError(f"{what}: {_short(index)} is no index of rows: {error}") from None
    if array.size == 0 and not isinstance(index, np.ndarray):
        array = array.astype(np.int64)  # [] is an empty list of rows, as in NumPy
    return _of_array(array, n, what)


def _only(index: tuple[Any, ...], what: str) -> Any:
    parts = [part for part in index if part is not Ellipsis]
    if any(part is None for part in parts):
        raise SelectionError(f"{what}: a new axis cannot be added to rows; index the array read")
    if len(parts) > 1:
        raise SelectionError(f"{what} has one dimension, not the {len(parts)} of {_short(index)}")
    return parts[0] if parts else Ellipsis


def _of_int(number: int, n: int, what: str) -> Positions:
    row = number + n if number < 0 else number
    if not 0 <= row < n:
        raise SelectionError(f"{what}: row {number} is out of range, there are {n} rows")
    return Positions(range(row, row + 1), ())


def _of_slice(index: slice, n: int, what: str) -> Positions:
    try:
        rows = range(*index.indices(n))
    except (TypeError, ValueError) as error:
        raise SelectionError(f"{what}: {index!r} is no slice of rows: {error}") from None
    return Positions(rows, (len(rows),))


def _of_range(rows: range, n: int, what: str) -> Positions:
    if not rows:
        return Positions(range(0), (0,))
    lowest, highest = min(rows[0], rows[-1]), max(rows[0], rows[-1])
    for number in (lowest, highest):
        _of_int(number, n, what)
    if lowest < 0 <= highest:
        return _of_array(np.arange(rows.start, rows.stop, rows.step), n, what)
    if highest < 0:
        rows = range(rows.start + n, rows.stop + n, rows.step)
    return Positions(rows, (len(rows),))


def _of_array(array: Array, n: int, what: str) -> Positions:
    if array.dtype == bool:
        if array.shape != (n,):
            raise SelectionError(
                f"{what}: a mask of shape {array.shape} does not fit {n} rows; it needs one bool "
                "per row"
            )
        rows = np.flatnonzero(array)
        return Positions(rows.astype(np.int64, copy=False), rows.shape)
    if array.dtype.kind not in "iu":
        raise SelectionError(
            f"{what}: an array of {array.dtype} selects no rows; use integers or a mask"
        )
    if array.ndim == 0:
        return _of_int(int(array), n, what)
    rows = array.ravel()
    if rows.dtype.kind == "u" and rows.dtype.itemsize == 8 and rows.size and rows.max() >= n:
        raise SelectionError(f"{what}: row {rows.max()} is out of range, there are {n} rows")
    rows = rows.astype(np.int64)
    if rows.size:
        lowest, highest = int(rows.min()), int(rows.max())
        if lowest < -n or highest >= n:
            worst = lowest if lowest < -n else highest
            raise SelectionError(f"{what}: row {worst} is out of range, there are {n} rows")
        if lowest < 0:
            rows[rows < 0] += n
    return Positions(rows, array.shape)


def _short(index: object) -> str:
    text = repr(index)
    return text if len(text) < 60 else text[:57] + "..."
