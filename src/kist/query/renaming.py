"""The same expression over columns that have other names."""

from __future__ import annotations

from collections.abc import Callable

from kist.query.expression import Expr, Name

__all__ = ["renamed"]


def renamed(tree: Expr, old: str, new: str) -> Expr:
    """Return an expression in which a column, and the fields inside it, have another name.

    Examples
    --------
    >>> from kist.query import expr
    >>> renamed(expr("bid + ask.x / 2"), "ask", "offer")
    bid + offer.x / 2
    """
    if isinstance(tree, Name):
        if tree.name == old:
            return Name(new, tree.source)
        if tree.name.startswith(f"{old}."):
            return Name(new + tree.name[len(old) :], tree.source)
        return tree
    args = tuple(renamed(arg, old, new) for arg in tree.args)
    if all(a is b for a, b in zip(args, tree.args, strict=True)):
        return tree
    make: Callable[..., Expr] = type(tree)
    return make(*(args if part is tree.args else part for part in tree._parts()))
