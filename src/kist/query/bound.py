"""A bound expression: ready to be evaluated over blocks of rows and over bounds of pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from kist.errors import QueryError, ShapeError
from kist.indexes.statistics import Bounds
from kist.query.bind import Binder
from kist.query.evaluate import FEW_VALUES, evaluate
from kist.query.expression import Expr, as_expr
from kist.query.nodes import (
    BOOL,
    Array,
    Column,
    Logic,
    Member,
    Node,
    TextTest,
    Ufunc,
    column_names,
    walk,
)
from kist.query.parser import read_text
from kist.query.prune import judge

__all__ = ["Bound", "expr", "parse"]

#: Rows that are computed at a time: 64 KB of float64. Larger arrays come fresh from the system
#: each time, and their first touch takes longer than the arithmetic.
_PIECE = 8192


def expr(text: str) -> Expr:
    """Return the expression that a text stands for.

    Raises
    ------
    QueryError
        It is no expression, or uses what is not allowed; `span` is the place.

    Examples
    --------
    >>> from kist.query import expr
    >>> expr("(price > limit) & (sym == 'AAPL')")
    (price > limit) & (sym == 'AAPL')
    """
    if not isinstance(text, str):
        raise QueryError(f"an expression is read from a str, not from {type(text).__name__}")
    return read_text(text)


def parse(
    expression: str | Any,
    columns: Mapping[str, np.dtype[Any]],
    params: Mapping[str, Any] | None = None,
    *,
    condition: bool = True,
) -> Bound:
    """Bind an expression to columns and parameters.

    Parameters
    ----------
    expression : str, Expr or bool
        Text, an expression, or a handle that stands for one.
    columns : mapping of str to numpy.dtype
        Leaf columns; a field of a nested column is named `outer.inner`.
    params : mapping of str to value, optional
        Values of the names that are not columns: Python and NumPy scalars, times, text; lists
        and one-dimensional arrays for `isin`. Those that are not used do not matter.
    condition : bool, default True
        The result must be boolean.

    Raises
    ------
    QueryError
        The text is no expression, a name is unknown or stands for a column and a parameter, or
        the dtypes do not fit; `text` and `span` tell where.
    """
    params = {} if params is None else params
    text = expression if isinstance(expression, str) else None
    tree = read_text(expression) if isinstance(expression, str) else as_expr(expression)
    try:
        return _bind(tree, columns, params, text, condition)
    except QueryError:
        if text is not None:
            raise
    # Built by operators, it has no text to point into: give it one.
    text = repr(tree)
    return _bind(read_text(text), columns, params, text, condition)


def _bind(
    tree: Expr,
    columns: Mapping[str, np.dtype[Any]],
    params: Mapping[str, Any],
    text: str | None,
    condition: bool,
) -> Bound:
    binder = Binder(columns, params, text)
    node = binder.bind(tree)
    if condition and node.dtype != BOOL:
        binder.fail(
            f"the expression gives {node.dtype}, and a condition must be true or false; "
            "compare it with something",
            tree,
        )
    return Bound(node)


class Bound:
    """An expression bound to columns; immutable, and free to be used by several threads.

    Attributes
    ----------
    dtype : numpy.dtype
        Dtype of its values.
    columns : tuple of str
        Columns that it reads, in order of first use.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.dtype = node.dtype
        self.columns = column_names(node)

    def evaluate(self, blocks: Mapping[str, Array], n: int) -> Array:
        """Return where the condition holds.

        Parameters
        ----------
        blocks : mapping of str to ndarray, shape (n,)
            Values of `columns` for some rows; others are not looked at.
        n : int
            Number of rows.

        Returns
        -------
        ndarray of bool, shape (n,)
            A new array.

        Raises
        ------
        QueryError
            It is no condition, or cannot be computed for these values.
        """
        if self.dtype != BOOL:
            raise QueryError(f"the expression gives {self.dtype}, and a condition is wanted")
        return self.value(blocks, n)

    def value(self, blocks: Mapping[str, Array], n: int) -> Array:
        """Return the values of the expression, of dtype `dtype`; else like `evaluate`."""
        try:
            if not self._computes:
                found = evaluate(self._node, blocks)
            else:
                with np.errstate(all="ignore"):
                    found = self._in_pieces(blocks, n)
        except (TypeError, ValueError, OverflowError) as error:
            raise QueryError(f"the expression cannot be computed: {error}") from error
        if isinstance(self._node, Column):
            found = found.copy()
        elif np.ndim(found) == 0:
            found = np.full(n, found, dtype=self.dtype)
        if found.shape != (n,):
            raise ShapeError(f"columns of shape {found.shape} for {n} rows")
        return found  # type: ignore[no-any-return]

    def _in_pieces(self, blocks: Mapping[str, Array], n: int) -> Any:
        """Evaluate a few thousand rows at a time, so that what is computed stays in the cache."""
        mine = {name: blocks[name] for name in self.columns}
        if n <= _PIECE or not mine or any(len(values) != n for values in mine.values()):
            return evaluate(self._node, mine)
        found = np.empty(n, dtype=self.dtype)
        for start in range(0, n, _PIECE):
            piece = {name: values[start : start + _PIECE] for name, values in mine.items()}
            found[start : start + _PIECE] = evaluate(self._node, piece)
        return found

    def prune(self, bounds: Mapping[str, Bounds], n_pages: int) -> tuple[Array, Array]:
        """Return which pages may match and which surely match whole.

        Parameters
        ----------
        bounds : mapping of str to Bounds, each of n_pages pages
            Columns that are missing are unknown.
        n_pages : int
            Number of pages.

        Returns
        -------
        may_match, all_match : ndarray of bool, shape (n_pages,)
            A page that may not match has no row where the condition holds; one that matches
            whole has no row where it does not hold.
        """
        for name, found in bounds.items():
            if len(found) != n_pages:
                raise ShapeError(f"column {name!r} has bounds of {len(found)} pages, not {n_pages}")
        truth = judge(self._node, bounds, n_pages)
        return truth.can_true, ~truth.can_false

    @cached_property
    def conjuncts(self) -> tuple[Bound, ...]:
        """Conditions that must all hold, as they stand in the text; the whole if there is one."""
        if isinstance(self._node, Logic) and self._node.op == "and":
            return tuple(map(Bound, self._node.args))
        return (self,)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Positions in `conjuncts`, what costs least a row first; equal costs as in the text."""
        costs = [part.cost for part in self.conjuncts]
        return tuple(sorted(range(len(costs)), key=costs.__getitem__))

    @cached_property
    def cost(self) -> float:
        """Rough cost of a row, where a comparison of numbers is 1; reading columns not counted."""
        return sum(map(_cost, walk(self._node)))

    @cached_property
    def _computes(self) -> bool:
        """Whether it needs arrays of numbers beside the columns."""
        return any(
            isinstance(part, Ufunc) or (isinstance(part, Member) and len(part.values) > FEW_VALUES)
            for part in walk(self._node)
        )


_SLOW = frozenset(["exp", "log", "log10", "sin", "cos", "tan", "power", "remainder"])


def _cost(node: Node) -> float:
    if isinstance(node, TextTest):
        return 3.0 if node.func == "startswith" else 60.0
    if isinstance(node, Member):
        return min(3.0 * len(node.values), 100.0)
    if isinstance(node, Ufunc):
        return 30.0 if node.func.__name__ in _SLOW or "arc" in node.func.__name__ else 2.0
    if isinstance(node, Column):
        return {"S": 4.0, "U": 6.0, "V": 4.0, "T": 60.0}.get(node.dtype.kind, 0.5)
    return 0.5
