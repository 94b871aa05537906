"""Pages left as they are encoded: conditions and groups look at numbers instead of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kist import engine
from kist._kernels.strings import is_text_missing
from kist.errors import CorruptDataError
from kist.format.schema import Leaf
from kist.model.tables.stored.layout import Group
from kist.model.tables.stored.read import naming_page
from kist.model.tables.stored.state import TableState, located

if TYPE_CHECKING:
    from kist.codecs.narrow import Narrow
    from kist.codecs.stringpages import Texts
    from kist.codecs.strings import StringBlock, StringColumns
    from kist.engine.textpages import PageBytes

__all__ = ["narrow_page", "narrow_pages", "page_bytes", "string_blocks"]


def narrow_page(state: TableState, leaf: Leaf, group: Group) -> Narrow | Texts | None:
    """Return all values of a leaf in a group as narrow integers, where its page holds such.

    None also where the values are others, see `TableState.rewrites`. Text is narrow where it has
    a dictionary.
    """
    if not group.is_pages or leaf.n_values != 1 or not leaf.is_stored or leaf.is_ragged:
        return None
    page = state.find_page(leaf, group)
    if page is None or state.rewrites(leaf, group):
        return None
    try:
        if leaf.is_loose:
            return engine.textpages.read_texts(state.view, page[0], leaf.dtype, group.n_rows)
        found = engine.pages.read_narrow(state.view, page[0], leaf.dtype, group.n_rows)
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
        raise located(error, state, ".".join(leaf.path), group.first) from error
    return found and found[0]


def string_blocks(
    state: TableState, leaf: Leaf, group: Group
) -> list[StringBlock | StringColumns] | None:
    """Return all strings of a leaf in a group as bytes; None as for `narrow_page`."""
    page = state.find_page(leaf, group) if group.is_pages and leaf.is_string else None
    if page is None or state.rewrites(leaf, group):
        return None
    try:
        return engine.textpages.read_string_blocks(state.view, page[0], group.n_rows)
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
        raise located(error, state, ".".join(leaf.path), group.first) from error


def page_bytes(state: TableState, leaf: Leaf, group: Group) -> PageBytes | None:
    """Return all strings of a leaf in a group as bytes, or as numbers of items that are bytes.

    None as for `narrow_page`, and where a missing string is one like any other, or an error.
    """
    if not group.is_pages or not leaf.is_string or is_text_missing(leaf.dtype):
        return None
    page = state.find_page(leaf, group)
    if page is None or state.rewrites(leaf, group):
        return None
    try:
        found = engine.textpages.read_page_bytes(state.view, page[0], group.n_rows)
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
        raise located(error, state, ".".join(leaf.path), group.first) from error
    if hasattr(leaf.dtype, "na_object"):
        return found
    missing, numbers = found.strings.missing, found.numbers
    if missing is None:
        return found
    gone = missing if numbers is None else missing[numbers]
    return None if gone.any() else found


def narrow_pages(
    state: TableState, leaf: Leaf, groups: Sequence[Group], *, items: bool = False
) -> Iterator[tuple[int, Narrow | Texts]]:
    """Yield all values of a leaf in some groups as narrow integers, where pages hold such.

    Not those of groups whose values are others; with `items` only those with a dictionary.

    Yields
    ------
    number : int
        Which of the groups.
    page : Narrow or Texts
        Texts of strings that have a dictionary. Valid until the next one is asked for. Until the
        last one was given, this thread must not read anything else.
    """
    if leaf.n_values != 1 or not leaf.is_stored or leaf.is_ragged:
        return
    numbers, pages = [], []
    named: dict[int, tuple[Leaf, Group]] = {}
    for number, group in enumerate(groups):
        if not group.is_pages or state.rewrites(leaf, group):
            continue
        page = state.find_page(leaf, group)
        if page is not None:
            numbers.append(number)
            pages.append((page[0], group.n_rows))
            named[page[0].offset] = leaf, group
    try:
        for number, found in engine.batches.read_narrow_pages(
            state.view, pages, leaf.dtype, items=items
        ):
            if found is not None:
                yield numbers[number], found
    except CorruptDataError as error:
        state.view.reader.backend.distrust()
        raise naming_page(state, error, named) from error
