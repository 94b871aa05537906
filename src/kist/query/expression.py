"""Expressions: immutable trees of names, constants, operators and functions.

They come from text (`expr`) or from operators on `column`, and mean nothing until they are bound
to columns. `repr` gives the text; read again, it is the same tree.

Operators of text and of Python are the same, but for `and`, `or`, `not` and chained comparisons,
which Python does not hand over: `bool()` of an expression raises and says what to write.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from kist.errors import QueryError
from kist.query.literals import array_value, literal_value, render_literal
from kist.query.operators import Operators

__all__ = [
    "BlockFunction",
    "Call",
    "Cast",
    "Expr",
    "IsIn",
    "Literal",
    "Name",
    "Op",
    "Reduction",
    "as_expr",
    "between",
    "column",
    "isin",
    "operation",
    "where",
]

#: Levels of operators and functions inside each other. Long chains of `&` and `|` are one level.
MAX_DEPTH = 100

_COMPARISONS = frozenset(["<", "<=", ">", ">=", "==", "!="])
_ASSOCIATIVE = frozenset(["&", "|", "^", "and", "or"])

# How strongly operators bind in Python, the grammar of the text.
_BINDS = {"or": 1, "and": 2, "not": 3, **dict.fromkeys(_COMPARISONS, 4), "|": 5, "^": 6, "&": 7}
_BINDS |= {**dict.fromkeys(["<<", ">>"], 8), "+": 9, "-": 9}
_BINDS |= {**dict.fromkeys(["*", "/", "//", "%"], 10), "**": 12}
_UNARY, _ATOM = 11, 13


class Expr(Operators):
    """An expression over named columns; immutable.

    Examples
    --------
    >>> from kist.query import column
    >>> (column("price") > 100) & (column("sym") == "AAPL")
    (price > 100) & (sym == 'AAPL')
    """

    __slots__ = ("args", "depth", "span")
    args: tuple[Expr, ...]
    depth: int
    #: Place in the text it was read from, if it was.
    span: tuple[int, int] | None

    def __init__(self, args: tuple[Expr, ...], span: tuple[int, int] | None) -> None:
        _set(self, "args", args)
        _set(self, "span", span)
        depth = 1 + max([arg.depth for arg in args]) if args else 1
        if depth > MAX_DEPTH:
            raise QueryError(f"the expression is nested more than {MAX_DEPTH} levels deep")
        _set(self, "depth", depth)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError("expressions are immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("expressions are immutable")

    def __kist_expr__(self) -> Expr:
        return self

    def __repr__(self) -> str:
        return self._text()[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._parts()

    # What the operators of this and other classes build.

    def _operation(self, op: str, *values: Any) -> Expr:
        return operation(op, *values)

    def _call(self, func: str, *values: Any) -> Expr:
        return Call(func, tuple(map(as_expr, values)))

    def _isin(self, values: Any) -> Expr:
        return isin(self, values)

    def _parts(self) -> tuple[Any, ...]:
        """Return what the constructor takes."""
        raise TypeError(f"{type(self).__name__} is no node of an expression")

    def _text(self) -> tuple[str, int]:
        """Return the text and how strongly its outermost operator binds."""
        raise TypeError(f"{type(self).__name__} is no node of an expression")

    def _own(self) -> tuple[Any, ...]:
        """Return what tells this node from others with the same arguments."""
        return ()

    def same_as(self, other: Expr) -> bool:
        """Return whether two expressions are the same tree; `==` builds a comparison instead."""
        return (
            type(self) is type(other)
            and self._own() == other._own()
            and len(self.args) == len(other.args)
            and all(a.same_as(b) for a, b in zip(self.args, other.args, strict=True))
        )

    def walk(self) -> Iterator[Expr]:
        """Iterate over this node and all below it, in the order of the text."""
        yield self
        for arg in self.args:
            yield from arg.walk()


_set = object.__setattr__


class Name(Expr):
    """The name of a column or of a parameter; which of the two is seen when it is bound.

    `source` is what the column was taken from, if it matters: whoever binds the expression can
    refuse columns of another table. It is no part of the text.
    """

    __slots__ = ("name", "source")
    name: str
    source: Any

    def __init__(
        self, name: str, source: Any = None, *, span: tuple[int, int] | None = None
    ) -> None:
        super().__init__((), span)
        _set(self, "name", name)
        _set(self, "source", source)

    def _parts(self) -> tuple[Any, ...]:
        return self.name, self.source

    def _own(self) -> tuple[Any, ...]:
        return (self.name,)

    def _text(self) -> tuple[str, int]:
        parts = self.name.split(".")
        if all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
            return self.name, _ATOM
        return f"col({self.name!r})", _ATOM


class Literal(Expr):
    """A constant: a plain Python value, a NumPy scalar, or the values of `isin` as an array."""

    __slots__ = ("value",)
    value: Any

    def __init__(
        self, value: Any, several: bool = False, *, span: tuple[int, int] | None = None
    ) -> None:
        super().__init__((), span)
        _set(self, "value", array_value(value) if several else literal_value(value))

    def _parts(self) -> tuple[Any, ...]:
        return self.value, isinstance(self.value, np.ndarray)

    def _own(self) -> tuple[Any, ...]:
        value = self.value
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.tobytes())
        # The repr tells -0.0 from 0.0 and finds one NaN like another.
        return (type(value), getattr(value, "dtype", None), repr(value))

    def _text(self) -> tuple[str, int]:
        text = render_literal(self.value)
        return text, _UNARY if text.startswith("-") else _ATOM


class Op(Expr):
    """An operator, by the sign that it has in the text."""

    __slots__ = ("op",)
    op: str

    def __init__(
        self, op: str, args: tuple[Expr, ...], *, span: tuple[int, int] | None = None
    ) -> None:
        super().__init__(args, span)
        _set(self, "op", op)

    def _parts(self) -> tuple[Any, ...]:
        return self.op, self.args

    def _own(self) -> tuple[Any, ...]:
        return (self.op,)

    def _text(self) -> tuple[str, int]:
        op = self.op
        if len(self.args) == 1:
            level = _BINDS["not"] if op == "not" else _UNARY
            sign = "not " if op == "not" else op
            return sign + _wrapped(self.args[0], level), level
        level = _BINDS[op]
        first, others = level, level + 1
        if op in _COMPARISONS:
            first = others = _BINDS["+"]  # also & and |: nobody reads a > b & c right
        elif op == "**":
            first, others = level + 1, level
        texts = [_wrapped(self.args[0], first), *(_wrapped(a, others) for a in self.args[1:])]
        return f" {op} ".join(texts), level


class Call(Expr):
    """A function by its name in `FUNCTIONS`."""

    __slots__ = ("func",)
    func: str

    def __init__(
        self, func: str, args: tuple[Expr, ...], *, span: tuple[int, int] | None = None
    ) -> None:
        super().__init__(args, span)
        _set(self, "func", func)

    def _parts(self) -> tuple[Any, ...]:
        return self.func, self.args

    def _own(self) -> tuple[Any, ...]:
        return (self.func,)

    def _text(self) -> tuple[str, int]:
        return f"{self.func}({', '.join(a._text()[0] for a in self.args)})", _ATOM


class IsIn(Expr):
    """Whether the first argument is among the others, or in the one name or array behind it."""

    __slots__ = ("listed",)
    #: The values are listed; else `args[1]` is an array or the name of a parameter that holds it.
    listed: bool

    def __init__(
        self, args: tuple[Expr, ...], listed: bool, *, span: tuple[int, int] | None = None
    ) -> None:
        super().__init__(args, span)
        _set(self, "listed", listed)

    def _parts(self) -> tuple[Any, ...]:
        return self.args, self.listed

    def _own(self) -> tuple[Any, ...]:
        return (self.listed,)

    def _text(self) -> tuple[str, int]:
        x, *values = (arg._text()[0] for arg in self.args)
        return f"isin({x}, [{', '.join(values)}])" if self.listed else f"isin({x}, {values[0]})", (
            _ATOM
        )


class Cast(Expr):
    """A value as another dtype of numbers, written like a call: `int64(a)`."""

    __slots__ = ("name",)
    name: str

    def __init__(self, name: str, x: Expr, *, span: tuple[int, int] | None = None) -> None:
        super().__init__((x,), span)
        _set(self, "name", name)

    def _parts(self) -> tuple[Any, ...]:
        return self.name, self.args[0]

    def _own(self) -> tuple[Any, ...]:
        return (self.name,)

    def _text(self) -> tuple[str, int]:
        return f"{self.name}({self.args[0]._text()[0]})", _ATOM


class Reduction(Expr):
    """All values, or those along some axes, made one; for `kist.evaluate` only."""

    __slots__ = ("axis", "ddof", "func")
    func: str
    axis: tuple[int, ...] | None
    ddof: int

    def __init__(
        self,
        func: str,
        x: Expr,
        axis: tuple[int, ...] | None = None,
        ddof: int = 0,
        *,
        span: tuple[int, int] | None = None,
    ) -> None:
        super().__init__((x,), span)
        for name, value in (("func", func), ("axis", axis), ("ddof", ddof)):
            _set(self, name, value)

    def _parts(self) -> tuple[Any, ...]:
        return self.func, self.args[0], self.axis, self.ddof

    def _own(self) -> tuple[Any, ...]:
        return self.func, self.axis, self.ddof

    def _text(self) -> tuple[str, int]:
        text = self.args[0]._text()[0]
        if self.axis is not None:
            text += f", axis={self.axis[0] if len(self.axis) == 1 else self.axis}"
        if self.ddof:
            text += f", ddof={self.ddof}"
        return f"{self.func}({text})", _ATOM


class BlockFunction(Expr):
    """A function of the caller's that computes with the columns of a block of rows."""

    __slots__ = ("columns", "func")
    func: Callable[[Any], Any]
    #: Columns that it is given; None: those that it asks for when it is tried.
    columns: tuple[str, ...] | None

    def __init__(self, func: Callable[[Any], Any], columns: tuple[str, ...] | None = None) -> None:
        super().__init__((), None)
        _set(self, "func", func)
        _set(self, "columns", columns)

    def _parts(self) -> tuple[Any, ...]:
        return self.func, self.columns

    def _own(self) -> tuple[Any, ...]:
        return self.func, self.columns

    def _text(self) -> tuple[str, int]:
        return f"<function {getattr(self.func, '__qualname__', repr(self.func))}>", _ATOM


def _wrapped(expression: Expr, level: int) -> str:
    text, own = expression._text()
    return text if own >= level else f"({text})"


def as_expr(value: Any) -> Expr:
    """Return what a value stands for in an expression.

    An expression as it is, a handle as its column, a function of blocks as such; anything else is
    a constant.
    """
    if isinstance(value, Expr):
        return value
    stands_for: Callable[[], Expr] | None = getattr(value, "__kist_expr__", None)
    if stands_for is not None:
        return stands_for()
    if callable(value) and not isinstance(value, type):
        return BlockFunction(value)
    return Literal(value)


def operation(op: str, *values: Any, span: tuple[int, int] | None = None) -> Expr:
    """Return the expression of an operator; `a & b & c` becomes one node."""
    args = tuple(map(as_expr, values))
    first = args[0]
    if len(args) == 1 and op in "+-" and isinstance(first, Literal):
        number = first.value
        if isinstance(number, (int, float, complex)) and not isinstance(number, (bool, np.generic)):
            return Literal(-number if op == "-" else number, span=span)
    if op in _ASSOCIATIVE and len(args) > 1 and isinstance(first, Op) and first.op == op:
        args = first.args + args[1:]
    return Op(op, args, span=span)


def column(name: str, source: Any = None) -> Expr:
    """Return the expression that stands for a column; `a.b` is field b of column a."""
    if not isinstance(name, str):
        raise QueryError(f"a column name is a str, not {type(name).__name__}")
    return Name(name, source)


def isin(x: Any, values: Any) -> Expr:
    """Return whether `x` is equal to one of `values`, a list or array."""
    if isinstance(values, (str, bytes)) or not np.iterable(values):
        raise QueryError(f"isin takes a list or array of values, not {values!r}")
    found = array_value(values if isinstance(values, np.ndarray) else list(values))
    if isinstance(found, np.ndarray):
        return IsIn((as_expr(x), Literal(found, True)), False)
    return IsIn((as_expr(x), *map(Literal, found)), True)


def between(x: Any, low: Any, high: Any) -> Expr:
    """Return whether low <= x <= high."""
    return operation("and", operation(">=", x, low), operation("<=", x, high))


def where(condition: Any, x: Any, y: Any) -> Expr:
    """Return x where the condition holds, else y."""
    return Call("where", (as_expr(condition), as_expr(x), as_expr(y)))
