"""Binding of what computes numbers and times: functions, operators, `where`, conversions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kist.query import fold
from kist.query.coerce import as_time, kind_name
from kist.query.integers import as_numpy, dtype_for, range_of
from kist.query.nodes import (
    BOOL,
    Array,
    Choose,
    Constant,
    Convert,
    IsNull,
    Node,
    Part,
    Ufunc,
    numpy_dtype,
)

if TYPE_CHECKING:
    from kist.query.bind import Binder
    from kist.query.expression import Expr

__all__ = ["CLASSES", "OPERATORS", "SIGNS", "bind_cast", "bind_numeric", "bind_part", "bind_where"]

OPERATORS: dict[str, np.ufunc] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "//": np.floor_divide,
    "%": np.remainder,
    "**": np.power,
    "&": np.bitwise_and,
    "|": np.bitwise_or,
    "^": np.bitwise_xor,
    "<<": np.left_shift,
    ">>": np.right_shift,
}
SIGNS: dict[str, np.ufunc] = {"-": np.negative, "+": np.positive, "~": np.invert}

#: Kinds of dtypes that compare with each other.
CLASSES = {**dict.fromkeys("biufc", "number"), **dict.fromkeys("SV", "bytes")}
CLASSES |= {**dict.fromkeys("UT", "text"), "M": "datetime", "m": "timedelta"}


@lru_cache(maxsize=256)
def _no_rows(dtype: np.dtype[Any]) -> Array:
    return np.empty(0, dtype=dtype)


def _samples(args: Sequence[Node]) -> list[Any]:
    return [arg.value if isinstance(arg, Constant) else _no_rows(numpy_dtype(arg)) for arg in args]


def bind_numeric(binder: Binder, func: Any, args: list[Node], at: Expr) -> Node:
    """Return the node of a function or operator of numbers or times."""
    kinds = {arg.dtype.kind for arg in args}
    if all(isinstance(arg, Constant) for arg in args):
        values = [arg.value for arg in args if isinstance(arg, Constant)]
        value = binder.located(at, fold.call, func, values)
        return Constant(fold.dtype_of(value), value)
    if func is np.isnan and kinds == {"T"}:
        return IsNull(BOOL, args[0])
    if "M" in kinds:  # day - '2020-01-01'
        args = [_time_constant(binder, arg, at) for arg in args]
    elif kinds & set("SUVT"):
        binder.fail(f"{func.__name__} takes numbers, not text", at)
    if kinds == {"b"} and func in (np.add, np.subtract, np.multiply, np.negative, np.positive):
        binder.fail(
            "conditions are no numbers; combine them with & | ~, or count with where(x, 1, 0)", at
        )
    if func is np.power and isinstance(args[1], Constant) and not kinds - set("biu"):
        exponent = args[1].value
        if exponent < 0:  # NumPy refuses integers to a negative power
            args = [args[0], Constant(np.dtype(float), float(exponent))]
    args = [_typed(arg, args) for arg in args]
    try:
        with np.errstate(all="ignore"):
            dtype = func(*_samples(args)).dtype
    except (TypeError, ValueError, OverflowError):
        what = " and ".join(kind_name(numpy_dtype(arg)) for arg in args)
        hint = "; powers are written **" if func is np.bitwise_xor else ""
        binder.fail(f"{func.__name__} cannot be computed from {what}{hint}", at)
    exact = dtype_for(func, dtype, [range_of(arg) for arg in args])
    if exact is not None:
        wide, limits, checked = exact
        typed = wide != dtype or any(arg.dtype != numpy_dtype(arg) for arg in args)
        return Ufunc(wide, func, tuple(args), dtype, limits, checked, typed)
    if dtype.kind in "iu":  # bits of a certain number of them
        args = list(map(as_numpy, args))
    typed = dtype.kind in "fc" and any(arg.dtype != numpy_dtype(arg) for arg in args)
    return Ufunc(dtype, func, tuple(args), dtype, typed=typed)


def _time_constant(binder: Binder, arg: Node, at: Expr) -> Node:
    if isinstance(arg, Constant) and isinstance(arg.value, str):
        value = binder.located(at, as_time, arg.value)
        return Constant(value.dtype, value)
    return arg


def _typed(arg: Node, others: list[Node]) -> Node:
    """Return an integer constant that the integers beside it cannot hold with a dtype of its own.

    NumPy raises instead: `u1 + 300` has no dtype there.
    """
    if isinstance(arg, Constant) and type(arg.value) is int:
        dtypes = [numpy_dtype(other) for other in others if not isinstance(other, Constant)]
        if dtypes and all(dtype.kind in "iu" for dtype in dtypes):
            info = np.iinfo(np.result_type(*dtypes))
            if not info.min <= arg.value <= info.max:
                dtype = np.min_scalar_type(arg.value)
                if dtype.kind in "iu":
                    return Constant(dtype, dtype.type(arg.value))
    return arg


def bind_where(binder: Binder, at: Expr, args: list[Node]) -> Node:
    """Return the node of `where(condition, x, y)`."""
    condition, x, y = args
    if condition.dtype != BOOL:
        binder.fail(f"where() takes a condition first, not {condition.dtype}", at.args[0])
    if CLASSES[x.dtype.kind] != CLASSES[y.dtype.kind]:
        binder.fail(
            f"where() chooses between values of one kind, not {kind_name(x.dtype)} and "
            f"{kind_name(y.dtype)}",
            at,
        )
    if isinstance(condition, Constant):
        return x if condition.value else y
    x, y = _typed(x, [x, y]), _typed(y, [x, y])
    numpy = np.where(_no_rows(BOOL), *_samples([x, y])).dtype
    dtype = numpy
    if numpy.kind in "iu":
        wide = np.result_type(
            *(side.value if isinstance(side, Constant) else side.dtype for side in (x, y))
        )
        if wide.kind in "iu":
            dtype = wide
        else:
            x, y = as_numpy(x), as_numpy(y)
    return Choose(dtype, condition, x, y, numpy)


def bind_part(binder: Binder, part: str, x: Node, at: Expr) -> Node:
    """Return the node of a part of a datetime."""
    if isinstance(x, Constant) or x.dtype.kind != "M":
        binder.fail(f"{part}() takes a column of datetimes, not {kind_name(x.dtype)}", at)
    if np.datetime_data(x.dtype)[0] == "generic":
        binder.fail(f"{part}() takes datetimes with a unit", at)
    return Part(np.dtype(np.int64), part, x)


def bind_cast(binder: Binder, name: str, x: Node, at: Expr) -> Node:
    """Return the node of a value as another dtype."""
    dtype = np.dtype(name)
    kind = x.dtype.kind
    if kind not in "biufc" or (kind == "c" and dtype.kind != "c"):
        binder.fail(f"{name}() takes numbers, not {kind_name(x.dtype)}", at)
    if isinstance(x, Constant):
        value = binder.located(at, lambda: dtype.type(x.value))
        return Constant(dtype, value)
    return Convert(dtype, x)
