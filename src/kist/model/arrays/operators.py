"""Operators of arrays in a store: they build expressions for `kist.evaluate`.

Beside a NumPy array the operator is NumPy's: it loads the stored one. So are NumPy's functions,
`np.sqrt(array)`, but for sums and the like. Two nodes are equal when they are the same node.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from kist import query
from kist.model.arrays.reductions import ArrayReductions
from kist.model.node import Node

if TYPE_CHECKING:
    from kist.query import Expr

__all__ = ["ArrayOperators"]


def _binary(sign: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def operate(self: Any, other: Any) -> Any:
        if isinstance(other, np.ndarray) and other.ndim:
            return compute(np.asarray(self), other)
        return query.operation(sign, self, other)

    return operate


def _reflected(sign: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def operate(self: Any, other: Any) -> Any:
        if isinstance(other, np.ndarray) and other.ndim:
            return compute(other, np.asarray(self))
        return query.operation(sign, other, self)

    return operate


def _equality(sign: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    otherwise = _binary(sign, compute)

    def operate(self: Any, other: Any) -> Any:
        if isinstance(other, Node):
            return self.is_same(other) == (sign == "==")
        return otherwise(self, other)

    return operate


def _unary(sign: str) -> Callable[[Any], Expr]:
    return lambda self: query.operation(sign, self)


def _refused(sign: str) -> Callable[[Any, Any], NoReturn]:
    def operate(self: Any, other: Any) -> NoReturn:
        raise TypeError(
            f"{self._path!r} is not changed by {sign}=; write kist.evaluate('x {sign} y', x=array, "
            "y=..., out=array), or array[...] = values"
        )

    return operate


class ArrayOperators(ArrayReductions, Node):
    """Comparisons and arithmetic of a stored array."""

    __array_priority__ = 1.0  # NumPy's arrays and scalars on the left let this one decide

    def __kist_expr__(self) -> Expr:
        return query.column(self._path, self)

    def __abs__(self) -> Expr:
        return self.__kist_expr__()._call("abs", self)

    __hash__ = Node.__hash__
    __eq__ = _equality("==", operator.eq)
    __ne__ = _equality("!=", operator.ne)
    __lt__ = _binary("<", operator.lt)
    __le__ = _binary("<=", operator.le)
    __gt__ = _binary(">", operator.gt)
    __ge__ = _binary(">=", operator.ge)
    __neg__, __pos__, __invert__ = _unary("-"), _unary("+"), _unary("~")
    __add__, __radd__ = _binary("+", operator.add), _reflected("+", operator.add)
    __sub__, __rsub__ = _binary("-", operator.sub), _reflected("-", operator.sub)
    __mul__, __rmul__ = _binary("*", operator.mul), _reflected("*", operator.mul)
    __truediv__, __rtruediv__ = _binary("/", operator.truediv), _reflected("/", operator.truediv)
    __mod__, __rmod__ = _binary("%", operator.mod), _reflected("%", operator.mod)
    __pow__, __rpow__ = _binary("**", operator.pow), _reflected("**", operator.pow)
    __and__, __rand__ = _binary("&", operator.and_), _reflected("&", operator.and_)
    __or__, __ror__ = _binary("|", operator.or_), _reflected("|", operator.or_)
    __xor__, __rxor__ = _binary("^", operator.xor), _reflected("^", operator.xor)
    __floordiv__ = _binary("//", operator.floordiv)
    __rfloordiv__ = _reflected("//", operator.floordiv)
    __iadd__, __isub__, __imul__ = _refused("+"), _refused("-"), _refused("*")
    __itruediv__, __ifloordiv__, __imod__ = _refused("/"), _refused("//"), _refused("%")
    __ipow__, __iand__, __ior__, __ixor__ = map(_refused, ("**", "&", "|", "^"))
