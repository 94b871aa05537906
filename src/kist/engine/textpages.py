"""Pages of strings as far as a question about them needs them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kist.codecs.registry import STRING_DICTIONARY, STRINGS
from kist.codecs.stringpages import Texts, numbered_bytes, numbered_strings, opened_blocks
from kist.codecs.strings import StringBlock, StringColumns, joined_blocks
from kist.engine.pages import check_size, load_head, read_blocks, undecoded
from kist.engine.view import View
from kist.errors import CodecError
from kist.format.values import Pointer

__all__ = ["PageBytes", "read_page_bytes", "read_string_blocks", "read_texts"]


class PageBytes(NamedTuple):
    """Strings of a page as bytes.

    Attributes
    ----------
    strings : StringBlock
        They, or the items of their dictionary with a missing one behind them.
    numbers : ndarray of unsigned int, or None
        Which of the items each string is; None without a dictionary.
    """

    strings: StringBlock
    numbers: npt.NDArray[np.unsignedinteger[npt.NBitBase]] | None


def read_texts(
    view: View, pointer: Pointer, dtype: np.dtype[np.generic], n_values: int
) -> Texts | None:
    """Return the strings of a page as the items of its dictionary, None if it has none.

    Parameters
    ----------
    dtype : StringDType
        Of the column.
    n_values : int
        What the page must hold.

    Raises
    ------
    CorruptDataError
        The page fails a checksum or does not decode.
    """
    head, stages = load_head(view, pointer)
    check_size(pointer, head, n_values)
    if not n_values or stages[0].id != STRING_DICTIONARY:
        return None
    blocks = read_blocks(view, pointer, head, 0, len(head.ends) - 1)
    try:
        return numbered_strings(stages, dtype, n_values, head.block_values, blocks)
    except CodecError as error:
        raise undecoded(pointer, error) from error


def read_string_blocks(
    view: View, pointer: Pointer, n_values: int
) -> list[StringBlock | StringColumns] | None:
    """Return the strings of a page as bytes, None if it has a dictionary.

    Parameters and errors as for `read_texts`.
    """
    head, stages = load_head(view, pointer)
    check_size(pointer, head, n_values)
    if not n_values or stages[0].id != STRINGS:
        return None
    blocks = read_blocks(view, pointer, head, 0, len(head.ends) - 1)
    try:
        return opened_blocks(stages, n_values, head.block_values, blocks)
    except CodecError as error:
        raise undecoded(pointer, error) from error


def read_page_bytes(view: View, pointer: Pointer, n_values: int) -> PageBytes:
    """Return the strings of a page as bytes, or as numbers of such.

    Parameters and errors as for `read_texts`; at least one value.
    """
    head, stages = load_head(view, pointer)
    check_size(pointer, head, n_values)
    blocks = read_blocks(view, pointer, head, 0, len(head.ends) - 1)
    try:
        if stages[0].id == STRING_DICTIONARY:
            items, numbers = numbered_bytes(stages, n_values, head.block_values, blocks)
            return PageBytes(items, numbers)
        found = opened_blocks(stages, n_values, head.block_values, blocks)
        plain = [one.block() if isinstance(one, StringColumns) else one for one in found]
        return PageBytes(joined_blocks(plain), None)
    except CodecError as error:
        raise undecoded(pointer, error) from error
