"""Bundles: one value of a key store in one extent, its large parts as pages that read alone.

The body is a verified head (the plain value, and a table of the parts), then the pages of the
parts. Each page stands at a multiple of 64 bytes, so that it is read as if it had a frame of its
own (docs/format.md, "Bundles").
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from kist.errors import CorruptDataError
from kist.format.checksum import sum64, sum128
from kist.format.cursor import Cursor, pack_blob, pack_varint
from kist.format.dtypes import pack_dtype, unpack_dtype
from kist.format.layout import ALIGNMENT, BUNDLE_HEAD, BUNDLE_MAGIC
from kist.format.page import MAX_HEAD, unpack_page_head
from kist.format.values import Pointer

__all__ = ["Bundle", "Part", "PartKind", "bundle_damage", "pack_bundle_head", "unpack_bundle_head"]

MAX_PAGE_BYTES: Final = 64 << 20
"""What readers accept for the values of one page, so that a page is bounded in memory."""

_PAGE = struct.Struct("<QI16s")  # bytes of the page, bytes of its head, XXH3-128 of that
_BYTES = np.dtype("u1")
_entry: Final[Any] = tuple.__new__  # of a named tuple, without its function in Python


class PartKind(enum.IntEnum):
    """What a part is; the numbers are frozen in the format."""

    VALUE = 0  # the packed plain value itself
    ARRAY = 1
    BYTES = 2
    BYTEARRAY = 3
    STR = 4


_KINDS: Final = {kind.value: kind for kind in PartKind}


class PageEntry(NamedTuple):
    """Page of a part: bytes of its body and of the head of that, and the sum of the head."""

    length: int
    head: int
    sum: bytes


@dataclass(slots=True)
class Part:
    """A large part of a value.

    Attributes
    ----------
    kind : PartKind
        All but arrays are their bytes, as u1.
    dtype : dtype
        Of the values in the pages.
    shape : tuple of int
        Of the array; of other parts the number of bytes.
    page_values : int
        Values of a page; the last holds the rest.
    pages : list of PageEntry
        In the order of the values.
    first : int
        Where the first page begins, counted from the begin of the bundle's body.
    """

    kind: PartKind
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    page_values: int
    pages: list[PageEntry] = field(default_factory=list)
    first: int = 0

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def pack(self) -> bytes:
        """Entry of the table of parts."""
        out = [bytes((self.kind,))]
        if self.kind == PartKind.ARRAY:
            out += [pack_blob(_packed_dtype(self.dtype)), pack_varint(len(self.shape))]
        out += [*map(pack_varint, self.shape), pack_varint(self.page_values)]
        for page in self.pages:
            out.append(_PAGE.pack(*page))
        return b"".join(out)

    def places(self) -> Iterator[tuple[int, PageEntry]]:
        """(first byte in the bundle's body, entry) of each page."""
        at = self.first
        for page in self.pages:
            yield at, page
            at += aligned(page.length)

    def pointers(self, bundle: Pointer) -> list[Pointer]:
        """Pointers to the pages, as if each had a frame of its own."""
        found = []
        at = self.first
        for page in self.pages:
            found.append(bundle.within(at, *page))
            at += aligned(page.length)
        return found


class Bundle(NamedTuple):
    """Head of a bundle: the plain value (empty when it is the last part) and the parts."""

    plain: bytes
    parts: list[Part]


def aligned(length: int) -> int:
    """`length` rounded up to where a page may begin."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def pack_bundle_head(plain: bytes, parts: list[Part]) -> bytes:
    """Head of a bundle, padded to where the first page begins."""
    fixed = BUNDLE_HEAD.struct.pack(BUNDLE_MAGIC, 1, len(parts), len(plain))
    head = b"".join([fixed, plain, *[part.pack() for part in parts]])
    return head + bytes(-len(head) % ALIGNMENT)


def unpack_bundle_head(data: bytes, body_length: int) -> Bundle:
    """Head of a bundle whose body has `body_length` bytes.

    Raises
    ------
    CorruptDataError
        Anything does not add up.
    """
    cursor = Cursor(data, "bundle head")
    # In the order of the fields: by name it takes three times as long.
    fields: Any = cursor.unpack(BUNDLE_HEAD.struct)
    magic, version, n_parts, value_length = fields
    if magic != BUNDLE_MAGIC or version != 1:
        raise CorruptDataError(f"bundle head begins with {data[:3]!r}")
    plain = cursor.take(value_length)
    if n_parts > cursor.left:
        raise cursor.corrupt(f"{n_parts} parts announced, {cursor.left} bytes left")
    parts = []
    at = len(data)
    for _ in range(n_parts):
        part = _unpack_part(cursor)
        part.first = at
        parts.append(part)
        for page in part.pages:
            at += -(-page.length // ALIGNMENT) * ALIGNMENT
    last = parts[-1].pages[-1].length if parts and parts[-1].pages else 0
    if at - aligned(last) + last != body_length or any(cursor.data[cursor.pos :]):
        raise CorruptDataError(f"bundle of {body_length} bytes: its parts do not add up")
    kinds = [part.kind for part in parts]
    if PartKind.VALUE in kinds[:-1] or bool(plain) == (PartKind.VALUE in kinds):
        raise CorruptDataError("bundle head: its value stands nowhere, or twice")
    return Bundle(plain, parts)


# Of bytes, not of dtypes: dtypes that differ can be equal.
_dtype = lru_cache(maxsize=256)(unpack_dtype)


@lru_cache(maxsize=64)
def _simple(text: str) -> bytes:
    return pack_dtype(np.dtype(text))


def _packed_dtype(dtype: np.dtype[Any]) -> bytes:
    # Numbers are told apart by three characters.
    simple = dtype.kind in "biufc" and dtype.itemsize <= 8 and dtype.metadata is None
    return _simple(dtype.str) if simple else pack_dtype(dtype)


def _unpack_part(cursor: Cursor) -> Part:
    number = cursor.u8()
    if number not in _KINDS:
        raise cursor.corrupt(f"a part of kind {number}")
    dtype = _BYTES
    shape: tuple[int, ...]
    if number == PartKind.ARRAY:
        dtype = _dtype(cursor.blob())
        ndim = cursor.count()
        if ndim > 64:
            raise cursor.corrupt(f"an array of {ndim} dimensions")
        shape = (cursor.varint(),) if ndim == 1 else tuple([cursor.varint() for _ in range(ndim)])
    else:
        shape = (cursor.varint(),)
    part = Part(_KINDS[number], dtype, shape, cursor.varint())
    if part.page_values < 1 or part.page_values * max(dtype.itemsize, 1) > MAX_PAGE_BYTES:
        raise cursor.corrupt(f"pages of {part.page_values} values of {dtype}")
    n_pages = -(-math.prod(shape) // part.page_values)
    if not dtype.itemsize or not n_pages or n_pages * _PAGE.size > cursor.left:
        raise cursor.corrupt(f"a part of shape {shape} and dtype {dtype} in {n_pages} pages")
    for _ in range(n_pages):
        page = _entry(PageEntry, cursor.unpack(_PAGE))
        if page.head > page.length or page.head > MAX_HEAD:
            raise cursor.corrupt(f"a page of {page.length} bytes with a head of {page.head}")
        part.pages.append(page)
    return part


def bundle_damage(body: memoryview, head: int) -> str:
    """What is wrong with the pages of a bundle whose head is verified, or nothing.

    Raises
    ------
    CorruptDataError
        The head does not add up.
    """
    bundle = unpack_bundle_head(bytes(body[:head]), len(body))
    for number, part in enumerate(bundle.parts):
        for at, page in part.places():
            data = body[at : at + page.length]
            if sum128(data[: page.head]) != page.sum:
                return f"part {number} of {len(bundle.parts)}: the head of a page is damaged"
            found = unpack_page_head(bytes(data[: page.head]), page.length)
            for sector, expected in enumerate(found.sums):
                start, stop = found.sector_span(sector)
                if sum64(data[page.head + start : page.head + stop]) != expected:
                    return (
                        f"part {number} of {len(bundle.parts)}: sector {sector} of "
                        f"{len(found.sums)} fails its checksum"
                    )
    return ""
