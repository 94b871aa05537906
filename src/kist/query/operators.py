"""Operators and methods in Python that build expressions instead of computing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from kist.errors import QueryError
from kist.query.functions import FUNCTIONS, NUMERIC

if TYPE_CHECKING:
    from kist.query.expression import Expr

__all__ = ["Operators"]


def _operator(op: str) -> Callable[[Any, Any], Expr]:
    return lambda self, other: self.__kist_expr__()._operation(op, self, other)


def _reflected(op: str) -> Callable[[Any, Any], Expr]:
    return lambda self, other: self.__kist_expr__()._operation(op, other, self)


def _sign(op: str) -> Callable[[Any], Expr]:
    return lambda self: self.__kist_expr__()._operation(op, self)


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
    __xor__, __rxor__ = _operator("^"), _reflected("^")
    __lshift__, __rlshift__ = _operator("<<"), _reflected("<<")
    __rshift__, __rrshift__ = _operator(">>"), _reflected(">>")
    __add__, __radd__ = _operator("+"), _reflected("+")
    __sub__, __rsub__ = _operator("-"), _reflected("-")
    __mul__, __rmul__ = _operator("*"), _reflected("*")
    __truediv__, __rtruediv__ = _operator("/"), _reflected("/")
    __floordiv__, __rfloordiv__ = _operator("//"), _reflected("//")
    __mod__, __rmod__ = _operator("%"), _reflected("%")
    __pow__, __rpow__ = _operator("**"), _reflected("**")
    __neg__, __pos__, __invert__ = _sign("-"), _sign("+"), _sign("~")

    def __abs__(self) -> Expr:
        return self.__kist_expr__()._call("abs", self)

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"an expression is neither true nor false: {self!r}; combine comparisons with & | ~ "
            "and parentheses, as in (a > 1) & (b < 2), instead of and, or, not, in and a < b < c"
        )

    def __contains__(self, value: object) -> NoReturn:
        raise QueryError("`in` does not look inside an expression; contains() finds text in text")

    def isin(self, values: Any) -> Expr:
        """Return whether a value is one of `values`, a list or array."""
        return self.__kist_expr__()._isin(values)

    def between(self, low: Any, high: Any) -> Expr:
        """Return whether low <= value <= high."""
        expression = self.__kist_expr__()
        combine = expression._operation
        return combine("and", combine(">=", self, low), combine("<=", self, high))

    def isnull(self) -> Expr:
        """Return whether a value is missing; NaN and NaT are not, `isnan` finds them."""
        return self.__kist_expr__()._call("isnull", self)

    def notnull(self) -> Expr:
        """Return whether a value is not missing."""
        return self.__kist_expr__()._call("notnull", self)

    def startswith(self, text: str | bytes) -> Expr:
        """Return whether the text of a value begins with `text`."""
        return self.__kist_expr__()._call("startswith", self, text)

    def endswith(self, text: str | bytes) -> Expr:
        """Return whether the text of a value ends with `text`."""
        return self.__kist_expr__()._call("endswith", self, text)

    def contains(self, text: str | bytes) -> Expr:
        """Return whether `text` stands anywhere in the text of a value."""
        return self.__kist_expr__()._call("contains", self, text)

    def like(self, pattern: str | bytes) -> Expr:
        """Return whether text fits a pattern of SQL: ``%`` any text, ``_`` one character."""
        return self.__kist_expr__()._call("like", self, pattern)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Expr:
        # np.sqrt(column("a")), and NumPy scalars on the left of an operator.
        symbol = _UFUNCS.get(ufunc.__name__)
        if method != "__call__" or kwargs or symbol is None:
            raise QueryError(f"np.{ufunc.__name__} cannot be used in an expression")
        expression = self.__kist_expr__()
        if symbol in FUNCTIONS:
            return expression._call(symbol, *inputs)
        return expression._operation(symbol, *inputs)


_UFUNCS = {func.__name__: name for name, func in NUMERIC.items() if isinstance(func, np.ufunc)}
_UFUNCS |= {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
    "left_shift": "<<",
    "right_shift": ">>",
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
