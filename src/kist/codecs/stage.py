"""What stages have in common: their names in a page, and what an implementation provides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Block = bytes | memoryview
Options = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a page: a frozen id, and parameters in little-endian field tables."""

    id: int
    params: bytes


@dataclass(frozen=True, slots=True)
class Encoded:
    """A page in stored form.

    Attributes
    ----------
    stages : tuple of Stage
        In the order of encoding; the last one made the blocks.
    blocks : list of bytes or memoryview
        One per block, empty where the parameters say everything. A memoryview shows the
        values that were encoded: write it out before they change.
    n_values, block_values : int
        Values in the page, and in every block but the last.
    """

    stages: tuple[Stage, ...]
    blocks: list[Block]
    n_values: int
    block_values: int

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters and blocks."""
        return sum(len(s.params) for s in self.stages) + sum(map(len, self.blocks))


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive blocks of a page: which values they hold.

    Attributes
    ----------
    n_values, block_values : int
        Values in the page, and in every block but the last.
    first_block, n_blocks : int
    start, stop : int
        Values of the span, counted in the page.
    """

    n_values: int
    block_values: int
    first_block: int
    n_blocks: int
    start: int
    stop: int

    @classmethod
    def of(cls, n_values: int, block_values: int, first_block: int, n_blocks: int) -> Span:
        """The span of `n_blocks` blocks from `first_block` on, cut at the end of the page."""
        start = min(first_block * block_values, n_values)
        stop = min(start + n_blocks * block_values, n_values)
        return cls(n_values, block_values, first_block, n_blocks, start, stop)

    @property
    def total_blocks(self) -> int:
        """Blocks in the whole page."""
        return -(-self.n_values // self.block_values)


class Encoding(Protocol):
    """An array -> array stage: the same number of items, usually narrower."""

    id: int
    name: str

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, NDArray[Any]] | None:
        """Parameters and the narrower array, or None when the values do not suit it."""

    def narrowed(self, params: bytes, form: np.dtype[Any]) -> np.dtype[Any]:
        """Form of what `encode` made of values of `form`; checks the parameters' head."""

    def decode(self, params: bytes, source: NDArray[Any], target: NDArray[Any], span: Span) -> None:
        """Undo `encode` for the blocks of `span`: `source` in its form, into `target` in the
        form of the values. `target` may be `source` when both forms have the same width."""

    def describe(self, options: Options) -> str:
        """Short text for people, such as ``decimal(2)``."""


class Codec(Protocol):
    """The last stage: an array into one buffer per block."""

    id: int
    name: str

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, list[Block]] | None:
        """Parameters and blocks, or None when the values do not suit it."""

    def decode(
        self, params: bytes, blocks: Sequence[Block], target: NDArray[Any], span: Span
    ) -> None:
        """Fill `target` with the values of the blocks of `span`."""

    def describe(self, options: Options) -> str:
        """Short text for people, such as ``blosc2-zstd``."""
