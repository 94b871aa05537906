"""Blocks of cells, and the pages that are made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from kist_pages import Page, form_of, from_little
from kist_types import BYTES, Array, Cursor, Damage, Leaf

STAGE = 21
LENGTHS = Leaf((), np.dtype("<u4"), (), 3)
MOST = 1 << 28
TEXT_BYTES = 16
"""What an item of text counts, whatever its length."""


def inner_page(data: bytes, n: int, leaf: Leaf) -> Array:
    """The values of an inner page."""
    cursor = Cursor(data, "inner page")
    count = cursor.get("B")
    stages = [(cursor.get("H"), cursor.take(cursor.get("I"))) for _ in range(count)]
    rest = cursor.rest()
    if not n:
        if rest:
            raise Damage("inner page: bytes where there are no values")
        return np.zeros(0, leaf.dtype)
    if leaf.kind == 11:
        from kist_strings import read_page as read_strings_page

        return read_strings_page(Page.inner(stages, rest, n), leaf)[:, 0]
    values = Page.inner(stages, rest, n).decode(form_of(leaf))
    if leaf.dtype.names is not None:
        return values.view(leaf.dtype)
    return from_little(values, leaf)


def read_cells(data: bytes, n: int, leaf: Leaf) -> Array:
    """The values of a block of cells, as objects: arrays or bytes, None for a null."""
    cursor = Cursor(data, "block of cells")
    lengths = inner_page(cursor.take(cursor.get("I")), n, LENGTHS).astype(np.int64)
    nulls = np.zeros(n, bool)
    if "nullable" in (leaf.dtype.fields or {}):
        nulls = lengths == 0
        lengths -= ~nulls
    item = leaf.item
    n_items = int(lengths.sum())
    width = TEXT_BYTES if item.kind == 11 else item.dtype.itemsize
    if n_items * item.values * width > MOST:
        raise Damage("block of cells: size")
    items = inner_page(cursor.rest(), n_items * item.values, item)
    items = items.reshape(n_items, *item.shape)
    result = np.empty((n, 1), object)
    at = 0
    for row, length in enumerate(lengths.tolist()):
        cell: Any = items[at : at + length]
        result[row, 0] = cell.tobytes() if leaf.dtype.names == BYTES else cell
        if nulls[row]:
            result[row, 0] = None
        at += length
    return result


def read_page(page: Page, leaf: Leaf) -> Array:
    """All values of a page of cells, rows x 1."""
    if [ident for ident, _ in page.stages] != [STAGE] or page.stages[0][1]:
        raise Damage("page: stages of cells")
    page.verify()
    parts = [np.empty((0, 1), object)]
    start = 0
    for block, end in enumerate(page.ends):
        a, b = page.span(block)
        parts.append(read_cells(page.stored[start:end], b - a, leaf))
        start = end
    return np.concatenate(parts)
