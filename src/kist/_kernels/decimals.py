"""Floats that are short decimal numbers: as integers over a power of ten, and back.

``m / 10**k`` in binary64, rounded once more to binary32 for ``f4``, must give back the exact
bits; what does not (NaN, infinities, -0.0, longer numbers) is an exception.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kist._kernels.scratch import scratch

_FLOAT64 = np.dtype("<f8")

MAX_EXPONENT = 22
"""10**22 is the largest power of ten that is a binary64 number."""

_POWERS = [float(10**k) for k in range(MAX_EXPONENT + 1)]


def power_of_ten(exponent: int) -> float:
    """10**exponent, exact."""
    return _POWERS[exponent]


def scaled_integers(
    values: NDArray[Any], exponent: int, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Nearest integers to ``values * 10**exponent``, and where they do not give the value back.

    Parameters
    ----------
    values : ndarray of ``<f4`` or ``<f8``, 1-d
    dtype : ``<i4`` or ``<i8``

    Returns
    -------
    integers : ndarray of `dtype`
        Anything where `wrong` is set.
    wrong : ndarray of bool
    """
    power = power_of_ten(exponent)
    work = scratch("decimals", values.size, _FLOAT64)
    integers = np.empty(values.size, dtype)
    # NaN, infinity and what overflows are found by the comparison below.
    with np.errstate(invalid="ignore", over="ignore"):
        np.multiply(values, power, out=work)
        np.rint(work, out=work)
        np.copyto(integers, work, casting="unsafe")
    # From the integers, not from `work`: they know no -0.0 and none beyond their width.
    np.copyto(work, integers)
    if exponent:
        np.divide(work, power, out=work)
    if values.itemsize == 8:
        return integers, work.view("<u8") != values.view("<u8")
    with np.errstate(over="ignore"):
        narrow = work.astype("<f4")
    return integers, narrow.view("<u4") != values.view("<u4")


def from_scaled_integers(integers: NDArray[Any], exponent: int, out: NDArray[Any]) -> None:
    """``integers / 10**exponent`` into `out` (``<f4`` or ``<f8``), rounded as the format says."""
    power = power_of_ten(exponent)
    if out.itemsize == 8:
        # Two plain loops are as fast as one that casts on the way, and need no buffer.
        np.copyto(out, integers)
        if exponent:
            np.divide(out, power, out=out)
    else:
        work = np.empty(integers.size, np.float64)
        np.copyto(work, integers)
        np.divide(work, power, out=work)
        with np.errstate(over="ignore"):
            np.copyto(out, work, casting="unsafe")
