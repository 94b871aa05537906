"""Stage 18, pcodec: a codec for numbers; one standalone file of it per block.

Dense where nothing simpler is, and slow to write: 0.1 to 0.5 GB/s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist.codecs.fields import FieldReader
from kist.codecs.plain import copy_raw, raw_blocks
from kist.codecs.stage import Block, Options, Shape, Span
from kist.errors import CodecError

_MAX_BLOCK = 1 << 24  # values in one chunk of a pcodec file


class Pcodec:
    """No parameters. Option of a recipe: the compression level, 0 to 12.

    A block as long as its items is the items; a shorter one is a standalone pcodec file of
    exactly these items in the form of the page.
    """

    id = 18
    name = "pcodec"

    def encode(
        self, values: NDArray[Any], block_values: int, options: Options
    ) -> tuple[bytes, list[Block]] | None:
        """None for items that are not numbers of 2, 4 or 8 bytes."""
        if not suits(values.dtype) or block_values > _MAX_BLOCK:
            return None
        compress, config = _library().simple_compress, _config(*options)
        blocks: list[Block] = []
        for at, raw in enumerate(raw_blocks(values, block_values)):
            items = values[at * block_values : (at + 1) * block_values]
            stored = _guarded(compress, np.ascontiguousarray(items), config)
            blocks.append(stored if len(stored) < len(raw) else raw)
        return b"", blocks

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> LoadedPcodec:
        """Nothing to keep but the length of a block."""
        FieldReader(params, self.name).end()
        if not suits(form):
            raise CodecError(f"a pcodec page cannot hold items of {form}")
        return LoadedPcodec(shape.block_values)

    def describe(self, options: Options) -> str:
        """Name and level."""
        return f"{self.name}({options[0]})"


class LoadedPcodec(NamedTuple):
    """Values of a block."""

    block_values: int

    def decode(self, blocks: Sequence[Block], target: NDArray[Any], span: Span) -> None:
        """Each block into its part of `target`."""
        decompress = _library().simple_decompress_into
        for number, block in enumerate(blocks):
            at = number * self.block_values
            items = target[at : at + self.block_values]
            if len(block) >= items.nbytes:
                copy_raw(block, items)
                continue
            progress = _guarded(decompress, bytes(block), items)
            if progress.n_processed != items.size or not progress.finished:
                raise CodecError(
                    f"a pcodec block gave {progress.n_processed} of {items.size} values"
                )


def suits(form: np.dtype[Any]) -> bool:
    """Whether pcodec takes values of this form."""
    return form.kind in "iuf" and form.itemsize in (2, 4, 8)


def _guarded(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # a Rust panic is no Exception
        raise CodecError(f"pcodec: {error}") from error


@cache
def _library() -> Any:
    from pcodec import standalone

    return standalone


@lru_cache
def _config(level: int) -> Any:
    from pcodec import ChunkConfig

    return ChunkConfig(compression_level=level)
