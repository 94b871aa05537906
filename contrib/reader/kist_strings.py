"""Blocks of strings, and the pages and pieces that are made of them."""

from __future__ import annotations

import struct

import numpy as np
from kist_pages import Page, unblosc
from kist_pieces import read_piece
from kist_ragged import read_cells
from kist_types import RAGGED, Array, Cursor, Damage, Leaf, Unknown

STRINGS, STRING_DICTIONARY = 19, 20
CODECS = {1: 1, 2: 5}


def read_block(data: bytes, n: int) -> list[str | None]:
    """The values of a block of strings; None for missing ones."""
    if len(data) < 5:
        raise Damage("block of strings: cut off")
    flags, size = struct.unpack_from("<BI", data)
    codec, width = flags & 3, 1 << (flags >> 4 & 3)
    if flags & ~0x77 or codec == 3 or width == 8 or (flags & 0x40 and flags & 0x34):
        raise Unknown(f"flags {flags:#x} of a block of strings")
    if size > 1 << 28:
        raise Damage("block of strings: size")
    body = data[5:]
    if codec:
        if len(body) >= size:
            raise Damage("block of strings: length of the chunk")
        body = unblosc(body, size, CODECS[codec], 0, 1)
    elif len(body) != size:
        raise Damage("block of strings: length")
    if flags & 0x40:
        return read_columns(body, n)
    content = Cursor(body, "block of strings")
    missing = np.zeros(n, bool)
    if flags & 4:
        bits = np.unpackbits(content.array("u1", -(-n // 8)), bitorder="little")
        missing = bits[:n] == 1
    lengths = content.array(f"<u{width}", n).tolist()
    values: list[str | None] = []
    for length, gone in zip(lengths, missing.tolist(), strict=True):
        raw = content.take(length)
        if gone and length:
            raise Damage("block of strings: a missing value with a length")
        try:
            values.append(None if gone else raw.decode())
        except UnicodeDecodeError as error:
            raise Damage("block of strings: not UTF-8") from error
    content.end()
    return values


def read_columns(content: bytes, n: int) -> list[str | None]:
    """Strings of one length: the first byte of each, then the second one of each."""
    if not n or not content or len(content) % n:
        raise Damage("block of strings: bytes of strings of one length")
    try:
        return [content[at::n].decode() for at in range(n)]
    except UnicodeDecodeError as error:
        raise Damage("block of strings: not UTF-8") from error


def as_array(values: list[str | None], leaf: Leaf) -> Array:
    """Values as an array of the leaf's dtype, rows x 1."""
    missing = None in values
    if missing and not hasattr(leaf.dtype, "na_object"):
        raise Damage("a missing string in a column without missing values")
    filler = getattr(leaf.dtype, "na_object", None)
    result = np.empty(len(values), leaf.dtype)
    result[:] = [filler if value is None else value for value in values]
    return result.reshape(-1, 1)


def read_page(page: Page, leaf: Leaf) -> Array:
    """All values of a page of strings, rows x 1."""
    first, params = page.stages[0]
    if first == STRING_DICTIONARY:
        cursor = Cursor(params, "string dictionary")
        count = cursor.get("I")
        if count > 65_535:
            raise Damage("page: size of a string dictionary")
        items = read_block(cursor.rest(), count)
        if sum(len((item or "").encode()) for item in items) > 1 << 16:
            raise Damage("page: bytes of a string dictionary")
        if None in items or len(set(items)) != count:
            raise Damage("page: items of a string dictionary")
        page.stages = page.stages[1:]
        numbers = page.decode(np.dtype("<u1" if count < 256 else "<u2"))
        if len(numbers) and int(numbers.max()) > count:
            raise Damage("page: number outside the string dictionary")
        items.append(None)
        return as_array([items[number] for number in numbers.tolist()], leaf)
    if [ident for ident, _ in page.stages] != [STRINGS] or params:
        raise Damage("page: stages of strings")
    page.verify()
    values: list[str | None] = []
    start = 0
    for block, end in enumerate(page.ends):
        a, b = page.span(block)
        values += read_block(page.stored[start:end], b - a)
        start = end
    return as_array(values, leaf)


def read_rows(data: bytes, leaves: list[Leaf], rows: int) -> list[Array]:
    """The values of each leaf in a batch of so many rows, with or without strings and cells."""
    fixed = [leaf for leaf in leaves if leaf.kind not in (11, RAGGED)]
    if len(fixed) == len(leaves):
        return _fixed(data, leaves, rows)
    cursor = Cursor(data, "piece with strings")
    piece = cursor.take(cursor.get("I"))
    arrays = {leaf.id: array for leaf, array in zip(fixed, _fixed(piece, fixed, rows), strict=True)}
    for leaf in leaves:
        if leaf.kind == 11:
            block = cursor.take(cursor.get("I"))
            arrays[leaf.id] = as_array(read_block(block, rows), leaf)
        elif leaf.kind == RAGGED:
            arrays[leaf.id] = read_cells(cursor.take(cursor.get("I")), rows, leaf)
    cursor.end()
    return [arrays[leaf.id] for leaf in leaves]


def _fixed(data: bytes, leaves: list[Leaf], rows: int) -> list[Array]:
    if not any(leaf.dtype.itemsize * leaf.values for leaf in leaves):
        if data:
            raise Damage("piece: bytes where nothing is stored")
        return [np.zeros((rows, leaf.values), leaf.dtype) for leaf in leaves]
    found, arrays = read_piece(data, leaves)
    if found != rows:
        raise Damage("piece: number of rows")
    return arrays
