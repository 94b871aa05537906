"""What stages have in common: their names in a page, and what an implementation provides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

MAX_STEPS: Final = 8
"""Most stages of a page."""

Block = bytes | memoryview
Options = tuple[int, ...]


class Neighbours(list[memoryview]):
    """Blocks that follow each other in memory.

    Attributes
    ----------
    whole : memoryview
        All of them.
    """

    def __init__(self, whole: memoryview, ends: Sequence[int]) -> None:
        """Cut `whole` at the ends of blocks, of which the last is its own."""
        begin = 0
        for end in ends:
            self.append(whole[begin:end])
            begin = end
        self.whole = whole


class StoredBlocks(Sequence[Block]):
    """Blocks as they stand in one buffer that may be written to, behind room for a codec.

    Parameters
    ----------
    buffer : ndarray of uint8
        Holds all of them, behind `room_for` bytes of anything; best with `BEHIND` more at its end.
    starts, stops : ndarray of int64
        Where each block begins and ends in `buffer`.
    bounds : (int, int), optional
        Where all of them do; needed unless they ascend.

    Notes
    -----
    A codec that takes them one by one pays for a view of each; one that takes them together looks
    at the arrays.
    """

    BEHIND: Final = 4
    """Bytes of anything behind the last block: a header is looked at with what follows it."""

    def __init__(
        self,
        buffer: NDArray[np.uint8],
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
        bounds: tuple[int, int] | None = None,
    ) -> None:
        self.buffer = buffer
        self.starts = starts
        self.stops = stops
        self.bounds = bounds

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, which: int) -> Block: ...

    @overload
    def __getitem__(self, which: slice) -> StoredBlocks: ...

    def __getitem__(self, which: int | slice) -> Block | StoredBlocks:
        if isinstance(which, slice):
            return StoredBlocks(self.buffer, self.starts[which], self.stops[which])
        return self.buffer.data[int(self.starts[which]) : int(self.stops[which])]

    def __iter__(self) -> Iterator[Block]:
        data = self.buffer.data
        for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True):
            yield data[start:stop]

    @staticmethod
    def room_for(n_blocks: int) -> int:
        """Bytes before the first block in which a codec can join `n_blocks` without a copy."""
        return 1088 + 4 * n_blocks


class Stage(NamedTuple):
    """One stage of a page: a frozen id, and parameters in little-endian field tables."""

    id: int
    params: bytes


class Encoded(NamedTuple):
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


class Shape(NamedTuple):
    """Values in a page, and in every block of it but the last."""

    n_values: int
    block_values: int

    @property
    def n_blocks(self) -> int:
        """Blocks in the page."""
        return -(-self.n_values // self.block_values)


class Span:
    """Consecutive blocks of a page, and the values ``start .. stop`` of it that they hold.

    `size` is the number of these values.
    """

    __slots__ = ("first_block", "n_blocks", "size", "start", "stop")

    def __init__(self, first_block: int, n_blocks: int, start: int, stop: int) -> None:
        self.first_block = first_block
        self.n_blocks = n_blocks
        self.start = start
        self.stop = stop
        self.size = stop - start

    @property
    def blocks(self) -> slice | NDArray[np.int64]:
        """Index of these blocks in an array that has one item for each block of the page."""
        return slice(self.first_block, self.first_block + self.n_blocks)

    def runs(self) -> Iterator[tuple[Span, slice]]:
        """Yield consecutive blocks, and where their values stand in those of the span."""
        yield self, slice(None)


class Scattered(Span):
    """Ascending blocks of a page that do not follow each other; `size` values altogether.

    `start` and `stop` are those of the first and the last block.
    """

    __slots__ = ("block_values", "numbers")

    def __init__(
        self,
        first_block: int,
        n_blocks: int,
        start: int,
        stop: int,
        numbers: NDArray[np.int64],
        block_values: int,
    ) -> None:
        super().__init__(first_block, n_blocks, start, stop)
        self.numbers = numbers
        self.block_values = block_values
        # Only the last block of a page is shorter.
        self.size = stop - (int(numbers[-1]) - n_blocks + 1) * block_values

    @property
    def blocks(self) -> slice | NDArray[np.int64]:
        """Index of these blocks in an array that has one item for each block of the page."""
        return self.numbers

    def runs(self) -> Iterator[tuple[Span, slice]]:
        """Yield consecutive blocks, and where their values stand in those of the span."""
        cuts = (np.flatnonzero(np.diff(self.numbers) != 1) + 1).tolist()
        for a, b in pairwise([0, *cuts, len(self.numbers)]):
            first = int(self.numbers[a])
            start = first * self.block_values
            stop = min(start + (b - a) * self.block_values, self.stop)
            at = a * self.block_values
            yield Span(first, b - a, start, stop), slice(at, at + stop - start)


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
