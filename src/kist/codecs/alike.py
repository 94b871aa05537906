"""What numbers look like, roughly: those that look alike are best stored alike."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.bits import signed

__all__ = ["Looks", "looks_of"]

Looks = tuple[object, ...]

PRICE_STEPS: Final = 16
"""Prices of the usual codec are told apart in so many steps from one to its double: by 4 %."""

_FEW: Final = 4096


def looks_of(numbers: NDArray[Any], price: float) -> Looks:
    """Return, roughly, what decides how numbers are stored best.

    Parameters
    ----------
    numbers : ndarray, 1-d
        Integers, or floats, which are taken by their bits: at least three.
    price : float
        Of a value with the usual codec, which tells what repeats itself.

    Returns
    -------
    tuple
        The dtype, the price, the bits of the range of all, those in which neighbours differ, and
        those in which these differences do.
    """
    bits = numbers if numbers.dtype.kind == "u" else numbers.view(signed(numbers.itemsize))
    spread = int(bits.max()) - int(bits.min())
    if bits.size > 2 * _FEW:
        bits = np.concatenate([bits[:_FEW], bits[-_FEW:]])
    wide = bits.astype(np.int64)
    once = wide[1:] - wide[:-1]
    twice = once[1:] - once[:-1]
    return (
        numbers.dtype,
        round(PRICE_STEPS * math.log2(price)),
        spread.bit_length(),
        _half_bits(once),
        _half_bits(twice),
    )


def _half_bits(values: NDArray[np.int64]) -> int:
    few = values[::4].astype(np.float64)
    return round(2 * float(np.log2(np.abs(few) + 1).mean()))
