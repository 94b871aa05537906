"""Values of key stores: split into a plain value and large parts, written as records and bundles.

Choosing how an array is stored costs about a millisecond; writing it may cost less. So each place
in the values of a key store (the first array of a tuple, say) remembers what it chose last, per
dtype, as a table's columns do; small arrays use what was chosen, or a codec that suits most.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.codecs.choose import choose, fallback_of, parse_codec
from kist.codecs.recipe import Recipe
from kist.codecs.registry import CONSTANT, DECIMAL, DICTIONARY
from kist.codecs.stringpages import choose_strings
from kist.engine import Frame
from kist.engine.page_write import build_page
from kist.engine.parallel import run
from kist.errors import TooLargeError
from kist.format.bundle import PageEntry, Part, PartKind, aligned, pack_bundle_head
from kist.format.checksum import sum128
from kist.format.dtypes import is_string_dtype
from kist.format.keystore import MAX_PLAIN, pack_bundle_payload
from kist.format.layout import FRAME_BUNDLE, PAGE_HEAD
from kist.format.page import MAX_HEAD
from kist.format.plain import pack_value
from kist.format.values import pack_record

if TYPE_CHECKING:
    from kist.engine import Transaction
    from kist.format.checksum import Buffer

__all__ = ["Recipes", "Split", "bundle_of", "encode_pages", "split", "write_bundles"]

Array = np.ndarray[Any, Any]

MIN_ARRAY_BYTES: Final = 512
"""Smaller arrays stand in the plain value: a page of their own would not be smaller."""

PAGE_BYTES: Final = 4 << 20
"""Values of one page: pages are encoded and decoded on threads, and bound the memory for it."""

BLOCK_VALUES: Final = 16_384
BLOCK_BYTES: Final = 128 * 1024
"""Blocks twice as long as those of tables: values are mostly read whole."""

FEW_VALUES: Final = 2048
"""Arrays of fewer values are not worth choosing for: encoding them takes 50 us, choosing 1 ms."""

THREAD_VALUES: Final = 32_768
"""As for pages of tables: threads cost more than they save below."""

DRIFT: Final = 1.3
REST_BITS: Final = 0.5
RETRY: Final = 64
"""Choose anew after so many uses: values that suit better than before are not noticed else. Each
time that finds nothing better the next one is twice as far: at 64 for ever it took a sixth of the
time in which a thousand arrays of 50,000 values are stored."""

MOST_USES: Final = 1024
_KEPT: Final = 1024


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
        nbytes += sum(values.nbytes for _, values in parts)
        if nbytes <= MAX_PLAIN:
            whole = pack_value(value)
            if len(whole) <= MAX_PLAIN:
                return Split(whole, [], [], len(whole))
    if len(plain) > MAX_PLAIN:
        add(PartKind.VALUE, np.frombuffer(plain, "u1"))
        plain = b""
    return Split(plain, parts, shapes, nbytes)


class _Chosen(NamedTuple):
    recipe: Recipe
    bits: float  # stored bits a value
    uses: int
    retry: int = RETRY  # choose anew after so many


class Recipes:
    """What the places of one key store chose last; safe for threads, forgotten with the process.

    Parameters
    ----------
    store : object
        Tells the open store from others.
    node : int
        Of the key store.
    codec : str
        What its creator asked for.
    """

    def __init__(self, store: bytes, node: int, codec: str) -> None:
        self.codec = parse_codec(codec)
        self._place = (store, node, self.codec)
        self._usual = Recipe(self.codec, (fallback_of(self.codec),))
        if self.codec == "none":
            self._usual = choose(np.zeros(1), self.codec)

    def last(self, number: int, dtype: np.dtype[Any]) -> _Chosen | None:
        """Return what the part of that number used, if its dtype was the same."""
        return _kept.get((*self._place, number, dtype))

    def keep(self, number: int, dtype: np.dtype[Any], chosen: _Chosen) -> None:
        """Remember it for the next value."""
        with _kept_lock:
            _kept[(*self._place, number, dtype)] = chosen
            while len(_kept) > _KEPT:
                _kept.popitem(last=False)

    def block_values(self, dtype: np.dtype[Any]) -> int:
        """Return how many values of a page decode alone."""
        return max(1, min(BLOCK_VALUES, BLOCK_BYTES // dtype.itemsize))

    def encode(self, number: int, values: Array, start: int, stop: int) -> Page:
        """Encode the values of one page of a part."""
        values = values[start:stop]
        dtype, n = values.dtype, stop - start
        block_values = self.block_values(dtype)
        if 2 * n < 3 * block_values:
            block_values = n  # half a block is not worth a call of its own
        last = self.last(number, dtype)
        if n < FEW_VALUES and not is_string_dtype(dtype):
            recipe = self._usual if last is None else last.recipe
            return build_page(values, recipe, block_values=block_values)
        if last is not None:
            page = build_page(values, last.recipe, block_values=block_values)
            bits = _bits(page, n)
            drifted = bits > REST_BITS and (bits > DRIFT * last.bits or last.uses >= last.retry)
            if start or not (drifted or _unsuited(page, last.recipe)):
                self.keep(number, dtype, last._replace(uses=last.uses + 1))
                return page
        recipe = self._choose(values, block_values)
        if last is None or recipe != last.recipe:
            again = build_page(values, recipe, block_values=block_values)
            if last is None or _bits(again, n) < bits:
                page, bits = again, _bits(again, n)
            else:
                recipe = last.recipe
        if _unsuited(page, recipe):
            recipe = self._usual  # which is what was used: do not try in vain each time
        retry = RETRY
        if last is not None and recipe == last.recipe:
            bits, retry = max(bits, last.bits), min(2 * last.retry, MOST_USES)
        self.keep(number, dtype, _Chosen(recipe, bits, 0, retry))
        return page

    def _choose(self, values: Array, block_values: int) -> Recipe:
        if is_string_dtype(values.dtype):
            return choose_strings(values, self.codec)
        # Long blocks are not worth looking at whole.
        block_values = min(block_values, BLOCK_VALUES)
        return choose(values, self.codec, block=block_values, often=True)


Page = tuple[bytes, "list[Buffer]"]
_kept: OrderedDict[tuple[bytes, int, str, int, np.dtype[Any]], _Chosen] = OrderedDict()
_kept_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _kept_lock
    _kept_lock = threading.Lock()  # a thread that does not exist here may hold the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _bits(page: Page, n_values: int) -> float:
    return 8 * (len(page[0]) + sum(map(len, page[1]))) / n_values


def _unsuited(page: Page, recipe: Recipe) -> bool:
    """Whether a page could not be stored as its recipe says, and got a codec alone."""
    first = recipe.steps[0][0]
    used = int.from_bytes(page[0][PAGE_HEAD.size : PAGE_HEAD.size + 2], "little")
    return first in (DECIMAL, DICTIONARY) and used not in (first, CONSTANT)


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


def encode_pages(values: Sequence[Split], recipes: Recipes) -> Iterator[Page]:
    """Encode the pages of all parts of some values, in order, on threads if it is worth it."""
    firsts: list[tuple[int, Callable[[], Page]]] = []
    others: list[tuple[int, Callable[[], Page]]] = []
    most = n_pages = 0
    for value in values:
        for number, (_, flat) in enumerate(value.parts):
            step = _page_values(flat.dtype)
            most = max(most, min(step, flat.size))
            for at in range(0, flat.size, step):
                page = partial(recipes.encode, number, flat, at, min(at + step, flat.size))
                (others if at else firsts).append((n_pages, page))
                n_pages += 1
    pages: dict[int, Page] = {}
    # The first page of a part says how the others are packed: not whichever thread is faster.
    for some in (firsts, others):
        tasks = [page for _, page in some]
        made = run(tasks) if most >= THREAD_VALUES else [task() for task in tasks]
        pages |= zip([number for number, _ in some], made, strict=True)
    return iter([pages[number] for number in range(n_pages)])


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
            padding = aligned(length) - length
        parts.append(part)
    head = pack_bundle_head(value.plain, parts)
    if len(head) > MAX_HEAD:
        raise TooLargeError(f"a value with {len(parts):,} large parts; store it as several values")
    return head, body
