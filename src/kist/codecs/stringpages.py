"""Pages of strings: their two stages, what they are made of, and how they are chosen.

Stage 19 ends a pipeline: every block of the page is a block of strings (`kist.codecs.strings`).
Stage 20 begins one: its parameters hold the distinct strings, and what follows are their
numbers, a page of integers like any other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kist._kernels.strings import matrix_of, sizes
from kist.codecs import pipeline
from kist.codecs.blosc import LZ4, ZSTD
from kist.codecs.choose import choose, parse_codec
from kist.codecs.dictionary import find_items
from kist.codecs.recipe import Recipe
from kist.codecs.registry import STRING_DICTIONARY, STRINGS
from kist.codecs.stage import Block, Encoded, Stage
from kist.codecs.strings import (
    BLOCK_HEAD,
    StringBlock,
    StringColumns,
    content_of,
    fill,
    open_block,
    open_columns,
    open_several,
    pack_block,
)
from kist.codecs.utf8 import Utf8
from kist.errors import CodecError, UnknownCodecError

__all__ = [
    "Texts",
    "choose_strings",
    "decode_strings",
    "encode_strings",
    "fitting",
    "n_items_of",
    "number_dtype",
    "numbered_bytes",
    "numbered_strings",
    "opened_blocks",
    "part_of",
    "texts_of",
]

Array = NDArray[Any]
Ints = NDArray[np.int64]

BLOCK_BYTES: Final = 1 << 20
"""Bytes of a block from which on it is cut: a single string costs its whole block."""

MAX_ITEMS: Final = 65_535
MAX_ITEM_BYTES: Final = 1 << 16
"""Of all items of a dictionary. Reading one string reads all parameters of its page, and one item
may stand for each value of it: this bounds what a few bytes can ask for in memory."""

_FAST_ITEMS: Final = 4096
"""More items are found one by one: searching them takes as long."""
_SAMPLE: Final = 1024
_BLOCK: Final = 8_192
_LEAST: Final = 64
"""Strings of one length are put by columns if that makes so many shorter, `_BLOCK` at most."""
_CHOICE: Final = 16_384
"""Values that are encoded both ways to compare."""
_COUNT: Final = struct.Struct("<I")
_LOADED: Final = 256
_FEW_BYTES: Final = 1 << 12  # of items that are kept as strings

# (compressor, level) of the presets and of the explicit choices; those that are for numbers only
# get Zstd.
_LEVELS: Final = {
    "fast": (LZ4, 1),
    "balanced": (ZSTD, 1),
    "small": (ZSTD, 5),
    "none": (0, 1),
    "blosc2-lz4": (LZ4, 5),
}
_OTHERS: Final = (ZSTD, 5)
_DICTIONARY_PRESETS: Final = ("fast", "balanced", "small")


class Texts(NamedTuple):
    """Values of a page of strings, as the items of its dictionary.

    Attributes
    ----------
    items : ndarray of StringDType
        The distinct strings; where the dtype has a missing one, that stands behind them.
    numbers : ndarray of unsigned int
        Which of them each value is.
    """

    items: Array
    numbers: Array


Run = Callable[[Sequence[Callable[[], bytes]]], list[bytes]]


def _one_by_one(tasks: Sequence[Callable[[], bytes]]) -> list[bytes]:
    return [task() for task in tasks]


Known = tuple[Ints, NDArray[np.bool_] | None]  # what `sizes` says


def choose_strings(values: Array | Utf8, preset: str = "auto") -> Recipe:
    """Return the recipe for strings like these.

    Parameters
    ----------
    values : ndarray of StringDType, or Utf8, shape (n,)
        A page of the column.
    preset : str
        See `kist.codecs.choose.parse_codec`.

    Notes
    -----
    A dictionary is tried on 16,384 values, when a sample says that it may be worth it.
    """
    name = parse_codec(preset)
    values = values[:_CHOICE]
    plain = Recipe(name, (_plain_step(values, name),))
    if name not in _DICTIONARY_PRESETS or not _is_repetitive(values):
        return plain
    known = _sizes(values)
    found = _dictionary(values, known)
    if found is None:
        return plain
    params, numbers = found
    steps = choose(numbers, name).steps
    recipe = Recipe(name, ((STRING_DICTIONARY,), *steps))
    block_values = max(1, len(values))
    with_items = pipeline.encode(numbers, Recipe(name, steps), block_values=block_values)
    direct = encode_strings(values, plain, block_values=block_values)
    return recipe if len(params) + with_items.nbytes < direct.nbytes else plain


def _plain_step(values: Array | Utf8, name: str) -> tuple[int, ...]:
    """Return the step that blocks of strings are made by: in columns, if that is shorter."""
    compressor, level = _LEVELS.get(name.partition("+")[0], _OTHERS)
    few = values[:_BLOCK]
    known = _sizes(few)
    if len(few) < _LEAST or not compressor or not (known[0] == known[0][0]).all():
        return STRINGS, compressor, level
    content = few.content(0, len(few)) if isinstance(few, Utf8) else content_of(few, known)
    packed = [pack_block(content, compressor, level, columns=way) for way in (False, True)]
    return (STRINGS, compressor, level, *(1,) * (len(packed[1]) < len(packed[0])))


def _sizes(values: Array | Utf8) -> Known:
    return (values.lengths, values.missing) if isinstance(values, Utf8) else sizes(values)


def _is_repetitive(values: Array | Utf8) -> bool:
    if isinstance(values, Utf8):
        found = values.looks_repetitive(_SAMPLE)
        if found is not None:
            return found
        few = values.sample(_SAMPLE)
    else:
        few = values[:: max(1, len(values) // _SAMPLE)].tolist()
    return 2 * len(set(few)) <= len(few)


def encode_strings(
    values: Array | Utf8, recipe: Recipe, *, block_values: int, run: Run = _one_by_one
) -> Encoded:
    """Encode one page of strings; blocks of long strings hold fewer than `block_values`.

    Parameters
    ----------
    run : callable
        Runs tasks, on several threads or not, and returns their results in order: a column of
        strings is often the only one, and its blocks take longer than all others of a row group.

    Raises
    ------
    CodecError
        A single string is too long.
    """
    if block_values < 1:
        raise CodecError(f"a block of {block_values} values holds nothing")
    known = _sizes(values)
    block_values = fitting(known[0], block_values)
    first, *rest = recipe.steps
    if first[0] == STRING_DICTIONARY:
        found = _dictionary(values, known)
        if found is not None:
            params, numbers = found
            encoded = pipeline.encode(
                numbers, Recipe(recipe.preset, tuple(rest)), block_values=block_values
            )
            stages = (Stage(STRING_DICTIONARY, params), *encoded.stages)
            return Encoded(stages, encoded.blocks, len(values), block_values)
    if first[0] != STRINGS:
        first = (STRINGS, *_LEVELS.get(recipe.preset.partition("+")[0], _OTHERS))
    _, compressor, level, *more = first
    columns = more == [1]

    def packed(start: int) -> bytes:
        stop = min(start + block_values, len(values))
        if isinstance(values, Utf8):
            content = values.content(start, stop)
        else:
            missing = None if known[1] is None else known[1][start:stop]
            content = content_of(values[start:stop], (known[0][start:stop], missing))
        return pack_block(content, compressor, level, columns=columns)

    tasks = [partial(packed, start) for start in range(0, len(values), block_values)]
    blocks: list[Block] = [*run(tasks)]
    return Encoded((Stage(STRINGS, b""),), blocks, len(values), block_values)


def fitting(lengths: Ints, block_values: int) -> int:
    """Return values of a block, fewer when a block of so many would be very long.

    Parameters
    ----------
    lengths : ndarray of int64
        Bytes of each value.
    """
    if not len(lengths):
        return block_values
    block_values = min(block_values, max(1, len(lengths)))
    if int(lengths.max()) * block_values <= BLOCK_BYTES:
        return block_values
    ends = np.cumsum(lengths)
    while block_values > 1:
        at = ends[block_values - 1 :: block_values]
        longest = int(np.diff(at, prepend=0, append=ends[-1]).max())
        if longest <= BLOCK_BYTES:
            break
        block_values = -(-block_values // 2)
    return block_values


def _dictionary(values: Array | Utf8, known: Known) -> tuple[bytes, Array] | None:
    """Return the parameters of stage 20 and the numbers of the items, None where it does not suit.

    Notes
    -----
    Strings without NULs are compared as fixed-width bytes, all at once; others go through a dict.
    """
    if not _is_repetitive(values):
        return None
    found: tuple[Array | Utf8, Array] | None
    found = values.numbered() if isinstance(values, Utf8) else None
    if found is None:
        found = _found(values, known)
    if found is None:
        return None
    items, numbers = found
    n_items = len(items)
    n_bytes = int(_sizes(items)[0].sum())
    if 2 * n_items > len(values) or n_items > MAX_ITEMS or n_bytes > MAX_ITEM_BYTES:
        return None
    content = items.content(0, n_items) if isinstance(items, Utf8) else content_of(items)
    params = _COUNT.pack(n_items) + pack_block(content)
    return params, numbers.astype(number_dtype(n_items))


def _found(values: Array | Utf8, known: Known) -> tuple[Array, Array] | None:
    """Return the distinct strings and the number of each value, which is theirs when missing."""
    lengths, missing = known
    if missing is None:
        return _numbered(values, lengths)
    present = values.present() if isinstance(values, Utf8) else values[~missing]
    found = _numbered(present, lengths[~missing])
    if found is None:
        return None
    items, numbers = found
    every = np.full(len(values), len(items), np.uint32)
    every[~missing] = numbers
    return items, every


def number_dtype(n_items: int) -> np.dtype[Any]:
    """Return what the numbers of so many items are kept in.

    There is one number more than there are items: it stands for what is missing.
    """
    return np.dtype("<u1" if n_items < 256 else "<u2")


def _numbered(values: Array | Utf8, lengths: Ints) -> tuple[Array, Array] | None:
    """Return the distinct strings, and the number of each value among them."""
    matrix = values.matrix() if isinstance(values, Utf8) else matrix_of(values, lengths)
    if matrix is not None and np.count_nonzero(matrix) == int(lengths.sum()):
        width = matrix.shape[1]
        found = find_items(matrix.view(f"V{width}")[:, 0], _FAST_ITEMS)
        if found is not None:
            items, numbers = found
            return items.view(f"S{width}").astype(values.dtype), numbers
    listed = values.tolist()
    numbers_of = {item: number for number, item in enumerate(dict.fromkeys(listed))}
    if len(numbers_of) > min(MAX_ITEMS, len(listed) // 2):
        return None
    numbers = np.fromiter(map(numbers_of.__getitem__, listed), np.uint32, len(listed))
    return np.array(list(numbers_of), values.dtype), numbers


def decode_strings(
    stages: Sequence[Stage],
    n_values: int,
    block_values: int,
    first_block: int,
    blocks: Sequence[Block],
    out: Array,
    where: slice | Ints,
) -> None:
    """Decode values out of consecutive blocks of a page of strings.

    Parameters
    ----------
    stages, n_values, block_values
        As `encode_strings` gave them for the page.
    first_block : int
        Number of ``blocks[0]`` in the page.
    out : ndarray of StringDType, 1-d
        As many values as `where` names.
    where : slice with step 1, or ndarray of int64
        Which values, counted from the first of these blocks; ascending, inside them. Others are
        not made, which is what costs most.

    Raises
    ------
    CodecError
        The stages or blocks are not what `encode_strings` makes of such a page.
    UnknownCodecError
        A newer kist wrote the page.
    """
    sizes = [
        min((first_block + at + 1) * block_values, n_values) - (first_block + at) * block_values
        for at in range(len(blocks))
    ]
    if any(size <= 0 for size in sizes) or out.ndim != 1:
        raise CodecError(f"{len(blocks)} blocks from {first_block} of a page of {n_values} values")
    if stages and stages[0].id == STRING_DICTIONARY:
        items = _items(stages[0].params)
        highest = len(items.starts) - 1
        numbers = _numbers(stages, highest, n_values, block_values, first_block, blocks, sum(sizes))
        wanted = numbers[where]
        if len(wanted) != len(out) or int(wanted.max(initial=0)) > highest:
            raise CodecError(f"a string dictionary of {highest} items lacks one that is named")
        fill(items, out, wanted)
        return
    _check_stages(stages)
    at = done = 0
    for block, size in zip(blocks, sizes, strict=True):
        part = part_of(where, at, at + size)
        n = part.stop - part.start if isinstance(part, slice) else len(part)
        if n:
            fill(open_columns(block, size), out[done : done + n], part)
        at, done = at + size, done + n
    if done != len(out):
        raise CodecError(f"{done} values of {at} do not fit into {len(out)}")


def _check_stages(stages: Sequence[Stage]) -> None:
    """Raise unless stage 19 is all that was done to a page."""
    if [stage.id for stage in stages] != [STRINGS]:
        raise UnknownCodecError(
            f"the page has the stages {[stage.id for stage in stages]}, which are not for strings"
        )
    if stages[0].params:
        raise CodecError(f"{len(stages[0].params)} bytes of parameters of a page of strings")


def opened_blocks(
    stages: Sequence[Stage], n_values: int, block_values: int, blocks: Sequence[Block]
) -> list[StringBlock | StringColumns]:
    """Return all values of a page of stage 19 as bytes.

    Parameters and errors as for `numbered_strings`.
    """
    _check_stages(stages)
    counts = [min(block_values, n_values - at) for at in range(0, n_values, block_values)]
    if len(counts) != len(blocks):
        raise CodecError(f"{len(blocks)} blocks, not {len(counts)}")
    return open_several(blocks, counts)


def numbered_strings(
    stages: Sequence[Stage],
    dtype: np.dtype[Any],
    n_values: int,
    block_values: int,
    blocks: Sequence[Block],
) -> Texts:
    """Return the values of a page that begins with stage 20, without making them.

    Parameters
    ----------
    stages, n_values, block_values
        As `encode_strings` gave them for the page.
    dtype : StringDType
        Of the column.
    blocks : sequence of bytes
        All blocks of the page.

    Raises
    ------
    CodecError
        As `decode_strings`.
    """
    _, numbers = numbered_bytes(stages, n_values, block_values, blocks)
    return texts_of(stages[0].params, dtype, numbers)


def texts_of(params: bytes, dtype: np.dtype[Any], numbers: Array) -> Texts:
    """Return strings by the parameters of stage 20 and the numbers that follow it.

    Raises
    ------
    CodecError
        The parameters are none, or a number counts no item.
    """
    _, size = BLOCK_HEAD.unpack_from(params.ljust(_COUNT.size + BLOCK_HEAD.size), _COUNT.size)
    values = (_kept_values if size <= _FEW_BYTES else _values)(params, dtype)
    _check_numbers(numbers, len(values))
    return Texts(values, numbers)


def _values(params: bytes, dtype: np.dtype[Any]) -> Array:
    """Return the items of a dictionary; where the dtype has a missing one, that stands last."""
    items = _items(params)
    if not hasattr(dtype, "na_object"):
        items = StringBlock(items.starts[:-1], items.lengths[:-1], None, items.text)
    values = np.empty(len(items.starts), dtype)
    fill(items, values)
    values.flags.writeable = False
    return values


_kept_values = lru_cache(maxsize=_LOADED)(_values)


def numbered_bytes(
    stages: Sequence[Stage], n_values: int, block_values: int, blocks: Sequence[Block]
) -> tuple[StringBlock, Array]:
    """Return the items of a page that begins with stage 20, and which each value is.

    Behind the items stands a missing one.

    Parameters and errors as for `numbered_strings`.
    """
    items = _items(stages[0].params)
    highest = len(items.starts) - 1
    numbers = _numbers(stages, highest, n_values, block_values, 0, blocks, n_values)
    _check_numbers(numbers, highest + 1)
    return items, numbers


def _check_numbers(numbers: Array, n_items: int) -> None:
    if int(numbers.max(initial=0)) >= n_items:
        raise CodecError(f"a string dictionary of {n_items} items lacks one that is named")


def _numbers(
    stages: Sequence[Stage],
    highest: int,
    n_values: int,
    block_values: int,
    first_block: int,
    blocks: Sequence[Block],
    n: int,
) -> Array:
    """Return the numbers of the items of `n` values, all those of some blocks; not checked."""
    numbers = np.empty(n, number_dtype(highest))
    pipeline.decode(stages[1:], numbers.dtype, n_values, block_values, first_block, blocks, numbers)
    return numbers


def part_of(where: slice | Ints, start: int, stop: int) -> slice | Ints:
    """Return which values of a block are wanted, counted in the block."""
    if isinstance(where, slice):
        low = min(max(where.start, start), stop)
        high = min(max(where.stop, low), stop)
        return slice(low - start, high - start)
    low, high = where.searchsorted((start, stop)).tolist()
    return where[low:high] - start


def n_items_of(params: bytes) -> int:
    """Return how many items the parameters of stage 20 say that there are."""
    if len(params) < _COUNT.size:
        raise CodecError("the parameters of a string dictionary are cut off")
    (count,) = _COUNT.unpack_from(params)
    if count > MAX_ITEMS:
        raise CodecError(f"a dictionary of {count} strings")
    return int(count)


def _open_items(params: bytes) -> StringBlock:
    """Return the items of a dictionary and a missing one behind them, checked."""
    count = n_items_of(params)
    _, size = BLOCK_HEAD.unpack_from(params.ljust(_COUNT.size + BLOCK_HEAD.size), _COUNT.size)
    if size > MAX_ITEM_BYTES + 5 * count:  # and their lengths, before they are decompressed
        raise CodecError(f"a dictionary of {count} strings in {size:,} bytes")
    starts, lengths, missing, text = open_block(params[_COUNT.size :], count)
    if missing is not None:
        raise CodecError("a missing string among the items of a dictionary")
    if len(text) > MAX_ITEM_BYTES:
        raise CodecError(f"a dictionary of {count} strings of {len(text):,} bytes")
    return StringBlock(
        np.append(starts, 0), np.append(lengths, 0), np.arange(count + 1) == count, text
    )


_items = lru_cache(maxsize=_LOADED)(_open_items)
"""Single blocks use them many times."""
