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
    state: TableState,
    names: Mapping[str, Leaf],
    asked: Mapping[int, Sequence[Bound]],
    too_many: dict[int, int] | None = None,
) -> Iterator[tuple[int, Array, list[Bound]]]:
    """Yield where conditions on one column hold among all rows of groups, deleted ones too.

    Parameters
    ----------
    asked : mapping of int to sequence of Bound
        What must hold in each group, the cheapest first.
    too_many : dict of int to int, optional
        Given by who only counts: takes by how many a mask is true too often, because of nulls
        for which it says what holds for the zero under them.

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
        wrong = {} if too_many is None else _of_zero(state, names, name, asked, indexes)
        valids = _valid(state, names, name, groups, own, [index in wrong for index in indexes])
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
            if rest and index in wrong:
                continue  # which of its rows are null must be known
            if mask is not None:
                if too_many is not None and index in wrong:
                    too_many[index] = wrong[index]
                yield index, mask, rest


def _of_zero(
    state: TableState,
    names: Mapping[str, Leaf],
    name: str,
    asked: Mapping[int, Sequence[Bound]],
    indexes: Sequence[int],
) -> dict[int, int]:
    """Return in how many nulls of groups all holds for the zero under them and not for null.

    It is a negative number where it is the other way round. Groups are left out of which this is
    not known, or not enough: because rows are deleted, or more is asked than of this column.
    """
    said = state.facts.nullable.get(name)
    if said is None:
        return {}
    n_null = known_nulls(state, names[name], names[said])
    found = {}
    for index in indexes:
        group, parts = state.layout.group(index), asked[index]
        of_one = all(part.columns == (name,) for part in parts)
        if n_null[index] >= 0 and of_one and group.n_live == group.n_rows:
            of_zero = all(part.zero_truth for part in parts)
            of_null = all(part.null_truth for part in parts)
            found[index] = int(n_null[index]) * (of_zero - of_null)
    return found


def _valid(
    state: TableState,
    names: Mapping[str, Leaf],
    name: str,
    groups: Sequence[Group],
    asked: Sequence[Sequence[Bound]],
    counted: Sequence[bool],
) -> list[Array | None]:
    """Return where a column has values in some groups, None where that does not matter.

    So it is where nulls are `counted`, and need not be known one by one.
    """
    said = state.facts.nullable.get(name)
    if said is None:
        return [None] * len(groups)
    # Before its pages are looked at: these stand in memory that reading takes.
    found: list[Array | None] = []
    for group, parts, is_counted in zip(groups, asked, counted, strict=True):
        if is_counted or nulls_are_left_out(state, names[name], names[said], group, parts):
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

    So it is where there is none, and where zero stands under all of them and one of the conditions
    holds for neither; then nobody needs to know where they are.
    """
    place = int(state.layout.firsts.searchsorted(group.first))
    n_null = known_nulls(state, leaf, valid)[place]
    return bool(n_null == 0 or (n_null > 0 and any(part.is_false_of_null for part in parts)))


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
