"""Computed columns: evaluated where they are read, or kept current where rows are written.

A *virtual* column has no values of its own: `fill_virtual` evaluates it, row group by row group.
A *stored* one has pages like any other: `completed` computes it for rows that are appended,
`with_computed` for rows of which other columns are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist._kernels.cells import empty_values
from kist._kernels.records import field_view
from kist.engine.parallel import run
from kist.errors import CorruptDataError, DTypeError, QueryError, UnsupportedVersionError
from kist.format.schema import Leaf
from kist.model.tables.stored.batch import Rows, contiguous, empty_batch
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.read import Span, read_leaves
from kist.model.tables.stored.schema import SchemaFacts
from kist.model.tables.stored.state import TableState, located

if TYPE_CHECKING:
    from kist.model.tables.stored.categories import Vocabularies
    from kist.query import Bound

__all__ = [
    "Computed",
    "Values",
    "check_assignable",
    "completed",
    "computed_of",
    "fill_virtual",
    "followers",
    "holds_all",
    "levels",
    "sealed_sources",
    "sources_of",
    "with_computed",
]

Array = np.ndarray[Any, Any]

MAX_LEVELS: Final = 64
"""Computed columns that are computed from each other, at most so many in a row."""


class Computed(NamedTuple):
    """What a computed column is made of.

    Attributes
    ----------
    bound : Bound
        Its expression.
    needs : dict of str to Leaf
        What that names.
    level : int
        1 where none of these is computed, else one more than the highest of them.
    """

    bound: Bound
    needs: Mapping[str, Leaf]
    level: int


def computed_of(facts: SchemaFacts, leaf: Leaf, above: int = 0) -> Computed:
    """Return the bound expression of a computed column.

    Raises
    ------
    CorruptDataError
        Columns are computed from each other in a circle.
    UnsupportedVersionError
        The expression means nothing to this kist.
    """
    found: Computed | None = facts.computed.get(leaf.id)
    if found is None:
        from kist.query import parse

        column = facts.schema.columns[leaf.column]
        if above > MAX_LEVELS:
            raise CorruptDataError(
                f"column {column.name!r} is computed from itself, or over more than {MAX_LEVELS} "
                "other columns"
            )
        others = {name: dtype for name, dtype in facts.dtypes.items() if name != column.name}
        try:
            bound = parse(column.expression, others, condition=False)
        except QueryError as error:
            raise UnsupportedVersionError(
                f"column {column.name!r} is computed from {column.expression!r}, which this kist "
                f"cannot do: {error}"
            ) from error
        if column.is_virtual and not holds_all(column.dtype, bound.dtype):
            raise UnsupportedVersionError(
                f"column {column.name!r} of {column.dtype} is computed from "
                f"{column.expression!r}, which gives {bound.dtype}"
            )
        needs = {name: facts.by_name[name] for name in bound.columns}
        below = [
            computed_of(facts, need, above + 1).level
            for need in needs.values()
            if need.id in facts.computed_ids
        ]
        found = facts.computed[leaf.id] = Computed(bound, needs, 1 + max(below, default=0))
    return found


def levels(facts: SchemaFacts) -> list[Leaf]:
    """Return the leaves of all computed columns, each behind those that it is computed from."""
    leaves = [leaf for leaf in facts.schema.leaves if leaf.id in facts.computed_ids]
    return sorted(leaves, key=lambda leaf: computed_of(facts, leaf).level)


def holds_all(dtype: np.dtype[Any], found: np.dtype[Any]) -> bool:
    """Tell whether a dtype holds all values of another; a float may be rounded."""
    inexact = found.kind in "fc" and dtype.kind == found.kind
    return bool(inexact or np.can_cast(found, dtype, "safe"))


class Values:
    """Columns of some rows: read when they are asked for, virtual ones computed.

    Parameters
    ----------
    n : int
        Number of rows.
    read : callable
        Leaf -> its values.
    known : dict of int to ndarray
        Values that are there, by the id of the leaf; more are added.
    """

    def __init__(
        self,
        facts: SchemaFacts,
        n: int,
        read: Callable[[Leaf], Array],
        known: dict[int, Array] | None = None,
    ) -> None:
        self._facts = facts
        self._n = n
        self._read = read
        self._known = {} if known is None else known

    def of(self, leaf: Leaf) -> Array:
        """Return the values of a leaf."""
        if leaf.id not in self._known:
            if leaf.is_virtual and leaf.codes is None:
                return self.compute(leaf)
            self._known[leaf.id] = self._read(leaf)
        return self._known[leaf.id]

    def compute(self, leaf: Leaf, what: str = "compute", first_row: int = 0) -> Array:
        """Return the values of a computed leaf, whatever is stored of it.

        Raises
        ------
        DTypeError
            A stored column cannot hold one of them.
        """
        computed = computed_of(self._facts, leaf)
        found = computed.bound.value(
            {name: self.of(need) for name, need in computed.needs.items()}, self._n
        )
        if leaf.is_virtual:
            with np.errstate(over="ignore"):  # a float beyond a narrower one is infinite
                found = found.astype(leaf.dtype, copy=False)
        else:
            from kist.model.cast_values import cast_values

            name = leaf.path[0]
            found = cast_values(found, leaf.dtype, column=name, first_row=first_row, what=what)
        self._known[leaf.id] = found
        return found


def sources_of(facts: SchemaFacts, leaves: Iterable[Leaf]) -> list[Leaf]:
    """Return the stored leaves that virtual ones are computed from."""
    found: dict[int, Leaf] = {}
    waiting = list(leaves)
    seen = set()
    while waiting:
        leaf = waiting.pop()
        if leaf.id in seen:
            continue
        seen.add(leaf.id)
        if leaf.codes is not None:
            found[leaf.codes] = facts.by_id[leaf.codes]
        elif leaf.is_virtual:
            waiting += computed_of(facts, leaf).needs.values()
        else:
            found[leaf.id] = leaf
    return list(found.values())


def sealed_sources(facts: SchemaFacts, leaves: Iterable[Leaf]) -> list[str]:
    """Return the sealed columns among some leaves, and among what virtual ones are computed from.

    Whoever shows values of the leaves shows something of these.
    """
    columns = facts.schema.columns
    found = (columns[leaf.column] for leaf in sources_of(facts, leaves))
    return list(dict.fromkeys(column.name for column in found if column.field))


def fill_virtual(
    state: TableState, spans: Sequence[Span], leaves: Sequence[Leaf], outs: Sequence[Array]
) -> None:
    """Fill the arrays of the virtual ones among some leaves; arguments as of `read_leaves`."""
    facts = state.facts
    mine = [(leaf, out) for leaf, out in zip(leaves, outs, strict=True) if leaf.is_virtual]
    sources = sources_of(facts, [leaf for leaf, _ in mine])

    used = {leaf.codes for leaf in _decoded(facts, [leaf for leaf, _ in mine])}
    known = {
        column.first_leaf: state.categories(column)
        for column in facts.categorical
        if column.first_leaf in used
    }

    def part(span: Span) -> None:
        columns = _read(state, span, sources)

        # Decoded in place, where that is asked for: moving text is what costs.
        targets = {leaf.id: out[span.at : span.at + span.n] for leaf, out in mine}

        def read(leaf: Leaf) -> Array:
            codes = leaf.codes
            assert codes is not None
            out = targets.get(leaf.id)
            if out is None:
                out = np.empty(span.n, leaf.dtype)
            try:
                known[codes].decode(leaf, columns[codes], out)
            except CorruptDataError as error:
                raise located(error, state, leaf.path[0], span.group.first) from error
            return out

        values = Values(facts, span.n, read, columns)
        for leaf, _ in mine:
            found = values.of(leaf)
            if found is not targets[leaf.id]:
                targets[leaf.id][...] = found

    run([partial(part, span) for span in spans])


def _decoded(facts: SchemaFacts, leaves: Sequence[Leaf]) -> list[Leaf]:
    """Return the leaves of values of categories among some virtual ones and their sources."""
    found = {}
    waiting = list(leaves)
    seen = set()
    while waiting:
        leaf = waiting.pop()
        if leaf.id in seen:
            continue
        seen.add(leaf.id)
        if leaf.codes is not None:
            found[leaf.id] = leaf
        elif leaf.is_virtual:
            waiting += computed_of(facts, leaf).needs.values()
    return list(found.values())


def _read(state: TableState, span: Span, leaves: Sequence[Leaf]) -> dict[Any, Array]:
    columns = [empty_values(span.n * leaf.n_values, leaf.dtype) for leaf in leaves]
    read_leaves(state, [span._replace(at=0)], leaves, columns)
    return {leaf.id: column for leaf, column in zip(leaves, columns, strict=True)}


# Writing


def completed(facts: SchemaFacts, rows: Rows, vocabularies: Vocabularies, first_row: int) -> Rows:
    """Return rows as they are stored, of rows as they are given.

    Parameters
    ----------
    rows : structured ndarray or Batch
        Of the dtype of ``facts.schema.given``.
    vocabularies : Vocabularies
        Of the categorical columns.
    first_row : int
        Number of the first row, for messages.
    """
    schema = facts.schema
    if schema.given is schema.kept:
        return rows
    n = len(rows)
    kept = schema.kept
    categorical = {column.id: column for column in facts.categorical}
    out: Any = np.zeros(n, kept.dtype)
    if facts.loose:
        out = empty_batch(kept.dtype, facts.loose, n)
    for column in schema.given.columns:
        if column.id in categorical:
            growing = vocabularies.of(categorical[column.id])
            out[column.name]["code"] = growing.codes(rows[column.name], first_row)
        else:
            out[column.name] = rows[column.name]

    def read(leaf: Leaf) -> Array:
        found: Array = contiguous(field_view(rows[leaf.path[0]], leaf.path[1:]))
        return found

    values = Values(facts, n, read)
    for leaf in levels(facts):
        if not leaf.is_virtual:
            out[leaf.path[0]] = values.compute(leaf, "append")
    return out  # type: ignore[no-any-return]


def check_assignable(facts: SchemaFacts, leaves: Iterable[Leaf]) -> None:
    """Raise `DTypeError` when a computed column is among leaves that get values."""
    for leaf in leaves:
        if leaf.id in facts.computed_ids:
            column = facts.schema.columns[leaf.column]
            raise DTypeError(
                f"column {column.name!r} is computed from {column.expression!r}; "
                "change what it is computed from, its own values cannot be given",
                column=column.name,
            )


def followers(facts: SchemaFacts, changed: Iterable[int]) -> list[Leaf]:
    """Return the stored computed leaves that change with some leaves, in order."""
    touched = set(changed)
    found = []
    for leaf in levels(facts):
        if any(need.id in touched for need in computed_of(facts, leaf).needs.values()):
            touched.add(leaf.id)
            if not leaf.is_virtual:
                found.append(leaf)
    return found


def with_computed(
    state: TableState,
    group: Group,
    ordinals: range | Array,
    leaves: Sequence[Leaf],
    values: Sequence[Array],
) -> tuple[Sequence[Leaf], Sequence[Array]]:
    """Return leaves and their new values, with the stored columns that are computed from them.

    Parameters
    ----------
    group, ordinals
        The rows that get new values.
    leaves, values : sequence
        Ascending by id, as they come back.
    """
    facts = state.facts
    if not facts.computed_ids:
        return leaves, values
    check_assignable(facts, leaves)
    order = followers(facts, [leaf.id for leaf in leaves])
    if not order:
        return leaves, values
    n = len(ordinals)
    span = Span(group, ordinals, 0)
    known = {leaf.id: contiguous(new).reshape(-1) for leaf, new in zip(leaves, values, strict=True)}
    rows = Values(facts, n, lambda leaf: _read(state, span, [leaf])[leaf.id], known)
    pairs = list(zip(leaves, values, strict=True))
    pairs += [(leaf, rows.compute(leaf, "update")) for leaf in order]
    pairs.sort(key=lambda pair: pair[0].id)
    return [leaf for leaf, _ in pairs], [new for _, new in pairs]
