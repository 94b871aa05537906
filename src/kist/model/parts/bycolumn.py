"""One part for each value of a column: which row groups hold which, and their rows dealt out.

The column is read once to learn its values, and where a row group holds several of them once more
to deal out its rows. A row group of a single value is copied as bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.errors import DTypeError, TooLargeError
from kist.model.parts.tablesink import TableSink, read_columns
from kist.model.parts.unequal import Fit
from kist.model.summary import is_missing
from kist.model.tables.stored.fields import Fields, field_at, parse_path, read_spans
from kist.model.tables.stored.read import Span, as_ordinals, as_run, group_spans
from kist.model.tables.stored.state import TableState

if TYPE_CHECKING:
    from kist.format.schema import Schema

__all__ = ["Values", "deal_out", "values_of"]

Array = np.ndarray[Any, Any]

MAX_VALUES: Final = 10_000
"""Each value is a file."""

_WAITING_BYTES: Final = 24 << 20
"""Rows of all parts that wait for more of their value."""


class Values(NamedTuple):
    """The values of a column.

    Attributes
    ----------
    shown : list of str
        Each as text, in order; the missing ones are one, "missing", and last.
    counts : list of int
        Rows of each.
    groups : list of ndarray of int
        For each row group which of them it holds, ascending.
    places : dict
        Value -> its place.
    """

    shown: list[str]
    counts: list[int]
    groups: list[Array]
    places: dict[Any, int]


def _fields(schema: Schema, name: str) -> Fields:
    fields = field_at(schema, parse_path(schema, name))
    if not fields.is_nullable and (fields.is_structured or fields.item_shape):
        raise DTypeError(f"cannot split by {name!r}: it has several values a row", column=name)
    if fields.dtype.kind == "V" and not fields.is_nullable:
        raise DTypeError(f"cannot split by {name!r}: {fields.dtype} has no order", column=name)
    return fields


def _numbered(state: TableState, fields: Fields, span: Span) -> tuple[list[Any], Array, Array]:
    """Return the distinct values of a span, as keys and as an array, and which each row has.

    The number behind the last one stands for missing values.
    """
    values = fields.given(partial(read_spans, state, spans=[span._replace(at=0)], n_rows=span.n))
    gone = np.ma.getmaskarray(values)
    plain = np.ma.getdata(values)
    missing = is_missing(plain)
    if missing is not None:
        gone = gone | missing
    distinct, numbers = np.unique(plain[~gone], return_inverse=True)
    out = np.full(len(plain), len(distinct), np.intp)
    out[~gone] = numbers
    kind = distinct.dtype.kind
    keys = distinct.view("i8").tolist() if kind in "mM" else distinct.tolist()
    return keys, distinct, out


def values_of(state: TableState, name: str) -> Values:
    """Return the values of a column, in order, and which row groups hold them.

    Raises
    ------
    TooLargeError
        There are more than `MAX_VALUES`.
    """
    fields = _fields(state.schema, name)
    found: dict[Any, int] = {}
    shown: list[str] = []
    counts: list[int] = []
    groups = []
    for group in state.layout.groups:
        keys, distinct, numbers = _numbered(state, fields, group_spans(state, group))
        tally = np.bincount(numbers, minlength=len(keys) + 1)
        held = []
        for key, value, n in zip([*keys, None], [*distinct, None], tally.tolist(), strict=True):
            if not n:
                continue
            if key not in found:
                found[key] = len(found)
                shown.append("missing" if value is None else _text(value))
                counts.append(0)
            counts[found[key]] += n
            held.append(found[key])
        groups.append(np.array(held, np.int64))
        if len(found) > MAX_VALUES:
            raise TooLargeError(
                f"column {name!r} of {state.path!r} has more than {MAX_VALUES:,} values, and each "
                "would be a file; split by rows= or parts="
            )
    order = sorted((key for key in found if key is not None), key=_sort_key)
    order += [None] if None in found else []
    ranks = np.empty(len(order), np.int64)
    ranks[[found[key] for key in order]] = np.arange(len(order))
    return Values(
        [shown[found[key]] for key in order],
        [counts[found[key]] for key in order],
        [np.sort(ranks[held]) for held in groups],
        {key: rank for rank, key in enumerate(order)},
    )


def _sort_key(key: Any) -> Any:
    return (key.real, key.imag) if isinstance(key, complex) else key


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def deal_out(
    state: TableState,
    fit: Fit,
    name: str,
    values: Values,
    first: int,
    sinks: Sequence[TableSink],
) -> None:
    """Put the rows of some values into the tables of their parts.

    Parameters
    ----------
    first : int
        Place of the value of the first of `sinks`; the others follow it.
    """
    fields = _fields(state.schema, name)
    leaves = state.schema.packed
    for sink in sinks:
        sink.take_categories(state)
    for group, held in zip(state.layout.groups, values.groups, strict=True):
        low, high = np.searchsorted(held, (first, first + len(sinks)))
        if low == high:
            continue
        if len(held) == 1:
            sinks[int(held[0]) - first].add_group(state, fit, group)
            continue
        span = group_spans(state, group)
        keys, _, numbers = _numbered(state, fields, span)
        places = np.array([values.places.get(key, -1) for key in [*keys, None]])[numbers] - first
        wanted = np.flatnonzero((places >= 0) & (places < len(sinks)))
        ordinals = as_run(as_ordinals(span.ordinals)[wanted])
        columns = read_columns(state, fit, [Span(group, ordinals, 0)], leaves)
        matrices = [
            column.reshape(len(wanted), leaf.n_values)
            for leaf, column in zip(leaves, columns, strict=True)
        ]
        for place in np.unique(places[wanted]).tolist():
            rows = np.flatnonzero(places[wanted] == place)
            sinks[place].add_columns([matrix[rows].reshape(-1) for matrix in matrices], len(rows))
        while sum(sink.nbytes_waiting for sink in sinks) > _WAITING_BYTES:
            max(sinks, key=lambda sink: sink.nbytes_waiting).flush()
