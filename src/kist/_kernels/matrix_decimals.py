"""Columns of floats that are short decimal numbers: as integers, one exponent per column.

``m / 10**k`` in binary64, rounded once more to binary32 for ``f4``, must give back the exact
bits. The few values of a column that do not (NaN, infinities, -0.0) are exceptions; a column with
many is not made of decimals and keeps its bits.

Matrices have the shape (n_columns, n_rows), in C or in Fortran order, and keep it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_EXPONENT", "RAW", "find_exponents", "from_decimals", "to_decimals"]

Floats = NDArray[Any]
Ints = NDArray[np.int64]
Exponents = NDArray[np.uint8]

MAX_EXPONENT: Final = 22
"""10**22 is the largest power of ten that is a binary64 number."""
RAW: Final = 255
"""The exponent of a column that keeps its bits."""

SEARCHED: Final = {8: 12, 4: 5}
"""Largest exponent tried. Beyond, the integer is no shorter than the bits: 5 digits after the
point and 2 before it fill the 24 bits of binary32."""
SAMPLE: Final = 8
"""Rows that decide whether a column is worth a full look."""

_POWERS: Final = np.array([10.0**k for k in range(MAX_EXPONENT + 1)])
_POWER_OF: Final = np.ones(256)
_POWER_OF[: MAX_EXPONENT + 1] = _POWERS
_BITS: Final[dict[int, np.dtype[Any]]] = {8: np.dtype("<u8"), 4: np.dtype("<u4")}


def _bits(values: Floats) -> NDArray[Any]:
    return values.view(_BITS[values.itemsize])


def _round_trip(values: Floats, power: NDArray[np.float64]) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the nearest integers to ``values * power``, and where they do not lead back."""
    work = values * power
    np.rint(work, out=work)
    integers = work.astype(np.int64)
    # From the integers, not from `work`: they know no -0.0 and none beyond their width.
    np.divide(integers, power, out=work)
    back = work if values.itemsize == 8 else work.astype(np.float32)
    return integers, _bits(back) != _bits(values)


def find_exponents(values: Floats, columns: NDArray[np.intp] | None = None) -> Exponents:
    """Return the smallest exponent that fits all but a few values of each column, or `RAW`.

    Parameters
    ----------
    values : ndarray of ``<f4`` or ``<f8``, shape (n_columns, n_rows)
    columns : ndarray of intp, optional
        Columns to look at; by default all.
    """
    if columns is not None:
        values = values[columns]
    n_columns, n_rows = values.shape
    exponents = np.full(n_columns, RAW, np.uint8)
    if not n_columns or not n_rows:
        return exponents
    powers = _POWERS[: SEARCHED[values.itemsize] + 1, None, None]
    step = max(1, n_rows // SAMPLE)
    sample = np.ascontiguousarray(values[:, ::step][:, :SAMPLE])
    with np.errstate(all="ignore"):
        wrong = _round_trip(sample[None], powers)[1]
        wrong &= np.isfinite(sample)  # a missing value says nothing about the others
        counts = wrong.sum(axis=2)
        fits = counts <= _allowed(sample.shape[1])
        good = fits.any(axis=0) & np.isfinite(sample).any(axis=1)
        first = fits.argmax(axis=0)
        left = good.nonzero()[0]
        while len(left):
            trial = _round_trip(values[left], _POWERS[first[left]][:, None])[1]
            found = trial.sum(axis=1) <= _allowed(n_rows)
            exponents[left[found]] = first[left[found]]
            left = left[~found]
            first[left] += 1
            left = left[first[left] <= SEARCHED[values.itemsize]]
    return exponents


_NO_EXCEPTIONS: Final = np.zeros(0, np.intp), np.zeros(0, np.uint64)


def _allowed(n_rows: int) -> int:
    return n_rows // 8


def to_decimals(
    values: Floats, exponents: Exponents
) -> tuple[Ints, Exponents, NDArray[np.intp], NDArray[np.uint64]]:
    """Return columns of floats as integers.

    Parameters
    ----------
    values : ndarray of ``<f4`` or ``<f8``, shape (n_columns, n_rows)
    exponents : ndarray of uint8, shape (n_columns,)
        Wanted exponents; `RAW` keeps the bits of a column.

    Returns
    -------
    integers : ndarray of int64, shape (n_columns, n_rows)
    exponents : ndarray of uint8, shape (n_columns,)
        `RAW` also where the wanted one has too many exceptions.
    places : ndarray of intp
        Exceptions: column * n_rows + row, rising. Their integers repeat the one before.
    bits : ndarray of uint64
        What stands there.
    """
    n_raw = exponents.tobytes().count(RAW)
    if n_raw == len(exponents):
        return _bits(values).astype(np.int64), exponents, *_NO_EXCEPTIONS
    with np.errstate(all="ignore"):
        integers, wrong = _round_trip(values, _POWER_OF[exponents][:, None])
    if not n_raw and not np.count_nonzero(wrong):
        return integers, exponents, *_NO_EXCEPTIONS
    raw = exponents == RAW
    counts = np.count_nonzero(wrong, axis=1)
    raw |= counts > _allowed(values.shape[1])
    if raw.any():
        exponents = np.where(raw, np.uint8(RAW), exponents)
        integers[raw] = _bits(values)[raw]
        wrong[raw] = False
        counts[raw] = 0
    holes = counts.nonzero()[0]
    if not len(holes):
        return integers, exponents, *_NO_EXCEPTIONS
    integers[holes] = _filled(integers[holes], wrong[holes])
    columns, rows = wrong.nonzero()
    bits = _bits(values)[columns, rows].astype(np.uint64)
    return integers, exponents, columns * values.shape[1] + rows, bits


def _filled(integers: Ints, wrong: NDArray[np.bool_]) -> Ints:
    """Put the value before into each hole, 0 where there is none."""
    integers[wrong] = 0
    source = np.where(wrong, 0, np.arange(wrong.shape[1]))
    np.maximum.accumulate(source, axis=1, out=source)
    return np.take_along_axis(integers, source, axis=1)


def from_decimals(integers: Ints, exponents: Exponents, itemsize: int) -> Floats:
    """Return the floats of columns of integers; exceptions are left to the caller.

    Parameters
    ----------
    integers : ndarray of int64, shape (n_columns, n_rows)
    exponents : ndarray of uint8, shape (n_columns,)
        0 to `MAX_EXPONENT`, or `RAW`.
    itemsize : int
        8 or 4: binary64 or binary32.

    Returns
    -------
    ndarray of ``<f8`` or ``<f4``, shape (n_columns, n_rows)
    """
    bits = _BITS[itemsize]
    n_raw = exponents.tobytes().count(RAW)
    if n_raw == len(exponents):
        return integers.astype(bits).view(f"<f{itemsize}")
    values: Floats = integers / _POWER_OF[exponents][:, None]
    if itemsize == 4:
        with np.errstate(over="ignore", under="ignore"):
            values = values.astype(np.float32)
    if n_raw:
        raw = exponents == RAW
        values.view(bits)[raw] = integers[raw]  # cut to the lowest bytes
    return values
