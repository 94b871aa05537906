"""Recipes: what is chosen for typical columns, and that a recipe can be kept and read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kist.codecs.blosc import LZ4
from kist.codecs.choose import PRESETS, choose, parse_codec
from kist.codecs.pipeline import decode, encode
from kist.codecs.recipe import Recipe
from kist.codecs.registry import BLOSC2, DECIMAL, DELTA, DICTIONARY, PLAIN, REFERENCE
from kist.errors import CodecError

RNG = np.random.default_rng(11)
N = 65_536
COLUMNS = {
    "prices": np.round(100 + np.cumsum(RNG.normal(0, 0.1, N)), 2),
    "small integers": RNG.integers(0, 1000, N).astype("i4"),
    "rising": np.cumsum(RNG.integers(0, 10, N)),
    "noise": RNG.normal(size=N).astype("f4"),
    "words": RNG.choice(np.array([b"AAPL", b"MSFT", b"IBM"], "S8"), N),
    "names": RNG.choice(np.array(["red", "green", "infrared"]), N),
    "ids": np.array([f"{i:07d}".encode() for i in RNG.integers(0, 10**7, N)]),
    "times": np.datetime64("2024-01-01", "ns") + np.arange(N) * np.timedelta64(1, "s"),
    "line": np.linspace(0, 1, N),
    "flags": RNG.random(N) < 0.01,
    "steps": np.repeat(np.arange(N // 4096), 4096),
    "wave": np.sin(np.arange(N) * 0.01).astype("f4"),
}

# Bytes a value that each preset must stay below: the best that is known, with some room.
LIMITS = {
    "prices": {"fast": 1.2, "balanced": 1.05, "small": 0.72},
    "small integers": {"fast": 2.1, "balanced": 2.1, "small": 1.3},
    "rising": {"fast": 1.1, "balanced": 0.5, "small": 0.5},
    "noise": {"fast": 4.01, "balanced": 4.01, "small": 3.5},
    "words": {"fast": 0.3, "balanced": 0.3, "small": 0.3},
    "names": {"fast": 1.1, "balanced": 0.3, "small": 0.3},
    "ids": {"fast": 7.01, "balanced": 3.6, "small": 3.5},
    "times": {"fast": 0.02, "balanced": 0.02, "small": 0.02},
    "line": {"fast": 8.01, "balanced": 0.6, "small": 0.2},
    "flags": {"fast": 0.2, "balanced": 0.05, "small": 0.05},
    "steps": {"fast": 0.05, "balanced": 0.05, "small": 0.05},
    "wave": {"fast": 4.01, "balanced": 1.4, "small": 1.1},
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", COLUMNS)
def test_typical_columns_become_as_small_as_is_known(name, preset):
    values = COLUMNS[name]
    page = encode(values, choose(values, preset))
    assert page.nbytes / N < LIMITS[name][preset]


@pytest.mark.parametrize("n", [6_400, 14_370, 76_468])
def test_values_of_key_stores_are_not_left_as_they_are_where_lz4_finds_much(n):
    values = np.arange(n) * 0.001 + n % 10
    page = encode(values, choose(values, "fast", block=16_384, often=True))
    assert page.nbytes < n * 2.5


def test_typical_columns_get_the_expected_stages():
    def ids(name: str) -> list[int]:
        return [step[0] for step in choose(COLUMNS[name]).steps]

    assert ids("prices")[:3] == [DECIMAL, DELTA, REFERENCE]
    assert ids("small integers")[0] == REFERENCE
    assert ids("rising")[:2] == [DELTA, REFERENCE]
    assert ids("words")[0] == DICTIONARY
    assert choose(COLUMNS["prices"]).describe() == "decimal(2) delta reference none"
    small = choose(COLUMNS["prices"], "small").describe()
    assert small.startswith("decimal(2) delta reference")
    assert small != "decimal(2) delta reference none"


def test_the_same_values_always_give_the_same_recipe():
    for values in COLUMNS.values():
        assert choose(values) == choose(values.copy())


@given(st.binary(max_size=40))
def test_bytes_that_are_no_recipe_are_refused(data):
    try:
        recipe = Recipe.unpack(data)
    except CodecError:
        return
    assert recipe.pack() == data


def test_recipes_come_back_from_their_bytes():
    for preset in (*PRESETS, "none", "pcodec", "zstd+shuffle"):
        for values in COLUMNS.values():
            recipe = choose(values, preset)
            assert Recipe.unpack(recipe.pack()) == recipe
            assert hash(Recipe.unpack(recipe.pack())) == hash(recipe)
            assert recipe.describe()


def test_explicit_codecs_take_the_values_as_they_are():
    assert choose(COLUMNS["prices"], "none").steps == ((PLAIN,),)
    assert [s[0] for s in choose(COLUMNS["prices"], "lz4+shuffle").steps] == [BLOSC2]
    page = encode(np.zeros(1000), choose(np.zeros(1000), "none"))
    assert b"".join(page.blocks) == bytes(8000)


def test_choices_have_one_canonical_name():
    assert parse_codec("auto") == "balanced"
    for preset in PRESETS:
        assert parse_codec(preset) == preset
    assert parse_codec("zstd") == parse_codec("blosc2-zstd") == "blosc2-zstd"
    assert parse_codec("lz4+bitshuffle") == "blosc2-lz4+bitshuffle"
    assert parse_codec("pcodec") == "pcodec"
    assert parse_codec("none") == "none"


@pytest.mark.parametrize(
    "spec", ["", "gzip", "pcodec+shuffle", "none+shuffle", "zstd+", "zstd+delta", "fast+shuffle", 5]
)
def test_unknown_choices_are_answered_with_the_known_ones(spec):
    with pytest.raises(CodecError, match=r"balanced.*blosc2-lz4.*pcodec.*bitshuffle"):
        parse_codec(spec)


def test_recipes_that_make_no_sense_are_refused():
    for steps in ((), ((REFERENCE,),), ((PLAIN,), (PLAIN,)), ((DELTA,), (PLAIN,)), ((99,),)):
        with pytest.raises(CodecError):
            Recipe("fast", steps)


def test_any_length_and_any_values_get_a_recipe():
    for values in COLUMNS.values():
        for n in (0, 1, 2, 3, 100, 8192, 8193):
            choose(values[:n])
    assert choose(np.full(100, np.nan)).steps
    assert choose(np.array([np.nan, np.inf] * 50)).steps


@pytest.mark.parametrize("share", [0.01, 0.1, 0.17, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -0.0, 1 / 3])
@pytest.mark.parametrize("preset", ["fast", "balanced", "small"])
def test_decimals_among_many_odd_values_still_get_a_recipe(
    preset: str, odd: float, share: float
) -> None:
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=20_000), 3)
    values[rng.random(len(values)) < share] = odd
    encoded = encode(values, choose(values, preset))
    out = np.empty_like(values)
    decode(encoded.stages, values.dtype, len(values), 8192, 0, encoded.blocks, out)
    assert out.tobytes() == values.tobytes()


def test_what_is_read_often_gets_a_codec_that_reads_fast_and_stays_small() -> None:
    times = np.arange(N) * 0.001 + 17
    sines = np.round(np.sin(times * 7) + RNG.normal(0, 0.05, N), 3)
    for values, most in ((times, 1.0), (sines, 1.6)):
        usual, often = choose(values), choose(values, block=8192, often=True)
        assert often.steps != usual.steps and often.steps[-1][:2] == (BLOSC2, LZ4)
        assert encode(values, often, block_values=8192).nbytes < most * N


def test_what_wanders_gets_no_dictionary_where_decimals_do() -> None:
    """Nearby it has few values; a page of it has many, each of which would be searched for."""
    cents = 10_000 + np.cumsum(np.rint(np.random.default_rng(1).normal(0, 2, 1 << 17)))
    values = cents / 100
    assert choose(values).steps[0][0] == DECIMAL
    # The third powers are no decimals of two digits: many items are better than none.
    assert choose(np.cbrt(cents)).steps[0][0] == DICTIONARY
