"""Arrays that are alike are stored alike: nothing is chosen for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kist
from kist.codecs.choose import looks
from kist.model import page_build


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the arrays that something was chosen for."""
    sizes: list[int] = []
    choose = page_build.choose

    def counted(values: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(values.size)
        return choose(values, *args, **kwargs)

    monkeypatch.setattr(page_build, "choose", counted)
    return sizes


def test_of_many_arrays_alike_few_are_chosen_for(tmp_path: Path, chosen: list[int]) -> None:
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(64, 32 * (1 + n % 3))).astype("f4") for n in range(60)]
    prices = [np.round(np.cumsum(rng.normal(size=5_000)), 2) for _ in range(60)]
    with kist.open(tmp_path / "a.kist", "w") as store:
        for n, (w, p) in enumerate(zip(weights, prices, strict=True)):
            store[f"w{n}"] = w
            store[f"p{n}"] = p
    assert 2 <= len(chosen) <= 40  # of 120
    with kist.open(tmp_path / "a.kist") as store:
        for n, (w, p) in enumerate(zip(weights, prices, strict=True)):
            np.testing.assert_array_equal(store[f"w{n}"][:], w)
            np.testing.assert_array_equal(store[f"p{n}"][:], p)


def test_an_array_that_comes_out_larger_than_it_looked_is_chosen_for(
    tmp_path: Path, chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_build, "looks", lambda *_, **__: ("all alike",))
    steps = np.arange(20_000)
    noise = np.random.default_rng(2).integers(0, 1 << 40, 20_000)
    with kist.open(tmp_path / "a.kist", "w") as store:
        store["steps"] = steps
        store["more"] = steps + 7
        assert len(chosen) == 1
        store["noise"] = noise
        assert len(chosen) == 2
        assert store["noise"].info.stored_bytes < noise.nbytes
        np.testing.assert_array_equal(store["noise"][:], noise)


def test_each_store_and_each_large_array_is_chosen_for(tmp_path: Path, chosen: list[int]) -> None:
    values = np.round(np.cumsum(np.random.default_rng(3).normal(size=200_000)), 2)
    for name in ("a", "b"):
        with kist.open(tmp_path / f"{name}.kist", "w") as store:
            store["small"] = values[:10_000]
            store["again"] = values[:10_000]
            store["large"] = values
            store["large again"] = values
    assert len(chosen) == 6
    assert (tmp_path / "a.kist").stat().st_size == (tmp_path / "b.kist").stat().st_size


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(100),
        np.arange(2),
        np.array(["a", "b", "c"]),
        np.array([1j, 2j, 3j]),
        np.array([b"a", b"b", b"c"]),
        np.arange(100).astype("longdouble"),
        np.arange(100).astype("S20"),
        np.array(["a", "b", "c"], np.dtypes.StringDType()),
    ],
)
def test_what_is_no_work_to_choose_for_has_no_looks(values: np.ndarray[Any, Any]) -> None:
    assert looks(values) is None
    assert looks(np.arange(100) % 7, "lz4") is None


@pytest.mark.parametrize("dtype", ["u1", "i2", "<u8", "f2", "f4", "f8", "M8[s]", "m8[ms]"])
def test_looks_tell_noise_from_steps(dtype: str) -> None:
    noise = np.random.default_rng(4).integers(0, 100, 5_000).astype(dtype)
    steps = (np.arange(5_000) // 50).astype(dtype)
    assert looks(noise) == looks(noise.copy()) is not None
    assert looks(noise) != looks(steps)
    assert looks(noise) != looks(noise, "small")
    assert looks(noise) != looks(noise, block=4096)
