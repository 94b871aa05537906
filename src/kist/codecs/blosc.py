"""Stage 17, blosc2: LZ4 or Zstd behind an optional byte or bit shuffle, one chunk per block.

A block that Blosc2 does not make shorter is stored as it is. Its length tells: a stored
block as long as the values is the values, a shorter one is a chunk, a longer one is damage.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist.codecs.bloscchunk import (
    BITSHUFFLE,
    COMPRESSOR_NAMES,
    COMPRESSORS,
    FILTER_NAMES,
    FILTERS,
    LZ4,
    MAX_TYPESIZE,
    NO_FILTER,
    SHUFFLE,
    ZSTD,
    BloscParams,
    check_chunk,
    joined,
)
from kist.codecs.fields import FieldReader
from kist.codecs.libblosc import TEXT, backend
from kist.codecs.stage import Block, Options, Shape, Span, StoredBlocks
from kist.errors import CodecError

__all__ = [
    "BITSHUFFLE",
    "COMPRESSORS",
    "COMPRESSOR_NAMES",
    "FILTERS",
    "FILTER_NAMES",
    "LZ4",
    "MAX_TYPESIZE",
    "NO_FILTER",
    "SHUFFLE",
    "ZSTD",
    "Blosc2",
    "BloscParams",
    "compress",
    "compress_blocks",
    "decompress_block",
    "decompress_blocks",
    "decompress_into",
]

_MANY = 2
"""Blocks from which on they are decoded together."""

_JOINED_BYTES = 64 << 10
"""Longer blocks are decoded one by one, where joining them is a copy: a call costs less."""

_MAX_BLOCK = 1 << 30  # well below Blosc2's own limit of 2 GiB


def compress_blocks(data: NDArray[Any], block_nbytes: int, params: BloscParams) -> list[Block]:
    """Compress consecutive blocks of one buffer, each into a chunk of its own.

    Parameters
    ----------
    data : ndarray, C-contiguous
        The values; the last block may be shorter than the others.
    block_nbytes : int
        Bytes of one block, more than 0.

    Returns
    -------
    list of bytes or memoryview
        One buffer per block, never longer than the block. Blocks that do not shrink are
        views of `data`.

    Raises
    ------
    CodecError
        The buffer or its blocks do not consist of whole items of `typesize` bytes.
    """
    flat = data.view(np.uint8).reshape(-1) if data.itemsize else data[:0].view(np.uint8)
    _check_sizes(flat.size, block_nbytes, params)
    return backend().compress(flat, block_nbytes, params)


def decompress_blocks(
    blocks: Sequence[Block],
    out: NDArray[Any],
    block_nbytes: int,
    params: BloscParams,
) -> None:
    """Decode consecutive blocks into `out`, which they must fill exactly.

    Parameters
    ----------
    out : ndarray, C-contiguous, writable
        Nothing outside it is written, whatever the blocks hold.

    Raises
    ------
    CodecError
        A block's size or header is not what `out` and `params` call for, or it does not
        decode. `out` may then hold anything.
    """
    flat = out.view(np.uint8).reshape(-1)
    total = flat.size
    _check_sizes(total, block_nbytes, params)
    if len(blocks) != -(-total // block_nbytes):
        raise CodecError(
            f"{len(blocks)} blocks of {block_nbytes} bytes cannot fill {total} bytes exactly"
        )
    n = total // block_nbytes  # the last block may be shorter
    done = 0
    decompress = backend().decompress
    if n >= _MANY and (block_nbytes <= _JOINED_BYTES or isinstance(blocks, StoredBlocks)):
        whole = blocks if n == len(blocks) else blocks[:n]
        chunk = joined(whole, block_nbytes, params)
        if chunk is not None:
            decompress(chunk, flat[: n * block_nbytes])
            done = n
    for at in range(done, len(blocks)):
        _decompress(blocks[at], flat[at * block_nbytes : (at + 1) * block_nbytes], params)


def decompress_block(block: Block, out: NDArray[Any], params: BloscParams) -> None:
    """Decode one block into `out`, which it must fill exactly; as `decompress_blocks`."""
    size = out.nbytes
    if not 0 < size <= _MAX_BLOCK or size % params.typesize:
        _check_sizes(size, size, params)  # for the message
    _decompress(block, out.view(np.uint8), params)


def _decompress(block: Block, target: NDArray[np.uint8], params: BloscParams) -> None:
    stored, size = len(block), target.size
    if stored < size:
        check_chunk(block, size, params)
        backend().decompress(block, target)
    elif stored == size:
        target[:] = np.frombuffer(block, np.uint8)
    else:
        raise CodecError(f"a block of {size} bytes is stored in {stored}, which is longer")


def compress(data: bytes | memoryview | NDArray[Any], params: BloscParams) -> bytes:
    """Compress one buffer; returned as it is when Blosc2 does not make it shorter.

    Its length must be a multiple of ``params.typesize``, else `CodecError`.
    """
    flat = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data
    if flat.nbytes == 0:
        return b""
    quickly = backend().compress_text(flat.view(np.uint8)) if params == TEXT else None
    return bytes(compress_blocks(flat, flat.nbytes, params)[0] if quickly is None else quickly)


def decompress_into(chunk: Block, out: NDArray[Any], params: BloscParams) -> None:
    """Decode what `compress` returned into `out`, whose size must be the original's.

    Raises
    ------
    CodecError
        See `decompress_blocks`.
    """
    if out.nbytes:
        decompress_blocks((chunk,), out, out.nbytes, params)
    elif len(chunk):
        raise CodecError(f"{len(chunk)} bytes are stored for nothing")


def _check_sizes(total: int, block_nbytes: int, params: BloscParams) -> None:
    if not 0 < block_nbytes <= _MAX_BLOCK:
        raise CodecError(f"a block of {block_nbytes} bytes is outside 1 to {_MAX_BLOCK}")
    # Blosc2 4.14 writes chunks of other lengths that it cannot read back.
    if total % params.typesize or block_nbytes % params.typesize:
        raise CodecError(f"{total} bytes are not whole items of {params.typesize} bytes")


_STAGE = struct.Struct("<BBB")
_params = lru_cache(maxsize=256)(BloscParams)


class Blosc2:
    """Stage 17. Parameters: compressor u8, filter u8, typesize u8.

    Options of a recipe: compressor, level, filter for items of one byte, filter for wider
    items. A page whose items turn out wider than the sample's keeps a sensible filter so.
    """

    id = 17
    name = "blosc2"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, list[Block]] | None:
        """None for items of no bytes."""
        size = values.itemsize
        if not size:
            return None
        compressor, level, narrow, wide = options
        typesize = size if size <= MAX_TYPESIZE else 1
        params = _params(compressor, level, narrow if typesize == 1 else wide, typesize)
        blocks = compress_blocks(values, block_values * size, params)
        return _STAGE.pack(params.compressor, params.filter, params.typesize), blocks

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedBlosc2:
        """What the chunks of the page must be."""
        if not form.itemsize:
            raise CodecError("a Blosc2 page cannot hold items of no bytes")
        return LoadedBlosc2(_chunks_of(params), shape.block_values * form.itemsize)

    def describe(self, options: Options) -> str:
        """Compressor and filters, such as ``blosc2-zstd+shuffle``."""
        compressor, level, narrow, wide = options
        # From a record of a file: any numbers.
        text = f"{self.name}-{COMPRESSOR_NAMES.get(compressor, compressor)}"
        names = [str(FILTER_NAMES.get(f, f)) for f in dict.fromkeys((wide, narrow)) if f]
        return "+".join([text, *names]) + (f"({level})" if level != 1 else "")


@lru_cache(maxsize=256)
def _chunks_of(params: bytes) -> BloscParams:
    reader = FieldReader(params, Blosc2.name)
    compressor, filter_, typesize = reader.read(_STAGE)
    reader.end()
    return BloscParams(compressor, 1, filter_, typesize)


class LoadedBlosc2(NamedTuple):
    """What the chunks of a page must be."""

    params: BloscParams
    block_nbytes: int

    def decode(self, blocks: Sequence[Block], target: NDArray[Any], span: Span) -> None:
        """Each block into its part of `target`."""
        decompress_blocks(blocks, target, self.block_nbytes, self.params)
