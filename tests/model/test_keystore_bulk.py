"""Many keys at once: as one by one, in runs of numbers, and with few trials of codecs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist
from kist.codecs.choose import choose
from kist.codecs.decimals import Decimals
from kist.format.plain import pack_scalars, pack_value
from kist.model.keystores import write
from kist.model.keystores.read import pointer_of

KEYS = st.one_of(
    st.text("abé", min_size=1, max_size=2), st.integers(-3, 3), st.binary(min_size=1, max_size=1)
)
VALUES = st.one_of(
    st.floats(allow_nan=False),
    st.integers(),
    st.sampled_from([None, True, 1j, "text", b"bytes", (1, 2.5)]),
    st.integers(0, 300).map(lambda n: b"x" * n),
    st.just("array"),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(KEYS, VALUES), max_size=40), st.booleans(), st.booleans())
def test_update_is_what_a_dict_does(
    pairs: list[tuple[Any, Any]], as_dict: bool, in_two: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch, kist.open(":memory:") as store:
        patch.setattr(write, "_RUN", 4)
        patch.setattr(write, "_BATCH_KEYS", 10)
        bulk, single = (store.create_keystore(name) for name in ("bulk", "single"))
        made = [(k, np.arange(500) if v == "array" else v) for k, v in pairs]
        half = len(made) // 2 if in_two else 0
        for part in (made[:half], made[half:]):
            bulk.update(dict(part) if as_dict else iter(part))
        expected = dict(made)
        for key, value in expected.items():
            single[key] = value
        assert list(bulk) == list(single)
        for key, value in expected.items():
            assert type(bulk[key]) is type(value)
            assert np.array_equal(bulk[key], value)
        assert (len(bulk), bulk.nbytes) == (len(single), single.nbytes)
        assert store.check().ok


@pytest.mark.parametrize("bad", ["", "x" * 1001, "\ud800", 1.5])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_key_that_is_none_changes_nothing(bad: Any, lazy: bool) -> None:
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs["there"] = 1
        new = {f"key-{i}": float(i) for i in range(10_000)} | {bad: 2.0}
        with pytest.raises((kist.NodeNameError, kist.DTypeError), match="key"):
            runs.update(iter(new.items()) if lazy else new)
        assert dict(runs) == {"there": 1}


def test_an_iterator_holds_few_large_values_at_once() -> None:
    alive, most = 0, 0

    class Counted(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def made() -> Iterator[tuple[str, Any]]:
        nonlocal alive, most
        for i in range(80):
            alive += 1
            most = max(most, alive)
            yield f"key-{i}", np.zeros(1 << 17).view(Counted)

    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs.update((key, np.asarray(value)) for key, value in made())
        assert len(runs) == 80
    assert most < 40


@given(st.lists(st.one_of(st.floats(), st.integers(), st.none()), min_size=1), st.binary())
def test_scalars_are_packed_as_one_by_one(numbers: list[Any], before: bytes) -> None:
    expected = [before + pack_value(number) for number in numbers]
    assert pack_scalars(numbers, before) == expected


def test_what_suits_is_looked_for_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return choose(*arguments, **options)

    monkeypatch.setattr("kist.model.keystores.recipes.choose", counted)
    rng = np.random.default_rng(1)
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs.update((i, np.round(rng.normal(size=3000), 2)) for i in range(500))
        assert len(calls) <= 6
        # What is of another kind is noticed at once, as before.
        runs.update((i, np.round(rng.normal(size=3000), 9)) for i in range(5))
        assert len(calls) >= 2


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 2**32))
def test_an_exception_repeats_the_last_decimal(wrong: list[bool], seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = np.round(rng.normal(size=len(wrong)), 2) + 0.0  # -0.0 is no decimal
    numbers[wrong] = np.nan
    found = Decimals().encode(numbers, 64, (2, 4))
    assert found is not None
    integers = found[1]
    good = [i for i, bad in enumerate(wrong) if not bad]
    for i in range(len(wrong)):
        before = [j for j in good if j <= i] or good[:1]
        assert integers[i] == (round(numbers[before[-1]] * 100) if before else 0)


def _sizes(store: kist.Store, values: dict[str, Any]) -> list[int]:
    runs = store.create_keystore("runs")
    runs.update(values)
    view = runs._view()
    found = [runs._found(view, key) for key in values]
    return [pointer_of(record).length for record in found if record is not None]


def test_the_same_values_take_the_same_bytes_whichever_thread_is_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    waves = [np.round(np.sin(np.arange(9000) * 0.01), i % 4 + 1) for i in range(30)]
    noise = [rng.random(9000) for _ in range(10)]
    mixed = [(waves + noise)[i] for i in rng.permutation(40).tolist()]
    values = {f"{i:02}": (a, a[::-1], i) for i, a in enumerate(mixed)}
    monkeypatch.setattr("kist.model.keystores.values.THREAD_VALUES", 1)
    with kist.open(":memory:") as store:
        expected = _sizes(store, values)
    assert max(expected) > 3 * min(expected)

    def backwards(tasks: list[Any]) -> list[Any]:
        return [task() for task in reversed(tasks)][::-1]

    monkeypatch.setattr("kist.model.keystores.values.run", backwards)
    with kist.open(":memory:") as store:
        assert _sizes(store, values) == expected


def test_one_array_unlike_the_others_settles_little() -> None:
    rng = np.random.default_rng(3)
    first = {"00": rng.random(9000)}
    others = {f"{i:02}": np.round(rng.normal(size=9000), 1) for i in range(1, 40)}
    with kist.open(":memory:") as store:
        sizes = _sizes(store, first | others)
    assert sum(size > 30_000 for size in sizes) <= 5


def test_short_arrays_among_long_ones_are_not_worth_a_look_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return choose(*arguments, **options)

    monkeypatch.setattr("kist.model.keystores.recipes.choose", counted)
    lengths = [60_000, 4_000, 50_000, 2_500, 70_000, 3_000] * 8
    with kist.open(":memory:") as store:
        runs = store.create_keystore("runs")
        runs.update((i, np.arange(n) * 0.001 + i) for i, n in enumerate(lengths))
    assert len(calls) <= 8
