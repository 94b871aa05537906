"""What statistics say of the columns of a condition: stored, nullable and virtual ones.

A virtual column has no pages. Between which values its own lie in a row group is computed from the
statistics of the columns that it is computed from, as for a condition that holds its expression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from kist.format.schema import Leaf
from kist.indexes.statistics import Bounds
from kist.model.tables.stored.computed import computed_of
from kist.model.tables.stored.schema import SchemaFacts
from kist.model.tables.stored.state import TableState
from kist.query.intervals import interval_of
from kist.query.nodes import BOOL
from kist.query.prune import judge

__all__ = ["HasBounds", "bounds_of", "known_nulls"]

Array = np.ndarray[Any, Any]


class HasBounds(Protocol):
    """What has statistics of some groups of rows: a table, or the parts of one in other files."""

    @property
    def facts(self) -> SchemaFacts:
        """What is derived from the schema."""

    def bounds(self, leaf: Leaf) -> Bounds:
        """Return the statistics of a leaf, one entry per group."""

    def bounds_of_valid(self, leaf: Leaf) -> Bounds:
        """Return the same of the values of a nullable column that are there."""


def bounds_of(state: HasBounds, names: Mapping[str, Leaf]) -> dict[str, Bounds]:
    """Return the statistics of columns, with nulls where some of a nullable one may be."""
    nullable = state.facts.nullable
    found = {
        name: state.bounds_of_valid(leaf) if name in nullable else state.bounds(leaf)
        for name, leaf in names.items()
    }
    for name, leaf in names.items():
        if leaf.is_virtual and leaf.codes is None and leaf.id in state.facts.computed_ids:
            found[name] = _of_virtual(state, leaf, found[name])
    for name, valid in nullable.items():
        if name in found:
            there, own = found[valid], found[name]
            some, every = there.hi | ~there.known, there.lo & there.known
            found[name] = replace(own, n_null=(~every).astype(np.uint32), empty=own.empty | ~some)
    return found


def _of_virtual(state: HasBounds, leaf: Leaf, unknown: Bounds) -> Bounds:
    """Return between which values those of a virtual column lie."""
    computed = computed_of(state.facts, leaf)
    node, n = computed.bound.node, len(unknown)
    if leaf.dtype.kind not in "biuf" or leaf.n_values != 1:
        return unknown
    known_of = bounds_of(state, computed.needs)
    if node.dtype == BOOL:
        truth = judge(node, known_of, n)
        lo, hi = ~truth.can_false, truth.can_true
        nan, empty = np.zeros(n, bool), np.zeros(n, bool)
        # A page of no values can be neither.
        known = ~truth.can_null & (truth.can_true | truth.can_false)
    else:
        found = interval_of(node, known_of, n)
        if found is None:
            return unknown
        lo, hi = (np.broadcast_to(end, (n,)) for end in (found.lo, found.hi))
        nan, empty, known = found.nan, found.empty, found.known & ~found.null
    with np.errstate(all="ignore"):  # as `Values.compute`: too large a float is infinite
        lo, hi = (end.astype(unknown.lo.dtype) for end in (lo, hi))
    no = np.zeros(n, bool)
    return Bounds(
        leaf.dtype,
        lo,
        hi,
        nan.astype(np.uint32),
        np.zeros(n, np.uint32),
        known,
        empty & known,
        lo_exact=no,
        hi_exact=no,
    )


def known_nulls(state: TableState, leaf: Leaf, valid: Leaf | None) -> Array:
    """Return how many nulls each group has as its statistics tell, -1 where they do not.

    Where they do, zero stands under every null.
    """
    number = -1 if valid is None else valid.id
    return state.once(f"nulls {leaf.id} {number}", lambda: _known_nulls(state, leaf, valid))


def _known_nulls(state: TableState, leaf: Leaf, valid: Leaf | None) -> Array:
    groups = state.layout.groups
    if leaf.is_virtual:
        return np.full(len(groups), -1)
    own = state.bounds_of_valid(leaf)
    # A writer that knows no nullable columns counts none. And what stands under a null and is
    # not zero is counted as a value; then neither bound is said to be one.
    sure = own.known if valid is None else own.known & (own.n_null > 0)
    if valid is not None:
        sure &= own.empty | (own.lo_exact & own.hi_exact)
    n_null = np.where(sure, own.n_null.astype(np.int64), -1)
    if valid is not None:
        there = state.bounds(valid)
        n_null[there.known & there.lo.astype(bool)] = 0
    n_null[[bool(group.patches) for group in groups]] = -1
    return n_null
