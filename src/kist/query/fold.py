"""Constants computed from constants, once, when an expression is bound.

Python numbers stay Python numbers, so that they still take the dtype of the column beside them.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from kist.errors import QueryError
from kist.query.coerce import fit_comparison

__all__ = ["call", "compare", "dtype_of"]

#: Integers of more bits are no use beside a column, and 9**9**9 would never end.
_MAX_BITS = 1024

_COMPARE: dict[str, Any] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_PYTHON: dict[np.ufunc, Any] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
    np.floor_divide: operator.floordiv,
    np.remainder: operator.mod,
    np.power: operator.pow,
    np.absolute: abs,
    np.bitwise_and: operator.and_,
    np.bitwise_or: operator.or_,
    np.invert: operator.inv,
    np.negative: operator.neg,
    np.positive: operator.pos,
}


def dtype_of(value: Any) -> np.dtype[Any]:
    """Return the dtype of a constant; int64 for Python integers of any size."""
    if type(value) is int:
        return np.dtype(np.int64)
    if isinstance(value, str):
        return np.dtype(f"U{max(1, len(value))}")
    return np.asarray(value).dtype


def compare(op: str, left: Any, right: Any) -> bool:
    """Return the outcome of a comparison of two constants."""
    numbers = (bool, int, float)
    if type(left) in numbers and type(right) in numbers:
        return bool(_COMPARE[op](left, right))
    dtype = dtype_of(left)
    if isinstance(left, str):
        left = left.encode("utf-8", "surrogatepass")
        dtype = np.dtype(f"S{max(1, len(left))}")
    fit = fit_comparison(op, dtype, right)
    if isinstance(fit, bool):
        return fit
    return bool(_COMPARE[fit[0]](left, fit[1]))


def call(func: np.ufunc, values: list[Any]) -> Any:
    """Return a function or operator of constants.

    Raises
    ------
    QueryError
        It has no value: text, a division by zero, an integer that is far too large.
    """
    if any(isinstance(value, (str, bytes, bool)) for value in values):
        raise QueryError(f"{func.__name__} takes numbers")
    plain = not any(isinstance(value, np.generic) for value in values)
    try:
        if plain and func in _PYTHON:
            _limit(func, values)
            value = _PYTHON[func](*values)
            if isinstance(value, complex) and not any(isinstance(v, complex) for v in values):
                raise QueryError("a negative number has no such power")
        else:
            with np.errstate(all="ignore"):
                value = func(*values)
            value = value.item() if plain else value
    except (TypeError, ValueError, ArithmeticError) as error:
        raise QueryError(f"{func.__name__}: {error}") from None
    if type(value) is int and value.bit_length() > _MAX_BITS:
        raise QueryError(f"{func.__name__}: the integer has more than {_MAX_BITS} bits")
    return value


def _limit(func: np.ufunc, values: list[Any]) -> None:
    if func is np.power and all(type(value) is int for value in values):
        base, exponent = values
        if exponent > 0 and base.bit_length() * exponent > _MAX_BITS and abs(base) > 1:
            raise QueryError(f"the integer has more than {_MAX_BITS} bits")
