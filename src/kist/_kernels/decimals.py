"""Floats that are short decimal numbers: as integers over a power of ten, and back.

``m / 10**k`` in binary64, rounded once more to binary32 for ``f4``, must give back the exact
bits; what does not (NaN, infinities, -0.0, longer numbers) is an exception.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kist._kernels.scratch import scratch

_FLOAT32, _FLOAT64 = np.dtype("<f4"), np.dtype("<f8")

_STRIP = 32_768
"""Values that are taken through all steps at once: they stay in the cache of a core."""

_MAX_EXPONENT32 = 10
_MAX_INTEGER32 = 1 << 24
"""The powers of ten and the integers that binary32 holds exactly. A quotient of two such
numbers is the same whether it is rounded once, or to binary64 before: that has more than
twice the digits (Figueroa, 1995)."""

_MAX_SCALED32 = 1 << 21
"""Products up to here are less than half from their integer, after two roundings to binary32."""

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
    integers, wrong = np.empty(values.size, dtype), np.empty(values.size, np.bool_)
    narrow = values.itemsize == 4 and exponent <= _MAX_EXPONENT32
    # NaN, infinity and what overflows are found by the comparison with the values.
    with np.errstate(invalid="ignore", over="ignore"):
        for at in range(0, values.size, _STRIP):
            part = slice(at, at + _STRIP)
            strip = values[part], exponent, integers[part], wrong[part]
            if not (narrow and _scale32(*strip)):
                _scale64(*strip)
    return integers, wrong


def _scale32(
    values: NDArray[Any], exponent: int, integers: NDArray[Any], wrong: NDArray[np.bool_]
) -> bool:
    """Scale ``<f4`` in binary32, where that can be told to find the integers."""
    power = _FLOAT32.type(power_of_ten(exponent))
    work = scratch("decimals32", values.size, _FLOAT32)
    np.multiply(values, power, out=work)
    np.rint(work, out=work)
    np.copyto(integers, work, casting="unsafe")
    if not _is_within(integers, _MAX_SCALED32):
        return False
    np.copyto(work, integers, casting="unsafe")
    np.divide(work, power, out=work)
    np.not_equal(work.view("<u4"), values.view("<u4"), out=wrong)
    return True


def _scale64(
    values: NDArray[Any], exponent: int, integers: NDArray[Any], wrong: NDArray[np.bool_]
) -> None:
    power = _POWERS[exponent]
    work = scratch("decimals", values.size, _FLOAT64)
    # Without its dtype NumPy multiplies `<f4` in binary32, and widens the product.
    np.multiply(values, power, out=work, dtype=_FLOAT64)
    if values.itemsize == 4 and not _is_within(work, _MAX_INTEGER32):
        # Several integers stand for one value. That of the product in binary32 ends in zero bits,
        # and compresses better than the nearest one, which a few more values would have.
        np.multiply(values, _FLOAT32.type(power), out=work, dtype=_FLOAT32)
    # NumPy casts on the way, piece by piece: half of the calls, after each of which the interpreter
    # is to be had again.
    np.rint(work, out=integers, casting="unsafe")
    # From the integers, not from `work`: they know no -0.0 and none beyond their width.
    _quotients(integers, power, work)
    if values.itemsize == 8:
        np.not_equal(work.view("<u8"), values.view("<u8"), out=wrong)
        return
    narrow = scratch("decimals32", values.size, _FLOAT32)
    np.copyto(narrow, work, casting="unsafe")
    np.not_equal(narrow.view("<u4"), values.view("<u4"), out=wrong)


def from_scaled_integers(integers: NDArray[Any], exponent: int, out: NDArray[Any]) -> None:
    """``integers / 10**exponent`` into `out` (``<f4`` or ``<f8``), rounded as the format says."""
    power = _POWERS[exponent]
    for at in range(0, integers.size, _STRIP):
        source, target = integers[at : at + _STRIP], out[at : at + _STRIP]
        if out.itemsize == 8:
            _quotients(source, power, target)
        elif exponent <= _MAX_EXPONENT32 and _is_within(source, _MAX_INTEGER32):
            np.copyto(target, source, casting="unsafe")
            if exponent:
                np.divide(target, _FLOAT32.type(power), out=target)
        else:
            work = scratch("decimals", source.size, _FLOAT64)
            _quotients(source, power, work)
            with np.errstate(over="ignore"):
                np.copyto(target, work, casting="unsafe")


def _quotients(integers: NDArray[Any], power: float, out: NDArray[Any]) -> None:
    if power == 1:
        out[...] = integers
    else:
        np.divide(integers, power, out=out, dtype=_FLOAT64)


def _is_within(integers: NDArray[Any], limit: int) -> bool:
    return bool(integers.max() <= limit) and bool(integers.min() >= -limit)
