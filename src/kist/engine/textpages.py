"""Pages of strings as far as a question about them needs them."""

from __future__ import annotations

import numpy as np

from kist.codecs.registry import STRING_DICTIONARY, STRINGS
from kist.codecs.stringpages import Texts, numbered_strings, opened_blocks
from kist.codecs.strings import StringBlock
from kist.engine.pages import check_size, load_head, read_blocks, undecoded
from kist.engine.view import View
from kist.errors import CodecError
from kist.format.values import Pointer

__all__ = ["read_string_blocks", "read_texts"]


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


def read_string_blocks(view: View, pointer: Pointer, n_values: int) -> list[StringBlock] | None:
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
