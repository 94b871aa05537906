"""Blocks of strings: flags, a bitmap of missing values, lengths and UTF-8, compressed together.

A block is made of the values of a `StringDType` array and gives them back; pages, pieces and
dictionaries of strings consist of such blocks. docs/format.md, "Strings", gives the bytes.

Strings that are not much longer than their mean go in and out as one matrix of bytes, which takes
a tenth to a third of the time of one `str` each; the others are joined and sliced as `str`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from kist._kernels.strings import (
    SHORT,
    WIDE,
    is_compact,
    matrix_of,
    put_words,
    short_words,
    sizes,
    within,
    words_of,
    words_of_columns,
)
from kist.codecs.blosc import (
    COMPRESSOR_NAMES,
    LZ4,
    NO_FILTER,
    ZSTD,
    BloscParams,
    compress,
    decompress_blocks,
    decompress_into,
)
from kist.codecs.stage import Block, Options, Shape
from kist.errors import CodecError

__all__ = [
    "BLOCK_HEAD",
    "MAX_CONTENT",
    "StringDictionary",
    "Strings",
    "Content",
    "StringBlock",
    "StringColumns",
    "are_alike",
    "block_of",
    "check_text",
    "content_of",
    "fill",
    "joined_blocks",
    "open_block",
    "open_columns",
    "open_several",
    "pack_block",
    "rows_from",
    "windows",
]

Array = NDArray[Any]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MAX_CONTENT: Final = 1 << 28
"""Most bytes of a block before compression, and so of what decoding one may allocate."""

SMALL: Final = 8192
"""Contents up to here go through LZ4 unless told otherwise, as the bodies of pieces do."""

BLOCK_HEAD: Final = struct.Struct("<BI")
_CODEC, MISSING, _WIDTH, _COLUMNS, _KNOWN = 0x03, 0x04, 0x30, 0x40, 0x77
_STORED, _LZ4, _ZSTD = 0, 1, 2
_CODES: Final = {LZ4: _LZ4, ZSTD: _ZSTD}
_COMPRESSORS: Final = {code: compressor for compressor, code in _CODES.items()}

_TOGETHER: Final = 1 << 26
"""Most bytes of several blocks that are decoded by one call."""

_OFTEN: Final = 4
"""From so many values for each item on, it pays to make all items first."""
_KEPT: Final = 8192
"""Strings of a block of which the places are kept: as many as most blocks have."""
_FEW: Final = 16
"""So many strings are decoded one by one: the others of their block are not looked at."""


class Content(NamedTuple):
    """What is kept of some values.

    Attributes
    ----------
    lengths : ndarray of int64
        Bytes of each value in UTF-8; 0 for missing ones.
    missing : ndarray of bool or None
        None when no value is missing.
    text : bytes, or ndarray of uint8
        All strings, one behind the other.
    """

    lengths: Ints
    missing: Bools | None
    text: bytes | NDArray[np.uint8]


def content_of(values: Array, known: tuple[Ints, Bools | None] | None = None) -> Content:
    """Return what is kept of some values.

    Parameters
    ----------
    values : ndarray of StringDType, shape (n,)
    known : tuple, optional
        What `sizes` said of them.
    """
    lengths, missing = sizes(values) if known is None else known
    if missing is not None and not missing.any():
        missing = None
    total = int(lengths.sum())
    matrix = matrix_of(values, lengths)
    if matrix is not None:
        text = matrix.tobytes().translate(None, b"\0")
        if len(text) != total:  # some strings hold NULs
            text = matrix[within(lengths, matrix.shape[1]).view(np.bool_)].tobytes()
    else:
        text = "".join((values if missing is None else values[~missing]).tolist()).encode()
    if len(text) != total:
        raise CodecError(f"{len(values)} strings have {len(text)} bytes, not {total}")
    if not text.isascii():
        # Arrays of strings that are none can be made: NumPy 2.4 casts b"\xff" to one.
        check_text(np.frombuffer(text, np.uint8), text, np.cumsum(lengths) - lengths, lengths)
    return Content(lengths, missing, text)


def check_text(raw: NDArray[np.uint8], text: bytes, starts: Ints, lengths: Ints) -> Bools:
    """Refuse strings that are no UTF-8 each; return which bytes go on with a character."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise CodecError(f"strings that are no UTF-8: {error}") from None
    continues: Bools = (raw & 0xC0) == 0x80
    some = lengths > 0
    ends = (starts + lengths)[some]
    # The end too: of some strings of a block, the next one need not be among those looked at.
    if continues[starts[some]].any() or continues[ends[ends < len(raw)]].any():
        raise CodecError("a string that begins or ends within a character")
    return continues


def block_of(values: Array) -> StringBlock:
    """Return strings as a block that `fill` takes many times."""
    lengths, missing, text = content_of(values)
    ends = lengths.cumsum()
    return StringBlock(ends - lengths, lengths, missing, np.frombuffer(text, np.uint8))


def pack_block(
    content: Content, compressor: int | None = None, level: int = 1, *, columns: bool = False
) -> bytes:
    """Return a block.

    Parameters
    ----------
    compressor : int, optional
        `LZ4` or `ZSTD`, 0 for none; by default LZ4 for short contents and Zstd for others.
    columns : bool
        Where all strings have one length, put their first bytes together, then their second ones.

    Raises
    ------
    CodecError
        The strings are longer than `MAX_CONTENT` together.
    """
    lengths, missing, text = content
    longest = int(lengths.max(initial=0))
    parts: list[Any]
    if columns and are_alike(content):
        flags = _COLUMNS
        parts = [np.frombuffer(text, np.uint8).reshape(len(lengths), longest).T.reshape(-1)]
    else:
        log_width = 0 if longest < 1 << 8 else 1 if longest < 1 << 16 else 2
        parts = [lengths.astype(f"<u{1 << log_width}").view(np.uint8), text]
        flags = log_width << 4
    if missing is not None:
        flags |= MISSING
        parts.insert(0, np.packbits(missing, bitorder="little"))
    size = sum(map(len, parts))
    if size > MAX_CONTENT:
        raise CodecError(
            f"{len(lengths)} strings of {len(text):,} bytes are too long for a block of "
            f"{MAX_CONTENT:,}: keep texts of that size in a key store"
        )
    # NumPy joins long ones while other threads run.
    few = size <= SMALL or isinstance(text, bytes)
    body: Any = parts[0] if len(parts) == 1 else b"".join(parts) if few else np.concatenate(parts)
    if compressor is None:
        compressor = LZ4 if size <= SMALL else ZSTD
    if compressor:
        chunk = compress(body, BloscParams(compressor, level, NO_FILTER, 1))
        if len(chunk) < size:
            flags |= _CODES[compressor]
            body = chunk
    return b"".join((BLOCK_HEAD.pack(flags, size), body))


def are_alike(content: Content) -> bool:
    """Tell whether strings have one length, and bytes at all."""
    lengths, missing, text = content
    return missing is None and len(text) > 0 and bool((lengths == lengths[0]).all())


class StringBlock(NamedTuple):
    """A block taken apart.

    Attributes
    ----------
    starts, lengths : ndarray of int64
        Where each value stands in `text`.
    missing : ndarray of bool or None
    text : ndarray of uint8
        UTF-8, not looked at yet.
    """

    starts: Ints
    lengths: Ints
    missing: Bools | None
    text: NDArray[np.uint8]


class StringColumns(NamedTuple):
    """A block of strings of one length, without missing ones.

    Attributes
    ----------
    text : ndarray of uint8, shape (length, n_values)
        UTF-8, not looked at yet: the first byte of all strings, then the second one.
    """

    text: NDArray[np.uint8]

    def block(self) -> StringBlock:
        """Return the strings one behind the other."""
        length, n_values = self.text.shape
        text = np.empty((n_values, length), np.uint8)
        for at, column in enumerate(self.text) if length <= _KEPT // 64 else ():
            text[:, at] = column  # faster than NumPy's own way, which takes row after row
        if length > _KEPT // 64:
            text[...] = self.text.T
        starts, lengths = _places_of(n_values, length)
        return StringBlock(starts, lengths, None, text.reshape(-1))


def open_block(block: Block, n_values: int) -> StringBlock:
    """Undo the codec of a block of so many values, every size checked.

    Raises
    ------
    CodecError
        It is no such block. No more than `MAX_CONTENT` is allocated.
    """
    found = open_columns(block, n_values)
    return found.block() if isinstance(found, StringColumns) else found


def open_columns(block: Block, n_values: int) -> StringBlock | StringColumns:
    """Undo the codec of a block, and leave its bytes in the order in which they are stored.

    Raises
    ------
    CodecError
        As `open_block`.
    """
    if len(block) < BLOCK_HEAD.size:
        raise CodecError(f"a block of strings of {len(block)} bytes is cut off")
    flags, size = BLOCK_HEAD.unpack_from(block)
    code = flags & _CODEC
    width = 1 << ((flags & _WIDTH) >> 4)
    strange = flags & ~_KNOWN or (flags & _COLUMNS and flags & (MISSING | _WIDTH))
    if strange or code > _ZSTD or width > 4:
        raise CodecError(f"a block of strings with flags {flags:#04x}: use a newer kist")
    if flags & _COLUMNS:
        if not (n_values and n_values <= size <= MAX_CONTENT and size % n_values == 0):
            raise CodecError(f"a block of {n_values} strings of one length in {size} bytes")
        return StringColumns(_content(block, code, size).reshape(-1, n_values))
    at_lengths = -(-n_values // 8) if flags & MISSING else 0
    at_text = at_lengths + width * n_values
    if not at_text <= size <= MAX_CONTENT:
        raise CodecError(f"a block of {n_values} strings in {size} bytes")
    content = _content(block, code, size)
    stored = content[at_lengths:at_text].view(f"<u{width}")
    if n_values and (stored == stored[0]).all():
        # Strings of one length, such as names with numbers: nothing to add up.
        length = int(stored[0])
        total = n_values * length
        starts, lengths = _places_of(n_values, length)
    else:
        lengths = stored.astype(np.int64)
        ends = lengths.cumsum()
        starts = ends - lengths
        total = int(ends[-1]) if n_values else 0
    if total != size - at_text:
        raise CodecError(f"strings of other lengths than the {size - at_text} bytes of their block")
    missing = None
    if flags & MISSING:
        bits = np.unpackbits(content[:at_lengths], count=n_values, bitorder="little")
        missing = bits.view(np.bool_)
        if lengths[missing].any():
            raise CodecError("a missing string that has a length")
    return StringBlock(starts, lengths, missing, content[at_text:])


def open_several(
    blocks: Sequence[Block], counts: Sequence[int]
) -> list[StringBlock | StringColumns]:
    """Undo the codec of consecutive blocks of a page; by one long call where all are columns.

    Raises
    ------
    CodecError
        As `open_block`.
    """
    heads = {bytes(block[: BLOCK_HEAD.size]) for block in blocks[:-1]}
    if len(heads) == 1 and len(set(counts[:-1])) == 1 and counts[-1] <= counts[0]:
        flags, size = BLOCK_HEAD.unpack(heads.pop())
        whole = flags, size // counts[0] * counts[-1]
        last = len(blocks[-1]) > BLOCK_HEAD.size and BLOCK_HEAD.unpack_from(blocks[-1]) == whole
        bodies = [memoryview(block)[BLOCK_HEAD.size :] for block in blocks]
        shorter = all(len(body) < size for body in bodies[:-1]) and len(bodies[-1]) < whole[1]
        usual = flags & _COLUMNS and flags & _CODEC in _COMPRESSORS and not flags & ~_KNOWN
        total = size * (len(blocks) - 1) + whole[1]
        if last and shorter and usual and size % counts[0] == 0 and total <= _TOGETHER:
            content = np.empty(total, np.uint8)
            params = BloscParams(_COMPRESSORS[flags & _CODEC], 1, NO_FILTER, 1)
            decompress_blocks(bodies, content, size, params)
            ends = [*range(size, total, size), total]
            return [
                StringColumns(content[end - size // counts[0] * n : end].reshape(-1, n))
                for end, n in zip(ends, counts, strict=True)
            ]
    return [open_columns(block, n) for block, n in zip(blocks, counts, strict=True)]


def _content(block: Block, code: int, size: int) -> NDArray[np.uint8]:
    """Undo the codec of a block whose content has so many bytes, at most `MAX_CONTENT`."""
    body = memoryview(block)[BLOCK_HEAD.size :]
    if code == _STORED:
        content = np.frombuffer(body, np.uint8)
        if len(content) != size:
            raise CodecError(f"a block of strings of {len(content)} bytes, {size} expected")
        return content
    if len(body) >= size:
        raise CodecError(f"a block of {size} bytes is compressed to {len(body)}")
    content = np.empty(size, np.uint8)
    decompress_into(body, content, BloscParams(_COMPRESSORS[code], 1, NO_FILTER, 1))
    return content


def joined_blocks(blocks: Sequence[StringBlock]) -> StringBlock:
    """Return the strings of several blocks, at least one, as one block."""
    if len(blocks) == 1:
        return blocks[0]
    missing = None
    if any(block.missing is not None for block in blocks):
        every = [np.zeros(len(b.starts), bool) if b.missing is None else b.missing for b in blocks]
        missing = np.concatenate(every)
    lengths = np.concatenate([block.lengths for block in blocks])
    # Each block has its strings one behind the other, and nothing else.
    return StringBlock(
        lengths.cumsum() - lengths, lengths, missing, np.concatenate([b.text for b in blocks])
    )


def _places(n: int, length: int) -> tuple[Ints, Ints]:
    """Return where strings of one length begin, and their lengths; not to be written to."""
    lengths = np.full(n, length, np.int64)
    starts = np.arange(n, dtype=np.int64)
    starts *= length
    starts.flags.writeable = lengths.flags.writeable = False
    return starts, lengths


_kept_places = lru_cache(maxsize=8)(_places)


def _places_of(n: int, length: int) -> tuple[Ints, Ints]:
    return (_kept_places if n <= _KEPT else _places)(n, length)


def fill(block: StringBlock | StringColumns, out: Array, where: slice | Ints | None = None) -> None:
    """Make strings of a block.

    Parameters
    ----------
    out : ndarray of StringDType, shape (n,)
        Where they go.
    where : slice or ndarray of int64, optional
        Which values of the block; all by default.

    Raises
    ------
    CodecError
        They are no UTF-8, or one is missing where `out` has no value for that.
    """
    if isinstance(block, StringColumns):
        if where is None or (isinstance(where, slice) and len(out) == block.text.shape[1]):
            if _fill_by_columns(block.text, out):
                return
            where = None
        block = block.block()
    starts, lengths, missing, text = block
    if isinstance(where, np.ndarray) and _fill_by_words(block, out, where):
        return
    if where is not None:
        starts, lengths = starts[where], lengths[where]
        missing = None if missing is None else missing[where]
    try:
        _fill_text(text, starts, lengths, out)
    except UnicodeDecodeError as error:
        raise CodecError(f"strings that are no UTF-8: {error}") from None
    if missing is not None and missing.any():
        dtype: Any = out.dtype
        if not hasattr(dtype, "na_object"):
            raise CodecError("a missing string in a column that has no missing value")
        out[missing] = dtype.na_object


def _fill_by_columns(text: NDArray[np.uint8], out: Array) -> bool:
    """Make all of some short strings of one length and of ASCII; False where they are others."""
    if len(text) > SHORT or int(text.max()) > 0x7F:
        return False
    words = words_of_columns(text)
    return words is not None and put_words(words, out)


def _fill_by_words(block: StringBlock, out: Array, where: Ints) -> bool:
    """Make strings of few short ones that occur again and again; False where they do not."""
    if len(where) < _OFTEN * len(block.lengths):
        return False
    items = np.empty(len(block.lengths), out.dtype)
    missing = block.missing
    if missing is not None and not hasattr(out.dtype, "na_object"):
        gone = np.flatnonzero(missing)
        # Of a dictionary one item: comparing beats looking up.
        named = (where == gone[0]).any() if len(gone) == 1 else missing[where].any()
        if named:
            return False
        missing = None
    fill(block._replace(missing=missing), items)
    words = words_of(items)
    return words is not None and put_words(words, out, where)


def _fill_text(text: NDArray[np.uint8], starts: Ints, lengths: Ints, out: Array) -> None:
    n = len(lengths)
    width, total = int(lengths.max(initial=0)), int(lengths.sum())
    if n <= _FEW or (width > WIDE and is_compact(n, width, total)):
        pairs = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
        for at, (a, b) in enumerate(pairs):
            out[at] = text[a:b].tobytes().decode()
        return
    if not width:
        out[...] = ""
        return
    raw = text.tobytes()
    continues = None if raw.isascii() else check_text(text, raw, starts, lengths)
    if width <= SHORT:
        words = short_words(windows(text, starts, SHORT + 1), lengths)
        if words is not None and put_words(words, out):
            return
    if is_compact(n, width, total) and b"\0" not in raw:
        # NumPy reads S as UTF-8 here, which was checked above.
        rows = rows_from(text, starts, lengths, width)
        out[...] = rows.view(f"S{width}")[:, 0]
        return
    joined = raw.decode()
    if continues is not None:
        places = np.append(0, np.cumsum(~continues))  # characters before each byte
        starts, lengths = places[starts], places[starts + lengths] - places[starts]
    pairs = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
    out[...] = [joined[a:b] for a, b in pairs]


def rows_from(
    text: NDArray[np.uint8], starts: Ints, lengths: Ints, width: int
) -> NDArray[np.uint8]:
    """Return strings in rows of a width, padded with zeros, and cut to it where they are longer."""
    matrix = windows(text, starts, width)
    matrix *= within(lengths, width)
    return matrix


def windows(text: NDArray[np.uint8], starts: Ints, width: int) -> NDArray[np.uint8]:
    """Return the bytes from each start on, in new rows of a width."""
    if len(text) < width or int(starts.max(initial=0)) > len(text) - width:
        text = np.append(text, np.zeros(width, np.uint8))
    window = np.ndarray((len(text) - width + 1,), f"V{width}", text, strides=(1,))
    return window[starts].view(np.uint8).reshape(len(starts), width)


class _OfStrings:
    """What the two stages of pages of strings have in common: they are none for other pages."""

    id: int
    name: str

    def encode(self, values: Array, block_values: int, options: Options) -> None:
        """None: no values of fixed width suit it."""

    def load(self, params: bytes, form: np.dtype[Any], shape: Shape) -> NoReturn:
        """Refuse a page of values of fixed width."""
        raise CodecError(f"stage {self.id} ({self.name}) in a page of {form}: it is for strings")


class Strings(_OfStrings):
    """Stage 19. No parameters; every block is a block of strings.

    Options of a recipe: compressor (0 for none), level, and 1 for strings of one length by columns.
    """

    id = 19
    name = "strings"

    def describe(self, options: Options) -> str:
        """Name and compressor, such as ``strings-zstd``."""
        compressor, level = options[:2]
        text = f"{self.name}-{COMPRESSOR_NAMES.get(compressor, 'none')}"
        return f"{text}({level})" if level != 1 else text


class StringDictionary(_OfStrings):
    """Stage 20. Parameters: count u32, and the distinct strings as one block of strings.

    What follows are their numbers, ``<u1`` below 256 items, else ``<u2``; the number behind the
    last stands for a missing value.
    """

    id = 20
    name = "string-dictionary"

    def describe(self, options: Options) -> str:
        """Its name."""
        return self.name
