"""Stage 1, constant: every item of the page is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from kist.codecs.fields import FieldReader
from kist.codecs.stage import Block, Options, Span
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

    def decode(
        self, params: bytes, blocks: Sequence[Block], target: NDArray[Any], span: Span
    ) -> None:
        """Fill `target` with the item."""
        require_empty(blocks, self.name)
        reader = FieldReader(params, self.name)
        item = reader.array(target.dtype, 1)
        reader.end()
        target[...] = item

    def describe(self, options: Options) -> str:
        """Its name."""
        return self.name


def require_empty(blocks: Sequence[Block], name: str) -> None:
    """Refuse blocks with content where the parameters say everything."""
    for block in blocks:
        if len(block):
            raise CodecError(f"a block of a {name} page holds {len(block)} bytes, not none")
