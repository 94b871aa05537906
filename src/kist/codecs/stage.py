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
class Shape:
    """Values in a page, and in every block of it but the last."""

    n_values: int
    block_values: int

    @property
    def n_blocks(self) -> int:
        """Blocks in the page."""
        return -(-self.n_values // self.block_values)


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive blocks of a page, and the values ``start .. stop`` of it that they hold."""

    first_block: int
    n_blocks: int
    start: int
    stop: int


class LoadedEncoding(Protocol):
    """An array -> array stage with the parameters of one page, checked; never changes."""

    @property
    def form(self) -> np.dtype[Any]:
        """Form of the narrowed values."""

    def decode(self, source: NDArray[Any], target: NDArray[Any], span: Span) -> None:
        """Turn the narrowed values of `span` into the values, in their form.

        When both forms have the same width, `source` and `target` are the same memory.
        """


class LoadedCodec(Protocol):
    """A codec with the parameters of one page, checked; never changes."""

    def decode(self, blocks: Sequence[Block], target: NDArray[Any], span: Span) -> None:
        """Fill contiguous `target` with the values of the blocks of `span`."""


class Encoding(Protocol):
    """An array -> array stage: the same number of items, usually narrower."""

    id: int
    name: str

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, NDArray[Any]] | None:
        """Parameters and the narrowed values, or None when the values do not suit it."""

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedEncoding:
        """Check parameters for values of `form`; `CodecError` when they cannot be."""

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

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedCodec:
        """Check parameters for values of `form`; `CodecError` when they cannot be."""

    def describe(self, options: Options) -> str:
        """Short text for people, such as ``blosc2-zstd``."""
