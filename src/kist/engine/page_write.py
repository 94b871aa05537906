"""Column pages: encoded and given a head."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from kist._kernels.cells import Cells
from kist.codecs.pipeline import encode
from kist.codecs.recipe import Recipe
from kist.engine.parallel import share
from kist.format.checksum import Buffer
from kist.format.page import SECTOR_BYTES, pack_page_head

__all__ = ["build_page"]

Array = npt.NDArray[np.generic]


def build_page(
    values: Array,
    recipe: Recipe,
    *,
    block_values: int = 8192,
    aligned: bool = False,
    sector_bytes: int = SECTOR_BYTES,
) -> tuple[bytes, list[Buffer]]:
    """Encode values as the head and the stored blocks of a page.

    Parameters
    ----------
    values : ndarray, 1-d
        Values of one leaf column.
    recipe : Recipe
        From `kist.codecs.choose`; for `StringDType` from `kist.codecs.stringpages`, for cells
        from `kist.codecs.raggedpages`.
    block_values : int
        Values of a block, which decodes alone; blocks of long strings hold fewer.
    aligned : bool
        Whether the blocks shall stand at a multiple of 64 in the file.
    sector_bytes : int
        Stored bytes that are read and verified alone, unless a block has more.

    Raises
    ------
    CodecError
        The values do not fit the recipe, e.g. floats that are no decimals.
    """
    encoding: Any = encode
    if values.dtype.kind == "T":
        from kist.codecs.stringpages import encode_strings

        encoding = partial(encode_strings, run=share)
    if isinstance(values, Cells):
        from kist.codecs.raggedpages import encode_ragged as encoding
    encoded = encoding(values, recipe, block_values=block_values)
    blocks: list[Buffer] = list(encoded.blocks)
    head = pack_page_head(
        encoded.stages,
        encoded.n_values,
        encoded.block_values,
        blocks,
        aligned=aligned,
        sector_bytes=sector_bytes,
    )
    return head, blocks
