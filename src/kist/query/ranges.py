"""Conditions as ranges of the keys of an index.

What is said of a column alone, by comparisons with constants, `isin`, a prefix, and these joined,
is a set of ranges of its keys. *Exact* ranges hold the keys of just the rows where the condition
holds; others hold them and perhaps more. Where there is no such set there is None, and the
condition is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kist.indexes.keys import (
    is_exact,
    missing_word,
    n_words,
    number_of,
    text_number,
)
from kist.query.nodes import (
    Column,
    CompareConstant,
    IsNull,
    Logic,
    Member,
    Node,
    Not,
    OfCodes,
    TextTest,
    column_names,
)

__all__ = ["MOST_RANGES", "KeyRanges", "both", "key_ranges"]

Range = tuple[int, int]

MOST_RANGES: Final = 1_024
"""More than that many are not looked up one by one: reading the column is as fast."""


class KeyRanges(NamedTuple):
    """Ranges of keys, both ends in them: ascending, and apart from each other.

    Attributes
    ----------
    ranges : tuple of (int, int)
        Keys as numbers (`kist.indexes.keys`).
    exact : bool
        Whether the condition holds for every row with such a key.
    nulls : bool
        Whether it holds for the nulls of a nullable column, whose keys have no place in the order.
    """

    ranges: tuple[Range, ...]
    exact: bool
    nulls: bool = False

    @property
    def are_points(self) -> bool:
        """Whether each range is a single key."""
        return not self.nulls and all(low == high for low, high in self.ranges)


def key_ranges(node: Node) -> KeyRanges | None:
    """Return the ranges of the keys of the only column of a condition, where it can be true."""
    found = _of(node) if len(column_names(node)) == 1 else None
    return None if found is None or len(found.ranges) > MOST_RANGES else found


def both(x: KeyRanges, y: KeyRanges) -> KeyRanges:
    """Return what is in both."""
    out = []
    others = iter(y.ranges)
    other = next(others, None)
    for low, high in x.ranges:
        while other is not None and other[0] <= high:
            if other[1] >= low:
                out.append((max(low, other[0]), min(high, other[1])))
            if other[1] > high:
                break
            other = next(others, None)
    return KeyRanges(tuple(out), x.exact and y.exact, x.nulls and y.nulls)


def _either(parts: Sequence[KeyRanges]) -> KeyRanges:
    every = sorted(one for part in parts for one in part.ranges)
    out: list[Range] = []
    for low, high in every:
        if out and low <= out[-1][1] + 1:
            out[-1] = out[-1][0], max(high, out[-1][1])
        else:
            out.append((low, high))
    nulls = any(part.nulls for part in parts)
    return KeyRanges(tuple(out), all(part.exact for part in parts), nulls)


def _of(node: Node) -> KeyRanges | None:
    if isinstance(node, Logic):
        parts = [_of(arg) for arg in node.args]
        known = [part for part in parts if part is not None]
        if node.op == "or":
            return _either(known) if len(known) == len(parts) else None
        if not known:
            return None
        found = known[0]
        for part in known[1:]:
            found = both(found, part)
        return found if len(known) == len(parts) else found._replace(exact=False)
    if isinstance(node, CompareConstant) and isinstance(node.x, Column):
        return _of_comparison(node.op, node.x.dtype, node.value)
    if isinstance(node, Member) and isinstance(node.x, Column):
        return _of_members(node.x.dtype, node.values)
    if isinstance(node, TextTest) and isinstance(node.x, Column) and node.func == "startswith":
        return _of_prefix(node.x.dtype, node.text)
    if isinstance(node, OfCodes) and isinstance(node.x, Column):
        places = np.flatnonzero(node.true)
        return _of_members(node.x.dtype, places) if len(places) <= MOST_RANGES else None
    if isinstance(node, IsNull) and isinstance(node.x, Column) and node.x.dtype.kind != "T":
        return KeyRanges((), True, nulls=True)
    if isinstance(node, Column) and node.dtype.kind == "b":
        return KeyRanges(((1, 1),), True)
    if isinstance(node, Not) and isinstance(node.x, Column) and node.x.dtype.kind == "b":
        return KeyRanges(((0, 0),), True)
    return None


def _ends(dtype: np.dtype[Any]) -> Range:
    """Return the first and the last key of values that are not missing."""
    last = 2 ** (64 * n_words(dtype)) - 1
    return 0, last - missing_word(dtype)


def _of_comparison(op: str, dtype: np.dtype[Any], value: Any) -> KeyRanges | None:
    found = number_of(dtype, value)
    if found is None or op == "!=":
        return None
    key, whole = found
    exact = whole and is_exact(dtype)
    first, last = _ends(dtype)
    if op == "==":
        low, high = key, key
    elif op[0] == "<":
        low, high = first, key - (op == "<" and exact)
    else:
        low, high = key + (op == ">" and exact), last
    return KeyRanges(((low, high),) if low <= high else (), exact)


def _of_members(dtype: np.dtype[Any], values: Any) -> KeyRanges | None:
    if len(values) > MOST_RANGES:
        return None
    found = [number_of(dtype, values[at]) for at in range(len(values))]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    exact = is_exact(dtype)
    return _either([KeyRanges(((key, key),), whole and exact) for key, whole in known])


def _of_prefix(dtype: np.dtype[Any], text: Any) -> KeyRanges | None:
    low, high = text_number(dtype, text, 0), text_number(dtype, text, 1)
    if low is None or high is None:
        return None
    return KeyRanges(((low[0], high[0]),), low[1] and is_exact(dtype))
