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

__all__ = [
    "FUNCTIONS",
    "Call",
    "Expr",
    "IsIn",
    "Literal",
    "Name",
    "Op",
    "Operators",
    "as_expr",
    "between",
    "column",
    "isin",
    "operation",
    "where",
]

#: Function name -> number of arguments.
FUNCTIONS: dict[str, int] = {
    **dict.fromkeys(("abs", "sqrt", "exp", "log", "log10", "floor", "ceil", "isnan"), 1),
    **dict.fromkeys(("sin", "cos", "tan", "arcsin", "arccos", "arctan"), 1),
    **dict.fromkeys(("sinh", "cosh", "tanh"), 1),
    **dict.fromkeys(("arctan2", "startswith", "endswith", "contains"), 2),
    "where": 3,
}

#: Levels of operators and functions inside each other. Long chains of `&` and `|` are one level.
MAX_DEPTH = 100

_COMPARISONS = frozenset(["<", "<=", ">", ">=", "==", "!="])
_ASSOCIATIVE = frozenset(["&", "|", "and", "or"])

# How strongly operators bind in Python, the grammar of the text.
_BINDS = {"or": 1, "and": 2, "not": 3, **dict.fromkeys(_COMPARISONS, 4), "|": 5, "&": 6}
_BINDS |= {"+": 8, "-": 8, "*": 9, "/": 9, "//": 9, "%": 9, "**": 11}
_UNARY, _ATOM = 10, 12


def _operator(op: str) -> Callable[[Any, Any], Expr]:
    return lambda self, other: operation(op, self, other)


def _reflected(op: str) -> Callable[[Any, Any], Expr]:
    return lambda self, other: operation(op, other, self)


def _sign(op: str) -> Callable[[Any], Expr]:
    return lambda self: operation(op, self)


class Operators:
    """Operators that build expressions; for `Expr`, and for handles that stand for a column.

    A class that takes them has a method `__kist_expr__` that returns its `Expr`.
    """

    __slots__ = ()
    __array_priority__ = 1000.0
    __hash__ = object.__hash__
    __iter__ = None

    def __kist_expr__(self) -> Expr:
        raise TypeError(f"{type(self).__name__} does not say which expression it stands for")

    __lt__ = _operator("<")
    __le__ = _operator("<=")
    __gt__ = _operator(">")
    __ge__ = _operator(">=")
    __eq__ = _operator("==")  # type: ignore[assignment]
    __ne__ = _operator("!=")  # type: ignore[assignment]
    __and__, __rand__ = _operator("&"), _reflected("&")
    __or__, __ror__ = _operator("|"), _reflected("|")
    __add__, __radd__ = _operator("+"), _reflected("+")
    __sub__, __rsub__ = _operator("-"), _reflected("-")
    __mul__, __rmul__ = _operator("*"), _reflected("*")
    __truediv__, __rtruediv__ = _operator("/"), _reflected("/")
    __floordiv__, __rfloordiv__ = _operator("//"), _reflected("//")
    __mod__, __rmod__ = _operator("%"), _reflected("%")
    __pow__, __rpow__ = _operator("**"), _reflected("**")
    __neg__, __pos__, __invert__ = _sign("-"), _sign("+"), _sign("~")

    def __abs__(self) -> Expr:
        return Call("abs", (as_expr(self),))

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"an expression is neither true nor false: {self!r}; combine comparisons with & | ~ "
            "and parentheses, as in (a > 1) & (b < 2), instead of and, or, not, in and a < b < c"
        )

    def __contains__(self, value: object) -> NoReturn:
        raise QueryError("`in` does not look inside an expression; contains() finds text in text")

    def isin(self, values: Any) -> Expr:
        """Return whether a value is one of `values`, a list or array."""
        return isin(self, values)

    def between(self, low: Any, high: Any) -> Expr:
        """Return whether low <= value <= high."""
        return between(self, low, high)

    def startswith(self, text: str | bytes) -> Expr:
        """Return whether the text of a value begins with `text`."""
        return Call("startswith", (as_expr(self), as_expr(text)))

    def endswith(self, text: str | bytes) -> Expr:
        """Return whether the text of a value ends with `text`."""
        return Call("endswith", (as_expr(self), as_expr(text)))

    def contains(self, text: str | bytes) -> Expr:
        """Return whether `text` stands anywhere in the text of a value."""
        return Call("contains", (as_expr(self), as_expr(text)))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Expr:
        # np.sqrt(column("a")), and NumPy scalars on the left of an operator.
        symbol = _UFUNCS.get(ufunc.__name__)
        if method != "__call__" or kwargs or symbol is None:
            raise QueryError(f"np.{ufunc.__name__} cannot be used in an expression")
        if symbol in FUNCTIONS:
            return Call(symbol, tuple(map(as_expr, inputs)))
        return operation(symbol, *inputs)


_UFUNCS = {
    name: {"absolute": "abs"}.get(name, name)
    for name in ("absolute", *FUNCTIONS)
    if name not in ("abs", "where", "startswith", "endswith", "contains")
}
_UFUNCS |= {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "logical_and": "and",
    "logical_or": "or",
    "logical_not": "not",
    "invert": "~",
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "floor_divide": "//",
    "remainder": "%",
    "power": "**",
    "negative": "-",
    "positive": "+",
}


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


def _wrapped(expression: Expr, level: int) -> str:
    text, own = expression._text()
    return text if own >= level else f"({text})"


def as_expr(value: Any) -> Expr:
    """Return an expression as it is, a handle as the expression it stands for, else a constant."""
    if isinstance(value, Expr):
        return value
    stands_for: Callable[[], Expr] | None = getattr(value, "__kist_expr__", None)
    return Literal(value) if stands_for is None else stands_for()


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
