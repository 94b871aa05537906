"""Casts of one column, checked by value: what would change raises and says where."""

from __future__ import annotations

from typing import Any

import numpy as np

from kist._kernels.cells import Cells
from kist._kernels.strings import is_text_missing, missing_of
from kist.codecs.utf8 import Utf8
from kist.errors import DTypeError, KistError, ShapeError
from kist.format.nullable import is_nullable, parts
from kist.format.ragged import is_bytes, is_ragged
from kist.model.cast_items import (
    first_missing,
    inexact,
    is_missing,
    leaves,
    outside,
)
from kist.model.cast_nullable import cast_nullable
from kist.model.cast_ragged import as_cells

__all__ = ["Array", "DType", "cast_values"]

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]

_NUMBERS = "biufc"
_TEXT = "SUT"


def cast_values(
    values: Any, dtype: DType, *, column: str, first_row: int = 0, what: str = "append"
) -> Array:
    """Values of one column in the dtype wanted.

    Parameters
    ----------
    values : array-like, one item a row
        Of any dtype.
    dtype : dtype
        Of the column; may be structured or a sub-array.
    column : str
        Name for messages.
    first_row : int
        Number of the first row in messages.
    what : str
        The operation, for messages.

    Returns
    -------
    ndarray, shape (rows, *dtype.shape)
        `values` itself when nothing is to be done.

    Raises
    ------
    DTypeError
        A value would change: cut string, overflow, lost fraction or precision, missing value;
        or number and string do not mix.
    ShapeError
        The values do not have the shape of the sub-array.
    """
    cast = Cast(dtype, column, first_row, what)
    if is_ragged(dtype):
        return as_cells(values, dtype, column=column, first_row=first_row, what=what)
    if isinstance(values, Cells):
        values = cast.of_cells(values)
    if isinstance(values, Utf8):
        if dtype.kind == "T" and (values.missing is None or _has_missing(dtype)):
            return values  # type: ignore[return-value]  # Batch takes it for an array
        values = values.array()
    if dtype.names is not None and is_nullable(dtype):
        return cast_nullable(values, dtype, column=column, first_row=first_row, what=what)
    if dtype.names is not None:
        return cast.structured(values)
    if dtype.subdtype is not None:
        return cast.subarray(values)
    return cast.flat(cast.as_array(values))


def _has_missing(dtype: DType) -> bool:
    return hasattr(dtype, "na_object") and not is_text_missing(dtype)


class Cast:
    """One cast, with what its messages need."""

    def __init__(self, dtype: DType, column: str, first_row: int, what: str) -> None:
        self.dtype, self.column, self.first_row, self.what = dtype, column, first_row, what
        self.per_row = 1
        self.holders = "columns"

    def place(self, row: int | None = None) -> str:
        """Return where a value stands, for messages."""
        column = f"column {self.column!r}"
        return column if row is None else f"row {row}, {column}"

    def fail(self, why: str, bad: Array | None = None, values: Any = None) -> KistError:
        """The error for the first value that is bad."""
        if bad is None or values is None:
            return DTypeError(
                f"{self.what}: {self.place()} ({self.dtype}): {why}; nothing was changed",
                column=self.column,
                why=why,
            )
        at = int(np.argmax(bad))
        row = self.first_row + at // self.per_row
        value = values[at]
        shown = value.item() if isinstance(value, np.generic) and value.dtype.kind != "V" else value
        if isinstance(value, (np.datetime64, np.timedelta64)):
            shown = str(value)
        return DTypeError(
            f"{self.what}: {self.place(row)} ({self.dtype}): {shown!r} {why}; nothing was changed",
            row=row,
            column=self.column,
            why=f"{shown!r} {why}",
        )

    # Shapes

    def of_cells(self, cells: Cells) -> Any:
        """What else cells can be: bytes, or sub-arrays where all are as long."""
        if is_bytes(cells.dtype) and self.dtype.kind in "SV":
            return cells.cells()
        if cells.missing is not None and cells.missing.any():
            raise self.fail(f"row {int(cells.missing.argmax())} is null, which has no values")
        lengths, items = cells.gather()
        shape = self.dtype.shape
        if not shape or (lengths != shape[0]).any():
            one = f"{shape[0]:,} items in each row" if shape else "single values"
            raise self.fail(f"takes {one}, found cells of any number of items")
        return items.reshape(len(cells), shape[0], *items.shape[1:])

    def structured(self, values: Any) -> Array:
        from kist.model.casts import to_records

        if isinstance(values, np.ndarray) and values.dtype == self.dtype:
            return values
        rows = list(values) if not isinstance(values, (np.ndarray, list)) else values
        try:
            found: Array = to_records(rows, self.dtype, what=self.what, first_row=self.first_row)
            return found
        except DTypeError as error:
            inner = f"{self.column}.{error.column}" if error.column else self.column
            raise DTypeError(
                f"{error} (within column {self.column!r})", row=error.row, column=inner
            ) from error

    def subarray(self, values: Any) -> Array:
        base, shape = self.dtype.base, self.dtype.shape
        while base.subdtype is not None:  # NumPy keeps sub-arrays of sub-arrays apart
            base, shape = base.base, shape + base.shape
        if base.names is not None:
            source = np.asarray(values, base)
        else:
            source = self.as_array(values, base)
        if source.shape[1:] != shape:
            raise ShapeError(
                f"{self.what}: column {self.column!r} takes {shape} values a row, found"
                f" {source.shape[1:]}"
            )
        if base.names is not None:
            return source
        self.per_row = int(np.prod(shape)) or 1
        outer, self.dtype = self.dtype, base
        flat = self.flat(source.reshape(-1))
        self.dtype = outer
        return flat.reshape(source.shape)

    def as_array(self, values: Any, target: DType | None = None) -> Array:
        """The values as an array of their own dtype, Python objects looked into."""
        target = target or self.dtype
        if isinstance(values, np.ndarray):
            source = values
        else:
            values = values if isinstance(values, (list, tuple)) else list(values)
            source = self._inferred(values, target)
        found = parts(source)
        if found is not None:
            source, valid = found
            if not valid.all():
                raise self._null(int(np.argmin(valid)))
        objects = source.dtype.kind == "O"
        if objects and target.kind == "T" and set(map(type, source.ravel().tolist())) <= {str}:
            return self._encodable(source, target)
        if source.dtype.kind == "O":
            source = self._inferred(source.tolist(), target)
        return source

    def _inferred(self, values: Any, target: DType) -> Array:
        """Array of a list of Python objects, without NumPy's silent mixing."""
        if target.kind == "T":
            return self._strings(values, target)
        missing = first_missing(values)
        if missing is not None:
            raise self._null(missing)
        if target.kind == "V":
            return self._voids(values, target)
        kinds = {type(v) for v in leaves(values)}
        if target.kind in "Mm" and kinds and not any(issubclass(k, np.generic) for k in kinds):
            return self._times(values, target)
        if any(issubclass(k, (str, bytes)) for k in kinds) and target.kind in _NUMBERS:
            raise self.fail("takes numbers, found text")
        if any(not issubclass(k, (str, bytes)) for k in kinds) and target.kind in "SU":
            raise self.fail("takes text, found something else")
        if kinds <= {str} and target.kind == "S":
            return self._encoded(values)
        if target.kind in "fc" and int in kinds:
            self._check_large(values)
        try:
            source = np.array(values)
        except ValueError as error:
            raise ShapeError(
                f"{self.what}: column {self.column!r}: rows of different lengths"
            ) from error
        if source.dtype.kind == "O" and target.kind in "iu":
            return self._integers(values)
        if source.dtype.kind == "O" and target.kind in "fc":
            try:
                return np.array(values, target)  # numbers of other libraries, such as Decimal
            except (TypeError, ValueError) as error:
                raise self.fail(f"takes numbers: {error}") from error
        if source.dtype.kind == "f" and target.kind in "iu" and kinds <= {int}:
            return self._integers(values)  # NumPy made floats of large ints
        return source

    def _at(self, row: int, why: str) -> KistError:
        """The error for one row of Python objects."""
        row += self.first_row
        return DTypeError(
            f"{self.what}: {self.place(row)} ({self.dtype}): {why}; nothing was changed",
            row=row,
            column=self.column,
            why=why,
        )

    def _null(self, row: int) -> KistError:
        if self.holders != "columns":
            return self._at(row, f"a missing value; only StringDType {self.holders} hold those yet")
        which = "kist.nullable(...) makes a dtype of a column that can hold them"
        if self.dtype.char == "T":
            which = "a column of StringDType(na_object=None) can hold them"
        return self._at(row, f"a missing value; {which}")

    def _check_large(self, values: Any) -> None:
        """Refuse ints that no binary64 holds, which NumPy would round beside floats."""
        for at, value in enumerate(leaves(values)):
            if type(value) is int and not -(2**53) <= value <= 2**53:
                try:
                    exact = int(float(value)) == value
                except OverflowError:
                    exact = False
                if not exact:
                    raise self._at(at // self.per_row, f"{value} cannot be held exactly")

    def _strings(self, values: Any, target: DType) -> Array:
        values = list(values)
        if not set(map(type, values)) <= {str}:
            # Frames bring None, NaN or pandas.NA for what is missing, whatever the column says.
            missing = getattr(target, "na_object", None)
            for row, value in enumerate(values):
                if isinstance(value, str):
                    continue
                if not is_missing(value):
                    raise self._at(row, f"{value!r} is no str")
                if not hasattr(target, "na_object"):
                    raise self._at(
                        row,
                        f"{value!r} is a missing value, and the column has none; make it of"
                        " StringDType(na_object=None)",
                    )
                values[row] = missing
        objects = np.empty(len(values), object)
        objects[:] = values
        return self._encodable(objects, target)

    def _encodable(self, source: Array, target: DType) -> Array:
        """Cast text to strings of any length, which are UTF-8."""
        if source.dtype.kind == "S" and not source.tobytes().isascii():
            # NumPy 2.4 takes a lone byte above 127 for UTF-8.
            try:
                return np.array([value.decode() for value in source.tolist()], target)
            except UnicodeDecodeError as error:
                raise self.fail(f"{error.object!r} is no text: it is not UTF-8") from None
        try:
            return source.astype(target)
        except (UnicodeError, TypeError, ValueError) as error:
            for row, value in enumerate(source.tolist()):
                if not isinstance(value, str):
                    continue  # missing
                try:
                    value.encode()
                except UnicodeError:
                    raise self._at(
                        row // self.per_row, f"{value!r} is no text: it cannot be UTF-8"
                    ) from None
            raise self.fail(f"cannot take these values: {error}") from error

    def _voids(self, values: Any, target: DType) -> Array:
        out = np.zeros(len(values), target)
        for row, value in enumerate(values):
            raw = bytes(value)
            if len(raw) != target.itemsize:
                raise self._at(row, f"{len(raw)} bytes")
            out[row] = np.void(raw)
        return out

    def _times(self, values: Any, target: DType) -> Array:
        if any(getattr(value, "tzinfo", None) is not None for value in leaves(values)):
            raise self.fail("takes no time zones: convert to UTC and drop tzinfo")
        try:
            return np.array(values, dtype=target.kind + "8")  # the finest unit that appears
        except (ValueError, TypeError) as error:
            raise self.fail(f"cannot take these values: {error}") from error

    def _encoded(self, values: Any) -> Array:
        try:
            return np.array([v.encode("ascii") for v in leaves(values)], "S").reshape(
                np.shape(values)
            )
        except UnicodeEncodeError as error:
            raise self.fail(
                f"{error.object!r} is not ASCII; use a 'U' column, or encode it"
            ) from error

    def _integers(self, values: Any) -> Array:
        """int64 or uint64 array of Python ints; larger ones are out of range anyway."""
        flat = list(leaves(values))
        info = np.iinfo(self.dtype.base)
        for at, value in enumerate(flat):
            if value != int(value) or not info.min <= int(value) <= info.max:
                raise self._at(at // self.per_row, f"{value!r} is out of range")
        return np.array([int(v) for v in flat], self.dtype.base).reshape(np.shape(values))

    # Values

    def flat(self, source: Array) -> Array:
        """Cast a one-dimensional array."""
        dtype = self.dtype
        if source.ndim != 1:
            raise ShapeError(
                f"{self.what}: column {self.column!r} takes one value a row, found shape"
                f" {source.shape[1:]} a row"
            )
        if source.dtype == dtype:
            return source
        if not len(source):  # what an empty list holds is not known
            return np.empty(0, dtype)
        have, want = source.dtype.kind, dtype.kind
        if have in _NUMBERS and want in _NUMBERS:
            return self._number(source)
        if have in _TEXT and want in _TEXT:
            return self._text(source)
        if want in "Mm" and (have == want or have in _TEXT):
            return self._time(source)
        if have == want == "V" and source.dtype.itemsize == dtype.itemsize:
            return source.view(dtype)
        if have in _TEXT or want in _TEXT:
            raise self.fail(f"text and numbers do not mix: the values are {source.dtype}")
        raise self.fail(f"values of dtype {source.dtype} do not fit")

    def _number(self, source: Array) -> Array:
        dtype, have, want = self.dtype, source.dtype.kind, self.dtype.kind
        if want in "iub" and have in "fc":
            if have == "c":
                raise self.fail(f"values of dtype {source.dtype} do not fit")
            bad = ~np.isfinite(source)
            if bad.any():
                raise self.fail("has no integer value", bad, source)
            bad = source != np.floor(source)
            if bad.any():
                raise self.fail("would lose its fraction", bad, source)
        if want == "b":
            bad = (source != 0) & (source != 1)
            if bad.any():
                raise self.fail("is neither 0 nor 1", bad, source)
            return source.astype(dtype)
        if want in "iu":
            info = np.iinfo(dtype)
            # Floats compare with the limits as floats: 2.0**63 is not below it.
            low, high = (float(info.min), float(info.max) + 1.0) if have == "f" else (0, 0)
            with np.errstate(over="ignore"):  # the limits are infinite in a narrow float
                bad = (
                    (source < low) | (source >= high)
                    if have == "f"
                    else outside(source, int(info.min), int(info.max))
                )
            if bad.any():
                raise self.fail(f"is outside {info.min} .. {info.max}", bad, source)
            return source.astype(dtype)
        if want == "f" and have == "c":
            raise self.fail(f"values of dtype {source.dtype} do not fit")
        with np.errstate(over="ignore", invalid="ignore"):
            out = source.astype(dtype)
        if have in "iu":
            lossy = inexact(source, out)
            if lossy is not None and lossy.any():
                raise self.fail("cannot be held exactly", lossy, source)
        elif have in "fc":
            bad = np.isinf(out) & np.isfinite(source)
            if bad.any():
                raise self.fail("overflows", bad, source)
        return out

    def _text(self, source: Array) -> Array:
        dtype, have, want = self.dtype, source.dtype.kind, self.dtype.kind
        if have == "T":
            if want == "T":
                absent = missing_of(source)
                if absent is not None and absent.any() and not hasattr(dtype, "na_object"):
                    raise self._null(int(np.argmax(absent)))
                return source.astype(dtype)
            absent = missing_of(source)
            if absent is not None and absent.any():
                raise self._null(int(np.argmax(absent)))
            width = int(np.strings.str_len(source).max(initial=1))
            source, have = source.astype(f"U{width}"), "U"
        if want == "T":
            return self._encodable(source, dtype)
        if have == "U" and want == "S":
            try:
                source = source.astype(f"S{max(1, source.dtype.itemsize // 4)}")
            except UnicodeEncodeError:
                source = self._encoded(source.tolist())  # raises, and says which
        elif have == "S" and want == "U":
            try:
                source = np.char.decode(source, "ascii") if len(source) else source.astype("U1")
            except UnicodeDecodeError as error:
                raise self.fail(f"{error.object!r} is not ASCII") from error
        if source.dtype.itemsize > dtype.itemsize:
            width = dtype.itemsize // (4 if want == "U" else 1)
            bad = np.char.str_len(source) > width
            if bad.any():
                raise self.fail(f"would be cut to {width}", bad, source)
        return source.astype(dtype)

    def _time(self, source: Array) -> Array:
        dtype = self.dtype
        if source.dtype.kind in _TEXT:
            source = self._times(source.tolist(), dtype)
        out = source.astype(dtype)
        back = out.astype(source.dtype)
        bad = (back != source) & ~np.isnat(source)
        if bad.any():
            unit = np.datetime_data(dtype)[0]
            raise self.fail(f"would lose precision or overflow in unit {unit!r}", bad, source)
        return out
