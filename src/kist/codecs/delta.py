"""Stage 5, delta: differences of neighbours, once or several times, blocks apart."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.bits import block_differences, signed, undo_block_differences
from kist.codecs.fields import FieldReader
from kist.codecs.stage import Options, Shape, Span
from kist.errors import CodecError

_HEAD = struct.Struct("<B")

MAX_ORDER = 3


class Delta:
    """Parameters: order u8; starts, ``order`` items for each block of the page.

    Floats are taken by their bits, as signed integers. Option of a recipe: the order.
    """

    id = 5
    name = "delta"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, NDArray[Any]] | None:
        """None for items that are no numbers, and for pages of single-value blocks."""
        if values.dtype.kind not in "iuf" or block_values < 2:
            return None
        (order,) = options
        rest = values.view(signed(values.itemsize))
        starts = np.empty((-(-values.size // block_values), order), rest.dtype)
        for level in range(order):
            starts[:, level], rest = block_differences(rest, block_values)
        return _HEAD.pack(order) + starts.tobytes(), rest

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedDelta:
        """The starts of all blocks."""
        if form.kind not in "iuf":
            raise CodecError(f"delta: {form} is not a number")
        narrowed = signed(form.itemsize)
        reader = FieldReader(params, self.name)
        (order,) = reader.read(_HEAD)
        if not 1 <= order <= MAX_ORDER:
            raise CodecError(f"delta: order {order} is outside 1 to {MAX_ORDER}")
        starts = reader.array(narrowed, shape.n_blocks * order)
        reader.end()
        # By order: each is then contiguous.
        by_order = np.ascontiguousarray(starts.reshape(-1, order).T)
        return LoadedDelta(narrowed, by_order, shape.block_values)

    def describe(self, options: Options) -> str:
        """Name and order."""
        return self.name if options[0] == 1 else f"{self.name}({options[0]})"


class LoadedDelta(NamedTuple):
    """First values of each block, for each order."""

    form: np.dtype[Any]
    starts: NDArray[Any]
    block_values: int

    def decode(self, source: NDArray[Any], target: NDArray[Any], span: Span) -> None:
        """One running sum for each order, within each block, in place."""
        for starts in self.starts[::-1]:
            undo_block_differences(source, starts[span.blocks], self.block_values)
