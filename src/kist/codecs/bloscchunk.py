"""Blosc2 chunks: what a page says of its own, and the check of a header against that.

No chunk reaches the C decoder before every size and flag in its header was compared with
what the page says: Blosc2 trusts the length in the header, not the length of the output.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kist.codecs.stage import Block
from kist.errors import CodecError

LZ4 = 1
ZSTD = 5
COMPRESSORS = {"lz4": LZ4, "zstd": ZSTD}
COMPRESSOR_NAMES = {code: name for name, code in COMPRESSORS.items()}

NO_FILTER = 0
SHUFFLE = 1
BITSHUFFLE = 2
FILTERS = {"none": NO_FILTER, "shuffle": SHUFFLE, "bitshuffle": BITSHUFFLE}
FILTER_NAMES = {code: name for name, code in FILTERS.items()}

MAX_TYPESIZE = 255
"""Wider items are shuffled as plain bytes (Blosc2 keeps the item size in one byte)."""

# version, version of the compressor, flags, typesize, nbytes, blocksize, cbytes, six filter
# codes, compressor, its meta byte, six filter metas, two bytes of Blosc2 flags.
# Source: c-blosc2, README_CHUNK_FORMAT.rst.
_HEADER = struct.Struct("<BBBBiii6sBB6sBB")
_VERSION = 5
_EXTENDED = 0x05  # the two flag bits that announce the 32-byte header
_NOT_SPLIT = 0x10
_FORMAT_OF = {LZ4: 1, ZSTD: 4}  # the compressor as the upper three flag bits tell it
_ZEROS = 0x10  # in the last flag byte: the chunk is a header that stands for zeros
OVERHEAD = 32
NO_META = bytes(6)
FILTER_BYTES = {code: bytes((0, 0, 0, 0, 0, code)) for code in FILTER_NAMES}


@dataclass(frozen=True, slots=True)
class BloscParams:
    """How one page's blocks are compressed.

    Attributes
    ----------
    compressor : int
        `LZ4` or `ZSTD`.
    level : int
        1 to 9, Blosc2's scale; not needed for decoding.
    filter : int
        `NO_FILTER`, `SHUFFLE` or `BITSHUFFLE`.
    typesize : int
        Bytes of one item for the shuffles, 1 to 255.
    """

    compressor: int
    level: int
    filter: int
    typesize: int

    def __post_init__(self) -> None:
        if (
            self.compressor not in COMPRESSOR_NAMES
            or self.filter not in FILTER_NAMES
            or not 1 <= self.level <= 9
            or not 1 <= self.typesize <= MAX_TYPESIZE
        ):
            raise CodecError(f"Blosc2 cannot be used like this: {self!r}")

    @property
    def split(self) -> bool:
        """Whether the byte planes are compressed apart (measured: 8 % smaller for float32)."""
        return self.filter == SHUFFLE or (self.filter == BITSHUFFLE and self.typesize >= 4)


def check_chunk(chunk: Block, size: int, params: BloscParams) -> None:
    """Refuse a chunk whose header is not the one that `compress_blocks` writes."""
    if len(chunk) < OVERHEAD:
        raise CodecError(f"a Blosc2 chunk needs {OVERHEAD} bytes of header, {len(chunk)} are there")
    (
        version, _, flags, typesize, nbytes, blocksize, cbytes,
        filters, compressor, meta, metas, flags2, special,
    ) = _HEADER.unpack_from(chunk)  # fmt: skip
    zeros = special == _ZEROS
    if (
        version != _VERSION
        or flags & ~_NOT_SPLIT != _EXTENDED | _FORMAT_OF[params.compressor] << 5
        or typesize != params.typesize
        or nbytes != size
        or cbytes != len(chunk)
        or not 0 < blocksize <= nbytes
        or filters != FILTER_BYTES[params.filter]
        or compressor != params.compressor
        or meta
        or metas != NO_META
        or flags2
        or not (special == 0 or (zeros and cbytes == OVERHEAD))
    ):
        raise CodecError(
            f"a block of {size} bytes is not the Blosc2 chunk that its page announces "
            f"({COMPRESSOR_NAMES[params.compressor]}, {FILTER_NAMES[params.filter]}): header "
            f"{bytes(chunk[:OVERHEAD]).hex()}"
        )


def are_chunks(data: bytes, starts: list[int], stops: list[int], size: int, p: BloscParams) -> bool:
    """Tell whether all these are chunks of blocks of `size` bytes as `check_chunk` accepts them.

    False if in doubt, as for chunks that stand for zeros, and for blocks that did not shrink.
    Compares bytes, which takes a third of the time.
    """
    flags = _EXTENDED | _FORMAT_OF[p.compressor] << 5
    both = (flags, flags | _NOT_SPLIT)
    sizes = struct.pack("<Bi", p.typesize, size)
    rest = FILTER_BYTES[p.filter] + bytes((p.compressor, 0)) + NO_META + bytes(2)
    for start, stop in zip(starts, stops, strict=True):
        if not (
            OVERHEAD <= stop - start < size
            and data[start + 16 : start + OVERHEAD] == rest
            and data[start + 3 : start + 8] == sizes
            and data[start + 12 : start + 16] == (stop - start).to_bytes(4, "little")
            and data[start] == _VERSION
            and data[start + 2] in both
            and 0 < int.from_bytes(data[start + 8 : start + 12], "little", signed=True) <= size
        ):
            return False
    return True
