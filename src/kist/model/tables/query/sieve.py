"""Rows of several row groups where conditions hold, looked for in all of them at once.

A group by itself costs as much Python as work on its pages. So the first column is compared on the
narrow integers of its pages, those of several groups together (`kist.engine.batches`); further
conditions read the rows that are left, of all these groups at once, where they are few. Pieces are
small: all their rows are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kist._kernels.cells import empty_values
from kist.format.schema import Leaf
from kist.model.tables.query.bounds import known_nulls
from kist.model.tables.stored.encoded import narrow_pages
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.read import (
    Span,
    as_ordinals,
    as_run,
    read_leaves,
)
from kist.model.tables.stored.state import TableState
from kist.query import Bound
from kist.query.narrow import Known, holds, may_be_narrow

__all__ = ["Candidates", "masks_of", "nulls_are_left_out", "sieve"]

Array = np.ndarray[Any, Any]

FEW: Final = 8
"""Below one row in `FEW` the next part of a condition reads the blocks of those rows only."""


class Candidates(NamedTuple):
    """Rows of a group among which to look.

    Attributes
    ----------
    place : int
        Of the group in the layout.
    ordinals : range or ndarray of int64
        Its live rows, ascending; at least one.
    parts : sequence of Bound
        What must hold for them, the cheapest first.
    """

    place: int
    ordinals: range | Array
    parts: Sequence[Bound]


def masks_of(
    state: TableState, names: Mapping[str, Leaf], asked: Mapping[int, Sequence[Bound]]
) -> Iterator[tuple[int, Array, list[Bound]]]:
    """Yield where conditions on one column hold among all rows of groups, deleted ones too.

    Parameters
    ----------
    asked : mapping of int to sequence of Bound
        What must hold in each group, the cheapest first.

    Yields
    ------
    index : int
        Place of the group. Groups where this takes the values of the column are left out.
    mask : ndarray of bool
        Where all conditions on the first column hold. May be written to.
    rest : list of Bound
        The others.
    """
    by_column: dict[str, list[int]] = {}
    every = {id(part): part for parts in asked.values() for part in parts}
    may = {key: len(part.columns) == 1 and may_be_narrow(part) for key, part in every.items()}
    for index, parts in asked.items():
        if parts and may[id(parts[0])]:
            by_column.setdefault(parts[0].columns[0], []).append(index)
    known: Known = {}
    layout = state.layout
    for name, indexes in by_column.items():
        groups = [layout.group(index) for index in indexes]
        own = [[part for part in asked[index] if part.columns == (name,)] for index in indexes]
        valids = _valid(state, names, name, groups, own)
        for number, page in narrow_pages(state, names[name], groups):
            index, valid = indexes[number], valids[number]
            mask: Array | None = None
            rest = []
            for part in asked[index]:
                same = may[id(part)] and part.columns[0] == name
                one = holds(part, page, valid, known) if same else None
                if one is None:
                    rest.append(part)
                else:
                    mask = one if mask is None else np.logical_and(mask, one, out=mask)
            if mask is not None:
                yield index, mask, rest


def _valid(
    state: TableState,
    names: Mapping[str, Leaf],
    name: str,
    groups: Sequence[Group],
    asked: Sequence[Sequence[Bound]],
) -> list[Array | None]:
    """Return where a column has values in some groups, None where that does not matter."""
    said = state.facts.nullable.get(name)
    if said is None:
        return [None] * len(groups)
    # Before its pages are looked at: these stand in memory that reading takes.
    found: list[Array | None] = []
    for group, parts in zip(groups, asked, strict=True):
        if nulls_are_left_out(state, names[name], names[said], group, parts):
            found.append(None)
            continue
        span = Span(group, range(group.n_rows), 0)
        valid = _read(state, names, [said], [span], group.n_rows)[said]
        found.append(None if valid.all() else valid)
    return found


def nulls_are_left_out(
    state: TableState, leaf: Leaf, valid: Leaf, group: Group, parts: Sequence[Bound]
) -> bool:
    """Tell whether conditions on a nullable column cannot all hold where a group has a null.

    So it is where zero stands under all of them and one of the conditions holds for neither; then
    nobody needs to know where they are.
    """
    if not any(part.is_false_of_null for part in parts):
        return False
    place = int(state.layout.firsts.searchsorted(group.first))
    return bool(known_nulls(state, leaf, valid)[place] >= 0)


def sieve(
    state: TableState, names: Mapping[str, Leaf], some: Sequence[Candidates]
) -> Iterator[Candidates]:
    """Yield those of some rows of groups where conditions hold, as long as few rows are left.

    Yields
    ------
    Candidates
        With the conditions that were not asked; groups without any row are left out.
    """
    left = list(some)
    while left:
        by_part: dict[int, list[Candidates]] = {}
        for one in left:
            group = state.layout.group(one.place)
            few = len(one.ordinals) * FEW < group.n_rows
            if one.parts and (few or not group.is_pages):
                by_part.setdefault(id(one.parts[0]), []).append(one)
            else:
                yield one
        left = []
        for same in by_part.values():
            for one, kept in zip(same, _asked_of(state, names, same), strict=True):
                if len(kept):
                    left.append(Candidates(one.place, as_run(kept), one.parts[1:]))


def _asked_of(
    state: TableState, names: Mapping[str, Leaf], same: Sequence[Candidates]
) -> list[Array]:
    """Return the rows of groups where the first condition holds, which is the same for all."""
    part = same[0].parts[0]
    facts = state.facts
    spans, n = [], 0
    for one in same:
        spans.append(Span(state.layout.group(one.place), one.ordinals, n))
        n += len(one.ordinals)
    columns = _read(state, names, facts.needs(part.columns), spans, n)
    true = part.evaluate(columns, n, facts.valid(part.columns, columns))
    return [as_ordinals(span.ordinals)[true[span.at : span.at + span.n]] for span in spans]


def _read(
    state: TableState,
    names: Mapping[str, Leaf],
    wanted: Sequence[str],
    spans: Sequence[Span],
    n: int,
) -> dict[str, Array]:
    """Return columns of some rows."""
    leaves = [names[name] for name in wanted]
    columns = [empty_values(n * leaf.n_values, leaf.dtype) for leaf in leaves]
    read_leaves(state, spans, leaves, columns)
    return dict(zip(wanted, columns, strict=True))
