"""Sums and the like of arrays in a store: NumPy's results, and never the whole array in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kist
from kist.errors import QueryError
from kist.model.evaluation import computed

FUNCS = ["sum", "prod", "mean", "min", "max", "any", "all", "std", "var"]
SMALL = st.integers(-4, 4)
VALUES = st.one_of(
    hnp.arrays("f8", hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(-5, 5)),
    hnp.arrays("i4", hnp.array_shapes(max_dims=3, max_side=6), elements=SMALL),
    hnp.arrays("?", hnp.array_shapes(max_dims=3, max_side=6)),
    hnp.arrays("f4", hnp.array_shapes(max_dims=2, max_side=6), elements=st.just(1.5)),
    hnp.arrays("c16", hnp.array_shapes(max_dims=2, max_side=4), elements=st.just(1 + 2j)),
)


@given(values=VALUES, func=st.sampled_from(FUNCS), data=st.data())
def test_they_give_what_numpy_gives(values: Any, func: str, data: st.DataObject) -> None:
    axes = st.integers(-values.ndim, values.ndim - 1)
    axis = data.draw(st.one_of(st.none(), axes, st.just(tuple(range(values.ndim)))))
    expected = getattr(np, func)(values, axis=axis)
    with kist.open(":memory:") as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr(computed, "PART_BYTES", 64)
        patch.setattr(computed, "CHUNK_BYTES", 128)
        array = store.create_array("x", values, chunks=(2,) * values.ndim)
        for found in (getattr(array, func)(axis=axis), getattr(np, func)(array, axis=axis)):
            assert found.dtype == expected.dtype and np.shape(found) == np.shape(expected)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_the_whole_array_is_never_in_memory(tmp_path: Path) -> None:
    with kist.open(tmp_path / "a.kist", "w") as store:
        array = store.create_array("x", shape=(6000, 6000), dtype="f8", fill_value=0.5)
        array[1000:1010] = 2.0
        calls = (lambda: array.sum(), lambda: np.mean(array, axis=0), lambda: np.std(array))
        for call in calls:
            call()  # what is loaded once
        tracemalloc.start()
        assert array.sum() == 0.5 * 6000 * 6000 + 1.5 * 10 * 6000
        assert np.mean(array, axis=0).shape == (6000,)
        assert np.std(array) > 0
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < array.nbytes / 3


def test_other_arguments_are_numpys() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    with kist.open(":memory:") as store:
        store["x"] = values
        array = store["x"]
        assert np.sum(array, axis=1, keepdims=True).shape == (2, 1, 4)
        assert np.sum(array, dtype="f4").dtype == "f4"
        assert np.std(array, ddof=1) == np.std(values, ddof=1)
        assert array.std(ddof=0.5) == values.std(ddof=0.5)
        assert np.min(array, initial=-7.0) == -7.0
        assert array.sum(where=values > 5) == values.sum(where=values > 5)
        out = np.empty((3, 4))
        assert np.max(array, axis=0, out=out) is out and (out == values.max(axis=0)).all()


def test_dtypes_without_arithmetic_are_numpys() -> None:
    text = np.array(["b", "a"], np.dtypes.StringDType())
    with kist.open(":memory:") as store:
        store["text"], store["c"] = text, np.array([1j, 2.0])
        store["days"] = np.array(["2026-01-02", "2026-01-01"], "M8[D]")
        assert np.min(store["text"]) == "a"
        assert np.max(store["c"]) == np.max(store["c"][:])
        assert store["days"].min() == np.datetime64("2026-01-01")
        with pytest.raises(TypeError):
            store["days"].sum()


def test_what_has_no_result_says_so() -> None:
    with kist.open(":memory:") as store:
        store["x"], store["none"] = np.arange(6).reshape(2, 3), np.empty((0, 3))
        with pytest.raises(QueryError, match="no axis 2"):
            store["x"].sum(axis=2)
        with pytest.raises(QueryError, match="does not fit"):
            store.create_array("large", np.full(3, 2**62)).sum()
        with pytest.raises(ValueError, match="no values"):
            store["none"].min()
        assert store["none"].sum() == 0 and store["none"].max(axis=1).shape == (0,)


def test_unions_and_links_have_them_too(tmp_path: Path) -> None:
    parts = [np.arange(6.0).reshape(2, 3), np.ones((4, 3))]
    for number, part in enumerate(parts):
        with kist.open(tmp_path / f"{number}.kist", "w") as store:
            store["x"] = part
    whole = np.concatenate(parts)
    with kist.union(str(tmp_path / "*.kist"), "x") as union:
        assert union.sum() == whole.sum()
        assert (np.mean(union, axis=0) == whole.mean(axis=0)).all()
