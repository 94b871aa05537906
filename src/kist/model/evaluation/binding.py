"""Names and handles in an expression become operands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from kist.errors import QueryError
from kist.model.arrays.array import Array
from kist.model.evaluation.operands import Operand, is_operand
from kist.query import Bound, Expr, as_expr
from kist.query.bind import Binder
from kist.query.diagnostics import did_you_mean
from kist.query.expression import IsIn, Name, Reduction
from kist.query.functions import FUNCTIONS, REDUCTIONS
from kist.query.integers import as_numpy
from kist.query.nodes import Column, Constant, Node

__all__ = ["OperandBinder", "find_operands"]


def key_of(name: Name) -> str:
    """Return the name of the operand for a name in an expression, which may be of a handle."""
    return name.name if name.source is None else f"{name.name}@{id(name.source):x}"


def _handle_of(name: Name) -> Any:
    source = name.source
    return source if isinstance(source, Array) else source[name.name]


def _walk(tree: Expr, given: Mapping[str, Any]) -> Iterator[Expr]:
    """Iterate over an expression and those that stand for names in it."""
    for part in tree.walk():
        yield part
        if isinstance(part, Name) and part.source is None:
            value = given.get(part.name)
            if isinstance(value, Expr):
                yield from value.walk()


def find_operands(tree: Expr, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an expression is computed from.

    Parameters
    ----------
    tree : Expr
        The expression.
    given : mapping of str to value
        What the user gave for names.

    Returns
    -------
    (values, params)
        Arrays and columns by the name of their operand; constants, lists for `isin` and
        expressions by their name.
    """
    values: dict[str, Any] = {}
    params: dict[str, Any] = {}
    lists = {
        part.args[1].name
        for part in _walk(tree, given)
        if isinstance(part, IsIn) and not part.listed and isinstance(part.args[1], Name)
    }
    for part in _walk(tree, given):
        if not isinstance(part, Name):
            continue
        if part.source is not None:
            values[key_of(part)] = _handle_of(part)
        elif part.name in given:
            value = given[part.name]
            if part.name not in lists and is_operand(value):
                values[part.name] = value
            else:
                params[part.name] = value
    return values, params


class OperandBinder(Binder):
    """Binds an expression to operands.

    Parameters
    ----------
    operands, params
        What `find_operands` found, held.
    text : str or None
        The text that the spans of the expression point into.
    reduce : callable
        Computes a reduction of all values.
    names : iterable of str
        Names that the user gave, for messages.
    """

    def __init__(
        self,
        operands: Mapping[str, Operand],
        params: Mapping[str, Any],
        text: str | None,
        reduce: Callable[[Reduction], Any],
        names: Iterable[str],
    ) -> None:
        super().__init__({name: operand.dtype for name, operand in operands.items()}, params, text)
        self.reduce = reduce
        self.names = list(names)

    def name(self, expression: Name) -> Node:
        if expression.source is None:
            return super().name(expression)
        key = key_of(expression)
        return Column(self.columns[key], key)

    def unknown(self, name: str, at: Expr) -> NoReturn:
        if name in FUNCTIONS or name in REDUCTIONS:
            self.fail(f"{name} is a function; write {name}(...)", at)
        self.fail(
            f"unknown name {name!r}{did_you_mean(name, self.names)}; every name is given as an "
            "argument, as in evaluate('a + b', a=x, b=y)",
            at,
        )

    def reduction(self, expression: Reduction) -> Node:
        if expression.axis is not None:
            self.fail(
                f"{expression.func}() inside an expression takes all values: leave axis out, or "
                "compute it first and give it as an operand",
                expression,
            )
        value = np.asarray(self.located(expression, self.reduce, expression))[()]
        return Constant(value.dtype, value)

    def bound(self, tree: Expr) -> Bound:
        """Return the expression, bound."""
        return Bound(as_numpy(self.bind(tree)))


def as_tree(expression: Any, read: Callable[[str], Expr]) -> tuple[Expr, str | None]:
    """Return an expression and its text, if it has one."""
    if isinstance(expression, str):
        return read(expression), expression
    tree = as_expr(expression)
    if not any(isinstance(part, Name) for part in tree.walk()):
        raise QueryError(
            f"evaluate takes an expression, as text or of arrays and columns, not "
            f"{type(expression).__name__}"
        )
    return tree, None
