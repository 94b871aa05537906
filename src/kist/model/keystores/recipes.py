"""How arrays of key stores are encoded: as the last one in the same place, while that suits.

Choosing how an array is stored costs about a millisecond; writing it may cost less. So each place
in the values of a key store (the first array of a tuple, say) remembers what it chose last, per
dtype, as a table's columns do; small arrays use what was chosen, or a codec that suits most.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kist.codecs.choose import choose, fallback_of, parse_codec
from kist.codecs.recipe import Recipe
from kist.codecs.registry import CONSTANT, DECIMAL, DICTIONARY
from kist.engine.page_write import build_page
from kist.format.dtypes import is_string_dtype
from kist.format.layout import PAGE_HEAD

if TYPE_CHECKING:
    from kist.format.checksum import Buffer

__all__ = ["BLOCK_BYTES", "BLOCK_VALUES", "Chosen", "Made", "Page", "Recipes", "is_time"]

Array = np.ndarray[Any, Any]

BLOCK_VALUES: Final = 16_384
BLOCK_BYTES: Final = 128 * 1024
"""Blocks twice as long as those of tables: values are mostly read whole."""

FEW_VALUES: Final = 2048
"""Arrays of fewer values are not worth choosing for: encoding them takes 50 us, choosing 1 ms."""

DRIFT: Final = 1.3
EXCESS_BYTES: Final = 16 << 10
"""Choose anew when arrays have taken so much more than 1.3 times what they were thought to: short
ones compress less than long ones, and are not worth what suits them and no other."""

GAIN: Final = 0.95
REST_BITS: Final = 0.5
RETRY: Final = 4
"""Choose anew after so many uses: values that suit better than before are not noticed else, and the
first one may be unlike all others. Each time that finds nothing better the next one is four times
as far: at 64 for ever it took a sixth of the time in which a thousand arrays of 50,000 values are
stored."""

MOST_USES: Final = 1024
_KEPT: Final = 1024


Page = tuple[bytes, "list[Buffer]"]


class Chosen(NamedTuple):
    """What a place chose last."""

    recipe: Recipe
    bits: float  # stored bits a value
    uses: int
    retry: int = RETRY  # choose anew after so many
    excess: float = 0.0  # bytes that others took beyond what they should


class Made(NamedTuple):
    """A page, and what its place goes on with: something new, or the last with one more use."""

    page: Page
    chosen: Chosen | None = None
    is_use: bool = False
    excess: float = 0.0


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

    Notes
    -----
    Pages that are encoded at the same time all see what was chosen before them, and `settle` is
    told of them in order. So the same values take the same bytes, however fast each thread is.
    """

    def __init__(self, store: bytes, node: int, codec: str) -> None:
        self.codec = parse_codec(codec)
        self._place = (store, node, self.codec)
        self._usual = Recipe(self.codec, (fallback_of(self.codec),))
        if self.codec == "none":
            self._usual = choose(np.zeros(1), self.codec)

    def last(self, number: int, dtype: np.dtype[Any]) -> Chosen | None:
        """Return what the part of that number used, if its dtype was the same."""
        return _kept.get((*self._place, number, dtype))

    def keep(self, number: int, dtype: np.dtype[Any], chosen: Chosen) -> None:
        """Remember it for the next value."""
        with _kept_lock:
            _kept[(*self._place, number, dtype)] = chosen
            while len(_kept) > _KEPT:
                _kept.popitem(last=False)

    def block_values(self, dtype: np.dtype[Any]) -> int:
        """Return how many values of a page decode alone."""
        return max(1, min(BLOCK_VALUES, BLOCK_BYTES // dtype.itemsize))

    def counts(self, values: Array) -> bool:
        """Whether values are enough to choose by."""
        return values.size >= FEW_VALUES or is_string_dtype(values.dtype)

    def encode(self, values: Array, last: Chosen | None, nth: int | None) -> Made:
        """Encode the values of one page of a part.

        Parameters
        ----------
        last : Chosen, optional
            What was chosen when the first of the pages was begun that are encoded at once.
        nth : int, optional
            Which of these it is. None: it is encoded like the last one, whatever comes of it.
        """
        n = values.size
        block_values = self.block_values(values.dtype)
        if 2 * n < 3 * block_values:
            block_values = n  # half a block is not worth a call of its own
        if n < FEW_VALUES and not self.counts(values):
            recipe = self._usual if last is None else last.recipe
            return Made(build_page(values, recipe, block_values=block_values))
        if last is not None:
            page = build_page(values, last.recipe, block_values=block_values)
            bits = _bits(page, n)
            if nth is None:
                return Made(page)
            excess = max(bits - DRIFT * last.bits, 0.0) * n / 8 if bits > REST_BITS else 0.0
            if not (
                last.excess + excess > EXCESS_BYTES
                or (is_time(last, nth) and bits > REST_BITS)
                or _unsuited(page, last.recipe)
            ):
                return Made(page, None, True, excess)
        recipe = self._choose(values, block_values)
        if last is None or recipe != last.recipe:
            again = build_page(values, recipe, block_values=block_values)
            if last is None or _bits(again, n) < GAIN * bits:
                page, bits = again, _bits(again, n)
            else:
                recipe = last.recipe
        if _unsuited(page, recipe):
            recipe = self._usual  # which is what was used: do not try in vain each time
        retry = RETRY
        if last is not None and recipe == last.recipe:
            bits, retry = max(bits, last.bits), min(4 * last.retry, MOST_USES)
        return Made(page, Chosen(recipe, bits, 0, retry))

    def settle(self, number: int, dtype: np.dtype[Any], made: Made) -> None:
        """Go on with what the first page of a part was encoded by; called in their order."""
        chosen = made.chosen
        if made.is_use and (last := self.last(number, dtype)) is not None:
            recipe, bits, uses, retry, excess = last
            chosen = Chosen(recipe, bits, uses + 1, retry, excess + made.excess)
        if chosen is not None:
            self.keep(number, dtype, chosen)

    def _choose(self, values: Array, block_values: int) -> Recipe:
        if is_string_dtype(values.dtype):
            from kist.codecs.stringpages import choose_strings

            return choose_strings(values, self.codec)
        # Long blocks are not worth looking at whole.
        block_values = min(block_values, BLOCK_VALUES)
        return choose(values, self.codec, block=block_values, often=True)


_kept: OrderedDict[tuple[bytes, int, str, int, np.dtype[Any]], Chosen] = OrderedDict()
_kept_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _kept_lock
    _kept_lock = threading.Lock()  # a thread that does not exist here may hold the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def is_time(last: Chosen, nth: int) -> bool:
    """Whether a page that begins when there was `nth` since is to choose anew."""
    uses = last.uses + nth
    return uses == last.retry or (uses > last.retry and not nth)


def _bits(page: Page, n_values: int) -> float:
    return 8 * (len(page[0]) + sum(map(len, page[1]))) / n_values


def _unsuited(page: Page, recipe: Recipe) -> bool:
    """Whether a page could not be stored as its recipe says, and got a codec alone."""
    first = recipe.steps[0][0]
    used = int.from_bytes(page[0][PAGE_HEAD.size : PAGE_HEAD.size + 2], "little")
    return first in (DECIMAL, DICTIONARY) and used not in (first, CONSTANT)
