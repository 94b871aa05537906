"""Typed nodes: an expression bound to columns, with every dtype known and every constant fitted.

`bind` builds them, `evaluate` computes them over blocks of rows, `prune` over bounds of pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from kist._kernels.textwords import TextMembers

__all__ = [
    "BOOL",
    "Array",
    "Callback",
    "Choose",
    "Column",
    "Compare",
    "CompareConstant",
    "CompareOrdered",
    "Constant",
    "Convert",
    "Fixed",
    "IsNull",
    "Logic",
    "Member",
    "Node",
    "Not",
    "Length",
    "OfCodes",
    "Part",
    "TextTest",
    "Ufunc",
    "children",
    "column_names",
    "numpy_dtype",
    "rebuilt",
]

Array: TypeAlias = np.ndarray[Any, Any]

BOOL = np.dtype(bool)


@dataclass(slots=True, eq=False)
class Node:
    """A part of a bound expression; `dtype` is what it evaluates to."""

    dtype: np.dtype[Any]


@dataclass(slots=True, eq=False)
class Column(Node):
    """The values of a column."""

    name: str


@dataclass(slots=True, eq=False)
class Constant(Node):
    """One value for all rows: a plain Python value or a NumPy scalar, as promotion needs it."""

    value: Any


@dataclass(slots=True, eq=False)
class Ufunc(Node):
    """A NumPy function of numbers or times.

    `numpy` is the dtype that NumPy gives the result; integers are computed in one that holds
    them, within `limits`. Where there is none, `checked`, each block is looked at. `typed`: NumPy
    is told the dtype, because that of the arguments says another.
    """

    func: Callable[..., Any]
    args: tuple[Node, ...]
    numpy: np.dtype[Any]
    limits: tuple[int, int] | None = None
    checked: bool = False
    typed: bool = False


@dataclass(slots=True, eq=False)
class Convert(Node):
    """Numbers in another dtype; those that do not fit integers raise."""

    x: Node


@dataclass(slots=True, eq=False)
class Length(Node):
    """Number of items of each cell of a ragged column."""

    x: Node


@dataclass(slots=True, eq=False)
class Part(Node):
    """A part of a datetime, such as its year; null for NaT."""

    part: str
    x: Node


@dataclass(slots=True, eq=False)
class Compare(Node):
    """Two columns or computed values compared; `op` is the sign."""

    op: str
    left: Node
    right: Node


@dataclass(slots=True, eq=False)
class CompareConstant(Node):
    """A column or computed value compared with a constant that fits its dtype."""

    op: str
    x: Node
    value: Any


@dataclass(slots=True, eq=False)
class CompareOrdered(Node):
    """A column of ordered categories compared with one of them, by their places in the list.

    `by_codes` makes something of it that can be evaluated.
    """

    op: str
    x: Node
    value: Any


@dataclass(slots=True, eq=False)
class OfCodes(Node):
    """A condition of a column of codes: for each code whether it is true, and whether not null.

    A code beyond the list is neither true nor false.
    """

    x: Node
    true: Array
    known: Array


@dataclass(slots=True, eq=False)
class Logic(Node):
    """Conditions joined by "and" or "or"."""

    op: str
    args: tuple[Node, ...]


@dataclass(slots=True, eq=False)
class Not(Node):
    """A condition reversed."""

    x: Node


@dataclass(slots=True, eq=False)
class Fixed(Node):
    """A condition of `x` with one outcome for all values, but for nulls: `u1 > 300`."""

    x: Node
    value: bool


@dataclass(slots=True, eq=False)
class IsNull(Node):
    """Whether a value is missing."""

    x: Node


@dataclass(slots=True, eq=False)
class TextTest(Node):
    """startswith, endswith, contains or like, with a constant of the kind of `x`."""

    func: str
    x: Node
    text: Any


@dataclass(slots=True, eq=False)
class Member(Node):
    """Whether a value is among `values`: sorted, unique, without NaN and NaT.

    `known` is what a search for strings makes of them, once it is needed.
    """

    x: Node
    values: Array
    known: TextMembers | None = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class Choose(Node):
    """x where the condition holds, else y."""

    condition: Node
    x: Node
    y: Node
    numpy: np.dtype[Any]


@dataclass(slots=True, eq=False)
class Callback(Node):
    """A function of the caller's; `columns` are those it is given, with the shape of an item."""

    func: Callable[[Any], Any]
    columns: Mapping[str, tuple[int, ...]]


_OF_ONE = (
    CompareConstant, CompareOrdered, OfCodes, Not, TextTest, Member, Convert, Part, Length, IsNull,
    Fixed,
)  # fmt: skip


def numpy_dtype(node: Node) -> np.dtype[Any]:
    """Return the dtype that NumPy gives the values of a node."""
    return node.numpy if isinstance(node, (Ufunc, Choose)) else node.dtype


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node is computed from, in the order of the text."""
    if isinstance(node, (Ufunc, Logic)):
        return node.args
    if isinstance(node, Compare):
        return node.left, node.right
    if isinstance(node, _OF_ONE):
        return (node.x,)
    if isinstance(node, Choose):
        return node.condition, node.x, node.y
    return ()


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return a node of which the nodes that it is computed from are changed."""
    if isinstance(node, (Ufunc, Logic)):
        return replace(node, args=tuple(map(change, node.args)))
    if isinstance(node, Compare):
        return replace(node, left=change(node.left), right=change(node.right))
    if isinstance(node, _OF_ONE):
        return replace(node, x=change(node.x))
    if isinstance(node, Choose):
        return replace(node, condition=change(node.condition), x=change(node.x), y=change(node.y))
    return node


def walk(node: Node) -> Iterator[Node]:
    """Iterate over a node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def column_names(node: Node) -> tuple[str, ...]:
    """Return the names of the columns that a node reads, in order of first use."""
    if isinstance(node, CompareConstant) and isinstance(node.x, Column):
        return (node.x.name,)  # as most are
    names: dict[str, None] = {}
    for part in walk(node):
        if isinstance(part, Column):
            names[part.name] = None
        elif isinstance(part, Callback):
            names |= dict.fromkeys(part.columns)
    return tuple(names)
