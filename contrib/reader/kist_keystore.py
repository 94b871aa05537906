"""Key stores: their keys, and values that stand in records or in bundles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from kist_pages import Page, form_of, from_little
from kist_store import sum128
from kist_strings import read_page
from kist_types import (
    Array,
    Cursor,
    Damage,
    Described,
    Leaf,
    Unknown,
    decode_text,
    read_dtype,
    read_value,
)

Key = str | bytes | int
VALUE, ARRAY, BYTES, BYTEARRAY, STR = range(5)
MAX_PAGE = 64 << 20
BYTE = Described(np.dtype("u1"), (Leaf((), np.dtype("u1"), (), 3),))


def read_key(packed: bytes) -> Key:
    """The key that the rest of a key of the map is."""
    kind, rest = packed[:1], packed[1:]
    if kind in (b"\x40", b"\x50") and 1 <= len(rest) <= 1000:
        return rest if kind == b"\x40" else decode_text(rest, "key")
    size = packed[0] - 0x20 if kind >= b"\x20" else 0x1F - packed[0] if kind else -1
    if not 0 <= size <= 16 or len(rest) != size:
        raise Damage(f"key {packed.hex()}")
    digits = rest if packed[0] >= 0x20 else bytes(byte ^ 255 for byte in rest)
    if digits[:1] == b"\0":
        raise Damage("key: leading zeros")
    number = int.from_bytes(digits, "big")
    return number if packed[0] >= 0x20 else -number - 1


def read_entry(store: Any, entry: Any) -> Any:
    """The value of a record K; *store* gives the body of the bundle."""
    form = entry.payload[:1]
    if form == b"\0" and not entry.pointers:
        return read_value(entry.payload[1:])
    if form != b"\1" or len(entry.payload) != 9:
        raise Unknown(f"value of form {form.hex()}")
    if len(entry.pointers) != 1:
        raise Damage("value: pointers")
    pointer = entry.pointers[0]
    return Bundle(store.body(pointer), pointer.head).value()


@dataclass
class Part:
    """An entry of the table of parts."""

    kind: int
    described: Described
    shape: tuple[int, ...]
    page_values: int
    pages: list[tuple[int, int, bytes]]
    start: int = 0


class Bundle:
    """A value in an extent."""

    def __init__(self, body: bytes, head: int) -> None:
        """Read the head, which was verified."""
        self.body = body
        cursor = Cursor(body[:head], "bundle head")
        magic, version, _, count, length = cursor.all("2sBBII")
        if magic != b"KV" or version != 1:
            raise Unknown(f"bundle {magic!r}, version {version}")
        self.plain = cursor.take(length)
        self.parts = [_part(cursor) for _ in range(min(count, len(body)))]
        if len(self.parts) != count or head % 64 or any(cursor.rest()):
            raise Damage("bundle: head")
        at = end = head
        for part in self.parts:
            part.start = at
            for size, _, _ in part.pages:
                end = at + size
                at = -(-end // 64) * 64
        if end != len(body):
            raise Damage("bundle: length")
        kinds = [part.kind for part in self.parts]
        if VALUE in kinds[:-1] or (not self.plain) != (kinds[-1:] == [VALUE]):
            raise Damage("bundle: its value")

    def value(self) -> Any:
        """The value, with all of its parts."""
        left = dict(enumerate(self.parts))
        plain = self.plain
        if not plain:
            plain = self._content(left.pop(len(self.parts) - 1))

        def take(number: int) -> Any:
            if number not in left:
                raise Damage(f"bundle: part {number} twice, or not there")
            return self._content(left.pop(number))

        return read_value(plain, take)

    def _content(self, part: Part) -> Any:
        """What a part stands for."""
        pages = [self._page(part, *page) for page in self._pages(part)]
        # Of several arrays NumPy makes one in the byte order of the machine.
        flat = pages[0] if len(pages) == 1 else np.concatenate(pages).astype(pages[0].dtype)
        if part.kind == ARRAY:
            return flat.reshape(part.shape)
        if part.kind == BYTEARRAY:
            return bytearray(flat.tobytes())
        raw = flat.tobytes()
        return decode_text(raw, "str", surrogates=True) if part.kind == STR else raw

    def _pages(self, part: Part) -> Iterator[tuple[Page, int]]:
        """The pages of a part, and how many values each must have."""
        at, left = part.start, math.prod(part.shape)
        for size, head, total in part.pages:
            body = self.body[at : at + size]
            if sum128(body[:head]) != total:
                raise Damage("bundle: sum of the head of a page")
            yield Page(body, head), min(left, part.page_values)
            left -= part.page_values
            at = -(-(at + size) // 64) * 64

    def _page(self, part: Part, page: Page, count: int) -> Array:
        """The values of one page."""
        if page.n_values != count:
            raise Damage("bundle: values of a page")
        dtype = part.described.dtype
        if dtype.names is None:
            leaf = part.described.leaves[0]
            if leaf.kind == 11:
                return read_page(page, leaf)[:, 0]
            return from_little(page.decode(form_of(leaf)), leaf)
        return np.frombuffer(page.decode(np.dtype(f"V{dtype.itemsize}")).tobytes(), dtype)


def _part(cursor: Cursor) -> Part:
    kind = cursor.get("B")
    if kind > STR:
        raise Unknown(f"part of kind {kind}")
    described = read_dtype(cursor.blob()) if kind == ARRAY else BYTE
    ndim = cursor.varint() if kind == ARRAY else 1
    if ndim > 64:
        raise Damage("part: dimensions")
    shape = tuple(cursor.varint() for _ in range(ndim))
    step, itemsize = cursor.varint(), described.dtype.itemsize
    count = math.prod(shape)
    if not count or not step or not itemsize or step * itemsize > MAX_PAGE:
        raise Damage("part: values")
    n_pages = -(-count // step)
    if n_pages * 28 > cursor.left:
        raise Damage("part: pages")
    pages = [cursor.all("QI16s") for _ in range(n_pages)]
    return Part(kind, described, shape, step, pages)  # type: ignore[arg-type]  # of such tuples
