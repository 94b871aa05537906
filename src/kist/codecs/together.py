"""The codecs of several pages run together: few long calls instead of many short ones.

A call into C lets the interpreter go and takes it back. With two threads that costs as much as
decoding a page of small integers, so that they are no faster than one. Here the chunks of several
pages of a column are joined, and decoded by one call for each thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist import options
from kist._kernels.scratch import scratch
from kist.codecs.blosc import LoadedBlosc2, decompress_blocks
from kist.codecs.stage import LoadedCodec, Span, StoredBlocks
from kist.errors import CodecError

__all__ = ["Part", "unpack"]

Run = Callable[[Sequence[Callable[[], None]]], object]

_BYTES: Final = np.dtype(np.uint8)

_ALIGNED: Final = 64
_LEAST: Final = 1 << 17
"""Bytes that a thread must have to decode: below, it takes longer to wake it."""


class Part(NamedTuple):
    """Blocks of one page, as they stand in memory.

    Attributes
    ----------
    codec : LoadedCodec
        The last stage of the page.
    form : dtype
        Of the items that it gives.
    span : Span
        Which blocks of the page.
    blocks : StoredBlocks
        They. Those of all parts stand in one buffer, one part behind the other, each behind room
        for the chunks of all.
    """

    codec: LoadedCodec
    form: np.dtype[Any]
    span: Span
    blocks: StoredBlocks

    @property
    def nbytes(self) -> int:
        """Bytes of the items."""
        return self.span.size * self.form.itemsize


class _Chunks(NamedTuple):
    """Pages of Blosc2 chunks, and the memory that they are decoded into, one behind the other."""

    parts: list[Part]
    out: NDArray[np.uint8]


def unpack(parts: Sequence[Part], run: Run) -> list[NDArray[Any]]:
    """Return the items of the blocks of each part.

    Parameters
    ----------
    run : callable
        Runs tasks on several threads.

    Returns
    -------
    list of ndarray
        Memory of this thread, valid until its next call.

    Raises
    ------
    CodecError
        The blocks are not what their pages call for.
    """
    memory = scratch("items", sum(part.nbytes + _ALIGNED for part in parts), _BYTES)
    at = 0
    found: list[NDArray[Any]] = []
    chunks: list[tuple[int, Part]] = []
    for part in parts:
        items = memory[at : at + part.nbytes].view(part.form)
        found.append(items)
        if isinstance(part.codec, LoadedBlosc2):
            chunks.append((at, part))
        else:
            part.codec.decode(part.blocks, items, part.span)
        at += part.nbytes
        at += -at % _ALIGNED  # nothing, behind whole blocks of most sizes
    run([partial(_decompress, share) for share in _shares(chunks, memory)])
    return found


def _shares(chunks: Sequence[tuple[int, Part]], memory: NDArray[np.uint8]) -> list[_Chunks]:
    """Cut pages into runs that decode by one call each: at least one for each thread.

    Only neighbours with one codec stand in one chunk, and nothing follows a short block.
    """
    total = sum(part.nbytes for _, part in chunks)
    share = max(_LEAST, -(-total // options.n_threads))
    found: list[_Chunks] = []
    start = stop = 0
    for at, part in chunks:
        codec, nbytes = part.codec, part.nbytes
        assert isinstance(codec, LoadedBlosc2)
        before = found[-1].parts[-1] if found else None
        if (
            before is not None
            and at == stop
            and before.codec == codec
            and not before.nbytes % codec.block_nbytes
            and stop + nbytes - start <= share + nbytes // 2
        ):
            found[-1].parts.append(part)
        else:
            start = at
            found.append(_Chunks([part], memory))
        stop = at + nbytes
        found[-1] = found[-1]._replace(out=memory[start:stop])
    return found


def _decompress(chunks: _Chunks) -> None:
    parts, out = chunks
    codec = parts[0].codec
    assert isinstance(codec, LoadedBlosc2)
    blocks = parts[0].blocks
    if len(parts) > 1:
        size = codec.block_nbytes
        counts = [-(-part.nbytes // size) for part in parts]
        if counts != [len(part.blocks) for part in parts]:
            raise CodecError(f"{[len(part.blocks) for part in parts]} blocks, not {counts}")
        starts = np.concatenate([part.blocks.starts for part in parts])
        stops = np.concatenate([part.blocks.stops for part in parts])
        blocks = StoredBlocks(blocks.buffer, starts, stops)
    decompress_blocks(blocks, out, codec.block_nbytes, codec.params)
