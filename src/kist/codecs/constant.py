"""Stage 1, constant: every item of the page is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist.codecs.fields import FieldReader
from kist.codecs.stage import Block, Options, Shape, Span
from kist.codecs.values import is_constant
from kist.errors import CodecError


class Constant:
    """Parameters: the item. All blocks are empty."""

    id = 1
    name = "constant"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, list[Block]] | None:
        """None when the items differ."""
        if not is_constant(values):
            return None
        return values[:1].tobytes(), [b""] * -(-values.size // block_values)

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedConstant:
        """The item."""
        reader = FieldReader(params, self.name)
        item = reader.array(form, 1)
        reader.end()
        return LoadedConstant(item)

    def describe(self, options: Options) -> str:
        """Its name."""
        return self.name


class LoadedConstant(NamedTuple):
    """The item of a page."""

    item: NDArray[Any]

    def decode(self, blocks: Sequence[Block], target: NDArray[Any], span: Span) -> None:
        """Fill `target` with the item."""
        require_empty(blocks, Constant.name)
        target[...] = self.item


def require_empty(blocks: Sequence[Block], name: str) -> None:
    """Refuse blocks with content where the parameters say everything."""
    for block in blocks:
        if len(block):
            raise CodecError(f"a block of a {name} page holds {len(block)} bytes, not none")
