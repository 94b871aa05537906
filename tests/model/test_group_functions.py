"""What is computed of groups is what NumPy computes of the rows of each."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kist

SPECIAL: dict[str, list[Any]] = {
    "f": [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5],
    "c": [complex(np.nan, 1), 1 + 2j, -3j, 0j],
    "m": ["NaT", 0, -5],
    "M": ["NaT", "1999-01-01", "2030-01-01"],
    "b": [False, True],
}


def values_of(dtype: str, seed: int, *, special: bool) -> Any:
    rng = np.random.default_rng(seed)
    kind, n = np.dtype(dtype).kind, 300
    if kind in "iu":
        info = np.iinfo(dtype)
        ends = [info.min, info.max, 0, 1]
        plain = rng.integers(0, 100, n).astype(dtype)
        return np.where(rng.random(n) < 0.3, np.array(ends, dtype)[rng.integers(0, 4, n)], plain)
    plain = rng.integers(-50, 50, n) if kind != "c" else rng.random(n) + 1j * rng.random(n)
    values = (plain > 0 if kind == "b" else plain).astype(dtype)
    if special or kind == "b":
        some = np.array(SPECIAL[kind], dtype)
        values = np.where(rng.random(n) < 0.1, some[rng.integers(0, len(some), n)], values)
    return values.astype(dtype)


FUNCTIONS = {"min": "biufcmM", "max": "biufcmM", "any": "biufcm", "all": "biufcm", "var": "biufc"}
DTYPES = ["?", "i1", "u2", ">i4", "i8", "u8", "f4", "f8", ">f8", "c8", "c16", "m8[s]", "M8[D]"]


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), special=st.booleans())
def test_groups_agree_with_numpy(dtype: str, seed: int, special: bool) -> None:
    values = values_of(dtype, seed, special=special)
    keys = np.random.default_rng(seed).integers(0, 6, len(values))
    funcs = [name for name, kinds in FUNCTIONS.items() if values.dtype.kind in kinds]
    with kist.open(":memory:") as store, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.create_table("t", {"k": keys, "v": values})
        found = store["t"].group_by("k").agg({"v": funcs})
        for row in found:
            mine = values[keys == row["k"]]
            for name in funcs:
                expected = getattr(np, name)(mine)
                got = row[f"v_{name}"]
                if name in ("any", "all"):
                    assert got == bool(expected)
                elif name == "var":
                    assert got.dtype == expected.dtype.newbyteorder("=")
                    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
                else:
                    assert got.dtype == values.dtype.newbyteorder("=")
                    np.testing.assert_array_equal(got, expected)


def test_a_group_without_values_has_no_true_one_and_no_false_one() -> None:
    with kist.open(":memory:") as store:
        t = store.create_table("t", dtype=[("k", "i4"), ("v", kist.nullable("?"))])
        t.append([(1, None), (2, True), (2, None), (3, False), (3, True)])
        found = t.group_by("k").agg({"v": ["any", "all"]})
        assert found["v_any"].tolist() == [False, True, True]
        assert found["v_all"].tolist() == [True, True, False]
        with pytest.raises(kist.DTypeError, match="neither true nor false"):
            store.create_table("s", {"k": [1], "s": ["a"]})
            store["s"].group_by("k").agg({"s": "any"})
