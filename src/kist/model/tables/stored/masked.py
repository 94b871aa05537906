"""Reading around damage: what cannot be read is masked, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from kist._kernels import records
from kist._kernels.cells import Cells
from kist.errors import CorruptDataError
from kist.format.schema import Leaf
from kist.model.positions import Positions
from kist.model.tables.stored.fields import Fields, fill_spans, read_fields, read_spans
from kist.model.tables.stored.read import Span, plan, read_leaves
from kist.model.tables.stored.state import TableState

__all__ = ["read_masked"]

Array = np.ndarray[Any, Any]


def read_masked(
    state: TableState, fields: Fields, positions: Positions
) -> tuple[np.ma.MaskedArray[Any, Any], list[str]]:
    """Read rows, and mask in each column those of pages that are damaged.

    Returns
    -------
    MaskedArray
        Of the shape that `read_fields` gives; zeros under the mask.
    list of str
        What is masked, in words.

    Raises
    ------
    CorruptDataError
        It is not known which rows there are.
    """
    try:
        whole = read_fields(state, fields, positions)
        if isinstance(whole, Cells):
            whole = whole.objects()
        return np.ma.MaskedArray(whole, mask=np.ma.make_mask_none(whole.shape, whole.dtype)), []
    except CorruptDataError:
        rows, back = positions.ascending()
    values = read_spans(state, fields, [], len(rows))
    ragged = isinstance(values, Cells)
    mask = np.ma.make_mask_none(values.shape, np.dtype("O") if ragged else values.dtype)
    told: list[str] = []
    for a, b in _groups(state, rows):
        target, target_mask = values[a:b], mask[a:b]
        try:
            spans = plan(state, rows[a:b])
            fill_spans(state, fields, spans, target)
            continue
        except CorruptDataError as error:
            told_of = str(error)
        names = []
        for leaf, stored in zip(fields.leaves, fields.stored, strict=True):
            if not _read_leaf(state, fields, rows[a:b], leaf, stored, target):
                _part(target_mask, leaf)[...] = True
                names.append(".".join(stored.path))
        if names:
            told.append(f"{', '.join(names)} in {_span(rows[a:b])}: {told_of}")
    values = _back(
        values.objects() if isinstance(values, Cells) else values, positions, fields, back
    )
    return np.ma.MaskedArray(values, mask=_back(mask, positions, fields, back)), told


def _groups(state: TableState, rows: range | Array) -> Iterator[tuple[int, int]]:
    """Cut ascending positions where row groups end."""
    starts = state.layout.starts
    places = np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows
    edges = np.unique(np.searchsorted(places, starts))
    yield from pairwise(edges.tolist())


def _read_leaf(
    state: TableState, fields: Fields, rows: range | Array, leaf: Leaf, stored: Leaf, target: Array
) -> bool:
    """Fill one leaf of some rows, with zeros where that fails; returns whether it did not."""
    values = _nothing(rows, stored)
    whole = True
    try:
        spans: list[Span] = plan(state, rows)
        read_leaves(state, spans, [stored], [values])
    except CorruptDataError:
        values = _nothing(rows, stored)
        whole = False
    if fields.is_structured:
        records.join([values], [leaf], target)
    else:
        target[...] = values.reshape(target.shape)
    return whole


def _nothing(rows: range | Array, leaf: Leaf) -> Array:
    if leaf.is_ragged:
        return Cells.empty(len(rows), leaf.dtype)
    return np.zeros(len(rows) * leaf.n_values, leaf.dtype)


def _part(mask: Array, leaf: Leaf) -> Array:
    for name in leaf.path:
        mask = mask[name]
    return mask


def _back(array: Array, positions: Positions, fields: Fields, back: Array | slice) -> Array:
    """Bring rows into the order and the shape that were asked for, as `read_fields` does."""
    out: Array = array[back]
    if positions.is_single:
        return out.reshape(fields.item_shape)
    return out.reshape(*positions.shape, *fields.item_shape)


def _span(rows: range | Array) -> str:
    return f"rows {int(rows[0]):,} to {int(rows[-1]):,}"
