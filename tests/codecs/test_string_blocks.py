"""Blocks and pages of strings: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist.codecs import stringpages
from kist.codecs.blosc import LZ4, ZSTD
from kist.codecs.recipe import Recipe
from kist.codecs.registry import STRING_DICTIONARY, STRINGS
from kist.codecs.stage import Stage
from kist.codecs.stringpages import choose_strings, decode_strings, encode_strings
from kist.codecs.strings import (
    StringColumns,
    content_of,
    fill,
    open_block,
    open_columns,
    open_several,
    pack_block,
)
from kist.errors import CodecError

PLAIN = np.dtypes.StringDType()
DTYPES = [
    PLAIN,
    np.dtypes.StringDType(coerce=False),
    np.dtypes.StringDType(na_object=None),
    np.dtypes.StringDType(na_object=np.nan),
    np.dtypes.StringDType(na_object="missing"),
]
PRESETS = ["fast", "balanced", "small", "none", "lz4", "zstd", "pcodec"]

any_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
texts = st.one_of(
    any_text,
    st.sampled_from(["", "\0", "a\0", "\0b", "ä", "日本語", "x" * 300, "long " * 30000, "nan"]),
    st.text("ab", max_size=2),
)


@st.composite
def string_arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype: Any = draw(st.sampled_from(DTYPES))
    item = texts if draw(st.booleans()) else st.text("abc", max_size=3)
    items = [item, st.just(dtype.na_object)] if hasattr(dtype, "na_object") else [item]
    values = draw(st.lists(st.one_of(*items), max_size=40))
    return np.array(values * draw(st.sampled_from([1, 1, 7])), dtype)


def same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.dtype == b.dtype and [repr(x) for x in a.tolist()] == [repr(x) for x in b.tolist()]


@given(string_arrays(), st.sampled_from([None, 0, 1, 5]))
def test_a_block_gives_back_its_strings(values: Any, compressor: int | None) -> None:
    block = open_block(pack_block(content_of(values), compressor), len(values))
    out = np.empty(len(values), values.dtype)
    fill(block, out)
    assert same(out, values)


@given(string_arrays(), st.data())
def test_some_strings_of_a_block_are_made_alone(values: Any, data: st.DataObject) -> None:
    n = len(values)
    chosen = data.draw(st.lists(st.integers(0, max(n - 1, 0)), max_size=n, unique=True))
    where = np.array(sorted(chosen), np.int64)
    out = np.empty(len(where), values.dtype)
    fill(open_block(pack_block(content_of(values)), n), out, where)
    assert same(out, values[where])


@settings(max_examples=100)
@given(string_arrays(), st.sampled_from(PRESETS), st.integers(1, 50), st.data())
def test_a_page_gives_back_its_strings(
    values: Any, preset: str, block_values: int, data: st.DataObject
) -> None:
    recipe = Recipe.unpack(choose_strings(values, preset).pack())
    page = encode_strings(values, recipe, block_values=block_values)
    n, size = len(values), page.block_values
    assert len(page.blocks) == -(-n // size)
    out = np.empty(n, values.dtype)
    decode_strings(page.stages, n, size, 0, page.blocks, out, slice(0, n))
    assert same(out, values)
    first = data.draw(st.integers(0, max(len(page.blocks) - 1, 0)))
    stop = data.draw(st.integers(first, len(page.blocks)))
    held = values[first * size : stop * size]
    low = data.draw(st.integers(0, len(held)))
    high = data.draw(st.integers(low, len(held)))
    part = np.empty(high - low, values.dtype)
    decode_strings(page.stages, n, size, first, page.blocks[first:stop], part, slice(low, high))
    assert same(part, held[low:high])
    picked = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    out = np.empty(len(picked), values.dtype)
    decode_strings(page.stages, n, size, 0, page.blocks, out, picked)
    assert same(out, values[picked])


@given(string_arrays(), string_arrays())
def test_a_recipe_chosen_for_other_strings_loses_nothing(chosen_for: Any, values: Any) -> None:
    page = encode_strings(values, choose_strings(chosen_for), block_values=10)
    out = np.empty(len(values), values.dtype)
    decode_strings(
        page.stages, len(values), page.block_values, 0, page.blocks, out, slice(0, len(values))
    )
    assert same(out, values)


def numbered(n: int, of: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    return np.array([f"station {i}" for i in rng.integers(0, of, n)], PLAIN)


def test_few_distinct_strings_get_a_dictionary_and_many_do_not() -> None:
    assert choose_strings(numbered(20_000, 200)).steps[0] == (STRING_DICTIONARY,)
    assert choose_strings(numbered(20_000, 10**9)).steps[0][0] == STRINGS
    assert choose_strings(numbered(20_000, 200), "zstd").steps[0][0] == STRINGS


@pytest.mark.parametrize("n_items", [255, 256, 257, 3000])
def test_numbers_of_a_dictionary_leave_room_for_a_missing_value(n_items: int) -> None:
    listed = [f"item {i}" for i in range(n_items)] * 3 + [None]
    values = np.array(listed, np.dtypes.StringDType(na_object=None))
    recipe = Recipe("balanced", ((STRING_DICTIONARY,), (16,)))
    page = encode_strings(values, recipe, block_values=1000)
    assert page.stages[0].id == STRING_DICTIONARY
    out = np.empty(len(values), values.dtype)
    decode_strings(
        page.stages, len(values), page.block_values, 0, page.blocks, out, slice(0, len(values))
    )
    assert out.tolist() == listed


def test_long_strings_make_short_blocks() -> None:
    values = np.array(["x" * 200_000] * 64, PLAIN)
    page = encode_strings(values, choose_strings(values, "zstd"), block_values=8192)
    assert page.block_values == 4


def test_a_text_beyond_a_block_is_refused() -> None:
    content = content_of(np.array(["a"], PLAIN))._replace(text=bytes((1 << 28) + 1))
    with pytest.raises(CodecError, match="key store"):
        pack_block(content)


def small_page() -> tuple[np.ndarray[Any, Any], Any]:
    values = np.array(["ab", "ä", "", "日本", "xyz"] * 8, PLAIN)
    return values, encode_strings(values, Recipe("none", ((STRINGS, 0, 1),)), block_values=40)


def decode_page(stages: Any, n: int, size: int, blocks: Any, dtype: Any = PLAIN) -> Any:
    out = np.empty(n, dtype)
    decode_strings(stages, n, size, 0, blocks, out, slice(0, n))
    return out


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from([0, 1, 5]))
def test_a_damaged_block_raises_or_gives_strings(at: int, byte: int, compressor: int) -> None:
    values = np.array(["ab", "ä", "", "日本", "xyz"] * 8, PLAIN)
    block = bytearray(pack_block(content_of(values), compressor))
    block[at % len(block)] = byte
    out = np.empty(len(values), PLAIN)
    try:
        fill(open_block(bytes(block), len(values)), out)
    except CodecError:
        return
    assert all(isinstance(item, str) for item in out.tolist())


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (b"", "cut off"),
        (struct.pack("<BI", 0x08, 1) + b"\0", "flags"),
        (struct.pack("<BI", 0x03, 1) + b"\0", "flags"),
        (struct.pack("<BI", 0x30, 4) + bytes(4), "flags"),
        (struct.pack("<BI", 0, 0), "in 0 bytes"),
        (struct.pack("<BI", 0, 1 << 31) + b"\0", "bytes"),
        (struct.pack("<BI", 0, 2) + b"\1", "expected"),
        (struct.pack("<BI", 1, 2) + b"\1a", "compressed"),
        (struct.pack("<BI", 0, 3) + b"\1ab", "lengths"),
        (struct.pack("<BI", 0, 2) + b"\1\xff", "UTF-8"),
        (struct.pack("<BI", 0, 4) + b"\3\xed\xa0\x80", "UTF-8"),
        (struct.pack("<BI", 4, 3) + b"\1\1a", "missing"),
        (struct.pack("<BI", 4, 2) + b"\1\0", "missing"),
    ],
)
def test_what_is_no_block_of_one_string_is_refused(block: bytes, says: str) -> None:
    out = np.empty(1, PLAIN)
    with pytest.raises(CodecError, match=says):
        fill(open_block(block, 1), out)


def test_a_string_that_begins_within_a_character_is_refused() -> None:
    values = np.array(["ä"] * 40, PLAIN)
    content = content_of(values)
    lengths = content.lengths.copy()
    lengths[0], lengths[1] = 1, 3
    with pytest.raises(CodecError, match=r"within a character|UTF-8"):
        fill(open_block(pack_block(content._replace(lengths=lengths)), 40), np.empty(40, PLAIN))


@pytest.mark.parametrize("where", [[0] * 20 + [2] * 20, [2, 0]])
def test_a_string_that_ends_within_a_character_is_refused_without_the_next_one(
    where: list[int],
) -> None:
    # As items of a dictionary: which of them are looked at is up to the numbers.
    content = content_of(np.array(["ä"] * 40, PLAIN))
    lengths = np.array([3] * 26 + [2])
    block = open_block(pack_block(content._replace(lengths=lengths)), 27)
    with pytest.raises(CodecError, match=r"within a character|UTF-8"):
        fill(block, np.empty(len(where), PLAIN), np.array(where))


def test_stages_that_are_not_for_strings_are_refused() -> None:
    values, page = small_page()
    for stages in ([Stage(16, b"")], [Stage(STRINGS, b""), Stage(16, b"")], []):
        with pytest.raises(CodecError):
            decode_page(stages, len(values), 40, page.blocks)
    with pytest.raises(CodecError, match="parameters"):
        decode_page([Stage(STRINGS, b"x")], len(values), 40, page.blocks)


def test_a_number_outside_the_string_dictionary_is_refused() -> None:
    params = struct.pack("<I", 1) + pack_block(content_of(np.array(["a"], PLAIN)))
    for numbers, dtype in ((b"\0\2", PLAIN), (b"\0\1", PLAIN)):
        with pytest.raises(CodecError):
            decode_page([Stage(STRING_DICTIONARY, params), Stage(16, b"")], 2, 2, [numbers], dtype)
    for bad in (b"", struct.pack("<I", 70_000), params[:-1]):
        with pytest.raises(CodecError):
            decode_page([Stage(STRING_DICTIONARY, bad), Stage(16, b"")], 2, 2, [b"\0\0"])


def test_items_longer_than_writers_make_them_are_refused() -> None:
    most = stringpages.MAX_ITEM_BYTES
    stages = [Stage(16, b"")]
    for long, other in ((most - 1, "y"), (most, "")):
        items = np.array(["x" * long, other], PLAIN)
        params = struct.pack("<I", 2) + pack_block(content_of(items))
        found = decode_page([Stage(STRING_DICTIONARY, params), *stages], 2, 2, [b"\1\0"])
        assert found.tolist() == [other, "x" * long]
    for long in (most, 50 * most):
        items = np.array(["x" * long, "y"], PLAIN)
        params = struct.pack("<I", 2) + pack_block(content_of(items))
        with pytest.raises(CodecError, match="a dictionary of 2 strings"):
            decode_page([Stage(STRING_DICTIONARY, params), *stages], 2, 2, [b"\1\0"])


def test_numbers_are_not_decoded_by_stages_of_strings() -> None:
    from kist.codecs.pipeline import decode

    for stages in ([Stage(STRINGS, b"")], [Stage(STRING_DICTIONARY, b""), Stage(16, b"")]):
        with pytest.raises(CodecError, match="for strings"):
            decode(stages, np.dtype("u1"), 2, 2, 0, [b"ab"], np.empty(2, "u1"))


@pytest.mark.parametrize("parts", [[b"\xff"], [b"\xc3", b"\xa9"]])
def test_an_array_of_strings_that_are_none_is_refused(parts: list[bytes]) -> None:
    values = np.array(["a"], PLAIN)
    content = content_of(values)
    with pytest.MonkeyPatch.context() as patch:
        matrix = np.array(parts).view("u1").reshape(len(parts), 1)
        patch.setattr("kist.codecs.strings.matrix_of", lambda *_: matrix)
        patch.setattr("kist.codecs.strings.sizes", lambda _: (np.ones(len(parts), np.int64), None))
        with pytest.raises(CodecError):
            content_of(values)
    assert content.text == b"a"


# Strings of one length, by columns


def _alike(n: int, length: int, seed: int = 0, *, letters: str = "abc") -> Any:
    picks = np.random.default_rng(seed).integers(0, len(letters), (n, length))
    return np.array(["".join(letters[at] for at in row) for row in picks], PLAIN)


@pytest.mark.parametrize("compressor", [0, LZ4, ZSTD])
@pytest.mark.parametrize(
    ("n", "length"), [(1, 1), (1, 300), (7, 15), (90, 16), (500, 9), (40, 200)]
)
@pytest.mark.parametrize("letters", ["ab", "\u00e4\u00f6", "a\0"])
def test_strings_of_one_length_come_back_from_columns(
    n: int, length: int, letters: str, compressor: int
) -> None:
    values = _alike(n, length, letters=letters)
    packed = pack_block(content_of(values), compressor, columns=True)
    assert packed[0] & 0x40
    found = open_columns(packed, n)
    assert isinstance(found, StringColumns)
    assert found.text.shape == (length * (2 if "\u00e4" in letters else 1), n)
    for block in (found, found.block(), open_block(packed, n)):
        out = np.empty(n, PLAIN)
        fill(block, out)
        assert out.tolist() == values.tolist()
    some = np.arange(0, n, 3)
    out = np.empty(len(some), PLAIN)
    fill(found, out, some)
    assert out.tolist() == values[some].tolist()


@pytest.mark.parametrize("values", [["a", "bb"], ["", ""], [None, "a"], [None, None], []])
def test_other_strings_are_not_put_by_columns(values: list[Any]) -> None:
    given = np.array(values, np.dtypes.StringDType(na_object=None))
    packed = pack_block(content_of(given), columns=True)
    assert packed == pack_block(content_of(given))


@pytest.mark.parametrize(
    ("flags", "size", "n"),
    [
        (0x44, 6, 3),
        (0x50, 6, 3),
        (0x40, 7, 3),
        (0x40, 2, 3),
        (0x40, 0, 3),
        (0x40, 6, 0),
        (0xC0, 6, 3),
    ],
)
def test_blocks_by_columns_that_cannot_be_are_refused(flags: int, size: int, n: int) -> None:
    with pytest.raises(CodecError):
        open_columns(struct.pack("<BI", flags, size) + b"a" * size, n)


def test_bytes_by_columns_that_are_no_text_are_refused() -> None:
    block = struct.pack("<BI", 0x40, 4) + b"\xc3\xc3\xa4a"
    with pytest.raises(CodecError, match="UTF-8"):
        fill(open_columns(block, 2), np.empty(2, PLAIN))


@pytest.mark.parametrize("compressor", [0, LZ4, ZSTD])
@pytest.mark.parametrize("last", [1, 60, 100])
def test_blocks_of_a_page_are_opened_together_as_each_by_itself(compressor: int, last: int) -> None:
    counts = [100, 100, 100, last]
    values = [_alike(n, 9, seed) for seed, n in enumerate(counts)]
    blocks = [pack_block(content_of(x), compressor, columns=True) for x in values]
    mixed = [blocks[0], pack_block(content_of(values[1]), compressor), *blocks[2:]]
    for several in (blocks, mixed):
        found = open_several(several, counts)
        for one, block, n in zip(found, several, counts, strict=True):
            alone = open_columns(block, n)
            assert type(one) is type(alone)
            assert np.array_equal(one.text, alone.text)
    for at in range(4):
        for damaged in (blocks[at][:-1], blocks[at][:4], b"\x44" + blocks[at][1:]):
            with pytest.raises(CodecError):
                open_several([*blocks[:at], damaged, *blocks[at + 1 :]], counts)
    for odd in ([100, 100, 100, last + 1], [99, 100, 100, last]):
        with pytest.raises(CodecError):
            open_several(blocks, odd)


def test_columns_are_chosen_where_they_are_shorter() -> None:
    names = np.array([f"user{n * 7919 % 99_991:05d}" for n in range(9_000)], PLAIN)
    recipe = choose_strings(names)
    assert recipe.steps == ((19, ZSTD, 1, 1),)
    assert Recipe.unpack(recipe.pack()) == recipe
    whole = encode_strings(names, recipe, block_values=8_192)
    plain = encode_strings(names, Recipe("auto", ((19, ZSTD, 1),)), block_values=8_192)
    assert whole.nbytes < 0.8 * plain.nbytes
    rng = np.random.default_rng(4)
    source = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 3_000))
    lines = [source[at : at + 100] for at in rng.integers(0, 2_900, 3_000).tolist()]
    assert choose_strings(np.array(lines, PLAIN), "balanced").steps == ((19, ZSTD, 1),)
    mixed = np.concatenate([names[:70], np.array(["x"], PLAIN), names[70:]])
    assert choose_strings(mixed).steps == ((19, ZSTD, 1),)
    out = np.empty(len(mixed), PLAIN)
    found = encode_strings(mixed, recipe, block_values=64)  # chosen for others
    decode_strings(found.stages, len(mixed), 64, 0, found.blocks, out, slice(0, len(mixed)))
    assert out.tolist() == mixed.tolist()
