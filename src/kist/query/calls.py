"""Binding of what looks at text and at lists of values: startswith, like, isin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kist.query.coerce import fit_comparison, fit_text, kind_name
from kist.query.expression import IsIn, Literal, Name
from kist.query.like import Pattern, parse_pattern
from kist.query.members import fit_members
from kist.query.nodes import BOOL, CompareConstant, Constant, Fixed, Logic, Member, Node, TextTest

if TYPE_CHECKING:
    from kist.query.bind import Binder
    from kist.query.expression import Expr

__all__ = ["bind_isin", "bind_text_test"]


def bind_text_test(binder: Binder, func: str, args: list[Node], at: Expr) -> Node:
    """Return the node of a function of text and a constant."""
    x, text = args
    if isinstance(x, Constant) or x.dtype.kind not in "SUVT":
        binder.fail(f"{func}() looks into columns of text, not {kind_name(x.dtype)}", at)
    if not isinstance(text, Constant) or not isinstance(text.value, (str, bytes)):
        binder.fail(f"{func}() looks for a constant text", at.args[1])
    fitted = fit_text(x.dtype, text.value)
    if func == "like":
        return Fixed(BOOL, x, False) if fitted is None else _bind_like(binder, x, fitted, at)
    return Fixed(BOOL, x, False) if fitted is None else _test(func, x, fitted)


def _test(func: str, x: Node, text: str | bytes) -> Node:
    fixed = x.dtype.kind != "T"
    width = x.dtype.itemsize // (4 if x.dtype.kind == "U" else 1)
    if fixed and not text:
        return Fixed(BOOL, x, True)
    if fixed and len(text) > width:
        return Fixed(BOOL, x, False)
    return TextTest(BOOL, func, x, text)


def _equal(binder: Binder, x: Node, text: str | bytes, at: Expr) -> Node:
    fit = binder.located(at, fit_comparison, "==", x.dtype, text)
    return Fixed(BOOL, x, fit) if isinstance(fit, bool) else CompareConstant(BOOL, "==", x, fit[1])


def _bind_like(binder: Binder, x: Node, text: str | bytes, at: Expr) -> Node:
    pattern: Pattern = binder.located(at.args[1], parse_pattern, text)
    only = pattern.as_test()
    if only is not None:
        func, plain = only
        if func == "==":
            return _equal(binder, x, plain, at)
        return _test(func, x, plain)
    match = TextTest(BOOL, "like", x, pattern)
    if not pattern.prefix:
        return match
    # Pages are left out by how the text begins, and most rows too.
    head = _test("startswith", x, pattern.prefix)
    if isinstance(head, Fixed):
        return head
    return Logic(BOOL, "and", (head, match))


def bind_isin(binder: Binder, expression: IsIn) -> Node:
    """Return the node of `isin`."""
    x = binder.bind(expression.args[0])
    values: Any
    if expression.listed:
        values = []
        for part in expression.args[1:]:
            node = binder.bind(part)
            if not isinstance(node, Constant):
                binder.fail("values of isin are constants", part)
            values.append(node.value)
    else:
        values = _several(binder, expression.args[1])
    if isinstance(x, Constant):
        binder.fail("isin looks at a column, not at a constant", expression.args[0])
    groups = binder.located(expression, fit_members, x.dtype, values)
    members: list[Node] = [Member(BOOL, x, group) for group in groups]
    if len(members) > 1:
        return Logic(BOOL, "or", tuple(members))
    return members[0] if members else Fixed(BOOL, x, False)


def _several(binder: Binder, part: Expr) -> Any:
    """Return the values of isin that an array or a parameter holds."""
    if isinstance(part, Literal):
        return part.value
    name = part.name if isinstance(part, Name) else ""
    if name in binder.columns:
        binder.fail("values of isin are constants, not a column", part)
    if name not in binder.params:
        binder.unknown(name, part)
    values = binder.params[name]
    if isinstance(values, (str, bytes)) or (
        np.ndim(values) != 1 and not isinstance(values, (set, frozenset))
    ):
        binder.fail(f"parameter {name!r} is no list or one-dimensional array", part)
    return values
