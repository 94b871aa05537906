"""Stage 2, runs: long stretches of equal items."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist.codecs.constant import require_empty
from kist.codecs.fields import FieldReader
from kist.codecs.stage import Block, Options, Shape, Span
from kist.codecs.values import changes
from kist.errors import CodecError

_HEAD = struct.Struct("<I")
_END = np.dtype("<u4")

MAX_BYTES = 4096
"""Writers stop here: reading one row reads all parameters of its page."""


class Runs:
    """Parameters: count u32; the end of each run u32, ascending; the item of each run."""

    id = 2
    name = "runs"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, list[Block]] | None:
        """None when the runs would take more than `MAX_BYTES`."""
        limit = (MAX_BYTES - _HEAD.size) // (_END.itemsize + values.itemsize)
        if values.size >= 1 << 32:
            return None
        # The first values tell most pages that have no runs.
        for part in (values[: 4 * limit], values):
            different = changes(part)
            if np.count_nonzero(different) + 1 > limit:
                return None
        last = np.flatnonzero(different)
        ends = np.empty(last.size + 1, _END)
        ends[:-1] = last + 1
        ends[-1] = values.size
        params = _HEAD.pack(ends.size) + ends.tobytes() + values[ends - 1].tobytes()
        return params, [b""] * -(-values.size // block_values)

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedRuns:
        """The runs; their ends must ascend to the end of the page."""
        reader = FieldReader(params, self.name)
        (count,) = reader.read(_HEAD)
        ends = reader.array(_END, count)
        items = reader.array(form, count)
        reader.end()
        if not count or ends[-1] != shape.n_values or (ends[1:] <= ends[:-1]).any():
            raise CodecError(f"runs: the ends do not ascend to {shape.n_values}")
        return LoadedRuns(ends, items)

    def describe(self, options: Options) -> str:
        """Its name."""
        return self.name


class LoadedRuns(NamedTuple):
    """The runs of a page."""

    ends: NDArray[np.uint32]
    items: NDArray[Any]

    def decode(self, blocks: Sequence[Block], target: NDArray[Any], span: Span) -> None:
        """Repeat each run's item as often as it occurs in the span."""
        require_empty(blocks, Runs.name)
        for part, where in span.runs():
            self._repeat(target[where], part)

    def _repeat(self, target: NDArray[Any], span: Span) -> None:
        first, last = np.searchsorted(self.ends, (span.start, span.stop - 1), side="right")
        inside = self.ends[first : last + 1].astype(np.int64)
        inside[-1] = span.stop
        lengths = np.diff(inside, prepend=span.start)
        at = 0
        for item, length in zip(self.items[first : last + 1], lengths.tolist(), strict=True):
            target[at : at + length] = item
            at += length
