"""A page decodes to the bits that were encoded, block by block or whole, and never past `out`."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kist.codecs import blosc
from kist.codecs.choose import PRESETS, choose
from kist.codecs.pipeline import decode, encode
from kist.codecs.recipe import Recipe
from kist.codecs.registry import (
    BLOSC2,
    CODECS,
    CONSTANT,
    DECIMAL,
    DELTA,
    DICTIONARY,
    ENCODINGS,
    PCODEC,
    PLAIN,
    REFERENCE,
    RUNS,
    ZIGZAG,
)
from kist.codecs.stage import Encoded, Stage
from kist.errors import CodecError, UnknownCodecError
from kist.testing.strategies import random_array, scalar_dtypes

SEEDS = st.integers(0, 2**32 - 1)
LENGTHS = st.sampled_from([0, 1, 2, 7, 8, 9, 63, 64, 65, 500, 1000])
BLOCKS = st.sampled_from([1, 2, 8, 64, 100, 512, 8192])

EXPLICIT = ("none", "pcodec", "blosc2-lz4", "blosc2-zstd+shuffle", "blosc2-lz4+bitshuffle")

encoding_steps = st.one_of(
    st.just((DICTIONARY,)),
    st.just((ZIGZAG,)),
    st.tuples(st.just(DELTA), st.integers(1, 3)),
    st.tuples(st.just(REFERENCE), st.sampled_from([0, 1, 2, 5, 1000])),
    st.tuples(st.just(DECIMAL), st.integers(0, 12), st.sampled_from([4, 8])),
)
codec_steps = st.one_of(
    st.just((PLAIN,)),
    st.just((RUNS,)),
    st.just((CONSTANT,)),
    st.tuples(st.just(PCODEC), st.sampled_from([0, 4, 8])),
    st.tuples(
        st.just(BLOSC2),
        st.sampled_from([blosc.LZ4, blosc.ZSTD]),
        st.integers(1, 6),
        st.sampled_from([0, 1, 2]),
        st.sampled_from([0, 1, 2]),
    ),
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any stages in any order: those that do not suit a page are left out."""
    steps = draw(st.lists(encoding_steps, max_size=4))
    return Recipe(draw(st.sampled_from(PRESETS)), (*steps, draw(codec_steps)))


def smooth(dtype: np.dtype, n: int, seed: int) -> np.ndarray:
    """Values with something to find for the encodings, and a few that spoil it."""
    rng = np.random.default_rng(seed)
    kind = seed % 5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        steps = rng.integers(0, 5, n) * rng.choice([1, 7, 1000])
        values = np.cumsum(steps) if kind < 3 else rng.integers(0, 3, n)
        out = (values % min(int(info.max), 2**40)).astype(dtype)
        if kind == 1 and n:
            out[rng.integers(0, n, 2)] = info.min, info.max
        return out
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        out = np.round(np.cumsum(rng.normal(0, 0.1, n)), 2).astype(dtype)
        if kind == 1 and n:
            places = rng.integers(0, n, 5)
            out[places] = np.nan, -np.nan, np.inf, -0.0, 1e300 if dtype.itemsize == 8 else 1e30
        if kind == 2:
            out[rng.random(n) < 0.3] = np.nan
        return out
    if dtype.kind in "mM":
        values = np.cumsum(rng.integers(0, 3, n)) * 1000
        if kind == 1 and n:
            values[rng.integers(0, n)] = np.iinfo("i8").min
        return values.view("i8").astype("<i8").view(dtype.newbyteorder("<")).astype(dtype)
    few = random_array(dtype, 4, seed)
    return few[rng.integers(0, 4, n)]


@st.composite
def pages(draw: st.DrawFn) -> np.ndarray:
    """Pages of every dtype; random bits, or something for the encodings to find."""
    dtype, n, seed = draw(scalar_dtypes()), draw(LENGTHS), draw(SEEDS)
    how = draw(st.sampled_from(["random", "smooth", "smooth", "constant"]))
    if how == "random":
        return random_array(dtype, n, seed)
    if how == "constant":
        return np.repeat(random_array(dtype, 1, seed), n)
    return smooth(dtype, n, seed)


def decoded(page: Encoded, dtype: np.dtype, first: int = 0, count: int | None = None) -> np.ndarray:
    """Decode blocks into a guarded array, and check the guards."""
    count = len(page.blocks) - first if count is None else count
    start = min(first * page.block_values, page.n_values)
    stop = min((first + count) * page.block_values, page.n_values)
    space = np.frombuffer(bytearray(b"\xa5" * ((stop - start + 8) * dtype.itemsize)), dtype).copy()
    out = space[4 : 4 + stop - start]
    blocks = page.blocks[first : first + count]
    try:
        decode(page.stages, dtype, page.n_values, page.block_values, first, blocks, out)
    finally:
        edges = space[:4].tobytes() + space[4 + stop - start :].tobytes()
        assert edges == b"\xa5" * len(edges), "bytes beside `out` were written"
    return out


@given(pages(), recipes(), BLOCKS)
@settings(max_examples=200)
def test_every_dtype_comes_back_bit_for_bit_through_any_stages(values, recipe, block_values):
    page = encode(values, recipe, block_values=block_values)
    assert len(page.blocks) == -(-values.size // block_values)
    assert decoded(page, values.dtype).tobytes() == values.tobytes()


@given(pages(), st.sampled_from([*PRESETS, *EXPLICIT]), BLOCKS)
@settings(max_examples=200)
def test_every_dtype_comes_back_through_the_chosen_recipe(values, preset, block_values):
    page = encode(values, choose(values, preset), block_values=block_values)
    assert decoded(page, values.dtype).tobytes() == values.tobytes()


@given(pages(), recipes(), st.sampled_from([8, 64, 100]), st.data())
@settings(max_examples=100)
def test_blocks_alone_equal_their_slice(values, recipe, block_values, data):
    page = encode(values, recipe, block_values=block_values)
    for _ in range(3):
        first = data.draw(st.integers(0, len(page.blocks)))
        count = data.draw(st.integers(0, len(page.blocks) - first))
        want = values[first * block_values : (first + count) * block_values]
        assert decoded(page, values.dtype, first, count).tobytes() == want.tobytes()


@given(pages(), recipes(), st.booleans(), st.booleans())
def test_strided_and_swapped_arrays_are_read_and_filled(values, recipe, swap, reverse):
    if values.dtype.kind in "mM":  # NumPy 2.4 copies some of them wrongly
        values = values.view(np.dtype("i8").newbyteorder(values.dtype.byteorder))
    strided = np.repeat(values, 3)[::3]
    strided = strided[::-1] if reverse else strided
    page = encode(strided, recipe, block_values=64)
    dtype = values.dtype.newbyteorder() if swap else values.dtype
    space = np.zeros(values.size * 2, dtype)
    space.view(np.uint8)[...] = 0xA5
    out = space[::-2] if reverse else space[::2]
    decode(page.stages, values.dtype, page.n_values, 64, 0, page.blocks, out)
    assert out.astype(values.dtype).tobytes() == strided.tobytes()
    between = space[-2::-2] if reverse else space[1::2]
    assert not between.size or set(between.tobytes()) == {0xA5}


def test_durations_without_a_unit_are_copied_right():
    bits = np.array([1, 2, -3], ">i8")
    values = np.repeat(bits, 2).view(">m8")[::2]  # .copy() of this gives other values
    page = encode(values, Recipe("fast", ((PLAIN,),)))
    assert b"".join(page.blocks) == bits.astype("<i8").tobytes()
    space = np.zeros(6, ">i8").view(">m8")
    decode(page.stages, values.dtype, 3, 8192, 0, page.blocks, space[::2])
    assert np.array_equal(space.view(">i8")[::2], bits)


@given(SEEDS)
def test_floats_of_every_bit_pattern_survive_decimals_and_deltas(seed):
    rng = np.random.default_rng(seed)
    for dtype in ("f4", "f8"):
        values = np.round(rng.normal(0, 1000, 3000), 3).astype(dtype)
        bits = values.view(f"u{values.itemsize}")
        places = rng.integers(0, values.size, 40)
        bits[places] = rng.integers(0, 2**63, 40).astype(bits.dtype)
        bits[places[:4]] = np.array([np.nan, -0.0, np.inf, 5e-324]).astype(dtype).view(bits.dtype)
        for steps in (((DECIMAL, 3, 4), (DELTA, 2)), ((DELTA, 3),)):
            recipe = Recipe("balanced", (*steps, (REFERENCE,), (ZIGZAG,), (PCODEC, 4)))
            page = encode(values, recipe, block_values=512)
            assert page.stages[0].id == steps[0][0]
            assert decoded(page, values.dtype).tobytes() == values.tobytes()


def test_many_equal_missing_values_do_not_stop_decimals():
    values = np.round(np.cumsum(np.random.default_rng(1).normal(0, 1, 65536)), 2)
    values[::5] = np.nan
    page = encode(values, choose(values))
    assert page.stages[0].id == DECIMAL
    assert page.nbytes < values.nbytes // 3
    assert decoded(page, values.dtype).tobytes() == values.tobytes()
    assert decoded(page, values.dtype, 3, 1).tobytes() == values[3 * 8192 : 4 * 8192].tobytes()


def test_a_page_that_its_recipe_does_not_suit_is_chosen_anew():
    rng = np.random.default_rng(5)
    prices = np.round(rng.normal(100, 1, 10_000), 2)
    recipe = choose(prices)
    assert recipe.steps[0][0] == DECIMAL
    noise = rng.normal(size=10_000)
    page = encode(noise, recipe)
    assert decoded(page, noise.dtype).tobytes() == noise.tobytes()
    words = np.array([f"{i:08d}".encode() for i in rng.integers(0, 10**8, 10_000)])
    few = choose(words[rng.integers(0, 9, 10_000)])
    assert few.steps[0][0] == DICTIONARY
    page = encode(words, few)
    assert decoded(page, words.dtype).tobytes() == words.tobytes()
    assert page.nbytes < words.nbytes


def test_items_of_no_bytes_need_none():
    for dtype in ("S0", "V0", "U0"):
        # NumPy widens such dtypes to one byte, except in fields.
        values = np.zeros(10, [("nothing", dtype), ("n", "i4")])["nothing"]
        assert values.itemsize == 0
        page = encode(values, choose(values), block_values=8)
        assert page.nbytes == 0 and len(page.blocks) == 2
        decode(page.stages, values.dtype, 10, 8, 0, page.blocks, values)
        with pytest.raises(CodecError):
            decode(page.stages, values.dtype, 10, 8, 0, [b"", b"x"], values)


def test_objects_and_wrong_shapes_are_refused():
    recipe = Recipe("fast", ((PLAIN,),))
    for values in (np.array([None, 1]), np.zeros((2, 2)), np.float64(1.0)[...]):
        with pytest.raises(CodecError):
            encode(np.asarray(values), recipe)
    with pytest.raises(CodecError):
        encode(np.zeros(3), recipe, block_values=0)
    page = encode(np.zeros(100), choose(np.zeros(100)), block_values=64)
    for out in (np.zeros(99), np.zeros(101), np.zeros((100, 1)), np.zeros(100, "i8")):
        with pytest.raises(CodecError):
            decode(page.stages, np.dtype("f8"), 100, 64, 0, page.blocks, out)
    for first, count in ((1, 2), (2, 1), (-1, 1)):
        with pytest.raises(CodecError):
            decode(page.stages, np.dtype("f8"), 100, 64, first, [b""] * count, np.zeros(36))


def flat(text: str) -> bytes:
    """Bytes from hexadecimal text."""
    return bytes.fromhex(text)


# (dtype, values, block_values, recipe steps, parameters of each stage, blocks): the examples of
# docs/format.md, and one page per stage. They are frozen with the format.
FROZEN = [
    ("<f8", [100.00, 100.02, 99.99, 100.00, 100.01], 3,
     ((DECIMAL, 2, 4), (DELTA, 1), (REFERENCE,), (PLAIN,)),
     [(7, "02 04 00 00000000"), (5, "01 10270000 10270000"),
      (4, "11 0000000000000000 0100000000000000"), (16, "")],
     ["02 02 fd", "01 01"]),
    (">i2", [5, 5, 5], 2, ((BLOSC2, 1, 1, 0, 0),), [(1, "0500")], ["", ""]),
    ("u1", [7, 7, 7, 9, 9], 4, ((RUNS,),), [(2, "02000000 03000000 05000000 07 09")], ["", ""]),
    ("S3", [b"ab", b"c", b"ab"], 2, ((DICTIONARY,), (PLAIN,)),
     [(3, "02000000 630000 616200"), (16, "")], ["01 00", "01"]),
    ("<i8", [1000, 1300, 1100], 2, ((REFERENCE, 100), (PLAIN,)),
     [(4, "01 e803000000000000 6400000000000000"), (16, "")], ["00 03", "01"]),
    ("<i2", [0, -1, 1, -2], 4, ((ZIGZAG,), (PLAIN,)), [(6, ""), (16, "")],
     ["0000 0100 0200 0300"]),
    ("<u2", [1, 2, 4, 8, 16], 3, ((DELTA, 2), (PLAIN,)),
     [(5, "02 0100 0100 0800 0800"), (16, "")], ["0000 0000 0100", "0000 0000"]),
    ("<f4", [0.5, float("nan"), 1.5, float("inf")], 4, ((DECIMAL, 1, 4), (PLAIN,)),
     [(7, "01 04 01 02000000 01000000 03000000 0000c07f 0000807f"), (16, "")],
     ["05000000 05000000 0f000000 0f000000"]),
    ("<f8", [1.0, float("nan"), 2.0], 2, ((DECIMAL, 0, 4), (PLAIN,)),
     [(7, "00 04 01 01000000 01000000 000000000000f87f"), (16, "")],
     ["01000000 01000000", "02000000"]),
    ("?", [True, False], 8, ((PLAIN,),), [(16, "")], ["01 00"]),
    ("<M8[s]", ["NaT", 1], 8, ((PLAIN,),), [(16, "")], ["0000000000000080 0100000000000000"]),
]  # fmt: skip


@pytest.mark.parametrize("example", FROZEN, ids=lambda e: f"{e[0]}-{e[4][0][0]}")
def test_the_bytes_of_every_stage_are_frozen(example):
    code, raw, block_values, steps, stages, blocks = example
    values = np.array(raw, code)
    page = encode(values, Recipe("fast", steps), block_values=block_values)
    assert [(s.id, s.params) for s in page.stages] == [(i, flat(p)) for i, p in stages]
    assert [bytes(b) for b in page.blocks] == [flat(b) for b in blocks]
    assert decoded(page, values.dtype).tobytes() == values.tobytes()


def test_the_bitmap_of_exceptions_is_frozen():
    params = flat("00 04 02 02000000 000000000000f87f 05")
    stages = [Stage(DECIMAL, params), Stage(PLAIN, b"")]
    out = np.zeros(3)
    decode(stages, np.dtype("f8"), 3, 8, 0, [flat("00000000 07000000 00000000")], out)
    assert np.isnan(out[[0, 2]]).all() and out[1] == 7


def test_unknown_stages_are_named():
    for stages in (
        [Stage(99, b"")],
        [Stage(99, b""), Stage(PLAIN, b"")],
        [Stage(DELTA, b"\1")],
        [Stage(PLAIN, b""), Stage(PLAIN, b"")],
    ):
        with pytest.raises(UnknownCodecError):
            decode(stages, np.dtype("f8"), 1, 8, 0, [bytes(8)], np.zeros(1))
    for stages in ([], [Stage(ZIGZAG, b"")] * 20 + [Stage(PLAIN, b"")]):
        with pytest.raises(CodecError):
            decode(stages, np.dtype("i8"), 1, 8, 0, [bytes(8)], np.zeros(1, "i8"))


def test_a_bool_page_never_gives_other_bytes():
    with pytest.raises(CodecError):
        decode([Stage(PLAIN, b"")], np.dtype("?"), 2, 8, 0, [b"\1\2"], np.zeros(2, "?"))


def mutated(data: st.DataObject, raw: bytes) -> bytes:
    """The same bytes, cut, longer or with some of them changed."""
    how = data.draw(st.sampled_from(["cut", "more", "change", "change", "zero", "ones"]))
    if how == "cut":
        return raw[: data.draw(st.integers(0, max(len(raw) - 1, 0)))]
    if how == "more":
        return raw + data.draw(st.binary(min_size=1, max_size=9))
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3)) if raw else 0):
        # The head of a block or of parameters says the most.
        end = min(len(raw), data.draw(st.sampled_from([4, 32, 48, len(raw)]))) - 1
        place = data.draw(st.integers(0, end))
        value = {"zero": 0, "ones": 255}.get(how)
        changed[place] = data.draw(st.integers(0, 255)) if value is None else value
    return bytes(changed)


@given(pages(), recipes(), st.sampled_from([64, 512]), st.data())
@settings(max_examples=300)
def test_damaged_pages_raise_or_give_wrong_values_within_bounds(values, recipe, step, data):
    page = encode(values, recipe, block_values=step)
    stages, blocks = list(page.stages), [bytes(b) for b in page.blocks]
    if blocks and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(blocks) - 1))
        blocks[place] = mutated(data, blocks[place])
    else:
        place = data.draw(st.integers(0, len(stages) - 1))
        number = stages[place].id
        if data.draw(st.integers(0, 3)) == 0:
            number = data.draw(st.sampled_from([*ENCODINGS, *CODECS]))
        stages[place] = Stage(number, mutated(data, stages[place].params))
    damaged = Encoded(tuple(stages), blocks, page.n_values, step)
    try:
        decoded(damaged, values.dtype)
        decoded(damaged, values.dtype, len(blocks) // 2)
    except CodecError:
        pass


@given(st.sampled_from(PRESETS), st.integers(0, 4), st.data())
@settings(max_examples=25)
def test_damaged_pages_do_not_make_decoding_allocate(preset, kind, data):
    values = smooth(np.dtype("f8" if kind % 2 else "i8"), 8192, kind)
    page = encode(values, choose(values, preset), block_values=2048)
    stages, blocks = list(page.stages), [bytes(b) for b in page.blocks]
    stages[0] = Stage(stages[0].id, mutated(data, stages[0].params))
    blocks[1] = mutated(data, blocks[1])
    out = np.zeros(8192, values.dtype)
    decode(page.stages, values.dtype, 8192, 2048, 0, page.blocks, out)  # codecs are loaded now
    tracemalloc.start()
    try:
        decode(stages, values.dtype, 8192, 2048, 0, blocks, out)
    except CodecError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 6 * values.nbytes + 100_000


def test_many_threads_decode_parts_of_one_array():
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng(3)
    values = np.round(np.cumsum(rng.normal(0, 0.1, 100_000)), 2)
    for preset in (*PRESETS, "pcodec"):
        page = encode(values, choose(values, preset), block_values=1000)
        out = np.zeros_like(values)

        def one(first: int, page: Encoded = page, out: np.ndarray = out) -> None:
            part = out[first * 1000 : first * 1000 + 3000]
            blocks = page.blocks[first : first + 3]
            decode(page.stages, out.dtype, page.n_values, 1000, first, blocks, part)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, range(0, 100, 3)))
        assert out.tobytes() == values.tobytes()
