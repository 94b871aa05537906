"""Binding: an expression meets columns and parameters, and becomes typed nodes.

Names are resolved, constants folded and fitted, and every error that does not depend on the
values is found here, with its place in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from kist.errors import QueryError
from kist.query import fold
from kist.query.coerce import as_time, fit_comparison, fit_text, kind_name
from kist.query.diagnostics import did_you_mean, query_error
from kist.query.expression import FUNCTIONS, Call, Expr, IsIn, Literal, Name, Op
from kist.query.literals import literal_value
from kist.query.members import fit_members
from kist.query.nodes import (
    BOOL,
    Array,
    Choose,
    Column,
    Compare,
    CompareConstant,
    Constant,
    Logic,
    Member,
    Node,
    Not,
    TextTest,
    Ufunc,
)

__all__ = ["Binder"]

_UFUNCS: dict[str, np.ufunc] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "//": np.floor_divide,
    "%": np.remainder,
    "**": np.power,
    "&": np.bitwise_and,
    "|": np.bitwise_or,
    "abs": np.absolute,
}
_UFUNCS |= {
    name: getattr(np, name)
    for name, n_args in FUNCTIONS.items()
    if n_args < 3 and name not in ("abs", "startswith", "endswith", "contains")
}
_SIGNS: dict[str, np.ufunc] = {"-": np.negative, "+": np.positive}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

# Kinds of dtypes that compare with each other.
_CLASSES = {**dict.fromkeys("biufc", "number"), **dict.fromkeys("SV", "bytes")}
_CLASSES |= {**dict.fromkeys("UT", "text"), "M": "datetime", "m": "timedelta"}


@lru_cache(maxsize=256)
def _no_rows(dtype: np.dtype[Any]) -> Array:
    return np.empty(0, dtype=dtype)


class Binder:
    """Binds expressions to columns and parameters.

    Parameters
    ----------
    columns : mapping of str to numpy.dtype
        Leaf columns by their name; a field of a nested column is `outer.inner`.
    params : mapping of str to value
        Constants by name; lists and arrays for `isin`.
    text : str or None
        The text that the spans of the expression point into.
    """

    def __init__(
        self, columns: Mapping[str, np.dtype[Any]], params: Mapping[str, Any], text: str | None
    ) -> None:
        self.columns = columns
        self.params = params
        self.text = text

    def fail(self, message: str, at: Expr) -> NoReturn:
        raise query_error(message, self.text, at.span)

    def located(self, at: Expr, func: Callable[..., Any], *args: Any) -> Any:
        """Call a function; its QueryError gets the place in the text."""
        try:
            return func(*args)
        except QueryError as error:
            if error.span is not None:
                raise
            raise query_error(str(error), self.text, at.span) from None

    def bind(self, expression: Expr) -> Node:
        """Return the typed node of an expression."""
        if isinstance(expression, Op):
            return self.operator(expression)
        if isinstance(expression, Name):
            return self.name(expression)
        if isinstance(expression, Literal):
            return Constant(fold.dtype_of(expression.value), expression.value)
        if isinstance(expression, Call):
            return self.call(expression)
        if isinstance(expression, IsIn):
            return self.isin(expression)
        raise TypeError(f"{type(expression).__name__} is no node of an expression")

    # Leaves.

    def constant(self, value: Any, at: Expr) -> Constant:
        value = self.located(at, literal_value, value)
        return Constant(fold.dtype_of(value), value)

    def name(self, expression: Name) -> Node:
        name = expression.name
        dtype = self.columns.get(name)
        if name in self.params:
            if dtype is not None:
                self.fail(f"{name!r} is both a column and a parameter; rename one", expression)
            return self.constant(self.params[name], expression)
        if dtype is None:
            self.unknown(name, expression)
        if dtype.names is not None:
            self.fail(f"column {name!r} has fields; write {name}.{dtype.names[0]}", expression)
        if dtype.subdtype is not None or dtype.kind not in "biufcSUVMmT":
            self.fail(f"column {name!r} holds {dtype}, which has no conditions", expression)
        return Column(dtype, name)

    def unknown(self, name: str, at: Expr) -> NoReturn:
        fields = [other for other in self.columns if other.startswith(f"{name}.")]
        if fields:
            self.fail(f"column {name!r} has fields; write {' or '.join(fields[:4])}", at)
        if name in FUNCTIONS or name in ("isin", "between"):
            self.fail(f"{name} is a function; write {name}(...)", at)
        known = [*self.columns, *self.params]
        self.fail(f"unknown column {name!r}{did_you_mean(name, known)}", at)

    # Operators.

    def operator(self, expression: Op) -> Node:
        op = expression.op
        args = [self.bind(arg) for arg in expression.args]
        if op in _FLIPPED:
            return self.compare(expression, args[0], args[1])
        if op in ("and", "or"):
            return self.logic(op, args, expression)
        if op in ("&", "|"):
            n_conditions = sum(arg.dtype == BOOL for arg in args)
            if n_conditions == len(args):
                return self.logic("and" if op == "&" else "or", args, expression)
            if n_conditions:
                self.logic(op, args, expression)  # raises, pointing at what is no condition
        if op in ("~", "not"):
            if args[0].dtype == BOOL:
                return _negated(args[0])
            if op == "not":
                self.logic(op, args, expression)
            return self.ufunc(np.invert, args, expression)
        if len(args) == 1:
            return self.ufunc(_SIGNS[op], args, expression)
        found = args[0]
        for arg in args[1:]:
            found = self.ufunc(_UFUNCS[op], [found, arg], expression)
        return found

    def logic(self, op: str, args: list[Node], expression: Op) -> Node:
        kept: list[Node] = []
        for arg, part in zip(args, expression.args, strict=True):
            if arg.dtype != BOOL:
                self.fail(
                    f"{op} takes conditions, and {part!r} gives {arg.dtype}; "
                    "compare it with something, as in (a > 1) & (b < 2)",
                    part,
                )
            if isinstance(arg, Constant):
                if arg.value == (op == "or"):
                    return Constant(BOOL, op == "or")
            elif isinstance(arg, Logic) and arg.op == op:
                kept.extend(arg.args)
            else:
                kept.append(arg)
        if len(kept) > 1:
            return Logic(BOOL, op, tuple(kept))
        return kept[0] if kept else Constant(BOOL, op == "and")

    def compare(self, expression: Op, left: Node, right: Node) -> Node:
        op = expression.op
        self.refuse_ambiguous(expression, left)
        if isinstance(left, Constant):
            if isinstance(right, Constant):
                value = self.located(expression, fold.compare, op, left.value, right.value)
                return Constant(BOOL, value)
            left, right, op = right, left, _FLIPPED[op]
        if isinstance(right, Constant):
            fit = self.located(expression, fit_comparison, op, left.dtype, right.value)
            if isinstance(fit, bool):
                return Constant(BOOL, fit)
            return CompareConstant(BOOL, fit[0], left, fit[1])
        classes = [_CLASSES[side.dtype.kind] for side in (left, right)]
        if classes[0] != classes[1]:
            self.fail(
                f"{kind_name(left.dtype)} cannot be compared with {kind_name(right.dtype)}",
                expression,
            )
        if "c" in (left.dtype.kind, right.dtype.kind) and op not in ("==", "!="):
            self.fail("complex numbers have no order; compare abs(x)", expression)
        return Compare(BOOL, op, left, right)

    def refuse_ambiguous(self, expression: Op, left: Node) -> None:
        """Refuse `mask & b < 2`, which Python reads as `(mask & b) < 2`."""
        side = expression.args[0]
        if (
            isinstance(side, Op)
            and side.op in ("&", "|")
            and left.dtype == BOOL
            and side.span is not None
            and expression.span is not None
            and side.span[0] == expression.span[0]  # no parenthesis in between
        ):
            first = f" {side.op} ".join(map(repr, side.args[:-1]))
            rest = f"{side.args[-1]!r} {expression.op} {expression.args[1]!r}"
            self.fail(
                f"& and | bind stronger than comparisons; write {first} {side.op} ({rest})",
                expression,
            )

    # Functions.

    def ufunc(self, func: np.ufunc, args: list[Node], at: Expr) -> Node:
        kinds = {arg.dtype.kind for arg in args}
        if all(isinstance(arg, Constant) for arg in args):
            values = [arg.value for arg in args if isinstance(arg, Constant)]
            value = self.located(at, fold.call, func, values)
            return Constant(fold.dtype_of(value), value)
        if "M" in kinds:  # day - '2020-01-01'
            args = [self.time_constant(arg, at) for arg in args]
        elif kinds & set("SUVT"):
            self.fail(f"{func.__name__} takes numbers, not text", at)
        if kinds == {"b"} and func in (np.add, np.subtract, np.multiply, np.negative, np.positive):
            self.fail(
                "conditions are no numbers; combine them with & | ~, or count with where(x, 1, 0)",
                at,
            )
        if func is np.power and isinstance(args[1], Constant) and not kinds - set("biu"):
            exponent = args[1].value
            if exponent < 0:  # NumPy refuses integers to a negative power
                args = [args[0], Constant(np.dtype(float), float(exponent))]
        args = [_typed(arg, args) for arg in args]
        samples = [arg.value if isinstance(arg, Constant) else _no_rows(arg.dtype) for arg in args]
        try:
            with np.errstate(all="ignore"):
                dtype = func(*samples).dtype
        except (TypeError, ValueError, OverflowError):
            what = " and ".join(kind_name(arg.dtype) for arg in args)
            self.fail(f"{func.__name__} cannot be computed from {what}", at)
        return Ufunc(dtype, func, tuple(args))

    def time_constant(self, arg: Node, at: Expr) -> Node:
        if isinstance(arg, Constant) and isinstance(arg.value, str):
            value = self.located(at, as_time, arg.value)
            return Constant(value.dtype, value)
        return arg

    def call(self, expression: Call) -> Node:
        func = expression.func
        args = [self.bind(arg) for arg in expression.args]
        if func == "where":
            return self.where(expression, args)
        if func in ("startswith", "endswith", "contains"):
            return self.text_test(expression, args)
        if func == "isnan":
            kind = args[0].dtype.kind
            if kind in "biu":
                return Constant(BOOL, False)
            if kind == "T":
                return Ufunc(BOOL, np.isnan, (args[0],))
        return self.ufunc(_UFUNCS[func], args, expression)

    def where(self, expression: Call, args: list[Node]) -> Node:
        condition, x, y = args
        if condition.dtype != BOOL:
            self.fail(f"where() takes a condition first, not {condition.dtype}", expression.args[0])
        if _CLASSES[x.dtype.kind] != _CLASSES[y.dtype.kind]:
            self.fail(
                f"where() chooses between values of one kind, not {kind_name(x.dtype)} and "
                f"{kind_name(y.dtype)}",
                expression,
            )
        if isinstance(condition, Constant):
            return x if condition.value else y
        x, y = _typed(x, [x, y]), _typed(y, [x, y])
        samples = [
            side.value if isinstance(side, Constant) else _no_rows(side.dtype) for side in (x, y)
        ]
        dtype = np.where(_no_rows(BOOL), *samples).dtype
        return Choose(dtype, condition, x, y)

    def text_test(self, expression: Call, args: list[Node]) -> Node:
        x, text = args
        func = expression.func
        if isinstance(x, Constant) or x.dtype.kind not in "SUVT":
            self.fail(f"{func}() looks into columns of text, not {kind_name(x.dtype)}", expression)
        if not isinstance(text, Constant) or not isinstance(text.value, (str, bytes)):
            self.fail(f"{func}() looks for a constant text", expression.args[1])
        fitted = fit_text(x.dtype, text.value)
        if fitted is None:
            return Constant(BOOL, False)
        if x.dtype.kind != "T" and not fitted:
            return Constant(BOOL, True)
        width = x.dtype.itemsize // (4 if x.dtype.kind == "U" else 1)
        if x.dtype.kind != "T" and len(fitted) > width:
            return Constant(BOOL, False)
        return TextTest(BOOL, func, x, fitted)

    def isin(self, expression: IsIn) -> Node:
        x = self.bind(expression.args[0])
        values: Any
        if expression.listed:
            values = []
            for part in expression.args[1:]:
                node = self.bind(part)
                if not isinstance(node, Constant):
                    self.fail("values of isin are constants", part)
                values.append(node.value)
        else:
            values = self.several(expression.args[1])
        if isinstance(x, Constant):
            self.fail("isin looks at a column, not at a constant", expression.args[0])
        groups = self.located(expression, fit_members, x.dtype, values)
        members: list[Node] = [Member(BOOL, x, group) for group in groups]
        if len(members) > 1:
            return Logic(BOOL, "or", tuple(members))
        return members[0] if members else Constant(BOOL, False)

    def several(self, part: Expr) -> Any:
        """Return the values of isin that an array or a parameter holds."""
        if isinstance(part, Literal):
            return part.value
        name = part.name if isinstance(part, Name) else ""
        if name in self.columns:
            self.fail("values of isin are constants, not a column", part)
        if name not in self.params:
            self.unknown(name, part)
        values = self.params[name]
        if isinstance(values, (str, bytes)) or (
            np.ndim(values) != 1 and not isinstance(values, (set, frozenset))
        ):
            self.fail(f"parameter {name!r} is no list or one-dimensional array", part)
        return values


def _negated(node: Node) -> Node:
    if isinstance(node, Constant):
        return Constant(BOOL, not node.value)
    return node.x if isinstance(node, Not) else Not(BOOL, node)


def _typed(arg: Node, others: list[Node]) -> Node:
    """Return an integer constant that the integers beside it cannot hold with a dtype of its own.

    NumPy raises instead: `u1 + 300` has no dtype there.
    """
    if isinstance(arg, Constant) and type(arg.value) is int:
        dtypes = [other.dtype for other in others if not isinstance(other, Constant)]
        if dtypes and all(dtype.kind in "iu" for dtype in dtypes):
            info = np.iinfo(np.result_type(*dtypes))
            if not info.min <= arg.value <= info.max:
                dtype = np.min_scalar_type(arg.value)
                if dtype.kind in "iu":
                    return Constant(dtype, dtype.type(arg.value))
    return arg
