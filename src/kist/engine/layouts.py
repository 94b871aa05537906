"""What is known of a page by its head: kept, because making it takes as long as reading."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kist.codecs.pipeline import load, span_of
from kist.codecs.plain import LoadedPlain
from kist.codecs.registry import STRING_DICTIONARY
from kist.codecs.stage import Shape, Stage
from kist.codecs.taking import may_take
from kist.codecs.values import form_of
from kist.engine.pages import check_size, load_head, undecoded
from kist.engine.view import View
from kist.errors import CodecError
from kist.format.page import PageHead
from kist.format.values import Pointer

__all__ = ["Layout", "known_layouts", "layout_of", "layout_of_numbers"]

_MOST_LAYOUTS: Final = 4096
_MOST_DTYPES: Final = 64


class Layout:
    """What is known of a page by its head.

    Attributes
    ----------
    head : PageHead
        The head.
    steps, codec
        Its stages, loaded.
    form : dtype
        Of the items that the codec gives.
    whole : Span
        All blocks.
    edges : ndarray of int64, shape (n_blocks + 1,)
        Where blocks begin behind the head, and the end of the last.
    sectors : list of (int, int, int)
        Begin, end and sum of each sector.
    is_plain : bool
        Whether blocks are the items as they stand in memory.
    gives_single : bool
        Whether values can be made without all of their block, see `kist.codecs.taking`.
    items : bytes
        Parameters of a dictionary of strings, of which these are the numbers.
    encodings : tuple of Stage
        All stages but the codec: where they are equal, so is what they do.
    is_narrow : bool or None
        What `kist.codecs.narrow` says of the encodings; None as long as it was not asked.
    likeness : tuple or None
        Of pages from which values are taken together, see `kist.codecs.taking`; None as long as
        it was not asked.
    summed_size : int or None
        Of pages of words of which blocks are added up together, see `kist.engine.oneblock`; None as
        long as it was not asked.
    every : range
        Of all sectors.
    slices : list of (slice, int)
        Where each sector stands behind the head, and its sum.
    """

    __slots__ = (
        "codec",
        "edges",
        "encodings",
        "every",
        "form",
        "gives_single",
        "head",
        "is_narrow",
        "is_plain",
        "items",
        "likeness",
        "sectors",
        "slices",
        "stages",
        "steps",
        "summed_size",
        "whole",
    )

    def __init__(
        self, pointer: Pointer, head: PageHead, stages: tuple[Stage, ...], dtype: np.dtype[Any]
    ) -> None:
        self.head = head
        self.items = b""
        if stages[0].id == STRING_DICTIONARY:
            self.items, stages = stages[0].params, stages[1:]
        self.stages = stages
        self.encodings = stages[:-1]
        self.is_narrow: bool | None = None
        self.likeness: tuple[Any, ...] | None = None
        self.summed_size: int | None = None
        self.every = range(len(head.sums))
        self.gives_single = may_take(stages)
        try:
            self._load(Shape(head.n_values, head.block_values), form_of(dtype))
        except CodecError as error:
            raise undecoded(pointer, error) from error
        # Where each sector begins and ends: a row of many columns makes as many layouts.
        self.sectors: list[tuple[int, int, int]] = []
        self.slices: list[tuple[slice, int]] = []
        ends, size, begin = head.ends, head.sector_blocks, 0
        for number, wanted in enumerate(head.sums, 1):
            end = ends[min(number * size, len(ends)) - 1]
            self.sectors.append((begin, end, wanted))
            self.slices.append((slice(begin, end), wanted))
            begin = end

    def _load(self, shape: Shape, form: np.dtype[Any]) -> None:
        ends, n_values, size = self.head.ends, shape.n_values, shape.block_values
        n_blocks = -(-n_values // size)
        if len(ends) != n_blocks:
            raise CodecError(f"{len(ends)} blocks, not {n_blocks}")
        self.steps, self.codec = load(self.stages, form, shape)
        self.form = self.steps[-1].form if self.steps else form
        self.whole = span_of(shape, 0, n_blocks)
        self.edges = np.array((0, *ends))
        self.is_plain = isinstance(self.codec, LoadedPlain) and self.form.kind != "V"
        if self.is_plain:
            step, total = size * self.form.itemsize, n_values * self.form.itemsize
            if ends != (*range(step, total, step), total):
                lengths = np.diff(self.edges).tolist()
                raise CodecError(f"plain blocks of {lengths} bytes for {n_values} items")


_layouts: dict[np.dtype[Any], dict[bytes, Layout]] = {}


def layout_of(
    view: View, pointer: Pointer, dtype: np.dtype[Any], n_values: int, known: dict[bytes, Layout]
) -> Layout:
    """Return the layout of a page that must hold so many values; `known` are those of a dtype."""
    head, stages = load_head(view, pointer)
    found = known.get(pointer.sum)
    if found is None or found.head is not head:
        found = Layout(pointer, head, stages, dtype)
        if len(known) >= _MOST_LAYOUTS:
            known.clear()
        known[pointer.sum] = found
    check_size(pointer, head, n_values)
    return found


def layout_of_numbers(
    view: View, pointer: Pointer, n_values: int, known: dict[bytes, Layout]
) -> Layout | None:
    """Return the layout of the numbers of a page of strings, None where there are none.

    Parameters as for `layout_of`. Where more than a codec was done to the numbers, None too.
    """
    from kist.codecs.stringpages import n_items_of, number_dtype

    _, stages = load_head(view, pointer)
    if len(stages) != 2 or stages[0].id != STRING_DICTIONARY:
        return None
    try:
        dtype = number_dtype(n_items_of(stages[0].params))
    except CodecError as error:
        raise undecoded(pointer, error) from error
    return layout_of(view, pointer, dtype, n_values, known)


def known_layouts(dtype: np.dtype[Any]) -> dict[bytes, Layout]:
    """Return the layouts that are kept for columns of a dtype."""
    if len(_layouts) > _MOST_DTYPES:
        _layouts.clear()
    return _layouts.setdefault(dtype, {})
