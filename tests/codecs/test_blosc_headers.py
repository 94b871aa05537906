"""Each byte of a Blosc2 header is compared with what the page says, before Blosc2 sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kist.codecs import blosc
from kist.codecs.blosc import BloscParams, compress
from kist.codecs.bloscchunk import OVERHEAD, check_chunk, cut_apart, joined
from kist.codecs.stage import StoredBlocks
from kist.errors import CodecError

SIZE = 4000
USED = [
    BloscParams(compressor, 5, filter, 4)
    for compressor in (blosc.LZ4, blosc.ZSTD)
    for filter in (blosc.NO_FILTER, blosc.SHUFFLE, blosc.BITSHUFFLE)
]
FREE = {(1, bit) for bit in range(8)} | {(2, 4)}
"""Bits that may be either: the version of the compressor's format, and whether a block is split."""
VALUES = (np.arange(SIZE // 4) // 5).astype("<u4")
ZEROS = np.zeros(SIZE // 4, "<u4")


def flips(chunk: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    for place in range(OVERHEAD):
        for bit in range(8):
            changed = bytearray(chunk)
            changed[place] ^= 1 << bit
            found.append((place, bit, bytes(changed)))
    return found


@pytest.mark.parametrize("used", USED)
@pytest.mark.parametrize("values", [VALUES, ZEROS], ids=["values", "zeros"])
def test_each_bit_of_a_header_counts(used: BloscParams, values: Any) -> None:
    chunk = compress(values, used)
    check_chunk(chunk, SIZE, used)
    for place, bit, changed in flips(chunk):
        block = int.from_bytes(changed[8:12], "little", signed=True)
        if (place, bit) in FREE or (8 <= place < 12 and 0 < block <= SIZE):
            continue  # shorter blocks cannot lead out of the chunk or its values
        with pytest.raises(CodecError):
            check_chunk(changed, SIZE, used)


def stored(blocks: list[bytes], room: int) -> StoredBlocks:
    buffer = np.frombuffer(bytearray(bytes(room) + b"".join(blocks)), np.uint8)
    stops = room + np.cumsum([len(block) for block in blocks])
    return StoredBlocks(buffer, stops - [len(block) for block in blocks], stops)


@pytest.mark.parametrize("used", USED)
def test_each_bit_of_a_header_among_many_counts(used: BloscParams) -> None:
    good = [bytes(compress(VALUES + n, used)) for n in range(3)]
    room = StoredBlocks.room_for(3) + 1024
    assert joined(good, SIZE, used) is not None
    assert joined(stored(good, room), SIZE, used) is not None
    for place, bit, changed in flips(good[1]):
        if (place, bit) in FREE:
            continue
        blocks = [good[0], changed, good[2]]
        assert joined(blocks, SIZE, used) is None, (place, bit)
        assert joined(stored(blocks, room), SIZE, used) is None, (place, bit)


@pytest.mark.parametrize("used", USED)
def test_what_all_headers_say_alike_counts_too(used: BloscParams) -> None:
    good = bytes(compress(VALUES, used))
    room = StoredBlocks.room_for(2) + 1024
    for place, bit, changed in flips(good):
        if (place, bit) in FREE:
            continue
        assert joined([changed, changed], SIZE, used) is None, (place, bit)
        assert joined(stored([changed, changed], room), SIZE, used) is None, (place, bit)


def test_streams_elsewhere_than_behind_the_header_are_not_joined() -> None:
    used = USED[0]
    good = bytes(compress(VALUES, used))
    moved = good[:32] + (40).to_bytes(4, "little") + good[36:]
    for blocks in ([moved, moved], [good, moved]):
        assert joined(blocks, SIZE, used) is None
        assert joined(stored(blocks, 4096), SIZE, used) is None


@pytest.mark.parametrize("length", [0, 5, OVERHEAD - 1])
def test_blocks_without_a_header_are_not_joined(length: int) -> None:
    used = USED[0]
    good = bytes(compress(VALUES, used))
    blocks = [good, good[:length], good]
    assert joined(blocks, SIZE, used) is None
    assert joined(stored(blocks, 4096), SIZE, used) is None


def test_without_room_before_them_blocks_are_not_joined_in_place() -> None:
    used = USED[0]
    good = bytes(compress(VALUES, used))
    top = OVERHEAD + 4 * 2 + 4 * used.typesize
    assert joined(stored([good, good], top - 36 + 36), SIZE, used) is not None
    assert joined(stored([good, good], top - 37), SIZE, used) is None


@pytest.mark.parametrize("in_place", [False, True])
def test_blocks_that_did_not_shrink_are_not_joined(in_place: bool) -> None:
    used = USED[1]
    good = bytes(compress(VALUES, used))
    long = good[:12] + SIZE.to_bytes(4, "little") + good[16:] + bytes(SIZE - len(good))
    blocks = [good, long, good]
    assert joined(stored(blocks, 4096) if in_place else blocks, SIZE, used) is None


@pytest.mark.parametrize("in_place", [False, True])
def test_zeros_with_something_behind_them_are_not_joined(in_place: bool) -> None:
    used = USED[1]
    good, zeros = bytes(compress(VALUES, used)), bytes(compress(ZEROS, used))
    assert len(zeros) == OVERHEAD
    more = zeros[:12] + (OVERHEAD + 8).to_bytes(4, "little") + zeros[16:] + bytes(8)
    for wrong in (more, good[:OVERHEAD]):
        blocks = [good, wrong, good]
        assert joined(stored(blocks, 4096) if in_place else blocks, SIZE, used) is None


def test_what_was_copied_comes_apart_as_the_values() -> None:
    used = BloscParams(blosc.LZ4, 1, blosc.NO_FILTER, 1)
    noise = np.frombuffer(np.random.default_rng(0).bytes(4 * SIZE), np.uint8)
    good = bytes(compress(VALUES, used))
    copied = good[:2] + bytes((good[2] | 2,)) + good[3:]
    found = cut_apart(copied, noise.data, SIZE, used)
    assert found is not None
    assert b"".join(map(bytes, found)) == noise.tobytes()


@pytest.mark.parametrize("in_place", [False, True])
def test_more_than_a_chunk_can_hold_is_not_joined(in_place: bool) -> None:
    used = USED[1]
    size = 64 << 20

    def said(chunk: bytes) -> bytes:
        """The chunk with that length; it is not decoded here."""
        return chunk[:4] + 2 * size.to_bytes(4, "little") + chunk[12:]

    good, zeros = said(bytes(compress(VALUES, used))), said(bytes(compress(ZEROS, used)))
    for n, fits in ((20, True), (40, False)):
        blocks = [good, *[zeros] * n]
        found = joined(stored(blocks, 8192) if in_place else blocks, size, used)
        assert (found is not None) == fits
