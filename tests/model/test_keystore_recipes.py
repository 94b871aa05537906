"""How long a key store goes on with what it chose, and when it chooses anew: `Recipes` alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kist.codecs.recipe import Recipe
from kist.codecs.registry import DECIMAL
from kist.model.keystores import recipes
from kist.model.keystores.recipes import EXCESS_BYTES, FEW_VALUES, RETRY, Chosen, Made, Recipes

RNG = np.random.default_rng(5)
NOISE = RNG.random(FEW_VALUES)
DECIMALS = np.round(RNG.normal(size=6000), 2)
F8 = np.dtype("f8")


def fresh(codec: str = "fast") -> Recipes:
    return Recipes(RNG.bytes(16), 5, codec)


def chosen_for(values: Any) -> Chosen:
    found = fresh().encode(values, None, 0).chosen
    assert found is not None
    return found


def test_a_block_and_a_half_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def built(values: Any, recipe: Recipe, *, block_values: int) -> Any:
        seen.append(block_values)
        return real(values, recipe, block_values=block_values)

    real = recipes.build_page
    monkeypatch.setattr(recipes, "build_page", built)
    last = chosen_for(DECIMALS)
    seen.clear()
    for n in (5, 16_384, 24_575, 24_576, 60_000):
        fresh().encode(np.zeros(n), last, None)
    assert seen == [5, 16_384, 24_575, 16_384, 16_384]


def test_few_values_choose_nothing() -> None:
    assert not fresh().counts(np.zeros(FEW_VALUES - 1))
    assert fresh().counts(np.zeros(FEW_VALUES))
    assert fresh().counts(np.array(["a"], np.dtypes.StringDType()))
    assert fresh().encode(DECIMALS[: FEW_VALUES - 1], None, 0).chosen is None


def test_a_little_more_is_no_excess() -> None:
    last = chosen_for(DECIMALS)
    more = fresh().encode(DECIMALS, last._replace(bits=last.bits / 1.25), 0)
    assert (more.is_use, more.excess) == (True, 0)
    far = fresh().encode(DECIMALS, last._replace(bits=last.bits / 2), 0)
    assert far.is_use
    assert far.excess == pytest.approx((1 - 1.3 / 2) * last.bits * len(DECIMALS) / 8)


def test_what_is_too_much_adds_up() -> None:
    last = chosen_for(DECIMALS)
    before = last._replace(bits=last.bits / 2)
    excess = fresh().encode(DECIMALS, before, 0).excess
    enough = before._replace(excess=EXCESS_BYTES - excess + 1)
    assert fresh().encode(DECIMALS, enough, 0).chosen is not None
    assert fresh().encode(DECIMALS, enough._replace(excess=EXCESS_BYTES - excess), 0).is_use


def test_what_cannot_be_stored_as_before_chooses_at_once() -> None:
    last = chosen_for(DECIMALS)
    assert last.recipe.steps[0][0] == DECIMAL
    made = fresh().encode(NOISE, last, 0)  # of so few values the excess alone would not tell
    assert made.chosen is not None
    assert made.chosen.recipe != last.recipe


def test_what_was_chosen_and_does_not_suit_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decimals = chosen_for(DECIMALS).recipe
    monkeypatch.setattr(Recipes, "_choose", lambda *_: decimals)
    made = fresh().encode(NOISE, None, 0)
    assert made.chosen is not None
    assert made.chosen.recipe == fresh()._usual != decimals


def test_what_is_hardly_better_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    last = chosen_for(NOISE)._replace(uses=RETRY)
    other = chosen_for(DECIMALS).recipe
    assert other != last.recipe
    monkeypatch.setattr(Recipes, "_choose", lambda *_: other)
    made = fresh().encode(NOISE, last, 0)
    assert made.chosen is not None
    assert (made.chosen.recipe, made.chosen.retry) == (last.recipe, 4 * RETRY)


def test_each_use_counts_and_so_does_its_excess() -> None:
    places = fresh()
    last = chosen_for(DECIMALS)._replace(uses=1, excess=5.0)
    places.keep(0, F8, last)
    places.settle(0, F8, Made((b"", []), None, True, 7.0))
    assert places.last(0, F8) == last._replace(uses=2, excess=12.0)


def test_what_another_codec_chose_is_not_used() -> None:
    one = fresh()
    one.keep(0, F8, chosen_for(DECIMALS))
    store, node, _ = one._place
    assert Recipes(store, node, "fast").last(0, F8) is not None
    assert Recipes(store, node, "none").last(0, F8) is None
    assert Recipes(store, node + 1, "fast").last(0, F8) is None
    assert one.last(1, F8) is None
    assert one.last(0, np.dtype("f4")) is None


def test_without_a_codec_few_values_stand_as_they_are() -> None:
    made = fresh("none").encode(DECIMALS[:1000], None, 0)
    assert b"".join(map(bytes, made.page[1])) == DECIMALS[:1000].tobytes()
