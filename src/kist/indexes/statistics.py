"""Statistics of pages: what a condition may know about a page without reading it.

`compute` looks at the values of one page, `Statistics.pack` makes its record of a few bytes,
and `Bounds` reads the records of many pages of one column at once, as arrays.

What the record says holds for every value of the page, so that a page which is skipped
because of it could not have matched:

- `lo <= x <= hi` for every value that is not NaN, NaT or null. A bound can be wider than the
  values (`lo_exact`, `hi_exact` tell), never narrower.
- -0.0 counts as 0.0, NaN and NaT are counted and stand outside the bounds, byte order does not
  matter. Complex numbers have a NaN count and no bounds.
- Text is bounded by its first 16 bytes (`U` and `StringDType` as UTF-8, which sorts like its
  code points; `S` and `V` as they are, without trailing NULs). A lower bound is simply cut. A cut
  upper bound is rounded up in its last byte that can be; where none can be, there are no bounds.
- A page without any value to bound (no rows, or only NaN, NaT or null) is `empty`.
- longdouble bounds are kept as float64, rounded outwards.

Record, little-endian: flags u8, null count u32, NaN count u32, lo, hi. `lo` and `hi` have the
width of `bound_dtype`; they are zero where there are none.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from kist.codecs.utf8 import Utf8
from kist.errors import CorruptDataError, ShapeError
from kist.indexes.text import TEXT_BOUND, round_up, text_ends

__all__ = ["Bounds", "Statistics", "bound_dtype", "compute", "compute_rows", "is_true"]

HAS_BOUNDS = 1  # lo and hi hold
LO_EXACT = 2  # lo is a value of the page
HI_EXACT = 4
HAS_NAN = 8  # NaN, NaT or null
CONSTANT = 16  # one value everywhere, equal under ==, no NaN, NaT or null
EMPTY = 32  # nothing to bound
_ALL_FLAGS = 63

_HEAD = struct.Struct("<BII")
_PAIRS = {
    np.dtype(code).str[1:]: struct.Struct(f"<2{code}") for code in "bBhHiIqQefd"
}  # two bounds; made by NumPy they take five times as long
_BY_ROWS = frozenset(map(np.dtype, "bBhHiIqQfd"))
_NAT = np.iinfo(np.int64).min


@lru_cache(maxsize=256)
def bound_dtype(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return how a bound of a column is stored, or None for a dtype that has no bounds.

    Parameters
    ----------
    dtype : numpy.dtype
        Dtype of the leaf column.
    """
    kind = dtype.kind
    if kind == "b":
        return np.dtype("u1")
    if kind in "iu":
        return dtype.newbyteorder("<")
    if kind == "f":
        return np.dtype("<f8") if dtype.itemsize > 8 else dtype.newbyteorder("<")
    if kind in "mM":
        return np.dtype("<i8")
    if kind == "T":
        return np.dtype(f"S{TEXT_BOUND}")
    if kind in "SU" or (kind == "V" and dtype.names is None and dtype.subdtype is None):
        # UTF-8 takes at most the 4 bytes of a UTF-32 character.
        return np.dtype(f"S{max(1, min(TEXT_BOUND, dtype.itemsize))}")
    return None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What holds for all values of one page.

    Attributes
    ----------
    dtype : numpy.dtype
        Dtype of the column.
    lo, hi : numpy scalar, bytes or None
        Bounds; bytes for text, None where there are none.
    n_nan, n_null : int
        Counts of NaN or NaT, and of nulls.
    lo_exact, hi_exact : bool
        The bound is a value of the page.
    constant : bool
        All values are equal, and none is NaN, NaT or null.
    empty : bool
        There is no value other than NaN, NaT and null.
    """

    dtype: np.dtype[Any]
    lo: Any = None
    hi: Any = None
    n_nan: int = 0
    n_null: int = 0
    lo_exact: bool = False
    hi_exact: bool = False
    constant: bool = False
    empty: bool = False

    def pack(self) -> bytes:
        """Return the record; its length depends on the dtype alone."""
        has_bounds = self.lo is not None
        flags = (
            HAS_BOUNDS * has_bounds
            | LO_EXACT * self.lo_exact
            | HI_EXACT * self.hi_exact
            | HAS_NAN * bool(self.n_nan or self.n_null)
            | CONSTANT * self.constant
            | EMPTY * self.empty
        )
        head = _HEAD.pack(flags, self.n_null, self.n_nan)
        stored = bound_dtype(self.dtype)
        if stored is None:
            return head
        if not has_bounds:
            return head + bytes(2 * stored.itemsize)
        if stored.kind == "S":
            pair = np.array([self.lo, self.hi], dtype=stored)
            return head + bytes(pair)
        lo, hi = self.lo, self.hi
        if self.dtype.kind in "mM":
            lo, hi = lo.view("i8"), hi.view("i8")
        elif self.dtype.kind == "b":
            lo, hi = int(lo), int(hi)
        return head + _PAIRS[stored.str[1:]].pack(lo, hi)

    @classmethod
    def unpack(cls, data: bytes, dtype: np.dtype[Any]) -> Statistics:
        """Read a record.

        Parameters
        ----------
        data : bytes
            What `pack` gave.
        dtype : numpy.dtype
            Dtype of the column.

        Raises
        ------
        CorruptDataError
            The record has another length, or flags that do not exist.
        """
        bounds = Bounds.from_packed([data], dtype)
        flags, n_null, n_nan = _HEAD.unpack_from(data)
        if not flags & HAS_BOUNDS:
            return cls(dtype, n_nan=n_nan, n_null=n_null, empty=bool(flags & EMPTY))
        lo, hi = bounds.lo[0], bounds.hi[0]
        if bounds.lo.dtype.kind == "S":
            lo, hi = bytes(lo), bytes(hi)
        return cls(
            dtype,
            lo,
            hi,
            n_nan,
            n_null,
            bool(flags & LO_EXACT),
            bool(flags & HI_EXACT),
            bool(flags & CONSTANT),
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Statistics of many pages of one column, as arrays.

    Attributes
    ----------
    dtype : numpy.dtype
        Dtype of the column.
    lo, hi : ndarray, shape (n_pages,)
        Bounds in the native form of `dtype`; `S16` or narrower for text.
    n_nan, n_null : ndarray of uint32, shape (n_pages,)
        Counts of NaN or NaT, and of nulls.
    known : ndarray of bool, shape (n_pages,)
        Where `lo`, `hi` and the counts say something; nothing is known of the other pages.
    empty : ndarray of bool, shape (n_pages,)
        Where there is no value to bound; `lo` and `hi` mean nothing there.
    lo_exact, hi_exact : ndarray of bool, shape (n_pages,)
        Where the bound is a value of the page.
    """

    dtype: np.dtype[Any]
    lo: np.ndarray[Any, Any]
    hi: np.ndarray[Any, Any]
    n_nan: np.ndarray[Any, Any]
    n_null: np.ndarray[Any, Any]
    known: np.ndarray[Any, Any]
    empty: np.ndarray[Any, Any]
    lo_exact: np.ndarray[Any, Any]
    hi_exact: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.known)

    @classmethod
    def from_packed(cls, records: Sequence[bytes | None], dtype: np.dtype[Any]) -> Bounds:
        """Read the records of all pages of a column.

        Parameters
        ----------
        records : sequence of bytes or None
            One record a page; None where the page has none.
        dtype : numpy.dtype
            Dtype of the column.

        Raises
        ------
        CorruptDataError
            A record has another length, or flags that do not exist.

        Notes
        -----
        A few NumPy calls for all pages; about 0.1 us a page.
        """
        stored = bound_dtype(dtype)
        fields = [("flags", "u1"), ("n_null", "<u4"), ("n_nan", "<u4")]
        record = np.dtype(fields if stored is None else [*fields, ("lo", stored), ("hi", stored)])
        present = np.array([data is not None for data in records], dtype=bool)
        blank = bytes(record.itemsize)
        filled = [blank if data is None else data for data in records]
        if lengths := set(map(len, filled)) - {record.itemsize}:
            raise CorruptDataError(
                f"statistics of a page of {dtype}: {min(lengths)} bytes, expected {record.itemsize}"
            )
        table = np.frombuffer(b"".join(filled), dtype=record)
        flags = table["flags"]
        if np.any(flags > _ALL_FLAGS):
            raise CorruptDataError(f"statistics of a page of {dtype}: flags {flags.max():#x}")
        empty = (flags & EMPTY).astype(bool) & present
        if stored is None:
            lo = hi = np.zeros(len(records), dtype=bool)
            known = empty
        else:
            lo, hi = (_native(table[name], dtype) for name in ("lo", "hi"))
            known = (flags & (HAS_BOUNDS | EMPTY)).astype(bool) & present
        n_nan, n_null = (table[name].astype(np.uint32) for name in ("n_nan", "n_null"))
        exact = ((flags & flag).astype(bool) & known for flag in (LO_EXACT, HI_EXACT))
        return cls(dtype, lo, hi, n_nan, n_null, known, empty, *exact)

    @classmethod
    def joined(cls, parts: Sequence[Bounds], dtype: np.dtype[Any]) -> Bounds:
        """Return the statistics of several columns of one dtype, one behind the other."""
        if not parts:
            return cls.from_packed([], dtype)
        names = ("lo", "hi", "n_nan", "n_null", "known", "empty", "lo_exact", "hi_exact")
        arrays = ([getattr(part, name) for part in parts] for name in names)
        return cls(dtype, *(np.concatenate(several) for several in arrays))


def _native(stored: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if stored.dtype.kind == "S":
        return np.ascontiguousarray(stored)
    native = dtype.newbyteorder("=")
    if native.kind in "mM":
        return stored.astype(np.int64).view(native)
    return stored.astype(native)


def compute(
    values: np.ndarray[Any, Any] | Utf8, *, nulls: np.ndarray[Any, Any] | None = None
) -> Statistics | None:
    """Return the statistics of the values of one page.

    Parameters
    ----------
    values : ndarray, or Utf8, shape (n,)
        Values of a leaf column, in any byte order.
    nulls : ndarray of bool, shape (n,), optional
        Which values are null, for columns that keep nulls apart.

    Returns
    -------
    Statistics or None
        None for what has no statistics: sub-arrays, structured and object columns.

    Notes
    -----
    Two passes over the page where there is no NaN: 30 us for 65,536 float64.
    """
    return (
        _utf8_statistics(values) if isinstance(values, Utf8) else _array_statistics(values, nulls)
    )


def _array_statistics(
    values: np.ndarray[Any, Any], nulls: np.ndarray[Any, Any] | None
) -> Statistics | None:
    dtype = values.dtype
    if values.ndim != 1 or dtype.kind not in "biufcmMSUVT" or dtype.names is not None:
        return None
    n_null = 0
    if nulls is not None:
        if nulls.shape != values.shape:
            raise ShapeError(f"nulls have shape {nulls.shape}, values {values.shape}")
        values = values[~nulls]
        n_null = len(nulls) - len(values)
    if dtype.kind == "T" and hasattr(dtype, "na_object"):
        missing = _string_nulls(values)
        if n := int(np.count_nonzero(missing)):
            values = values[~missing]
            n_null += n
    if len(values) == 0 or dtype.itemsize == 0:
        return Statistics(dtype, n_null=n_null, empty=len(values) == 0)
    if not dtype.isnative:
        values = values.astype(dtype.newbyteorder("="))
    if dtype.kind in "fmM":
        lo, hi, n_nan = (_float_bounds if dtype.kind == "f" else _time_bounds)(values)
        if n_nan == len(values):
            return Statistics(dtype, n_nan=n_nan, n_null=n_null, empty=True)
        constant = not n_nan and not n_null and bool(lo == hi)
        if dtype.itemsize > 8:
            return _outwards(dtype, lo, hi, n_nan, n_null, constant)
        return Statistics(dtype, lo, hi, n_nan, n_null, True, True, constant)
    if dtype.kind == "c":
        # Not by comparing them with themselves: signalling NaN would warn.
        n_nan = int(np.count_nonzero(np.isnan(values)))
        return Statistics(dtype, n_nan=n_nan, n_null=n_null, empty=n_nan == len(values))
    if dtype.kind in "biu":
        lo, hi = values.min(), values.max()
        return Statistics(dtype, lo, hi, 0, n_null, True, True, not n_null and bool(lo == hi))
    return _text_statistics(values, dtype, n_null)


def is_true(record: bytes) -> bool:
    """Tell whether the record of a page of bools says that all of them are true."""
    return len(record) == _HEAD.size + 2 and bool(record[0] & LO_EXACT) and record[_HEAD.size] == 1


def compute_rows(matrix: np.ndarray[Any, Any]) -> list[Statistics | None]:
    """Return the statistics of each row of a matrix: columns of one dtype, at a third of the time.

    Parameters
    ----------
    matrix : ndarray, shape (n_columns, n)
        At least one value a row.
    """
    dtype = matrix.dtype
    if dtype not in _BY_ROWS:
        return [compute(row) for row in matrix]
    los, his = np.minimum.reduce(matrix, axis=1), np.maximum.reduce(matrix, axis=1)
    if dtype.kind == "f":
        los, his = los + dtype.type(0), his + dtype.type(0)
    equal = (los == his).tolist()
    found: list[Statistics | None] = []
    for row, lo, hi, constant in zip(matrix, los, his, equal, strict=True):
        if lo == lo and hi == hi:
            found.append(Statistics(dtype, lo, hi, 0, 0, True, True, constant))
        else:
            found.append(compute(row))
    return found


def _string_nulls(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return where a StringDType array is null; a na_object that is a str is a string."""
    na_object = values.dtype.na_object
    if isinstance(na_object, str):
        return np.zeros(len(values), dtype=bool)
    # isnan does not see a na_object such as None.
    as_nan = values.astype(np.dtypes.StringDType(na_object=np.nan))
    missing: np.ndarray[Any, Any] = np.isnan(as_nan)
    return missing


def _float_bounds(values: np.ndarray[Any, Any]) -> tuple[Any, Any, int]:
    if values.dtype.itemsize == 2:
        return _half_bounds(values)
    lo = values.min()
    if lo == lo:
        # + 0.0 makes 0.0 of -0.0, so that equal pages have equal records.
        return lo + lo.dtype.type(0), values.max() + lo.dtype.type(0), 0
    with np.errstate(invalid="ignore"):  # a signalling NaN
        ordered = values[values == values]
    n_nan = len(values) - len(ordered)
    if not len(ordered):
        return lo, lo, n_nan
    # Not fmin and fmax, which are NaN once they have met a signalling one.
    return ordered.min() + lo.dtype.type(0), ordered.max() + lo.dtype.type(0), n_nan


def _half_bounds(values: np.ndarray[Any, Any]) -> tuple[Any, Any, int]:
    # float16 has no vector loops: min() alone takes 500 us for 65,536 values. Its bits, with the
    # negative ones turned round, sort as int16, NaN at both ends.
    bits = np.ascontiguousarray(values).view(np.int16)
    key = bits ^ ((bits >> 15) & 0x7FFF)
    n_nan = 0
    if key.max() > 0x7C00 or key.min() < ~0x7C00:
        ordered = (key <= 0x7C00) & (key >= ~0x7C00)
        key = key[ordered]
        n_nan = len(values) - len(key)
        if not len(key):
            return values[0], values[0], n_nan
    pair = np.array([key.min(), key.max()], dtype=np.int16)
    lo, hi = (pair ^ ((pair >> 15) & 0x7FFF)).view(np.float16) + np.float16(0)
    return lo, hi, n_nan


def _time_bounds(values: np.ndarray[Any, Any]) -> tuple[Any, Any, int]:
    ticks = values.view(np.int64)
    lo, n_nan = ticks.min(), 0
    if lo == _NAT:
        n_nan = int(np.count_nonzero(ticks == _NAT))
        if n_nan == len(ticks):
            return values[0], values[0], n_nan
        lo = ticks.min(where=ticks != _NAT, initial=np.iinfo(np.int64).max)
    lo, hi = np.array([lo, ticks.max()], dtype=np.int64).view(values.dtype)
    return lo, hi, n_nan


def _outwards(
    dtype: np.dtype[Any], lo: Any, hi: Any, n_nan: int, n_null: int, constant: bool
) -> Statistics:
    with np.errstate(over="ignore"):
        low, high = np.float64(lo), np.float64(hi)
    if low > lo:
        low = np.nextafter(low, -np.inf)
    if high < hi:
        high = np.nextafter(high, np.inf)
    native = dtype.newbyteorder("=").type
    lo_exact, hi_exact = bool(low == lo), bool(high == hi)
    return Statistics(dtype, native(low), native(high), n_nan, n_null, lo_exact, hi_exact, constant)


def _utf8_statistics(values: Utf8) -> Statistics:
    n_null = 0 if values.missing is None else int(np.count_nonzero(values.missing))
    present = values.distinct
    if present is None:
        present = values.present()
    if not len(present):
        return Statistics(values.dtype, n_null=n_null, empty=True)
    return _text_statistics(present, values.dtype, n_null)


def _text_statistics(
    values: np.ndarray[Any, Any] | Utf8, dtype: np.dtype[Any], n_null: int
) -> Statistics:
    ends = text_ends(values)
    if ends is None:
        return Statistics(dtype, n_null=n_null)
    lo, hi = ends
    upper = hi.head if hi.exact else round_up(hi.head)
    if upper is None:
        return Statistics(dtype, n_null=n_null)
    constant = lo.exact and lo == hi and not n_null
    return Statistics(dtype, lo.head, upper, 0, n_null, lo.exact, hi.exact, constant)
