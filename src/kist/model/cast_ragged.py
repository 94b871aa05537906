"""Casts to ragged dtypes: cells however they are given, their items checked by value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from kist._kernels.cells import Cells, holds_missing, item_of
from kist.errors import DTypeError, KistError
from kist.format.nullable import nullable, parts
from kist.format.ragged import MAX_CELL, is_bytes, item_text, ragged
from kist.model.cast_nullable import is_null

__all__ = ["as_cells", "common_dtype", "have_width", "is_cell"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]

_BYTES = (bytes, bytearray, memoryview)


def as_cells(
    values: Any, dtype: DType, *, column: str, first_row: int = 0, what: str = "append"
) -> Cells:
    """Return cells of a ragged dtype; parameters and errors as those of `cast_values`.

    Parameters
    ----------
    values : Ragged, Cells, Arrow array, ndarray, or sequence of cells
        A cell is an array, a list, or `bytes`; None where it may be missing. An array of two
        dimensions has cells of one length.
    """
    cast = _Cast(dtype, column, first_row, what)
    found = cast.cells(values)
    sizes = found.sizes
    if len(found) and int(sizes.max()) > MAX_CELL:
        row = int(sizes.argmax())
        raise cast.fail(f"{sizes[row]:,} bytes are more than the {MAX_CELL:,} of a cell", row)
    return found


def is_cell(value: Any, dtype: DType) -> bool | None:
    """Tell whether a value is one cell of a ragged dtype, or several; None where it may be both."""
    base, shape = item_of(dtype)
    if isinstance(value, _BYTES):
        return True
    if isinstance(value, Cells) or hasattr(value, "offsets"):
        return False
    if isinstance(value, np.ndarray):
        if is_bytes(dtype) and value.dtype.kind == "S":
            return value.ndim == 0
        if value.dtype.kind == "O" and value.ndim == 1 and base.kind == "T":
            return is_cell(value.tolist(), dtype)
        return value.dtype.kind != "O" and value.ndim <= 1 + len(shape)
    if not hasattr(value, "__len__") or isinstance(value, str):
        return True  # refused where it is cast
    if not len(value):
        return None
    if not isinstance(value, list | tuple):
        return False
    first = value[0]
    if base.kind == "T":  # texts may be missing as well as cells
        first = next((item for item in value if not is_null(item)), None)
    if is_null(first):
        return base.kind == "T" and not holds_missing(dtype)
    if base.names is not None and not shape:
        return isinstance(first, tuple | np.void)
    if is_bytes(dtype) or isinstance(first, _BYTES) != (base.kind in "SV"):
        return False
    try:
        return bool(np.ndim(first) == len(shape))
    except ValueError:  # lists of different lengths
        return False


def common_dtype(cells: Sequence[Any]) -> DType:
    """Return the ragged dtype that cells have in common, a nullable one where some are None.

    Raises
    ------
    DTypeError
        They have none.
    """
    there = [cell for cell in cells if not is_null(cell)]
    if len(there) < len(cells):
        return nullable(common_dtype(there))
    if (text := _common_text(cells)) is not None:
        return text
    kinds = set(map(type, cells))
    if kinds and all(issubclass(kind, _BYTES) for kind in kinds):
        return ragged(bytes)
    arrays = [np.asarray(cell) for cell in cells if len(cell)]
    if not arrays:
        raise DTypeError("cells without items have no dtype; give dtype=kist.ragged(...)")
    found = np.result_type(*{array.dtype for array in arrays})
    return ragged(found, arrays[0].shape[1:])


def _common_text(cells: Sequence[Any]) -> DType | None:
    """Return the dtype of cells of strings of any length, None of those that NumPy has a dtype for.

    Strings of any length are `StringDType`, objects, and any text some of which is missing.
    """
    missing = loose = False
    for cell in cells:
        if isinstance(cell, np.ndarray) and cell.dtype.kind != "O":
            if cell.dtype.kind not in "TU" and len(cell):
                return None
            loose |= cell.dtype.kind == "T"
            missing |= hasattr(cell.dtype, "na_object")
            continue
        if not isinstance(cell, list | tuple | np.ndarray) or np.ndim(cell[:0]) != 1:
            return None
        if not all(isinstance(item, str) or is_null(item) for item in cell):
            return None
        loose |= isinstance(cell, np.ndarray) and len(cell) > 0
        missing |= any(map(is_null, cell))
    if not missing and not loose:
        return None
    return ragged(np.dtypes.StringDType(na_object=None) if missing else str)


def have_width(values: list[bytes]) -> bool:
    """Tell whether bytes can be kept in a fixed width without loss, and without much waste."""
    longest, total = max(map(len, values), default=0), sum(map(len, values))
    # NumPy drops the NULs at the end of `S`.
    if any(value.endswith(b"\0") for value in values):
        return False
    return longest * len(values) <= 4 * total + 64 * len(values)


class _Cast:
    """One cast, with what its messages need."""

    def __init__(self, dtype: DType, column: str, first_row: int, what: str) -> None:
        self.dtype, self.column, self.first_row, self.what = dtype, column, first_row, what
        self.base, self.shape = item_of(dtype)

    def fail(self, why: str, row: int | None = None) -> KistError:
        """The error for a cell."""
        if row is not None:
            row += self.first_row
        place = f"column {self.column!r}" if row is None else f"row {row}, column {self.column!r}"
        return DTypeError(
            f"{self.what}: {place} ({item_text(self.dtype)}): {why}; nothing was changed",
            row=row,
            column=self.column,
            why=why,
        )

    def cells(self, values: Any) -> Cells:
        """Cells of anything."""
        if isinstance(values, Cells):
            if values.dtype == self.dtype:
                return values
            missing = values.missing
            return self.of_items(*values.gather(), None if missing is None else missing.ravel())
        offsets = getattr(values, "offsets", None)
        if isinstance(offsets, np.ndarray):  # a Ragged
            missing = values.mask if holds_missing(values.dtype) else None
            if values.dtype == self.dtype:
                return Cells.of(values.lengths, values.values, self.dtype, missing)
            return self.of_items(values.lengths, values.values, missing)
        if hasattr(values, "__arrow_c_array__") or hasattr(values, "__arrow_c_stream__"):
            from kist.model.frames.arrow_ragged import from_arrow

            return self.cells(from_arrow(values, self.column, self.what))
        found = parts(values) if isinstance(values, np.ndarray) else None
        if found is not None:
            return self.of_masked(*found)
        if isinstance(values, np.ndarray) and values.dtype.kind != "O":
            return self.of_array(values)
        return self.of_list(values.tolist() if isinstance(values, np.ndarray) else list(values))

    def null(self, row: int) -> KistError:
        return self.fail(
            "a null, which only kist.nullable(kist.ragged(...)) holds: an empty cell says no items",
            row,
        )

    def of_masked(self, values: Array, valid: Array) -> Cells:
        """Cells of an array that says which of them are there."""
        if valid.all():
            return self.cells(values)
        if not holds_missing(self.dtype):
            raise self.null(int(valid.argmin()))
        out = Cells.empty(len(values), self.dtype)
        out[valid] = self.cells(values[valid])
        out.place(~valid, *_no_items(out, int((~valid).sum())))
        return out

    def of_array(self, values: Array) -> Cells:
        """Cells of an array: of `S`, or of one length."""
        if is_bytes(self.dtype) and values.dtype.kind == "S" and values.ndim == 1:
            return self.of_list(values.tolist())
        if values.ndim != 2 + len(self.shape):
            if not values.size and values.ndim == 1:
                return Cells.empty(0, self.dtype)
            raise self.fail(
                f"takes an array of items in each row, found an array of shape {values.shape}"
            )
        lengths = np.full(len(values), values.shape[1], np.int64)
        return self.of_items(lengths, values.reshape(-1, *values.shape[2:]))

    def of_items(self, lengths: Array, items: Array, missing: Array | None = None) -> Cells:
        """Cells of items that stand one behind the other."""
        if missing is not None and not holds_missing(self.dtype):
            if missing.any():
                raise self.null(int(missing.argmax()))
            missing = None
        if items.shape[1:] != self.shape:
            raise self.fail(f"takes items of shape {self.shape}, found {items.shape[1:]}")
        return Cells.of(lengths, self.cast(lengths, items), self.dtype, missing)

    def cast(self, lengths: Array, items: Any) -> Array:
        """Items in the dtype of the column, checked by value."""
        from kist.model.cast_values import cast_values

        same = isinstance(items, np.ndarray) and items.dtype.str == self.base.str
        if same and items.dtype == self.base:
            return np.asarray(items)
        target = np.dtype((self.base, self.shape)) if self.shape else self.base
        try:
            return cast_values(items, target, column=self.column, what=self.what)
        except DTypeError as error:
            if error.row is None:
                raise
            row = int(lengths.cumsum().searchsorted(error.row, "right"))
            item = error.row - int(lengths[:row].sum())
            raise self.fail(f"item {item}: {error.why or error}", row) from error

    def of_list(self, cells: list[Any]) -> Cells:
        """Cells of Python objects, each with a length."""
        nulls = [row for row, cell in enumerate(cells) if is_null(cell)]
        if nulls and not holds_missing(self.dtype):
            raise self.null(nulls[0])
        if nulls:
            # Nulls are put in afterwards, so that what follows sees cells alone, by their rows.
            nothing: Any = b"" if is_bytes(self.dtype) else []
            found = self.of_list([nothing if is_null(cell) else cell for cell in cells])
            found.place(np.array(nulls), *_no_items(found, len(nulls)))
            return found
        for row, cell in enumerate(cells):
            if isinstance(cell, str) or not hasattr(cell, "__len__"):
                raise self.fail(f"takes an array of items in each row, found {cell!r}", row)
        if is_bytes(self.dtype):
            return self.of_bytes(cells)
        lengths = np.fromiter(map(len, cells), np.int64, len(cells))
        there = [cell for cell in cells if len(cell)]
        kinds = set(map(type, there))
        if not there:
            return Cells.empty(len(cells), self.dtype)
        if self.base.kind == "T":
            return Cells.of(lengths, self.cast(lengths, self.texts(cells)), self.dtype)
        if kinds <= {list, tuple} and not self.shape and self.base.kind != "V":
            flat = list(chain.from_iterable(there))
            deep = [row for row, cell in enumerate(cells) if any(map(_is_deep, cell))]
            if deep:
                raise self.fail("takes items of no shape, found lists of lists", deep[0])
            return Cells.of(lengths, self.cast(lengths, flat), self.dtype)
        return Cells.of(lengths, self.joined(cells, lengths), self.dtype)

    def texts(self, cells: list[Any]) -> Any:
        """Texts of all cells, as a list or an array."""
        # Anything else may be as long as it likes: dicts and sets are no arrays of one dimension.
        cells = [
            cell if isinstance(cell, list | tuple | np.ndarray) else np.asarray(cell)
            for cell in cells
        ]
        for row, cell in enumerate(cells):
            is_array = isinstance(cell, np.ndarray)
            if cell.ndim != 1 if is_array else any(map(_is_deep, cell)):
                found = "lists of lists" if np.ndim(cell) else f"{cell!r}"
                raise self.fail(f"takes items of no shape, found {found}", row)
        there = [cell for cell in cells if len(cell)]
        dtypes = {cell.dtype if isinstance(cell, np.ndarray) else None for cell in there}
        if len(dtypes) == 1 and None not in dtypes:
            return np.concatenate(there)
        listed = (cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in there)
        return list(chain.from_iterable(listed))

    def joined(self, cells: list[Any], lengths: Array) -> Array:
        """Items of arrays, cast at once where they are of one dtype."""
        arrays: list[Array] = []
        for row, cell in enumerate(cells):
            if not len(cell):
                continue
            if self.base.names is not None and not isinstance(cell, np.ndarray):
                array = self.cast(np.array([len(cell)]), list(cell))
            else:
                array = np.asarray(cell)
            if array.shape[1:] != self.shape:
                raise self.fail(f"takes items of shape {self.shape}, found {array.shape[1:]}", row)
            arrays.append(array)
        if len({array.dtype.str for array in arrays}) == 1 and arrays[0].dtype.names is None:
            return self.cast(lengths, np.concatenate(arrays))
        out = np.empty((int(lengths.sum()), *self.shape), self.base)
        at = 0
        for row, array in zip(np.flatnonzero(lengths).tolist(), arrays, strict=True):
            try:
                out[at : at + len(array)] = self.cast(np.array([len(array)]), array)
            except DTypeError as error:
                raise self.fail(error.why or str(error), row) from error
            at += len(array)
        return out

    def of_bytes(self, cells: list[Any]) -> Cells:
        """Cells of bytes; arrays of uint8 are bytes too."""
        for row, cell in enumerate(cells):
            good = isinstance(cell, _BYTES) or (
                isinstance(cell, np.ndarray) and cell.dtype == np.uint8 and cell.ndim == 1
            )
            if not good:
                raise self.fail(f"takes bytes, found {type(cell).__name__}", row)
        parts = [cell if isinstance(cell, bytes) else bytes(cell) for cell in cells]
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        return Cells.of(lengths, np.frombuffer(b"".join(parts), np.uint8), self.dtype)


def _no_items(cells: Cells, n: int) -> tuple[Array, Array, Array]:
    """Return lengths, items and the mask of so many missing cells."""
    _, items = cells[:0].gather()
    return np.zeros(n, np.int64), items, np.ones(n, bool)


def _is_deep(item: Any) -> bool:
    return isinstance(item, list | tuple | np.ndarray)
