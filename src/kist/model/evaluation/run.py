"""`kist.evaluate`: an expression over arrays and columns, and where its result goes."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import numpy as np

from kist import options
from kist.errors import DTypeError, QueryError, ShapeError, TooLargeError
from kist.format.array import item_bytes
from kist.model.arrays.array import Array
from kist.model.arrays.create import slabs_of
from kist.model.arrays.input import cast_array
from kist.model.evaluation.binding import OperandBinder, as_tree, find_operands
from kist.model.evaluation.computed import Computed
from kist.model.evaluation.operands import hold_all
from kist.model.evaluation.reductions import reduce
from kist.model.group import Group
from kist.query import Expr
from kist.query.expression import Reduction
from kist.query.parser import read_text

__all__ = ["evaluate"]

NumPyArray = np.ndarray[Any, Any]

SLAB_BYTES = 32 << 20
"""Bytes of a result that are computed before they are written into a store."""


def evaluate(expression: str | Expr, out: Any = None, **operands: Any) -> Any:
    """Compute an expression over arrays and columns, block by block on several threads.

    Parameters
    ----------
    expression : str or expression
        ``"a*b + sin(c)"``, or what operators on arrays and columns build: ``x * 2 > y``. What may
        stand in it is in docs/howto/expressions.md. Around all of it, or around what gives one
        number, may stand ``sum``, ``prod``, ``mean``, ``min``, ``max``, ``any``, ``all``, ``std``
        or ``var``: ``"sum(a*b, axis=0)"``, ``"(a - mean(a)) / std(a)"``.
    out : ndarray, Array or (Group, str), optional
        Where the result goes: an array of its shape, in memory or in a store, or a group and the
        name of an array to be made there. By default a new array in memory.
    **operands
        What the names stand for: arrays and columns of stores, NumPy arrays, anything with a
        shape and a dtype that can be sliced, and constants. Their shapes are broadcast as in
        NumPy. Names are never looked up anywhere else.

    Returns
    -------
    ndarray, NumPy scalar or Array
        `out` if it was given, or the array that was made.

    Raises
    ------
    QueryError
        A name is not given, the expression is none, or an integer does not fit its dtype.
    ShapeError
        The shapes do not go together, or `out` has another one.
    DTypeError
        `out` cannot hold the values. Of an array in a store nothing is changed.
    TooLargeError
        The result has more bytes than `options.max_load` and no `out`.

    Notes
    -----
    All operands of one store show one state of it. Memory taken: a few MiB a thread, and 32 MiB
    for a result that goes into a store.

    Examples
    --------
    >>> import kist, numpy as np
    >>> with kist.open(":memory:") as store:
    ...     store["x"] = np.arange(6.0).reshape(2, 3)
    ...     kist.evaluate("x**2 + y", x=store["x"], y=10)
    ...     kist.evaluate("sum(x, axis=1)", x=store["x"])
    ...     kist.evaluate(store["x"] > 2, out=(store, "large"))[:]
    array([[10., 11., 14.],
           [19., 26., 35.]])
    array([ 3., 12.])
    array([[False, False, False],
           [ True,  True,  True]])
    """
    tree, text = as_tree(expression, read_text)
    values, params = find_operands(tree, operands)
    with ExitStack() as held:
        found = hold_all(values, held)

        def computed(part: Expr) -> Computed:
            return Computed(binder.bound(part), found)

        def inner(part: Reduction) -> Any:
            return reduce(part.func, computed(part.args[0]), None, part.ddof)

        binder = OperandBinder(found, params, text, inner, operands)
        if not isinstance(tree, Reduction):
            return _put(computed(tree), out)
        source = computed(tree.args[0])
        result = binder.located(tree, reduce, tree.func, source, tree.axis, tree.ddof)
    return result[()] if out is None else _put_array(result, out)


def _put(result: Computed, out: Any) -> Any:
    """Compute a result into where it goes."""
    if out is None:
        nbytes = math.prod(result.shape) * result.dtype.itemsize
        if nbytes > options.max_load:
            raise TooLargeError(
                f"the result of shape {result.shape} has {nbytes:,} bytes, more than the "
                f"{options.max_load:,} of kist.options.max_load: give out=(store, name), or an "
                "array"
            )
        return result[tuple(slice(0, n) for n in result.shape)][()]
    if isinstance(out, Array):
        _check_shape(out.shape, result.shape)
        _write(result, out)
        return out
    if isinstance(out, np.ndarray):
        _check_shape(out.shape, result.shape)
        _check_memory(out, result.dtype)
        result.fill(tuple(slice(0, n) for n in result.shape), out)
        return out
    group, name = _place(out)
    return group.create_array(name, result if result.shape else result[()])


def _put_array(result: NumPyArray, out: Any) -> Any:
    """Put a result that is in memory where it goes."""
    if isinstance(out, (Array, np.ndarray)):
        _check_shape(out.shape, result.shape)
        if isinstance(out, np.ndarray):
            _check_memory(out, result.dtype)
        out[...] = result
        return out
    group, name = _place(out)
    return group.create_array(name, result)


def _place(out: Any) -> tuple[Group, str]:
    if (
        isinstance(out, tuple)
        and len(out) == 2
        and isinstance(out[0], Group)
        and isinstance(out[1], str)
    ):
        return out
    raise QueryError(
        f"out is an ndarray, an Array, or (store, name) of an array to be made, not {out!r:.60}"
    )


def _check_shape(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise ShapeError(f"out has shape {shape}, the result {wanted}")


def _check_memory(out: NumPyArray, dtype: np.dtype[Any]) -> None:
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if not np.can_cast(dtype, out.dtype, "same_kind"):
        raise DTypeError(f"out of {out.dtype} cannot take values of {dtype}")


def _write(result: Computed, out: Array) -> None:
    with out._write():
        chunks, width = out.chunks, item_bytes(out.dtype)
        for where in slabs_of(result.shape, chunks, max(width, result.dtype.itemsize), SLAB_BYTES):
            out[where] = cast_array(result[where], out.dtype, out._path, "evaluate")
        if not result.shape:
            out[...] = result[()]
