"""A bound expression: ready to be evaluated over blocks of rows and over bounds of pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from kist._kernels.cells import holds_missing
from kist._kernels.strings import is_text_missing
from kist.errors import QueryError, ShapeError
from kist.indexes.statistics import Bounds
from kist.query.bind import Binder
from kist.query.categories import Coded, by_codes, where_true
from kist.query.evaluate import FEW_VALUES, Block, evaluate, validity
from kist.query.expression import BlockFunction, Expr, as_expr
from kist.query.integers import as_numpy
from kist.query.nodes import (
    BOOL,
    Array,
    Callback,
    Choose,
    Column,
    Convert,
    Logic,
    Member,
    Node,
    OfCodes,
    Part,
    TextTest,
    Ufunc,
    column_names,
    numpy_dtype,
    walk,
)
from kist.query.parser import read_text
from kist.query.prune import judge
from kist.query.ranges import KeyRanges, key_ranges
from kist.query.specialize import specialized, wide_columns

__all__ = ["Bound", "expr", "parse"]

#: Rows that are computed at a time: 64 KB of float64. Larger arrays come fresh from the system
#: each time, and their first touch takes longer than the arithmetic.
_PIECE = 8192


def expr(expression: str | Callable[[Any], Any], columns: Sequence[str] | None = None) -> Expr:
    """Return the expression that a text stands for, or that a function computes.

    Parameters
    ----------
    expression : str or callable
        ``"a * 2"``: docs/howto/expressions.md lists what may stand in it. Nothing of it is run by
        Python. A function is called with blocks, mappings of the columns of some rows to arrays,
        and returns one value a row.
    columns : sequence of str, optional
        Columns that a function is given. Without, it is called with a row of zeros to see which
        it asks for.

    Raises
    ------
    QueryError
        It is no expression, or uses what is not allowed; `span` is the place.

    Examples
    --------
    >>> import kist
    >>> kist.expr("(price > limit) & (sym == 'AAPL')")
    (price > limit) & (sym == 'AAPL')
    >>> kist.expr("a * 2") > 10
    a * 2 > 10
    """
    if isinstance(expression, str):
        if columns is not None:
            raise QueryError("columns are named for functions only; a text names its own")
        return read_text(expression)
    if isinstance(expression, Expr) or not callable(expression):
        raise QueryError(
            f"an expression is read from a str, or computed by a function, not from "
            f"{type(expression).__name__}"
        )
    return BlockFunction(expression, None if columns is None else tuple(columns))


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
    expression : str, Expr, callable or bool
        Text, an expression, a handle that stands for one, or a function of blocks.
    columns : mapping of str to numpy.dtype
        Leaf columns; a field of a nested column is named `outer.inner`.
    params : mapping of str to value, optional
        Values of the names that are not columns: Python and NumPy scalars, times, text; lists
        and one-dimensional arrays for `isin`; other expressions. Those that are not used do not
        matter.
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
        if text is not None or any(isinstance(part, BlockFunction) for part in tree.walk()):
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
            f"the expression gives {numpy_dtype(node)}, and a condition must be true or false; "
            "compare it with something",
            tree,
        )
    return Bound(as_numpy(node))


class Bound:
    """An expression bound to columns; immutable, and free to be used by several threads.

    Attributes
    ----------
    dtype : numpy.dtype
        Dtype of its values.
    columns : tuple of str
        Columns that it reads, in order of first use.
    node : Node
        What it was bound to.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.dtype = node.dtype
        self.columns = column_names(node)

    def evaluate(
        self, blocks: Mapping[str, Array], n: int, valid: Mapping[str, Array] | None = None
    ) -> Array:
        """Return where the condition holds.

        Parameters
        ----------
        blocks : mapping of str to ndarray, shape (n,)
            Values of `columns` for some rows; others are not looked at.
        n : int
            Number of rows.
        valid : mapping of str to ndarray of bool, shape (n,), optional
            Where columns have a value, for those that have nulls.

        Returns
        -------
        ndarray of bool, shape (n,)
            A new array; false also where nulls leave it open.

        Raises
        ------
        QueryError
            It is no condition, or cannot be computed for these values.
        """
        if self.dtype != BOOL:
            raise QueryError(f"the expression gives {self.dtype}, and a condition is wanted")
        known = valid.get(self.columns[0]) if valid and self._of_one else None
        if known is None:
            return self._compute(blocks, n, valid or {}, None)
        # Two-valued logic where there are values, and one outcome for all nulls.
        found = self._compute(blocks, n, {}, None)
        return np.logical_or(found, ~known) if self.null_truth else np.logical_and(found, known)

    def value(
        self,
        blocks: Mapping[str, Array],
        n: int,
        valid: Mapping[str, Array] | None = None,
        out: Array | None = None,
    ) -> Array:
        """Return the values of the expression, of dtype `dtype`; else like `evaluate`.

        A masked array where some are null. With `out`, of that dtype, they are written there.
        """
        valid = valid or {}
        found = self._compute(blocks, n, valid, out)
        known = self.known(blocks, n, valid)
        if known is not None and not known.all() and self.dtype.kind != "T":
            return np.ma.MaskedArray(found, ~known)
        return found

    def known(
        self, blocks: Mapping[str, Array], n: int, valid: Mapping[str, Array] | None = None
    ) -> Array | None:
        """Return where the expression has a value, None for everywhere; else like `value`."""
        valid = valid or {}
        if not valid and not self.may_be_null:
            return None
        return validity(self.node, Block(blocks, valid, n, True))

    def _compute(
        self, blocks: Mapping[str, Array], n: int, valid: Mapping[str, Array], out: Array | None
    ) -> Array:
        block = Block(blocks, valid, n, bool(valid) or self.may_be_null)
        try:
            if not self._computes:
                found = evaluate(self.node, block)
            else:
                with np.errstate(all="ignore"):
                    node = specialized(self.node, self._wide, blocks, n)
                    found = self._in_pieces(node, block, out)
        except QueryError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise QueryError(f"the expression cannot be computed: {error}") from error
        if np.ndim(found) == 0:
            found = np.full(n, found, dtype=self.dtype)
        if found.shape != (n,):
            raise ShapeError(f"columns of shape {found.shape} for {n} rows")
        if out is not None:
            if found is not out:
                out[...] = found
            return out
        return found.copy() if isinstance(self.node, Column) else found  # type: ignore[no-any-return]

    def _in_pieces(self, node: Node, block: Block, out: Array | None) -> Any:
        """Evaluate a few thousand rows at a time, so that what is computed stays in the cache."""
        n = block.n
        mine = {name: block.columns[name] for name in self.columns}
        if n <= _PIECE or not mine or any(len(values) != n for values in mine.values()):
            return evaluate(node, block, out)
        found = np.empty(n, dtype=self.dtype) if out is None else out
        for start in range(0, n, _PIECE):
            stop = min(start + _PIECE, n)
            piece = Block(
                {name: values[start:stop] for name, values in mine.items()},
                {name: known[start:stop] for name, known in block.valid.items()},
                stop - start,
                block.nullable,
            )
            part = found[start:stop]
            values = evaluate(node, piece, part)
            if values is not part:
                part[...] = values
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
        truth = judge(self.node, bounds, n_pages)
        return truth.can_true, ~(truth.can_false | truth.can_null)

    def by_codes(self, columns: Mapping[str, Coded], *, truth: bool) -> Bound:
        """Return the same of codes, where it looks at categorical columns alone.

        With `truth` it is a condition of which null and false are one.
        """
        node = by_codes(self.node, columns)
        return Bound(where_true(node) if truth else node)

    @cached_property
    def conjuncts(self) -> tuple[Bound, ...]:
        """Conditions that must all hold, as they stand in the text; the whole if there is one."""
        if isinstance(self.node, Logic) and self.node.op == "and":
            return tuple(map(Bound, self.node.args))
        return (self,)

    @cached_property
    def key_ranges(self) -> KeyRanges | None:
        """Keys of an index on its only column among which those of the rows where it holds are."""
        return key_ranges(self.node)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Positions in `conjuncts`, what costs least a row first; equal costs as in the text."""
        costs = [part.cost for part in self.conjuncts]
        return tuple(sorted(range(len(costs)), key=costs.__getitem__))

    @cached_property
    def cost(self) -> float:
        """Rough cost of a row, where a comparison of numbers is 1; reading columns not counted."""
        return sum(map(_cost, walk(self.node)))

    @cached_property
    def _computes(self) -> bool:
        """Whether it needs arrays of numbers beside the columns."""
        parts = list(walk(self.node))
        return not any(isinstance(part, Callback) for part in parts) and any(
            isinstance(part, (Ufunc, Convert, Part, Choose))
            or (isinstance(part, TextTest) and part.func == "like")
            or (isinstance(part, Member) and len(part.values) > FEW_VALUES)
            for part in parts
        )

    @cached_property
    def null_truth(self) -> bool:
        """Whether the condition, on one column and by row, holds for a null."""
        column = next(part for part in walk(self.node) if isinstance(part, Column))
        nothing = {column.name: np.zeros(1, column.dtype)}
        none = {column.name: np.zeros(1, bool)}
        return bool(self._compute(nothing, 1, none, None)[0])

    @cached_property
    def is_false_of_null(self) -> bool:
        """Whether the condition, on one column and by row, holds for neither null nor zero."""
        return not self.null_truth and not self.zero_truth

    @cached_property
    def zero_truth(self) -> bool:
        """Whether the condition, on one column and by row, holds for zero."""
        column = next(part for part in walk(self.node) if isinstance(part, Column))
        zero = {column.name: np.zeros(1, column.dtype)}
        return bool(self._compute(zero, 1, {}, None)[0])

    @cached_property
    def _of_one(self) -> bool:
        """Whether it looks at each row of one column by itself."""
        return len(self.columns) == 1 and not any(
            isinstance(part, Callback) for part in walk(self.node)
        )

    @cached_property
    def _wide(self) -> tuple[str, ...]:
        return wide_columns(self.node)

    @cached_property
    def may_be_null(self) -> bool:
        """Whether there may be nulls where no column has a mask."""
        return any(
            isinstance(part, Part)
            or (isinstance(part, OfCodes) and not part.known.all())
            or (
                isinstance(part, Column)
                and (
                    holds_missing(part.dtype)
                    or (hasattr(part.dtype, "na_object") and not is_text_missing(part.dtype))
                )
            )
            for part in walk(self.node)
        )


_SLOW = frozenset(
    [
        *("exp", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh"),
        *("tanh", "power", "remainder", "fmod", "floor_divide", "hypot"),
    ]
)


def _cost(node: Node) -> float:
    if isinstance(node, TextTest):
        return 3.0 if node.func == "startswith" else 60.0
    if isinstance(node, Member):
        return min(3.0 * len(node.values), 100.0)
    if isinstance(node, Ufunc):
        return 30.0 if node.func.__name__ in _SLOW or "arc" in node.func.__name__ else 2.0
    if isinstance(node, Part):
        return 30.0
    if isinstance(node, OfCodes):
        return 1.0
    if isinstance(node, Callback):
        return 100.0
    if isinstance(node, Column):
        return {"S": 4.0, "U": 6.0, "V": 4.0, "T": 60.0}.get(node.dtype.kind, 0.5)
    return 0.5
