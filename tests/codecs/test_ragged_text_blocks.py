"""Blocks of lists of text as bytes: all that they promise is checked before it is used."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist._kernels.cells import Cells
from kist.codecs.raggedpages import (
    choose_ragged,
    decode_ragged,
    encode_ragged,
    open_cells,
    pack_cells,
)
from kist.codecs.registry import PLAIN, RAGGED, STRING_DICTIONARY, STRINGS
from kist.codecs.strings import MAX_CONTENT, content_of, pack_block
from kist.errors import CodecError, UnknownCodecError
from kist.format.ragged import ragged

Array = np.ndarray[Any, Any]

WORDS = np.dtypes.StringDType()
MAYBE = np.dtypes.StringDType(na_object=None)
PLAIN_LISTS, LISTS = ragged(WORDS), ragged(MAYBE)


def texts(*items: str | None) -> Array:
    return np.array(items, MAYBE if None in items else WORDS)


def lengths_of(lengths: Any) -> bytes:
    first = struct.pack("<BHI", 1, PLAIN, 0) + np.array(lengths, "<u4").tobytes()
    return struct.pack("<I", len(first)) + first


def block(lengths: Any, items: Array, stage: int = STRINGS, params: bytes = b"") -> bytes:
    inner = struct.pack("<BHI", 1, stage, len(params)) + params
    return lengths_of(lengths) + inner + pack_block(content_of(items), 0)


def dictionary(lengths: Any, items: Array, numbers: Any, width: str = "u1") -> bytes:
    """A block whose texts are numbers of items, the numbers as they are."""
    params = struct.pack("<I", len(items)) + pack_block(content_of(items))
    stages = struct.pack("<BHI", 2, STRING_DICTIONARY, len(params)) + params
    stages += struct.pack("<HI", PLAIN, 0)
    return lengths_of(lengths) + stages + np.array(numbers, width).tobytes()


def test_blocks_as_the_format_says_open() -> None:
    lengths, items, _ = open_cells(block([2, 0, 1], texts("a", "", "ü" * 20)), 3, PLAIN_LISTS)
    assert lengths.tolist() == [2, 0, 1] and items.tolist() == ["a", "", "ü" * 20]
    data = dictionary([1, 3], texts("x", "y" * 20), [1, 0, 2, 1])
    assert open_cells(data, 2, LISTS)[1].tolist() == ["y" * 20, "x", None, "y" * 20]
    nothing = lengths_of([0, 0]) + struct.pack("<BHI", 1, STRINGS, 0)
    assert len(open_cells(nothing, 2, LISTS)[1]) == 0


@pytest.mark.parametrize(
    ("n", "data", "message"),
    [
        (2, block([1, 1], texts("a", None)), "a missing string in a column"),
        (1, dictionary([2], texts("a"), [0, 1]), "a missing string in a column"),
        (1, dictionary([2], texts("a"), [0, 2]), "lacks one that is named"),
        (1, block([2], texts("a")), "strings"),
        (1, block([1], texts("a", "b")), "strings"),
        (1, block([0], texts("a")), "bytes of items where there are none"),
        (1, block([1], texts("a"), PLAIN), "not for strings"),
        (1, block([1], texts("a"), RAGGED), "not for strings"),
        (1, block([1], texts("a"), STRING_DICTIONARY), "cut off"),
        (1, block([1], texts("a"), STRINGS, b"x"), "parameters"),
        (1, lengths_of([1]) + b"\0", "not for strings"),
        (1, lengths_of([1]), "cut off"),
        (1, block([1], texts("ü"))[:-1], "strings"),
    ],
)
def test_blocks_that_are_none_are_refused(n: int, data: bytes, message: str) -> None:
    with pytest.raises((CodecError, UnknownCodecError), match=message):
        open_cells(data, n, PLAIN_LISTS)


def test_bytes_that_are_no_text_are_refused() -> None:
    data = block([1], texts("ab"))
    with pytest.raises(CodecError, match="no UTF-8"):
        open_cells(data[:-2] + b"\xff\xfe", 1, PLAIN_LISTS)


@pytest.mark.parametrize("dtype", [PLAIN_LISTS, LISTS])
def test_lengths_beyond_the_limit_are_refused_before_memory_is_taken(dtype: Any) -> None:
    for lengths in ([2**32 - 1] * 3, [0, 0, MAX_CONTENT // 16 + 1]):
        tracemalloc.start()
        try:
            with pytest.raises(CodecError, match=r"items of .* in a block"):
                open_cells(block(lengths, texts("a")), 3, dtype)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


def test_a_long_item_that_many_name_is_refused_before_memory_is_taken() -> None:
    data = dictionary([5_000], texts("x" * 60_000), np.zeros(5_000, "u1"))
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="items of text are more than a block"):
            open_cells(data, 1, PLAIN_LISTS)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_a_dictionary_of_long_items_is_refused_before_memory_is_taken() -> None:
    for items in (texts("x" * 100_000_000), texts(*(f"{i:05d}" * 9 for i in range(2_000)))):
        data = dictionary([1], items, [0], "u1" if len(items) < 256 else "<u2")
        tracemalloc.start()
        try:
            with pytest.raises(CodecError, match=r"a dictionary of .* strings"):
                open_cells(data, 1, PLAIN_LISTS)
            assert tracemalloc.get_traced_memory()[1] < 1 << 22
        finally:
            tracemalloc.stop()


def _cells(n: int, words: Array, seed: int = 1, dtype: Any = LISTS) -> Cells:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 5, n)
    return Cells.of(lengths, words[rng.integers(0, len(words), int(lengths.sum()))], dtype)


@pytest.mark.parametrize("preset", ["auto", "fast", "small", "none", "blosc2-lz4", "pcodec"])
@pytest.mark.parametrize("n_words", [1, 5, 300, 20_000])
def test_pages_decode_to_what_they_were(preset: str, n_words: int) -> None:
    words = np.array([None, *(f"word {i}" * (i % 4) for i in range(n_words))], MAYBE)
    cells = _cells(20_000, words)
    recipe = choose_ragged(cells, preset)
    page = encode_ragged(cells, recipe, block_values=8192)
    some = np.arange(0, len(cells), 7)
    for where in (slice(0, len(cells)), slice(9_000, 9_001), some):
        wanted = cells[where]
        out = Cells.empty(len(wanted), LISTS)
        decode_ragged(
            page.stages, len(cells), page.block_values, 0, page.blocks, out,
            where,  # type: ignore[arg-type]
        )  # fmt: skip
        assert [c.tolist() for c in out.cells()] == [c.tolist() for c in wanted.cells()]
    if n_words < 1000 and preset in ("fast", "small"):
        raw = sum(
            map(len, encode_ragged(cells, choose_ragged(cells, "none"), block_values=8192).blocks)
        )
        assert sum(map(len, page.blocks)) < raw / 3


def test_a_page_without_texts_is_encoded_and_what_comes_after_it() -> None:
    empty = Cells.empty(100, LISTS)
    recipe = choose_ragged(empty)
    for cells in (empty, _cells(100, texts("a", "b" * 30))):
        page = encode_ragged(cells, recipe, block_values=50)
        out = Cells.empty(100, LISTS)
        decode_ragged(page.stages, 100, page.block_values, 0, page.blocks, out, slice(0, 100))
        assert [c.tolist() for c in out.cells()] == [c.tolist() for c in cells.cells()]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bytes_that_are_no_block_raise_nothing_else(data: st.DataObject) -> None:
    many = data.draw(st.booleans())
    cells = _cells(300, texts(*(f"{i}" * (i % 9) for i in range(4 if many else 400)), None))
    raw = bytearray(
        pack_cells(cells)
        if data.draw(st.booleans())
        else bytes(encode_ragged(cells, choose_ragged(cells), block_values=300).blocks[0])
    )
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        raw[data.draw(st.integers(0, min(200, len(raw) - 1)))] = data.draw(st.integers(0, 255))
    try:
        lengths, items, _ = open_cells(bytes(raw), 300, LISTS)
    except (CodecError, UnknownCodecError):
        return
    assert int(lengths.sum()) == len(items)
