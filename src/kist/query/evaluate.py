"""Typed nodes computed over blocks of rows, with NumPy.

A block is one array a column. Nothing is computed row by row in Python, columns are not copied
or converted, and an array that was computed is used again by the operator around it.

Nulls follow SQL's logic of three values: a comparison with a null is neither true nor false, nor
is its opposite. No third value is computed: a condition is evaluated to where it is *true*, and
under a `not` to where it is *false*. Which values are null stands in masks beside the columns
(`Block.valid`), or in the column, as in `StringDType`; `validity` is asked for only then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kist._kernels.cells import holds_missing
from kist._kernels.sets import members
from kist._kernels.strings import missing_of
from kist.errors import QueryError
from kist.format.nullable import is_masked_array
from kist.query.callbacks import call_function
from kist.query.integers import checked, narrowed
from kist.query.nodes import (
    BOOL,
    Array,
    Callback,
    Choose,
    Column,
    Compare,
    CompareConstant,
    CompareOrdered,
    Constant,
    Convert,
    Fixed,
    IsNull,
    Length,
    Logic,
    Member,
    Node,
    Not,
    OfCodes,
    Part,
    TextTest,
    Ufunc,
    children,
)
from kist.query.text import comparable, equal_constant, search
from kist.query.times import part_of

__all__ = ["COMPARISONS", "FEW_VALUES", "Block", "evaluate", "validity"]


class Block(NamedTuple):
    """Some rows.

    Attributes
    ----------
    columns : mapping of str to ndarray, shape (n,)
        Values of the columns.
    valid : mapping of str to ndarray of bool, shape (n,)
        Where a column has a value, of those columns that have a mask.
    n : int
        Number of rows.
    nullable : bool
        Something may be null; else `validity` is not looked at.
    """

    columns: Mapping[str, Array]
    valid: Mapping[str, Array]
    n: int
    nullable: bool


COMPARISONS: dict[str, np.ufunc] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}

#: Up to so many values are compared one after the other, which beats sorting the column.
FEW_VALUES = 24


def evaluate(node: Node, block: Block, out: Array | None = None) -> Any:
    """Return the values of a node for the rows of a block; of a condition, where it is true.

    Parameters
    ----------
    node : Node
        A bound expression.
    block : Block
        Values of the columns it reads.
    out : ndarray, optional
        Of the node's dtype: may be used for the result.

    Returns
    -------
    ndarray, or a scalar when no column is read
        For a column the array of the block itself, else `out` or a new one. Any value where it
        is null.
    """
    found = _EVALUATE[type(node)](node, block, out)
    if block.nullable and node.dtype == BOOL and type(node) not in _SETTLED:
        valid = validity(node, block)
        if valid is not None:
            return found & valid
    return found


def validity(node: Node, block: Block) -> Array | None:
    """Return where a node has a value, None where all rows have one."""
    if isinstance(node, Column):
        return _column_validity(node, block)
    if isinstance(node, (Logic, Not)):
        true, false = evaluate(node, block), _where_false(node, block)
        return None if true is False else np.logical_or(true, false)
    if isinstance(node, IsNull):
        return None
    if isinstance(node, OfCodes):
        if node.known.all():
            return None
        return _looked_up(node.known, evaluate(node.x, block))
    if isinstance(node, Choose):
        x, y = validity(node.x, block), validity(node.y, block)
        if x is None and y is None:
            return None
        chosen = evaluate(node.condition, block)
        return np.where(chosen, True if x is None else x, True if y is None else y)
    if isinstance(node, Callback):
        return _callback_validity(node, block)
    parts = [validity(child, block) for child in children(node)]
    if isinstance(node, Part):
        parts.append(~np.isnat(evaluate(node.x, block)))
    known = [part for part in parts if part is not None]
    return np.logical_and.reduce(known) if known else None


def _column_validity(node: Column, block: Block) -> Array | None:
    valid = block.valid.get(node.name)
    if node.dtype.kind == "T":
        missing = missing_of(block.columns[node.name])
        if missing is not None:
            return ~missing if valid is None else valid & ~missing
    elif holds_missing(node.dtype):  # no other dtype that conditions take has fields
        cells: Any = block.columns[node.name]
        return ~cells.missing  # type: ignore[no-any-return]
    return valid


def _where_false(node: Node, block: Block) -> Any:
    """Return where a condition is false, which is not all where it is not true."""
    if isinstance(node, Not):
        return evaluate(node.x, block)
    if isinstance(node, Logic):
        func = np.logical_or if node.op == "and" else np.logical_and
        return _joined(func, node.args, block, _where_false)
    found = np.logical_not(evaluate(node, block))
    valid = validity(node, block)
    return found if valid is None else found & valid


def _joined(
    func: np.ufunc,
    nodes: tuple[Node, ...],
    block: Block,
    compute: Callable[[Node, Block], Any],
    out: Array | None = None,
) -> Any:
    first, *others = nodes
    found = compute(first, block)
    own = not isinstance(first, (Column, Constant))
    for other in others:
        found = func(found, compute(other, block), out=found if own else out)
        own = True
    return found


def _logic(node: Logic, block: Block, out: Array | None) -> Any:
    func = np.logical_and if node.op == "and" else np.logical_or
    return _joined(func, node.args, block, evaluate, out)


def _not(node: Not, block: Block, out: Array | None) -> Any:
    if block.nullable:
        return _where_false(node.x, block)
    x = evaluate(node.x, block)
    return np.logical_not(x, out=out if isinstance(node.x, Column) else x)


def _column(node: Column, block: Block, out: Array | None) -> Array:
    return block.columns[node.name]


def _constant(node: Constant, block: Block, out: Array | None) -> Any:
    return node.value


def _fixed(node: Fixed, block: Block, out: Array | None) -> Array:
    return np.full(block.n, node.value)


def _is_null(node: IsNull, block: Block, out: Array | None) -> Array:
    valid = validity(node.x, block)
    return np.zeros(block.n, bool) if valid is None else ~valid


def _ufunc(node: Ufunc, block: Block, out: Array | None) -> Any:
    args = [evaluate(arg, block) for arg in node.args]
    func = node.func
    if not isinstance(func, np.ufunc):
        return func(*args)
    if node.checked:
        return checked(func, _filled(args, node, block), node.dtype)
    if out is None:
        out = _reusable(node, args, block)
    if node.typed:
        return func(*args, out=out, dtype=node.dtype, casting="unsafe")
    return func(*args, out=out)


def _reusable(node: Ufunc, args: list[Any], block: Block) -> Array | None:
    """Return an argument that was computed, for the result to be written over."""
    for arg, values in zip(node.args, args, strict=True):
        if (
            isinstance(arg, (Ufunc, Choose, Part))
            and isinstance(getattr(arg, "func", np.add), np.ufunc)
            and isinstance(values, np.ndarray)
            and values.dtype == node.dtype
            and values.shape == (block.n,)
        ):
            return values
    return None


def _filled(args: list[Any], node: Node, block: Block) -> list[Any]:
    """Return arguments with ones where there are nulls, which may be any number."""
    valid = validity(node, block) if block.nullable else None
    return args if valid is None else [np.where(valid, arg, np.int8(1)) for arg in args]


def _convert(node: Convert, block: Block, out: Array | None) -> Array:
    (x,) = _filled([evaluate(node.x, block)], node, block)
    dtype = node.dtype
    if dtype.kind not in "iu":
        return x.astype(dtype)  # type: ignore[no-any-return]
    if x.dtype.kind in "iu":
        return narrowed(x, dtype)
    if x.dtype.kind == "f":
        info = np.iinfo(dtype)
        # Both ends as floats: the highest int64 is none, the one above it is.
        inside = (x > float(info.min) - 1) & (x < float(int(info.max) + 1))
        if info.bits == 64 and info.min < 0:
            inside |= x == float(info.min)
        if not inside.all():
            raise QueryError(f"{x[~inside][0]} does not fit {dtype}")
    return x.astype(dtype)  # type: ignore[no-any-return]


def _part(node: Part, block: Block, out: Array | None) -> Array:
    return part_of(node.part, evaluate(node.x, block))


def _length(node: Length, block: Block, out: Array | None) -> Array:
    cells: Any = evaluate(node.x, block)
    found: Array = cells.lengths
    return found


def _callback(node: Callback, block: Block, out: Array | None) -> Array:
    found = call_function(node, block.columns, block.valid, block.n)
    if is_masked_array(found):
        return found.filled(False) if found.dtype == BOOL else found.data
    return found


def _callback_validity(node: Callback, block: Block) -> Array | None:
    if not any(name in block.valid for name in node.columns):
        return None
    found = call_function(node, block.columns, block.valid, block.n)
    return ~np.ma.getmaskarray(found)


def _compare(node: Compare, block: Block, out: Array | None) -> Array:
    left, right = evaluate(node.left, block), evaluate(node.right, block)
    if node.left.dtype.kind in "VT" or node.right.dtype.kind in "VT":
        left, right = comparable(left), comparable(right)
    return COMPARISONS[node.op](left, right, out=out)  # type: ignore[no-any-return]


def _compare_constant(node: CompareConstant, block: Block, out: Array | None) -> Array:
    x, op, value = evaluate(node.x, block), node.op, node.value
    kind = node.x.dtype.kind
    if kind in "SUV":
        x = comparable(x) if kind == "V" else x
        if op == "==":
            return equal_constant(x, value)
        if op == "!=":
            found = equal_constant(x, value)
            return np.logical_not(found, out=found)
    elif kind == "T":
        x = comparable(x)
    return COMPARISONS[op](x, value, out=out)  # type: ignore[no-any-return]


def _text_test(node: TextTest, block: Block, out: Array | None) -> Array:
    return search(node.func, evaluate(node.x, block), node.text)


def _member(node: Member, block: Block, out: Array | None) -> Array:
    x, values = evaluate(node.x, block), node.values
    fixed = node.x.dtype.kind in "SUV"
    if node.x.dtype.kind in "VT":
        x = comparable(x)
    if len(values) <= FEW_VALUES:
        found: Array | None = None
        # Slices, because an element of StringDType is a str, which loses NULs at its end.
        for i in range(len(values)):
            if fixed:
                one = equal_constant(x, values[i])
            else:
                one = np.equal(x, values[i : i + 1])
            found = one if found is None else np.logical_or(found, one, out=found)
        return np.zeros(x.shape, dtype=bool) if found is None else found
    if node.x.dtype.kind == "T":
        from kist.query.members import among_texts

        return among_texts(x, node)
    # The values are sorted: one search in them a row, without sorting the column.
    return members(x, values)


def _of_codes(node: OfCodes, block: Block, out: Array | None) -> Array:
    return _looked_up(node.true, evaluate(node.x, block), out)


def _looked_up(table: Array, codes: Array, out: Array | None = None) -> Array:
    """Return for each code what a table of bool says of it; nothing is true of unknown codes."""
    places = np.flatnonzero(table)
    if not len(places):
        return np.zeros(codes.shape, bool)
    low, high = int(places[0]), int(places[-1])
    if low == high:
        return np.equal(codes, codes.dtype.type(low), out=out)  # type: ignore[no-any-return]
    if high - low == len(places) - 1:
        found: Array = np.greater_equal(codes, codes.dtype.type(low), out=out)
        found &= codes <= codes.dtype.type(high)
        return found
    found = np.append(table, False).take(codes, mode="clip")
    return found


def _ordered(node: CompareOrdered, block: Block, out: Array | None) -> Array:
    raise QueryError(
        f"ordered categories are compared ({node.op} {node.value!r}) in conditions and updates "
        "only; elsewhere sort by the column, or compare its codes"
    )


def _choose(node: Choose, block: Block, out: Array | None) -> Array:
    condition, x, y = (evaluate(part, block) for part in (node.condition, node.x, node.y))
    chosen: Array = np.where(condition, x, y)
    return chosen if node.dtype.kind == "T" else chosen.astype(node.dtype, copy=False)


_EVALUATE: dict[type[Node], Callable[[Any, Block, Array | None], Any]] = {
    Column: _column,
    Constant: _constant,
    Fixed: _fixed,
    Ufunc: _ufunc,
    Convert: _convert,
    Part: _part,
    Length: _length,
    Callback: _callback,
    Compare: _compare,
    CompareConstant: _compare_constant,
    Logic: _logic,
    Not: _not,
    IsNull: _is_null,
    TextTest: _text_test,
    Member: _member,
    OfCodes: _of_codes,
    CompareOrdered: _ordered,
    Choose: _choose,
}

#: Conditions whose values are already those that are true.
_SETTLED = frozenset([Constant, Logic, Not, IsNull, Callback])
