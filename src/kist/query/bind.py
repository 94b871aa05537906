"""Binding: an expression meets columns and parameters, and becomes typed nodes.

Names are resolved, constants folded and fitted, and every error that does not depend on the
values is found here, with its place in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from kist.errors import QueryError
from kist.format.nullable import is_nullable
from kist.format.ragged import is_ragged, item_text
from kist.query import fold
from kist.query.arithmetic import (
    CLASSES,
    OPERATORS,
    SIGNS,
    bind_cast,
    bind_numeric,
    bind_part,
    bind_where,
)
from kist.query.callbacks import bind_function
from kist.query.calls import bind_isin, bind_text_test
from kist.query.coerce import fit_comparison, kind_name
from kist.query.diagnostics import did_you_mean, query_error
from kist.query.expression import (
    BlockFunction,
    Call,
    Cast,
    Expr,
    IsIn,
    Literal,
    Name,
    Op,
    Reduction,
    as_expr,
)
from kist.query.functions import FUNCTIONS, NUMERIC, PARTS, REDUCTIONS, TEXT_TESTS
from kist.query.literals import literal_value
from kist.query.nodes import (
    BOOL,
    Column,
    Compare,
    CompareConstant,
    CompareOrdered,
    Constant,
    Fixed,
    IsNull,
    Length,
    Logic,
    Node,
    Not,
    numpy_dtype,
)

__all__ = ["Binder"]

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


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
            return bind_isin(self, expression)
        if isinstance(expression, Cast):
            return bind_cast(self, expression.name, self.bind(expression.args[0]), expression)
        if isinstance(expression, BlockFunction):
            return bind_function(expression.func, self.columns, expression.columns)
        if isinstance(expression, Reduction):
            return self.reduction(expression)
        raise TypeError(f"{type(expression).__name__} is no node of an expression")

    def reduction(self, expression: Reduction) -> Node:
        """Return the node of a sum or another reduction; columns of tables have none."""
        self.fail(
            f"{expression.func}() of many values is computed by kist.evaluate, not row by row",
            expression,
        )

    # Leaves.

    def constant(self, value: Any, at: Expr) -> Constant:
        value = self.located(at, literal_value, value)
        return Constant(fold.dtype_of(value), value)

    def param(self, value: Any, at: Expr) -> Node:
        # PyTables' condvars may be columns: where("x > limit", {"x": table["energy"]}).
        if not isinstance(value, Expr) and not hasattr(value, "__kist_expr__"):
            return self.constant(value, at)
        tree = as_expr(value)
        for part in tree.walk():
            if isinstance(part, Name) and part.name in self.params:
                self.fail(f"the parameter {part.name!r} stands inside a parameter", at)
        try:
            return self.bind(tree)
        except QueryError as error:  # its places are those of another text
            raise query_error(str(error).partition("\n")[0], self.text, at.span) from None

    def name(self, expression: Name) -> Node:
        name = expression.name
        dtype = self.columns.get(name)
        if name in self.params:
            if dtype is not None:
                self.fail(f"{name!r} is both a column and a parameter; rename one", expression)
            return self.param(self.params[name], expression)
        if dtype is None:
            self.unknown(name, expression)
        if is_ragged(dtype):
            self.fail(
                f"column {name!r} holds {item_text(dtype)}, which has no conditions; "
                f"len({name}) is the number of items",
                expression,
            )
        if dtype.names is not None and is_nullable(dtype):
            self.fail(
                f"column {name!r} may be null; say what becomes of nulls here, as in "
                f"where({name}.valid, {name}.value, 0)",
                expression,
            )
        if dtype.names is not None:
            self.fail(f"column {name!r} has fields; write {name}.{dtype.names[0]}", expression)
        if dtype.subdtype is not None or dtype.kind not in "biufcSUVMmT":
            self.fail(f"column {name!r} holds {dtype}, which has no conditions", expression)
        return Column(dtype, name)

    def unknown(self, name: str, at: Expr) -> NoReturn:
        fields = [other for other in self.columns if other.startswith(f"{name}.")]
        if fields:
            self.fail(f"column {name!r} has fields; write {' or '.join(fields[:4])}", at)
        if name in FUNCTIONS or name in ("isin", "between", *REDUCTIONS):
            self.fail(f"{name} is a function; write {name}(...)", at)
        column, _, last = name.rpartition(".")
        column = column.removesuffix(".dt")  # as pandas has it
        if last in FUNCTIONS and column in self.columns:
            self.fail(f"unknown column {name!r}; {last} is a function: write {last}({column})", at)
        known = [*self.columns, *self.params]
        hint = did_you_mean(name, known)
        if "did you mean" not in hint:
            # PyTables and pandas look into the variables of the caller; SQL is less strict on text.
            hint += "; text stands in quotes"
            hint += f", variables are given by name: {name}={name}" * name.isidentifier()
        self.fail(f"unknown column {name!r}{hint}", at)

    # Operators.

    def operator(self, expression: Op) -> Node:
        op = expression.op
        args = [self.bind(arg) for arg in expression.args]
        if op in _FLIPPED:
            return self.compare(expression, args[0], args[1])
        if op in ("and", "or"):
            return self.logic(op, args, expression)
        if op in ("&", "|", "^"):
            n_conditions = sum(arg.dtype == BOOL for arg in args)
            if n_conditions == len(args):
                if op == "^":
                    return self.exclusive(args)
                return self.logic("and" if op == "&" else "or", args, expression)
            if n_conditions:
                self.logic(op, args, expression)  # raises, pointing at what is no condition
        if op in ("~", "not"):
            if args[0].dtype == BOOL:
                return _negated(args[0])
            if op == "not":
                self.logic(op, args, expression)
        if len(args) == 1:
            return bind_numeric(self, SIGNS[op], args, expression)
        found = args[0]
        for arg in args[1:]:
            found = bind_numeric(self, OPERATORS[op], [found, arg], expression)
        return found

    def exclusive(self, args: list[Node]) -> Node:
        """Return conditions of which one or the other holds: `a ^ b`."""
        found = args[0]
        for arg in args[1:]:
            if isinstance(found, Constant):
                found, arg = arg, found
            if isinstance(arg, Constant):
                found = _negated(found) if arg.value else found
            else:
                found = Compare(BOOL, "!=", found, arg)
        return found

    def logic(self, op: str, args: list[Node], expression: Op) -> Node:
        kept: list[Node] = []
        for arg, part in zip(args, expression.args, strict=True):
            if arg.dtype != BOOL:
                self.fail(
                    f"{op} takes conditions, and {part!r} gives {numpy_dtype(arg)}; "
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
        ordered = _ordered_among(self.columns, left, right) if op[0] in "<>" else None
        if ordered is not None:
            if left is not ordered or not isinstance(right, Constant):
                self.fail(
                    "a column of ordered categories is compared with one of them, not with what "
                    "is computed",
                    expression,
                )
            return CompareOrdered(BOOL, op, left, right.value)
        if isinstance(right, Constant):
            fit = self.located(expression, fit_comparison, op, left.dtype, right.value)
            if isinstance(fit, bool):
                return Fixed(BOOL, left, fit)
            return CompareConstant(BOOL, fit[0], left, fit[1])
        classes = [CLASSES[side.dtype.kind] for side in (left, right)]
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

    def call(self, expression: Call) -> Node:
        func = expression.func
        if func == "len":
            return self.length(expression)
        if func in ("isnull", "notnull") and (cells := self.cells(expression.args[0])) is not None:
            null = IsNull(BOOL, cells)
            return null if func == "isnull" else Not(BOOL, null)
        args = [self.bind(arg) for arg in expression.args]
        if func == "where":
            return bind_where(self, expression, args)
        if func in TEXT_TESTS:
            return bind_text_test(self, func, args, expression)
        if func in PARTS:
            return bind_part(self, func, args[0], expression)
        if func in ("isnull", "notnull"):
            if isinstance(args[0], Constant):
                return Constant(BOOL, func == "notnull")
            found = IsNull(BOOL, args[0])
            return found if func == "isnull" else Not(BOOL, found)
        if func in ("real", "conj") and args[0].dtype.kind in "iuf":
            return args[0]
        return bind_numeric(self, NUMERIC[func], args, expression)

    def length(self, expression: Call) -> Node:
        """Return the node of the number of items of a cell."""
        (arg,) = expression.args
        cells = self.cells(arg)
        if cells is not None:
            return Length(np.dtype(np.int64), cells)
        name = arg.name if isinstance(arg, Name) else ""
        if name not in self.params and self.columns.get(name) is None:
            self.bind(arg)  # perhaps there is no such column
        self.fail("len() counts the items of a ragged column", expression)

    def cells(self, arg: Expr) -> Column | None:
        """Return the node of a ragged column, None of anything else."""
        name = arg.name if isinstance(arg, Name) else ""
        dtype = None if name in self.params else self.columns.get(name)
        return Column(dtype, name) if dtype is not None and is_ragged(dtype) else None


def _ordered_among(columns: Any, *sides: Node) -> Node | None:
    """Return the first of some nodes that is a column of ordered categories."""
    ordered = getattr(columns, "ordered", ())
    for side in sides:
        if isinstance(side, Column) and side.name in ordered:
            return side
    return None


def _negated(node: Node) -> Node:
    if isinstance(node, Constant):
        return Constant(BOOL, not node.value)
    return node.x if isinstance(node, Not) else Not(BOOL, node)
