"""Integers that do not wrap around: what arithmetic can give, the dtype for it, and a check.

NumPy computes in the dtype of the operands and wraps silently: `u1 - 5 > 3` is true for 4. Here
every operation is done in a dtype that holds all that its operands can give, which is known from
their dtypes when an expression is bound. Where 64 bits may be too few each block is looked at:
its extremes mostly settle it, else its values one by one, and what does not fit raises.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from kist.errors import QueryError
from kist.query.nodes import Array, Constant, Convert, Node, Part, Ufunc, numpy_dtype
from kist.query.times import limits_of

__all__ = [
    "RANGES",
    "Range",
    "as_numpy",
    "checked",
    "dtype_for",
    "extremes",
    "narrowed",
    "range_of",
]

Range: TypeAlias = tuple[int, int]
"""Lowest and highest value."""

_MAX_BITS: Final = 4096
_DTYPES: Final = tuple(map(np.dtype, ("i2", "i4", "i8", "u8")))


def _corners(func: Callable[[int, int], int], x: Range, y: Range) -> Range:
    found = [func(a, b) for a in x for b in y]
    return min(found), max(found)


def _size(x: Range) -> int:
    return max(abs(x[0]), abs(x[1]))


def _floor_divide(x: Range, y: Range) -> Range:
    if y[0] > 0 or y[1] < 0:
        return _corners(operator.floordiv, x, y)
    return -_size(x) if x[0] < 0 or y[0] < 0 else 0, _size(x)


def _remainder(x: Range, y: Range) -> Range:  # it has the sign of y
    return min(0, y[0] + 1), max(0, y[1] - 1)


def _power(x: Range, y: Range) -> Range:
    if y[1] > 0 and _size(x).bit_length() * y[1] > _MAX_BITS:
        far = 1 << _MAX_BITS
        return -far if x[0] < 0 else 0, far
    most = max(1, _size(x) ** max(0, y[1]))
    if x[0] >= 0:
        return 0, most
    return 0 if y[0] == y[1] and y[0] % 2 == 0 else -most, most


def _left_shift(x: Range, y: Range) -> Range:
    by = min(max(0, y[1]), _MAX_BITS)
    return min(x[0], x[0] << by), max(x[1], x[1] << by)


def _right_shift(x: Range, y: Range) -> Range:
    return min(x[0], 0), max(x[1], 0)


def _bitwise(x: Range, y: Range) -> Range:
    bits = max(end.bit_length() for end in (*x, *y))
    return 0 if x[0] >= 0 and y[0] >= 0 else -(1 << bits), (1 << bits) - 1


def _absolute(x: Range) -> Range:
    return 0 if x[0] <= 0 <= x[1] else min(abs(x[0]), abs(x[1])), _size(x)


def _same(x: Range) -> Range:
    return x


RANGES: Final[dict[Any, Callable[..., Range]]] = {
    np.add: lambda x, y: (x[0] + y[0], x[1] + y[1]),
    np.subtract: lambda x, y: (x[0] - y[1], x[1] - y[0]),
    np.multiply: lambda x, y: _corners(operator.mul, x, y),
    np.floor_divide: _floor_divide,
    np.remainder: _remainder,
    np.fmod: lambda x, y: (min(0, x[0]), max(0, x[1])),
    np.power: _power,
    np.left_shift: _left_shift,
    np.right_shift: _right_shift,
    np.bitwise_and: _bitwise,
    np.bitwise_or: _bitwise,
    np.bitwise_xor: _bitwise,
    np.maximum: lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    np.minimum: lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    np.negative: lambda x: (-x[1], -x[0]),
    np.positive: _same,
    np.absolute: _absolute,
    np.sign: lambda x: (-1, 1),
    np.floor: _same,
    np.ceil: _same,
    np.trunc: _same,
    np.conj: _same,
    np.real: _same,
    np.imag: lambda x: (0, 0),
    np.ones_like: lambda x: (1, 1),
}
"""Function -> what it gives for integers within ranges. Never less; `invert` depends on dtypes."""


def range_of(node: Node) -> Range | None:
    """Return within which limits the integers of a node lie, None for other values."""
    if isinstance(node, Ufunc):
        return node.limits
    if isinstance(node, Constant) and node.dtype.kind in "biu":
        return int(node.value), int(node.value)
    if isinstance(node, Part) and (limits := limits_of(node.part)) is not None:
        return limits
    if node.dtype.kind == "b":
        return 0, 1
    if node.dtype.kind in "iu":
        info = np.iinfo(node.dtype)
        return int(info.min), int(info.max)
    return None


def _holds(dtype: np.dtype[Any], limits: Range) -> bool:
    info = np.iinfo(dtype)
    return int(info.min) <= limits[0] and limits[1] <= int(info.max)


def dtype_for(
    func: Any, numpy: np.dtype[Any], ranges: list[Range | None]
) -> tuple[np.dtype[Any], Range, bool] | None:
    """Return in which dtype a function of integers is computed.

    Parameters
    ----------
    func : function
        What is computed.
    numpy : dtype
        Dtype in which NumPy would compute it.
    ranges : list of (int, int)
        Within which the arguments lie.

    Returns
    -------
    (dtype, limits, checked) or None
        The limits of the result, and whether it must be looked at. None where the function gives
        no integers.
    """
    if numpy.kind not in "iu" or func not in RANGES or None in ranges:
        return None
    known = [limits for limits in ranges if limits is not None]
    limits = RANGES[func](*known)
    # The arguments are converted, so they must fit as well.
    whole = min(limits[0], *(x[0] for x in known)), max(limits[1], *(x[1] for x in known))
    for dtype in (numpy, *_DTYPES):
        if _holds(dtype, whole):
            return dtype, limits, False
    wide = np.dtype("u8") if numpy == np.dtype("u8") else np.dtype("i8")
    info = np.iinfo(wide)
    return wide, (max(limits[0], int(info.min)), min(limits[1], int(info.max))), True


def extremes(values: Any) -> Range:
    """Return the lowest and the highest of some integers, (0, 0) of none."""
    if isinstance(values, np.ndarray):
        return (int(values.min()), int(values.max())) if values.size else (0, 0)
    return int(values), int(values)


def checked(func: np.ufunc, args: list[Any], dtype: np.dtype[Any]) -> Array:
    """Return a function of integers in a dtype of 64 bits.

    Raises
    ------
    QueryError
        A result does not fit.
    """
    ranges = [extremes(arg) for arg in args]
    if all(_holds(dtype, limits) for limits in (*ranges, RANGES[func](*ranges))):
        return func(*args, dtype=dtype, casting="unsafe")  # type: ignore[no-any-return]
    # Large values and small ones in one block: Python's integers decide.
    objects = [np.asarray(arg).astype(object) for arg in args]
    results = np.frompyfunc(_EXACT.get(func, func), len(args), 1)(*objects)
    info = np.iinfo(dtype)
    outside = np.flatnonzero((results < int(info.min)) | (results > int(info.max)))
    if len(outside):
        first = [np.broadcast_to(arg, results.shape)[outside[0]] for arg in objects]
        shown = ", ".join(map(str, first))
        raise QueryError(
            f"{func.__name__}({shown}) does not fit {dtype}: integers never wrap around; compute "
            "with float64(x) where rounded values will do"
        )
    return results.astype(dtype)  # type: ignore[no-any-return]


def _power_of(x: int, y: int) -> int:
    if y < 0:
        raise ValueError("integers to negative integer powers are not allowed")
    return x**y if abs(x) < 2 or y <= _MAX_BITS else 1 << _MAX_BITS


_EXACT: Final[dict[Any, Callable[..., int]]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.negative: operator.neg,
    np.absolute: abs,
    np.floor_divide: lambda x, y: x // y if y else 0,  # as NumPy has it
    np.remainder: lambda x, y: x % y if y else 0,
    np.power: _power_of,
    np.left_shift: lambda x, y: x << min(y, _MAX_BITS),
    np.right_shift: lambda x, y: x >> min(y, _MAX_BITS),
    np.bitwise_and: operator.and_,
    np.bitwise_or: operator.or_,
    np.bitwise_xor: operator.xor,
    np.maximum: max,
    np.minimum: min,
}


def narrowed(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return integers in another dtype, which may be narrower.

    Raises
    ------
    QueryError
        One does not fit.
    """
    if values.dtype == dtype:
        return values
    lo, hi = extremes(values)
    if not _holds(dtype, (lo, hi)):
        wrong = lo if lo < int(np.iinfo(dtype).min) else hi
        raise QueryError(
            f"{wrong} does not fit {dtype}; integers never wrap around: convert to a wider dtype "
            "before, as in int64(a) + 1"
        )
    return values.astype(dtype)


def as_numpy(node: Node) -> Node:
    """Return a node whose integers are in NumPy's dtype, checked."""
    dtype = numpy_dtype(node)
    return node if dtype == node.dtype else Convert(dtype, node)
