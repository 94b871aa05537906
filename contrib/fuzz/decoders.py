"""Targets that decode: pages, strings, pieces, recipes, and what the C and Rust codecs are given.

All of them decode into the middle of a buffer, and look whether anything beside it was written.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from feed import Feed

from kist.codecs import pipeline
from kist.codecs.blosc import decompress_blocks
from kist.codecs.bloscchunk import (
    COMPRESSOR_NAMES,
    FILTER_BYTES,
    MAX_TYPESIZE,
    NO_META,
    BloscParams,
)
from kist.codecs.recipe import Recipe
from kist.codecs.rows import rows_codec
from kist.codecs.stage import Stage
from kist.codecs.stringpages import decode_strings, encode_strings
from kist.codecs.strings import fill, open_block
from kist.errors import CodecError, CorruptDataError, UnknownCodecError

Array = np.ndarray[Any, Any]

GUARD = 64
N_TOGETHER = 5
FORMS = [
    np.dtype(text)
    for text in (
        "u1", "<i2", "<u4", "<i8", "<f8", "<f4", "?", "S3", "<U2", "V5", "<M8[s]", ">i4", "<c16",
        "V300", "<f2", "S1", "<u8", "<u2", "V0", ">f8",
    )
]  # fmt: skip
STRINGS = [np.dtypes.StringDType(), np.dtypes.StringDType(na_object=None)]
LEAVES = [
    ((np.dtype("<i8"),), (1,)),
    ((np.dtype("<f8"), np.dtype("S5"), np.dtype(">i4")), (1, 1, 2)),
    ((np.dtype("u1"), np.dtype("<f4"), np.dtype("<M8[s]"), np.dtype("V3")), (1, 3, 1, 1)),
    (tuple(np.dtype("<f8") for _ in range(60)), (1,) * 60),
]


@contextlib.contextmanager
def guarded(size: int, dtype: np.dtype[Any]) -> Iterator[Array]:
    """An array in the middle of a buffer; what is beside it must stay as it is."""
    nbytes = size * dtype.itemsize
    room = np.full(nbytes + 2 * GUARD, 0xA5, np.uint8)
    try:
        yield np.ndarray((size,), dtype, room.data, GUARD)
    finally:
        beside = np.concatenate((room[:GUARD], room[GUARD + nbytes :]))
        assert (beside == 0xA5).all(), "bytes beside the array were written"


def _stages(feed: Feed) -> tuple[Stage, ...]:
    return tuple(Stage(feed.number(), feed.blob()) for _ in range(feed.below(6)))


def _layout(feed: Feed) -> tuple[int, int, int, int]:
    """(values, values of a block, first block, number of blocks) of a page."""
    n_values, block_values = feed.number(2), max(1, feed.number(2))
    n_blocks = -(-n_values // block_values)
    if feed.below(8) == 7:
        n_values += feed.number(8)
    first = min(feed.below(8), max(n_blocks - 1, 0))
    return n_values, block_values, first, min(n_blocks - first, 8)


def decode(data: bytes) -> None:
    """Blocks of a page through any stages."""
    feed = Feed(data)
    dtype = FORMS[feed.below(len(FORMS))]
    n_values, block_values, first, n_blocks = _layout(feed)
    stages = _stages(feed)
    blocks = [feed.blob() for _ in range(n_blocks)]
    start = min(first * block_values, n_values)
    size = min((first + n_blocks) * block_values, n_values) - start
    with guarded(size, dtype) as out:
        pipeline.decode(stages, dtype, n_values, block_values, first, blocks, out)


def scattered(data: bytes) -> None:
    """Every second block of a page."""
    feed = Feed(data)
    dtype = FORMS[feed.below(len(FORMS))]
    n_values, block_values, _, n_blocks = _layout(feed)
    stages = _stages(feed)
    blocks = [feed.blob() for _ in range(n_blocks)][::2]
    numbers = np.arange(0, n_blocks, 2)
    size = sum(min((n + 1) * block_values, n_values) - n * block_values for n in numbers.tolist())
    with guarded(size, dtype) as out:
        pipeline.decode(stages, dtype, n_values, block_values, numbers, blocks, out)


def strings(data: bytes) -> None:
    """A block of strings, and pages of them."""
    feed = Feed(data)
    dtype = STRINGS[feed.below(2)]
    if feed.below(2):
        n_values = feed.number(2)
        fill(open_block(feed.rest(), n_values), np.empty(n_values, dtype))
        return
    n_values, block_values, first, n_blocks = _layout(feed)
    stages = _stages(feed)
    blocks = [feed.blob() for _ in range(n_blocks)]
    size = min((first + n_blocks) * block_values, n_values) - min(first * block_values, n_values)
    out = np.empty(size, dtype)
    decode_strings(stages, n_values, block_values, first, blocks, out, slice(0, size))
    few = np.arange(0, size, 3)
    decode_strings(stages, n_values, block_values, first, blocks, out[: len(few)], few)


def piece(data: bytes) -> None:
    """A piece: rows of several columns in one encoding."""
    feed = Feed(data)
    dtypes, counts = LEAVES[feed.below(len(LEAVES))]
    codec, stored = rows_codec(dtypes, counts), feed.rest()
    n_rows = codec.n_rows(stored)
    for which in (None, [0], [len(dtypes) - 1]):
        assert all(len(column) == n_rows for column in codec.decode_columns(stored, which))
    assert len(codec.decode_records(stored)) == n_rows


VALUES = [np.arange(300) // 3, np.round(np.linspace(0, 9, 300), 2), np.array([b"ab", b"c"] * 150)]


def recipe(data: bytes) -> None:
    """A recipe: read, described, and done to values, which must come back."""
    feed = Feed(data)
    choice = feed.below(len(VALUES) + 1)
    found = Recipe.unpack(feed.rest())
    assert Recipe.unpack(found.pack()) == found
    found.describe()
    if choice == len(VALUES):
        texts = np.array(["a", "bb", ""] * 100, STRINGS[0])
        encoded = encode_strings(texts, found, block_values=128)
        back = np.empty_like(texts)
        args = (encoded.stages, 300, encoded.block_values, 0, encoded.blocks, back)
        decode_strings(*args, slice(0, 300))
        assert back.tolist() == texts.tolist()
        return
    values = VALUES[choice]
    page = pipeline.encode(values, found, block_values=128)
    with guarded(300, values.dtype) as out:
        pipeline.decode(page.stages, values.dtype, 300, 128, 0, page.blocks, out)
        assert out.tobytes() == values.tobytes()


def blosc_chunk(
    params: BloscParams, size: int, variant: int, block_size: int, body: bytes
) -> bytes:
    """A chunk whose header is as Blosc2 would write it, around any bytes."""
    flags = 0x05 | {1: 1, 5: 4}[params.compressor] << 5 | (variant & 1) << 4
    special = 0x10 if variant & 2 and not body else 0
    head = struct.pack("<BBBBiii", 5, 1, flags, params.typesize, size, block_size, 32 + len(body))
    tail = FILTER_BYTES[params.filter] + bytes((params.compressor, 0)) + NO_META
    return head + tail + bytes((0, special)) + body


def blosc(data: bytes) -> None:
    """A Blosc2 chunk with the right header, or one that is a little wrong, into the C library."""
    feed = Feed(data)
    compressor = sorted(COMPRESSOR_NAMES)[feed.below(2)]
    typesize = 1 + feed.below(MAX_TYPESIZE)
    params = BloscParams(compressor, 1, feed.below(3), typesize)
    size = typesize * (1 + feed.number(2) % max(1, 65_536 // typesize))
    variant, block_size = feed.number(), feed.number(3)
    if variant & 4:
        block_size = size
    place, change = feed.number(), feed.number()
    chunk = bytearray(blosc_chunk(params, size, variant, block_size, feed.rest()))
    if place < len(chunk) and place < 32:
        chunk[place] ^= change
    stored = bytes(chunk)
    alone = None
    with contextlib.suppress(CodecError), guarded(size, np.dtype("u1")) as out:
        decompress_blocks([stored], out, size, params)
        alone = out.tobytes()
    several = [stored] * N_TOGETHER  # which may go another way
    with guarded(size * N_TOGETHER, np.dtype("u1")) as out:
        decompress_blocks(several, out, size, params)
        assert alone is None or out.tobytes() == alone * N_TOGETHER


def pcodec(data: bytes) -> None:
    """A pcodec block into the Rust library."""
    feed = Feed(data)
    forms = [form for form in FORMS if form.kind in "iuf" and form.itemsize in (2, 4, 8)]
    form = forms[feed.below(len(forms))].newbyteorder("<")
    size = 1 + feed.number(2)
    with guarded(size, form) as out:
        pipeline.decode([Stage(18, b"")], form, size, size, 0, [feed.rest()], out)


TARGETS = {
    call.__name__: call for call in (decode, scattered, strings, piece, recipe, blosc, pcodec)
}

REFUSALS = (CodecError, CorruptDataError, UnknownCodecError)
