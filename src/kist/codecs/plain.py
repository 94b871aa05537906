"""Stage 16, plain: the bytes of the items as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist.codecs.fields import FieldReader
from kist.codecs.stage import Block, Neighbours, Options, Shape, Span
from kist.errors import CodecError


class Plain:
    """No parameters. A block is the bytes of its items, one after the other."""

    id = 16
    name = "none"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, list[Block]] | None:
        """Never None. The blocks show `values`."""
        return b"", raw_blocks(values, block_values)

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedPlain:
        """Nothing to keep but the length of a block."""
        if params:
            FieldReader(params, self.name).end()
        return LoadedPlain(shape.block_values)

    def describe(self, options: Options) -> str:
        """Its name."""
        return self.name


class LoadedPlain(NamedTuple):
    """Values of a block."""

    block_values: int

    def view(self, blocks: Sequence[Block], form: np.dtype[Any], span: Span) -> NDArray[Any] | None:
        """Return items where they stand, None where they must be copied; only to be read."""
        if not isinstance(blocks, Neighbours) or not form.itemsize:
            return None
        size = self.block_values * form.itemsize
        total = span.size * form.itemsize
        if len(blocks.whole) != total or any(map(size.__ne__, map(len, blocks[:-1]))):
            return None  # which `decode` tells
        return np.frombuffer(blocks.whole, form)

    def decode(self, blocks: Sequence[Block], target: NDArray[Any], span: Span) -> None:
        """Copy each block."""
        for number, block in enumerate(blocks):
            at = number * self.block_values
            copy_raw(block, target[at : at + self.block_values])


def raw_blocks(values: NDArray[Any], block_values: int) -> list[Block]:
    """The bytes of each block, as views of contiguous `values`."""
    if not values.itemsize:
        return [b""] * -(-values.size // block_values)
    raw = values.view(np.uint8).data
    step = block_values * values.itemsize
    return [raw[at : at + step] for at in range(0, len(raw), step)]


def copy_raw(block: Block, items: NDArray[Any]) -> None:
    """Copy one raw block into contiguous `items`, whose size it must have."""
    if len(block) != items.nbytes:
        raise CodecError(f"a plain block holds {len(block)} bytes, not {items.nbytes}")
    if len(block):
        items.view(np.uint8)[...] = np.frombuffer(block, np.uint8)
