"""Heads of column pages: the pipeline, where blocks end, the sums of sectors.

A page body is a head and, behind it, the stored blocks one after the other. Blocks decode
alone; sectors, runs of ``sector_blocks`` blocks, are read and verified alone. The pointer to
the page holds the sum of the head (docs/format.md, "Pages").
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from kist.errors import CorruptDataError
from kist.format.checksum import Buffer, sum64
from kist.format.layout import ALIGNMENT, PAGE_HEAD, PAGE_MAGIC

SECTOR_BYTES = 16 * 1024
MAX_HEAD = 1 << 24

_STAGE = struct.Struct("<HI")


class PageHead:
    """What is needed to read any block of a page.

    Attributes
    ----------
    stages : tuple of (id, parameters)
        The pipeline, in the order of encoding.
    n_values, block_values : int
        Values in the page and in a block.
    ends : tuple of int
        End of each stored block, counted from the end of the head.
    sector_blocks : int
        Blocks of a sector.
    sums : tuple of int
        XXH3-64 of each sector.
    size : int
        Bytes of the head.
    """

    def __init__(
        self,
        stages: tuple[tuple[int, bytes], ...],
        n_values: int,
        block_values: int,
        ends: tuple[int, ...],
        sector_blocks: int,
        sums: tuple[int, ...],
        size: int,
    ) -> None:
        self.stages = stages
        self.n_values = n_values
        self.block_values = block_values
        self.ends = ends
        self.sector_blocks = sector_blocks
        self.sums = sums
        self.size = size

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Start of the first stored block, then where each ends: for work with many blocks."""
        return np.array((0, *self.ends), np.int64)

    @property
    def sector_ends(self) -> tuple[int, ...]:
        """End of each sector, counted from the end of the head."""
        ends, size = self.ends, self.sector_blocks
        found = ends[size - 1 :: size]
        return found if len(ends) % size == 0 else (*found, ends[-1])

    def sectors_of(self, first_block: int, last_block: int) -> range:
        """Sectors that hold the blocks first .. last."""
        return range(first_block // self.sector_blocks, last_block // self.sector_blocks + 1)

    def sector_span(self, sector: int) -> tuple[int, int]:
        """(start, stop) of a sector, counted from the end of the head."""
        first = sector * self.sector_blocks
        last = min(first + self.sector_blocks, len(self.ends)) - 1
        return (self.ends[first - 1] if first else 0), self.ends[last]


def pack_page_head(
    stages: Sequence[tuple[int, bytes]],
    n_values: int,
    block_values: int,
    blocks: Sequence[Buffer],
    *,
    aligned: bool = False,
    sector_bytes: int = SECTOR_BYTES,
) -> bytes:
    """Head for these stored blocks; cuts them into sectors of about that size or of one block.

    An aligned head is a multiple of 64 bytes long, so that what follows it in the file stands
    at one.
    """
    ends = list(accumulate(map(len, blocks)))
    total = ends[-1] if ends else 0
    n = len(blocks)
    nearest = (2 * sector_bytes * n + total) // (2 * total) if total else n
    sector_blocks = max(1, min(nearest, n))
    sums = []
    for at in range(0, len(blocks), sector_blocks):
        group = blocks[at : at + sector_blocks]
        sums.append(sum64(group[0] if len(group) == 1 else b"".join(group)))
    # In the order of the fields: by name it takes as long as the sums of a short page.
    counts = (n_values, block_values, len(blocks), sector_blocks, len(sums))
    parts = [PAGE_HEAD.struct.pack(PAGE_MAGIC, 1, len(stages), *counts)]
    for number, params in stages:
        parts += [_STAGE.pack(number, len(params)), params]
    parts.append(struct.pack(f"<{len(ends)}Q{len(sums)}Q", *ends, *sums))
    if aligned:
        parts.append(bytes(-sum(map(len, parts)) % ALIGNMENT))
    return b"".join(parts)


def unpack_page_head(data: bytes, body_length: int) -> PageHead:
    """Head of a page whose body has `body_length` bytes.

    Raises
    ------
    CorruptDataError
        Anything does not add up.
    """
    try:
        # In the order of the fields: by name it takes three times as long.
        (
            magic, version, n_stages, n_values, block_values, n_blocks, sector_blocks, n_sectors,
        ) = PAGE_HEAD.struct.unpack_from(data)  # fmt: skip
        if magic != PAGE_MAGIC or version != 1:
            raise CorruptDataError(f"page head begins with {data[:3]!r}")
        at = PAGE_HEAD.size
        stages = []
        for _ in range(n_stages):
            number, length = _STAGE.unpack_from(data, at)
            at += _STAGE.size
            if at + length > len(data):
                raise CorruptDataError("page head: parameters of a stage are cut off")
            stages.append((number, data[at : at + length]))
            at += length
        size = len(data)
        if not 0 <= size - at - 8 * (n_blocks + n_sectors) < ALIGNMENT:
            raise CorruptDataError(f"page head: {n_blocks} blocks, {n_sectors} sectors do not fit")
        numbers = struct.unpack_from(f"<{n_blocks + n_sectors}Q", data, at)
    except struct.error as error:
        raise CorruptDataError(f"page head of {len(data)} bytes is cut off") from error
    ends, sums = numbers[:n_blocks], numbers[n_blocks:]
    if (
        block_values < 1
        or sector_blocks < 1
        or n_blocks != -(-n_values // block_values)
        or n_sectors != -(-n_blocks // sector_blocks)
        or list(ends) != sorted(ends)
        or (ends[-1] if ends else 0) != body_length - size
    ):
        raise CorruptDataError("page head: values, blocks and sectors do not add up")
    return PageHead(tuple(stages), n_values, block_values, ends, sector_blocks, sums, size)
