"""Typed nodes: an expression bound to columns, with every dtype known and every constant fitted.

`bind` builds them, `evaluate` computes them over blocks of rows, `prune` over bounds of pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = [
    "BOOL",
    "Array",
    "Choose",
    "Column",
    "Compare",
    "CompareConstant",
    "Constant",
    "Logic",
    "Member",
    "Node",
    "Not",
    "TextTest",
    "Ufunc",
    "children",
    "column_names",
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
    """A NumPy function of numbers or times."""

    func: np.ufunc
    args: tuple[Node, ...]


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
class Logic(Node):
    """Conditions joined by "and" or "or"."""

    op: str
    args: tuple[Node, ...]


@dataclass(slots=True, eq=False)
class Not(Node):
    """A condition reversed."""

    x: Node


@dataclass(slots=True, eq=False)
class TextTest(Node):
    """startswith, endswith or contains, with a constant of the kind of `x`."""

    func: str
    x: Node
    text: Any


@dataclass(slots=True, eq=False)
class Member(Node):
    """Whether a value is among `values`: sorted, unique, without NaN and NaT."""

    x: Node
    values: Array


@dataclass(slots=True, eq=False)
class Choose(Node):
    """x where the condition holds, else y."""

    condition: Node
    x: Node
    y: Node


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node is computed from, in the order of the text."""
    if isinstance(node, (Ufunc, Logic)):
        return node.args
    if isinstance(node, Compare):
        return node.left, node.right
    if isinstance(node, (CompareConstant, Not, TextTest, Member)):
        return (node.x,)
    if isinstance(node, Choose):
        return node.condition, node.x, node.y
    return ()


def walk(node: Node) -> Iterator[Node]:
    """Iterate over a node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def column_names(node: Node) -> tuple[str, ...]:
    """Return the names of the columns that a node reads, in order of first use."""
    return tuple(dict.fromkeys(part.name for part in walk(node) if isinstance(part, Column)))
