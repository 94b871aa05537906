"""Upserting: rows whose key is there are updated, the others appended.

Rows are taken some at a time. Their keys become numbers: each key column has its values sorted,
and a row's key is the place of its value; those of several columns are combined and made dense
again. The same is done to the rows of the table that the values let through (a condition with
`isin`, so statistics of pages count), which tells for each the row given that has its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist._kernels import records
from kist._kernels.cells import empty_values
from kist._kernels.sets import ascending
from kist._kernels.strings import missing_of
from kist._kernels.textwords import TextNumbering
from kist.codecs.strings import block_of
from kist.errors import ConstraintError, DTypeError, SelectionError
from kist.format.nullable import dtype_text
from kist.format.schema import Leaf
from kist.model.frames.incoming import Incoming
from kist.model.tables.changes.change import Changes, in_order
from kist.model.tables.changes.update import all_found
from kist.model.tables.changes.write import append_blocks, by_group
from kist.model.tables.input.values import blocks_of, refuse_in_clear
from kist.model.tables.query.find import Found, find_rows
from kist.model.tables.stored.batch import Batch, Rows
from kist.model.tables.stored.computed import check_assignable
from kist.model.tables.stored.fields import field_at, parse_path
from kist.model.tables.stored.read import Span, as_ordinals, as_run, read_leaves
from kist.model.tables.stored.state import TableState, state_of
from kist.query import Expr, column, isin, parse

if TYPE_CHECKING:
    from kist.engine import Transaction

__all__ = ["Upserted", "upsert_rows"]

Array = np.ndarray[Any, Any]

ROWS_AT_ONCE: Final = 1 << 20
BYTES_AT_ONCE: Final = 64 << 20
"""Rows given are looked for in the table so many at a time: each time its keys are read."""

_SORTED_KINDS: Final = "biufmMSUT"


class Upserted(NamedTuple):
    """What `Table.upsert` did.

    Attributes
    ----------
    n_updated : int
        Rows of the table that had one of the keys.
    n_appended : int
        Rows that are new.
    """

    n_updated: int
    n_appended: int


def upsert_rows(
    txn: Transaction, state: TableState, data: Any, on: str | Sequence[str]
) -> Upserted:
    """Update the rows that have the key of one that is given, and append the other ones.

    Parameters
    ----------
    state : TableState
        The table as `txn` shows it.
    data
        Rows, as `Table.append` takes them.
    on : str or sequence of str
        The key columns.
    """
    what = f"upsert into {state.path!r}"
    refuse_in_clear(data, state.schema, what)
    names = [on] if isinstance(on, str) else list(on)
    keys = [_key_leaf(state, name, what) for name in names]
    if not keys or len(set(keys)) < len(keys):
        raise SelectionError(f"{what}: on= names the key columns, each once, not {on!r}")
    data, given = _given_names(data, what)
    for leaf in keys:
        if given is not None and leaf.path[0] not in given:
            raise DTypeError(f"{what}: the rows have no key column {'.'.join(leaf.path)!r}")
    leaves = [
        leaf
        for leaf in state.schema.leaves
        if leaf.id not in state.facts.computed_ids
        and leaf not in keys
        and (given is None or leaf.path[0] in given)
    ]
    n_rows = max(
        state.facts.group_rows, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(1, state.facts.row_nbytes))
    )
    done = Upserted(0, 0)
    first = 0
    for rows in by_group(blocks_of(data, state.schema, state.path, what), n_rows):
        state = state_of(txn, state.node, state.path)
        n_updated, n_appended = _upsert(txn, state, rows, keys, leaves, what, first)
        done = Upserted(done.n_updated + n_updated, done.n_appended + n_appended)
        first += len(rows)
    return done


def _key_leaf(state: TableState, name: str, what: str) -> Leaf:
    fields = field_at(state.schema, parse_path(state.schema, name))
    if fields.is_structured or fields.item_shape or fields.dtype.kind not in _SORTED_KINDS:
        raise DTypeError(
            f"{what}: column {name!r} of {dtype_text(fields.dtype)} cannot be a key; integers, "
            "floats, bools, times and text can",
            column=name,
        )
    check_assignable(state.facts, fields.stored)
    return fields.stored[0]


def _given_names(data: Any, what: str) -> tuple[Any, set[str] | None]:
    """Return the data, and which columns they bring; None for all.

    A column that is not brought keeps its values in rows that are there.
    """
    if isinstance(data, Incoming):
        return data, {name for name, _ in data.fields}
    if isinstance(data, dict):
        return data, set(data)
    if hasattr(data, "__next__"):
        rows = iter(data)
        first = next(rows, None)
        if first is None:
            return [], None
        given = _names_of(first)
        return _alike(first, rows, given, what), given
    if isinstance(data, list):
        given = _names_of(data[0]) if data else None
        return list(_alike(data[0], iter(data[1:]), given, what)) if data else data, given
    return data, _names_of(data)


def _names_of(row: Any) -> set[str] | None:
    if isinstance(row, Mapping):
        return set(row)
    dtype = getattr(row, "dtype", None)
    names = getattr(dtype, "names", None)
    return None if names is None else set(names)


def _alike(first: Any, others: Iterable[Any], given: set[str] | None, what: str) -> Iterator[Any]:
    """Yield rows again; raises when one brings other columns than the first."""
    yield first
    for row in others:
        if _names_of(row) != given:
            raise DTypeError(
                f"{what}: rows bring different columns, and those that are missing would keep "
                "their values in some rows only; upsert them apart"
            )
        yield row


def _upsert(
    txn: Transaction,
    state: TableState,
    rows: Rows,
    keys: Sequence[Leaf],
    leaves: Sequence[Leaf],
    what: str,
    first: int,
) -> tuple[int, int]:
    given = _columns(rows, keys)
    numbers = _Numbers(given, keys, what, first)
    order = in_order(leaves)
    leaves = [leaves[i] for i in order]
    values = [
        column.reshape(len(rows), *leaf.shape)
        for column, leaf in zip(_columns(rows, leaves), leaves, strict=True)
    ]
    changes = Changes(txn, state)
    there = np.zeros(len(rows), bool)
    n_updated = 0
    for some in _candidates(state, given, keys):
        for hit in some:
            n = len(hit.ordinals)
            columns = [empty_values(n, leaf.dtype) for leaf in keys]
            read_leaves(state, [Span(hit.group, hit.ordinals, 0)], keys, columns)
            row = numbers.find(columns)
            found = np.flatnonzero(row >= 0)
            if not len(found):
                continue
            row = row[found]
            there[row] = True
            n_updated += len(row)
            if leaves:
                ordinals = as_run(as_ordinals(hit.ordinals)[found])
                changes.assign(hit.group, ordinals, leaves, [column[row] for column in values])
    changes.finish()
    new = numbers.distinct[~there[numbers.distinct]]
    n_appended = 0
    if len(new):
        part = rows if len(new) == len(rows) else rows[new]
        n_appended = append_blocks(txn, state_of(txn, state.node, state.path), (part,))
    return n_updated, n_appended


def _columns(rows: Rows, leaves: Sequence[Leaf]) -> list[Array]:
    """Return one flat array per leaf."""
    if isinstance(rows, Batch):
        return rows.columns(leaves)
    return [column.reshape(-1) for column in records.split(rows, leaves)]


def _candidates(
    state: TableState, given: Sequence[Array], keys: Sequence[Leaf]
) -> Iterable[Sequence[Found]]:
    """Return rows of the table among which those with one of the keys are."""
    condition: Expr | None = None
    for values, leaf in zip(given, keys, strict=True):
        if values.dtype.kind in "fmM" and bool((values != values).any()):
            continue  # isin finds no NaN, which is a key as any other here
        part = isin(column(".".join(leaf.path)), values)
        condition = part if condition is None else condition & part
    if condition is None:
        return all_found(state)
    return find_rows(state, parse(condition, state.facts.columns))


class _Numbers:
    """Keys as numbers.

    Parameters
    ----------
    columns : sequence of ndarray, shape (n,)
        Key columns of the rows that are given.

    Attributes
    ----------
    last : ndarray of int64
        For each distinct key the last row that has it.
    distinct : ndarray of int64
        The same in the order in which the keys came first.
    """

    def __init__(
        self, columns: Sequence[Array], keys: Sequence[Leaf], what: str, first: int
    ) -> None:
        n = len(columns[0])
        codes = np.zeros(n, np.int64)
        self._steps: list[tuple[Array, Array]] = []
        self._texts = [TextNumbering() if leaf.is_string else None for leaf in keys]
        for values, leaf, texts in zip(columns, keys, self._texts, strict=True):
            missing = missing_of(values) if leaf.is_string else None
            if missing is not None and missing.any():
                name = ".".join(leaf.path)
                raise ConstraintError(
                    f"{what}: row {first + int(missing.argmax())}, column {name!r}: a missing "
                    "value is no key; nothing was changed"
                )
            native = _native(values, texts)
            distinct = ascending(native) if native.dtype.kind in "iu" else np.unique(native)
            codes = codes * len(distinct) + distinct.searchsorted(native)
            known, codes = np.unique(codes, return_inverse=True)
            self._steps.append((distinct, known))
        n_keys = len(known)
        self.last = np.zeros(n_keys, np.int64)
        self.last[codes] = np.arange(n)  # of equal places the latest assignment stays
        came = np.zeros(n_keys, np.int64)
        came[codes[::-1]] = np.arange(n)[::-1]
        self.distinct = self.last[came.argsort()]

    def find(self, columns: Sequence[Array]) -> Array:
        """Return for each row of the table the last row given that has its key, -1 for none."""
        n = len(columns[0])
        codes = np.zeros(n, np.int64)
        found = np.ones(n, bool)
        for values, texts, (distinct, known) in zip(columns, self._texts, self._steps, strict=True):
            missing = None if texts is None else missing_of(values)
            if missing is not None and missing.any():
                found &= ~missing
                values[missing] = ""
            values = _native(values, texts)
            places = _places(distinct, values)
            found &= _equal(distinct[places], values)
            codes = codes * len(distinct) + places
            places = _places(known, codes)
            found &= known[places] == codes
            codes = places
        return np.where(found, self.last[codes], -1)


def _native(values: Array, texts: TextNumbering | None) -> Array:
    """Return values that can be sorted and searched: of strings a number for each.

    NumPy's `searchsorted` does not find strings of 16 bytes or more of another array (2.0 to 2.4).
    """
    if texts is not None:
        return texts.number(*block_of(values))
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _places(distinct: Array, values: Array) -> Array:
    places = distinct.searchsorted(values)
    places[places == len(distinct)] = 0
    return places


def _equal(some: Array, others: Array) -> Array:
    """Return which are equal; NaN and NaT are equal to themselves."""
    equal: Array = some == others
    if some.dtype.kind in "fmM":
        equal |= (some != some) & (others != others)
    return equal
