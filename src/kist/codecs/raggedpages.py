"""Cells of any number of items: blocks of lengths and items, each encoded as a page of its own.

A block holds some cells: how many items each has, and all items one behind the other. Both go
through the encodings and codecs that their dtypes have everywhere else; the stages stand in the
block, so that each block decodes alone. Items of text are strings of any length in any other page
too: a block of strings, or a dictionary and numbers. Pages and pieces of ragged columns consist of
such blocks. Where cells may be missing what is stored are the lengths plus one, and 0 for a missing
cell. docs/format.md, "Ragged columns", gives the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kist._kernels.cells import TEXT_BYTES, Cells, holds_missing, holds_text, item_of
from kist.codecs import pipeline
from kist.codecs.blosc import BITSHUFFLE, LZ4, NO_FILTER, ZSTD
from kist.codecs.choose import choose, parse_codec
from kist.codecs.recipe import Recipe
from kist.codecs.registry import BLOSC2, PLAIN, RAGGED, REFERENCE, STRING_DICTIONARY, STRINGS
from kist.codecs.stage import MAX_STEPS, Block, Encoded, Stage
from kist.codecs.stringpages import (
    choose_strings,
    decode_strings,
    encode_strings,
    fitting,
    numbered_bytes,
    part_of,
)
from kist.codecs.strings import MAX_CONTENT, content_of, fill, pack_block
from kist.errors import CodecError, UnknownCodecError

__all__ = ["choose_ragged", "decode_ragged", "encode_ragged", "open_cells", "pack_cells"]

Array = NDArray[Any]
Ints = NDArray[np.int64]

_LENGTH: Final = np.dtype("<u4")
_SAMPLE: Final = 16_384  # cells
_SAMPLE_ITEMS: Final = 65_536
_SMALL: Final = 1024
"""Items of so few bytes are kept as they are in a piece."""

_HEAD: Final = struct.Struct("<I")  # bytes of the lengths
_STAGE: Final = struct.Struct("<HI")  # id, bytes of its parameters
_LENGTHS: Final = Recipe("fast", ((REFERENCE,), (BLOSC2, ZSTD, 1, BITSHUFFLE, 1)))
_PIECE: Final = Recipe("fast", ((BLOSC2, LZ4, 1, BITSHUFFLE, 1),))
_PIECE_BYTES: Final = Recipe("fast", ((BLOSC2, LZ4, 1, NO_FILTER, 1),))
_STORED: Final = Recipe("fast", ((PLAIN,),))


def choose_ragged(values: Cells, preset: str = "auto") -> Recipe:
    """Return the recipe for cells like these.

    Parameters
    ----------
    values : Cells, shape (n,)
        A page of the column.
    preset : str
        See `kist.codecs.choose.parse_codec`; it is for the items.
    """
    items = _flat(values[:_SAMPLE].gather()[1])[:_SAMPLE_ITEMS]
    if not len(items):
        return Recipe(parse_codec(preset), ((RAGGED,), (PLAIN,)))
    found = (choose_strings if items.dtype.kind == "T" else choose)(items, preset)
    return Recipe(found.preset, ((RAGGED,), *found.steps[: MAX_STEPS - 1]))


def _flat(items: Array) -> Array:
    """Return the values of items, flat; structured ones as bytes."""
    flat = np.ascontiguousarray(items).reshape(-1)
    return flat.view(f"V{flat.itemsize}") if flat.dtype.names is not None else flat


def encode_ragged(values: Cells, recipe: Recipe, *, block_values: int) -> Encoded:
    """Encode one page of cells; blocks of long cells hold fewer than `block_values`.

    Raises
    ------
    CodecError
        A single cell is too long.
    """
    if block_values < 1:
        raise CodecError(f"a block of {block_values} values holds nothing")
    if recipe.steps[0] != (RAGGED,):
        recipe = choose_ragged(values, recipe.preset)
    items = Recipe(recipe.preset, recipe.steps[1:])
    block_values = fitting(values.sizes, block_values)
    blocks: list[Block] = [
        _pack(values[start : start + block_values], items)
        for start in range(0, len(values), block_values)
    ]
    return Encoded((Stage(RAGGED, b""),), blocks, len(values), block_values)


def pack_cells(values: Cells) -> bytes:
    """Return cells as one block; of few bytes, and in little time."""
    lengths, items = _gathered(values)
    recipe = _STORED
    if items.nbytes > _SMALL and items.dtype.kind != "T":
        recipe = _PIECE if items.dtype.kind in "iufmMc" else _PIECE_BYTES
    return _packed(lengths, items, recipe)


def _pack(values: Cells, recipe: Recipe) -> bytes:
    return _packed(*_gathered(values), recipe)


def _gathered(values: Cells) -> tuple[Ints, Array]:
    """Return what is stored of cells: lengths as they are stored, and the items."""
    lengths, items = values.gather()
    missing = values.missing
    if missing is not None:
        lengths = lengths + ~missing.ravel()
    return lengths, items


def _packed(lengths: Ints, items: Array, recipe: Recipe) -> bytes:
    if items.nbytes > MAX_CONTENT:  # of text the block of strings looks at its bytes
        raise CodecError(
            f"{len(lengths)} cells of {items.nbytes:,} bytes are too long for a block of "
            f"{MAX_CONTENT:,}: keep arrays of that size as arrays, or in a key store"
        )
    first = _body(lengths.astype(_LENGTH), _STORED if len(lengths) < 16 else _LENGTHS)
    body = _text_body if items.dtype.kind == "T" else _body
    return b"".join((_HEAD.pack(len(first)), first, body(_flat(items), recipe)))


def _body(values: Array, recipe: Recipe) -> bytes:
    """Return values as one block and the stages that it needs."""
    encoded = pipeline.encode(values, recipe, block_values=max(1, len(values)))
    return _joined(encoded.stages, encoded.blocks)


def _text_body(texts: Array, recipe: Recipe) -> bytes:
    """Return texts as one block and the stages that it needs."""
    if recipe.steps[0][0] in (STRINGS, STRING_DICTIONARY) and len(texts):
        encoded = encode_strings(texts, recipe, block_values=len(texts))
        if len(encoded.blocks) == 1:
            return _joined(encoded.stages, encoded.blocks)
    # A piece, or a cell that would be several blocks of a column of strings.
    return _joined((Stage(STRINGS, b""),), [pack_block(content_of(texts))] if len(texts) else [])


def _joined(stages: Sequence[Stage], blocks: Sequence[Block]) -> bytes:
    parts: list[Block] = [bytes((len(stages),))]
    for stage in stages:
        parts += [_STAGE.pack(stage.id, len(stage.params)), stage.params]
    return b"".join((*parts, *blocks))


def open_cells(
    block: Block, n_values: int, dtype: np.dtype[Any]
) -> tuple[Ints, Array, Array | None]:
    """Return lengths, items, and which are missing, of a block of cells, every size checked.

    Raises
    ------
    CodecError
        It is no such block. No more than `MAX_CONTENT` is allocated for items.
    UnknownCodecError
        A newer kist wrote it.
    """
    data = memoryview(block)
    if len(data) < _HEAD.size:
        raise CodecError(f"a block of cells of {len(data)} bytes is cut off")
    (size,) = _HEAD.unpack_from(data)
    if size > len(data) - _HEAD.size:
        raise CodecError(f"a block of cells of {len(data)} bytes with {size} bytes of lengths")
    at = _HEAD.size + size
    lengths = np.empty(n_values, _LENGTH)
    _open_body(data[_HEAD.size : at], lengths)
    missing = None
    if holds_missing(dtype):
        missing = lengths == 0
        lengths -= ~missing
    base, shape = item_of(dtype)
    n_items = int(lengths.sum(dtype=np.int64))
    width = int(np.prod(shape, dtype=np.int64))
    is_text = holds_text(dtype)
    if n_items * width * (TEXT_BYTES if is_text else base.itemsize) > MAX_CONTENT:
        raise CodecError(f"{n_items:,} items of {base}{list(shape)} in a block of {n_values} cells")
    items = np.empty((n_items, *shape), base)
    (_open_text if is_text else _open_body)(data[at:], items.reshape(-1))
    return lengths.astype(np.int64), items, missing


def _open_body(data: memoryview, out: Array) -> None:
    """Decode values that `_body` encoded."""
    stages, block = _open_stages(data)
    if out.dtype.names is not None:
        out = out.view(f"V{out.itemsize}")
    if not len(out):
        _check_empty(block)
        return
    pipeline.decode(stages, out.dtype, len(out), len(out), 0, [block], out)


def _open_text(data: memoryview, out: Array) -> None:
    """Decode texts that `_text_body` encoded."""
    stages, block = _open_stages(data)
    n = len(out)
    if not n:
        _check_empty(block)
    elif stages and stages[0].id == STRING_DICTIONARY:
        items, numbers = numbered_bytes(stages, n, n, [block])
        # One item may be long, and stand for each of many.
        if int(items.lengths[numbers].sum()) > MAX_CONTENT:
            raise CodecError(f"{n:,} items of text are more than a block of {MAX_CONTENT:,} bytes")
        fill(items, out, numbers)
    else:
        decode_strings(stages, n, n, 0, [block], out, slice(0, n))


def _check_empty(block: memoryview) -> None:
    if len(block):
        raise CodecError(f"{len(block)} bytes of items where there are none")


def _open_stages(data: memoryview) -> tuple[list[Stage], memoryview]:
    """Return the stages before a block, and the block."""
    if not len(data):
        raise CodecError("a block of cells is cut off")
    at = 1
    stages = []
    for _ in range(data[0]):
        if at + _STAGE.size > len(data):
            raise CodecError("a block of cells is cut off within its stages")
        number, size = _STAGE.unpack_from(data, at)
        at += _STAGE.size
        if size > len(data) - at:
            raise CodecError(f"{size} bytes of parameters in {len(data)} bytes of a block of cells")
        stages.append(Stage(number, bytes(data[at : at + size])))
        at += size
    return stages, data[at:]


def decode_ragged(
    stages: Sequence[Stage],
    n_values: int,
    block_values: int,
    first_block: int,
    blocks: Sequence[Block],
    out: Array,
    where: slice | Ints,
) -> None:
    """Decode cells out of consecutive blocks of a page.

    Parameters
    ----------
    stages, n_values, block_values
        As `encode_ragged` gave them for the page.
    first_block : int
        Number of ``blocks[0]`` in the page.
    out : Cells, 1-d
        As many values as `where` names.
    where : slice with step 1, or ndarray of int64
        Which values, counted from the first of these blocks; ascending, inside them.

    Raises
    ------
    CodecError
        The stages or blocks are not what `encode_ragged` makes of such a page.
    UnknownCodecError
        A newer kist wrote the page.
    """
    if [stage.id for stage in stages] != [RAGGED] or stages[0].params:
        raise UnknownCodecError(
            f"the page has the stages {[stage.id for stage in stages]}, which are not for cells"
        )
    if not isinstance(out, Cells) or out.ndim != 1:
        raise TypeError(f"cells are decoded into Cells, not into {type(out).__name__}")
    done = 0
    for number, block in enumerate(blocks, first_block):
        start = (number - first_block) * block_values
        size = min((number + 1) * block_values, n_values) - number * block_values
        if size <= 0:
            raise CodecError(f"block {number} of a page of {n_values} values")
        part = part_of(where, start, start + size)
        n = part.stop - part.start if isinstance(part, slice) else len(part)
        if n:
            lengths, items, missing = open_cells(block, size, out.dtype)
            cells = Cells.of(lengths, items, out.dtype, missing)[part]
            # Of a few cells the others of their block would be kept with them.
            target = out[done : done + n]
            if 2 * n < size:
                target[...] = cells.owned()
            else:
                target.place(slice(None), *cells.gather(), cells.missing)
        done += n
    if done != len(out):
        raise CodecError(f"{done} values do not fit into {len(out)}")
