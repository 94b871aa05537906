"""Encoding the values of one page: with the recipe of the page before, or with a new one.

A recipe is chosen from a sample of the first page and used for the pages that follow, in later
writes too: the record of the last page names it. It is chosen again when a page comes out more
than `DRIFT` times larger than the page it was chosen for; an encoding that does not fit new
values shows in that too. Where nothing has shrunk the values, pages cannot get larger, so there
it is tried again from time to time.

Small arrays of one program are often alike, and to choose takes several times what writing one
takes: those begin with what was chosen for one that looked alike.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from kist._kernels.cells import Cells
from kist.codecs.alike import Looks
from kist.codecs.choose import choose, looks
from kist.codecs.recipe import Recipe
from kist.engine.page_write import build_page
from kist.errors import CodecError
from kist.format.dtypes import is_string_dtype

__all__ = ["DRIFT", "REST_BITS", "Chosen", "Page", "build"]

Array = np.ndarray[Any, Any]

SCATTERED_BYTES: Final = 4 << 10
"""Sectors of n-d blocks: a plane needs every eighth or so, what stands between is not verified."""

DRIFT: Final = 1.3
"""A page this much larger than expected has its recipe chosen again; random walks stay below."""

REST_BITS: Final = 0.5
"""Pages below this many bits a value are as good as constant: no reason to choose again."""


RAW_SHARE: Final = 0.95
"""Pages that keep more than this share of their bytes are as good as not compressed."""

LOOK_EVERY: Final = 8
"""Of so many pages that nothing shrinks, one has its recipe chosen again."""

_MOST_KEPT: Final = 1024


class Chosen(NamedTuple):
    """A recipe, the stored bits a value that it was chosen for, and its bytes."""

    recipe: Recipe
    bits: float
    packed: bytes

    @classmethod
    def of(cls, packed: bytes, bits: float) -> Chosen | None:
        """Return the choice that a record names, None when only a newer kist knows it."""
        try:
            return cls(Recipe.unpack(packed), bits, packed)
        except CodecError:
            return None  # choose among what is known here


_kept: dict[tuple[bytes, Looks], Chosen] = {}
"""What was chosen last for values of a store that look so. Forgotten with the process."""


class Page(NamedTuple):
    """A page in stored form, and what it was encoded with."""

    chosen: Chosen
    head: bytes
    parts: list[Any]


def build(
    values: Array,
    last: Chosen | None,
    codec: str,
    block_values: int,
    *,
    aligned: bool = False,
    block: int | None = None,
    number: int = 0,
    store: bytes | None = None,
) -> Page:
    """Encode one page.

    Parameters
    ----------
    values : ndarray, 1-d
        At least one. The page may show them: write it out before they change.
    last : Chosen or None
        What the page before used.
    codec : str
        What the user asked for: a preset, or an explicit choice.
    block_values, aligned
        As for `kist.engine.pages.build_page`.
    block : int, optional
        As for `kist.codecs.choose.choose`.
    number : int
        Of the page among its neighbours.
    store : bytes, optional
        Identifier of the store: where no page was before, begin with what this process chose
        for values of the same store that looked like these.
    """
    chosen, place = last, None
    if store and last is None and (looked := looks(values, codec, block=block)):
        place = (store, looked)
        chosen = _kept.get(place)
    encoded, bits = None, 0.0
    form: dict[str, Any] = {"block_values": block_values, "aligned": aligned}
    if block is not None:
        form["sector_bytes"] = SCATTERED_BYTES
    if chosen is not None:
        encoded = build_page(values, chosen.recipe, **form)
        bits = _bits(encoded, values)
    if chosen is None or _has_drifted(bits, chosen, values.itemsize, number):
        if is_string_dtype(values.dtype):
            from kist.codecs.stringpages import choose_strings

            recipe = choose_strings(values, codec)
        elif isinstance(values, Cells):
            from kist.codecs.raggedpages import choose_ragged

            recipe = choose_ragged(values, codec)
        else:
            recipe = choose(values, codec, block=block)
        if chosen is None or recipe != chosen.recipe:
            again = build_page(values, recipe, **form)
            if encoded is None or _bits(again, values) < bits:
                encoded, bits = again, _bits(again, values)
            elif chosen is not None:
                recipe = chosen.recipe
        chosen = Chosen(recipe, bits, recipe.pack())
        if place is not None:
            if len(_kept) >= _MOST_KEPT:
                _kept.clear()
            _kept[place] = chosen
    assert encoded is not None
    return Page(chosen, *encoded)


def _has_drifted(bits: float, chosen: Chosen, itemsize: int, number: int) -> bool:
    if bits > RAW_SHARE * 8 * itemsize:
        return bits > DRIFT * chosen.bits or number % LOOK_EVERY == LOOK_EVERY - 1
    return bits > DRIFT * chosen.bits and bits > REST_BITS


def _bits(encoded: tuple[bytes, list[Any]], values: Array) -> float:
    head, parts = encoded
    return 8 * (len(head) + sum(map(len, parts))) / len(values)
