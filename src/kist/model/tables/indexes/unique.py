"""Unique indexes: rows whose key another row has are refused, whichever step brings them.

As in SQL, a missing value (NaN, NaT, a missing string, no category) is not equal to another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kist._kernels.sets import ascending, members
from kist._kernels.strings import missing_of
from kist.engine import parallel
from kist.errors import ConstraintError
from kist.indexes.keys import joined, words_of
from kist.indexes.runs import Run
from kist.model.tables.indexes.index import Index, covered_groups, read_indexes
from kist.model.tables.indexes.keyparts import KeyPart
from kist.model.tables.query.find import Found, positions_of
from kist.model.tables.stored.read import Span, as_ordinals, as_run, group_spans, read_leaves
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.engine import View

__all__ = ["check_all", "check_new_rows", "check_rows"]

Array = np.ndarray[Any, Any]

_SHOWN: Final = 3
"""Keys that an error names."""

_ROWS: Final = 1_000
"""Rows of such a key that are looked at, where all have it."""

_STEP: Final = 65_536
"""Entries that are looked at together."""
_MANY: Final = 262_144
"""Keys, and rows, from which on it is asked whether one of them is refused."""


def check_rows(state: TableState, indexes: Iterable[Index], rows: Array, what: str) -> None:
    """Raise when rows that are new, or have new values, have a key of other rows.

    Parameters
    ----------
    state : TableState
        The table with these rows.
    indexes : iterable of Index
        Its indexes, as they are now.
    rows : ndarray of int64
        Row ids, ascending.
    what : str
        What was done, for messages.

    Raises
    ------
    ConstraintError
        Names the index, the key and the rows.
    """
    for index in indexes:
        if index.record.unique and len(rows):
            _check(state, index, rows, what)


def check_new_rows(state: TableState, first: int, what: str) -> None:
    """Raise when rows from a row id on have a key of other rows."""
    indexes = read_indexes(state)
    if indexes:
        check_rows(state, indexes, np.arange(first, state.tail.next_row), what)


def _check(state: TableState, index: Index, rows: Array, what: str) -> None:
    spans, n = _spans_of(state, rows)
    words = [word for leaf in index.leaves for word in words_of(_read(state, leaf, spans, n))]
    wanted = joined(words)
    wanted = ascending(wanted[~_missing(index, wanted)])
    if not len(wanted):
        return
    parts = [rows, *_scanned(state, index, wanted)]
    parts += [run.matching(state.view, wanted) for run in index.runs]
    _refuse(state, index, ascending(np.concatenate(parts)), what, rows)


def check_all(state: TableState, index: Index, what: str) -> None:
    """Raise when two rows of the table have one key; the runs cover all rows, and are new.

    Keys that come twice are found in the runs alone. Only then are rows looked at: a few of each
    of the first keys where a key is all of a value, so that it makes no difference how many rows
    have it; else all, because they may differ behind what is kept of them.
    """
    exact = index.is_exact
    for some, is_all in _keys_twice(state, index):
        others = None if is_all else "perhaps others"
        if exact:
            every = [_rows_of(state, index, some[at : at + 1]) for at in range(_SHOWN)]
            rows = ascending(np.concatenate([ascending(rows)[:_ROWS] for rows in every]))
            n_more = len(some) - _SHOWN
            more = f"{'at least ' * (not is_all)}{n_more:,} more keys" if n_more > 0 else ""
            _refuse(state, index, rows, what, more=more)
        if sum(run.n for run in index.runs) > _MANY:
            # Among some of so many there are most likely two that are equal.
            rows = ascending(_rows_of(state, index, some[:_SHOWN]))[:_MANY]
            _refuse(state, index, rows, what, more="perhaps others")
        rows = ascending(_rows_of(state, index, some))
        _refuse(state, index, rows, what, more=others)


def _rows_of(state: TableState, index: Index, wanted: Array) -> Array:
    """Return the rows that have one of some keys, which ascend."""
    parts = [run.matching(state.view, wanted) for run in index.runs]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _keys_twice(state: TableState, index: Index) -> Iterator[tuple[Array, bool]]:
    """Yield keys that several entries have, ascending; and whether these are all that are left.

    Not those of missing values.
    """
    view = state.view
    parts: list[Array] = []
    n = 0
    for at, run in enumerate(index.runs):
        last: Array | None = None
        for values in _blocks(view, run):
            values = values[~_missing(index, values)]
            # With the last key of the block before.
            some = values if last is None else np.concatenate((last, values))
            if not len(some):
                continue
            same = some[1:] == some[:-1]
            parts.append(ascending(some[1:][same]))
            distinct = some[np.append(True, ~same)]
            parts += [distinct[other.has(view, distinct)] for other in index.runs[:at]]
            n += sum(len(part) for part in parts[-1 - at :])
            last = some[-1:]
            if n > _MANY:
                yield ascending(np.concatenate(parts)), False
                parts, n = [], 0
    if n:
        yield ascending(np.concatenate(parts)), True


def _blocks(view: View, run: Run) -> Iterator[Array]:
    for start in range(0, run.n, _STEP):
        yield run.keys(view, start, min(start + _STEP, run.n))


def _missing(index: Index, values: Array) -> Array:
    """Return which keys have a missing value among theirs, which is equal to no other."""
    found = np.zeros(len(values), bool)
    n_words = index.record.n_words
    matrix = values.view(np.uint64 if n_words == 1 else ">u8").reshape(len(values), n_words)
    at = 0
    for part in index.parts:
        found |= part.missing(matrix[:, at : at + part.n_words])
        at += part.n_words
    return found


def _scanned(state: TableState, index: Index, wanted: Array) -> list[Array]:
    """Return the rows that have one of some keys in the groups that the index does not know."""
    layout = state.layout

    def work(place: int) -> Array:
        # Of each group only what may be meant is kept: of a large table all may be scanned.
        span = group_spans(state, layout.group(place))
        values = [_read(state, leaf, [span], span.n) for leaf in index.leaves]
        keys = joined([word for column in values for word in words_of(column)])
        return (as_ordinals(span.ordinals) + span.group.first)[members(keys, wanted)]

    places = np.flatnonzero(~covered_groups(index, layout)).tolist()
    return parallel.run([partial(work, place) for place in places])


def _spans_of(state: TableState, rows: Array) -> tuple[list[Span], int]:
    """Return the live ones of some rows."""
    layout = state.layout
    spans = []
    n = 0
    place = layout.firsts.searchsorted(rows, "right") - 1
    for at in ascending(place[place >= 0]).tolist():
        group = layout.group(at)
        low, high = rows.searchsorted((group.first, group.first + group.n_rows))
        alive = as_ordinals(group_spans(state, group).ordinals)
        some = np.intersect1d(alive, rows[low:high] - group.first, assume_unique=True)
        if len(some):
            spans.append(Span(group, as_run(some), n))
            n += len(some)
    return spans, n


def _read(state: TableState, leaf: Any, spans: Sequence[Span], n: int) -> Array:
    values = np.empty(n, leaf.dtype)
    if n:
        read_leaves(state, spans, [leaf], [values])
    return values


def _refuse(
    state: TableState,
    index: Index,
    rows: Array,
    what: str,
    new: Array | None = None,
    more: str | None = None,
) -> None:
    """Raise when among some rows two have one key, one of them new.

    `more` says which keys there are beside those that are named, if only the caller knows.
    """
    spans, n = _spans_of(state, rows)
    if not n:
        return
    ids = np.concatenate([as_ordinals(span.ordinals) + span.group.first for span in spans])
    columns = [_read(state, part.leaf, spans, n) for part in index.parts]
    there = np.ones(n, bool)
    for part, values in zip(index.parts, columns, strict=True):
        if part.is_code:
            there &= values != 0
            continue
        if part.valid is not None:
            there &= _read(state, part.valid, spans, n)
        missing = missing_of(values) if values.dtype.kind == "T" else values != values
        if missing is not None:
            there &= ~missing
    ids = ids[there]
    codes = np.zeros(len(ids), np.int64)
    for values in columns:
        plain = values[there]
        if plain.dtype.kind == "T":
            plain = plain.astype(np.dtypes.StringDType())
        distinct, inverse = np.unique(plain, return_inverse=True)
        codes = np.unique(codes * len(distinct) + inverse, return_inverse=True)[1]
    count = np.bincount(codes)
    bad = count[codes] > 1
    if new is not None:
        mine = np.zeros(len(count), bool)
        mine[codes[members(ids, new)]] = True
        bad &= mine[codes]
    if not bad.any():
        return
    names = ", ".join(map(repr, index.columns))
    parts = []
    for code in codes[bad][np.sort(np.unique(codes[bad], return_index=True)[1])][:_SHOWN]:
        same = np.flatnonzero(codes == code)
        key = ", ".join(
            _shown(state, part, values[there][same[:1]])
            for part, values in zip(index.parts, columns, strict=True)
        )
        places = [_position(state, int(row)) for row in ids[same[:5]]]
        shown = ", ".join(map(str, places[:-1])) + f" and {places[-1]}"
        if index.field:
            key = "the same, which is sealed"  # messages end in logs
        parts.append(f"rows {shown}{' and others' * (len(same) > 5)} have {key}")
    if more is None:
        n_more = len(np.unique(codes[bad])) - len(parts)
        more = f"{n_more:,} more keys" if n_more else ""
    told = "; ".join(parts) + f", and {more}" * bool(more)
    raise ConstraintError(
        f"{what}: the index {index.record.name!r} is unique, and column{'s' * (len(columns) > 1)} "
        f"{names} would hold one key several times: {told}; nothing was changed"
    )


def _shown(state: TableState, part: KeyPart, value: Array) -> str:
    """Return one value as a message shows it."""
    if part.is_code:
        known = state.categories(state.schema.columns[part.leaf.column])
        known.check(value)
        value = known.table()[value]
    return repr(value.tolist()[0])


def _position(state: TableState, row: int) -> int:
    """Return the position of a row id."""
    layout = state.layout
    place = int(layout.firsts.searchsorted(row, "right")) - 1
    group = layout.group(place)
    at = row - group.first
    return int(positions_of(state, Found(place, group, range(at, at + 1)))[0])
