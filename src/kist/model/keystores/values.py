"""Values of key stores: split into a plain value and large parts, written as bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.engine import Frame
from kist.engine.parallel import run
from kist.errors import TooLargeError
from kist.format.bundle import PageEntry, Part, PartKind, pack_bundle_head
from kist.format.checksum import sum128
from kist.format.keystore import MAX_PLAIN, pack_bundle_payload
from kist.format.layout import ALIGNMENT, FRAME_BUNDLE
from kist.format.page import MAX_HEAD
from kist.format.plain import pack_value
from kist.format.values import pack_record
from kist.model.keystores.recipes import (
    BLOCK_BYTES,
    BLOCK_VALUES,
    Made,
    Page,
    Recipes,
    is_time,
)

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.format.checksum import Buffer

__all__ = ["Split", "bundle_of", "encode_pages", "split", "write_bundles"]

Array = np.ndarray[Any, Any]

MIN_ARRAY_BYTES: Final = 512
"""Smaller arrays stand in the plain value: a page of their own would not be smaller."""

PAGE_BYTES: Final = 4 << 20
"""Values of one page: pages are encoded and decoded on threads, and bound the memory for it."""

THREAD_VALUES: Final = 32_768
"""As for pages of tables: threads cost more than they save below."""


class Split(NamedTuple):
    """A value in parts.

    Attributes
    ----------
    plain : bytes
        The packed value, empty when it is the last part itself.
    parts : list
        Of (kind, values): flat arrays, contiguous.
    shapes : list of tuple of int
        Of the arrays.
    nbytes : int
        Of the value before it is compressed.
    """

    plain: bytes
    parts: list[tuple[PartKind, Array]]
    shapes: list[tuple[int, ...]]
    nbytes: int

    def copied(self) -> Split:
        """Return the same with arrays of its own."""
        return self._replace(
            parts=[
                (kind, values.copy() if kind is PartKind.ARRAY else values)
                for kind, values in self.parts
            ]
        )


def split(value: Any) -> Split:
    """Take large parts out of a value.

    Raises
    ------
    DTypeError
        It holds something that cannot be stored.
    """
    parts: list[tuple[PartKind, Array]] = []
    shapes: list[tuple[int, ...]] = []

    def add(kind: PartKind, values: Array) -> int:
        parts.append((kind, np.ascontiguousarray(values).reshape(-1)))
        shapes.append(values.shape)
        return len(parts) - 1

    def take(item: Any) -> int | None:
        if isinstance(item, np.ndarray):
            return add(PartKind.ARRAY, item) if item.nbytes >= MIN_ARRAY_BYTES else None
        if isinstance(item, str):
            raw: Any = item.encode("utf-8", "surrogatepass")
            return add(PartKind.STR, np.frombuffer(raw, "u1"))
        kind = PartKind.BYTES if type(item) is bytes else PartKind.BYTEARRAY
        # A copy of what may change while another thread encodes it.
        return add(kind, np.frombuffer(bytes(item), "u1"))

    plain = pack_value(value, take)
    nbytes = len(plain)
    if parts:
        nbytes += sum([values.nbytes for _, values in parts])
        if nbytes <= MAX_PLAIN:
            whole = pack_value(value)
            if len(whole) <= MAX_PLAIN:
                return Split(whole, [], [], len(whole))
    if len(plain) > MAX_PLAIN:
        add(PartKind.VALUE, np.frombuffer(plain, "u1"))
        plain = b""
    return Split(plain, parts, shapes, nbytes)


@lru_cache(maxsize=256)
def _page_values(dtype: np.dtype[Any]) -> int:
    block_values = max(1, min(BLOCK_VALUES, BLOCK_BYTES // dtype.itemsize))
    return max(1, PAGE_BYTES // (dtype.itemsize * block_values)) * block_values


def write_bundles(
    txn: Transaction, node: int, values: Sequence[Split], recipes: Recipes
) -> list[bytes]:
    """Write the bundles of some values that have parts, as one run, and return their records.

    Raises
    ------
    StorageError
        The device refused.
    TooLargeError
        One value has more parts than one head can name.
    """
    pages = encode_pages(values, recipes)
    pointers = txn.write([Frame(FRAME_BUNDLE, node, 0, 0, *bundle_of(v, pages)) for v in values])
    return [
        pack_record(pack_bundle_payload(value.nbytes), (pointer,))
        for value, pointer in zip(values, pointers, strict=True)
    ]


class _Part(NamedTuple):
    place: tuple[int, np.dtype[Any]]  # its number in its value
    values: Array
    step: int  # values of a page
    first: Array
    pages: list[Page]


def encode_pages(values: Sequence[Split], recipes: Recipes) -> Iterator[Page]:
    """Encode the pages of all parts of some values, in order, on threads if it is worth it."""
    parts = [
        _Part((number, flat.dtype), flat, (step := _page_values(flat.dtype)), flat[:step], [])
        for value in values
        for number, (_, flat) in enumerate(value.parts)
    ]
    many = max([part.first.size for part in parts], default=0) >= THREAD_VALUES
    left = parts
    while left:
        left = _encode_firsts(left, recipes, many)
    # How the first page of a part is packed says how its others are: not whichever is made first.
    rest = [(part, at) for part in parts for at in range(part.step, part.values.size, part.step)]
    made = _run(
        [
            partial(recipes.encode, p.values[at : at + p.step], recipes.last(*p.place), None)
            for p, at in rest
        ],
        many,
    )
    for (part, _), page in zip(rest, made, strict=True):
        part.pages.append(page.page)
    return iter([page for part in parts for page in part.pages])


def _encode_firsts(parts: Sequence[_Part], recipes: Recipes, many: bool) -> list[_Part]:
    """Encode the first page of each part up to the next one of its place that chooses anew.

    Returns the others, which go by what that one finds.
    """
    nth: dict[tuple[int, np.dtype[Any]], int] = {}
    chooses: set[tuple[int, np.dtype[Any]]] = set()
    mine: list[_Part] = []
    others: list[_Part] = []
    tasks = []
    for part in parts:
        place = part.place
        if place in chooses:
            others.append(part)
            continue
        mine.append(part)
        last, count = recipes.last(*place), nth.get(place, 0)
        tasks.append(partial(recipes.encode, part.first, last, count))
        if recipes.counts(part.first):
            nth[place] = count + 1
            if last is None or is_time(last, count):
                chooses.add(place)
    for part, made in zip(mine, _run(tasks, many), strict=True):
        recipes.settle(*part.place, made)
        part.pages.append(made.page)
    return others


def _run(tasks: Sequence[Callable[[], Made]], many: bool) -> list[Made]:
    return run(tasks) if many else [task() for task in tasks]


def bundle_of(value: Split, pages: Iterator[Page]) -> tuple[bytes, list[Buffer]]:
    """Return the head of a value's bundle and what follows it, taking its pages from `pages`."""
    parts: list[Part] = []
    body: list[Buffer] = []
    padding = 0
    for (kind, flat), shape in zip(value.parts, value.shapes, strict=True):
        step = _page_values(flat.dtype)
        part = Part(kind, flat.dtype, shape, step)
        for _ in range(0, flat.size, step):
            head, blocks = next(pages)
            length = len(head) + sum(map(len, blocks))
            part.pages.append(PageEntry(length, len(head), sum128(head)))
            if padding:
                body.append(bytes(padding))
            body += [head, *blocks]
            padding = -length % ALIGNMENT
        parts.append(part)
    head = pack_bundle_head(value.plain, parts)
    if len(head) > MAX_HEAD:
        raise TooLargeError(f"a value with {len(parts):,} large parts; store it as several values")
    return head, body
